//! Headlamp's cookie: the caller's token in chunks, named `headlamp-auth-<cluster>.<index>`.
//!
//! Headlamp cuts a token into chunks of 3,800 bytes and joins them from index 0 up to the first one that is
//! missing. So do we, and refuse whatever could be read in two ways.

use http::HeaderMap;
use http::header::COOKIE;

use super::credential::CredentialError;
use super::token::Token;

const PREFIX: &[u8] = b"headlamp-auth-";

/// Chunks of 3,800 bytes that a token of the longest accepted size has, and some to spare.
const MAX_CHUNKS: usize = 8;

/// Joins the token that Headlamp's cookies carry. `None` where there are none.
///
/// # Errors
/// When cookies of more than one cluster are there, a chunk is there twice or the first is missing, a name
/// is not one that Headlamp makes, or the whole is not a token.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<Token<'_>>, CredentialError> {
    let mut cluster: Option<&[u8]> = None;
    let mut chunks: [Option<&[u8]>; MAX_CHUNKS] = [None; MAX_CHUNKS];
    for pair in headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b';'))
    {
        let pair = pair.trim_ascii_start();
        let Some(rest) = pair.strip_prefix(PREFIX) else {
            continue;
        };
        let (name, value) = split_once(rest, b'=').ok_or(CredentialError::CookieMalformed)?;
        let dot = name
            .iter()
            .rposition(|&byte| byte == b'.')
            .ok_or(CredentialError::CookieMalformed)?;
        let (of_cluster, index) = (&name[..dot], chunk_index(&name[dot + 1..])?);
        if !is_cluster(of_cluster) {
            return Err(CredentialError::CookieMalformed);
        }
        if cluster.is_some_and(|other| other != of_cluster) {
            return Err(CredentialError::CookiesOfTwoClusters);
        }
        cluster = Some(of_cluster);
        if chunks[index].replace(value).is_some() {
            return Err(CredentialError::CookieChunkTwice);
        }
    }
    if cluster.is_none() {
        return Ok(None);
    }
    let first = chunks[0].ok_or(CredentialError::CookieWithoutFirstChunk)?;
    if chunks[1].is_none() {
        return Ok(Some(Token::parse(first)?));
    }
    let chunks = chunks.iter().map_while(|chunk| *chunk);
    let joined = chunks.collect::<Vec<_>>().concat();
    Ok(Some(Token::parse(&joined)?.into_owned()))
}

/// The index of a chunk as Headlamp writes it: decimal, no sign, no leading zero.
fn chunk_index(text: &[u8]) -> Result<usize, CredentialError> {
    match text {
        [digit @ b'0'..=b'9'] if usize::from(digit - b'0') < MAX_CHUNKS => {
            Ok(usize::from(digit - b'0'))
        }
        _ => Err(CredentialError::CookieMalformed),
    }
}

/// Headlamp strips the name of a cluster to these characters and cuts it at 50.
fn is_cluster(name: &[u8]) -> bool {
    (1..=50).contains(&name.len())
        && name
            .iter()
            .all(|&b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(cookies: &[&str]) -> Result<Option<String>, CredentialError> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(
                COOKIE,
                HeaderValue::from_bytes(cookie.as_bytes()).expect("a header value"),
            );
        }
        Ok(token(&headers)?.map(|token| token.expose().to_owned()))
    }

    #[test]
    fn t04_chunks_are_joined_in_order_up_to_the_first_gap() {
        for (cookies, expected) in [
            (&["headlamp-auth-main.0=A"][..], "A"),
            (&["headlamp-auth-main.1=B; headlamp-auth-main.0=A"], "AB"),
            (
                &[
                    "other=1; headlamp-auth-main.0=A",
                    "headlamp-auth-main.1=B; x=y",
                ],
                "AB",
            ),
            (&["headlamp-auth-main.0=A; headlamp-auth-main.2=C"], "A"),
            (&["headlamp-auth-a-b_C9.0=A=="], "A=="),
        ] {
            assert_eq!(
                read(cookies).expect("a token").as_deref(),
                Some(expected),
                "{cookies:?}"
            );
        }
    }

    #[test]
    fn t04_names_that_headlamp_does_not_write_are_refused() {
        for index in ["00", "+0", "-1", "0 ", "", "8", "99999999999999999999", "a"] {
            let cookie = format!("headlamp-auth-main.0=A; headlamp-auth-main.{index}=B");
            assert_eq!(
                read(&[&cookie]),
                Err(CredentialError::CookieMalformed),
                "{index:?}"
            );
        }
        for name in [
            "headlamp-auth-main",
            "headlamp-auth-.0",
            "headlamp-auth-a.b.0",
            "headlamp-auth-a b.0",
        ] {
            assert_eq!(
                read(&[&format!("{name}=A")]),
                Err(CredentialError::CookieMalformed),
                "{name:?}"
            );
        }
        assert_eq!(
            read(&["headlamp-auth-main.1=B"]),
            Err(CredentialError::CookieWithoutFirstChunk)
        );
    }

    #[test]
    fn t05_two_clusters_or_a_chunk_twice_are_refused() {
        let twice = Err(CredentialError::CookieChunkTwice);
        assert_eq!(read(&["headlamp-auth-x.0=A; headlamp-auth-x.0=Z"]), twice);
        assert_eq!(read(&["headlamp-auth-x.0=A", "headlamp-auth-x.0=A"]), twice);
        let clusters = Err(CredentialError::CookiesOfTwoClusters);
        assert_eq!(
            read(&["headlamp-auth-a.0=A; headlamp-auth-b.0=Z"]),
            clusters
        );
        assert_eq!(
            read(&["headlamp-auth-a.0=A; headlamp-auth-b.1=Z"]),
            clusters
        );
    }

    #[test]
    fn t07_values_are_taken_as_they_are() {
        for value in ["\"A\"", "A%0a", "", "A,B", "A B", "é"] {
            assert!(
                read(&[&format!("headlamp-auth-x.0={value}")]).is_err(),
                "{value:?}"
            );
        }
        assert_eq!(read(&["Headlamp-Auth-x.0=A; $Version=1; a=b=c"]), Ok(None));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(value in "[ -~]{0,80}") {
            let _ = read(&[&format!("headlamp-auth-{value}"), &value]);
        }
    }
}
