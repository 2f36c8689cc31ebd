//! How many instructions each step of a request's way takes, counted by valgrind's callgrind: a number that does not
//! depend on what else the machine does. Compared with `instructions.json`, which is part of the repository.
//!
//! ```text
//! cargo bench --bench instructions                compares; fails when a step has become dearer
//! cargo bench --bench instructions -- --record    writes the file anew
//! ```
//!
//! Each step is run twice in a process of its own, a few times and many times; the difference leaves out start and
//! end. What remains of chance is in the hash maps' random keys, in what caches do by the clock and in the log's
//! thread, hence the tolerance. valgrind offers no instructions for SHA-2: hashes cost more here than they do in fact.

#[allow(unreachable_pub, reason = "shared with pipeline.rs")]
#[path = "pipeline/steps.rs"]
mod steps;

use std::collections::BTreeMap;
use std::error::Error;
use std::process::{Command, ExitCode};

use serde::{Deserialize, Serialize};

use self::steps::Steps;

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.json");

const FEW: u64 = 500;
const MANY: u64 = 3500;

/// Of so many attempts the cheapest counts.
const ATTEMPTS: usize = 3;

/// A change that is smaller is none: what caches do by the clock takes about as much.
const CHANCE: u64 = 250;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What is kept in the repository.
#[derive(Debug, Deserialize, Serialize)]
struct Recorded {
    /// Other versions make other code: recorded anew with each.
    rustc: String,
    valgrind: String,
    architecture: String,
    /// How much dearer a step may be, in percent.
    tolerance_percent: f64,
    /// Instructions of each step.
    instructions: BTreeMap<String, u64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| *argument != "--bench")
        .collect();
    let done = match arguments[..] {
        ["--step", name, times] => repeat(name, times).map(|()| true),
        ["--record"] => record().map(|()| true),
        [] => compare(),
        _ => Err("the only option is --record".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn repeat(name: &str, times: &str) -> Result<()> {
    let step = Steps::ALL.into_iter().find(|(other, _)| *other == name);
    let (_, step) = step.ok_or("there is no such step")?;
    let times = times.parse::<u64>()?;
    let steps = Steps::new();
    for _ in 0..times {
        step(&steps);
    }
    Ok(())
}

fn record() -> Result<()> {
    let mut recorded = counted()?;
    if let Ok(before) = recorded_before() {
        recorded.tolerance_percent = before.tolerance_percent;
    }
    let text = serde_json::to_string_pretty(&recorded)?;
    std::fs::write(RECORDED, text + "\n")?;
    println!("{RECORDED}");
    Ok(())
}

/// Whether no step has become dearer.
fn compare() -> Result<bool> {
    let before = recorded_before()?;
    let now = counted()?;
    for (what, before, now) in [
        ("rustc", &before.rustc, &now.rustc),
        ("valgrind", &before.valgrind, &now.valgrind),
        ("architecture", &before.architecture, &now.architecture),
    ] {
        if before != now {
            println!("note: recorded with {what} {before}, and this is {now}");
        }
    }
    let mut good = true;
    println!(
        "{:34} {:>10} {:>10} {:>8}",
        "step", "recorded", "now", "change"
    );
    for (name, &now) in &now.instructions {
        let Some(&then) = before.instructions.get(name) else {
            println!("{name:34} {:>10} {now:>10}     new: record it", "");
            good = false;
            continue;
        };
        let change = (now as f64 / then as f64 - 1.0) * 100.0;
        let counts = now.abs_diff(then) > CHANCE;
        let dearer = counts && change > before.tolerance_percent;
        let remark = if dearer {
            "  dearer"
        } else if counts && change < -before.tolerance_percent {
            "  cheaper: record it"
        } else {
            ""
        };
        println!("{name:34} {then:>10} {now:>10} {change:>+7.1}%{remark}");
        good &= !dearer;
    }
    Ok(good)
}

fn recorded_before() -> Result<Recorded> {
    let text = std::fs::read_to_string(RECORDED)
        .map_err(|error| format!("{RECORDED}: {error}; make it with --record"))?;
    Ok(serde_json::from_str(&text)?)
}

fn counted() -> Result<Recorded> {
    let mut instructions = BTreeMap::new();
    for (name, _) in Steps::ALL {
        let mut least = u64::MAX;
        for _ in 0..ATTEMPTS {
            let of_all = callgrind(name, MANY)?.saturating_sub(callgrind(name, FEW)?);
            least = least.min(of_all / (MANY - FEW));
        }
        instructions.insert(name.to_owned(), least);
    }
    Ok(Recorded {
        rustc: version("rustc"),
        valgrind: version("valgrind"),
        architecture: std::env::consts::ARCH.to_owned(),
        tolerance_percent: 3.0,
        instructions,
    })
}

/// The instructions of a whole process that does a step so many times.
fn callgrind(step: &str, times: u64) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--step", step, &times.to_string()])
        .output()
        .map_err(|error| format!("valgrind cannot be run, is it installed? {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let number = line.and_then(|(_, number)| number.trim().parse().ok());
    if !output.status.success() || number.is_none() {
        return Err(format!("{step}: valgrind failed: {text}").into());
    }
    Ok(number.unwrap_or_default())
}

fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}
