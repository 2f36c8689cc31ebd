//! Reads manifests: YAML of one or more documents, a file, or a folder of files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Why manifests could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not YAML.
    #[error("{origin} is not YAML: {message}")]
    Syntax {
        /// The file, or "the text".
        origin: String,
        /// The parser's words.
        message: String,
    },
    /// The server refuses an object.
    #[error("{kind} {name:?} is refused: {message}")]
    Refused {
        /// What it says it is.
        kind: String,
        /// Its name.
        name: String,
        /// The server's words.
        message: String,
    },
}

/// All objects in a YAML text; `List` kinds are unpacked, empty documents skipped.
pub(crate) fn parse(text: &str, origin: &str) -> Result<Vec<Value>, ManifestError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| ManifestError::Syntax {
            origin: origin.to_owned(),
            message: error.to_string(),
        })?;
    let mut objects = Vec::new();
    for mut document in documents {
        match document["items"].take() {
            Value::Array(items)
                if document["kind"]
                    .as_str()
                    .is_some_and(|kind| kind.ends_with("List")) =>
            {
                objects.extend(items);
            }
            items => {
                if !items.is_null() {
                    document["items"] = items;
                } else if let Some(document) = document.as_object_mut() {
                    document.remove("items");
                }
                if document.is_object() {
                    objects.push(document);
                }
            }
        }
    }
    Ok(objects)
}

/// All objects in a file, or of a folder: what its kustomization lists as resources, else all its
/// YAML and JSON files in the order of their names. Generators, patches and components of a
/// kustomization are left out.
pub(crate) fn load(path: &Path) -> Result<Vec<Value>, ManifestError> {
    let unreadable = |source| ManifestError::Read {
        path: path.to_owned(),
        source,
    };
    let kustomization = path.join("kustomization.yaml");
    if kustomization.is_file() {
        return load_kustomization(path, &kustomization);
    }
    if !path.is_dir() {
        let text = fs::read_to_string(path).map_err(unreadable)?;
        return parse(&text, &path.display().to_string());
    }
    let mut files: Vec<PathBuf> = fs::read_dir(path)
        .map_err(unreadable)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|file| {
            file.extension().is_some_and(|extension| {
                ["yaml", "yml", "json"].iter().any(|one| extension == *one)
            })
        })
        .collect();
    files.sort();
    let mut objects = Vec::new();
    for file in files {
        objects.extend(load(&file)?);
    }
    Ok(objects)
}

fn load_kustomization(folder: &Path, file: &Path) -> Result<Vec<Value>, ManifestError> {
    let mut objects = Vec::new();
    for kustomization in load(file)? {
        for resource in kustomization["resources"].as_array().into_iter().flatten() {
            let resource = resource.as_str().unwrap_or_default();
            for mut object in load(&folder.join(resource))? {
                // Objects of kinds without a namespace never read this.
                if object["metadata"]["namespace"].is_null() {
                    object["metadata"]["namespace"] = kustomization["namespace"].clone();
                }
                objects.push(object);
            }
        }
    }
    Ok(objects)
}
