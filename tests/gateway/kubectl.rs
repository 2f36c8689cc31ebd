use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};

use support::kubectl::Kubectl;
use support::{run, scratch, soon};

use crate::cluster::Cluster;

/// One that talks to a server with this kubeconfig.
fn kubectl(name: &str, kubeconfig: &str) -> Kubectl {
    let path = scratch(&format!("{name}.kubeconfig"));
    std::fs::write(&path, kubeconfig).expect("written");
    Kubectl::new(path)
}

fn manifest(name: &str, value: &str) -> PathBuf {
    let path = scratch(&format!("{name}.yaml"));
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name}, namespace: team-a }}\ndata: {{ a: \"{value}\" }}\n"
    );
    std::fs::write(&path, text).expect("written");
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn kubectl_cannot_tell_the_gateway_from_the_api_server() {
    run(async {
        if !standins::process::installed(&["kubectl"]) {
            return;
        }
        let cluster = Cluster::start().await;
        let address = ([127, 0, 0, 1], 80).into();
        for pod in ["web-0", "web-1"] {
            cluster
                .api
                .create_pod_at("team-a", pod, &[("app", "web")], address);
        }
        let kubeconfig = cluster.api.kubeconfig(cluster.api.admin_token());
        let direct = kubectl("direct", &kubeconfig);
        let through = kubeconfig.replace(&cluster.api.url(), &cluster.url());
        let through = kubectl("through", &through);

        let (applied, changed) = (manifest("applied", "1"), manifest("applied", "2"));
        for arguments in [
            &["apply", "--validate=false", "-f", text(&applied)][..],
            &["apply", "--validate=false", "-f", text(&changed)],
        ] {
            let (code, output) = through.run(arguments).await;
            assert_eq!(code, Some(0), "{output}");
        }
        for arguments in [
            &["get", "namespaces", "-o", "name"][..],
            &["get", "pods", "-A", "-o", "json"],
            &[
                "get",
                "pods",
                "-n",
                "team-a",
                "-l",
                "app=web",
                "--no-headers",
                "-o",
                "custom-columns=:metadata.name",
            ],
            &["get", "configmap", "applied", "-n", "team-a", "-o", "yaml"],
            &["get", "configmap", "missing", "-n", "team-a"],
            &["describe", "configmap", "applied", "-n", "team-a"],
            &["auth", "can-i", "--list", "-n", "team-a"],
            &[
                "auth", "can-i", "get", "pods", "-n", "team-a", "--as", "alice",
            ],
            &[
                "auth", "can-i", "get", "pods", "-n", "team-b", "--as", "alice",
            ],
            &["get", "--raw", "/version"],
            &["get", "--raw", "/api/v1/namespaces/team-a/pods?limit=1"],
            &["get", "--raw", "/healthz"],
            &["api-versions"],
            &["logs", "web-0", "-n", "team-a"],
        ] {
            let (expected, seen) = tokio::join!(direct.run(arguments), through.run(arguments));
            assert_eq!(seen, expected, "{arguments:?}");
        }
        let (_, data) = direct
            .run(&[
                "get",
                "configmap",
                "applied",
                "-n",
                "team-a",
                "-o",
                "jsonpath={.data.a}",
            ])
            .await;
        assert_eq!(data, "2");

        let arguments = ["get", "configmaps", "-n", "team-a", "-o", "name", "--watch"];
        let mut watch = through
            .command(&arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl");
        let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
        let first = soon(lines.next_line()).await.expect("a line");
        assert_eq!(first.as_deref(), Some("configmap/applied"));
        let (code, output) = direct
            .run(&[
                "apply",
                "--validate=false",
                "-f",
                text(&manifest("second", "1")),
            ])
            .await;
        assert_eq!(code, Some(0), "{output}");
        soon(async {
            while lines.next_line().await.expect("a line").as_deref() != Some("configmap/second") {}
        })
        .await;
        drop(watch);

        let delete = ["delete", "configmap", "applied", "-n", "team-a"];
        let (code, output) = through.run(&delete).await;
        assert_eq!(code, Some(0), "{output}");
        assert!(
            cluster
                .api
                .object("configmaps", "team-a", "applied")
                .is_none()
        );
    });
}
