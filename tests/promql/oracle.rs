//! Prometheus' own parser, as the suites ask it.

#![allow(
    unreachable_pub,
    reason = "shared by several suites, each a crate that nobody reaches into"
)]

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::formatter::Formatter;

/// What is asked.
pub enum Question<'q> {
    Query(&'q str),
    Selector(&'q str),
}

/// A tree, or why there is none.
pub type Parsed = Result<Value, String>;

/// What Prometheus makes of a text, without and with its feature flag `promql-unquoted-utf8-names`.
#[derive(Debug)]
pub struct Reading {
    pub default: Parsed,
    pub unquoted: Parsed,
}

/// Whoever answers.
pub enum Oracle {
    /// The Go program, at this path.
    Program(&'static Path),
    /// A running Prometheus.
    Formatter(Formatter),
}

impl Oracle {
    /// Builds the Go program once for a process. Says so in one line if Go is missing.
    pub fn start() -> Self {
        static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
        match PROGRAM.get_or_init(build) {
            Some(path) => Self::Program(path),
            None => Self::Formatter(Formatter::start()),
        }
    }

    /// Whether answers are trees. If not, they are formatted text, of queries only.
    pub fn reads_trees(&self) -> bool {
        matches!(self, Self::Program(_))
    }

    /// Answers in the order of the questions.
    pub fn ask<'q>(&self, questions: impl Iterator<Item = Question<'q>>) -> Vec<Reading> {
        let program = match self {
            Self::Program(program) => program,
            Self::Formatter(formatter) => {
                return questions
                    .map(|question| {
                        let (Question::Query(text) | Question::Selector(text)) = question;
                        let answer = formatter.format(text);
                        Reading {
                            default: answer.clone(),
                            unquoted: answer,
                        }
                    })
                    .collect();
            }
        };
        let questions = questions.map(|question| match question {
            Question::Query(text) => json!({ "query": text }),
            Question::Selector(text) => json!({ "selector": text }),
        });
        let parsed = |answer: &Value| match answer.get("tree") {
            Some(tree) => Ok(tree.clone()),
            None => Err(answer["error"].to_string()),
        };
        exchange(program, questions.collect())
            .iter()
            .map(|answer| Reading {
                default: parsed(&answer["default"]),
                unquoted: parsed(&answer["unquoted"]),
            })
            .collect()
    }

    /// The names of all functions. None from a formatter.
    pub fn functions(&self) -> Vec<String> {
        let Self::Program(program) = self else {
            return Vec::new();
        };
        let answers = exchange(program, vec![json!({ "functions": true })]);
        let names = answers[0]["functions"].as_array().into_iter().flatten();
        names
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    }

    /// Compares two trees. `selectors` decides about each pair of selectors' matchers. The error says where they
    /// differ.
    pub fn compare(
        &self,
        before: &Value,
        after: &Value,
        label: &str,
        selectors: &mut impl FnMut(&Value, &Value) -> bool,
    ) -> Result<(), String> {
        match self {
            Self::Program(_) => compare(before, after, "the query", selectors),
            Self::Formatter(_) => super::formatter::compare(before, after, label),
        }
    }
}

impl fmt::Display for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Program(_) => "Prometheus' parser",
            Self::Formatter(_) => "the Prometheus at hand",
        })
    }
}

fn build() -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql/oracle");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("promql-oracle");
    match Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source)
        .output()
    {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => panic!(
            "the oracle does not build: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(_) => {
            println!("Go is missing: the queries are compared by Prometheus' format_query only");
            None
        }
    }
}

fn exchange(program: &Path, questions: Vec<Value>) -> Vec<Value> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the oracle starts");
    let mut input = child.stdin.take().expect("its input is piped");
    let output = BufReader::new(child.stdout.take().expect("its output is piped"));
    let count = questions.len();
    let writer = std::thread::spawn(move || {
        for question in questions {
            writeln!(input, "{question}").expect("the oracle reads");
        }
    });
    let answers: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(&line.expect("a line")).expect("the oracle writes JSON"))
        .collect();
    writer.join().expect("all questions were written");
    assert!(child.wait().expect("the oracle ends").success());
    assert_eq!(answers.len(), count, "each question has an answer");
    answers
}

fn compare(
    before: &Value,
    after: &Value,
    path: &str,
    selectors: &mut impl FnMut(&Value, &Value) -> bool,
) -> Result<(), String> {
    match (before, after) {
        (Value::Object(left), Value::Object(right)) => {
            let is_selector = left.get("node").is_some_and(|node| node == "selector");
            if left.len() != right.len() {
                return Err(path.to_owned());
            }
            for (key, value) in left {
                let path = format!("{path}.{key}");
                let other = right.get(key).ok_or_else(|| path.clone())?;
                if is_selector && key == "matchers" {
                    if !selectors(before, after) {
                        return Err(path);
                    }
                } else {
                    compare(value, other, &path, selectors)?;
                }
            }
            Ok(())
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                compare(left, right, &format!("{path}[{index}]"), selectors)?;
            }
            Ok(())
        }
        _ if before == after => Ok(()),
        _ => Err(path.to_owned()),
    }
}
