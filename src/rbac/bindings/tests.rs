use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::rbac::object::{InCluster, InNamespace};
use crate::rbac::{ClusterRoleBinding, Epoch, Place, RoleBinding};

fn binding(namespace: &str, name: &str, users: &[&str]) -> RoleBinding {
    let subject = |name| json!({"kind": "User", "name": name});
    let subjects: Vec<_> = users.iter().map(subject).collect();
    read(&json!({"metadata": {"namespace": namespace, "name": name}, "subjects": subjects}))
}

fn read(object: &serde_json::Value) -> RoleBinding {
    serde_json::from_str(&object.to_string()).expect("an object")
}

/// Listed, with these.
fn bindings(objects: &[RoleBinding]) -> Bindings {
    let bindings = Bindings::new(Changes::default(), RbacMetrics::default());
    list(&bindings, objects);
    bindings
}

fn list(bindings: &Bindings, objects: &[RoleBinding]) {
    bindings.listing::<InNamespace>();
    objects.iter().for_each(|object| bindings.apply(object));
    bindings.listed::<InNamespace>();
}

fn of(bindings: &Bindings, user: &str, groups: &[&str]) -> Vec<String> {
    let groups: Vec<_> = groups.iter().map(|&group| group.to_owned()).collect();
    let found = bindings.namespaces_of(user, &groups).expect("listed");
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn k26_a_caller_has_the_namespaces_of_the_name_and_of_each_group() {
    let bindings = bindings(&[
        binding("b", "one", &["alice"]),
        binding("a", "one", &["alice", "bob"]),
        read(&json!({
            "metadata": {"namespace": "c", "name": "one"},
            "subjects": [{"kind": "Group", "name": "devs"}, {"kind": "Group", "name": "alice"}],
        })),
        read(&json!({
            "metadata": {"namespace": "d", "name": "one"},
            "subjects": [{"kind": "ServiceAccount", "name": "robot"}],
        })),
    ]);
    assert_eq!(of(&bindings, "alice", &[]), ["a", "b"]);
    assert_eq!(of(&bindings, "bob", &["devs", "others"]), ["a", "c"]);
    assert_eq!(of(&bindings, "devs", &["bob"]), [""; 0]);
    assert_eq!(of(&bindings, "system:serviceaccount:d:robot", &[]), ["d"]);
    assert_eq!(of(&bindings, "system:serviceaccount:c:robot", &[]), [""; 0]);
}

#[test]
fn k26_nothing_is_known_before_a_list_is_complete() {
    let bindings = Bindings::new(Changes::default(), RbacMetrics::default());
    assert_eq!(bindings.namespaces_of("alice", &[]), None);
    bindings.listing::<InNamespace>();
    bindings.apply(&binding("a", "one", &["alice"]));
    assert_eq!(bindings.namespaces_of("alice", &[]), None, "a part");
    bindings.lost::<InNamespace>();
    assert_eq!(bindings.namespaces_of("alice", &[]), None, "it failed");
    list(&bindings, &[binding("b", "one", &["alice"])]);
    assert_eq!(of(&bindings, "alice", &[]), ["b"], "no longer in a");
}

#[test]
fn k26_what_is_known_stays_while_the_watch_is_away() {
    let bindings = bindings(&[binding("a", "one", &["alice"])]);
    bindings.lost::<InNamespace>();
    assert_eq!(of(&bindings, "alice", &[]), ["a"]);
    // A list that breaks off takes nothing away.
    bindings.listing::<InNamespace>();
    bindings.lost::<InNamespace>();
    assert_eq!(of(&bindings, "alice", &[]), ["a"]);
    list(&bindings, &[]);
    assert_eq!(of(&bindings, "alice", &[]), [""; 0]);
}

#[test]
fn k26_one_of_two_bindings_is_enough() {
    let bindings = bindings(&[
        binding("a", "one", &["alice"]),
        binding("a", "two", &["alice"]),
    ]);
    bindings.remove(&binding("a", "one", &["alice"]));
    assert_eq!(of(&bindings, "alice", &[]), ["a"]);
    bindings.apply(&binding("a", "two", &["bob"]));
    assert_eq!(of(&bindings, "alice", &[]), [""; 0]);
    assert_eq!(of(&bindings, "bob", &[]), ["a"]);
    // Of what is not there, nothing goes away.
    bindings.remove(&binding("a", "one", &["bob"]));
    bindings.remove(&binding("b", "two", &["bob"]));
    assert_eq!(of(&bindings, "bob", &[]), ["a"]);
}

#[test]
fn k26_a_binding_that_is_not_read_whole_makes_its_namespace_everybodys_candidate() {
    let many: Vec<_> = (0..30_000).map(|number| format!("user-{number}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let bindings = bindings(&[
        binding("a", "one", &["alice"]),
        binding("huge", "one", &many),
        read(&json!({"metadata": {"namespace": "odd", "name": "one"}, "subjects": 7})),
        // These belong to no namespace that could be asked about.
        read(&json!({"metadata": {"namespace": "No Name", "name": "one"}})),
        read(&json!({"metadata": {"namespace": "a"}})),
        read(&json!({"subjects": []})),
    ]);
    assert_eq!(of(&bindings, "alice", &[]), ["a", "huge", "odd"]);
    assert_eq!(of(&bindings, "user-7", &[]), ["huge", "odd"]);
    bindings.apply(&binding("huge", "one", &["user-7"]));
    bindings.remove(&binding("odd", "one", &[]));
    assert_eq!(of(&bindings, "alice", &[]), ["a"]);
    assert_eq!(of(&bindings, "user-7", &[]), ["huge"]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_first_list_is_told_when_it_comes_and_when_it_fails() {
    for end in [
        Bindings::listed::<InNamespace>,
        Bindings::lost::<InNamespace>,
    ] {
        let bindings = Bindings::new(Changes::default(), RbacMetrics::default());
        let waiting = tokio::spawn({
            let bindings = bindings.clone();
            async move { bindings.settled().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        bindings.listing::<InNamespace>();
        end(&bindings);
        waiting.await.expect("no panic");
        bindings.settled().await;
    }
}

/// A binding's place, and the users that it names from then on; `None`: it is gone.
type Step = (u8, u8, Option<BTreeSet<u8>>);

fn steps() -> impl Strategy<Value = Vec<(bool, Step)>> {
    let users = prop::option::weighted(0.7, prop::collection::btree_set(0..6_u8, 0..4));
    prop::collection::vec(
        (prop::bool::weighted(0.1), (0..4_u8, 0..3_u8, users)),
        1..60,
    )
}

proptest! {
    /// However bindings come, change and go, also unseen between two lists, callers have what the bindings say.
    #[test]
    fn k26_changes_come_to_what_a_new_list_would_say(steps in steps()) {
        let bindings = bindings(&[]);
        let mut truth: BTreeMap<(u8, u8), BTreeSet<u8>> = BTreeMap::new();
        let object = |(namespace, name): (u8, u8), users: &BTreeSet<u8>| {
            let users: Vec<_> = users.iter().map(|user| format!("u{user}")).collect();
            let users: Vec<_> = users.iter().map(String::as_str).collect();
            binding(&format!("n{namespace}"), &format!("b{name}"), &users)
        };
        for (unseen, (namespace, name, users)) in steps {
            let place = (namespace, name);
            let seen = match users {
                Some(users) => {
                    let seen = object(place, &users);
                    truth.insert(place, users);
                    (true, seen)
                }
                None => (false, object(place, &truth.remove(&place).unwrap_or_default())),
            };
            match (unseen, seen) {
                (true, _) => {
                    let all: Vec<_> = truth.iter().map(|(place, users)| object(*place, users)).collect();
                    bindings.lost::<InNamespace>();
                    list(&bindings, &all);
                }
                (false, (true, object)) => bindings.apply(&object),
                (false, (false, object)) => bindings.remove(&object),
            }
            for user in 0..6 {
                let expected: BTreeSet<_> = truth
                    .iter()
                    .filter(|(_, users)| users.contains(&user))
                    .map(|((namespace, _), _)| format!("n{namespace}"))
                    .collect();
                let expected: Vec<_> = expected.into_iter().collect();
                prop_assert_eq!(of(&bindings, &format!("u{user}"), &[]), expected);
            }
        }
        let known = bindings.known();
        prop_assert_eq!(known.bindings, truth.len());
        prop_assert_eq!(known.subjects, truth.values().map(BTreeSet::len).sum::<usize>());
    }
}

fn role_binding(namespace: &str, role: (&str, &str), user: &str) -> RoleBinding {
    read(&json!({
        "metadata": {"namespace": namespace, "name": format!("{user}-{}", role.1)},
        "roleRef": {"kind": role.0, "name": role.1},
        "subjects": [{"kind": "User", "name": user}],
    }))
}

fn touched(bindings: &Bindings, user: &str, place: Place<'_>, since: Epoch) -> bool {
    let caller = crate::authn::Caller::assumed(user, &[]);
    bindings.changes().touched(&caller, place, since)
}

#[test]
fn k27_a_role_that_changes_touches_those_whom_it_is_bound_to() {
    let [a, b] = ["a", "b"].map(|name| Namespace::parse(name).expect(name));
    let bindings = bindings(&[
        role_binding("a", ("Role", "reader"), "alice"),
        role_binding("b", ("Role", "reader"), "bob"),
        role_binding("b", ("ClusterRole", "reader"), "carol"),
    ]);
    bindings.listing::<InCluster>();
    let everywhere: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "one"},
        "roleRef": {"kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "User", "name": "vera"}],
    }))
    .expect("an object");
    bindings.apply(&everywhere);
    bindings.listed::<InCluster>();
    let whom = |since| {
        let places = [Place::Namespace(&a), Place::Namespace(&b), Place::Cluster];
        let mut touched_ones = Vec::new();
        for user in ["alice", "bob", "carol", "vera"] {
            for (place, name) in places.iter().zip(["a", "b", "cluster"]) {
                if touched(&bindings, user, *place, since) {
                    touched_ones.push(format!("{user} {name}"));
                }
            }
        }
        touched_ones
    };
    let since = || bindings.changes().now();
    let start = since();
    bindings.role_changed(Some(&a), "reader");
    assert_eq!(whom(start), ["alice a"]);
    let start = since();
    bindings.role_changed(Some(&b), "another");
    bindings.role_changed(None, "view");
    assert_eq!(whom(start), [""; 0]);
    let start = since();
    bindings.role_changed(None, "reader");
    assert_eq!(whom(start), ["carol b", "vera a", "vera b", "vera cluster"]);
    let start = since();
    bindings.remove(&everywhere);
    assert_eq!(whom(start), ["vera a", "vera b", "vera cluster"]);
}

#[test]
fn k27_a_binding_that_was_made_anew_with_another_role_touches_whom_it_names() {
    let bindings = bindings(&[role_binding("a", ("ClusterRole", "view"), "alice")]);
    let start = bindings.changes().now();
    let same = role_binding("a", ("ClusterRole", "view"), "alice");
    list(&bindings, std::slice::from_ref(&same));
    assert!(!touched(&bindings, "alice", Place::Anywhere, start));
    // Unseen, between two lists.
    let mut other = json!({"kind": "ClusterRole", "name": "nothing"});
    let mut object = json!({
        "metadata": {"namespace": "a", "name": "alice-view"},
        "subjects": [{"kind": "User", "name": "alice"}],
    });
    object["roleRef"] = other.take();
    list(&bindings, &[read(&object)]);
    assert!(touched(&bindings, "alice", Place::Anywhere, start));
    assert!(!touched(&bindings, "bob", Place::Anywhere, start));
}

#[test]
fn k27_what_goes_unseen_between_two_lists_is_told_of() {
    let bindings = bindings(&[binding("a", "one", &["alice"])]);
    let start = bindings.changes().now();
    bindings.lost::<InNamespace>();
    list(&bindings, &[binding("a", "two", &["bob"])]);
    for user in ["alice", "bob"] {
        assert!(touched(&bindings, user, Place::Anywhere, start), "{user}");
    }
}
