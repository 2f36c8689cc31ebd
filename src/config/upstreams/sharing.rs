//! Which answers of an upstream several callers get.

use crate::config::format::DOOR;
use crate::config::section::Section;
use crate::door::Door;

/// Sharing of one upstream's answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// The doors whose requests wait for the answer to another that asks the same, where one is under way. Default all.
    pub join: Vec<Door>,
    /// The most that the answers which several callers get may hold, in bytes. Default 64 MiB.
    pub max_bytes: usize,
}

impl Sharing {
    pub(super) fn read(section: &mut Section) -> Self {
        Self {
            join: section.texts(
                "join",
                &["service", "ingress", "direct", "gateway"],
                "Doors whose requests share the answer to one that is under way and asks the same; []: none",
                &DOOR,
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
