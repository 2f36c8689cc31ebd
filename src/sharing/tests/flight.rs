use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::*;
use crate::upstream::http1::Encoding;
use crate::upstream::request::UpstreamRequest;

fn table() -> Own<Table> {
    Arc::new(Table::new(Memory::new(1024 * 1024)))
}

fn key(target: &str) -> Key {
    Key::new(
        Arc::new(UpstreamRequest::fake(Method::GET, target)),
        false,
        0,
    )
}

fn answer(text: &'static str) -> UpstreamAnswer {
    UpstreamAnswer {
        head: Head {
            status: StatusCode::OK,
            content_type: None,
            encoding: Encoding::Identity,
            retry_after: None,
        },
        first: Bytes::from_static(text.as_bytes()),
        ended: true,
        rest: Incoming::Shared(Box::pin(
            http_body_util::Empty::new().map_err(|_| unreachable!()),
        )),
    }
}

type Told = oneshot::Sender<Result<UpstreamAnswer, UpstreamError>>;

/// A request whose answer a test gives.
fn first(boarded: Boarded) -> (First, Told) {
    let Boarded::First(flight) = boarded else {
        panic!("another one is under way")
    };
    let (told, answer) = oneshot::channel();
    let asking = async move { answer.await.unwrap_or(Err(UpstreamError::Broken)) };
    (First::new(flight, Box::pin(asking)), told)
}

fn waiting(boarded: Boarded) -> Waiting {
    match boarded {
        Boarded::Waiting(waiting) => waiting,
        _ => panic!("it does not wait"),
    }
}

async fn text(begun: UpstreamAnswer) -> String {
    let rest = begun.rest.collect().await.expect("no error").to_bytes();
    String::from_utf8([begun.first, rest].concat()).expect("text")
}

impl Table {
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

#[tokio::test]
async fn who_asks_alone_gets_its_own_answer_and_leaves_nothing() {
    let table = table();
    let (first, told) = first(Table::board(&table, key("/a")));
    let _ = told.send(Ok(answer("text")));
    let begun = first.await.expect("an answer");
    assert!(begun.ended, "it is not read for others");
    assert_eq!(text(begun).await, "text");
    assert_eq!((table.len(), table.memory.taken()), (0, 0));
}

#[tokio::test]
async fn who_asks_the_same_meanwhile_gets_the_same_answer() {
    let table = table();
    let (first, told) = first(Table::board(&table, key("/a")));
    let waiting: Vec<_> = (0..5)
        .map(|_| waiting(Table::board(&table, key("/a"))))
        .collect();
    let _ = told.send(Ok(answer("text")));
    assert_eq!(text(first.await.expect("an answer")).await, "text");
    for waiting in waiting {
        let begun = waiting.answer().await.expect("shared").expect("an answer");
        assert_eq!(text(begun).await, "text");
    }
    tokio::task::yield_now().await;
    assert_eq!((table.len(), table.memory.taken()), (0, 0));
}

#[tokio::test]
async fn what_differs_in_anything_does_not_meet() {
    let table = table();
    let get = |target| Arc::new(UpstreamRequest::fake(Method::GET, target));
    let (_one, _told) = first(Table::board(&table, Key::new(get("/a"), false, 0)));
    let (_two, _told) = first(Table::board(&table, Key::new(get("/b"), false, 0)));
    let (_three, _told) = first(Table::board(&table, Key::new(get("/a"), true, 0)));
    let (_four, _told) = first(Table::board(&table, Key::new(get("/a"), false, 1)));
    let post = Arc::new(UpstreamRequest::fake(Method::POST, "/a"));
    let (_five, _told) = first(Table::board(&table, Key::new(post, false, 0)));
    assert_eq!(table.len(), 5);
}

#[tokio::test]
async fn an_error_reaches_all_who_wait_and_nobody_after() {
    let table = table();
    let (first, told) = first(Table::board(&table, key("/a")));
    let one = waiting(Table::board(&table, key("/a")));
    let two = waiting(Table::board(&table, key("/a")));
    let _ = told.send(Err(UpstreamError::Timeout));
    assert!(matches!(first.await, Err(UpstreamError::Timeout)));
    for waiting in [one, two] {
        let result = waiting.answer().await.expect("shared");
        assert!(matches!(result, Err(UpstreamError::Timeout)));
    }
    assert!(matches!(Table::board(&table, key("/a")), Boarded::First(_)));
}

#[tokio::test]
async fn when_the_first_leaves_the_others_get_its_answer_all_the_same() {
    let table = table();
    let (mut first, told) = first(Table::board(&table, key("/a")));
    assert!(futures_util::poll!(&mut first).is_pending());
    let one = waiting(Table::board(&table, key("/a")));
    drop(first);
    let two = waiting(Table::board(&table, key("/a")));
    tokio::task::yield_now().await;
    let _ = told.send(Ok(answer("text")));
    for waiting in [one, two] {
        let begun = waiting.answer().await.expect("shared").expect("an answer");
        assert_eq!(text(begun).await, "text");
    }
}

#[tokio::test]
async fn when_the_last_leaves_the_request_ends() {
    let table = table();
    let (lone, told) = first(Table::board(&table, key("/a")));
    drop(lone);
    assert!(told.is_closed(), "nobody waits");
    assert_eq!(table.len(), 0);

    let (first, mut told) = first(Table::board(&table, key("/a")));
    let waiting = waiting(Table::board(&table, key("/a")));
    drop(first);
    tokio::task::yield_now().await;
    assert!(!told.is_closed(), "one waits");
    drop(waiting);
    told.closed().await;
    tokio::task::yield_now().await;
    assert_eq!(table.len(), 0);
}

#[tokio::test]
async fn who_left_before_the_answer_is_not_waited_for() {
    let table = table();
    let (first, told) = first(Table::board(&table, key("/a")));
    drop(waiting(Table::board(&table, key("/a"))));
    let _ = told.send(Ok(answer("text")));
    assert!(first.await.expect("an answer").ended, "alone again");
}

#[tokio::test]
async fn without_memory_each_asks_for_itself() {
    let table = Arc::new(Table::new(Memory::new(1024)));
    let (first, told) = first(Table::board(&table, key("/a")));
    let waiting = waiting(Table::board(&table, key("/a")));
    let _ = told.send(Ok(answer("text")));
    assert_eq!(text(first.await.expect("an answer")).await, "text");
    assert!(waiting.answer().await.is_none());
}

#[test]
fn without_a_runtime_those_who_wait_ask_for_themselves() {
    let table = table();
    let (first, _told) = first(Table::board(&table, key("/a")));
    let waiting = waiting(Table::board(&table, key("/a")));
    drop(first);
    let answer = futures_util::FutureExt::now_or_never(waiting.answer());
    assert!(matches!(answer, Some(None)));
}

#[tokio::test]
async fn who_waits_for_a_request_that_panics_asks_for_itself() {
    let table = table();
    for leaves in [false, true] {
        let Boarded::First(flight) = Table::board(&table, key("/a")) else {
            panic!("another one is under way")
        };
        let (told, answer) = oneshot::channel::<()>();
        let asking = async move {
            let _ = answer.await;
            panic!("as it is told to")
        };
        let first = First::new(flight, Box::pin(asking));
        let waiting = waiting(Table::board(&table, key("/a")));
        if leaves {
            drop(first);
        } else {
            tokio::spawn(first);
        }
        tokio::task::yield_now().await;
        let _ = told.send(());
        assert!(waiting.answer().await.is_none());
        assert_eq!(table.len(), 0);
    }
}

/// Nothing waits for ever, and nothing stays behind, whoever comes and leaves when, on any thread.
#[test]
fn many_on_several_threads_come_and_leave() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime");
    let table = table();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..2000_usize)
            .map(|number| {
                let table = table.clone();
                let target = ["/a", "/b", "/c"][number % 3];
                tokio::spawn(async move {
                    let begun = match Table::board(&table, key(target)) {
                        Boarded::First(flight) => {
                            let asking = async move {
                                for _ in 0..number % 7 {
                                    tokio::task::yield_now().await;
                                }
                                Ok(answer(target))
                            };
                            let mut first = First::new(flight, Box::pin(asking));
                            if number % 5 == 0 {
                                let _ = futures_util::poll!(&mut first);
                                return;
                            }
                            first.await
                        }
                        Boarded::Begun(begun) => Ok(begun),
                        Boarded::Waiting(waiting) if number % 11 == 0 => return drop(waiting),
                        Boarded::Waiting(waiting) => match waiting.answer().await {
                            Some(result) => result,
                            None => return,
                        },
                    };
                    if number % 13 != 0 {
                        assert_eq!(text(begun.expect("an answer")).await, target);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        while table.len() > 0 || table.memory.taken() > 0 {
            tokio::task::yield_now().await;
        }
    });
}
