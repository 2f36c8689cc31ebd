use std::sync::Arc;

use super::{name, object};
use crate::authn::Digester;
use crate::cluster::namespace_objects::NamespaceObject;
use crate::gateway::metrics::GatewayMetrics;
use crate::gateway::namespace_list::changes::{Kind, Told, changes};
use crate::gateway::namespace_list::given::{Given, Key, Memory};
use crate::gateway::namespace_list::selection::Selection;
use crate::gateway::namespace_list::slots::WatchSlots;
use crate::gateway::namespace_list::view::View;

fn view(objects: &[Arc<NamespaceObject>]) -> View {
    objects
        .iter()
        .map(|object| View::of(object.clone()))
        .reduce(|all, one| all.joined(&one))
        .unwrap_or_default()
}

/// Kind, name and version of each event, and the newest version.
fn told(before: &Told, now: &View, labels: &str, last: u64) -> (Vec<(Kind, String, u64)>, u64) {
    let selection = Selection::read(labels, "").expect(labels);
    let mut newest = last;
    let events = changes(before, now, &selection, &mut newest);
    let told = |event: &super::super::changes::Event| {
        (event.kind, event.object.name.to_string(), event.version)
    };
    (events.iter().map(told).collect(), newest)
}

#[test]
fn each_event_is_newer_than_all_before() {
    let (a, b, c) = (object("a", 3, ""), object("b", 9, ""), object("c", 12, ""));
    let before = Told::Exactly(view(&[a, b.clone()]));
    // One is gone, one stays, one was opened that is old, and one that is new.
    let now = view(&[b, c, object("d", 5, "")]);
    let event = |kind, name: &str, version| (kind, name.to_owned(), version);
    let expected = vec![
        event(Kind::Deleted, "a", 11),
        event(Kind::Added, "d", 12),
        event(Kind::Added, "c", 13),
    ];
    assert_eq!(told(&before, &now, "", 10), (expected, 13));
    let nothing = told(&Told::Exactly(now.clone()), &now, "", 13);
    assert_eq!(nothing, (Vec::new(), 13));
}

#[test]
fn what_is_made_again_under_its_name_is_another() {
    let again = NamespaceObject {
        uid: "another".to_owned(),
        version: 20,
        ..(*object("a", 3, "")).clone()
    };
    let before = Told::Exactly(view(&[object("a", 3, "")]));
    let (events, _) = told(&before, &view(&[Arc::new(again)]), "", 10);
    let kinds: Vec<_> = events.iter().map(|event| event.0).collect();
    assert_eq!(kinds, [Kind::Deleted, Kind::Added]);
    assert_eq!(events[1].2, 20);
}

#[test]
fn a_label_leads_into_a_selection_and_out_of_it() {
    let kinds = |before: &str, now: &str| {
        let before = Told::Exactly(view(&[object("a", 1, before)]));
        let (events, _) = told(&before, &view(&[object("a", 2, now)]), "x=1", 1);
        events.into_iter().map(|event| event.0).collect::<Vec<_>>()
    };
    assert_eq!(kinds("1", "1"), [Kind::Modified]);
    assert_eq!(kinds("2", "1"), [Kind::Added]);
    assert_eq!(kinds("1", "2"), [Kind::Deleted]);
    assert_eq!(kinds("2", "2"), []);
}

#[test]
fn where_it_is_not_certain_what_was_told_all_is_told_again() {
    let memory = Memory::default();
    let key = Key {
        caller: Digester::new().digest([b"alice".as_slice()]),
        only: None,
        version: 7,
    };
    assert!(memory.recall(&key).is_none());
    let (one, other) = (view(&[object("a", 1, "")]), view(&[object("b", 2, "")]));
    memory.remember(key.clone(), &one);
    memory.remember(key.clone(), &one);
    assert!(matches!(memory.recall(&key), Some(Given::One(_))));
    memory.remember(key.clone(), &other);
    let Some(Given::Several(both)) = memory.recall(&key) else {
        panic!("two views are not one");
    };
    assert!(both.find(&name("a")).is_some() && both.find(&name("b")).is_some());
    let (events, _) = told(&Told::AtMost(both), &other, "", 7);
    let told: Vec<_> = events
        .iter()
        .map(|(kind, name, _)| (*kind, &**name))
        .collect();
    assert_eq!(told, [(Kind::Deleted, "a"), (Kind::Added, "b")]);
    for another in [
        Key {
            version: 8,
            ..key.clone()
        },
        Key {
            only: Some(name("a")),
            ..key.clone()
        },
        Key {
            caller: Digester::new().digest([b"bob".as_slice()]),
            ..key
        },
    ] {
        assert!(memory.recall(&another).is_none());
    }
}

#[test]
fn places_are_bounded_for_each_caller_and_free_again() {
    let metrics = GatewayMetrics::default();
    let places = WatchSlots::new(metrics.namespace_watches().clone());
    let digester = Digester::new();
    let caller = |name: &str| digester.digest([name.as_bytes()]);
    let mut taken: Vec<_> = (0..32).map_while(|_| places.take(caller("a"))).collect();
    assert_eq!(taken.len(), 32);
    assert!(places.take(caller("a")).is_none());
    let other = places.take(caller("b")).expect("one for somebody else");
    assert_eq!(metrics.namespace_watches().get(), 33);
    taken.pop();
    taken.push(places.take(caller("a")).expect("a free one"));
    drop((taken, other));
    assert_eq!(metrics.namespace_watches().get(), 0);
}
