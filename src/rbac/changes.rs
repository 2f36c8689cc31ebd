//! Which cached answers a change of RBAC may affect.
//!
//! An answer holds the epoch in which its review began. It counts while nothing has changed since for its caller in its
//! namespace. So a review that is under way during a change leaves no outdated answer behind, and no cache has to be
//! searched for what to drop.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::coverage::Coverage;
use super::epochs::{Epoch, Epochs};
use super::metrics::Watched;
use super::subject::{Subject, SubjectRef};
use crate::authn::Caller;
use crate::namespace::Namespace;

/// Slots of 8 bytes each. With 100 changes a minute, one answer in 50 is asked again needlessly.
const SLOTS: usize = 131_072;

/// All callers, in so many parts: a change that touches everybody touches one part after the other.
const PARTS: u64 = 64;

/// About how many reviews per second a change that touches everybody may cause.
const REVIEWS_PER_SECOND: u64 = 1_000;

/// A change counts a second time this long after it was seen. Each API server watches RBAC for itself too: one that
/// lags would still give the old answer to a review.
const SETTLED: Duration = Duration::from_millis(500);

/// Changes that wait to count a second time, and subjects of one change. Past either limit, everybody is touched.
const MAX_WAITING: usize = 10_000;
const MAX_SUBJECTS: usize = 256;

/// Namespaces in which everybody is touched, at a time. Past the limit, the whole cluster is touched.
const MAX_PLACES: usize = 64;

/// Where something has changed, or was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place<'a> {
    /// The whole cluster at once.
    Cluster,
    Namespace(&'a Namespace),
    /// Any namespace: for a result over several of them.
    Anywhere,
}

/// Whom a change touches.
#[derive(Clone, Copy, Debug, Hash)]
enum Whom<'a> {
    Subject(SubjectRef<'a>),
    /// One part of all callers.
    Part(u64),
}

/// All changes of RBAC so far. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Changes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    epochs: Epochs,
    hasher: RandomState,
    waiting: Mutex<Waiting>,
    woken: Notify,
    coverage: Coverage,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Slots that count a second time, the soonest first.
    again: VecDeque<(Instant, Box<[usize]>)>,
    /// Where everybody is touched. `None`: in the whole cluster.
    everybody: BTreeSet<Option<Namespace>>,
}

impl Default for Changes {
    fn default() -> Self {
        Self(Arc::new(Shared {
            epochs: Epochs::new(SLOTS),
            hasher: RandomState::new(),
            waiting: Mutex::default(),
            woken: Notify::new(),
            coverage: Coverage::default(),
        }))
    }
}

impl Changes {
    /// To be noted before a review is begun.
    pub fn now(&self) -> Epoch {
        self.0.epochs.now()
    }

    /// Whether a change after `since` may touch what was answered about `caller` and `place`.
    pub fn touched(&self, caller: &Caller, place: Place<'_>, since: Epoch) -> bool {
        if self.now() == since {
            return false;
        }
        let groups = caller.groups().iter().map(|group| SubjectRef::Group(group));
        let whom = std::iter::once(SubjectRef::User(caller.username()))
            .chain(groups.filter(|group| !is_everybody(*group)))
            .map(Whom::Subject)
            .chain([Whom::Part(caller.digest().bits() % PARTS)]);
        let places = match place {
            Place::Cluster | Place::Anywhere => [place, place],
            // A binding for the whole cluster holds in each namespace.
            Place::Namespace(_) => [place, Place::Cluster],
        };
        let places = places.map(|place| self.0.hasher.hash_one(place));
        let slots = whom
            .map(|whom| self.0.hasher.hash_one(whom))
            .flat_map(|whom| places.map(|place| self.slot(whom, place)));
        self.0.epochs.changed_since(since, slots)
    }

    /// Called by the watches: all changes of a resource so far have been reported and its watch goes on, or it has
    /// ended.
    pub fn watched(&self, resource: Watched, goes_on: bool) {
        self.0.coverage.watched(resource, goes_on);
    }

    /// Up to when every change was seen: `now` while everything is watched, else when that ended. `None`: it never was.
    /// To be read before [`Self::touched`].
    pub fn told_until(&self, now: Instant) -> Option<Instant> {
        self.0.coverage.until(now)
    }

    /// Something has changed for these subjects in a namespace; `None`: in the whole cluster.
    pub(super) fn touch<'s>(
        &self,
        subjects: impl Iterator<Item = &'s Subject>,
        namespace: Option<&Namespace>,
    ) {
        self.touch_all(subjects.map(|subject| (subject, namespace)));
    }

    /// The same, for several namespaces at once.
    pub(super) fn touch_all<'s>(
        &self,
        changes: impl Iterator<Item = (&'s Subject, Option<&'s Namespace>)>,
    ) {
        let (mut slots, mut subjects) = (Vec::new(), 0);
        for (subject, namespace) in changes {
            subjects += 1;
            if subjects > MAX_SUBJECTS {
                return self.touch_everybody(None);
            }
            if is_everybody(subject.borrowed()) {
                self.touch_everybody(namespace.cloned());
            } else {
                let whom = Whom::Subject(subject.borrowed());
                slots.extend(self.slots(whom, namespace));
            }
        }
        if !slots.is_empty() {
            self.change(slots.into());
        }
    }

    /// Something has changed for everybody, which [`Self::drive`] spreads over some time.
    pub(super) fn touch_everybody(&self, namespace: Option<Namespace>) {
        let mut waiting = self.waiting();
        waiting.everybody.insert(namespace);
        if waiting.everybody.len() > MAX_PLACES || waiting.everybody.contains(&None) {
            waiting.everybody = BTreeSet::from([None]);
        }
        drop(waiting);
        self.0.woken.notify_one();
    }

    /// Applies delayed changes, for ever. A change that touches everybody is spread over as many seconds as there are
    /// thousands of `answers`, and over `longest` at most.
    pub async fn drive(self, answers: impl Fn() -> u64, longest: Duration) {
        loop {
            let everybody = std::mem::take(&mut self.waiting().everybody);
            if everybody.is_empty() {
                self.wait(None).await;
                continue;
            }
            let spread = Duration::from_millis(answers() * 1_000 / REVIEWS_PER_SECOND);
            let step = spread.min(longest) / u32::try_from(PARTS).unwrap_or(u32::MAX);
            let settled = Instant::now() + SETTLED;
            for part in 0..PARTS {
                let slots = everybody
                    .iter()
                    .flat_map(|namespace| self.slots(Whom::Part(part), namespace.as_ref()));
                if Instant::now() < settled {
                    self.change(slots.collect());
                } else {
                    self.0.epochs.changed(slots);
                }
                self.wait(Some(Instant::now() + step)).await;
            }
        }
    }

    /// Waits until `end`, or until a change that touches everybody comes. Meanwhile waiting changes count a second time
    /// when they are due.
    async fn wait(&self, end: Option<Instant>) {
        loop {
            let now = Instant::now();
            let next = {
                let mut waiting = self.waiting();
                while let Some((_, slots)) = waiting.again.pop_front_if(|(due, _)| *due <= now) {
                    self.0.epochs.changed(slots);
                }
                waiting.again.front().map(|(due, _)| *due)
            };
            if end.is_some_and(|end| end <= now) {
                return;
            }
            match next.into_iter().chain(end).min() {
                Some(next) => {
                    let slept = tokio::time::timeout_at(next, self.0.woken.notified()).await;
                    if slept.is_ok() && end.is_none() && !self.waiting().everybody.is_empty() {
                        return;
                    }
                }
                None => {
                    self.0.woken.notified().await;
                    if !self.waiting().everybody.is_empty() {
                        return;
                    }
                }
            }
        }
    }

    /// Counts a change now, and once more when all API servers should have seen it.
    fn change(&self, slots: Box<[usize]>) {
        self.0.epochs.changed(slots.iter().copied());
        let mut waiting = self.waiting();
        if waiting.again.len() >= MAX_WAITING {
            waiting.again.clear();
            waiting.everybody = BTreeSet::from([None]);
        } else {
            waiting.again.push_back((Instant::now() + SETTLED, slots));
        }
        drop(waiting);
        self.0.woken.notify_one();
    }

    /// The slots of a change.
    fn slots(&self, whom: Whom<'_>, namespace: Option<&Namespace>) -> [usize; 2] {
        let whom = self.0.hasher.hash_one(whom);
        let place = namespace.map_or(Place::Cluster, Place::Namespace);
        [place, Place::Anywhere].map(|place| self.slot(whom, self.0.hasher.hash_one(place)))
    }

    fn slot(&self, whom: u64, place: u64) -> usize {
        self.0.epochs.slot(whom.rotate_left(23).wrapping_add(place))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing under this lock can leave it half changed.
        let waiting = self.0.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a subject stands for everybody, or for so many that it is treated so.
fn is_everybody(subject: SubjectRef<'_>) -> bool {
    match subject {
        SubjectRef::Anybody => true,
        SubjectRef::Group(name) => {
            name == "system:authenticated" || name == "system:serviceaccounts"
        }
        SubjectRef::User(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, groups: &[&str]) -> Caller {
        let groups: Vec<_> = groups.iter().map(|&group| group.to_owned()).collect();
        Caller::assumed(name, &groups)
    }

    fn namespace(name: &str) -> Namespace {
        Namespace::parse(name).expect(name)
    }

    fn user(name: &str) -> Subject {
        Subject::User(name.into())
    }

    #[test]
    fn k27_a_change_touches_its_subjects_in_its_namespace() {
        let (changes, start) = (Changes::default(), Epoch::default());
        let (a, b) = (namespace("a"), namespace("b"));
        let alice = caller("alice", &["system:authenticated", "devs"]);
        changes.touch(
            [user("bob"), Subject::Group("alice".into())].iter(),
            Some(&a),
        );
        for place in [Place::Namespace(&a), Place::Cluster, Place::Anywhere] {
            assert!(!changes.touched(&alice, place, start), "{place:?}");
        }
        for subject in [user("alice"), Subject::Group("devs".into())] {
            let start = changes.now();
            changes.touch([subject].iter(), Some(&a));
            assert!(changes.touched(&alice, Place::Namespace(&a), start));
            assert!(changes.touched(&alice, Place::Anywhere, start));
            assert!(!changes.touched(&alice, Place::Namespace(&b), start));
            assert!(!changes.touched(&alice, Place::Cluster, start));
            assert!(!changes.touched(&alice, Place::Namespace(&a), changes.now()));
        }
    }

    #[test]
    fn k27_what_changes_for_the_whole_cluster_touches_each_namespace() {
        let (changes, start) = (Changes::default(), Epoch::default());
        let a = namespace("a");
        changes.touch([user("alice")].iter(), None);
        for place in [Place::Namespace(&a), Place::Cluster, Place::Anywhere] {
            assert!(changes.touched(&caller("alice", &[]), place, start));
            assert!(!changes.touched(&caller("bob", &[]), place, start));
        }
    }

    /// How many of some callers are touched.
    fn touched(changes: &Changes, callers: &[Caller], place: Place<'_>, since: Epoch) -> usize {
        let is_it = |caller: &&Caller| changes.touched(caller, place, since);
        callers.iter().filter(is_it).count()
    }

    #[tokio::test(start_paused = true)]
    async fn k27_what_touches_everybody_is_spread_by_how_much_is_remembered() {
        let callers: Vec<_> = (0..1_000)
            .map(|number| caller(&format!("u{number}"), &[]))
            .collect();
        let a = namespace("a");
        let here = Place::Namespace(&a);
        for subjects in [
            vec![Subject::Anybody],
            vec![Subject::Group("system:authenticated".into())],
        ] {
            // Twenty seconds at a thousand reviews a second.
            let changes = Changes::default();
            tokio::spawn(changes.clone().drive(|| 20_000, Duration::from_secs(60)));
            changes.touch(subjects.iter(), Some(&a));
            tokio::time::sleep(Duration::from_secs(10)).await;
            let half = touched(&changes, &callers, here, Epoch::default());
            assert!((400..600).contains(&half), "{half}");
            tokio::time::sleep(Duration::from_secs(11)).await;
            assert_eq!(touched(&changes, &callers, here, Epoch::default()), 1_000);
            // But for some that share a slot with somebody.
            let elsewhere = touched(&changes, &callers, Place::Cluster, Epoch::default());
            assert!(elsewhere < 20, "{elsewhere}");
        }
        // Little is remembered: at once. However much it is: no longer than answers last.
        for (answers, longest) in [(100, 1), (u64::MAX / 1_000, 61)] {
            let changes = Changes::default();
            tokio::spawn(
                changes
                    .clone()
                    .drive(move || answers, Duration::from_secs(60)),
            );
            changes.touch_everybody(None);
            tokio::time::sleep(Duration::from_secs(longest)).await;
            assert_eq!(touched(&changes, &callers, here, Epoch::default()), 1_000);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn k27_a_change_of_very_many_touches_everybody() {
        let changes = Changes::default();
        tokio::spawn(changes.clone().drive(|| 0, Duration::from_secs(60)));
        let many: Vec<_> = (0..MAX_SUBJECTS + 1)
            .map(|number| user(&format!("u{number}")))
            .collect();
        changes.touch(many.iter(), Some(&namespace("a")));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(changes.touched(&caller("u0", &[]), Place::Cluster, Epoch::default()));
        assert!(changes.touched(&caller("another", &[]), Place::Cluster, Epoch::default()));
    }

    #[tokio::test(start_paused = true)]
    async fn k27_a_change_counts_a_second_time_when_all_api_servers_have_heard_of_it() {
        let changes = Changes::default();
        tokio::spawn(changes.clone().drive(|| 0, Duration::from_secs(60)));
        let alice = caller("alice", &[]);
        tokio::time::sleep(Duration::from_secs(5)).await;
        changes.touch([user("alice")].iter(), None);
        let after = changes.now();
        tokio::time::sleep(SETTLED - Duration::from_millis(10)).await;
        assert!(!changes.touched(&alice, Place::Cluster, after));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(changes.touched(&alice, Place::Cluster, after));
        let last = changes.now();
        tokio::time::sleep(SETTLED * 5).await;
        assert_eq!(changes.now(), last, "and no third");
    }
}
