//! The ways in which requests can come, as metrics, the audit log and the configuration name them.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// The way in which a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// Through the API server's `services/proxy`: a bare path, the token in Headlamp's cookie.
    Service,
    /// Through an ingress that sends Headlamp's proxy path here.
    Ingress,
    /// From inside the cluster, the token in a header.
    Direct,
    /// Through the gateway in front of the API server.
    Gateway,
}

impl Door {
    /// All doors, in the order of their index.
    pub const ALL: &[Self] = &[Self::Service, Self::Ingress, Self::Direct, Self::Gateway];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Ingress => "ingress",
            Self::Direct => "direct",
            Self::Gateway => "gateway",
        }
    }
}

impl EncodeLabelValue for Door {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}
