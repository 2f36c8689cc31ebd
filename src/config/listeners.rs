//! Where the program listens.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::fault::wrong;
use super::format::{NAMESPACE, OBJECT_NAME, PATH, PORT, SOCKET_ADDRESS};
use super::section::Section;
use super::{PortRef, TlsFiles};
use crate::namespace::Namespace;

/// The three listeners. Port 0 lets the system choose a free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// For Prometheus requests by the API server's service proxy, an ingress or directly.
    pub service: Listener,
    /// For all of Headlamp's Kubernetes traffic. Default `None`: there is no gateway.
    pub gateway: Option<Gateway>,
    /// For metrics and health.
    pub admin: AdminListener,
}

/// The listener for Prometheus requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Default `0.0.0.0:9090`.
    pub address: SocketAddr,
    /// Certificate to serve HTTPS with. Default `None`: plain HTTP, which is what the API server's service
    /// proxy speaks.
    pub tls: Option<TlsFiles>,
}

/// The listener that stands in for the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Default `0.0.0.0:6443`.
    pub address: SocketAddr,
    /// Certificate to serve HTTPS with. Default `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The Service that the proxy answers for itself, whether it exists or not. Default
    /// `monitoring/prom-rbac-proxy:9090`.
    pub reserved_service: ServiceReference,
    /// Further services and pods, those of Prometheus itself, that the proxy answers in place of. Default
    /// none.
    pub prometheus_services: Vec<AnsweredTarget>,
    /// Whether the namespaces that a caller may read are listed to those whom the API server refuses the list. Default
    /// `false`.
    pub namespace_list: bool,
}

/// The listener for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminListener {
    /// Default `0.0.0.0:9091`.
    pub address: SocketAddr,
}

/// A Service and a port of it, as they stand in the path of a proxy request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceReference {
    /// Namespace of the Service.
    pub namespace: Namespace,
    /// Name of the Service.
    pub name: String,
    /// Port as the caller writes it.
    pub port: PortRef,
}

/// A Service or pod that the gateway answers in place of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweredTarget {
    /// Default [`ProxyKind::Services`].
    pub kind: ProxyKind,
    /// Namespace of the Service or pod.
    pub namespace: Namespace,
    /// Name of the Service or pod.
    pub name: String,
    /// Port as the caller writes it.
    pub port: PortRef,
}

/// What a proxy path of the API server goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// `services/NAME:PORT/proxy`
    Services,
    /// `pods/NAME:PORT/proxy`
    Pods,
}

impl Listeners {
    pub(super) fn read(section: &mut Section) -> Self {
        let listeners = Self {
            service: section.section(
                "service",
                "For Prometheus requests by the service proxy, an ingress or directly",
                |section| Listener {
                    address: address(section, "0.0.0.0:9090"),
                    tls: tls(section),
                },
            ),
            gateway: section.optional(
                "gateway",
                "For all of Headlamp's Kubernetes traffic; absent: no gateway",
                Gateway::read,
            ),
            admin: section.section("admin", "For /metrics, /livez and /readyz", |section| {
                AdminListener {
                    address: address(section, "0.0.0.0:9091"),
                }
            }),
        };
        listeners.check(section);
        listeners
    }

    fn check(&self, section: &Section) {
        let mut addresses = vec![("service.address", self.service.address)];
        addresses.extend(
            self.gateway
                .iter()
                .map(|gateway| ("gateway.address", gateway.address)),
        );
        addresses.push(("admin.address", self.admin.address));
        addresses.retain(|(key, _)| section.sound(&[key]));
        for (index, (key, address)) in addresses.iter().enumerate() {
            let earlier = addresses[..index]
                .iter()
                .find(|(_, other)| collide(address, other));
            if let Some((other, _)) = earlier {
                let problem = format!("{address} is taken by listeners.{other}");
                section.fault(key, wrong(problem, "give each listener a port of its own"));
            }
        }
    }
}

impl Gateway {
    fn read(section: &mut Section) -> Self {
        Self {
            address: address(section, "0.0.0.0:6443"),
            tls: tls(section),
            reserved_service: section.section(
                "answersFor",
                "The Service that the proxy answers for itself, whether it exists or not",
                |section| ServiceReference {
                    namespace: section.text(
                        "namespace",
                        "monitoring",
                        "Namespace of the Service",
                        &NAMESPACE,
                    ),
                    name: section.text(
                        "name",
                        "prom-rbac-proxy",
                        "Name of the Service",
                        &OBJECT_NAME,
                    ),
                    port: section.text("port", "9090", "Port as the caller writes it", &PORT),
                },
            ),
            prometheus_services: section
                .list(
                    "alsoAnswersFor",
                    "Services and pods of Prometheus itself that the proxy answers in place of",
                    AnsweredTarget::read,
                )
                .into_iter()
                .flatten()
                .collect(),
            namespace_list: section.flag(
                "namespaceList",
                false,
                "Lists the namespaces that a caller may read, where the API server refuses the list",
            ),
        }
    }
}

impl AnsweredTarget {
    fn read(section: &mut Section) -> Option<Self> {
        let kind = section.choice(
            "kind",
            [("services", ProxyKind::Services), ("pods", ProxyKind::Pods)],
            "What the path names",
        );
        let namespace = section.required_text("namespace", "Its namespace", &NAMESPACE);
        let name = section.required_text("name", "Its name", &OBJECT_NAME);
        let port = section.required_text("port", "Its port as the caller writes it", &PORT);
        Some(Self {
            kind,
            namespace: namespace?,
            name: name?,
            port: port?,
        })
    }
}

fn address(section: &mut Section, default: &str) -> SocketAddr {
    section.text(
        "address",
        default,
        "IP:PORT to listen on; port 0 is any free one",
        &SOCKET_ADDRESS,
    )
}

fn tls(section: &mut Section) -> Option<TlsFiles> {
    let files = section.optional(
        "tls",
        "Certificate to serve HTTPS with; absent: plain HTTP",
        |section| {
            let cert_file: Option<PathBuf> = section.required_text(
                "certFile",
                "PEM file with the certificate and its chain",
                &PATH,
            );
            let key_file = section.required_text("keyFile", "PEM file with the private key", &PATH);
            Some(TlsFiles {
                cert_file: cert_file?,
                key_file: key_file?,
            })
        },
    );
    files.flatten()
}

/// Whether one of the two addresses keeps the other from being listened on.
fn collide(one: &SocketAddr, other: &SocketAddr) -> bool {
    let overlap =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && overlap
}
