//! What is varied between measurements, and which variations each form of the benchmark has.

use std::path::PathBuf;
use std::time::Duration;

use crate::contenders::Kind;
use crate::document;

/// How large an answer of the upstream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Medium,
    Large,
}

impl Size {
    pub(crate) const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Small => 300,
            Self::Medium => 7 * 1024,
            Self::Large => 10 * 1024 * 1024,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "0.3KB",
            Self::Medium => "7KB",
            Self::Large => "10MB",
        }
    }

    /// The value of the parameter `time` that makes the upstream answer so: it passes every contender unchanged.
    pub(crate) fn time(self) -> u32 {
        match self {
            Self::Small => 1,
            Self::Medium => 2,
            Self::Large => 3,
        }
    }
}

/// One setting of everything that is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) size: Size,
    pub(crate) connections: u32,
    /// Distinct tokens, each of another user, in turn.
    pub(crate) callers: u32,
    /// Every request has a token that was never seen before; `callers` does not count then.
    pub(crate) cold: bool,
}

impl Case {
    /// The setting that all others differ from in one way.
    pub(crate) const BASE: Self = Self {
        size: Size::Medium,
        connections: 32,
        callers: 1,
        cold: false,
    };

    pub(crate) fn name(&self) -> String {
        let size = self.size.name();
        let connections = self.connections;
        if self.cold {
            return format!("{size}-{connections}connections-cold");
        }
        let callers = self.callers;
        format!("{size}-{connections}connections-{callers}callers-warm")
    }

    fn star() -> Vec<Self> {
        let base = Self::BASE;
        let sized = |size| Self { size, ..base };
        let connected = |connections| Self {
            connections,
            ..base
        };
        let called = |callers| Self { callers, ..base };
        vec![
            base,
            sized(Size::Small),
            sized(Size::Large),
            connected(1),
            connected(1000),
            called(100),
            called(10_000),
            Self { cold: true, ..base },
            Self {
                connections: 1000,
                callers: 10_000,
                ..base
            },
        ]
    }

    fn every() -> Vec<Self> {
        let mut cases = Vec::new();
        for size in Size::ALL {
            for connections in [1, 32, 1000] {
                let case = Self {
                    size,
                    connections,
                    ..Self::BASE
                };
                cases.extend([1, 100, 10_000].map(|callers| Self { callers, ..case }));
                cases.push(Self { cold: true, ..case });
            }
        }
        cases
    }
}

/// A form of the benchmark.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) name: &'static str,
    /// But for the first case; see [`Form::rounds`].
    pub(crate) rounds: usize,
    /// Of one contender in one round; see [`Form::measured`].
    pub(crate) measured: Duration,
    /// Unmeasured, before the first round.
    pub(crate) warm_up: Duration,
    /// Before each round, how long it may take until all callers are known.
    pub(crate) warm_limit: Duration,
    /// Each with those that are measured in it.
    pub(crate) cases: Vec<(Case, Vec<Kind>)>,
    pub(crate) footprint: Option<Footprint>,
    /// Whether any failed answer ends it.
    pub(crate) strict: bool,
    pub(crate) document: Option<PathBuf>,
    /// Whether nothing is measured, but everything started and kept.
    pub(crate) hold: bool,
}

/// What is measured besides load.
#[derive(Clone, Debug)]
pub(crate) struct Footprint {
    pub(crate) contenders: Vec<Kind>,
    /// Before memory is read, so that what is freed late is freed.
    pub(crate) settle: Duration,
    pub(crate) starts: usize,
    pub(crate) streams: usize,
    pub(crate) connections: usize,
}

impl Form {
    /// How long a case takes in one round. Connections are opened, and TLS begun, within that time, and a long answer
    /// takes a while: where there are many of either it is longer.
    pub(crate) fn measured(&self, case: &Case) -> Duration {
        let long = case.connections >= 1000 || case.size == Size::Large;
        self.measured * if long { 3 } else { 1 }
    }

    /// How many rounds a case has. Where a document is written, the one that the targets are about has three times as
    /// many: what else the machine does shows in single rounds.
    pub(crate) fn rounds(&self, case: &Case) -> usize {
        let main = self.document.is_some() && *case == Case::BASE;
        self.rounds * if main { 3 } else { 1 }
    }

    /// Leaves out all contenders but those.
    pub(crate) fn keep(&mut self, keep: impl Fn(Kind) -> bool) {
        for (_, kinds) in &mut self.cases {
            kinds.retain(|kind| keep(*kind));
        }
        if let Some(footprint) = &mut self.footprint {
            footprint.contenders.retain(|kind| keep(*kind));
        }
    }

    /// Each thing that is varied alone, all contenders: about an hour. With `full` every combination: about
    /// four.
    pub(crate) fn long(full: bool) -> Self {
        let cases = if full { Case::every() } else { Case::star() };
        let with_all = |case| (case, Kind::ALL.to_vec());
        Self {
            name: if full { "full" } else { "long" },
            rounds: 5,
            measured: Duration::from_secs(3),
            warm_up: Duration::from_secs(2),
            warm_limit: Duration::from_secs(40),
            cases: cases.into_iter().map(with_all).collect(),
            footprint: Some(Footprint {
                contenders: vec![
                    Kind::Nginx,
                    Kind::Everything,
                    Kind::KubeRbacProxy,
                    Kind::PromLabelProxy,
                ],
                settle: Duration::from_secs(2),
                starts: 11,
                streams: 1000,
                connections: 10_000,
            }),
            strict: false,
            document: Some(document::PATH.into()),
            hold: false,
        }
    }

    /// The main cases in less than two minutes.
    pub(crate) fn short() -> Self {
        let base = Case::BASE;
        let with = |kind| vec![Kind::Nginx, kind];
        let large = Case {
            size: Size::Large,
            ..base
        };
        let many = Case {
            callers: 10_000,
            ..base
        };
        let main = Kind::ALL
            .into_iter()
            .filter(|kind| *kind != Kind::NginxLogging);
        Self {
            name: "short",
            rounds: 3,
            measured: Duration::from_secs(1),
            warm_up: Duration::from_secs(1),
            warm_limit: Duration::from_secs(8),
            cases: vec![
                (base, main.collect()),
                (large, with(Kind::Everything)),
                (many, with(Kind::Everything)),
            ],
            footprint: Some(Footprint {
                contenders: vec![Kind::Everything],
                settle: Duration::from_secs(1),
                starts: 5,
                streams: 1000,
                connections: 10_000,
            }),
            strict: false,
            document: None,
            hold: false,
        }
    }

    /// Ours with its own client to the upstream and with hyper's, in as many rounds as decide between the two: four
    /// minutes.
    pub(crate) fn clients() -> Self {
        Self {
            name: "clients",
            rounds: 15,
            measured: Duration::from_secs(3),
            warm_up: Duration::from_secs(1),
            warm_limit: Duration::from_secs(8),
            cases: vec![(
                Case::BASE,
                vec![
                    Kind::Nginx,
                    Kind::Everything,
                    Kind::HyperEverything,
                    Kind::Namespaced,
                    Kind::HyperNamespaced,
                ],
            )],
            footprint: None,
            strict: false,
            document: None,
            hold: false,
        }
    }

    /// Everything once, so that it cannot rot; what is measured is thrown away.
    pub(crate) fn smoke() -> Self {
        let case = Case {
            connections: 4,
            callers: 3,
            ..Case::BASE
        };
        let cold = Case { cold: true, ..case };
        let here = Kind::ALL
            .into_iter()
            .filter(|kind| !kind.is_peer() && *kind != Kind::Upstream);
        Self {
            name: "smoke",
            rounds: 1,
            measured: Duration::from_secs(1),
            warm_up: Duration::ZERO,
            warm_limit: Duration::from_secs(5),
            cases: vec![(case, here.collect()), (cold, vec![Kind::Namespaced])],
            footprint: Some(Footprint {
                contenders: vec![Kind::Everything],
                settle: Duration::ZERO,
                starts: 1,
                streams: 4,
                connections: 16,
            }),
            strict: true,
            document: None,
            hold: false,
        }
    }
}
