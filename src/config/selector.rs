//! Label selectors as kubectl's `-l` takes them: requirements with commas between.

use super::format::{Format, owned};

pub(super) const SELECTOR: Format<String> = Format::text(|text| {
    owned(
        text,
        is_valid(text),
        "is not a label selector",
        "write it like app.kubernetes.io/name=prometheus",
    )
});

/// Whether the API server will take it. A text that it refuses would leave an upstream without pods, and a
/// reason only in the log.
fn is_valid(text: &str) -> bool {
    requirements(text).all(requirement)
}

/// The parts between commas, of which those in parentheses do not count.
fn requirements(text: &str) -> impl Iterator<Item = &str> {
    let mut open = false;
    text.split(move |c| {
        open = match c {
            '(' => true,
            ')' => false,
            _ => open,
        };
        c == ',' && !open
    })
    .map(str::trim)
}

fn requirement(text: &str) -> bool {
    if let Some(absent) = text.strip_prefix('!') {
        return key(absent.trim_start());
    }
    let end = text
        .find(|c: char| c.is_whitespace() || "=!(".contains(c))
        .unwrap_or(text.len());
    let (name, rest) = (&text[..end], text[end..].trim_start());
    key(name) && (rest.is_empty() || comparison(rest) || set(rest))
}

fn comparison(rest: &str) -> bool {
    ["!=", "==", "="]
        .iter()
        .find_map(|operator| rest.strip_prefix(operator))
        .is_some_and(|wanted| value(wanted.trim_start()))
}

fn set(rest: &str) -> bool {
    ["notin", "in"]
        .iter()
        .find_map(|operator| rest.strip_prefix(operator))
        .and_then(|values| values.trim_start().strip_prefix('(')?.strip_suffix(')'))
        .is_some_and(|values| values.split(',').all(|wanted| value(wanted.trim())))
}

/// A name of a label, with a domain before it or not.
fn key(text: &str) -> bool {
    let (domain, name) = match text.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, text),
    };
    let valid = domain.is_none_or(|domain| {
        domain.len() <= 253 && domain.split('.').all(|label| word(label, b"-"))
    });
    valid && !name.is_empty() && value(name)
}

fn value(text: &str) -> bool {
    text.is_empty() || (text.len() <= 63 && word(text, b"-_."))
}

/// Letters and digits, and `inner` between them.
fn word(text: &str, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || inner.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn what_kubectl_takes_is_taken() {
        for selector in [
            "app.kubernetes.io/name=prometheus",
            "a==b, c != d",
            "a,!b, ! c",
            "tier in (front, back),env notin(test)",
            "a=,b in ()",
        ] {
            assert!(is_valid(selector), "{selector}");
        }
    }

    #[test]
    fn what_the_api_server_would_refuse_is_refused() {
        for selector in [
            "",
            "a=b,",
            "=b",
            "a=b c",
            "app b",
            "a/b/c=d",
            "/a=b",
            "a=-b",
            "a in b",
            "a in (b",
            "a in (b))",
            "a = b)",
            "!a=b",
            "(a)",
        ] {
            assert!(!is_valid(selector), "{selector}");
        }
    }
}
