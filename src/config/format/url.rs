//! Addresses over HTTP, their hosts and their paths.

use std::net::Ipv6Addr;

use http::Uri;
use serde_json::json;

use super::{Format, owned};
use crate::config::fault::{Wrong, wrong};

pub(in crate::config) const SERVER_NAME: Format<String> = Format::text(|text| {
    owned(
        text,
        is_host(text),
        "is not a host name or IP address",
        "write the name in Prometheus' certificate",
    )
});

/// `/`, or segments without a slash at the end.
pub(in crate::config) const PATH_PREFIX: Format<String> = Format {
    schema: || json!({"type": "string", "pattern": "^/([A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*/?)?$"}),
    ..Format::text(|text| {
        let path = plain_path(text)?;
        Ok(if path.is_empty() { "/".into() } else { path })
    })
};

/// Nothing, or segments without a slash at the end.
pub(in crate::config) const BASE_PATH: Format<String> = Format {
    schema: || json!({"type": "string", "pattern": "^(/[A-Za-z0-9._~-]+)*/?$"}),
    ..Format::text(|text| {
        if text.is_empty() {
            Ok(String::new())
        } else {
            plain_path(text)
        }
    })
};

/// An address of Prometheus; its path has no slash at the end, unless it is all of the path.
pub(in crate::config) const URL: Format<Uri> = Format {
    schema: || json!({"type": "string", "pattern": "^[hH][tT][tT][pP][sS]?://[^@?#\\s]+$"}),
    // User, password or a token in the query must not get into a log by way of a message.
    quotable: |text| !text.contains(['@', '?', '#']),
    ..Format::text(url)
};

/// An address of a trace collector, in the form of [`URL`].
pub(in crate::config) const COLLECTOR: Format<Uri> = Format {
    read: |text| {
        (URL.read)(text).map_err(|Wrong { problem, .. }| {
            wrong(problem, "write http://HOST:4318 or https://HOST")
        })
    },
    ..URL
};

fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.parse::<Ipv6Addr>().is_ok() || (!text.is_empty() && text.bytes().all(plain))
}

/// A path of plain segments without the slash at its end; the root is empty.
fn plain_path(text: &str) -> Result<String, Wrong> {
    let refused = |problem| {
        wrong(
            problem,
            "start with / and use letters, digits, - . _ and ~ between slashes",
        )
    };
    let path = text
        .strip_prefix('/')
        .ok_or_else(|| refused("is not a path from the root"))?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return if text == "//" {
            Err(refused("has an empty segment"))
        } else {
            Ok(String::new())
        };
    }
    for segment in path.split('/') {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        match segment {
            "" => return Err(refused("has an empty segment")),
            "." | ".." => return Err(refused("has a . or .. segment")),
            _ if segment.bytes().all(plain) => {}
            _ => return Err(refused("has special characters")),
        }
    }
    Ok(format!("/{path}"))
}

fn url(text: &str) -> Result<Uri, Wrong> {
    let refused = |problem: &str| {
        wrong(
            problem,
            "write http://HOST:PORT or https://HOST:PORT, with a path if Prometheus has one",
        )
    };
    if text.contains('@') {
        return Err(wrong(
            "has a user name or password",
            "use bearerTokenFile or headers",
        ));
    }
    if text.contains(['?', '#']) {
        return Err(refused("has a query or fragment"));
    }
    let uri: Uri = text.parse().map_err(|_| refused("is not a URL"))?;
    let scheme = match uri.scheme_str() {
        Some(scheme @ ("http" | "https")) => scheme,
        _ => return Err(refused("does not start with http:// or https://")),
    };
    let authority = uri.authority().ok_or_else(|| refused("has no host"))?;
    let host = authority.host();
    if !is_host(host.trim_start_matches('[').trim_end_matches(']')) {
        return Err(refused("has a host that is not a host name or IP address"));
    }
    let port = &authority.as_str()[host.len()..];
    if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
        return Err(refused("has a port that is not from 1 to 65535"));
    }
    let path = plain_path(uri.path())?;
    format!("{scheme}://{authority}{path}")
        .parse()
        .map_err(|_| refused("is not a URL"))
}
