//! Where a request carries its token: a header first, else Headlamp's cookie. Never both, never a guess.

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::cookie;
use super::token::{MAX_TOKEN_BYTES, MalformedToken, Token};

/// Where tokens are looked for.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The headers, in order of preference. `Authorization` holds `Bearer TOKEN`; any other the token
    /// itself, with or without the scheme.
    pub headers: Vec<HeaderName>,
    /// Whether Headlamp's cookie is read where no header is there.
    pub headlamp_cookie: bool,
}

/// What carries a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Header,
    Cookie,
}

impl Sources {
    /// What carries the token of a request, if anything does: a cookie is looked at where no header is there.
    pub fn carrier(&self, headers: &HeaderMap) -> Carrier {
        let in_header = self.headers.iter().any(|name| headers.contains_key(name));
        if !in_header && self.headlamp_cookie && headers.contains_key(COOKIE) {
            Carrier::Cookie
        } else {
            Carrier::Header
        }
    }

    /// Finds the one token of a request.
    ///
    /// A header that is there decides: when it is not usable, the cookie is not asked instead, since the
    /// answer would then be for somebody whom the header does not name.
    ///
    /// # Errors
    /// When there is no token, or what is there is not exactly one.
    pub fn token<'h>(&self, headers: &'h HeaderMap) -> Result<Token<'h>, CredentialError> {
        for name in &self.headers {
            let mut values = headers.get_all(name).iter();
            let Some(value) = values.next() else { continue };
            if values.next().is_some() {
                return Err(CredentialError::HeaderTwice {
                    header: name.clone(),
                });
            }
            let token = match bearer(value.as_bytes()) {
                Some(token) => token,
                None if *name == AUTHORIZATION => return Err(CredentialError::NotBearer),
                None => value.as_bytes(),
            };
            return Ok(Token::parse(token)?);
        }
        let token = if self.headlamp_cookie {
            cookie::token(headers)?
        } else {
            None
        };
        token.ok_or_else(|| {
            if proxied_by_api_server(headers) {
                return CredentialError::Stripped;
            }
            CredentialError::Missing {
                cookie_read: self.headlamp_cookie,
            }
        })
    }
}

/// Whether the API server's proxy says that it passed this on. Anybody can say so: nothing but the words of a refusal
/// may follow from it.
fn proxied_by_api_server(headers: &HeaderMap) -> bool {
    let path = headers.get("x-forwarded-uri").map(HeaderValue::as_bytes);
    let path = path.and_then(|path| path.strip_prefix(b"/api/v1/namespaces/"));
    let mut segments = path.unwrap_or_default().split(|byte| *byte == b'/');
    segments.next();
    let resource = segments.next();
    segments.next();
    matches!(resource, Some(b"services" | b"pods")) && segments.next() == Some(b"proxy")
}

/// What follows the scheme `Bearer` (RFC 6750; schemes know no case) and exactly one space.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Why a request has no usable token. Answered with 401, and without asking Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// No header and no cookie.
    #[error("this request carries no token: send \"Authorization: Bearer TOKEN\"{}", if *.cookie_read { ", or sign in to Headlamp so that its cookie carries it" } else { "" })]
    Missing {
        /// Whether a cookie would have been taken.
        cookie_read: bool,
    },
    /// The same, for a request that the API server's proxy has passed on.
    #[error(
        "this request carries no token, and cannot carry one in Authorization, which the API server removes from what it proxies: use the gateway of prom-rbac-proxy with kubectl, Lens and other clients, or Headlamp, whose cookie gets through"
    )]
    Stripped,
    /// The scheme of `Authorization` is another, or the header is of another form.
    #[error(
        "the Authorization header is not of the form \"Bearer TOKEN\"; other schemes are not accepted"
    )]
    NotBearer,
    /// The same header more than once.
    #[error("the header {header} is there more than once: send exactly one")]
    HeaderTwice { header: HeaderName },
    /// Cookies of two clusters.
    #[error(
        "there are Headlamp cookies of two clusters, and nothing says which one is meant: sign out of one of them, or send an Authorization header"
    )]
    CookiesOfTwoClusters,
    /// One chunk twice.
    #[error("a chunk of Headlamp's cookie is there twice: sign out of Headlamp and in again")]
    CookieChunkTwice,
    /// Later chunks without the first.
    #[error("the first chunk of Headlamp's cookie is missing: sign out of Headlamp and in again")]
    CookieWithoutFirstChunk,
    /// A cookie with Headlamp's prefix that Headlamp would not write.
    #[error("a Headlamp cookie is malformed: sign out of Headlamp and in again")]
    CookieMalformed,
    /// The token is too long to be reviewed.
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes, the most that is accepted")]
    TokenTooLong,
    /// The token is empty or has characters that none has.
    #[error("the token is empty or holds characters that no bearer token has")]
    TokenMalformed,
}

impl From<MalformedToken> for CredentialError {
    fn from(malformed: MalformedToken) -> Self {
        match malformed {
            MalformedToken::TooLong => Self::TokenTooLong,
            MalformedToken::Empty | MalformedToken::Characters => Self::TokenMalformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-access-token");

    fn read(headers: &[(HeaderName, &str)]) -> Result<(String, Carrier), CredentialError> {
        let sources = Sources {
            headers: vec![AUTHORIZATION, FORWARDED],
            headlamp_cookie: true,
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                name,
                HeaderValue::from_bytes(value.as_bytes()).expect("a header value"),
            );
        }
        let token = sources.token(&map)?;
        Ok((token.expose().to_owned(), sources.carrier(&map)))
    }

    #[test]
    fn t01_the_scheme_knows_no_case_and_one_space_follows() {
        for value in ["Bearer X", "bearer X", "BEARER X"] {
            assert_eq!(
                read(&[(AUTHORIZATION, value)]),
                Ok(("X".to_owned(), Carrier::Header)),
                "{value:?}"
            );
        }
        for value in [
            "Bearer  X",
            "Bearer\tX",
            "Bearer",
            "Bearer ",
            "BearerX",
            "Basic X",
            "Token X",
            "Negotiate X",
            "X",
            "",
            "Bearer a b",
            "Bearer A, Bearer Z",
        ] {
            assert!(read(&[(AUTHORIZATION, value)]).is_err(), "{value:?}");
        }
    }

    #[test]
    fn t02_two_authorization_headers_are_refused() {
        for (first, second) in [("A", "Z"), ("Z", "A"), ("A", "A")] {
            let (first, second) = (format!("Bearer {first}"), format!("Bearer {second}"));
            let error = read(&[(AUTHORIZATION, &first), (AUTHORIZATION, &second)]);
            assert_eq!(
                error,
                Err(CredentialError::HeaderTwice {
                    header: AUTHORIZATION
                })
            );
        }
    }

    #[test]
    fn t03_a_header_that_is_there_decides() {
        let cookie = (COOKIE, "headlamp-auth-main.0=Z");
        assert_eq!(
            read(&[(AUTHORIZATION, "Bearer A"), cookie.clone()]),
            Ok(("A".to_owned(), Carrier::Header))
        );
        assert_eq!(
            read(&[(AUTHORIZATION, "Basic A"), cookie.clone()]),
            Err(CredentialError::NotBearer)
        );
        assert_eq!(
            read(&[(FORWARDED, "a b"), cookie.clone()]),
            Err(CredentialError::TokenMalformed)
        );
        assert_eq!(read(&[cookie]), Ok(("Z".to_owned(), Carrier::Cookie)));
    }

    #[test]
    fn another_header_holds_the_token_with_or_without_the_scheme() {
        for value in ["X", "Bearer X"] {
            assert_eq!(
                read(&[(FORWARDED, value)]),
                Ok(("X".to_owned(), Carrier::Header))
            );
        }
    }

    #[test]
    fn t24_other_carriers_are_not_looked_at() {
        for name in [
            "proxy-authorization",
            "x-auth-token",
            "sec-websocket-protocol",
        ] {
            let error = read(&[(HeaderName::from_static(name), "Bearer X")]);
            assert_eq!(
                error,
                Err(CredentialError::Missing { cookie_read: true }),
                "{name}"
            );
        }
    }

    #[test]
    fn kubectl_over_the_api_server_is_not_told_to_send_what_cannot_arrive() {
        let missing = CredentialError::Missing { cookie_read: true };
        let path = "/api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy";
        for (uri, expected) in [
            (format!("{path}/api/v1/query"), CredentialError::Stripped),
            (path.to_owned(), CredentialError::Stripped),
            (
                "/api/v1/namespaces/m/pods/p/proxy/-/ready".to_owned(),
                CredentialError::Stripped,
            ),
            ("/api/v1/query".to_owned(), missing.clone()),
            (
                "/api/v1/namespaces/m/services/p/query".to_owned(),
                missing.clone(),
            ),
            ("/api/v1/namespaces/".to_owned(), missing.clone()),
        ] {
            let header = HeaderName::from_static("x-forwarded-uri");
            assert_eq!(read(&[(header.clone(), &uri)]), Err(expected), "{uri}");
            // A token that arrives counts, however it came.
            let with_token = [(header, uri.as_str()), (FORWARDED, "abc.def")];
            assert!(read(&with_token).is_ok(), "{uri}");
        }
    }
}
