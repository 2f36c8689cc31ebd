//! An error with its causes, in one line of the log.

use std::error::Error;
use std::fmt::{self, Display};

/// Writes an error and its causes, outermost first, with `: ` between them. A cause that an error repeats at its end is
/// written once.
pub struct Chain<'e>(pub &'e (dyn Error + 'e));

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            let text = error.to_string();
            if !last.ends_with(&text) {
                write!(f, ": {text}")?;
                last = text;
            }
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Told {
        text: &'static str,
        source: Option<Box<Told>>,
    }

    #[test]
    fn each_cause_is_told_once_from_the_outside_in() {
        let told = |text, source: Option<Told>| Told {
            text,
            source: source.map(Box::new),
        };
        let refused = told("Connection refused", None);
        let again = told("tcp connect error: Connection refused", Some(refused));
        let error = told("no connection can be opened", Some(again));
        assert_eq!(
            Chain(&error).to_string(),
            "no connection can be opened: tcp connect error: Connection refused"
        );
    }
}
