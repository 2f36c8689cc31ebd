//! Links between the pages, and what sources call them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{Page, files, pages, root};

fn parser(page: &Page) -> Parser<'_> {
    Parser::new_ext(&page.text, Options::ENABLE_TABLES)
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &Page) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut heading: Option<String> = None;
    for event in parser(page) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let heading = heading.take().unwrap_or_default().to_lowercase();
                let kept = heading.chars().filter_map(|c| match c {
                    ' ' => Some('-'),
                    c => (c.is_alphanumeric() || c == '-' || c == '_').then_some(c),
                });
                all.insert(kept.collect());
            }
            _ => {}
        }
    }
    all
}

/// The targets of a page's links and pictures.
fn targets(page: &Page) -> Vec<String> {
    let targets = parser(page).filter_map(|event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            Some(dest_url.into_string())
        }
        _ => None,
    });
    targets.collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let pages = pages();
    let (mut checked, mut broken) = (0, Vec::new());
    for page in &pages {
        for target in targets(page) {
            if target.starts_with("https://") || target.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = match file {
                "" => page.path.clone(),
                file => page.path.with_file_name("").join(file),
            };
            let path = path.canonicalize().unwrap_or(path);
            let known = path.exists() && path.starts_with(root().canonicalize().expect("it is"));
            let anchored = anchor.is_empty()
                || pages
                    .iter()
                    .find(|page| page.path.canonicalize().ok().as_ref() == Some(&path))
                    .is_some_and(|page| anchors(page).contains(anchor));
            if !(known && anchored) {
                broken.push(format!("{}: {target}", page.name()));
            }
        }
    }
    assert!(checked > 100, "only {checked} links were found");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_index_has_every_page_and_every_picture_is_shown() {
    let pages = pages();
    let index = pages.iter().find(|page| page.name() == "docs/README.md");
    let index = targets(index.expect("an index"));
    let shown: BTreeSet<PathBuf> = pages
        .iter()
        .flat_map(|page| {
            let folder = page.path.with_file_name("");
            targets(page).into_iter().map(move |to| folder.join(to))
        })
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    let mut files_of_docs = Vec::new();
    let extensions = ["md", "png", "svg", "webp"];
    files(&root().join("docs"), &extensions, &mut files_of_docs);
    for path in files_of_docs {
        let name = path.strip_prefix(root().join("docs")).expect("below it");
        let name = name.display().to_string();
        if !name.ends_with(".md") {
            let path = path.canonicalize().expect("it exists");
            assert!(shown.contains(&path), "no page shows {name}");
        } else if name != "README.md" {
            assert!(index.contains(&name), "docs/README.md has no {name}");
        }
    }
}

#[test]
fn every_page_that_a_source_names_exists() {
    let mut paths = Vec::new();
    let extensions = [
        "rs", "py", "sh", "yaml", "yml", "toml", "tpl", "txt", "json",
    ];
    files(root(), &extensions, &mut paths);
    // Scripts have no extension.
    let scripts = std::fs::read_dir(root().join("scripts")).expect("a folder");
    paths.extend(scripts.map(|entry| entry.expect("an entry").path()));
    let (mut named, mut missing) = (0, Vec::new());
    for path in paths.iter().filter(|path| path.is_file()) {
        let Ok(text) = std::fs::read_to_string(path) else {
            continue;
        };
        for (start, _) in text.match_indices("docs/") {
            let rest = &text[start..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-_./".contains(c));
            let name = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
            if name.ends_with(".md") {
                named += 1;
                if !root().join(name).exists() {
                    missing.push(format!("{}: {name}", path.display()));
                }
            }
        }
    }
    assert!(named > 20, "only {named} pages are named");
    assert!(missing.is_empty(), "{missing:#?}");
}
