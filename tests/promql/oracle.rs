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

/// What Prometheus makes of a text, without and with its feature flag `promql-unquoted-utf8-names`. What has no such
/// flag reads the same in both.
#[derive(Debug)]
pub struct Reading {
    pub default: Parsed,
    pub unquoted: Parsed,
}

/// A line of releases whose parser is asked.
pub struct Release {
    pub name: &'static str,
    /// What its parser is called with, see `oracle/*.go`.
    tags: &'static str,
}

/// The newest is last.
pub const RELEASES: [Release; 7] = [
    Release {
        name: "2.42",
        tags: "globals",
    },
    Release {
        name: "2.45",
        tags: "globals",
    },
    Release {
        name: "2.53",
        tags: "globals,functions",
    },
    Release {
        name: "2.55",
        tags: "globals,functions,names",
    },
    Release {
        name: "3.0",
        tags: "globals,functions,names",
    },
    Release {
        name: "3.5",
        tags: "globals,durations,names",
    },
    Release {
        name: "3.16",
        tags: "",
    },
];

/// Whoever answers.
pub enum Oracle {
    /// The Go program with the parser of this release, at this path.
    Program(&'static str, &'static Path),
    /// A running Prometheus.
    Formatter(Formatter),
}

impl Oracle {
    /// The newest release.
    pub fn start() -> Self {
        match programs().and_then(<[_]>::last) {
            Some((name, path)) => Self::Program(name, path),
            None => Self::Formatter(Formatter::start()),
        }
    }

    /// All releases, the newest last. None without Go.
    pub fn releases() -> Vec<Self> {
        let programs = programs().unwrap_or_default();
        (programs.iter())
            .map(|(name, path)| Self::Program(name, path))
            .collect()
    }

    /// Whether answers are trees. If not, they are formatted text, of queries only.
    pub fn reads_trees(&self) -> bool {
        matches!(self, Self::Program(..))
    }

    /// Answers in the order of the questions.
    pub fn ask<'q>(&self, questions: impl Iterator<Item = Question<'q>>) -> Vec<Reading> {
        let program = match self {
            Self::Program(_, program) => program,
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
            .map(|answer| {
                let default = parsed(&answer["default"]);
                let unquoted = answer.get("unquoted").map(parsed);
                Reading {
                    unquoted: unquoted.unwrap_or_else(|| default.clone()),
                    default,
                }
            })
            .collect()
    }

    /// The names of all functions. None from a formatter.
    pub fn functions(&self) -> Vec<String> {
        let Self::Program(_, program) = self else {
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
            Self::Program(..) => compare(before, after, "the query", selectors),
            Self::Formatter(_) => super::formatter::compare(before, after, label),
        }
    }
}

impl fmt::Display for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(name, _) => write!(f, "the parser of Prometheus {name}"),
            Self::Formatter(_) => f.write_str("the Prometheus at hand"),
        }
    }
}

/// The Go programs, built once for their sources. `None`, with a line that says so, if Go is missing.
fn programs() -> Option<&'static [(&'static str, PathBuf)]> {
    static PROGRAMS: OnceLock<Option<Vec<(&str, PathBuf)>>> = OnceLock::new();
    let build = || {
        if Command::new("go").arg("version").output().is_err() {
            assert!(
                std::env::var_os("CI").is_none_or(|value| value != "true"),
                "Go is missing: the parsers of Prometheus are written in it"
            );
            println!("Go is missing: the queries are compared by Prometheus' format_query only");
            return None;
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql/oracle");
        let target = cache().join(format!("oracle-{:016x}", fingerprint(&source)));
        std::fs::create_dir_all(&target).expect("a folder for the oracles");
        let build = |release: &Release| (release.name, build(&source, &target, release));
        Some(RELEASES.iter().map(build).collect())
    };
    PROGRAMS.get_or_init(build).as_deref()
}

/// Where the programs stay from one run to the next.
fn cache() -> PathBuf {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    (std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from))
        .or_else(home)
        .map_or_else(
            || PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
            |cache| cache.join("prom-rbac-proxy"),
        )
}

/// Changes with any file of the sources.
fn fingerprint(source: &Path) -> u64 {
    use std::hash::Hasher;

    let files = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("the oracle's sources");
        entries.map(|entry| entry.expect("a file").path()).collect()
    };
    let mut all = [files(source), files(&source.join("releases"))].concat();
    all.retain(|path| path.is_file());
    all.sort();
    let mut hasher = std::hash::DefaultHasher::new();
    for path in all {
        hasher.write(path.as_os_str().as_encoded_bytes());
        hasher.write(&std::fs::read(path).expect("a source"));
    }
    hasher.finish()
}

fn build(source: &Path, target: &Path, release: &Release) -> PathBuf {
    let program = target.join(release.name);
    if program.exists() {
        return program;
    }
    // Another process may build the same.
    let part = target.join(format!("{}-{}", release.name, std::process::id()));
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&part).current_dir(source);
    if !release.tags.is_empty() {
        let module = format!("releases/{}.mod", release.name);
        go.args(["-modfile", &module, "-tags", release.tags]);
    }
    let output = go.arg(".").output().expect("Go starts");
    assert!(
        output.status.success(),
        "the oracle for {} does not build: {}",
        release.name,
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::rename(&part, &program).expect("the oracle stays");
    program
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

pub fn compare(
    before: &Value,
    after: &Value,
    path: &str,
    selectors: &mut impl FnMut(&Value, &Value) -> bool,
) -> Result<(), String> {
    match (before, after) {
        (Value::Object(left), Value::Object(right)) => {
            let is_selector = left
                .get("node")
                .is_some_and(|node| node == "VectorSelector");
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
