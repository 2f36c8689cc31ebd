//! The parts of `docs/performance.md` that benchmarks write. What stands outside of them stays.

use std::fs;
use std::path::Path;

use crate::Result;

/// The document.
pub(crate) const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");

/// What `make bench` writes.
pub(crate) const MEASURED: Part = Part {
    begin: "<!-- measured: written by make bench -->",
    end: "<!-- end of measured -->",
};

/// What `make bench-sharing` writes.
pub(crate) const SHARED: Part = Part {
    begin: "<!-- shared: written by make bench-sharing -->",
    end: "<!-- end of shared -->",
};

/// The lines that a part stands between.
pub(crate) struct Part {
    begin: &'static str,
    end: &'static str,
}

impl Part {
    /// Writes it anew.
    ///
    /// # Errors
    /// If the document has no place for it.
    pub(crate) fn write(&self, text: &str, path: &Path) -> Result<()> {
        let Self { begin, end } = self;
        let old = fs::read_to_string(path)?;
        let (before, after) = old
            .split_once(begin)
            .and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)))
            .ok_or_else(|| format!("{}: no lines {begin} and {end}", path.display()))?;
        fs::write(path, format!("{before}{begin}\n\n{text}\n{end}{after}"))?;
        println!("{}", path.display());
        Ok(())
    }
}
