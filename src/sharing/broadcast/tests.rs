use std::collections::VecDeque;
use std::task::Context;

use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::grace::GRACE;
use super::*;
use crate::sharing::memory::PIECE;

/// What a test sends.
struct Sent(mpsc::UnboundedReceiver<Result<Bytes, BodyError>>);

impl Body for Sent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = ready!(self.0.poll_recv(context));
        Poll::Ready(next.map(|result| result.map(Frame::data)))
    }
}

type Source = mpsc::UnboundedSender<Result<Bytes, BodyError>>;

/// An answer that `expected` callers wait for, being read.
fn begun(memory: &Arc<Memory>, expected: usize) -> (Arc<Broadcast>, Source) {
    let (source, sent) = mpsc::unbounded_channel();
    let broadcast = Broadcast::new(memory, expected, None).expect("memory");
    let body = Incoming::Shared(Box::pin(Sent(sent)));
    tokio::spawn(broadcast.clone().read(Bytes::new(), false, body));
    (broadcast, source)
}

fn memory() -> Arc<Memory> {
    Memory::new(64 * 1024 * 1024)
}

async fn next(reader: &mut Reader) -> Bytes {
    let frame = reader.frame().await.expect("not the end");
    frame.expect("no error").into_data().expect("data")
}

fn piece(byte: u8) -> Bytes {
    Bytes::from(vec![byte; 10 * 1024])
}

#[tokio::test]
async fn each_gets_all_of_it_at_its_own_pace_whenever_it_came() {
    let (broadcast, source) = begun(&memory(), 2);
    let mut first = broadcast.expected().expect("a reader");
    source.send(Ok(Bytes::from_static(b"one"))).expect("sent");
    assert_eq!(next(&mut first).await, "one");
    let mut late = broadcast.join().expect("the beginning is there");
    source.send(Ok(Bytes::from_static(b"two"))).expect("sent");
    drop(source);
    for reader in [first, broadcast.expected().expect("a reader")] {
        let text = reader.collect().await.expect("no error").to_bytes();
        assert!(text == "two" || text == "onetwo", "{text:?}");
    }
    assert_eq!(next(&mut late).await, "one");
    assert_eq!(next(&mut late).await, "two");
    assert!(late.frame().await.is_none());
    assert!(broadcast.join().is_none(), "it has ended");
}

#[tokio::test(start_paused = true)]
async fn nobody_joins_what_prometheus_said_long_ago() {
    let (broadcast, source) = begun(&memory(), 1);
    source.send(Ok(piece(1))).expect("sent");
    let _reader = broadcast.expected().expect("a reader");
    tokio::time::sleep(JOINED_WITHIN).await;
    assert!(broadcast.join().is_some());
    tokio::time::sleep(JOINED_WITHIN).await;
    assert!(broadcast.join().is_none());
}

#[tokio::test]
async fn no_more_is_read_than_the_fastest_takes_and_a_little() {
    let (broadcast, source) = begun(&memory(), 2);
    for byte in 0..100 {
        source.send(Ok(piece(byte))).expect("sent");
    }
    let mut fast = broadcast.expected().expect("a reader");
    let _slow = broadcast.expected().expect("a reader");
    tokio::task::yield_now().await;
    assert_eq!(broadcast.lock().held, 4 * 10 * 1024, "past 32 KiB");
    for byte in 0..10 {
        assert_eq!(next(&mut fast).await, piece(byte));
    }
    tokio::task::yield_now().await;
    assert_eq!(broadcast.lock().held, 14 * 10 * 1024);
}

#[tokio::test(start_paused = true)]
async fn who_is_too_far_behind_gets_an_error_and_the_others_go_on() {
    let (begun_at, memory) = (Instant::now(), memory());
    let (broadcast, source) = begun(&memory, 2);
    let (mut fast, mut slow) = (
        broadcast.expected().expect("a reader"),
        broadcast.expected().expect("a reader"),
    );
    source.send(Ok(piece(1))).expect("sent");
    assert_eq!(next(&mut slow).await, piece(1));
    assert_eq!(next(&mut fast).await, piece(1));
    for _ in 0..1000 {
        source.send(Ok(piece(2))).expect("sent");
        assert_eq!(next(&mut fast).await, piece(2));
        assert!(broadcast.lock().held <= MAX_HELD + 10 * 1024);
    }
    assert!(memory.taken() <= MAX_HELD);
    assert_eq!(begun_at.elapsed(), STALL, "it was waited for once");
    assert!(broadcast.join().is_none(), "the beginning is gone");
    let error = loop {
        match slow.frame().await.expect("not the end") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, BodyError::Behind), "{error}");
    drop(source);
    assert!(fast.frame().await.is_none(), "a whole answer");
    drop((fast, slow, broadcast));
    tokio::task::yield_now().await;
    assert_eq!(memory.taken(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_but_takes_something_is_waited_for_and_not_for_ever() {
    let (begun_at, memory) = (Instant::now(), memory());
    let (broadcast, source) = begun(&memory, 2);
    let mut fast = broadcast.expected().expect("a reader");
    let mut slow = broadcast.expected().expect("a reader");
    let slow = tokio::spawn(async move {
        loop {
            tokio::time::sleep(STALL / 10).await;
            match slow.frame().await.expect("not the end") {
                Ok(_) => {}
                Err(error) => break error,
            }
        }
    });
    for _ in 0..2000 {
        source.send(Ok(piece(2))).expect("sent");
        assert_eq!(next(&mut fast).await, piece(2));
    }
    let waited = begun_at.elapsed();
    assert!((GRACE..GRACE + STALL).contains(&waited), "{waited:?}");
    let error = slow.await.expect("no panic");
    assert!(matches!(error, BodyError::Behind), "{error}");
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_long_for_prometheus_has_not_stalled() {
    let (broadcast, source) = begun(&memory(), 2);
    let (mut fast, mut other) = (
        broadcast.expected().expect("a reader"),
        broadcast.expected().expect("a reader"),
    );
    let take = |reader: &mut Reader| {
        let frame = futures_util::FutureExt::now_or_never(reader.frame());
        frame.map(|frame| frame.expect("not the end").expect("no error"))
    };
    assert!(take(&mut fast).is_none() && take(&mut other).is_none());
    tokio::time::sleep(20 * STALL).await;
    for _ in 0..500 {
        source.send(Ok(piece(2))).expect("sent");
    }
    let mut taken = [0, 0];
    for turn in 0..3000 {
        tokio::task::yield_now().await;
        taken[0] += usize::from(take(&mut fast).is_some());
        if turn > 1500 {
            taken[1] += usize::from(take(&mut other).is_some());
        }
    }
    assert_eq!(taken, [500, 500]);
}

#[tokio::test(start_paused = true)]
async fn without_memory_the_slow_ones_go_first_and_no_other_answer_begins() {
    let memory = Memory::new(PIECE);
    let (broadcast, source) = begun(&memory, 2);
    let (mut fast, mut slow) = (
        broadcast.expected().expect("a reader"),
        broadcast.expected().expect("a reader"),
    );
    assert!(Broadcast::new(&memory, 1, None).is_none());
    for _ in 0..20 {
        source.send(Ok(piece(1))).expect("sent");
        assert_eq!(next(&mut fast).await, piece(1));
        assert!(broadcast.lock().held <= PIECE + 10 * 1024);
    }
    let error = slow.frame().await.expect("not the end");
    assert!(matches!(error, Err(BodyError::Behind)));
}

#[tokio::test]
async fn an_answer_that_breaks_breaks_for_each_and_is_never_short() {
    let (broadcast, source) = begun(&memory(), 2);
    source.send(Ok(piece(1))).expect("sent");
    let broken = http1::Error::Broken(io::ErrorKind::ConnectionReset.into());
    source.send(Err(broken.into())).expect("sent");
    for _ in 0..2 {
        let mut reader = broadcast.expected().expect("a reader");
        assert_eq!(next(&mut reader).await, piece(1));
        let error = reader.frame().await.expect("not the end");
        assert!(matches!(error, Err(BodyError::Broken(_))));
    }
}

#[tokio::test]
async fn when_its_reading_ends_early_so_does_the_answer() {
    let (source, sent) = mpsc::unbounded_channel();
    let broadcast = Broadcast::new(&memory(), 1, None).expect("memory");
    let body = Incoming::Shared(Box::pin(Sent(sent)));
    let reading = tokio::spawn(broadcast.clone().read(Bytes::new(), false, body));
    let mut reader = broadcast.expected().expect("a reader");
    source.send(Ok(piece(1))).expect("sent");
    assert_eq!(next(&mut reader).await, piece(1));
    reading.abort();
    let error = reader.frame().await.expect("not the end");
    assert!(matches!(error, Err(BodyError::Broken(_))));
}

#[tokio::test]
async fn when_the_last_has_left_prometheus_is_not_read_any_more() {
    let (broadcast, source) = begun(&memory(), 2);
    let reader = broadcast.expected().expect("a reader");
    drop(reader);
    assert!(!source.is_closed(), "another one is expected");
    broadcast.gave_up();
    assert!(broadcast.join().is_none());
    source.closed().await;
}

#[tokio::test]
async fn small_pieces_do_not_hold_what_they_were_read_with() {
    let (broadcast, source) = begun(&memory(), 1);
    let read = Bytes::from(vec![7; 10 * 1024]);
    source.send(Ok(read.slice(..10))).expect("sent");
    let mut reader = broadcast.expected().expect("a reader");
    let given = next(&mut reader).await;
    assert_ne!(given.as_ptr(), read.as_ptr());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(16))]

    /// Whatever comes and whoever reads when: each reader has the bytes in order, and the whole or an error.
    #[test]
    fn nobody_gets_a_short_answer(
        sizes in proptest::collection::vec(0_usize..40_000, 0..30),
        order in proptest::collection::vec(0_usize..4, 0..200),
        limit in 1_usize..4,
        cut: bool,
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let (broadcast, source) = begun(&Memory::new(limit * PIECE), 3);
            let whole: Vec<u8> = (0_u8..).zip(&sizes).flat_map(|(byte, size)| vec![byte; *size]).collect();
            let mut pieces: VecDeque<_> = (0_u8..).zip(&sizes).map(|(byte, size)| Bytes::from(vec![byte; *size])).collect();
            let mut readers: Vec<_> = (0..3).map(|_| (broadcast.expected().expect("a reader"), Vec::new(), None)).collect();
            let mut source = Some(source);
            let rest = (0..500).map(|turn| turn % 4);
            for turn in order.into_iter().chain(rest) {
                tokio::task::yield_now().await;
                let Some((reader, text, end)) = readers.get_mut(turn) else {
                    if let Some(piece) = pieces.pop_front() {
                        let _ = source.as_ref().map(|source| source.send(Ok(piece)));
                    } else if let Some(source) = source.take()
                        && cut
                    {
                        let _ = source.send(Err(http1::Error::Malformed("a cut").into()));
                    }
                    continue;
                };
                if end.is_some() {
                    continue;
                }
                let mut context = Context::from_waker(Waker::noop());
                match Pin::new(reader).poll_frame(&mut context) {
                    Poll::Ready(Some(Ok(frame))) => text.extend(frame.into_data().expect("data")),
                    Poll::Ready(Some(Err(error))) => *end = Some(Err(error)),
                    Poll::Ready(None) => *end = Some(Ok(())),
                    Poll::Pending => {}
                }
            }
            for (_, text, end) in readers {
                assert!(whole.starts_with(&text));
                if end.expect("an end").is_ok() {
                    assert!(!cut);
                    assert_eq!(text.len(), whole.len());
                }
            }
        });
    }
}
