//! The rule of all scripts: what cannot run on a machine is skipped by name, and with `CI=true` it fails by name.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::scratch;

/// A folder with everything on the PATH but `missing`.
fn path_without(missing: &[&str]) -> PathBuf {
    let folder = scratch("path");
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut seen: BTreeSet<_> = missing.iter().map(|name| name.to_string().into()).collect();
    let path = std::env::var_os("PATH").expect("a PATH");
    for program in std::env::split_paths(&path)
        .filter_map(|folder| folder.read_dir().ok())
        .flatten()
    {
        let program = program.expect("an entry");
        if seen.insert(program.file_name()) {
            symlink(program.path(), folder.join(program.file_name())).expect("a link");
        }
    }
    folder
}

/// Whether a script succeeds, and all that it prints.
fn run(script: &[&str], path: &Path, ci: &str) -> (bool, String) {
    let output = Command::new("bash")
        .args(script)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", path)
        .env("CI", ci)
        .env_remove("CXX")
        .env_remove("HELM")
        .env_remove("STATIC_BUILD")
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn assert_fails_by_name(script: &[&str], path: &Path, name: &str) {
    let (succeeds, text) = run(script, path, "true");
    let line = text.lines().find(|line| line.starts_with("FAIL  "));
    let line = line.unwrap_or_else(|| panic!("{script:?} without {name}: {text}"));
    assert!(line.contains(name), "{line}");
    assert!(!succeeds, "{line}");
}

fn assert_is_skipped_by_name(script: &[&str], path: &Path, name: &str) {
    let (succeeds, text) = run(script, path, "");
    let line = text.lines().find(|line| line.starts_with("skip  "));
    let line = line.unwrap_or_else(|| panic!("{script:?} without {name}: {text}"));
    assert!(line.contains(name), "{line}");
    assert!(succeeds, "{text}");
}

#[test]
fn with_ci_true_whatever_is_missing_is_a_failure_that_names_it() {
    for (script, missing, name) in [
        (&["tests/deploy/check.sh"][..], &["python3"][..], "python3"),
        (
            &["scripts/e2e", "--if-possible"],
            &["go"],
            "Go is not installed",
        ),
        (&["scripts/tools", "--test"], &["wrk", "apt-get"], "wrk"),
        (
            &["scripts/tools", "--test"],
            &["valgrind", "apt-get"],
            "valgrind",
        ),
        (&["scripts/fuzz", "1"], &["c++"], "g++"),
    ] {
        let path = path_without(missing);
        assert_fails_by_name(script, &path, name);
        assert_is_skipped_by_name(script, &path, name);
    }
    // Without it the other checks of deploy/ run, which take minutes.
    for (missing, name) in [
        (&["node"][..], "node"),
        (&["kubectl"], "kubectl"),
        (&["go", "helm"], "helm"),
    ] {
        assert_fails_by_name(&["tests/deploy/check.sh"], &path_without(missing), name);
    }
}

#[test]
fn with_ci_true_a_machine_that_makes_no_network_namespace_is_a_failure() {
    let path = path_without(&["unshare"]);
    let unshare = path.join("unshare");
    std::fs::write(
        &unshare,
        "#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n",
    )
    .expect("written");
    std::fs::set_permissions(&unshare, std::fs::Permissions::from_mode(0o755)).expect("changed");
    let script = ["scripts/e2e", "--if-possible"];
    assert_fails_by_name(&script, &path, "network namespace");
    assert_is_skipped_by_name(&script, &path, "network namespace");
}
