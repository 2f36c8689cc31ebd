//! A connection to a real Prometheus that breaks in the middle of answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the answer to a query has, and no other.
const OF_A_QUERY: &[u8] = b"\"resultType\"";

/// Passes bytes on, both ways. Ends when dropped.
pub struct Relay {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts one before that address.
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let cut = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let cut = cut.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(pass(stream, to, cut.clone()));
                }
            }
        });
        Self { address, cut, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether answers to queries are cut from now on.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut from: TcpStream, to: SocketAddr, cut: Arc<AtomicBool>) {
    let Ok(mut to) = TcpStream::connect(to).await else {
        return;
    };
    let ((mut read, mut answer), (mut said, mut ask)) = (from.split(), to.split());
    let asked = tokio::io::copy(&mut read, &mut ask);
    let answered = async {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = said.read(&mut bytes).await {
            let bytes = &bytes[..length];
            let found = bytes
                .windows(OF_A_QUERY.len())
                .position(|some| some == OF_A_QUERY);
            match found.filter(|_| cut.load(Relaxed)) {
                Some(middle) => {
                    let _ = answer.write_all(&bytes[..middle]).await;
                    // The proxy waits a moment for the end of a small answer.
                    tokio::time::sleep(Duration::from_millis(150)).await;
                    return;
                }
                None if answer.write_all(bytes).await.is_err() => return,
                None => {}
            }
        }
    };
    tokio::select! {
        _ = asked => {}
        () = answered => {}
    }
}
