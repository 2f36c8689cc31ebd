//! Namespaces as JSON, in the forms of the API server.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::media::{Form, Included};
use crate::cluster::namespace_objects::NamespaceObject;

/// The metadata that is shown.
fn metadata(object: &NamespaceObject, version: u64) -> Value {
    let mut metadata = json!({
        "name": object.name.as_str(),
        "uid": object.uid,
        "resourceVersion": version.to_string(),
        "labels": object.labels,
    });
    for (key, time) in [
        ("creationTimestamp", object.created),
        ("deletionTimestamp", object.deleted),
    ] {
        if let Some(time) = time {
            metadata[key] = json!(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        }
    }
    metadata
}

fn plain(object: &NamespaceObject, version: u64) -> Value {
    json!({
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": metadata(object, version),
        "spec": {},
        "status": {"phase": object.phase()},
    })
}

fn partial(object: &NamespaceObject, version: u64) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata(object, version),
    })
}

fn row(object: &NamespaceObject, version: u64, included: Included, now: Timestamp) -> Value {
    let cells = [
        object.name.as_str(),
        object.phase(),
        &age(object.created, now),
    ];
    let mut row = json!({ "cells": cells });
    match included {
        Included::Nothing => row["object"] = Value::Null,
        Included::Metadata => row["object"] = partial(object, version),
        Included::Object => row["object"] = plain(object, version),
    }
    row
}

fn columns() -> Value {
    let column = |name: &str, format: &str, description: &str| {
        json!({
            "name": name,
            "type": "string",
            "format": format,
            "description": description,
            "priority": 0,
        })
    };
    json!([
        column("Name", "name", "Name of the namespace"),
        column("Status", "", "The status of the namespace"),
        column("Age", "", "Time since the namespace was made"),
    ])
}

fn table(version: u64, columns: Value, rows: Vec<Value>) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version.to_string()},
        "columnDefinitions": columns,
        "rows": rows,
    })
}

impl Form {
    /// A namespace alone, or in a list, where the list says of what kind it is.
    pub(super) fn item(self, object: &NamespaceObject, now: Timestamp) -> Value {
        match self {
            Self::Plain => {
                let mut item = plain(object, object.version);
                if let Some(item) = item.as_object_mut() {
                    item.remove("kind");
                    item.remove("apiVersion");
                }
                item
            }
            Self::Metadata => partial(object, object.version),
            Self::Table(included) => row(object, object.version, included, now),
        }
    }

    /// One namespace by itself.
    pub(super) fn single(self, object: &NamespaceObject, now: Timestamp) -> Value {
        self.stamped(object, object.version, true, now)
    }

    /// The same as a part of a watch, with the version that its event has. Only the `first` table names its columns.
    pub(super) fn stamped(
        self,
        object: &NamespaceObject,
        version: u64,
        first: bool,
        now: Timestamp,
    ) -> Value {
        match self {
            Self::Plain => plain(object, version),
            Self::Metadata => partial(object, version),
            Self::Table(included) => {
                let columns = if first { columns() } else { json!([]) };
                table(version, columns, vec![row(object, version, included, now)])
            }
        }
    }

    /// A bookmark, which tells a version while nothing happens; `end` is whether the initial events have all been sent.
    pub(super) fn bookmark(self, version: u64, end: bool) -> Value {
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, group) = match self {
            Self::Plain => ("Namespace", "v1"),
            Self::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1"),
            Self::Table(_) => ("Table", "meta.k8s.io/v1"),
        };
        let mut bookmark = json!({"kind": kind, "apiVersion": group, "metadata": metadata});
        match self {
            Self::Plain => {
                bookmark["spec"] = json!({});
                bookmark["status"] = json!({});
            }
            Self::Metadata => {}
            Self::Table(_) => {
                bookmark["columnDefinitions"] = json!([]);
                bookmark["rows"] = json!([]);
            }
        }
        bookmark
    }

    /// A list with nothing in it.
    pub(super) fn list(self, version: u64) -> Value {
        let list = |kind: &str, group: &str| {
            json!({
                "kind": kind,
                "apiVersion": group,
                "metadata": {"resourceVersion": version.to_string()},
                "items": [],
            })
        };
        match self {
            Self::Plain => list("NamespaceList", "v1"),
            Self::Metadata => list("PartialObjectMetadataList", "meta.k8s.io/v1"),
            Self::Table(_) => table(version, columns(), Vec::new()),
        }
    }
}

/// An age, as kubectl shows it (`k8s.io/apimachinery/pkg/util/duration`).
fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    let Some(since) = since else {
        return "<unknown>".to_owned();
    };
    let seconds = now.as_second() - since.as_second();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    let two = |whole: i64, unit: &str, rest: i64, smaller: &str| match rest {
        0 => format!("{whole}{unit}"),
        _ => format!("{whole}{unit}{rest}{smaller}"),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(years, "y", days % 365, "d"),
        _ => format!("{years}y"),
    }
}

/// A value as text: in one line, or laid out.
pub(super) fn text(value: &Value, pretty: bool) -> String {
    // Serialising a value into memory does not fail: its keys are texts.
    let text = if pretty {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        let now = Timestamp::from_second(1_000_000_000).expect("a time");
        let of = |seconds: i64| age(Timestamp::from_second(1_000_000_000 - seconds).ok(), now);
        for (seconds, expected) in [
            (-9, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_000, "3h3m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (700_000, "8d"),
            (63_072_000, "2y"),
            (64_000_000, "2y10d"),
            (400_000_000, "12y"),
        ] {
            assert_eq!(of(seconds), expected, "{seconds}");
        }
        assert_eq!(age(None, now), "<unknown>");
    }
}
