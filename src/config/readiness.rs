//! When the program counts as ready.

use super::section::Section;

/// When `/readyz` says that the program is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Which upstreams must answer. Default [`NeededUpstreams::Any`].
    pub upstreams: NeededUpstreams,
}

/// Which upstreams must answer for the program to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeededUpstreams {
    /// At least one, so that a dead one does not take the others down.
    Any,
    /// Every one.
    All,
}

impl Readiness {
    pub(super) fn read(section: &mut Section) -> Self {
        Self {
            upstreams: section.choice(
                "upstreams",
                [("any", NeededUpstreams::Any), ("all", NeededUpstreams::All)],
                "Which upstreams must answer, where there is no gateway: any one of them, or all",
            ),
        }
    }
}
