//! Keys with any number of values: lists of texts, lists of sections, maps with keys of the operator's.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Given, Section, described, kind};
use crate::config::environment::SEPARATOR;
use crate::config::fault::{named, wrong};
use crate::config::format::Format;

/// One element of a list.
struct Element {
    /// Dotted key with the index.
    key: String,
    /// The variable that overrides it.
    variable: String,
    given: Option<Given>,
}

impl Section<'_> {
    /// A list of texts.
    pub(in crate::config) fn texts<T>(
        &mut self,
        key: &'static str,
        default: &[&str],
        doc: &str,
        format: &Format<T>,
    ) -> Vec<T> {
        let schema = json!({"type": "array", "items": (format.schema)()});
        let schema = described(schema, doc, Some(json!(default)));
        match self.elements(key, schema) {
            Some(elements) => elements
                .into_iter()
                .filter_map(|element| self.read_text(element.key, element.given?, format))
                .collect(),
            None => default
                .iter()
                .filter_map(|text| (format.read)(text).ok())
                .collect(),
        }
    }

    /// A map of texts whose keys are the operator's. Sorted by key as text.
    ///
    /// A variable's last level names a key in lower case, with `-` for `_`.
    pub(in crate::config) fn map<T>(
        &mut self,
        key: &'static str,
        doc: &str,
        format: &Format<T>,
    ) -> Vec<(String, T)> {
        let items = (format.schema)();
        let schema = json!({"type": "object", "additionalProperties": items});
        let mut entries = BTreeMap::new();
        if let Some(Given {
            value, variable, ..
        }) = self.take(key, described(schema, doc, Some(json!({}))))
        {
            match value {
                Value::Object(map) => {
                    for (name, value) in map {
                        let variable = variable.clone();
                        entries.insert(
                            name,
                            Given {
                                value,
                                text: None,
                                variable,
                            },
                        );
                    }
                }
                other => {
                    let problem = format!("is {} where keys are expected", kind(&other));
                    self.note(self.path(key), variable, wrong(problem, ""));
                }
            }
        }
        let parent = self.variable_of(key);
        for child in self.reader.environment.children(&parent) {
            let variable = format!("{parent}{SEPARATOR}{child}");
            if let Some(given) = self.variable(&variable) {
                let name = child.to_ascii_lowercase().replace('_', "-");
                entries.retain(|other, _| !other.eq_ignore_ascii_case(&name));
                entries.insert(name, given);
            }
        }
        let path = self.path(key);
        entries
            .into_iter()
            .filter_map(|(name, given)| {
                let value = self.read_text(format!("{path}.{}", named(&name)), given, format)?;
                Some((name, value))
            })
            .collect()
    }

    /// A list of sections. An element that has a fault is `None`, so that indices stay what they are.
    pub(in crate::config) fn list<T>(
        &mut self,
        key: &'static str,
        doc: &str,
        mut read: impl FnMut(&mut Section) -> Option<T>,
    ) -> Vec<Option<T>> {
        let elements = if self.reader.describing {
            self.take(key, Value::Null);
            vec![Element {
                key: self.path(key),
                variable: format!("{}{SEPARATOR}0", self.variable_of(key)),
                given: None,
            }]
        } else {
            self.elements(key, Value::Null).unwrap_or_default()
        };
        let mut read_all = Vec::new();
        for element in elements {
            let path = element.key.clone();
            let mut section =
                Section::new(self.reader, element.key, element.variable, element.given);
            section.mute |= self.mute;
            let (read, items) = section.finish("", &mut read);
            read_all.push(read.filter(|_| !self.reader.has_fault(&path)));
            let schema = json!({"type": "array", "items": items});
            self.properties
                .insert(key.into(), described(schema, doc, None));
        }
        read_all
    }

    /// The elements of a list, each with its key and variable; `None` when there is no list. Variables for
    /// single elements replace those of the document or follow its last.
    fn elements(&mut self, key: &'static str, schema: Value) -> Option<Vec<Element>> {
        let (path, parent) = (self.path(key), self.variable_of(key));
        let given = self.take(key, schema);
        let at = |index: usize| format!("{parent}{SEPARATOR}{index}");
        let first = self.reader.environment.reaches(&at(0));
        let (list, origin) = match given {
            None if !first => return None,
            None => (Vec::new(), None),
            Some(given) => match given.value {
                Value::Array(list) => (list, given.variable),
                other => {
                    let problem = format!("is {} where a list is expected", kind(&other));
                    let hint = format!("write {key}: [...] or a line with - for each");
                    self.note(path, given.variable, wrong(problem, hint));
                    return Some(Vec::new());
                }
            },
        };
        let mut list = list.into_iter();
        let mut elements = Vec::new();
        for index in 0.. {
            let (variable, value) = (at(index), list.next());
            if value.is_none() && !self.reader.environment.reaches(&variable) {
                break;
            }
            let document = value.map(|value| Given {
                value,
                text: None,
                variable: origin.clone(),
            });
            let given = self.variable(&variable).or(document);
            elements.push(Element {
                key: format!("{path}[{index}]"),
                variable,
                given,
            });
        }
        Some(elements)
    }
}
