//! A caller: sends a request, and reads the whole answer.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use standins::{body, connect};

/// The `User-Agent` of every call, which passes on to Prometheus.
pub const AGENT: &str = "caller";

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    /// Reads what comes after the head.
    ///
    /// # Errors
    /// If the body is cut.
    pub async fn read<B>(response: http::Response<B>) -> Result<Self, B::Error>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        Ok(Self {
            status: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned(),
            body: body.to_bytes(),
        })
    }

    /// Itself, of a request that must succeed.
    #[track_caller]
    pub fn ok(self) -> Self {
        let text = String::from_utf8_lossy(&self.body);
        assert!(self.status.is_success(), "{}: {text}", self.status);
        self
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text()))
    }

    /// The text that Headlamp shows.
    pub fn message(&self) -> String {
        self.json()["message"]
            .as_str()
            .unwrap_or_else(|| panic!("no message: {}", self.text()))
            .to_owned()
    }
}

/// A request to be sent.
pub struct Call {
    request: http::request::Builder,
    body: Bytes,
}

impl Call {
    pub fn get(url: impl AsRef<str>) -> Self {
        Self::new(Method::GET, url)
    }

    pub fn new(method: Method, url: impl AsRef<str>) -> Self {
        let request = Request::builder()
            .method(method)
            .uri(url.as_ref())
            .header("user-agent", AGENT);
        Self {
            request,
            body: Bytes::new(),
        }
    }

    /// A POST with a form.
    pub fn form(url: impl AsRef<str>, form: impl Into<Bytes>) -> Self {
        let media_type = "application/x-www-form-urlencoded";
        Self::new(Method::POST, url)
            .header("content-type", media_type)
            .body(form)
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn cookie(self, token: &str) -> Self {
        let cookie = standins::headlamp::cookie_header("main", token);
        self.header("cookie", &cookie)
    }

    /// Sends it over a connection of its own, and reads the answer. A server's certificate is not checked.
    pub async fn send(self) -> Answer {
        self.try_send().await.expect("an answer")
    }

    /// The same, where the answer may be cut.
    pub async fn try_send(self) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Answer::read(self.try_begin().await?).await?)
    }

    /// The same, where what the answer has in its body is yet to be read.
    pub async fn begin(self) -> http::Response<Incoming> {
        self.try_begin().await.expect("an answer")
    }

    async fn try_begin(
        self,
    ) -> Result<http::Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
        let request = self.request.body(body::full(self.body))?;
        Ok(connect::unverified().request(request).await?)
    }
}

/// A query's path and parameters.
pub fn query(expression: &str) -> String {
    format!("/api/v1/query?{}", encoded(&[("query", expression)]))
}

/// The path and parameters of a chart of the last day, up to the last full hour, so that two ask for the same.
///
/// # Panics
/// Before 1970.
pub fn chart(expression: &str, step: &str) -> String {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let end = now.expect("after 1970").as_secs() / 3600 * 3600;
    let (start, end) = ((end - 86_400).to_string(), end.to_string());
    let pairs = [
        ("start", &*start),
        ("end", &*end),
        ("step", step),
        ("query", expression),
    ];
    format!("/api/v1/query_range?{}", encoded(&pairs))
}

/// Parameters, encoded.
pub fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// Sends raw bytes on a connection, and reads until the other side closes or nothing comes for `quiet`.
pub async fn raw(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const QUIET: std::time::Duration = std::time::Duration::from_millis(700);
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("connected");
    // The other side may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    while let Ok(Ok(length)) = tokio::time::timeout(QUIET, stream.read(&mut chunk)).await {
        if length == 0 {
            break;
        }
        answer.extend_from_slice(&chunk[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
