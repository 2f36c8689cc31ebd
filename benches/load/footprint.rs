//! Memory of a contender that does nothing, that holds open streams or idle connections; and how long it takes to
//! start.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde::Serialize;

use crate::Result;
use crate::cases::{Footprint, Size};
use crate::contenders::{Kind, Running, start_time};
use crate::spread::Spread;
use crate::stage::Stage;

/// What was found of one contender.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) contender: &'static str,
    pub(crate) idle_rss_bytes: u64,
    pub(crate) open_streams: usize,
    pub(crate) open_streams_rss_bytes: u64,
    pub(crate) idle_connections: usize,
    pub(crate) idle_connections_rss_bytes: u64,
    /// Minimum, median and maximum in milliseconds.
    pub(crate) start_to_ready_ms: Spread,
}

/// Measures one contender, started anew for each figure.
///
/// # Errors
/// If it fails, or this process may not have that many files open.
pub(crate) fn measure(kind: Kind, footprint: &Footprint, stage: &Stage) -> Result<Measured> {
    let contender = Running::start(kind, stage)?;
    std::thread::sleep(footprint.settle);
    let idle = contender.processes()?.resident_bytes()?;

    let (address, request) = contender.request(Size::Large);
    let mut open = Vec::with_capacity(footprint.streams);
    for _ in 0..footprint.streams {
        // Read once, so that the answer is under way, and never again.
        let (stream, head) = first_bytes(address, &request)?;
        if !head.starts_with(b"HTTP/1.1 200") {
            return Err(failed("a stream", &head));
        }
        open.push(stream);
    }
    std::thread::sleep(footprint.settle);
    let streams = contender.processes()?.resident_bytes()?;
    drop((open, contender));

    let contender = Running::start(kind, stage)?;
    let (address, request) = contender.request(Size::Small);
    let mut open = Vec::with_capacity(footprint.connections);
    for _ in 0..footprint.connections {
        let (stream, head) = first_bytes(address, &request)?;
        if !head.starts_with(b"HTTP/1.1 200") {
            return Err(failed("a connection", &head));
        }
        open.push(stream);
    }
    std::thread::sleep(footprint.settle);
    let connections = contender.processes()?.resident_bytes()?;
    drop((open, contender));

    let mut starts = Vec::new();
    for _ in 0..footprint.starts {
        starts.push(start_time(kind, stage)?.as_secs_f64() * 1e3);
    }
    Ok(Measured {
        contender: kind.name(),
        idle_rss_bytes: idle,
        open_streams: footprint.streams,
        open_streams_rss_bytes: streams,
        idle_connections: footprint.connections,
        idle_connections_rss_bytes: connections,
        start_to_ready_ms: Spread::of(&starts),
    })
}

fn failed(what: &str, head: &[u8]) -> Box<dyn std::error::Error> {
    let head = String::from_utf8_lossy(&head[..head.len().min(300)]).into_owned();
    format!("{what} was answered {head}").into()
}

/// Sends a request on a connection of its own and reads what comes first of the answer.
///
/// # Errors
/// If there is no connection or no answer.
pub(crate) fn first_bytes(address: &str, request: &str) -> io::Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request.as_bytes())?;
    let mut head = vec![0; 2048];
    let length = stream.read(&mut head)?;
    head.truncate(length);
    Ok((stream, head))
}
