//! The four patch formats. Strategic merge knows the merge keys of the kinds in the table and
//! none beyond; server-side apply merges and tracks no field owners.

use serde_json::{Map, Value};

use super::status::Status;

/// Applies a patch of that media type to an object.
pub(crate) fn apply(media_type: &str, target: &mut Value, patch: &Value) -> Result<(), Status> {
    match media_type {
        "application/merge-patch+json" => merge(target, patch),
        "application/strategic-merge-patch+json"
        | "application/apply-patch+yaml"
        | "application/apply-patch+cbor" => strategic(target, patch),
        "application/json-patch+json" => {
            for operation in patch.as_array().into_iter().flatten() {
                json_patch(target, operation).ok_or_else(|| {
                    Status::new(
                        422,
                        "Invalid",
                        format!(
                            "the server rejected our request due to an error in our request: \
                                 the patch operation {operation} does not apply"
                        ),
                    )
                })?;
            }
        }
        other => {
            return Err(Status::new(
                415,
                "UnsupportedMediaType",
                format!("the body of the request was in an unknown format - {other}"),
            ));
        }
    }
    Ok(())
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    let target = object(target);
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn strategic(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if patch
        .get("$patch")
        .is_some_and(|directive| directive == "replace")
    {
        let rest: Map<_, _> = patch
            .clone()
            .into_iter()
            .filter(|(key, _)| key != "$patch")
            .collect();
        *target = Value::Object(rest);
        return;
    }
    let target = object(target);
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let Some(items) = target.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !value.as_array().is_some_and(|gone| gone.contains(item)));
            }
        } else if key.starts_with('$') {
            // The order of a list's elements and retained keys change nothing that is read here.
        } else if value.is_null() {
            target.remove(key);
        } else {
            let place = target.entry(key.clone()).or_insert(Value::Null);
            match (value.as_array(), merge_key(key, value)) {
                (Some(items), Some(merge_key)) => merge_list(place, items, merge_key),
                _ => strategic(place, value),
            }
        }
    }
}

/// The key by which elements of a list are told apart; `None` replaces the list as a whole.
fn merge_key(list: &str, value: &Value) -> Option<&'static str> {
    let first = value.as_array()?.first()?;
    match list {
        "ports" if first.get("containerPort").is_some() => Some("containerPort"),
        "ports" => Some("port"),
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" | "secrets" => {
            Some("name")
        }
        "conditions" => Some("type"),
        "volumeMounts" => Some("mountPath"),
        "ownerReferences" => Some("uid"),
        _ => None,
    }
}

fn merge_list(place: &mut Value, patch: &[Value], key: &str) {
    if !place.is_array() {
        *place = Value::Array(Vec::new());
    }
    let Some(items) = place.as_array_mut() else {
        return;
    };
    for change in patch {
        let found = items.iter().position(|item| item[key] == change[key]);
        match (found, change.get("$patch").and_then(Value::as_str)) {
            (Some(index), Some("delete")) => {
                items.remove(index);
            }
            (None, Some("delete")) => {}
            (Some(index), _) => strategic(&mut items[index], change),
            (None, _) => {
                let mut item = Value::Null;
                strategic(&mut item, change);
                items.push(item);
            }
        }
    }
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was just made one")
}

/// RFC 6902; `None` if the operation does not apply.
fn json_patch(target: &mut Value, operation: &Value) -> Option<()> {
    let path = operation["path"].as_str()?;
    match operation["op"].as_str()? {
        "add" => add(target, path, operation.get("value")?.clone()),
        "replace" => {
            *target.pointer_mut(path)? = operation.get("value")?.clone();
            Some(())
        }
        "remove" => remove(target, path).map(drop),
        "test" => (target.pointer(path)? == operation.get("value")?).then_some(()),
        "copy" => {
            let value = target.pointer(operation["from"].as_str()?)?.clone();
            add(target, path, value)
        }
        "move" => {
            let value = remove(target, operation["from"].as_str()?)?;
            add(target, path, value)
        }
        _ => None,
    }
}

fn add(target: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *target = value;
        return Some(());
    }
    let (parent, key) = parent(target, path)?;
    match parent {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let index: usize = key.parse().ok().filter(|index| *index <= items.len())?;
            items.insert(index, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(target: &mut Value, path: &str) -> Option<Value> {
    let (parent, key) = parent(target, path)?;
    match parent {
        Value::Object(map) => map.remove(&key),
        Value::Array(items) => {
            let index: usize = key.parse().ok().filter(|index| *index < items.len())?;
            Some(items.remove(index))
        }
        _ => None,
    }
}

fn parent<'a>(target: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parent, key) = path.rsplit_once('/')?;
    let key = key.replace("~1", "/").replace("~0", "~");
    Some((target.pointer_mut(parent)?, key))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::apply;

    fn patched(media_type: &str, mut target: Value, patch: Value) -> Value {
        apply(media_type, &mut target, &patch).expect("it applies");
        target
    }

    #[test]
    fn merge_patch_removes_what_is_null() {
        let merged = patched(
            "application/merge-patch+json",
            json!({"a": 1, "b": {"c": 2, "d": 3}, "l": [1, 2]}),
            json!({"a": null, "b": {"c": 4}, "l": [3]}),
        );
        assert_eq!(merged, json!({"b": {"c": 4, "d": 3}, "l": [3]}));
    }

    #[test]
    fn strategic_merge_tells_ports_apart_by_number() {
        let merged = patched(
            "application/strategic-merge-patch+json",
            json!({"spec": {"ports": [{"port": 1, "name": "a"}, {"port": 2}]}}),
            json!({"spec": {
                "$setElementOrder/ports": [{"port": 1}],
                "ports": [{"port": 1, "name": "b"}, {"port": 2, "$patch": "delete"}],
            }}),
        );
        assert_eq!(
            merged,
            json!({"spec": {"ports": [{"port": 1, "name": "b"}]}})
        );
    }

    #[test]
    fn json_patch_applies_each_operation() {
        let patched = patched(
            "application/json-patch+json",
            json!({"a": [1, 2], "b": {"x/y": 1}}),
            json!([
                {"op": "test", "path": "/a/0", "value": 1},
                {"op": "add", "path": "/a/-", "value": 3},
                {"op": "remove", "path": "/a/0"},
                {"op": "move", "from": "/b/x~1y", "path": "/c"},
                {"op": "replace", "path": "/a/0", "value": 9},
            ]),
        );
        assert_eq!(patched, json!({"a": [9, 3], "b": {}, "c": 1}));
        let mut target = json!({});
        let missing = json!([{"op": "remove", "path": "/nothing"}]);
        assert!(apply("application/json-patch+json", &mut target, &missing).is_err());
    }
}
