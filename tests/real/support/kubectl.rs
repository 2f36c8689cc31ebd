//! kubectl, as anybody runs it.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use super::programs::folder;

/// kubectl with a kubeconfig of its own.
pub struct Kubectl {
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub fn new(kubeconfig: PathBuf) -> Self {
        Self { kubeconfig }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_remove("KUBECONFIG")
            .env("HOME", folder())
            // What it has discovered is kept for each server apart, below its home.
            .env("NO_PROXY", "127.0.0.1,10.77.0.0/16")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Whether it succeeded, and all that it wrote.
    pub async fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.command(arguments).output().await.expect("kubectl");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.success(), text)
    }

    /// What it wrote, of a command that must succeed.
    pub async fn ok(&self, arguments: &[&str]) -> String {
        let (succeeded, text) = self.run(arguments).await;
        assert!(succeeded, "kubectl {}: {text}", arguments.join(" "));
        text
    }
}
