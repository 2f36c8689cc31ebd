use std::collections::VecDeque;

use http_body_util::BodyExt;

use super::*;

/// Gives what it is told to, frame by frame; nothing at all where it says `None`.
struct Told(VecDeque<Option<Frame<Bytes>>>);

impl Body for Told {
    type Data = Bytes;
    type Error = http1::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, http1::Error>>> {
        match self.0.front() {
            Some(None) => Poll::Pending,
            _ => Poll::Ready(self.0.pop_front().flatten().map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(7)
    }
}

fn timed(
    frames: impl IntoIterator<Item = Option<Frame<Bytes>>>,
    longest: Duration,
) -> TimeoutBody<Told> {
    let deadline = Instant::now() + longest;
    TimeoutBody::new(
        Told(frames.into_iter().collect()),
        Duration::from_secs(5),
        deadline,
    )
}

fn data(text: &'static str) -> Option<Frame<Bytes>> {
    Some(Frame::data(Bytes::from_static(text.as_bytes())))
}

#[tokio::test(start_paused = true)]
async fn a_body_passes_with_its_size_and_end_and_without_trailers() {
    let trailers = Some(Frame::trailers(http::HeaderMap::new()));
    let mut body = timed([data("a"), data("b"), trailers], Duration::from_secs(60));
    assert_eq!(body.size_hint().exact(), Some(7));
    assert!(!body.is_end_stream());
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        text.extend(
            frame
                .expect("no error")
                .into_data()
                .expect("h27: no trailers"),
        );
    }
    assert_eq!(text, b"ab");
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn h20_a_body_that_stalls_ends_as_an_error() {
    let mut body = timed([data("a"), None], Duration::from_secs(60));
    body.frame().await.expect("a frame").expect("data");
    let begun = Instant::now();
    assert!(matches!(body.frame().await, Some(Err(BodyError::Idle))));
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn t16_a_body_that_goes_on_for_too_long_ends_as_an_error() {
    let mut body = timed([None], Duration::from_secs(2));
    assert!(matches!(body.frame().await, Some(Err(BodyError::TooLong))));
}

/// Doubles every byte, and fails on `!`.
struct Doubling;

impl Filter for Doubling {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        for &byte in chunk {
            if byte == b'!' {
                return Err(FilterError::Syntax { offset: 0 });
            }
            out.extend([byte, byte]);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        out.push(b'.');
        Ok(())
    }
}

fn plain(frames: impl IntoIterator<Item = Option<Frame<Bytes>>>) -> TimeoutBody<Told> {
    timed(frames, Duration::from_secs(60))
}

#[tokio::test(start_paused = true)]
async fn a_filter_sees_every_piece_and_the_end() {
    let body = Filtered::new(
        plain([data("a"), data(""), data("b")]),
        false,
        Box::new(Doubling),
    );
    assert_eq!(body.collect().await.expect("no error").to_bytes(), "aabb.");
}

#[tokio::test(start_paused = true)]
async fn what_a_filter_does_not_understand_ends_as_an_error() {
    let mut body = Filtered::new(plain([data("a"), data("!")]), false, Box::new(Doubling));
    assert!(body.frame().await.expect("a frame").is_ok());
    assert!(matches!(
        body.frame().await,
        Some(Err(BodyError::Filter(_)))
    ));
    assert!(body.frame().await.is_none() && body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn h26_gzip_is_unfolded_piece_by_piece_before_a_filter() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, &[b'x'; 100_000]).expect("written");
    let text = encoder.finish().expect("encoded");
    for size in [1, 7, text.len()] {
        let frames: Vec<_> = text
            .chunks(size)
            .map(|piece| Some(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let body = Filtered::new(plain(frames), true, Box::new(Doubling));
        let unfolded = body.collect().await.expect("no error").to_bytes();
        assert_eq!(unfolded.len(), 200_001);
    }
    let cut = Some(Frame::data(Bytes::copy_from_slice(&text[..text.len() / 2])));
    let body = Filtered::new(plain([cut]), true, Box::new(Doubling));
    assert!(matches!(
        body.collect().await,
        Err(BodyError::Compression(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn h34_a_body_that_always_has_something_ends_at_its_deadline() {
    /// Gives data for ever, a piece each second, and never says that it has none.
    struct Endless;
    impl Body for Endless {
        type Data = Bytes;
        type Error = http1::Error;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, http1::Error>>> {
            Poll::Ready(data("[").map(Ok))
        }
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut body = TimeoutBody::new(Endless, Duration::from_secs(5), deadline);
    let mut pieces = 0;
    let error = loop {
        match body.frame().await.expect("no end") {
            Ok(_) => pieces += 1,
            Err(error) => break error,
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    };
    assert!(matches!(error, BodyError::TooLong), "{error}");
    assert_eq!(pieces, 10);
}
