//! The differences between two views, as the events of a watch.

use std::collections::VecDeque;
use std::sync::Arc;

use super::selection::Selection;
use super::view::View;
use crate::cluster::namespace_objects::NamespaceObject;

/// An event that has not been sent.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) kind: Kind,
    pub(super) object: Arc<NamespaceObject>,
    /// The resource version that the event has.
    pub(super) version: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Added,
    Modified,
    Deleted,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// What the watch has told so far.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// Exactly this view.
    Exactly(View),
    /// At most this view, and no object is certain: each is told again.
    AtMost(View),
}

/// The events that lead from `before` to `now`, each with a version of its own above `last`, which becomes the newest.
///
/// Headlamp ignores an event whose version is not above that of its list and of all earlier events, and a namespace
/// that a permission adds or removes has an old version. So where a namespace's own version is not higher, the event
/// gets the next one: a number that the cluster's store has given to something since, or will give next.
pub(super) fn changes(
    before: &Told,
    now: &View,
    selection: &Selection,
    last: &mut u64,
) -> VecDeque<Event> {
    let mut events = VecDeque::new();
    let (Told::Exactly(told) | Told::AtMost(told)) = before;
    for object in told.iter() {
        let gone = match now.find(&object.name) {
            None => true,
            Some(other) => other.uid != object.uid || !selection.matches(other),
        };
        if gone && selection.matches(object) {
            events.push_back((Kind::Deleted, object.clone()));
        }
    }
    let mut rest: Vec<_> = now
        .iter()
        .filter(|object| selection.matches(object))
        .collect();
    rest.sort_by_key(|object| object.version);
    for object in rest {
        let known = match before {
            Told::AtMost(_) => None,
            Told::Exactly(told) => told
                .find(&object.name)
                .filter(|known| known.uid == object.uid && selection.matches(known)),
        };
        match known {
            Some(known) if known.version == object.version => {}
            Some(_) => events.push_back((Kind::Modified, object.clone())),
            None => events.push_back((Kind::Added, object.clone())),
        }
    }
    let told = events.into_iter().map(|(kind, object)| {
        let next = *last + 1;
        let version = match kind {
            Kind::Deleted => next,
            Kind::Added | Kind::Modified => object.version.max(next),
        };
        *last = version;
        Event {
            kind,
            object,
            version,
        }
    });
    told.collect()
}
