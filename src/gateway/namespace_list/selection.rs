//! Which namespaces are selected by labels and fields. The two languages are the API server's; the matching of labels
//! is kube's.

use std::collections::BTreeSet;

use kube::core::{Expression, Selector, SelectorExt};

use super::refusal::ListRefusal;
use crate::cluster::namespace_objects::NamespaceObject;
use crate::namespace::Namespace;

/// Longest text of a selector, in bytes, and most requirements in it.
const MAX_BYTES: usize = 4096;
const MAX_REQUIREMENTS: usize = 64;

const LABELS: &str = "labelSelector";
const FIELDS: &str = "fieldSelector";

/// What is selected.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    labels: Selector,
    fields: Vec<FieldRequirement>,
}

#[derive(Clone, Debug)]
struct FieldRequirement {
    field: Field,
    equals: bool,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Phase,
}

impl Selection {
    /// Reads two selectors; an empty one selects everything.
    pub(super) fn read(labels: &str, fields: &str) -> Result<Self, ListRefusal> {
        for (name, text) in [(LABELS, labels), (FIELDS, fields)] {
            if text.len() > MAX_BYTES {
                let why = format!("is longer than {MAX_BYTES} bytes");
                return Err(ListRefusal::parameter(name, why));
            }
        }
        Ok(Self {
            labels: read_labels(labels).map_err(|why| ListRefusal::parameter(LABELS, why))?,
            fields: read_fields(fields).map_err(|why| ListRefusal::parameter(FIELDS, why))?,
        })
    }

    /// Whether a namespace is selected.
    pub(super) fn matches(&self, object: &NamespaceObject) -> bool {
        let fits = |one: &FieldRequirement| {
            let value = match one.field {
                Field::Name => object.name.as_str(),
                Field::Phase => object.phase(),
            };
            (value == one.value) == one.equals
        };
        self.fields.iter().all(fits) && self.labels.matches(&object.labels)
    }

    /// The one namespace that can be selected, where the fields name one: only that is reviewed.
    pub(super) fn only(&self) -> Option<Namespace> {
        let named = |one: &&FieldRequirement| one.field == Field::Name && one.equals;
        Namespace::parse(&self.fields.iter().find(named)?.value)
    }
}

fn read_fields(text: &str) -> Result<Vec<FieldRequirement>, &'static str> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    let read = |part: &str| {
        // A backslash would make a separator a part of the value. No name and no phase has one.
        if part.contains('\\') {
            return Err("has an escaped character, which no value here has");
        }
        let (field, equals, value) = if let Some((field, value)) = part.split_once("!=") {
            (field, false, value)
        } else if let Some((field, value)) = part.split_once("==") {
            (field, true, value)
        } else if let Some((field, value)) = part.split_once('=') {
            (field, true, value)
        } else {
            return Err("is not of the form FIELD=VALUE");
        };
        let field = match field {
            "metadata.name" | "name" => Field::Name,
            "status.phase" => Field::Phase,
            _ => return Err("has a field that is neither metadata.name nor status.phase"),
        };
        Ok(FieldRequirement {
            field,
            equals,
            value: value.to_owned(),
        })
    };
    bounded(parts.map(read).collect::<Result<_, _>>()?)
}

fn bounded<T>(requirements: Vec<T>) -> Result<Vec<T>, &'static str> {
    if requirements.len() > MAX_REQUIREMENTS {
        return Err("has more than 64 requirements");
    }
    Ok(requirements)
}

/// Requirements, with commas between them (`k8s.io/apimachinery/pkg/labels`).
fn read_labels(text: &str) -> Result<Selector, &'static str> {
    let mut requirements = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (requirement, after) = requirement(rest)?;
        requirements.push(requirement);
        rest = after.trim_start();
        if let Some(next) = rest.strip_prefix(',') {
            rest = next.trim_start();
            if rest.is_empty() {
                return Err("ends with a comma");
            }
        } else if !rest.is_empty() {
            return Err("has something between two requirements that is not a comma");
        }
    }
    Ok(bounded(requirements)?.into_iter().collect())
}

fn requirement(text: &str) -> Result<(Expression, &str), &'static str> {
    if let Some(rest) = text.strip_prefix('!') {
        let (key, rest) = key(rest.trim_start())?;
        return Ok((Expression::DoesNotExist(key), rest));
    }
    let (key, after) = key(text)?;
    let rest = after.trim_start();
    for (operator, equals) in [("!=", false), ("==", true), ("=", true)] {
        if let Some(rest) = rest.strip_prefix(operator) {
            let (value, rest) = value(rest.trim_start())?;
            let expression = if equals {
                Expression::Equal(key, value)
            } else {
                Expression::NotEqual(key, value)
            };
            return Ok((expression, rest));
        }
    }
    for (operator, contained) in [("in", true), ("notin", false)] {
        let values = rest.strip_prefix(operator).map(str::trim_start);
        if let Some(values) = values.and_then(|rest| rest.strip_prefix('(')) {
            let (values, rest) = set(values)?;
            let expression = if contained {
                Expression::In(key, values)
            } else {
                Expression::NotIn(key, values)
            };
            return Ok((expression, rest));
        }
    }
    if rest.starts_with(['<', '>']) {
        return Err("compares numbers, which is not supported for this list");
    }
    Ok((Expression::Exists(key), after))
}

fn set(text: &str) -> Result<(BTreeSet<String>, &str), &'static str> {
    let (inside, rest) = text.split_once(')').ok_or("has a set without an end")?;
    let values = inside.split(',').map(|one| {
        let (value, rest) = value(one.trim())?;
        if rest.is_empty() {
            Ok(value)
        } else {
            Err("has a set with a value that no label has")
        }
    });
    Ok((values.collect::<Result<_, _>>()?, rest))
}

/// A label's key: a name, with a prefix and a slash before it or not.
fn key(text: &str) -> Result<(String, &str), &'static str> {
    let (key, rest) = word(text, "-._/");
    let name = key.rsplit('/').next().unwrap_or_default();
    let sound = !name.is_empty() && name.len() <= 63 && key.len() <= 317;
    if sound && key.matches('/').count() <= 1 {
        Ok((key.to_owned(), rest))
    } else {
        Err("has something that is not a label's key where one is expected")
    }
}

/// A label's value, which may be empty.
fn value(text: &str) -> Result<(String, &str), &'static str> {
    let (value, rest) = word(text, "-._");
    if value.len() > 63 {
        return Err("has a value that is longer than 63 bytes");
    }
    Ok((value.to_owned(), rest))
}

fn word<'t>(text: &'t str, others: &str) -> (&'t str, &'t str) {
    let belongs = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}
