//! kubectl, as anybody runs it.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::files::run_folder;

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
            .env_remove("KUBECONFIG")
            // Below it, what is discovered is kept for each server apart.
            .env("HOME", run_folder())
            .env("NO_PROXY", "127.0.0.1,10.77.0.0/16")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Its exit code, if it has one, and all that it wrote.
    pub async fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(arguments).output().await.expect("kubectl");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.code(), text)
    }

    /// What it wrote, of a command that must succeed.
    pub async fn ok(&self, arguments: &[&str]) -> String {
        let (code, text) = self.run(arguments).await;
        assert_eq!(code, Some(0), "kubectl {}: {text}", arguments.join(" "));
        text
    }
}
