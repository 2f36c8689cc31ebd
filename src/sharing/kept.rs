//! Answers to range queries that end about now, kept until the next second of their grid would be asked for.
//!
//! A kept answer is what its caller would have got by asking that little earlier. It is looked for only where the same
//! was asked before, and kept only for charts that are asked for twice in a while, so that a lone viewer pays for
//! neither.

use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::charts::LATELY;
use super::key::{Hashing, Key};
use super::memory::{Memory, Reserved};
use crate::upstream::UpstreamAnswer;
use crate::upstream::body::{BodyError, Incoming};
use crate::upstream::http1::{Encoding, Head};

/// The longest answer that is kept, in bytes, without its compression.
const MAX_BYTES: usize = 1024 * 1024;

/// What an entry takes besides its answer, in bytes.
const ENTRY: usize = 512;

/// The answers that are kept of one upstream.
#[derive(Debug)]
pub(super) struct Kept {
    answers: moka::sync::Cache<Key, Arc<Answer>, Hashing>,
    /// For answers that come while they are to be kept.
    memory: Arc<Memory>,
}

#[derive(Debug)]
struct Answer {
    head: Head,
    body: Bytes,
    until: Instant,
}

impl Kept {
    /// Holds at most `max_bytes`.
    pub(super) fn new(max_bytes: u64, memory: Arc<Memory>) -> Self {
        let answers = moka::sync::Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &Key, answer: &Arc<Answer>| {
                let bytes = ENTRY + key.bytes() + answer.body.len();
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .time_to_live(std::time::Duration::from_secs(LATELY.into()))
            .build_with_hasher(Hashing::default());
        Self { answers, memory }
    }

    /// Drops all kept answers.
    pub(super) fn clear(&self) {
        self.answers.invalidate_all();
    }

    /// How many bytes are kept, once what is too old is gone.
    pub(super) fn bytes(&self) -> u64 {
        self.answers.run_pending_tasks();
        self.answers.weighted_size()
    }

    /// The answer that is kept.
    pub(super) fn get(&self, key: &Key) -> Option<UpstreamAnswer> {
        let answer = self.answers.get(key)?;
        (Instant::now() < answer.until).then(|| UpstreamAnswer {
            head: answer.head.clone(),
            first: answer.body.clone(),
            ended: true,
            rest: Incoming::Shared(Box::pin(Empty::new().map_err(|never| match never {}))),
        })
    }

    /// Keeps an answer until then, if it turns out to be one that may be kept once all of it has passed.
    pub(super) fn keeping(
        self: &Arc<Self>,
        key: Key,
        until: Instant,
        answer: UpstreamAnswer,
    ) -> UpstreamAnswer {
        if answer.head.status != StatusCode::OK || answer.head.encoding == Encoding::Unknown {
            return answer;
        }
        let Some(reserved) = Memory::reserve(&self.memory) else {
            return answer;
        };
        let mut passing = Passing {
            kept: self.clone(),
            key,
            until,
            head: answer.head.clone(),
            chunks: Vec::new(),
            bytes: 0,
            reserved,
        };
        let fits = passing.push(&answer.first);
        if !fits {
            return answer;
        }
        if answer.ended {
            passing.end();
            return answer;
        }
        UpstreamAnswer {
            rest: Incoming::Shared(Box::pin(Keeping {
                body: answer.rest,
                passing: Some(Box::new(passing)),
            })),
            ..answer
        }
    }
}

/// An answer on its way to its callers, and a copy of what has passed.
struct Passing {
    kept: Arc<Kept>,
    key: Key,
    until: Instant,
    head: Head,
    chunks: Vec<Bytes>,
    bytes: usize,
    reserved: Reserved,
}

impl Passing {
    /// Whether it is still short enough.
    fn push(&mut self, data: &Bytes) -> bool {
        self.chunks.push(data.clone());
        self.bytes += data.len();
        self.bytes <= MAX_BYTES && self.reserved.reach(self.bytes)
    }

    /// The whole answer has passed.
    fn end(self) {
        let mut body = BytesMut::with_capacity(self.bytes);
        for chunk in &self.chunks {
            body.extend_from_slice(chunk);
        }
        let body = body.freeze();
        if Instant::now() < self.until && may_be_kept(&self.head, &body) {
            let answer = Answer {
                head: self.head,
                body,
                until: self.until,
            };
            self.kept.answers.insert(self.key, Arc::new(answer));
        }
    }
}

/// A body that is copied on its way, for the case that it reaches its end.
struct Keeping {
    body: Incoming,
    /// `None` once it is not to be kept, or is.
    passing: Option<Box<Passing>>,
}

impl Body for Keeping {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        match (&frame, &mut this.passing) {
            (Some(Ok(frame)), Some(passing)) => {
                if let Some(data) = frame.data_ref()
                    && !passing.push(data)
                {
                    this.passing = None;
                }
            }
            (Some(Err(_)), _) => this.passing = None,
            (None, _) | (_, None) => {}
        }
        // A body that has said that it is at its end is not polled again.
        if (frame.is_none() || this.body.is_end_stream())
            && let Some(passing) = this.passing.take()
        {
            passing.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    status: &'a str,
    data: Data<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Data<'a> {
    result_type: &'a str,
    #[serde(rename = "result")]
    _result: Vec<IgnoredAny>,
}

/// Whether an answer is a success with series and nothing else: no warning, no note, nothing that is not known.
fn may_be_kept(head: &Head, body: &[u8]) -> bool {
    let mut plain = Vec::new();
    let text = if head.encoding == Encoding::Gzip {
        let decoder = MultiGzDecoder::new(body);
        let read = decoder.take(MAX_BYTES as u64 + 1).read_to_end(&mut plain);
        if read.is_err() || plain.len() > MAX_BYTES {
            return false;
        }
        &plain
    } else {
        body
    };
    let envelope = serde_json::from_slice::<Envelope<'_>>(text);
    envelope
        .is_ok_and(|envelope| envelope.status == "success" && envelope.data.result_type == "matrix")
}

#[cfg(test)]
#[path = "tests/kept.rs"]
mod tests;
