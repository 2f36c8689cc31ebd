//! kubectl, as anybody runs it.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

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

    /// Starts a command that goes on, such as a watch.
    pub fn follow(&self, arguments: &[&str]) -> Following {
        let mut command = self.command(arguments);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("kubectl");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        Following {
            lines,
            _process: process,
        }
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

/// A command that goes on until this is dropped.
pub struct Following {
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Following {
    /// The next line that it writes.
    pub async fn line(&mut self) -> String {
        let line = self.lines.next_line().await;
        line.expect("readable").expect("a line")
    }

    /// The first two words of the next line: what a watch of events says, and of what.
    pub async fn event(&mut self) -> String {
        let line = self.line().await;
        let words: Vec<_> = line.split_whitespace().take(2).collect();
        words.join(" ")
    }
}
