//! Watch streams: one JSON line per event, read from the store's history as it grows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Cluster;
use super::collection::Form;
use super::control::lock;
use super::kinds::Kind;
use super::request::parameter;
use super::selector::Selector;
use super::status::Status;
use super::store::{Change, Event, Store};
use crate::body::{Body, BodyError};

/// A watch without `timeoutSeconds` ends after this time; a real server picks 30 to 60 minutes.
const LONGEST: Duration = Duration::from_secs(3600);

/// How the server runs its watches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) bookmark_every: Duration,
    pub(crate) streaming_lists: bool,
}

/// Opens the watch that the query describes.
pub(crate) fn open(
    cluster: &Arc<Mutex<Cluster>>,
    settings: Settings,
    (kind, namespace): (Kind, &str),
    (query, form): (&str, Form),
) -> Result<Response<Body>, Status> {
    let is_set = |name| parameter(query, name).is_some_and(|value| value == "true" || value == "1");
    let selector = Selector::of(query)?;
    let timeout = parameter(query, "timeoutSeconds")
        .and_then(|seconds| seconds.parse().ok())
        .map_or(LONGEST, Duration::from_secs);
    let locked = lock(cluster);
    let mut stream = Stream {
        cluster: Arc::clone(cluster),
        changed: locked.store.subscribe(),
        kind,
        namespace: namespace.to_owned(),
        selector,
        form,
        seen: locked.store.revision(),
        ready: VecDeque::new(),
        ends: Instant::now() + timeout,
        next_bookmark: Instant::now() + settings.bookmark_every,
        bookmark_every: is_set("allowWatchBookmarks").then_some(settings.bookmark_every),
        ended: false,
    };
    stream.begin(&locked.store, settings, query, is_set("sendInitialEvents"))?;
    drop(locked);
    let frames = futures_util::stream::unfold(stream, |mut stream| async move {
        let line = stream.next().await?;
        Some((Ok::<_, BodyError>(Frame::data(line)), stream))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-cache, private"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

struct Stream {
    cluster: Arc<Mutex<Cluster>>,
    changed: watch::Receiver<u64>,
    kind: Kind,
    namespace: String,
    selector: Selector,
    form: Form,
    seen: u64,
    ready: VecDeque<Bytes>,
    ends: Instant,
    next_bookmark: Instant,
    bookmark_every: Option<Duration>,
    ended: bool,
}

impl Stream {
    /// Fills in what the stream starts with.
    fn begin(
        &mut self,
        store: &Store,
        settings: Settings,
        query: &str,
        initial_events: bool,
    ) -> Result<(), Status> {
        let version = parameter(query, "resourceVersion").unwrap_or_default();
        if initial_events && !settings.streaming_lists {
            self.fail(&Status::new(
                500,
                "InternalError",
                "a watch stream was requested by the client but the required storage feature \
                 RequestWatchProgress is disabled",
            ));
            return Ok(());
        }
        if initial_events || matches!(version.as_str(), "" | "0") {
            let objects = store.objects(self.kind.group, self.kind.resource, &self.namespace);
            for object in objects.filter(|object| self.selector.matches(object)) {
                self.ready.push_back(line("ADDED", self.form.of(object)));
            }
            if initial_events {
                let annotations = json!({"k8s.io/initial-events-end": "true"});
                self.ready.push_back(self.bookmark(Some(annotations)));
            }
            return Ok(());
        }
        let asked: u64 = version
            .parse()
            .map_err(|_| Status::bad_request(format!("invalid resource version \"{version}\"")))?;
        self.seen = asked;
        self.catch_up(store);
        Ok(())
    }

    /// Turns the history since the last look into lines.
    fn catch_up(&mut self, store: &Store) {
        if self.seen < store.compacted() {
            self.fail(&Status::expired(format!(
                "too old resource version: {} ({})",
                self.seen,
                store.compacted()
            )));
            return;
        }
        for event in store.events_after(self.seen) {
            self.seen = event.revision;
            if event.resource == (self.kind.group, self.kind.resource)
                && (self.namespace.is_empty() || self.namespace == event.namespace)
            {
                self.ready.extend(self.describe(event));
            }
        }
        self.seen = self.seen.max(store.revision());
    }

    /// An object that starts or ceases to match the selector is added or deleted for the watcher.
    fn describe(&self, event: &Event) -> Option<Bytes> {
        let before = event
            .previous
            .as_ref()
            .is_some_and(|object| self.selector.matches(object));
        let after = event.change != Change::Deleted && self.selector.matches(&event.object);
        let change = match (before, after) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        Some(line(change, self.form.of(&event.object)))
    }

    fn bookmark(&self, annotations: Option<Value>) -> Bytes {
        let mut object = json!({
            "kind": self.kind.kind,
            "apiVersion": self.kind.api_version(),
            "metadata": {"resourceVersion": self.seen.to_string(), "creationTimestamp": null},
        });
        if let Some(annotations) = annotations {
            object["metadata"]["annotations"] = annotations;
        }
        line("BOOKMARK", object)
    }

    fn fail(&mut self, status: &Status) {
        self.ready.push_back(line("ERROR", status.object()));
        self.ended = true;
    }

    /// The next line, or `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            self.changed.borrow_and_update();
            let cluster = Arc::clone(&self.cluster);
            self.catch_up(&lock(&cluster).store);
            if !self.ready.is_empty() {
                continue;
            }
            tokio::select! {
                changed = self.changed.changed() => self.ended = changed.is_err(),
                () = tokio::time::sleep_until(self.ends) => return None,
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmark_every.is_some() => {
                    self.next_bookmark = Instant::now() + self.bookmark_every.unwrap_or(LONGEST);
                    return Some(self.bookmark(None));
                }
            }
        }
    }
}

fn line(change: &str, object: Value) -> Bytes {
    let mut text = json!({"type": change, "object": object}).to_string();
    text.push('\n');
    text.into()
}
