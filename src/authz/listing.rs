//! Which namespaces a caller may see listed: those whose metrics the caller may read, by the same reviews.
//!
//! Not `get namespaces` with a name: whoever may do that in a namespace is given it by the API server itself, and is
//! granted the metrics by the same role. A second review for each namespace would double what they cost.

use tokio::time::Instant;

use super::Authorizer;
use super::lifetimes::Term;
use crate::authn::Caller;
use crate::cluster::Unavailable;
use crate::namespace::{Namespace, NamespaceSet};
use crate::rbac::{Epoch, Place};

/// Permission to show a caller some namespaces. Only reviews make one, and no namespace is written without it.
#[derive(Clone, Debug)]
pub struct NamespacesPermit {
    scope: Listed,
    term: Term,
    /// When the reviews behind it began.
    began: Epoch,
}

#[derive(Clone, Debug)]
enum Listed {
    Everything,
    These(NamespaceSet),
    Nothing,
}

impl NamespacesPermit {
    /// The namespaces that may be shown. `None`: all of the cluster.
    pub fn names(&self) -> Option<&[Namespace]> {
        match &self.scope {
            Listed::Everything => None,
            Listed::These(names) => Some(names.as_slice()),
            Listed::Nothing => Some(&[]),
        }
    }

    /// Whether no namespace may be shown.
    pub fn is_empty(&self) -> bool {
        matches!(self.scope, Listed::Nothing)
    }

    /// When it has to be asked for again at the latest.
    pub fn until(&self) -> Instant {
        self.term.longest()
    }
}

impl Authorizer {
    /// Which of all namespaces `caller` may be shown.
    ///
    /// # Errors
    /// When Kubernetes does not say in time: never a smaller set instead.
    pub async fn listed_namespaces(
        &self,
        caller: &Caller,
    ) -> Result<NamespacesPermit, Unavailable> {
        let began = self.reviews.now();
        let everything = self.reviews.allowed(caller, &self.access, None).await?;
        if everything.value.allowed {
            return Ok(NamespacesPermit {
                scope: Listed::Everything,
                term: self.reviews.term(&everything),
                began,
            });
        }
        let readable = self.readable.answer(caller).await?;
        Ok(match readable.value.namespaces {
            // A denial of everything expires sooner than a grant; who may see some namespaces waits for more.
            Some(names) => NamespacesPermit {
                scope: Listed::These(names),
                term: readable.value.term,
                began,
            },
            None => NamespacesPermit {
                scope: Listed::Nothing,
                term: self.reviews.term(&everything).and(readable.value.term),
                began,
            },
        })
    }

    /// Whether `caller` may be shown the namespace `name`.
    ///
    /// # Errors
    /// As [`Self::listed_namespaces`].
    pub async fn listed_namespace(
        &self,
        caller: &Caller,
        name: &Namespace,
    ) -> Result<NamespacesPermit, Unavailable> {
        let began = self.reviews.now();
        let everything = self.reviews.allowed(caller, &self.access, None).await?;
        let (allowed, term) = if everything.value.allowed {
            (true, self.reviews.term(&everything))
        } else {
            let answer = self.reviews.allowed(caller, &self.access, Some(name));
            let answer = answer.await?;
            (answer.value.allowed, self.reviews.term(&answer))
        };
        let names = allowed.then(|| NamespaceSet::new([name.clone()])).flatten();
        Ok(NamespacesPermit {
            scope: names.map_or(Listed::Nothing, Listed::These),
            term,
            began,
        })
    }

    /// Whether a change of rights may affect `permit`, which `caller` was given, or could have gone unseen for too
    /// long. Never where changes are not watched.
    pub fn may_have_changed(&self, caller: &Caller, permit: &NamespacesPermit) -> bool {
        let now = Instant::now();
        if self.watches_changes() && permit.term.end(self.reviews.told_until(now)) <= now {
            return true;
        }
        [Place::Anywhere, Place::Cluster]
            .into_iter()
            .any(|place| self.reviews.touched_since(caller, place, permit.began))
    }

    /// Whether changes of rights are watched.
    pub fn watches_changes(&self) -> bool {
        self.reviews.watches_changes()
    }
}
