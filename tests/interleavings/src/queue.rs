//! The slots, and the queue before them.

use std::time::Duration;

use loom::future::block_on;
use loom::thread::spawn;

use crate::model::every_order;
use crate::slots::{Bounds, Slots};

const LONG: Duration = Duration::from_secs(1);

fn slots(concurrent: usize, patience: Duration) -> Slots {
    Slots::new(Bounds {
        concurrent,
        queued: 2,
        patience,
    })
}

/// That all slots are free, and no more than there were.
fn assert_free(slots: &Slots, number: usize) {
    let free: Vec<_> = std::iter::from_fn(|| slots.take_free()).collect();
    assert_eq!(free.len(), number);
}

#[test]
fn a_slot_that_is_released_while_somebody_begins_to_wait_is_theirs() {
    every_order(|| {
        let slots = slots(1, LONG);
        let held = slots.take_free().expect("a slot");
        let other = spawn(move || drop(held));
        // One that is neither free nor handed over would be waited for here for ever, which loom finds.
        assert!(block_on(slots.take()).is_some());
        other.join().expect("no panic");
        assert_free(&slots, 1);
    });
}

#[test]
fn two_who_wait_both_get_the_slot() {
    every_order(|| {
        let slots = slots(1, LONG);
        let held = slots.take_free().expect("a slot");
        let other = spawn({
            let slots = slots.clone();
            move || assert!(block_on(slots.take()).is_some())
        });
        drop(held);
        assert!(block_on(slots.take()).is_some());
        other.join().expect("no panic");
        assert_free(&slots, 1);
    });
}

#[test]
fn a_slot_that_is_handed_to_one_who_leaves_is_not_lost() {
    every_order(|| {
        let slots = slots(1, Duration::ZERO);
        let held = slots.take_free().expect("a slot");
        let leaves = spawn({
            let slots = slots.clone();
            move || drop(block_on(slots.take()))
        });
        drop(held);
        leaves.join().expect("no panic");
        assert_free(&slots, 1);
    });
}

#[test]
fn no_more_slots_are_taken_than_there_are() {
    every_order(|| {
        let slots = slots(1, Duration::ZERO);
        let other = spawn({
            let slots = slots.clone();
            move || slots.take_free()
        });
        let own = slots.take_free();
        let others = other.join().expect("no panic");
        assert!(own.is_some() != others.is_some(), "one of both");
        drop((own, others));
        assert_free(&slots, 1);
    });
}
