use http::HeaderValue;
use http_body_util::Full;

use super::*;
use crate::upstream::http1;

const NOW: u64 = 1_700_000_000;

const MATRIX: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1700000000,"1"]]}]}}"#;

fn kept() -> Arc<Kept> {
    Arc::new(Kept::new(16 * 1024 * 1024, Memory::new(16 * 1024 * 1024)))
}

fn head(encoding: Encoding) -> Head {
    Head {
        status: StatusCode::OK,
        content_type: Some(HeaderValue::from_static("application/json")),
        encoding,
        retry_after: None,
    }
}

/// An answer in two pieces.
fn answer(text: &[u8]) -> UpstreamAnswer {
    let (first, rest) = text.split_at(text.len() / 2);
    let rest = Full::new(Bytes::copy_from_slice(rest)).map_err(|never| match never {});
    UpstreamAnswer {
        head: head(Encoding::Identity),
        first: Bytes::copy_from_slice(first),
        ended: false,
        rest: Incoming::Shared(Box::pin(rest)),
    }
}

async fn read(begun: UpstreamAnswer) -> Bytes {
    let rest = begun.rest.collect().await.expect("no error").to_bytes();
    [begun.first, rest].concat().into()
}

fn soon() -> Instant {
    Instant::now() + std::time::Duration::from_secs(10)
}

#[tokio::test(start_paused = true)]
async fn what_has_passed_is_there_until_its_time() {
    let kept = kept();
    let begun = kept.keeping(Key::chart("up", NOW), soon(), answer(MATRIX.as_bytes()));
    assert!(
        kept.get(&Key::chart("up", NOW)).is_none(),
        "it has not passed"
    );
    assert_eq!(read(begun).await, MATRIX);
    let found = kept.get(&Key::chart("up", NOW)).expect("kept");
    assert_eq!(found.head.status, StatusCode::OK);
    assert_eq!(read(found).await, MATRIX);
    assert!(kept.get(&Key::chart("up", NOW + 10)).is_none());
    assert!(kept.get(&Key::chart("down", NOW)).is_none());
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    assert!(kept.get(&Key::chart("up", NOW)).is_none(), "it is too old");
}

#[tokio::test]
async fn what_is_not_a_plain_success_with_series_is_not_kept() {
    let gone = |text: &str| text.replace("success", "error");
    for text in [
        gone(MATRIX),
        MATRIX.replace("matrix", "vector"),
        format!(
            "{}{}",
            MATRIX.trim_end_matches('}'),
            r#"},"warnings":["w"]}"#
        ),
        format!("{}{}", MATRIX.trim_end_matches('}'), r#"},"infos":["i"]}"#),
        format!("{}{}", MATRIX.trim_end_matches('}'), r#","stats":{}}}"#),
        MATRIX.replacen('{', r#"{"isPartial":true,"#, 1),
        MATRIX[..MATRIX.len() - 1].to_owned(),
        format!("{MATRIX}{MATRIX}"),
        String::new(),
        format!("{MATRIX}{}", " ".repeat(MAX_BYTES)),
    ] {
        let kept = kept();
        let begun = kept.keeping(Key::chart("up", NOW), soon(), answer(text.as_bytes()));
        assert_eq!(read(begun).await, text);
        assert!(kept.get(&Key::chart("up", NOW)).is_none(), "{text:.200}");
        assert_eq!(kept.memory.taken(), 0);
    }
}

#[tokio::test]
async fn an_error_status_or_a_cut_answer_is_not_kept() {
    let kept = kept();
    let mut refused = answer(MATRIX.as_bytes());
    refused.head.status = StatusCode::UNPROCESSABLE_ENTITY;
    let begun = kept.keeping(Key::chart("up", NOW), soon(), refused);
    assert_eq!(read(begun).await, MATRIX);
    assert!(kept.get(&Key::chart("up", NOW)).is_none());

    let cut = http_body_util::StreamBody::new(futures_util::stream::iter([
        Ok(Frame::data(Bytes::from_static(b"\"status\""))),
        Err(BodyError::from(http1::Error::Malformed("a cut"))),
    ]));
    let begun = UpstreamAnswer {
        rest: Incoming::Shared(Box::pin(cut)),
        ..answer(b"{")
    };
    let begun = kept.keeping(Key::chart("up", NOW), soon(), begun);
    assert!(begun.rest.collect().await.is_err());
    assert!(kept.get(&Key::chart("up", NOW)).is_none());

    let left = kept.keeping(Key::chart("up", NOW), soon(), answer(MATRIX.as_bytes()));
    drop(left);
    assert!(kept.get(&Key::chart("up", NOW)).is_none());
    assert_eq!(kept.memory.taken(), 0);
}

#[tokio::test]
async fn a_compressed_answer_is_kept_as_it_is_and_looked_into() {
    let gzip = |text: &str| {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).expect("written");
        encoder.finish().expect("written")
    };
    let warned = format!(
        "{}{}",
        MATRIX.trim_end_matches('}'),
        r#"},"warnings":["w"]}"#
    );
    for (text, is_kept) in [(MATRIX, true), (&warned, false)] {
        let kept = kept();
        let compressed = gzip(text);
        let mut begun = answer(&compressed);
        begun.head = head(Encoding::Gzip);
        let begun = kept.keeping(Key::chart("up", NOW), soon(), begun);
        assert_eq!(read(begun).await, compressed);
        let found = kept.get(&Key::chart("up", NOW));
        assert_eq!(found.is_some(), is_kept, "{text}");
        if let Some(found) = found {
            assert_eq!(found.head.encoding, Encoding::Gzip);
            assert_eq!(read(found).await, compressed);
        }
    }
}

#[tokio::test]
async fn no_more_is_kept_than_there_is_room_for() {
    let kept = Arc::new(Kept::new(64 * 1024, Memory::new(1024 * 1024)));
    let text = format!("{MATRIX}{}", " ".repeat(10_000));
    for number in 0..200 {
        let key = Key::chart(&format!("up{number}"), NOW);
        read(kept.keeping(key, soon(), answer(text.as_bytes()))).await;
        assert!(kept.bytes() <= 64 * 1024, "{}", kept.bytes());
    }
    let without = Arc::new(Kept::new(64 * 1024, Memory::new(0)));
    read(without.keeping(Key::chart("up", NOW), soon(), answer(MATRIX.as_bytes()))).await;
    assert!(without.get(&Key::chart("up", NOW)).is_none());
}
