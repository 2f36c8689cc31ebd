//! Which answers of an upstream several callers get.

use std::time::Duration;

use crate::config::format::DOOR;
use crate::config::section::Section;
use crate::door::Door;

/// Sharing of one upstream's answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// The doors whose requests wait for the answer to another that asks the same, where one is under way. Default all.
    pub join: Vec<Door>,
    /// The doors whose range queries that end about now are moved down to a grid of times. Default all but the direct
    /// one.
    pub align: Vec<Door>,
    /// The doors whose range queries that end about now are answered with what another got that asked the same.
    /// Default all but the direct one.
    pub keep: Vec<Door>,
    /// How much older than asked for an answer may be by aligning, and how long one is kept, in whole seconds. A
    /// query's step counts where it is less. Default 10 s.
    pub grid: Duration,
    /// The most that the answers which several callers get may hold, in bytes. Default 64 MiB.
    pub max_bytes: u64,
}

const SECOND: Duration = Duration::from_secs(1);

const ALL: &[&str] = &["service", "ingress", "direct", "gateway"];

/// Whoever comes through the direct door may ask for exact times.
const HEADLAMP: &[&str] = &["service", "ingress", "gateway"];

impl Sharing {
    pub(super) fn read(section: &mut Section) -> Self {
        Self {
            join: section.texts(
                "join",
                ALL,
                "Doors whose requests share the answer to one that is under way and asks the same; []: none",
                &DOOR,
            ),
            align: section.texts(
                "align",
                HEADLAMP,
                "Doors whose range queries that end about now are moved down to a grid of times; []: none",
                &DOOR,
            ),
            keep: section.texts(
                "keep",
                HEADLAMP,
                "Doors whose range queries that end about now get an answer that is kept; []: none",
                &DOOR,
            ),
            grid: section.duration(
                "grid",
                "10s",
                SECOND..=60 * SECOND,
                "Longest shift by aligning, and age of a kept answer; a query's step where that is less",
            ),
            max_bytes: section.number(
                "maxBytes",
                67_108_864,
                1_048_576..=17_179_869_184,
                "Most bytes that shared answers hold in memory",
            ),
        }
    }
}
