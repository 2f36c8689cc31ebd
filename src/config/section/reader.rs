//! What the sections of one reading share: overrides and faults.

use std::cell::RefCell;

use serde_json::Value;

use super::{Given, Section};
use crate::config::environment::{self, Environment, SEPARATOR};
use crate::config::fault::{Fault, named, nearest};

/// What all sections of one reading share.
pub(in crate::config) struct Reader {
    pub(super) environment: Environment,
    pub(super) faults: RefCell<Vec<Fault>>,
    /// The variables that would have overridden something.
    pub(super) variables: RefCell<Vec<String>>,
    /// Enters every optional section and notes no fault: for the schema.
    pub(super) describing: bool,
}

impl Reader {
    pub(in crate::config) fn new(environment: Environment) -> Self {
        Self {
            environment,
            faults: RefCell::default(),
            variables: RefCell::default(),
            describing: false,
        }
    }

    /// A reader of nothing, which visits every key there is.
    pub(in crate::config) fn describing() -> Self {
        Self {
            describing: true,
            ..Self::new(Environment::default())
        }
    }

    /// Reads the whole document, and returns its schema too.
    pub(in crate::config) fn read<T>(
        &self,
        document: Value,
        read: impl FnOnce(&mut Section) -> T,
    ) -> (T, Value) {
        let given = (!document.is_null()).then_some(Given {
            value: document,
            text: None,
            variable: None,
        });
        let section = Section::new(self, String::new(), environment::PREFIX.to_owned(), given);
        section.finish("", read)
    }

    /// Whether a fault has been noted of this key or of one below it.
    pub(super) fn has_fault(&self, key: &str) -> bool {
        let concerns = |fault: &Fault| {
            let rest = fault.key.strip_prefix(key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.faults.borrow().iter().any(concerns)
    }

    /// The names of the variables that were looked for.
    pub(in crate::config) fn variables(&self) -> Vec<String> {
        self.variables.take()
    }

    /// The faults noted so far, and one for each variable that overrode nothing. `others` are further names
    /// that a mistyped one may have meant.
    pub(in crate::config) fn into_faults(self, others: &[String]) -> Vec<Fault> {
        let mut faults = self.faults.take();
        let variables = self.variables.take();
        for unused in self.environment.unused() {
            let known = variables.iter().chain(others);
            // Without the start that all share, which would make everything look near.
            let near = nearest(
                environment::bare(unused),
                known.map(|name| environment::bare(name)),
            );
            let prefix = environment::PREFIX;
            let hint = match near {
                Some(near) => format!("did you mean {prefix}_{near}?"),
                None => {
                    format!("write {prefix}_ and the key's levels, with {SEPARATOR} between them")
                }
            };
            faults.push(Fault {
                key: String::new(),
                variable: Some(named(unused)),
                problem: "overrides no key of the configuration".to_owned(),
                hint,
            });
        }
        faults
    }
}
