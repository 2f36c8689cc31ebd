//! A watch as the messages of a WebSocket: how browsers watch, and so Headlamp. One event is one text message, as the
//! API server has it.

use std::pin::pin;

use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::watch::Session;
use crate::request::record::Completion;
use crate::upstream::body::ResponseBody;

/// What a caller may send in one message, in bytes. It sends only pings, and that it leaves.
const MAX_INCOMING: usize = 4096;

/// What a caller may leave unread, in bytes.
const MAX_UNREAD: usize = 256 * 1024;

/// A request for a WebSocket, as far as it is answered.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Handshake {
    accept: HeaderValue,
    protocol: Option<HeaderValue>,
}

impl Handshake {
    /// Reads it (RFC 6455, 4.2.1). `None` when it is none.
    pub(in crate::gateway) fn read(headers: &HeaderMap) -> Option<Self> {
        let one = |name| {
            let mut values = headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none())
        };
        if !one(UPGRADE)?.as_bytes().eq_ignore_ascii_case(b"websocket")
            || one(SEC_WEBSOCKET_VERSION)? != "13"
        {
            return None;
        }
        let key = one(SEC_WEBSOCKET_KEY)?.as_bytes();
        // 16 bytes in base64.
        let sound = key.len() == 24 && key.ends_with(b"==");
        let accept = sound.then(|| derive_accept_key(key))?;
        // The API server takes whatever one is named; Headlamp's backend names one.
        let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let mut protocols = protocols.filter_map(|value| value.to_str().ok());
        let protocol = protocols.find_map(|names| names.split(',').map(str::trim).next());
        Some(Self {
            accept: accept.parse().ok()?,
            protocol: protocol.and_then(|name| name.parse().ok()),
        })
    }

    /// The answer that accepts it.
    pub(in crate::gateway) fn response(self) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::whole(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(protocol) = self.protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        response
    }
}

/// Sends what `session` tells, until it ends or the caller leaves.
pub(in crate::gateway) fn serve(session: Session, caller: OnUpgrade, completion: Completion) {
    // As for each tunnel: hyper hands the connection over only after the response.
    tokio::spawn(messages(session, caller, completion));
}

async fn messages(mut session: Session, caller: OnUpgrade, mut completion: Completion) {
    let Ok(connection) = caller.await else { return };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_INCOMING))
        .max_frame_size(Some(MAX_INCOMING))
        .max_write_buffer_size(MAX_UNREAD);
    let connection = TokioIo::new(connection);
    let mut socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
    loop {
        // Kept while messages come: if it were dropped halfway, it would forget what it was about to check.
        let mut next = pin!(session.next());
        let event = loop {
            tokio::select! {
                event = &mut next => break event,
                // Pings are answered by the library, as it reads.
                message = socket.next() => match message {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break None,
                    Some(Ok(_)) => {}
                },
            }
        };
        let Some(event) = event else { break };
        completion.count(event.len());
        let Ok(text) = Utf8Bytes::try_from(event) else {
            break;
        };
        if socket.send(Message::Text(text)).await.is_err() {
            return;
        }
    }
    completion.complete();
    let _ = socket.close(None).await;
}
