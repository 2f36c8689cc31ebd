//! Sets `cfg(loom)` for this crate alone: set for all, it would take tokio's network away.

fn main() {
    println!("cargo:rustc-cfg=loom");
}
