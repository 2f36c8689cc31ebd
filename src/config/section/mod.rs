//! Reads one level of the document. Each call names a key with its form, default and meaning, reads it and
//! adds it to the JSON Schema, so that reader, schema and documentation cannot differ.
//!
//! A fault never ends the reading: it is noted, and the default or nothing takes the value's place. What
//! was read is good only if no fault was noted.

mod lists;
mod reader;
mod values;

use serde_json::{Map, Value, json};

pub(super) use self::reader::Reader;
use super::environment::{self, SEPARATOR};
use super::fault::{Fault, Wrong, named, nearest, wrong};
use super::yaml;

/// A value as somebody gave it.
struct Given {
    value: Value,
    /// As typed, where it is the whole text of a variable.
    text: Option<String>,
    /// The variable that it came from; `None` for the document.
    variable: Option<String>,
}

/// One map of keys.
pub(super) struct Section<'r> {
    reader: &'r Reader,
    key: String,
    variable: String,
    /// The variable that gave this whole map.
    origin: Option<String>,
    /// The keys that have not been read yet.
    rest: Map<String, Value>,
    /// The keys that were asked for, in order.
    known: Vec<&'static str>,
    /// Those of them that somebody gave a value.
    given: Vec<&'static str>,
    properties: Map<String, Value>,
    required: Vec<&'static str>,
    rules: Map<String, Value>,
    /// The map itself is at fault, so what is missing in it is not reported.
    mute: bool,
}

impl<'r> Section<'r> {
    fn new(reader: &'r Reader, key: String, variable: String, given: Option<Given>) -> Self {
        let mut section = Self {
            reader,
            key,
            variable,
            origin: None,
            rest: Map::new(),
            known: Vec::new(),
            given: Vec::new(),
            properties: Map::new(),
            required: Vec::new(),
            rules: Map::new(),
            mute: reader.describing,
        };
        if let Some(given) = given {
            section.origin = given.variable;
            match given.value {
                Value::Object(map) => section.rest = map,
                other => {
                    let key = match section.key.as_str() {
                        "" => "the document".to_owned(),
                        key => key.to_owned(),
                    };
                    let problem = format!("is {} where keys are expected", kind(&other));
                    section.note(key, None, wrong(problem, ""));
                    section.mute = true;
                }
            }
        }
        section
    }

    /// Reads the keys, refuses the others, and makes the schema.
    fn finish<T>(mut self, doc: &str, read: impl FnOnce(&mut Self) -> T) -> (T, Value) {
        let read = read(&mut self);
        for key in std::mem::take(&mut self.rest).keys() {
            let hint = match nearest(key, self.known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("the keys here are {}", self.known.join(", ")),
            };
            self.note(
                self.path(&named(key)),
                None,
                wrong("is not a known key", hint),
            );
        }
        let mut schema = self.rules;
        schema.insert("type".into(), json!("object"));
        if !doc.is_empty() {
            schema.insert("description".into(), json!(doc));
        }
        schema.insert("additionalProperties".into(), json!(false));
        schema.insert("properties".into(), Value::Object(self.properties));
        if !self.required.is_empty() {
            schema.insert("required".into(), json!(self.required));
        }
        (read, Value::Object(schema))
    }

    /// A section that is read whether it is given or not.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        doc: &str,
        read: impl FnOnce(&mut Section) -> T,
    ) -> T {
        let given = self.take(key, Value::Null);
        self.enter(key, doc, given, read)
    }

    /// A section whose presence has a meaning. Missing and null are the same.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        doc: &str,
        read: impl FnOnce(&mut Section) -> T,
    ) -> Option<T> {
        let variable = self.variable_of(key);
        let below = !self.reader.environment.children(&variable).is_empty();
        let given = self.take(key, Value::Null);
        if given.is_some() || below || self.reader.describing {
            if !self.given(key) {
                self.given.push(key);
            }
            return Some(self.enter(key, doc, given, read));
        }
        None
    }

    /// Exactly one of these keys, which have all been asked for, must be given.
    pub(super) fn exactly_one(&mut self, keys: &[&'static str]) {
        let required = |key| json!({"required": [key]});
        let one_of = keys.iter().map(required).collect();
        self.rules.insert("oneOf".into(), Value::Array(one_of));
        let given: Vec<_> = keys.iter().filter(|key| self.given(key)).collect();
        let problem = match given[..] {
            [_] => return,
            [] => format!("has none of {}", keys.join(", ")),
            [first, second, ..] => format!("has both {first} and {second}"),
        };
        let hint = format!("give exactly one of {}", keys.join(", "));
        self.note(self.key.clone(), self.origin.clone(), wrong(problem, hint));
    }

    /// Both of these keys, which have been asked for, must be given, or none.
    pub(super) fn together(&mut self, one: &'static str, other: &'static str) {
        for (present, absent) in [(one, other), (other, one)] {
            if self.given(present) && !self.given(absent) {
                let problem = format!("is missing beside {present}");
                self.fault(
                    absent,
                    wrong(problem, format!("give both, or no {present}")),
                );
            }
        }
    }

    /// Notes a fault if a list, which has been read, is empty for no other fault.
    pub(super) fn at_least_one(&mut self, key: &'static str, is_empty: bool, hint: &str) {
        self.required.push(key);
        if let Some(Value::Object(schema)) = self.properties.get_mut(key) {
            schema.insert("minItems".into(), json!(1));
            schema.remove("default");
        }
        if is_empty && self.sound(&[key]) {
            let problem = if self.given(key) {
                "is empty"
            } else {
                "is missing"
            };
            self.fault(key, wrong(problem, hint));
        }
    }

    /// Whether somebody gave the key, which has been asked for, a value.
    pub(super) fn given(&self, key: &str) -> bool {
        self.given.contains(&key)
    }

    /// Whether no fault has been noted of these keys and what is below them. Rules between keys ask this
    /// first: the default in the place of a value at fault may break them.
    pub(super) fn sound(&self, keys: &[&str]) -> bool {
        !keys
            .iter()
            .any(|key| self.reader.has_fault(&self.path(key)))
    }

    /// Notes a fault of a key, or of one below it such as `metrics[0]`.
    pub(super) fn fault(&self, key: &str, wrong: Wrong) {
        let variable = self.variable_of(key);
        let set = self.reader.environment.text(&variable).is_some();
        self.note(self.path(key), set.then_some(variable), wrong);
    }

    fn note(&self, key: String, variable: Option<String>, wrong: Wrong) {
        if !self.mute {
            self.reader.faults.borrow_mut().push(Fault {
                key,
                variable: variable.or_else(|| self.origin.clone()),
                problem: wrong.problem,
                hint: wrong.hint,
            });
        }
    }

    fn path(&self, key: &str) -> String {
        match self.key.as_str() {
            "" => key.to_owned(),
            parent => format!("{parent}.{key}"),
        }
    }

    fn variable_of(&self, key: &str) -> String {
        // One underscore follows the prefix, two each level.
        let separator = if self.key.is_empty() { "_" } else { SEPARATOR };
        format!("{}{separator}{}", self.variable, environment::level(key))
    }

    /// The value of a variable, if it is set.
    fn variable(&self, name: &str) -> Option<Given> {
        let text = self.reader.environment.text(name)?;
        Some(Given {
            // What is not YAML is at least a text, which the form of the key then judges.
            value: yaml::read(text).unwrap_or_else(|_| Value::String(text.to_owned())),
            text: Some(text.to_owned()),
            variable: Some(name.to_owned()),
        })
    }

    /// The text of a key that has not been asked for.
    fn peek(&self, key: &str) -> Option<&str> {
        self.reader
            .environment
            .text(&self.variable_of(key))
            .or_else(|| self.rest.get(key).and_then(Value::as_str))
    }

    /// The value of a key: the variable's, else the document's. Null is as good as missing.
    fn take(&mut self, key: &'static str, schema: Value) -> Option<Given> {
        let variable = self.variable_of(key);
        let document = self.rest.remove(key);
        let given = self.variable(&variable).or_else(|| {
            document.map(|value| Given {
                value,
                text: None,
                variable: self.origin.clone(),
            })
        });
        self.known.push(key);
        self.properties.insert(key.into(), schema);
        self.reader.variables.borrow_mut().push(variable);
        let given = given.filter(|given| !given.value.is_null());
        if given.is_some() {
            self.given.push(key);
        }
        given
    }

    fn enter<T>(
        &mut self,
        key: &'static str,
        doc: &str,
        given: Option<Given>,
        read: impl FnOnce(&mut Section) -> T,
    ) -> T {
        let (path, variable) = (self.path(key), self.variable_of(key));
        let mut section = Section::new(self.reader, path, variable, given);
        section.mute |= self.mute;
        let (read, schema) = section.finish(doc, read);
        self.properties.insert(key.into(), schema);
        read
    }
}

/// A schema with the description and default that every key has.
fn described(mut schema: Value, doc: &str, default: Option<Value>) -> Value {
    schema["description"] = json!(doc);
    if let Some(default) = default {
        schema["default"] = default;
    }
    schema
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map of keys",
    }
}
