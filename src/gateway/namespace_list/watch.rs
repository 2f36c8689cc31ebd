//! A watch: what its caller may be shown, and how that changes, for as long as the token is valid.
//!
//! It is driven by whoever reads its events, without a task. It checks again whenever a namespace changes and whenever
//! a review behind it expires; in any doubt it ends, and its caller asks again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::changes::{Event, Told, changes};
use super::given::{Key, Memory};
use super::list::PIECE;
use super::lists::{Lists, Visible};
use super::media::Form;
use super::question::Watch;
use super::slots::WatchSlot;
use super::view::View;
use super::writing::text;
use crate::authn::Caller;
use crate::authz::NamespacesPermit;

/// Between two checks for changes: a burst of changes is told at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two attempts to renew reviews that have expired.
const RENEWAL: Duration = Duration::from_secs(1);

/// How often it checks whether a change of rights was seen, where those are watched.
const CHANGES: Duration = Duration::from_millis(250);

/// How often bookmarks are sent, where they are wanted.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// A watch that is under way.
pub(in crate::gateway) struct Session {
    pub(super) lists: Arc<Lists>,
    pub(super) caller: Caller,
    /// By which the caller is known.
    pub(super) credentials: HeaderMap,
    pub(super) form: Form,
    pub(super) watch: Watch,
    /// When it ends.
    pub(super) deadline: Instant,
    pub(super) changed: watch::Receiver<()>,
    pub(super) progress: Progress,
    pub(super) _slot: WatchSlot,
}

/// How far a watch is.
pub(super) struct Progress {
    told: View,
    last: u64,
    queue: VecDeque<Event>,
    /// Whether to say, once, that the beginning has been told.
    marked: bool,
    first: bool,
    looked: Instant,
    /// The permission for what is told.
    permit: NamespacesPermit,
    bookmark: Instant,
    ended: bool,
}

impl Progress {
    /// Begins after `before`, which was told as of version `last`, with what is visible now.
    pub(super) fn begin(
        before: &Told,
        last: u64,
        visible: &Visible,
        watch: &Watch,
        marked: bool,
    ) -> Self {
        let now = Instant::now();
        let mut last = last;
        let queue = changes(before, &visible.view, &watch.selection, &mut last);
        Self {
            told: visible.view.clone(),
            last,
            queue,
            marked,
            first: true,
            looked: now,
            permit: visible.permit.clone(),
            bookmark: now + BOOKMARKS,
            ended: false,
        }
    }

    /// Goes on from what was told to the newest version that is known. Whoever was told all of it may come back by the
    /// one or by the other: `key` without its version.
    pub(super) fn remember(&mut self, memory: &Memory, mut key: Key, newest: u64) {
        key.version = self.last;
        memory.remember(key.clone(), &self.told);
        if newest > self.last {
            self.last = newest;
            key.version = newest;
            memory.remember(key, &self.told);
        }
    }
}

/// What a watch waits for.
enum Woken {
    Look,
    Mark,
    End,
}

impl Session {
    /// The next event, in a line of its own. `None` when the watch has ended.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.ready() {
                return Some(event);
            }
            if self.progress.ended {
                return None;
            }
            match self.wait().await {
                Woken::Look => self.look().await,
                Woken::Mark => {
                    self.progress.bookmark = Instant::now() + BOOKMARKS;
                    return Some(self.bookmark(false));
                }
                Woken::End => {
                    self.progress.ended = true;
                    if self.watch.bookmarks {
                        return Some(self.bookmark(false));
                    }
                }
            }
        }
    }

    /// An event that is there already.
    fn ready(&mut self) -> Option<Bytes> {
        if let Some(event) = self.progress.queue.pop_front() {
            let first = std::mem::replace(&mut self.progress.first, false);
            let now = Timestamp::now();
            let object = self.form.stamped(&event.object, event.version, first, now);
            return Some(line(event.kind.as_str(), &object));
        }
        let marked = std::mem::replace(&mut self.progress.marked, false);
        marked.then(|| self.bookmark(true))
    }

    fn bookmark(&self, end: bool) -> Bytes {
        line("BOOKMARK", &self.form.bookmark(self.progress.last, end))
    }

    async fn wait(&mut self) -> Woken {
        let looked = self.progress.looked;
        let renewal = self.progress.permit.until().max(looked + RENEWAL);
        let changed = &mut self.changed;
        let changed = async {
            // All publishers are gone when the program ends.
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            sleep_until(looked + PAUSE).await;
        };
        let (lists, caller) = (&self.lists, &self.caller);
        let permit = &self.progress.permit;
        let rights_changed = async {
            sleep_until(looked + PAUSE).await;
            while !lists.may_have_changed(caller, permit) {
                sleep(CHANGES).await;
            }
        };
        tokio::select! {
            biased;
            () = sleep_until(self.deadline) => Woken::End,
            () = lists.watches_end() => Woken::End,
            () = sleep_until(renewal) => Woken::Look,
            () = rights_changed, if lists.watches_changes() => Woken::Look,
            () = changed => Woken::Look,
            () = sleep_until(self.progress.bookmark), if self.watch.bookmarks => Woken::Mark,
        }
    }

    /// Finds what is visible now, and what is to be told of it.
    async fn look(&mut self) {
        self.changed.mark_unchanged();
        let only = self.watch.selection.only();
        let Ok((caller, visible)) = self.lists.visible(&self.credentials, only.as_ref()).await
        else {
            // Refused, or not known now. The caller asks again, and gets the reason.
            self.progress.ended = true;
            return;
        };
        let progress = &mut self.progress;
        let before = Told::Exactly(std::mem::take(&mut progress.told));
        progress.queue = changes(
            &before,
            &visible.view,
            &self.watch.selection,
            &mut progress.last,
        );
        progress.told = visible.view.clone();
        progress.permit = visible.permit;
        self.caller = caller.clone();
        progress.looked = Instant::now();
        let key = Key {
            caller: caller.digest(),
            only,
            version: 0,
        };
        progress.remember(&self.lists.memory, key, visible.version);
    }

    /// All events, as many in a piece as there are.
    pub(super) fn pieces(self) -> impl Stream<Item = Bytes> {
        stream::unfold(self, |mut session| async move {
            let first = session.next().await?;
            let mut piece = Vec::from(first);
            while piece.len() < PIECE {
                let Some(event) = session.ready() else { break };
                piece.extend_from_slice(&event);
            }
            Some((Bytes::from(piece), session))
        })
    }
}

/// An event, as a line.
pub(super) fn line(kind: &str, object: &Value) -> Bytes {
    let mut line = text(&json!({ "type": kind, "object": object }), false);
    line.push('\n');
    line.into()
}
