//! The binary as a black box: a real Prometheus behind it, stand-ins for Kubernetes and Headlamp around it.

#![allow(unreachable_pub, reason = "a test is a crate that nobody reaches into")]

/// Other clients than Headlamp and Grafana.
mod clients;
/// `check`, `explain` and the other commands.
mod commands;
/// The shipped roles and configuration, and each right that is missed when it is gone.
mod deployment;
/// `doctor`, over a cluster with faults and without.
mod doctor;
/// Documents that are held against the sources and against each other.
mod documents;
/// The doors: how a caller and a token reach the proxy, and what comes back.
mod doors;
/// Threat cases of section E, and of Q and D end to end: endpoints, parameters, queries, load.
mod endpoints;
/// What Headlamp's plugin is answered.
mod headlamp;
/// Threat cases of section H: HTTP.
mod http;
/// Threat cases of section K: Kubernetes.
mod kubernetes;
/// The manual page, completions, and what documents say of the command line.
mod manual;
/// What goes on when Kubernetes is slow, away, or back again.
mod outage;
/// Another configuration while the program runs.
mod reload;
/// Answers that several callers get.
mod sharing;
/// What scripts do without what they need.
mod skipping;
/// Spans, and the collector that they are sent to.
mod spans;
/// Large answers, callers who leave, the end of the process.
mod streaming;
/// HTTPS to callers and to Prometheus.
mod tls;
/// Threat cases of section T: tokens.
mod tokens;
/// What a viewer of one namespace gets from each endpoint, held against a Prometheus of its own.
mod visibility;
