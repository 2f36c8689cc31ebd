//! Answers about rights, and changes of those.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};

use crate::epochs::Epochs;
use crate::model::every_order;

#[test]
fn an_answer_that_was_asked_for_before_a_change_never_counts_after_it() {
    every_order(|| {
        let epochs = Arc::new(Epochs::new(2));
        let right = Arc::new(AtomicBool::new(true));
        let change = loom::thread::spawn({
            let (epochs, right) = (epochs.clone(), right.clone());
            move || {
                right.store(false, Ordering::SeqCst);
                epochs.changed([1]);
            }
        });
        let began = epochs.now();
        let answer = right.load(Ordering::SeqCst);
        change.join().expect("no panic");
        assert!(!answer || epochs.changed_since(began, [0, 1]));
    });
}

#[test]
fn who_sees_a_change_of_two_sees_the_one_before_it() {
    every_order(|| {
        let epochs = Arc::new(Epochs::new(2));
        let began = epochs.now();
        let changes = [0, 1].map(|slot| {
            let epochs = epochs.clone();
            loom::thread::spawn(move || epochs.changed([slot]))
        });
        let now = epochs.now();
        let seen = [0, 1].map(|slot| epochs.changed_since(began, [slot]));
        let seen = seen.into_iter().filter(|seen| *seen).count();
        // Whatever has begun an epoch by then can be seen by what it changed.
        assert!(now == began || seen >= 1);
        for change in changes {
            change.join().expect("no panic");
        }
        assert!(epochs.changed_since(began, [0]) && epochs.changed_since(began, [1]));
    });
}
