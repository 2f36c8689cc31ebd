//! The namespaces that a caller may read, for whom the API server refuses the list of all.
//!
//! ```text
//! question    path, parameters, media type -> Question
//! authz       Caller -> NamespacesPermit
//! view        watched namespaces, permit -> View         only that is ever written
//! list        View -> the list's text
//! watch       View, and the next -> changes -> events
//! ```
//!
//! The API server is asked first, by the caller's own token: this begins where it has said 403.

mod changes;
mod given;
mod list;
mod media;
mod places;
mod question;
mod refusal;
mod selection;
mod view;
mod watch;
mod websocket;
mod writing;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

use self::changes::Told;
use self::given::{Given, Key, Memory};
use self::list::List;
use self::places::Places;
pub(super) use self::question::Target;
use self::question::{From, Kind, Question, Watch};
use self::refusal::ListRefusal;
use self::view::View;
use self::watch::{Progress, Session, line};
pub(super) use self::websocket::{Handshake, serve};
use super::metrics::GatewayMetrics;
use crate::authn::{Authenticator, Caller};
use crate::authz::{Authorizer, NamespacesPermit};
use crate::cluster::Unavailable;
use crate::cluster::namespace_objects::NamespaceObjects;
use crate::namespace::Namespace;
use crate::request::Subject;
use crate::request::record::Record;
use crate::slots::{Slot, Slots};
use crate::upstream::body::ResponseBody;

/// How long a watch lasts that says nothing of it: as the API server's, half an hour and up to twice that.
const SHORTEST_WATCH: Duration = Duration::from_secs(30 * 60);

/// What answers for namespaces; the same for all workers.
pub struct NamespaceLists(Arc<Lists>);

/// What it is made of.
pub struct Parts {
    /// What a watch of the cluster fills.
    pub objects: NamespaceObjects,
    /// Knows callers.
    pub authenticator: Arc<Authenticator>,
    /// Says what they may read.
    pub authorizer: Arc<Authorizer>,
    /// How long all reviews of a request may take.
    pub review_timeout: Duration,
    /// Bounds the requests under way.
    pub slots: Slots,
}

struct Lists {
    parts: Parts,
    memory: Memory,
    places: Places,
}

/// What of a request counts.
pub(super) struct Asked {
    pub(super) target: Target,
    pub(super) query: String,
    /// The media types that are accepted.
    pub(super) accept: HeaderMap,
    /// The one credential that counts at the gateway, and nothing else.
    pub(super) credentials: HeaderMap,
    /// Whether it asks for a WebSocket, and how.
    pub(super) upgrade: Option<Handshake>,
}

/// Why it is not answered here.
enum Unanswered {
    /// The API server's own refusal is the answer.
    Refused,
    /// This is.
    Because(ListRefusal),
}

impl std::convert::From<ListRefusal> for Unanswered {
    fn from(refusal: ListRefusal) -> Self {
        Self::Because(refusal)
    }
}

impl std::convert::From<Unavailable> for Unanswered {
    fn from(unavailable: Unavailable) -> Self {
        Self::Because(ListRefusal::Unavailable(unavailable))
    }
}

/// What a caller may be shown now.
struct Visible {
    view: View,
    version: u64,
    until: Instant,
    permit: NamespacesPermit,
}

/// An answer, and what is noted of it.
pub(super) struct Answered {
    pub(super) note: Note,
    pub(super) content: Content,
    pub(super) slots: Option<[Slot; 2]>,
}

/// How an answer goes out.
pub(super) enum Content {
    Response(Response<ResponseBody>),
    /// As the messages of a WebSocket.
    Messages(Handshake, Session),
}

/// What is noted of an answer.
pub(super) struct Note {
    caller: Caller,
    subject: Subject,
    decided: Result<NamespacesPermit, ListRefusal>,
}

impl Note {
    /// Writes it down.
    pub(super) fn into_record(self, record: &mut Record) {
        record.caller(&self.caller);
        record.namespaces(self.subject, self.decided.as_ref().ok());
        if let Err(refusal) = self.decided {
            let (decision, code) = refusal.decided();
            record.refused(decision, code, &refusal);
        }
    }
}

impl NamespaceLists {
    /// Counts in `metrics`.
    pub fn new(parts: Parts, metrics: &GatewayMetrics) -> Self {
        Self(Arc::new(Lists {
            parts,
            memory: Memory::default(),
            places: Places::new(metrics.namespace_watches().clone()),
        }))
    }

    /// The answer to what the API server has refused. `None`: its refusal stands, for a caller who is not known here or may
    /// read nothing.
    pub(super) async fn answer(&self, asked: Asked) -> Option<Answered> {
        let caller = self.0.caller(&asked.credentials).await.ok()?;
        let question = Question::read(&asked.target, &asked.query, &asked.accept);
        let subject = match &question {
            Ok(Question {
                kind: Kind::Watch(_),
                ..
            }) => Subject::NamespaceWatch,
            _ => Subject::Namespaces,
        };
        let answered = match question {
            Ok(question) => self.0.answer(&caller, question, asked).await,
            Err(refusal) => Err(refusal.into()),
        };
        match answered {
            Ok((content, permit, slots)) => Some(Answered {
                note: Note {
                    caller,
                    subject,
                    decided: Ok(permit),
                },
                content,
                slots,
            }),
            Err(Unanswered::Refused) => None,
            Err(Unanswered::Because(refusal)) => Some(Answered {
                content: Content::Response(refusal.response()),
                note: Note {
                    caller,
                    subject,
                    decided: Err(refusal),
                },
                slots: None,
            }),
        }
    }
}

impl Lists {
    async fn answer(
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
                let place = self.places.take(caller.digest());
                let place = place.ok_or(ListRefusal::TooManyWatches)?;
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
                    credentials: asked.credentials,
                    form,
                    watch,
                    deadline,
                    changed,
                    progress,
                    _place: place,
                };
                let content = match asked.upgrade {
                    Some(handshake) => Content::Messages(handshake, session),
                    None => Content::Response(json(ResponseBody::made(session.pieces()))),
                };
                Ok((content, visible.permit, None))
            }
        }
    }

    async fn caller(&self, credentials: &HeaderMap) -> Result<Caller, Unanswered> {
        let parts = &self.parts;
        let caller = parts.authenticator.caller(credentials);
        match tokio::time::timeout(parts.review_timeout, caller).await {
            Ok(Ok(caller)) => Ok(caller),
            Ok(Err(_)) | Err(_) => Err(Unanswered::Refused),
        }
    }

    /// Slots for a request, as the Prometheus requests take them.
    async fn slots(&self, caller: &Caller) -> Result<[Slot; 2], ListRefusal> {
        let own = caller.slots().take().await.ok_or(ListRefusal::Busy)?;
        let all = self.parts.slots.take().await.ok_or(ListRefusal::Busy)?;
        Ok([own, all])
    }

    /// What may be shown to whoever these credentials are of.
    async fn visible(
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
            until: permit.until(),
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
            From::Now { at_least, marked } => {
                self.is_new_enough(&key, at_least)?;
                (Told::Exactly(View::default()), 0, marked)
            }
            From::Version(version) => {
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

    /// When the caller's token ends by its own word.
    fn expiry(&self, credentials: &HeaderMap) -> Option<Instant> {
        let end = self.parts.authenticator.token_expires(credentials)?;
        let left = end.duration_since(SystemTime::now()).unwrap_or_default();
        Instant::now().checked_add(left)
    }
}

fn deadline(asked: Option<Duration>, expiry: Option<Instant>) -> Instant {
    let now = Instant::now();
    let lasts = asked.unwrap_or_else(|| {
        let mut chance = [0; 2];
        // Without a random number it is the shortest.
        let _ = SystemRandom::new().fill(&mut chance);
        let longer = f64::from(u16::from_ne_bytes(chance)) / f64::from(u16::MAX);
        SHORTEST_WATCH.mul_f64(1.0 + longer)
    });
    let end = now + lasts.min(SHORTEST_WATCH * 2);
    expiry.map_or(end, |expiry| expiry.min(end))
}

fn json(body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
