//! The command line: `check`, `explain`, `schema`, `version`, and their exit codes.

use std::path::Path;
use std::process::{Command, Output};

use support::cluster::api_server;
use support::files::binary;
use support::proxy::configuration;
use support::{run, scratch};

pub fn execute(arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .output()
        .expect("it runs")
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn check_accepts_every_file_that_is_shipped() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let output = execute(&["check", "--config", path.to_str().expect("UTF-8")]);
            assert!(
                output.status.success(),
                "{}: {}",
                path.display(),
                text(&output.stderr)
            );
            checked += 1;
        }
    }
    assert!(checked > 0);
}

#[test]
fn check_says_every_fault_with_its_key() {
    let file = scratch("faults.yaml");
    let faults = "listeners: { service: { addres: x } }\nauthentication: { cache: { ttl: 60 } }\nupstreams: []\n";
    std::fs::write(&file, faults).expect("written");
    for command in ["check", "serve"] {
        let output = execute(&[command, "--config", file.to_str().expect("UTF-8")]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        let errors = text(&output.stderr);
        for key in [
            "listeners.service.addres",
            "authentication.cache.ttl",
            "upstreams",
        ] {
            assert!(errors.contains(key), "{command}: {errors}");
        }
    }
    let output = execute(&["check", "--config", "/nowhere/config.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/nowhere/config.yaml"));
}

#[test]
fn a_level_that_is_none_is_a_fault_and_a_port_that_is_taken_is_none() {
    let (_api, kubeconfig) = run(api_server());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let file = scratch("ends.yaml");
    let valid = configuration(&kubeconfig, "http://127.0.0.1:9");
    let ends = |command, text: String| {
        std::fs::write(&file, text).expect("written");
        execute(&[command, "--config", file.to_str().expect("UTF-8")])
    };
    for command in ["check", "serve"] {
        let output = ends(command, valid.replace("level: trace", "level: a=b=c"));
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(text(&output.stderr).contains("logging.level"), "{command}");
    }
    let output = ends("serve", valid.replacen("127.0.0.1:0", &address, 1));
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains(&format!("cannot listen on {address}")),
        "{said}"
    );
    let output = ends(
        "serve",
        valid.replace(&*kubeconfig.to_string_lossy(), "/nowhere"),
    );
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("no usable Kubernetes configuration"),
        "{said}"
    );
}

#[test]
fn explain_says_scope_reviews_and_the_query_that_would_be_sent() {
    run(async {
        let (_api, kubeconfig) = api_server().await;
        let file = scratch("explain.yaml");
        std::fs::write(&file, configuration(&kubeconfig, "http://127.0.0.1:9")).expect("written");
        let explain = |user: &'static str, query: &'static str| {
            let file = file.clone();
            tokio::task::spawn_blocking(move || {
                let file = file.to_str().expect("UTF-8");
                let group = "system:authenticated";
                execute(&[
                    "explain", "--config", file, "--as", user, "--group", group, "--query", query,
                ])
            })
        };
        let alice = explain("alice", "sum(up)").await.expect("no panic");
        assert_eq!(alice.status.code(), Some(0), "{}", text(&alice.stderr));
        let lines: Vec<_> = text(&alice.stdout).lines().collect();
        let expected = [
            "scope: namespaces team-a",
            "searched: 9 namespaces, all of the cluster",
            "review: get pods.metrics.k8s.io in the whole cluster: denied",
            "query: sum(up{namespace=\"team-a\"})",
            "sharing at default: joined with the same under way through service, ingress, direct, gateway",
            "sharing at default: as a range query that ends about now, aligned to 10 s through service, ingress, gateway; not through direct, which sharing.align does not name",
            "sharing at default: as a range query that ends about now, kept for 10 s through service, ingress, gateway; not through direct, which sharing.keep does not name",
            "sharing at default: as an instant query, with times in the past, or with other parameters than start, end, step and timeout: not kept",
        ];
        assert_eq!(lines, expected);
        let viewer = explain("viewer", "up").await.expect("no panic");
        assert!(
            text(&viewer.stdout).starts_with("scope: everything\n"),
            "{}",
            text(&viewer.stdout)
        );
        let denied = explain("alice", "up{namespace=\"team-b\"}")
            .await
            .expect("no panic");
        assert_eq!(denied.status.code(), Some(3));
        let lines: Vec<_> = text(&denied.stdout).lines().collect();
        let (why, before) = lines.split_last().expect("some lines");
        let expected = [
            "scope: nothing, for this query",
            "review: get pods.metrics.k8s.io in the whole cluster: denied",
            "review: get pods.metrics.k8s.io in namespace team-b: denied",
        ];
        assert_eq!(before, expected);
        assert!(why.starts_with("denied: you may not read the metrics of namespace team-b"));
        let stranger = explain("mallory", "up").await.expect("no panic");
        assert_eq!(stranger.status.code(), Some(3));
        let lines: Vec<_> = text(&stranger.stdout).lines().collect();
        let (why, before) = lines.split_last().expect("some lines");
        let expected = [
            "scope: nothing, for this query",
            "searched: 9 namespaces, all of the cluster",
            "review: get pods.metrics.k8s.io in the whole cluster: denied",
        ];
        assert_eq!(before, expected);
        assert!(why.starts_with("denied: "), "{why}");
    });
}

#[test]
fn the_schema_that_is_shipped_is_the_programs() {
    let output = execute(&["schema"]);
    let shipped = include_str!("../../config/prom-rbac-proxy.schema.json");
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(parse(text(&output.stdout)), parse(shipped));
}

#[test]
fn wrong_arguments_end_with_two_and_the_version_is_told() {
    assert_eq!(execute(&["serve"]).status.code(), Some(2));
    let version = execute(&["version"]);
    let lines: Vec<_> = text(&version.stdout).lines().collect();
    assert_eq!(
        lines[0],
        format!("prom-rbac-proxy {}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].starts_with("commit: "), "{lines:?}");
    assert!(lines[2].starts_with("build: "), "{lines:?}");
}
