use std::sync::atomic::AtomicUsize;

use super::*;
use crate::cluster::metrics::{Review, ReviewsMetrics};

const FRESH: Duration = Duration::from_secs(10);
const USABLE: Duration = Duration::from_secs(100);

fn cache() -> Arc<ReviewCache<u32, u32>> {
    Arc::new(ReviewCache::new(
        100,
        USABLE,
        ReviewsMetrics::default().of(Review::Token),
    ))
}

/// A review that takes a second, counts itself, and answers its number.
async fn review(count: Arc<AtomicUsize>) -> Result<Answer<u32>, Unavailable> {
    let number = count.fetch_add(1, Ordering::SeqCst) as u32 + 1;
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(Answer::new(number, FRESH, USABLE))
}

async fn fail() -> Result<Answer<u32>, Unavailable> {
    Err(Unavailable::Unreachable)
}

async fn value<F>(
    cache: &ReviewCache<u32, u32>,
    review: impl FnOnce() -> F,
) -> Result<u32, Unavailable>
where
    F: Future<Output = Result<Answer<u32>, Unavailable>> + Send + 'static,
{
    let answer = answer(cache, |_| review()).await;
    answer.map(|answer| answer.value)
}

/// A fresh answer from the cache, or what `review` brings.
async fn answer<F>(
    cache: &ReviewCache<u32, u32>,
    review: impl FnOnce(Option<&u32>) -> F,
) -> Result<Answer<u32>, Unavailable>
where
    F: Future<Output = Result<Answer<u32>, Unavailable>> + Send + 'static,
{
    match cache.known(&1, |_, _| Standing::Holds) {
        Known::Fresh(answer) => Ok(answer),
        Known::Ended(answer) => cache.ask(1, answer, review).await,
    }
}

#[tokio::test(start_paused = true)]
async fn however_many_ask_one_review_is_under_way() {
    let (cache, count) = (cache(), Arc::new(AtomicUsize::new(0)));
    let askers = (0..100).map(|_| {
        let (cache, count) = (cache.clone(), count.clone());
        tokio::spawn(async move { value(&cache, || review(count)).await })
    });
    for asker in askers.collect::<Vec<_>>() {
        assert_eq!(asker.await.expect("no panic"), Ok(1));
    }
}

#[tokio::test(start_paused = true)]
async fn t20_the_first_who_asks_may_leave() {
    let (cache, count) = (cache(), Arc::new(AtomicUsize::new(0)));
    let ask = || {
        let (cache, count) = (cache.clone(), count.clone());
        tokio::spawn(async move { value(&cache, || review(count)).await })
    };
    let first = ask();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = ask();
    tokio::time::sleep(Duration::from_millis(100)).await;
    first.abort();
    assert_eq!(second.await.expect("no panic"), Ok(1));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn h13_a_review_that_nobody_waits_for_ends_and_leaves_nothing() {
    let (cache, count) = (cache(), Arc::new(AtomicUsize::new(0)));
    for number in 1..4 {
        let asked = value(&cache, || review(count.clone()));
        assert!(
            tokio::time::timeout(Duration::from_millis(100), asked)
                .await
                .is_err()
        );
        assert_eq!(count.load(Ordering::SeqCst), number);
        assert!(cache.shared.in_flight().is_empty());
    }
    assert_eq!(value(&cache, || review(count.clone())).await, Ok(4));
    assert!(cache.shared.in_flight().is_empty());
}

#[tokio::test(start_paused = true)]
async fn t20_a_panic_is_an_error_for_all_who_wait_and_the_next_asks_again() {
    let cache = cache();
    let panics = || async { panic!("in a review") };
    assert_eq!(value(&cache, panics).await, Err(Unavailable::Malformed));
    assert_eq!(value(&cache, || review(Arc::default())).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn t18_errors_are_not_remembered() {
    let cache = cache();
    assert_eq!(value(&cache, fail).await, Err(Unavailable::Unreachable));
    assert_eq!(value(&cache, || review(Arc::default())).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn while_kubernetes_is_away_the_last_answer_serves_until_it_is_too_old() {
    let (cache, count) = (cache(), Arc::new(AtomicUsize::new(0)));
    assert_eq!(value(&cache, || review(count.clone())).await, Ok(1));
    tokio::time::sleep(FRESH).await;
    assert_eq!(value(&cache, fail).await, Ok(1), "stale");
    assert_eq!(
        value(&cache, || async { unreachable!("asked again at once") }).await,
        Ok(1),
        "a pause"
    );
    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
    assert_eq!(
        value(&cache, || review(count.clone())).await,
        Ok(2),
        "back again"
    );
    tokio::time::sleep(USABLE).await;
    assert_eq!(
        value(&cache, fail).await,
        Err(Unavailable::Unreachable),
        "too old"
    );
}

#[tokio::test(start_paused = true)]
async fn k19_only_when_the_api_server_fails_does_an_old_answer_serve() {
    let failures = [
        (Unavailable::Deadline, true),
        (Unavailable::Unreachable, true),
        (Unavailable::Malformed, true),
        (Unavailable::Refused { status: 500 }, true),
        (Unavailable::Refused { status: 503 }, true),
        (Unavailable::Refused { status: 401 }, false),
        (Unavailable::Refused { status: 403 }, false),
        (Unavailable::Refused { status: 429 }, false),
        (Unavailable::Busy, false),
        (Unavailable::OutOfTime, false),
        (Unavailable::NamespacesUnknown, false),
    ];
    for (failure, serves) in failures {
        let cache = cache();
        assert_eq!(value(&cache, || review(Arc::default())).await, Ok(1));
        tokio::time::sleep(FRESH).await;
        let served = value(&cache, || async move { Err(failure) }).await;
        let expected = if serves { Ok(1) } else { Err(failure) };
        assert_eq!(served, expected, "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn k19_a_review_is_told_what_is_remembered_and_may_still_serve() {
    let cache = cache();
    let mut told = Vec::new();
    for wait in [Duration::ZERO, FRESH, USABLE] {
        tokio::time::sleep(wait).await;
        let answer = answer(&cache, |remembered| {
            told.push(remembered.copied());
            review(Arc::default())
        });
        answer.await.expect("an answer");
    }
    assert_eq!(told, [None, Some(1), None]);
}
