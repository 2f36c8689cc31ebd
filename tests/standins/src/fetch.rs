//! One GET without ceremony.

use std::io;

use http::{HeaderName, HeaderValue, Request, StatusCode};

use crate::{body, connect};

/// Status and body of a GET over plain HTTP, with one more header; 64 MiB at most. Certificates of
/// HTTPS servers are not checked.
///
/// # Errors
/// If the URL or header is none, or no whole answer comes.
pub async fn fetch(url: &str, header: Option<(&str, &str)>) -> io::Result<(StatusCode, String)> {
    let mut request = Request::get(url)
        .body(body::empty())
        .map_err(io::Error::other)?;
    if let Some((name, value)) = header {
        let name = HeaderName::try_from(name).map_err(io::Error::other)?;
        let value = HeaderValue::from_str(value).map_err(io::Error::other)?;
        request.headers_mut().insert(name, value);
    }
    let response = connect::unverified()
        .request(request)
        .await
        .map_err(io::Error::other)?;
    let status = response.status();
    let bytes = body::read(response.into_body(), 64 * 1024 * 1024)
        .await
        .map_err(io::Error::other)?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}
