//! The list of the namespaces that a caller may read, for callers whom the API server refuses the list of all.
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
mod lists;
mod media;
mod question;
mod refusal;
mod selection;
mod slots;
mod view;
mod watch;
mod websocket;
mod writing;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response};

use self::lists::{Lists, Unanswered};
pub(super) use self::question::Target;
use self::question::{Kind, Question};
use self::refusal::ListRefusal;
use self::watch::Session;
pub(super) use self::websocket::{Handshake, serve};
use super::metrics::GatewayMetrics;
use crate::authn::{Authenticator, Caller};
use crate::authz::{Authorizer, NamespacesPermit};
use crate::cluster::namespace_objects::NamespaceObjects;
use crate::request::Subject;
use crate::request::record::Record;
use crate::slots::{Slot, Slots};
use crate::upstream::body::ResponseBody;

/// What answers for namespaces; the same for all workers. Cheap to clone.
#[derive(Clone)]
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

/// The parts of a request that matter.
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

/// An answer, and what the audit log says of it.
pub(super) struct Answered {
    pub(super) note: Note,
    pub(super) content: Content,
    pub(super) slots: Option<[Slot; 2]>,
}

/// How an answer goes out.
pub(super) enum Content {
    Response(Response<ResponseBody>),
    /// As the messages of a WebSocket.
    Messages(Handshake, Box<Session>),
}

/// What the audit log says of an answer.
pub(super) struct Note {
    caller: Caller,
    subject: Subject,
    decided: Result<NamespacesPermit, ListRefusal>,
}

impl Note {
    /// Writes it into the request's record.
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
        Self(Arc::new(Lists::new(parts, metrics)))
    }

    /// Ends the open watches: their configuration is outdated, and their callers ask again.
    pub fn end_watches(&self) {
        self.0.end_watches();
    }

    /// The answer to what the API server has refused. `None`: its refusal stands, for a caller who is not known here or
    /// may read nothing.
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
