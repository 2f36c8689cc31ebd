//! An upstream of raw TCP that does exactly what its script says: answers cut short, odd headers,
//! endless or slow bodies.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// One step of a script.
#[derive(Debug, Clone)]
pub enum Step {
    /// Waits for a whole request, its body included (by `Content-Length` or chunks).
    ReadRequest,
    /// Sends these bytes.
    Write(Bytes),
    /// Sends a pattern over and over, this many bytes in all, never held as a whole.
    WriteRepeated(&'static [u8], u64),
    /// Does nothing for a time; reads nothing either.
    Pause(Duration),
    /// Waits until a test says so.
    Until(watch::Receiver<bool>),
    /// Waits until the peer closes its side.
    WaitForClose,
    /// Ends the connection with a reset instead of an orderly close.
    Reset,
    /// Starts over.
    Again,
}

impl Step {
    /// Sends this text.
    pub fn write(text: &str) -> Self {
        Self::Write(Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// What happened on one connection.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// All bytes received.
    pub received: Vec<u8>,
    /// Bytes sent so far.
    pub sent: u64,
    /// When the peer closed or reset it, if it did so before the script's end.
    pub closed: Option<Instant>,
}

/// A running scripted upstream. Dropping it closes everything.
pub struct Scripted {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    script: Vec<Step>,
    connections: Mutex<Vec<Connection>>,
    changed: watch::Sender<()>,
}

impl Shared {
    fn update(&self, index: usize, change: impl FnOnce(&mut Connection)) {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut connections[index]);
        drop(connections);
        self.changed.send_replace(());
    }
}

impl Scripted {
    /// Runs the script on every connection to a free loopback port. The connection closes at the
    /// script's end.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start(script: Vec<Step>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            script,
            connections: Mutex::default(),
            changed: watch::Sender::new(()),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// Answers every request on every connection with the same bytes.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn answering(response: &str) -> io::Result<Self> {
        Self::start(vec![Step::ReadRequest, Step::write(response), Step::Again]).await
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has happened so far, per connection in the order of their coming.
    pub fn connections(&self) -> Vec<Connection> {
        self.shared
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until something holds for the connections; false if `limit` is over first.
    pub async fn wait_until(&self, limit: Duration, holds: impl Fn(&[Connection]) -> bool) -> bool {
        let mut changed = self.shared.changed.subscribe();
        let reached = async {
            while !holds(&self.connections()) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, reached).await.is_ok()
    }

    /// Waits until the peer has closed a connection before its script's end.
    pub async fn wait_for_close(&self, limit: Duration) -> bool {
        self.wait_until(limit, |all| all.iter().any(|one| one.closed.is_some()))
            .await
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let index = {
            let mut all = shared
                .connections
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            all.push(Connection::default());
            all.len() - 1
        };
        shared.changed.send_replace(());
        connections.spawn(run(stream, index, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

/// The peer went away.
struct Closed;

async fn run(mut stream: TcpStream, index: usize, shared: Arc<Shared>) {
    loop {
        let mut again = false;
        for step in &shared.script {
            if matches!(step, Step::Again) {
                again = true;
                break;
            }
            if perform(step, &mut stream, index, &shared).await.is_err() {
                shared.update(index, |connection| connection.closed = Some(Instant::now()));
                return;
            }
            if matches!(step, Step::Reset) {
                let _ = stream.set_zero_linger();
                return;
            }
        }
        if !again {
            return;
        }
    }
}

async fn perform(
    step: &Step,
    stream: &mut TcpStream,
    index: usize,
    shared: &Shared,
) -> Result<(), Closed> {
    match step {
        Step::ReadRequest => read_request(stream, index, shared).await,
        Step::Write(bytes) => write(stream, bytes, index, shared).await,
        Step::WriteRepeated(pattern, length) => {
            let block = pattern.repeat((64 * 1024 / pattern.len()).max(1));
            let mut left = *length;
            while left > 0 {
                let size = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
                write(stream, &block[..size], index, shared).await?;
                left -= size as u64;
            }
            Ok(())
        }
        Step::Pause(time) => {
            tokio::time::sleep(*time).await;
            Ok(())
        }
        Step::Until(opened) => {
            let mut opened = opened.clone();
            tokio::select! {
                _ = opened.wait_for(|open| *open) => Ok(()),
                // Whoever asked may leave meanwhile.
                () = async { while read_some(stream, index, shared).await.is_ok() {} } => Err(Closed),
            }
        }
        Step::WaitForClose => loop {
            read_some(stream, index, shared).await?;
        },
        Step::Reset | Step::Again => Ok(()),
    }
}

async fn write(
    stream: &mut TcpStream,
    bytes: &[u8],
    index: usize,
    shared: &Shared,
) -> Result<(), Closed> {
    stream.write_all(bytes).await.map_err(|_| Closed)?;
    shared.update(index, |connection| connection.sent += bytes.len() as u64);
    Ok(())
}

async fn read_some(
    stream: &mut TcpStream,
    index: usize,
    shared: &Shared,
) -> Result<Vec<u8>, Closed> {
    let mut buffer = vec![0; 16 * 1024];
    match stream.read(&mut buffer).await {
        Ok(0) | Err(_) => Err(Closed),
        Ok(length) => {
            buffer.truncate(length);
            shared.update(index, |connection| connection.received.extend(&buffer));
            Ok(buffer)
        }
    }
}

async fn read_request(stream: &mut TcpStream, index: usize, shared: &Shared) -> Result<(), Closed> {
    let mut request = Vec::new();
    while !is_whole(&request) {
        request.extend(read_some(stream, index, shared).await?);
    }
    Ok(())
}

/// Whether the bytes hold a request to its end. Pipelined requests are not told apart.
fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let body = &request[end + 4..];
    let header = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        return body.ends_with(b"0\r\n\r\n");
    }
    let length = header("content-length").and_then(|length| length.parse().ok());
    body.len() >= length.unwrap_or(0)
}
