//! Child processes that end with their handle, and with this process however it ends.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A running child in its own process group, so that a Ctrl-C in the terminal reaches this
/// process only and the order of ending is ours. Dropping it kills it.
pub struct Process {
    child: Mutex<Child>,
    /// The thread that started the child waits for this end to go away. The kernel's signal on a
    /// parent's death is sent when the starting thread ends, so that thread must stay.
    _starter: mpsc::Sender<()>,
}

impl Process {
    /// Starts a program with arguments; `configure` sets the rest, such as where output goes.
    /// Where util-linux' `setpriv` is installed the child is killed even when this process is.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn start<I, S>(
        program: &Path,
        arguments: I,
        configure: impl FnOnce(&mut Command),
    ) -> io::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let program = find(program).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} is not installed", program.display()),
            )
        })?;
        let mut command = match find(Path::new("setpriv")) {
            None => Command::new(&program),
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(&program);
                command
            }
        };
        command.args(arguments).process_group(0);
        configure(&mut command);
        let (started, child) = mpsc::channel();
        let (starter, dropped) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            if started.send(command.spawn()).is_ok() {
                let _ = dropped.recv();
            }
        });
        let child = child
            .recv()
            .map_err(|_| io::Error::other("the starting thread is gone"))??;
        Ok(Self {
            child: Mutex::new(child),
            _starter: starter,
        })
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// The child's standard output, once, if it was piped.
    pub fn take_stdout(&self) -> Option<std::process::ChildStdout> {
        self.child().stdout.take()
    }

    /// The child's standard error, once, if it was piped.
    pub fn take_stderr(&self) -> Option<std::process::ChildStderr> {
        self.child().stderr.take()
    }

    /// How it ended, if it has.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// Sends a signal by name, as `TERM`. A child that has ended gets none.
    ///
    /// # Errors
    /// If there is no shell.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        let mut child = self.child();
        if child.try_wait()?.is_none() {
            // The id is still the child's: it has not been waited for.
            let command = format!("kill -{name} {}", child.id());
            Command::new("sh").args(["-c", &command]).status()?;
        }
        Ok(())
    }

    /// Asks it to end and waits; kills it when `limit` is over.
    pub fn terminate(self, limit: Duration) -> Option<ExitStatus> {
        let _ = self.signal("TERM");
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Whether these programs are installed. Where one is not, the test that asks leaves itself out: here is one line that
/// says so, and with `CI=true` a panic, since a CI that skips what it lost is green for ever.
///
/// # Panics
/// With `CI=true`, if one is missing.
pub fn installed(programs: &[&str]) -> bool {
    let missing = programs
        .iter()
        .filter(|program| find(program.as_ref()).is_none());
    let missing: Vec<&str> = missing.copied().collect();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(" and ");
    assert!(
        !std::env::var("CI").is_ok_and(|value| value == "true"),
        "not installed: {missing}; with CI=true nothing is skipped"
    );
    println!("skipped: not installed: {missing}");
    false
}

/// The program's path: as it is if it names a folder, else from PATH.
pub fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "run by the test below, in a process of its own"]
    fn asks_for_what_nobody_has() {
        assert!(installed(&["sh"]));
        assert!(!installed(&["sh", "no-such-program"]));
    }

    #[test]
    fn with_ci_true_a_missing_program_is_a_failure_that_names_it() {
        let run = |ci: &str| {
            let output = Command::new(std::env::current_exe().expect("this test"))
                .args(["--ignored", "--exact", "--nocapture"])
                .arg("process::tests::asks_for_what_nobody_has")
                .env("CI", ci)
                .output()
                .expect("it runs");
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8(text).expect("text");
            assert!(text.contains("running 1 test"), "{text}");
            (output.status.success(), text)
        };
        let (passed, text) = run("");
        assert!(passed && text.contains("skipped: not installed: no-such-program"));
        let (passed, text) = run("true");
        assert!(!passed && text.contains("not installed: no-such-program; with CI=true"));
    }
}
