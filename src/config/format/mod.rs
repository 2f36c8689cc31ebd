//! The formats of texts in the configuration, each with its parser and its JSON Schema. Nothing here knows keys,
//! defaults or rules between keys.

mod url;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use serde_json::{Value, json};

pub(super) use self::url::{BASE_PATH, COLLECTOR, PATH_PREFIX, SERVER_NAME, URL};
use super::fault::{Wrong, wrong};
use super::{PortRef, SecretValue};
use crate::door::Door;
use crate::namespace::Namespace;

/// One format of text.
pub(super) struct Format<T> {
    /// What the JSON Schema says of it besides description and default.
    pub(super) schema: fn() -> Value,
    /// Whether a whole number of the document is read as the text of its digits.
    pub(super) numbers: bool,
    /// Whether a message may repeat this value.
    pub(super) quotable: fn(&str) -> bool,
    pub(super) read: fn(&str) -> Result<T, Wrong>,
}

impl<T> Format<T> {
    pub(super) const fn text(read: fn(&str) -> Result<T, Wrong>) -> Self {
        Self {
            schema: || json!({"type": "string", "minLength": 1}),
            numbers: false,
            quotable: |_| true,
            read,
        }
    }
}

pub(super) const DURATION: Format<Duration> = Format {
    schema: || {
        json!({"anyOf": [
            {"type": "string", "pattern": "^(0|([0-9]+(ms|s|m|h|d))+)$"},
            {"const": 0}
        ]})
    },
    numbers: true,
    ..Format::text(|text| {
        duration(text).ok_or_else(|| {
            wrong(
                "is not a duration",
                "write a number with a unit such as 60s, 10m or 1h",
            )
        })
    })
};

/// `IP:PORT`.
pub(super) const SOCKET_ADDRESS: Format<SocketAddr> = Format::text(|text| {
    text.parse().map_err(|_| {
        wrong(
            "is not an address to listen on",
            "write IP:PORT such as 0.0.0.0:9090 or [::]:9090",
        )
    })
});

/// An address, or a network in CIDR notation.
pub(super) const NETWORK: Format<IpNet> = Format::text(|text| {
    let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse().ok().or_else(one);
    network.ok_or_else(|| {
        wrong(
            "is not an address or a network",
            "write one such as 10.0.0.7, 10.0.0.0/8 or fd00::/8",
        )
    })
});

pub(super) const PATH: Format<PathBuf> = Format::text(|text| {
    if text.is_empty() || text.contains('\0') {
        return Err(wrong("is not a path", "write the path of a file"));
    }
    Ok(text.into())
});

pub(super) const NAMESPACE: Format<Namespace> = Format {
    schema: || json!({"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}),
    ..Format::text(|text| {
        Namespace::parse(text).ok_or_else(|| {
            wrong(
                "is not the name of a namespace",
                "use up to 63 lower-case letters, digits and inner hyphens",
            )
        })
    })
};

/// An RFC 1123 subdomain, which the names of pods are; the names of services are a part of it.
pub(super) const OBJECT_NAME: Format<String> = Format {
    schema: || {
        json!({
            "type": "string",
            "maxLength": 253,
            "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
        })
    },
    ..Format::text(|text| {
        let valid = text.len() <= 253
            && text
                .split('.')
                .all(|label| Namespace::parse(label).is_some());
        owned(
            text,
            valid,
            "is not the name of a Kubernetes object",
            "use lower-case letters, digits and inner hyphens",
        )
    })
};

/// A number from 1 to 65535, or the name of a port.
pub(super) const PORT: Format<PortRef> = Format {
    schema: || {
        json!({"anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 65535},
            {"type": "string", "pattern": "^[a-z0-9-]{1,15}$"}
        ]})
    },
    numbers: true,
    ..Format::text(|text| {
        let refused = || {
            wrong(
                "is not a port",
                "write a number from 1 to 65535 or a port's name such as http-web",
            )
        };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = text.parse().ok().filter(|&number: &u16| number > 0);
            return number.map(PortRef::Number).ok_or_else(refused);
        }
        // An IANA service name: at most 15 bytes with at least one letter.
        let named = text.len() <= 15
            && Namespace::parse(text).is_some()
            && text.bytes().any(|byte| byte.is_ascii_lowercase());
        named
            .then(|| PortRef::Name(text.to_owned()))
            .ok_or_else(refused)
    })
};

pub(super) const UPSTREAM_NAME: Format<String> = Format {
    schema: || json!({"type": "string", "maxLength": 63, "pattern": "^[a-z0-9-]+$"}),
    ..Format::text(|text| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        owned(
            text,
            !text.is_empty() && text.len() <= 63 && text.bytes().all(plain),
            "is not a name",
            "use up to 63 of a-z, 0-9 and -",
        )
    })
};

/// A verb, resource or subresource of a review. `*` is not a wildcard there but asks whether the caller may do
/// everything, and no API is called so.
pub(super) const ATTRIBUTE: Format<String> = Format {
    schema: || json!({"type": "string", "pattern": "^[A-Za-z0-9.-]+$"}),
    ..Format::text(|text| {
        owned(
            text,
            is_attribute(text),
            "cannot be reviewed",
            "use letters, digits, . and -; a wildcard asks for everything and is refused",
        )
    })
};

/// Like [`ATTRIBUTE`], or nothing: the core API group, no subresource.
pub(super) const OPTIONAL_ATTRIBUTE: Format<String> = Format {
    schema: || json!({"type": "string", "pattern": "^[A-Za-z0-9.-]*$"}),
    read: |text| match text {
        "" => Ok(String::new()),
        _ => (ATTRIBUTE.read)(text),
    },
    ..ATTRIBUTE
};

/// A label of a series that may hold a namespace.
pub(super) const LABEL: Format<String> = Format {
    schema: || {
        json!({
            "type": "string",
            "pattern": "^([a-zA-Z]|[^\\x00-\\x7F]|_([a-zA-Z0-9.:/-]|[^\\x00-\\x7F])|_$)\
                ([a-zA-Z0-9_.:/-]|[^\\x00-\\x7F])*$"
        })
    },
    ..Format::text(|text| {
        let start = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
        let valid =
            text.starts_with(start) && text.chars().all(is_in_name) && !text.starts_with("__");
        owned(
            text,
            valid,
            "is not the name of a label",
            "write it as in namespace or k8s.namespace.name, not starting with a digit or __",
        )
    })
};

/// Whether a character may be in the name of a label or metric here. Prometheus 3 allows more, such as blanks, quotes
/// and operators, but those are signs of a mistake.
pub(super) fn is_in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.:/-".contains(c) || !c.is_ascii()
}

/// Printable text on one line.
pub(super) const PLAIN: Format<String> = Format::text(|text| {
    owned(
        text,
        !text.trim().is_empty() && !text.contains(char::is_control),
        "is empty or has control characters",
        "write plain text",
    )
});

pub(super) const HEADER_NAME: Format<HeaderName> = Format {
    schema: || json!({"type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"}),
    ..Format::text(|text| {
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
            wrong(
                "is not the name of a header",
                "use letters, digits and - as in X-Auth-Token",
            )
        })
    })
};

pub(super) const SECRET: Format<SecretValue> = Format {
    quotable: |_| false,
    ..Format::text(|text| {
        let value = HeaderValue::from_str(text).map_err(|_| {
            wrong(
                "has characters that a header cannot hold",
                "remove line feeds and control characters",
            )
        })?;
        Ok(SecretValue::new(value))
    })
};

/// A query parameter of the caller. Letters and brackets are enough for all of Thanos' and Mimir's.
pub(super) const PARAMETER: Format<String> = Format {
    schema: || json!({"type": "string", "pattern": "^[A-Za-z0-9_.-]+(\\[\\])?$"}),
    ..Format::text(|text| {
        let name = text.strip_suffix("[]").unwrap_or(text);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        owned(
            text,
            !name.is_empty() && name.bytes().all(plain),
            "is not the name of a query parameter",
            "use letters, digits, _, . and -",
        )
    })
};

/// One of the doors that callers come through.
pub(super) const DOOR: Format<Door> = Format {
    schema: || {
        let names: Vec<_> = Door::ALL.iter().map(|door| door.as_str()).collect();
        json!({"type": "string", "enum": names})
    },
    ..Format::text(|text| {
        let door = Door::ALL.iter().find(|door| door.as_str() == text);
        door.copied()
            .ok_or_else(|| wrong("is not a door", "use service, ingress, direct and gateway"))
    })
};

pub(super) fn owned(text: &str, valid: bool, problem: &str, hint: &str) -> Result<String, Wrong> {
    if valid {
        Ok(text.to_owned())
    } else {
        Err(wrong(problem, hint))
    }
}

fn is_attribute(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
}

/// Reads `90s`, `1h30m`, `500ms` or `0`. `None` for anything else and for what does not fit.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut milliseconds: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(factor)?;
        milliseconds = milliseconds.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::from_millis(milliseconds))
}
