//! Where the binary under test is, and where files are kept.
//!
//! Cargo tells this to the suites alone, while they are compiled. A library finds it beside the program that runs.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

const RUN: &str = "run-";

/// `target/debug`, or `target/release` of a benchmark.
fn build() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let folder = program.parent().expect("a folder");
    // Tests and benchmarks are in `deps`, programs are not.
    let is_test = folder.ends_with("deps");
    let build = if is_test { folder.parent() } else { None };
    build.unwrap_or(folder).to_owned()
}

/// The binary of prom-rbac-proxy, which cargo builds before it runs a suite or a benchmark.
pub fn binary() -> PathBuf {
    build().join("prom-rbac-proxy")
}

/// Kept between runs, so that Prometheus' blocks of data are made once an hour.
pub fn cache() -> &'static Path {
    static CACHE: LazyLock<PathBuf> = LazyLock::new(|| {
        let build = build();
        let folder = build.parent().expect("the target folder").join("tmp");
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    });
    &CACHE
}

/// Of this run alone. It stays when the run ends, for whoever looks for a reason; the next run removes it.
pub fn run_folder() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        remove_old_runs();
        let folder = cache().join(format!("{RUN}{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    });
    &FOLDER
}

fn remove_old_runs() {
    for folder in std::fs::read_dir(cache()).expect("a folder").flatten() {
        let name = folder.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(RUN));
        if id.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let _ = std::fs::remove_dir_all(folder.path());
        }
    }
}

/// A path in [`run_folder`] that nobody else is given. Nothing is there yet.
pub fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    run_folder().join(format!("{number}-{name}"))
}
