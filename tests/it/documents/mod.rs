//! What the documents say, held against the sources and against each other.

mod links;
mod messages;

use std::path::{Path, PathBuf};

/// A page of the repository, in Markdown.
struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    fn name(&self) -> String {
        let path = self.path.strip_prefix(root()).expect("below the root");
        path.display().to_string()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder of the repository with this extension, but for what builds leave there.
fn files(folder: &Path, extensions: &[&str], all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            if name != "target" && name != "node_modules" && name != ".git" {
                files(&path, extensions, all);
            }
        } else if path
            .extension()
            .is_some_and(|extension| extensions.iter().any(|one| *one == extension))
        {
            all.push(path);
        }
    }
}

fn pages() -> Vec<Page> {
    let mut paths = Vec::new();
    files(root(), &["md"], &mut paths);
    let pages = paths.into_iter().map(|path| {
        let text = std::fs::read_to_string(&path).expect("read");
        Page { path, text }
    });
    pages.collect()
}
