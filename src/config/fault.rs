//! What can be wrong with a configuration, in words for the person who wrote it.
//!
//! Nothing here ever holds the value of an upstream's header, and of any other value at most
//! [`QUOTED_CHARACTERS`].

use std::fmt;
use std::path::PathBuf;

/// How much of a value a message repeats.
const QUOTED_CHARACTERS: usize = 80;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read: missing, not permitted, or not UTF-8.
    #[error("cannot read the configuration file {}; give its path with --config", path.display())]
    Read {
        /// The path as it was given.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The text is not a single YAML document. The message repeats no part of the text but the name of a key.
    #[error("not valid YAML{}: {problem}", line.map(|line| format!(" at line {line}")).unwrap_or_default())]
    Syntax {
        /// Line of the text, counted from 1; `None` where the fault has no single place.
        line: Option<u64>,
        /// What the YAML reader expected or refused.
        problem: String,
    },
    /// The document can be read, but says something impossible. Holds every fault, not just the first.
    #[error(transparent)]
    Faults(#[from] Faults),
}

/// All faults of one configuration, in the order of the document's keys; at least one.
///
/// `Display` prints one per line, without a line feed at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// `Ok` when there is no fault at all.
    pub(super) fn check(faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Self(faults))
        }
    }

    /// The faults in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// One fault: where, what and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Dotted key such as `upstreams[0].url`. Empty for an environment variable that overrides nothing.
    pub key: String,
    /// The environment variable that the value came from; `None` when it is the document's.
    pub variable: Option<String>,
    pub problem: String,
    /// What to write instead; may be empty where the problem says it all.
    pub hint: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variable {
            Some(variable) if self.key.is_empty() => write!(f, "{variable}: ")?,
            Some(variable) => write!(f, "{} ({variable}): ", self.key)?,
            None => write!(f, "{}: ", self.key)?,
        }
        f.write_str(&self.problem)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

/// What is wrong with one value, before it is known where it stands.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) problem: String,
    pub(super) hint: String,
}

/// A [`Wrong`]. The problem reads on after the value: `is not a duration`.
pub(super) fn wrong(problem: impl Into<String>, hint: impl Into<String>) -> Wrong {
    Wrong {
        problem: problem.into(),
        hint: hint.into(),
    }
}

/// A value in double quotes, with control characters escaped and the end cut off.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

/// A key as it is named in a message: plain where it is plain, in quotes otherwise.
pub(super) fn named(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !key.is_empty() && key.len() <= QUOTED_CHARACTERS && key.chars().all(plain) {
        key.to_owned()
    } else {
        quoted(key)
    }
}

fn shortened(text: &str) -> String {
    // Escapes make text longer: two quotes, the dots, and up to ten characters for one character.
    let mut short = String::new();
    let mut length = 2;
    for c in text.chars() {
        length += c.escape_debug().count();
        if length > QUOTED_CHARACTERS - 3 {
            short.push_str("...");
            break;
        }
        short.push(c);
    }
    short
}

/// The candidate that `typed` was most likely meant to be, if any is near enough to be worth naming.
pub(super) fn nearest<'a>(
    typed: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // Past this length nothing of ours is near, and the comparison is quadratic.
    const LONGEST: usize = 120;
    if typed.len() > LONGEST {
        return None;
    }
    let bare = |text: &str| {
        text.chars()
            .filter(|c| !matches!(c, '_' | '-'))
            .map(|c| c.to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    let typed = bare(typed);
    candidates
        .map(|candidate| (distance(&typed, &bare(candidate)), candidate))
        .filter(|(distance, _)| *distance <= (typed.len() / 3).clamp(1, 4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}
