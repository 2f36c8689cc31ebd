//! From a question to its answer: who asks, what may be shown, and how it goes out.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Response, StatusCode};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::changes::Told;
use super::given::{Given, Key, Memory};
use super::list::List;
use super::question::{Kind, Question, Start, Watch};
use super::refusal::ListRefusal;
use super::slots::WatchSlots;
use super::view::View;
use super::watch::{Progress, Session, line};
use super::writing;
use super::{Asked, Content, Parts};
use crate::authn::Caller;
use crate::authz::NamespacesPermit;
use crate::cluster::{Unavailable, random_share};
use crate::gateway::metrics::GatewayMetrics;
use crate::gateway::refusal::json_response;
use crate::namespace::Namespace;
use crate::slots::Slot;
use crate::upstream::body::ResponseBody;

/// How long a watch without a `timeoutSeconds` lasts: as at the API server, half an hour and up to twice that.
const SHORTEST_WATCH: Duration = Duration::from_secs(30 * 60);

/// What answers questions: the parts, what was shown before, and the slots of watches.
pub(super) struct Lists {
    parts: Parts,
    pub(super) memory: Memory,
    watch_slots: WatchSlots,
    /// Turns true when watches are to end.
    ended: watch::Sender<bool>,
}

/// Why it is not answered here.
pub(super) enum Unanswered {
    /// The API server's own refusal is the answer.
    Refused,
    /// This refusal is the answer.
    Because(ListRefusal),
}

impl From<ListRefusal> for Unanswered {
    fn from(refusal: ListRefusal) -> Self {
        Self::Because(refusal)
    }
}

impl From<Unavailable> for Unanswered {
    fn from(unavailable: Unavailable) -> Self {
        Self::Because(ListRefusal::Unavailable(unavailable))
    }
}

/// What a caller may be shown now.
pub(super) struct Visible {
    pub(super) view: View,
    pub(super) version: u64,
    pub(super) permit: NamespacesPermit,
}

impl Lists {
    pub(super) fn new(parts: Parts, metrics: &GatewayMetrics) -> Self {
        Self {
            parts,
            memory: Memory::default(),
            watch_slots: WatchSlots::new(metrics.namespace_watches().clone()),
            ended: watch::Sender::new(false),
        }
    }

    pub(super) fn end_watches(&self) {
        self.ended.send_replace(true);
    }

    /// Returns when watches are to end.
    pub(super) async fn watches_end(&self) {
        // The sender is our own, and there for as long as we are.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Answers a question of a caller who was refused by the API server.
    pub(super) async fn answer(
        self: &Arc<Self>,
        caller: &Caller,
        question: Question,
        asked: Asked,
    ) -> Result<(Content, NamespacesPermit, Option<[Slot; 2]>), Unanswered> {
        let Question { form, pretty, kind } = question;
        if asked.upgrade.is_some() && !matches!(kind, Kind::Watch(_)) {
            return Err(Unanswered::Refused);
        }
        match kind {
            Kind::Object(name) => {
                let slots = self.slots(caller).await?;
                let visible = self.open_to(caller, Some(&name)).await?;
                let object = visible.view.find(&name).ok_or(Unanswered::Refused)?;
                let value = form.single(object, Timestamp::now());
                let mut text = writing::text(&value, pretty);
                text.push('\n');
                let response = json(ResponseBody::whole(text));
                Ok((Content::Response(response), visible.permit, Some(slots)))
            }
            Kind::List {
                selection,
                at_least,
            } => {
                let slots = self.slots(caller).await?;
                let only = selection.only();
                let visible = self.open_to(caller, only.as_ref()).await?;
                let key = Key {
                    caller: caller.digest(),
                    only,
                    version: visible.version,
                };
                self.is_new_enough(&key, at_least)?;
                self.memory.remember(key, &visible.view);
                let list = List {
                    view: visible.view,
                    selection,
                    form,
                    pretty,
                    version: visible.version,
                };
                let response = json(ResponseBody::made(list.pieces()));
                Ok((Content::Response(response), visible.permit, Some(slots)))
            }
            Kind::Watch(watch) => {
                let slot = self.watch_slots.take(caller.digest());
                let slot = slot.ok_or(ListRefusal::TooManyWatches)?;
                // Before the look: what changes after it is looked at again.
                let changed = self.parts.objects.changes();
                let visible = self
                    .open_to(caller, watch.selection.only().as_ref())
                    .await?;
                let progress = match self.begin(caller, &watch, &visible) {
                    Ok(progress) => progress,
                    // Within the watch, as the API server does: clients list again upon this, and not upon a 410.
                    Err(expired @ ListRefusal::Expired(_)) => {
                        let error = line("ERROR", &expired.status());
                        let response = json(ResponseBody::whole(error));
                        return Ok((Content::Response(response), visible.permit, None));
                    }
                    Err(refusal) => return Err(refusal.into()),
                };
                let deadline = deadline(watch.timeout, self.expiry(&asked.credentials));
                let session = Session {
                    lists: self.clone(),
                    caller: caller.clone(),
                    credentials: asked.credentials,
                    form,
                    watch,
                    deadline,
                    changed,
                    progress,
                    _slot: slot,
                };
                let content = match asked.upgrade {
                    Some(handshake) => Content::Messages(handshake, Box::new(session)),
                    None => Content::Response(json(ResponseBody::made(session.pieces()))),
                };
                Ok((content, visible.permit, None))
            }
        }
    }

    /// Whose credentials these are.
    pub(super) async fn caller(&self, credentials: &HeaderMap) -> Result<Caller, Unanswered> {
        let parts = &self.parts;
        let caller = parts.authenticator.caller(credentials);
        match tokio::time::timeout(parts.review_timeout, caller).await {
            Ok(Ok(caller)) => Ok(caller),
            Ok(Err(_)) | Err(_) => Err(Unanswered::Refused),
        }
    }

    /// The slots of a request, as Prometheus requests take them.
    async fn slots(&self, caller: &Caller) -> Result<[Slot; 2], ListRefusal> {
        let own = caller.slots().take().await.ok_or(ListRefusal::Busy)?;
        let all = self.parts.slots.take().await.ok_or(ListRefusal::Busy)?;
        Ok([own, all])
    }

    /// What may be shown to the caller with these credentials.
    pub(super) async fn visible(
        &self,
        credentials: &HeaderMap,
        only: Option<&Namespace>,
    ) -> Result<(Caller, Visible), Unanswered> {
        let caller = self.caller(credentials).await?;
        let visible = self.look(&caller, only).await?;
        Ok((caller, visible))
    }

    /// What may be shown to `caller`; the API server's refusal where that is nothing.
    async fn open_to(
        &self,
        caller: &Caller,
        only: Option<&Namespace>,
    ) -> Result<Visible, Unanswered> {
        let visible = self.look(caller, only).await?;
        if visible.permit.is_empty() {
            return Err(Unanswered::Refused);
        }
        Ok(visible)
    }

    /// Whether what `caller` may be shown can have changed since.
    pub(super) fn may_have_changed(&self, caller: &Caller, permit: &NamespacesPermit) -> bool {
        self.parts.authorizer.may_have_changed(caller, permit)
    }

    /// Whether changes of rights are watched, and not only found by asking again.
    pub(super) fn watches_changes(&self) -> bool {
        self.parts.authorizer.watches_changes()
    }

    async fn look(
        &self,
        caller: &Caller,
        only: Option<&Namespace>,
    ) -> Result<Visible, Unavailable> {
        let parts = &self.parts;
        let permit = async {
            match only {
                Some(name) => parts.authorizer.listed_namespace(caller, name).await,
                None => parts.authorizer.listed_namespaces(caller).await,
            }
        };
        let permit = tokio::time::timeout(parts.review_timeout, permit);
        let permit = permit.await.unwrap_or(Err(Unavailable::OutOfTime))?;
        let all = parts.objects.now().ok_or(Unavailable::NamespacesUnknown)?;
        Ok(Visible {
            view: View::new(&all, &permit),
            version: all.version(),
            permit,
        })
    }

    /// Whether what is known is as new as `at_least`: the watch has seen as much, or this caller was told so here.
    fn is_new_enough(&self, now: &Key, at_least: u64) -> Result<(), ListRefusal> {
        let told = || {
            let key = Key {
                version: at_least,
                ..now.clone()
            };
            self.memory.recall(&key).is_some()
        };
        if at_least <= now.version || told() {
            return Ok(());
        }
        Err(ListRefusal::TooNew {
            asked: at_least,
            known: now.version,
        })
    }

    fn begin(
        &self,
        caller: &Caller,
        watch: &Watch,
        visible: &Visible,
    ) -> Result<Progress, ListRefusal> {
        let key = Key {
            caller: caller.digest(),
            only: watch.selection.only(),
            version: visible.version,
        };
        let (told, last, marked) = match watch.from {
            Start::Now { at_least, marked } => {
                self.is_new_enough(&key, at_least)?;
                (Told::Exactly(View::default()), 0, marked)
            }
            Start::Version(version) => {
                let from = Key {
                    version,
                    ..key.clone()
                };
                let told = match self.memory.recall(&from) {
                    Some(Given::One(view)) => Told::Exactly(view),
                    Some(Given::Several(view)) => Told::AtMost(view),
                    None => return Err(ListRefusal::Expired(version)),
                };
                (told, version, false)
            }
        };
        let mut progress = Progress::begin(&told, last, visible, watch, marked);
        progress.remember(&self.memory, key, visible.version);
        Ok(progress)
    }

    /// When the caller's token says that it expires.
    fn expiry(&self, credentials: &HeaderMap) -> Option<Instant> {
        let end = self.parts.authenticator.token_expires(credentials)?;
        let left = end.duration_since(SystemTime::now()).unwrap_or_default();
        Instant::now().checked_add(left)
    }
}

fn deadline(asked: Option<Duration>, expiry: Option<Instant>) -> Instant {
    let now = Instant::now();
    let lasts = asked.unwrap_or_else(|| {
        // Without a random number it is the shortest.
        SHORTEST_WATCH.mul_f64(1.0 + random_share())
    });
    let end = now + lasts.min(SHORTEST_WATCH * 2);
    expiry.map_or(end, |expiry| expiry.min(end))
}

fn json(body: ResponseBody) -> Response<ResponseBody> {
    json_response(StatusCode::OK, body)
}
