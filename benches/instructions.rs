//! How many instructions each step of a request's way takes, counted by valgrind's callgrind: a number that does not
//! depend on what else the machine does. Compared with `instructions.json`, which is part of the repository.
//!
//! ```text
//! scripts/instructions             compares; fails when a step has become dearer
//! scripts/instructions --record    writes the file anew
//! ```
//!
//! Each step is run twice in a process of its own, a few times and many times; the difference leaves out start and
//! end. What remains of chance is in the hash maps' random keys, in what caches do by the clock and in the log's
//! thread: some tenths of a percent. valgrind offers no instructions for SHA-2: hashes cost more here than they do in
//! fact.
//!
//! Which instructions a library chooses by the processor does not depend on the machine: valgrind shows programs one of
//! few processors of its own, the same wherever there is AVX2, sizes of caches included. What the code is made by and
//! linked with does count, so it is recorded too. Where that is another, only the whole way is compared, with a wider
//! bound; on another target nothing is.

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
const MANY: u64 = 2500;

/// Of so many attempts the cheapest counts. What is not dearer at the first is not tried again.
const ATTEMPTS: usize = 3;

/// A change that is smaller is none: what caches do by the clock takes about as much.
const CHANCE: u64 = 250;

/// How much dearer a step may be than recorded, in percent.
const TOLERANCE: f64 = 2.0;

/// How much dearer the whole way may be where other tools have made the code: between two releases of rustc it is some
/// percent. It is still a net for what slows the way as a whole.
const FOREIGN_TOLERANCE: f64 = 10.0;

/// The step that is the whole way.
const WHOLE: &str = "stack";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What is kept in the repository.
#[derive(Debug, Deserialize, Serialize)]
struct Recorded {
    tools: Tools,
    /// Instructions of each step.
    instructions: BTreeMap<String, u64>,
}

/// What the counts depend on beside the code of this repository.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Tools {
    target: String,
    rustc: String,
    valgrind: String,
    libc: String,
    /// What valgrind shows of the processor.
    processor: String,
}

impl Tools {
    fn here() -> Self {
        let rustc = output("rustc", &["--version", "--verbose"]);
        let target = rustc.lines().find_map(|line| line.strip_prefix("host: "));
        Self {
            target: target.unwrap_or_default().to_owned(),
            rustc: rustc.lines().next().unwrap_or_default().to_owned(),
            valgrind: output("valgrind", &["--version"]),
            libc: output("getconf", &["GNU_LIBC_VERSION"]),
            processor: processor().to_owned(),
        }
    }

    /// What is not as recorded, in words.
    fn differences(&self, recorded: &Self) -> Vec<String> {
        let pairs = [
            ("rustc", &self.rustc, &recorded.rustc),
            ("valgrind", &self.valgrind, &recorded.valgrind),
            ("libc", &self.libc, &recorded.libc),
            ("processor", &self.processor, &recorded.processor),
        ];
        let other = pairs.into_iter().filter(|(_, here, then)| here != then);
        other
            .map(|(what, here, then)| format!("{what}: recorded with {then}, here {here}"))
            .collect()
    }
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
        [] if cfg!(debug_assertions) => {
            Err("this build is not optimized: see the head of this file".into())
        }
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
    let mut instructions = BTreeMap::new();
    for (name, _) in Steps::ALL {
        let attempts: Result<Vec<u64>> = (0..ATTEMPTS).map(|_| count(name)).collect();
        let least = attempts?.into_iter().min();
        instructions.insert(name.to_owned(), least.unwrap_or_default());
    }
    let recorded = Recorded {
        tools: Tools::here(),
        instructions,
    };
    let text = serde_json::to_string_pretty(&recorded)?;
    std::fs::write(RECORDED, text + "\n")?;
    println!("{RECORDED}");
    Ok(())
}

/// Whether no step has become dearer.
fn compare() -> Result<bool> {
    let before = recorded_before()?;
    let tools = Tools::here();
    if tools.target != before.tools.target {
        let why = format!(
            "they are recorded for {}, and this is {}",
            before.tools.target, tools.target
        );
        if std::env::var("CI").is_ok_and(|value| value == "true") {
            return Err(format!("{why}; with CI=true nothing is skipped").into());
        }
        println!("skip  counting instructions: {why}");
        return Ok(true);
    }
    let differences = tools.differences(&before.tools);
    for difference in &differences {
        println!("note: {difference}");
    }
    if !differences.is_empty() {
        println!(
            "note: the code is made by other tools, so of these steps only `{WHOLE}` is held to a bound, of \
             {FOREIGN_TOLERANCE} %. For the bound of {TOLERANCE} % on each, record the commit before your change with \
             scripts/instructions --record"
        );
    }
    let mut good = true;
    println!(
        "{:34} {:>10} {:>10} {:>8}",
        "step", "recorded", "now", "change"
    );
    for (name, _) in Steps::ALL {
        let mut now = count(name)?;
        let Some(&then) = before.instructions.get(name) else {
            println!("{name:34} {:>10} {now:>10}     new: record it", "");
            good = false;
            continue;
        };
        let tolerance = match (differences.is_empty(), name) {
            (true, _) => TOLERANCE,
            (false, WHOLE) => FOREIGN_TOLERANCE,
            (false, _) => f64::INFINITY,
        };
        for _ in 1..ATTEMPTS {
            if judge(then, now, tolerance).1 == Verdict::Dearer {
                now = now.min(count(name)?);
            }
        }
        let (change, verdict) = judge(then, now, tolerance);
        println!(
            "{name:34} {then:>10} {now:>10} {change:>+7.1}%{}",
            verdict.remark()
        );
        good &= verdict != Verdict::Dearer;
    }
    if !good {
        println!("Where that is meant, record them anew, and say why in the commit.");
    }
    Ok(good)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Dearer,
    Cheaper,
}

impl Verdict {
    fn remark(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::Dearer => "  dearer",
            Self::Cheaper => "  cheaper: record it",
        }
    }
}

/// How much a count has changed, in percent, and what that means.
fn judge(then: u64, now: u64, tolerance: f64) -> (f64, Verdict) {
    let change = (now as f64 / then as f64 - 1.0) * 100.0;
    let verdict = if now.abs_diff(then) <= CHANCE || change.abs() <= tolerance {
        Verdict::Same
    } else if change > 0.0 {
        Verdict::Dearer
    } else {
        Verdict::Cheaper
    };
    (change, verdict)
}

fn recorded_before() -> Result<Recorded> {
    let text = std::fs::read_to_string(RECORDED)
        .map_err(|error| format!("{RECORDED}: {error}; make it with --record"))?;
    Ok(serde_json::from_str(&text)?)
}

/// Instructions of a step, as one attempt finds.
fn count(step: &str) -> Result<u64> {
    let of_all = callgrind(step, MANY)?.saturating_sub(callgrind(step, FEW)?);
    Ok(of_all / (MANY - FEW))
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

/// What a program prints; nothing where it is not there.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}

/// The widest vectors that a library may choose: valgrind knows no wider ones.
fn processor() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    return match (
        std::arch::is_x86_feature_detected!("avx2"),
        std::arch::is_x86_feature_detected!("avx"),
    ) {
        (true, _) => "with AVX2",
        (_, true) => "with AVX",
        _ => "with SSE",
    };
    #[cfg(not(target_arch = "x86_64"))]
    "any"
}
