//! Keys with a single value: texts, numbers, flags, choices.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Given, Section, described, kind};
use crate::config::Ratio;
use crate::config::fault::{Wrong, quoted, wrong};
use crate::config::format::{DURATION, Format};

impl Section<'_> {
    /// A text that has a default.
    pub(in crate::config) fn text<T>(
        &mut self,
        key: &'static str,
        default: &str,
        doc: &str,
        format: &Format<T>,
    ) -> T {
        // A port is written as a number, though it is read as a text.
        let number = default.parse::<u64>().ok().filter(|_| format.numbers);
        let shown = number.map_or_else(|| json!(default), |number| json!(number));
        let schema = described((format.schema)(), doc, Some(shown));
        self.scalar(key, schema, format).unwrap_or_else(|| {
            (format.read)(default)
                .unwrap_or_else(|_| unreachable!("every default is read by the tests"))
        })
    }

    /// A text that must be given. `None` is a fault that has been noted.
    pub(in crate::config) fn required_text<T>(
        &mut self,
        key: &'static str,
        doc: &str,
        format: &Format<T>,
    ) -> Option<T> {
        self.required.push(key);
        let schema = described((format.schema)(), doc, None);
        let read = self.scalar(key, schema, format);
        if !self.given(key) {
            self.fault(key, wrong("is missing", doc));
        }
        read
    }

    /// A text that may be missing or empty, which is the same.
    pub(in crate::config) fn optional_text<T>(
        &mut self,
        key: &'static str,
        doc: &str,
        format: &Format<T>,
    ) -> Option<T> {
        let schema = json!({"anyOf": [{"const": ""}, (format.schema)()]});
        let schema = described(schema, doc, Some(json!("")));
        if self.peek(key) == Some("") {
            self.take(key, schema);
            self.given.retain(|given| *given != key);
            return None;
        }
        self.scalar(key, schema, format)
    }

    /// A duration within a range.
    pub(in crate::config) fn duration(
        &mut self,
        key: &'static str,
        default: &str,
        range: RangeInclusive<Duration>,
        doc: &str,
    ) -> Duration {
        let value = self.text(key, default, doc, &DURATION);
        self.within(key, value, &range, written);
        value
    }

    /// A whole number within a range.
    pub(in crate::config) fn number<T>(
        &mut self,
        key: &'static str,
        default: T,
        range: RangeInclusive<T>,
        doc: &str,
    ) -> T
    where
        T: Copy + PartialOrd + Display + TryFrom<u64> + serde::Serialize,
    {
        let schema = json!({"type": "integer", "minimum": range.start(), "maximum": range.end()});
        let Some(given) = self.take(key, described(schema, doc, Some(json!(default)))) else {
            return default;
        };
        let number = whole(&given.value);
        match number.and_then(|number| T::try_from(number).ok()) {
            Some(number) => {
                self.within(key, number, &range, T::to_string);
                number
            }
            None => {
                let problem = if number.is_some() {
                    format!("{} is out of range", shown(&given))
                } else {
                    format!("{} is not a whole number", shown(&given))
                };
                let hint = format!("write {} to {}", range.start(), range.end());
                self.note(self.path(key), given.variable, wrong(problem, hint));
                default
            }
        }
    }

    /// A number from 0 to 1.
    pub(in crate::config) fn ratio(
        &mut self,
        key: &'static str,
        default: Ratio,
        doc: &str,
    ) -> Ratio {
        let schema = json!({"type": "number", "minimum": 0, "maximum": 1});
        let schema = described(schema, doc, Some(json!(default.as_f64())));
        let Some(given) = self.take(key, schema) else {
            return default;
        };
        let ratio = given.value.as_f64().and_then(Ratio::new);
        ratio.unwrap_or_else(|| {
            let problem = format!("{} is not a number from 0 to 1", shown(&given));
            self.note(
                self.path(key),
                given.variable,
                wrong(problem, "write it like 0.05"),
            );
            default
        })
    }

    pub(in crate::config) fn flag(&mut self, key: &'static str, default: bool, doc: &str) -> bool {
        let schema = described(json!({"type": "boolean"}), doc, Some(json!(default)));
        let Some(given) = self.take(key, schema) else {
            return default;
        };
        if let Value::Bool(flag) = given.value {
            return flag;
        }
        let problem = format!("{} is not true or false", shown(&given));
        self.note(self.path(key), given.variable, wrong(problem, ""));
        default
    }

    /// One of a closed list of words, of which the first is the default.
    pub(in crate::config) fn choice<T: Copy, const N: usize>(
        &mut self,
        key: &'static str,
        choices: [(&str, T); N],
        doc: &str,
    ) -> T {
        let words = choices.map(|(word, _)| word);
        let schema = described(
            json!({"enum": words.as_slice()}),
            doc,
            Some(json!(words[0])),
        );
        let Some(given) = self.take(key, schema) else {
            return choices[0].1;
        };
        let typed = given.text.as_deref().or(given.value.as_str());
        let chosen = choices.iter().find(|(word, _)| Some(*word) == typed);
        if chosen.is_none() {
            let problem = format!("{} is not a choice", shown(&given));
            let hint = format!("write one of {}", words.join(", "));
            self.note(self.path(key), given.variable, wrong(problem, hint));
        }
        chosen.unwrap_or(&choices[0]).1
    }

    /// The value of the first of these OpenTelemetry variables that is set. A fault names only the variable.
    pub(in crate::config) fn opentelemetry<T>(
        &self,
        names: &[&'static str],
        read: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let environment = &self.reader.environment;
        let set = |name: &&&str| environment.opentelemetry(name).is_some();
        let name = names.iter().find(set)?;
        match read(environment.opentelemetry(name)?) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.note(String::new(), Some((*name).to_owned()), wrong);
                None
            }
        }
    }

    fn scalar<T>(&mut self, key: &'static str, schema: Value, format: &Format<T>) -> Option<T> {
        let path = self.path(key);
        let given = self.take(key, schema);
        self.read_text(path, given?, format)
    }

    pub(super) fn read_text<T>(&self, key: String, given: Given, format: &Format<T>) -> Option<T> {
        let number = || whole(&given.value).filter(|_| format.numbers);
        let text = match (&given.text, &given.value) {
            (Some(text), _) | (None, Value::String(text)) => text.clone(),
            (None, value) => match number() {
                Some(number) => number.to_string(),
                None => {
                    let hint = match value {
                        Value::Number(_) | Value::Bool(_) => "put it in quotes",
                        _ => "",
                    };
                    let problem = format!("is {} where text is expected", kind(value));
                    self.note(key, given.variable, wrong(problem, hint));
                    return None;
                }
            },
        };
        match (format.read)(&text) {
            Ok(read) => Some(read),
            Err(Wrong { problem, hint }) => {
                let problem = if (format.quotable)(&text) {
                    format!("{} {problem}", quoted(&text))
                } else {
                    format!("the value {problem}")
                };
                self.note(key, given.variable, wrong(problem, hint));
                None
            }
        }
    }

    fn within<T: PartialOrd>(
        &self,
        key: &str,
        value: T,
        range: &RangeInclusive<T>,
        shown: impl Fn(&T) -> String,
    ) {
        if !range.contains(&value) {
            let problem = format!("{} is out of range", shown(&value));
            let (low, high) = (shown(range.start()), shown(range.end()));
            self.fault(key, wrong(problem, format!("write {low} to {high}")));
        }
    }
}

/// A whole number. `1.048576e+06`, which templates make of 1048576, is one too.
fn whole(value: &Value) -> Option<u64> {
    /// Up to here every whole number has a floating-point number of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value.as_u64().or_else(|| {
        let float = value.as_f64()?;
        // In range and without a fraction, as just checked, so that the cast is exact.
        ((0.0..=EXACT).contains(&float) && float.fract() == 0.0).then_some(float as u64)
    })
}

/// A duration as the configuration writes it.
fn written(duration: &Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// A scalar in quotes, anything else by its kind.
fn shown(given: &Given) -> String {
    match (&given.text, &given.value) {
        (Some(text), _) | (None, Value::String(text)) => quoted(text),
        (None, value @ (Value::Bool(_) | Value::Number(_))) => quoted(&value.to_string()),
        (None, value) => kind(value).to_owned(),
    }
}
