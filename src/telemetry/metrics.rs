//! What the metrics of all rooms have in common. Each room registers its own, named `prom_rbac_proxy_*`; those of the
//! process are named `process_*`. Labels come from closed sets only: never a user, a namespace, a path or a caller's
//! text.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::process::ProcessCollector;

/// Histogram bounds for durations, in seconds: from a cached answer to a long query.
pub const DURATIONS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0,
];

/// An enum whose variants are all the values that a label can have.
macro_rules! closed_label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// All variants, in the order of their index.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The value of the label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl prometheus_client::encoding::EncodeLabelValue for $name {
            fn encode(
                &self,
                encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
            ) -> std::fmt::Result {
                prometheus_client::encoding::EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

pub(crate) use closed_label;

/// The series of each value of a closed label, in the order of `values`. Each is exposed from now on, before it first
/// counts anything: a rate misses the step from no series to one.
pub fn each_series<V: Copy, L, M, C>(
    family: &Family<L, M, C>,
    values: &[V],
    labels: impl Fn(V) -> L,
) -> Arc<[M]>
where
    L: Clone + Eq + Hash,
    M: Clone,
    C: MetricConstructor<M>,
{
    let series = |value: &V| family.get_or_create(&labels(*value)).clone();
    values.iter().map(series).collect()
}

/// The metrics of a room, which count whether they are registered or not.
pub trait Register {
    fn register(&self, registry: &mut Registry);
}

/// All registered metrics, as they are scraped. Cheap to clone.
#[derive(Clone)]
pub struct Exposition(Arc<Registry>);

impl Exposition {
    /// Registers the metrics of `rooms`, the version of this program, and what the system knows of it.
    pub fn of<'r>(rooms: impl IntoIterator<Item = &'r dyn Register>) -> Self {
        let mut registry = Registry::default();
        let own = registry.sub_registry_with_prefix("prom_rbac_proxy");
        for room in rooms {
            room.register(own);
        }
        own.register(
            "build",
            "This program",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register_collector(Box::new(ProcessCollector));
        Self(Arc::new(registry))
    }

    /// In the OpenMetrics text format.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0)?;
        Ok(text)
    }

    /// In Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// As [`Exposition::encode`].
    pub fn encode_plain(&self) -> Result<String, fmt::Error> {
        Ok(super::text_format::from_openmetrics(&self.encode()?))
    }
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exposition")
    }
}
