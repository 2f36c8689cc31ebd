//! kubectl against the stand-in: what it does with a real server works here.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use super::{LIMIT, fixture};
use crate::kubernetes::{ApiServer, Options};
use crate::{process, random};

/// A home of kubectl's own: its cache of discovery answers goes with the test.
struct Kubectl {
    folder: PathBuf,
}

impl Drop for Kubectl {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Kubectl {
    fn new(server: &ApiServer, token: &str) -> Option<Self> {
        if !process::installed(&["kubectl"]) {
            return None;
        }
        let folder = std::env::temp_dir().join(format!("standins-{}", random::uuid()));
        std::fs::create_dir_all(&folder).expect("a folder");
        server
            .write_kubeconfig(&folder.join("config"), token)
            .expect("a file");
        Some(Self { folder })
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(arguments.split_whitespace())
            .env("KUBECONFIG", self.folder.join("config"))
            .env("HOME", &self.folder)
            .env_remove("HTTPS_PROXY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Standard output and error together, and whether it succeeded.
    async fn run(&self, arguments: &str, input: &str) -> (bool, String) {
        let mut child = self.command(arguments).spawn().expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_bytes()).await.expect("open");
        drop(stdin);
        let output = tokio::time::timeout(LIMIT * 3, child.wait_with_output());
        let output = output.await.expect("in time").expect("it ran");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }
}

const MANIFEST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: { name: applied, namespace: team-a, labels: { app: x } }
data: { k: VALUE }
---
apiVersion: v1
kind: Service
metadata: { name: applied, namespace: team-a }
spec: { ports: [{ name: http, port: 80 }] }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_gets_watches_applies_deletes_and_asks() {
    let fixture = fixture(Options::default()).await;
    let Some(kubectl) = Kubectl::new(&fixture.server, fixture.server.admin_token()) else {
        return;
    };
    let expect = async |arguments: &str, input: &str, wanted: &[&str]| {
        let (success, text) = kubectl.run(arguments, input).await;
        assert!(success, "kubectl {arguments}: {text}");
        for wanted in wanted {
            assert!(
                text.contains(wanted),
                "kubectl {arguments}: {wanted:?} is not in {text}"
            );
        }
    };
    expect("get namespaces", "", &["team-a", "kube-system"]).await;
    let mut watch = kubectl.command("get configmaps -n team-a --watch-only -o name");
    let mut watch = watch.spawn().expect("kubectl starts");
    let open = fixture
        .server
        .wait_for_requests("watch configmaps", 1, LIMIT)
        .await;
    assert!(open, "the watch is opened");
    let apply = "apply --validate=false -f -";
    let first = MANIFEST.replace("VALUE", "one");
    expect(
        apply,
        &first,
        &["configmap/applied created", "service/applied created"],
    )
    .await;
    let stdout = watch.stdout.take().expect("piped");
    let line = BufReader::new(stdout).lines().next_line().await;
    assert_eq!(line.expect("text").as_deref(), Some("configmap/applied"));
    let second = MANIFEST.replace("VALUE", "two");
    expect(
        apply,
        &second,
        &["configmap/applied configured", "service/applied unchanged"],
    )
    .await;
    let server_side = "apply --server-side --force-conflicts --validate=false -f -";
    expect(server_side, &second, &["serverside-applied"]).await;
    let get = "get configmap applied -n team-a -o jsonpath={.data.k}";
    expect(get, "", &["two"]).await;
    expect("get cm -A -l app=x", "", &["applied"]).await;
    expect("delete cm applied -n team-a", "", &["deleted"]).await;
    expect("get --raw /version", "", &["gitVersion"]).await;
    expect("auth can-i get pods/proxy -n team-a", "", &["yes"]).await;
    expect(
        "auth can-i --list --as=viewer",
        "",
        &["pods.metrics.k8s.io", "[get list watch]"],
    )
    .await;
    let (allowed, text) = kubectl
        .run("auth can-i get secrets -n team-a --as=viewer", "")
        .await;
    assert!(!allowed && text.contains("no"), "{text}");
    let (found, text) = kubectl.run("get pods -n team-b --as=alice", "").await;
    assert!(!found, "{text}");
    assert!(
        text.contains("Error from server (Forbidden): pods is forbidden"),
        "{text}"
    );
}
