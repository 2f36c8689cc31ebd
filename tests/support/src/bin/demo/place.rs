//! Where a demo writes, so that several can run side by side.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::Failure;

/// A demo's own folder. The lock tells other demos that it is in use, and ends with the process.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    _lock: File,
}

impl Place {
    /// `TARGET/demo`, or one beside it if a demo runs there.
    pub(crate) fn take(target: &Path) -> Result<Self, Failure> {
        let own = format!("demo-{}", std::process::id());
        for name in ["demo", &own] {
            let folder = target.join(name);
            fs::create_dir_all(&folder)?;
            let lock = File::create(folder.join("lock"))?;
            if lock.try_lock().is_ok() {
                for old in ["demo.env", "proxy.log"] {
                    let _ = fs::remove_file(folder.join(old));
                }
                let folder = folder.canonicalize()?;
                return Ok(Self {
                    folder,
                    _lock: lock,
                });
            }
        }
        Err("no folder for this demo: both are in use".into())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The first demo's folder stays, with its log; the others' go.
        if !self.folder.ends_with("demo") {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
