//! Label and field selectors.

use serde_json::Value;

use super::request::parameter;
use super::status::Status;

/// One requirement of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// The selectors of a list or watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector` of a query string.
    pub(crate) fn of(query: &str) -> Result<Self, Status> {
        let labels = parameter(query, "labelSelector").unwrap_or_default();
        let fields = parameter(query, "fieldSelector").unwrap_or_default();
        Ok(Self {
            labels: parse(&labels)?,
            fields: parse(&fields)?,
        })
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| {
            object["metadata"]["labels"][key]
                .as_str()
                .map(str::to_owned)
        };
        let field = |key: &str| Some(field(object, key));
        self.labels.iter().all(|one| one.holds(label))
            && self.fields.iter().all(|one| one.holds(field))
    }
}

impl Requirement {
    fn holds(&self, value_of: impl Fn(&str) -> Option<String>) -> bool {
        match self {
            Self::In(key, values) => value_of(key).is_some_and(|value| values.contains(&value)),
            Self::NotIn(key, values) => value_of(key).is_none_or(|value| !values.contains(&value)),
            Self::Exists(key) => value_of(key).is_some(),
            Self::Absent(key) => value_of(key).is_none(),
        }
    }
}

/// The value at a dotted path, as text; `""` where there is none.
fn field(object: &Value, path: &str) -> String {
    let found = path.split('.').fold(object, |at, key| &at[key]);
    match found {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `Some(name)` if the query's field selector asks for that one name.
pub(crate) fn single_name(query: &str) -> Option<String> {
    let requirements = parse(&parameter(query, "fieldSelector")?).ok()?;
    requirements.into_iter().find_map(|one| match one {
        Requirement::In(key, values) if key == "metadata.name" => values.into_iter().next(),
        _ => None,
    })
}

/// Whether a `LabelSelector` object (`matchLabels`, `matchExpressions`) selects these labels.
pub(crate) fn object_selects(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(key, value)| &labels[key] == value);
    let expressions = selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten();
    equal
        && expressions.into_iter().all(|expression| {
            let key = expression["key"].as_str().unwrap_or_default();
            let value = &labels[key];
            let listed = expression["values"]
                .as_array()
                .is_some_and(|values| values.contains(value));
            match expression["operator"].as_str() {
                Some("In") => listed,
                Some("NotIn") => !listed,
                Some("Exists") => !value.is_null(),
                Some("DoesNotExist") => value.is_null(),
                _ => false,
            }
        })
}

fn parse(text: &str) -> Result<Vec<Requirement>, Status> {
    split(text)
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            requirement(part)
                .ok_or_else(|| Status::bad_request(format!("unable to parse requirement: {part}")))
        })
        .collect()
}

/// Splits at commas that are not inside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(move |character| {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    })
    .collect()
}

fn requirement(part: &str) -> Option<Requirement> {
    let owned = |text: &str| text.trim().to_owned();
    if let Some((key, rest)) = part.split_once(" notin ") {
        return Some(Requirement::NotIn(owned(key), set(rest)?));
    }
    if let Some((key, rest)) = part.split_once(" in ") {
        return Some(Requirement::In(owned(key), set(rest)?));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Requirement::NotIn(owned(key), vec![owned(value)]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Requirement::In(owned(key), vec![owned(value)]));
    }
    if let Some(key) = part.strip_prefix('!') {
        return Some(Requirement::Absent(owned(key)));
    }
    (!part.contains(' ')).then(|| Requirement::Exists(owned(part)))
}

fn set(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(inner.split(',').map(|one| one.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Selector;

    #[test]
    fn every_operator_selects_as_kubernetes_does() {
        let object = json!({"metadata": {"name": "x", "labels": {"app": "web", "tier": "a"}}});
        let selects = |selector: &str| {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("labelSelector", selector)
                .finish();
            Selector::of(&query).expect("valid").matches(&object)
        };
        for yes in [
            "app=web",
            "app==web",
            "app!=db",
            "app in (web,db)",
            "app",
            "!gone",
            "gone!=x",
        ] {
            assert!(selects(yes), "{yes}");
        }
        for no in [
            "app=db",
            "app!=web",
            "app notin (web, db)",
            "gone",
            "!app",
            "app=web,tier=b",
        ] {
            assert!(!selects(no), "{no}");
        }
        assert!(Selector::of("labelSelector=a+b+c").is_err());
        assert!(
            Selector::of("fieldSelector=metadata.name%3Dx")
                .expect("valid")
                .matches(&object)
        );
        assert!(
            !Selector::of("fieldSelector=metadata.name!%3Dx")
                .expect("valid")
                .matches(&object)
        );
    }
}
