//! What the program is made of, and what stands around it as it is shipped.

use std::path::{Path, PathBuf};

/// The packages of the lock file, each with its version.
fn packages() -> Vec<(String, String)> {
    let lock = include_str!("../../../Cargo.lock");
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim_matches([' ', '=', '"']).to_owned())
    };
    let blocks = lock.split("[[package]]").skip(1);
    blocks
        .map(|block| {
            let (name, version) = (field(block, "name"), field(block, "version"));
            (name.expect("a name"), version.expect("a version"))
        })
        .collect()
}

#[test]
fn k17_no_package_is_a_pre_release() {
    let packages = packages();
    assert!(packages.len() > 100);
    for (name, version) in &packages {
        // Build metadata stands behind a `+`.
        let release = version.split('+').next().unwrap_or_default();
        assert!(!release.contains('-'), "{name} {version}");
    }
    let rustls: Vec<_> = packages
        .iter()
        .filter(|(name, _)| name == "rustls")
        .collect();
    assert_eq!(rustls.len(), 1, "{rustls:?}");
    assert!(rustls[0].1.starts_with("0.23."), "{rustls:?}");
}

#[test]
fn k17_what_has_no_limits_of_its_own_parses_nothing_of_a_callers() {
    let manifest = include_str!("../../../Cargo.toml");
    let (shipped, development) = manifest.split_once("[dev-dependencies]").expect("both");
    assert!(development.contains("promql-parser"));
    for name in ["promql-parser", "standins", "regex = ", "openssl", "aws-lc"] {
        assert!(!shipped.contains(&format!("\n{name}")), "{name} is shipped");
    }
    let locked = packages();
    for name in ["openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys"] {
        assert!(!locked.iter().any(|(locked, _)| locked == name), "{name}");
    }
}

fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, all);
        } else {
            all.push(path);
        }
    }
}

#[test]
fn k10_nothing_that_is_shipped_turns_headlamps_cache_on() {
    let mut all = Vec::new();
    files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"),
        &mut all,
    );
    assert!(all.len() > 10);
    for path in all {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        for line in text.lines() {
            let setting = line.split('#').next().unwrap_or_default();
            let on = setting.contains("cache-enabled") && !setting.contains("false");
            assert!(!on, "{}: {line}", path.display());
        }
    }
}

#[test]
fn k03_k04_k10_k15_k16_e19_e21_e22_the_limits_of_the_protection_are_written_down() {
    let text = include_str!("../../../docs/security.md");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (case, words) in [
        ("k03", "shows every series, those without a namespace label"),
        ("k04", "`get` on `pods` in `metrics.k8s.io`"),
        ("k10", "`-cache-enabled`"),
        ("k15", "Thanos"),
        ("k16", "`Impersonate-*`"),
        ("e19", "ignores `match[]`"),
        ("e21", "`exported_namespace`"),
        ("e22", "A namespace deleted and made again"),
    ] {
        assert!(text.contains(words), "{case}: {words}");
    }
}
