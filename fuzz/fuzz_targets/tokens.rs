//! Any text: it is read or refused, within the limits, and what is written of it with nothing added reads as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prom_rbac_proxy::promql::{Constraint, Limits, Query, measure};

fuzz_target!(|text: &str| {
    let limits = Limits::default();
    let _ = measure(text, &limits);
    let query = match Query::parse(text, &limits) {
        Ok(query) => query,
        Err(error) => {
            assert!(error.to_string().len() < 1024);
            assert!(error.position().is_none_or(|at| at <= text.len()));
            assert!(
                error
                    .pointer(text)
                    .is_none_or(|pointer| pointer.len() < 1024)
            );
            return;
        }
    };
    let written = query
        .restrict(|_, _| Constraint::Open)
        .expect("nothing was added");
    let again = Query::parse(&written, &limits).expect("what is written can be read");
    assert_eq!(again.selectors().len(), query.selectors().len());
    for (before, after) in query.selectors().iter().zip(again.selectors()) {
        assert_eq!(before.metric(), after.metric());
        assert_eq!(before.matchers(), after.matchers());
    }
    let twice = again.restrict(|_, _| Constraint::Open);
    assert_eq!(twice.as_deref(), Ok(written.as_str()));
});
