//! Any lines as `Cookie` headers: no token, or the one that the chunks of one cluster make, whatever else is there and in
//! whatever order they come.

#![no_main]

use std::collections::BTreeMap;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use prom_rbac_proxy::authn::{CredentialError, MAX_TOKEN_BYTES, Sources};

const PREFIX: &str = "headlamp-auth-";

fn headers<'v>(values: impl Iterator<Item = &'v HeaderValue>) -> HeaderMap {
    values.map(|value| (COOKIE, value.clone())).collect()
}

fn read(headers: &HeaderMap) -> Result<String, CredentialError> {
    let sources = Sources {
        headers: vec![AUTHORIZATION],
        headlamp_cookie: true,
    };
    let token = sources.token(headers)?;
    Ok(token.expose().to_owned())
}

/// All chunks by cluster and index, if none is there twice.
fn chunks(values: &[HeaderValue]) -> Option<BTreeMap<(String, String), String>> {
    let mut chunks = BTreeMap::new();
    for value in values {
        let text = String::from_utf8_lossy(value.as_bytes());
        for pair in text.split(';') {
            let Some(rest) = pair.trim_ascii_start().strip_prefix(PREFIX) else {
                continue;
            };
            let (name, value) = rest.split_once('=')?;
            let (cluster, index) = name.rsplit_once('.')?;
            let key = (cluster.to_owned(), index.to_owned());
            if chunks.insert(key, value.to_owned()).is_some() {
                return None;
            }
        }
    }
    Some(chunks)
}

fuzz_target!(|input: &[u8]| {
    let values: Vec<HeaderValue> = input
        .split(|&byte| byte == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    let found = read(&headers(values.iter()));
    if let Ok(token) = &found {
        assert!(!token.is_empty() && token.len() <= MAX_TOKEN_BYTES);
        let chunks = chunks(&values).expect("what is read in two ways is refused");
        let mut clusters: Vec<_> = chunks.keys().map(|(cluster, _)| cluster).collect();
        clusters.dedup();
        let [cluster] = clusters[..] else {
            panic!("one cluster, and not {clusters:?}");
        };
        let joined: String = (0..)
            .map_while(|index: u32| chunks.get(&(cluster.clone(), index.to_string())))
            .map(String::as_str)
            .collect();
        assert_eq!(*token, joined);
    }
    // Neither the order of the headers nor what is beside them says who somebody is.
    let reversed = read(&headers(values.iter().rev()));
    assert_eq!(reversed.is_ok(), found.is_ok());
    if let (Ok(reversed), Ok(found)) = (reversed, found) {
        assert_eq!(reversed, found);
    }
});
