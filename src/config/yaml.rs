//! Text to tree. Knows nothing of the keys.

use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Error};

use super::fault::{LoadError, named};

/// How much of the YAML reader's own words is repeated.
const MESSAGE_CHARACTERS: usize = 160;

/// Reads one document; an empty one is null. Anchors and merges work, within bounds on depth and size.
///
/// # Errors
/// [`LoadError::Syntax`], without a piece of the text: it may hold the value of a header.
pub(super) fn read(text: &str) -> Result<Value, LoadError> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location();
        let problem = match &error {
            Error::DuplicateMappingKey { key: Some(key), .. } => {
                format!("the key {} stands twice in one map", named(key))
            }
            Error::MultipleDocuments { .. } => {
                "there is more than one document; remove all but one".to_owned()
            }
            other => {
                let message = other.to_string();
                // The line is reported apart from the message.
                let message = message.split(" at line ").next().unwrap_or_default();
                message.chars().take(MESSAGE_CHARACTERS).collect()
            }
        };
        LoadError::Syntax {
            line: place.map(|place| place.line()),
            problem,
        }
    })
}
