//! Which namespaces callers were shown under which version, so that a watch can go on from there.
//!
//! A version says how the namespaces were, not what a caller was allowed to see of them. Without this, a watch after a
//! list would miss what was granted in between; telling everything again would make a client that prints events print
//! it twice.

use std::time::Duration;

use crate::authn::Digest;
use crate::gateway::namespace_list::view::View;
use crate::namespace::Namespace;

/// How long it is kept: longer than Kubernetes keeps old versions (5 minutes).
const KEPT: Duration = Duration::from_secs(10 * 60);

/// How much is kept, in references to namespaces: some 16 MB of them at most, where every view is one of its own.
const CAPACITY: u64 = 1_000_000;

/// What one entry counts for besides the namespaces in it.
const ENTRY: usize = 16;

/// Who was shown what kind of list, and at which version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) caller: Digest,
    /// The only namespace that was asked for.
    pub(super) only: Option<Namespace>,
    pub(super) version: u64,
}

/// What a caller was shown.
#[derive(Clone, Debug)]
pub(super) enum Given {
    /// Exactly this view.
    One(View),
    /// Several views, which hold no more than this together: permissions have changed, and the namespaces have not.
    Several(View),
}

/// What callers were shown.
pub(super) struct Memory(moka::sync::Cache<Key, Given>);

impl Default for Memory {
    fn default() -> Self {
        let weight = |_: &Key, given: &Given| {
            let (Given::One(view) | Given::Several(view)) = given;
            u32::try_from(view.len() + ENTRY).unwrap_or(u32::MAX)
        };
        let cache = moka::sync::Cache::builder()
            .weigher(weight)
            .max_capacity(CAPACITY)
            .time_to_live(KEPT);
        Self(cache.build())
    }
}

impl Memory {
    /// Remembers what was given.
    pub(super) fn remember(&self, key: Key, view: &View) {
        self.0
            .entry(key)
            .and_upsert_with(|before| match before.map(moka::Entry::into_value) {
                None => Given::One(view.clone()),
                Some(Given::One(one)) if one.is_same(view) => Given::One(one),
                Some(Given::One(other) | Given::Several(other)) => {
                    Given::Several(other.joined(view))
                }
            });
    }

    /// What was given. `None` when that is not known here, or no longer.
    pub(super) fn recall(&self, key: &Key) -> Option<Given> {
        self.0.get(key)
    }
}
