//! What `prom-rbac-proxy version` prints. deploy/image/build.sh gives the commit and the build in the environment; a
//! build script that asked git for them would compile the library anew at each commit, and need git.

/// The first line is the name and the version, and stays so: scripts read it.
pub(crate) fn text() -> String {
    let commit = option_env!("PROM_RBAC_PROXY_COMMIT")
        .filter(|commit| !commit.is_empty())
        .unwrap_or("unknown");
    let build = option_env!("PROM_RBAC_PROXY_BUILD").unwrap_or(if cfg!(debug_assertions) {
        "a developer's own, for debugging"
    } else {
        "a developer's own"
    });
    format!(
        "prom-rbac-proxy {}\ncommit: {commit}\nbuild: {build}\n",
        env!("CARGO_PKG_VERSION")
    )
}
