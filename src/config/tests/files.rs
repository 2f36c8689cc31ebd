//! The files that the project ships in `config/`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::{Config, yaml};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn example() -> String {
    std::fs::read_to_string(directory().join("prom-rbac-proxy.yaml")).expect("the example")
}

/// The example with the keys that are commented out. A `#` right before a key or a `-` is one of those; prose
/// has a space between.
fn uncommented() -> Value {
    let line = |line: &str| match line.trim_start().strip_prefix('#') {
        Some(rest) if !rest.starts_with([' ', '#']) => line.replacen('#', "", 1),
        _ => line.to_owned(),
    };
    let text: Vec<_> = example().lines().map(line).collect();
    yaml::read(&text.join("\n")).expect("YAML also when uncommented")
}

#[test]
fn every_file_in_config_is_valid() {
    let mut loaded = 0;
    for entry in std::fs::read_dir(directory()).expect("config/") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            Config::load(&path, std::iter::empty())
                .unwrap_or_else(|error| panic!("{}:\n{error}", path.display()));
            loaded += 1;
        }
    }
    assert!(loaded > 0);
}

#[test]
fn a_missing_file_is_told_with_its_path() {
    let error = Config::load(Path::new("no/such.yaml"), std::iter::empty()).expect_err("no file");
    assert!(error.to_string().contains("no/such.yaml"));
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn the_schema_file_is_what_the_code_generates() {
    let path = directory().join("prom-rbac-proxy.schema.json");
    let generated = Config::schema();
    if std::env::var_os("UPDATE_CONFIG_SCHEMA").is_some() {
        let text = serde_json::to_string_pretty(&generated).expect("JSON");
        std::fs::write(&path, text + "\n").expect("the schema is written");
    }
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let committed = serde_json::from_str::<Value>(&text).unwrap_or_default();
    assert!(
        committed == generated,
        "{} is out of date; run UPDATE_CONFIG_SCHEMA=1 cargo test the_schema_file",
        path.display()
    );
}

#[test]
fn the_example_has_every_key_with_its_default_and_meaning() {
    let text = example();
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let mut missing = Vec::new();
    compare(
        "",
        &Config::schema(),
        Some(&uncommented()),
        &mut |path, key, doc, fits| {
            let comment = format!("# {doc}");
            let starts = |line: &str| {
                let line = line.trim_start_matches(['#', '-', ' ']);
                line.strip_prefix(key).is_some_and(|r| r.starts_with(':'))
            };
            let explained = lines
                .windows(2)
                .any(|pair| pair[0] == comment && starts(pair[1]));
            if !fits || !explained {
                missing.push(format!("{path}: fits {fits}, explained {explained}: {doc}"));
            }
        },
    );
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Calls `check` for each key of the schema with its path, name and meaning, and with whether the example has
/// it with its default.
fn compare(
    path: &str,
    schema: &Value,
    example: Option<&Value>,
    check: &mut impl FnMut(&str, &str, &str, bool),
) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    for (key, schema) in properties {
        let path = format!("{path}.{key}");
        let example = example.and_then(|example| example.get(key));
        let same = schema
            .get("default")
            .is_none_or(|default| Some(default) == example || is_alternative(&path));
        let doc = schema["description"].as_str().expect("a meaning");
        check(&path, key, doc, example.is_some() && same);
        compare(&path, schema, example, check);
        compare(
            &path,
            &schema["items"],
            example.and_then(|list| list.get(0)),
            check,
        );
    }
}

/// Keys that must have a value for the example to say anything.
fn is_alternative(path: &str) -> bool {
    [".upstreams.url", ".authorization.metricRules.label"].contains(&path)
}

#[test]
fn the_schema_knows_every_key_and_allows_no_other() {
    fn visit(schema: &Value) -> usize {
        let Some(properties) = schema["properties"].as_object() else {
            return visit_items(schema);
        };
        assert_eq!(schema["additionalProperties"], false);
        properties.len() + properties.values().map(visit).sum::<usize>()
    }
    fn visit_items(schema: &Value) -> usize {
        schema.get("items").map_or(0, visit)
    }
    let keys = visit(&Config::schema());
    assert!(keys > 90, "{keys}");
}
