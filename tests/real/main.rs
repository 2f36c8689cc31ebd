//! prom-rbac-proxy among the real programs: Kubernetes' API server and controller manager with etcd, Prometheus 2
//! and 3, kubectl, and Headlamp's backend where there is one. `scripts/e2e` builds them and runs this.
//!
//! One cluster for all tests, which run one after another. Each prints what it has proved.

#![allow(unreachable_pub, reason = "a test is a crate that nobody reaches into")]

/// The cluster, and all that runs in it.
mod world;

/// What the API server and its stand-in answer: reviews, and refusals.
mod answers;
/// A Prometheus that federates, promtool, and names that are none before Prometheus 3.
mod clients;
/// Pods of Prometheus that come and go, an API server that restarts.
mod discovery;
/// What `doctor` finds, and what it shows to apply.
mod doctor;
/// kubectl, Headlamp and the controller manager through the gateway.
mod gateway;
/// Users of all kinds: audiences, groups, extra fields, odd names, long tokens.
mod identities;
/// What is granted and taken away while somebody looks.
mod lifetimes;
/// The namespaces that a caller may read, listed by the gateway to kubectl, Headlamp and a kube client.
mod namespaces;
/// What callers and the proxy may do in Kubernetes, and may not.
mod rights;
/// 5,000 namespaces and 25,000 role bindings, on a control plane of their own.
mod scale;
/// What the API server, Headlamp and their stand-ins pass on.
mod standing_in;
/// What an API server answers that is just starting.
mod starting;
/// Callers whom the API server does not know, at the gateway.
mod strangers;
/// What a viewer of the cluster and one of a namespace get, at each door.
mod visibility;
