//! Media types: those that each endpoint may answer with, and the formats of federation. A caller always gets a type of
//! ours, as a browser might misinterpret another.

use http::header::{ACCEPT, HeaderMap, HeaderValue};

use crate::prometheus::Endpoint;

static JSON: HeaderValue = HeaderValue::from_static("application/json");
static TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The format of federated samples. Native histograms exist in protocol buffers only, and names with any Unicode text
/// only where they are not escaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Exposition {
    protobuf: bool,
    utf8: bool,
}

/// What is asked for, and what the caller is told, by [`Exposition::index`].
static EXPOSITIONS: [(HeaderValue, HeaderValue); 4] = [
    (
        HeaderValue::from_static("text/plain;version=0.0.4"),
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    ),
    (
        HeaderValue::from_static("text/plain;version=1.0.0;escaping=allow-utf-8"),
        HeaderValue::from_static("text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
    ),
    (
        HeaderValue::from_static(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
        ),
        HeaderValue::from_static(
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
        ),
    ),
    (
        HeaderValue::from_static(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=allow-utf-8",
        ),
        HeaderValue::from_static(
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=allow-utf-8",
        ),
    ),
];

impl Exposition {
    /// The format that a caller prefers among those that there are; text if it accepts none.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let mut best: Option<(f32, Self)> = None;
        for media in MediaType::accepted(headers) {
            let weight = media.parameter("q").map_or(Ok(1.0), str::parse);
            let (Some(exposition), Ok(weight)) = (Self::of(&media), weight) else {
                continue;
            };
            if weight > best.map_or(0.0, |(best, _)| best) {
                best = Some((weight, exposition));
            }
        }
        best.map(|(_, exposition)| exposition).unwrap_or_default()
    }

    fn of(media: &MediaType<'_>) -> Option<Self> {
        let has = |name, value| media.parameter(name) == Some(value);
        let protobuf = media.is("application/vnd.google.protobuf")
            && has("proto", "io.prometheus.client.MetricFamily")
            && has("encoding", "delimited");
        let utf8 = has("escaping", "allow-utf-8");
        (protobuf || media.is("text/plain")).then_some(Self { protobuf, utf8 })
    }

    /// The value of `Accept` that asks for it.
    pub(super) fn wanted(self) -> &'static HeaderValue {
        &EXPOSITIONS[self.index()].0
    }

    fn index(self) -> usize {
        usize::from(self.protobuf) * 2 + usize::from(self.utf8)
    }
}

/// The type that a caller gets for a successful answer of this type. `None`: no known store answers so on this
/// endpoint.
pub(super) fn of_answer(
    endpoint: Endpoint,
    content_type: Option<&HeaderValue>,
) -> Option<&'static HeaderValue> {
    let media = content_type.and_then(MediaType::of);
    match endpoint {
        // A HEAD of Prometheus' has no type.
        Endpoint::Healthy | Endpoint::Ready => match media {
            None => content_type.is_none().then_some(&TEXT),
            Some(media) => media.is("text/plain").then_some(&TEXT),
        },
        Endpoint::Federate => Some(&EXPOSITIONS[Exposition::of(&media?)?.index()].1),
        // VictoriaMetrics' for a selector with a range, which is the usual JSON.
        Endpoint::Query if media.as_ref()?.is("application/stream+json") => Some(&JSON),
        _ => media?.is("application/json").then_some(&JSON),
    }
}

/// Whether it is that one type, and not a list of types.
pub(super) fn is(content_type: Option<&HeaderValue>, expected: &str) -> bool {
    content_type
        .and_then(MediaType::of)
        .is_some_and(|media| media.is(expected))
}

/// The type of an error in plain text.
pub(super) fn text() -> HeaderValue {
    TEXT.clone()
}

/// A media type with its parameters.
pub(crate) struct MediaType<'a>(&'a str);

impl<'a> MediaType<'a> {
    /// Those that `Accept` names.
    pub(crate) fn accepted(headers: &'a HeaderMap) -> impl Iterator<Item = Self> {
        let values = headers.get_all(ACCEPT).into_iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        texts.flat_map(|text| text.split(',')).map(Self)
    }

    fn of(value: &'a HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        (!text.contains(',')).then_some(Self(text))
    }

    /// Whether it is `expected`, whatever its parameters say.
    pub(crate) fn is(&self, expected: &str) -> bool {
        let name = self.0.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case(expected)
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.0.split(';').skip(1).find_map(|parameter| {
            let (other, value) = parameter.split_once('=')?;
            let is = other.trim().eq_ignore_ascii_case(name);
            is.then(|| value.trim().trim_matches('"'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

    fn accepted(accept: &str) -> &'static str {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).expect("a value"));
        Exposition::accepted(&headers)
            .wanted()
            .to_str()
            .expect("text")
    }

    #[test]
    fn federation_is_in_the_form_that_the_caller_likes_best() {
        let utf8 = format!("{PROTOBUF};escaping=allow-utf-8");
        for (accept, expected) in [
            ("*/*".to_owned(), "text/plain;version=0.0.4"),
            (
                "text/plain;version=0.0.4".to_owned(),
                "text/plain;version=0.0.4",
            ),
            (
                "text/html, application/json".to_owned(),
                "text/plain;version=0.0.4",
            ),
            (PROTOBUF.to_owned(), PROTOBUF),
            (PROTOBUF.replace(';', " ; "), PROTOBUF),
            (utf8.clone(), &utf8),
            // As Prometheus scrapes with native histograms, and without.
            (
                format!(
                    "{utf8};q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
                ),
                &utf8,
            ),
            (
                format!(
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,{utf8};q=0.4,\
                     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5"
                ),
                "text/plain;version=1.0.0;escaping=allow-utf-8",
            ),
            (format!("{PROTOBUF};q=0"), "text/plain;version=0.0.4"),
            (format!("{PROTOBUF};q=x"), "text/plain;version=0.0.4"),
            (
                "application/vnd.google.protobuf;encoding=text".to_owned(),
                "text/plain;version=0.0.4",
            ),
        ] {
            assert_eq!(accepted(&accept), expected, "{accept}");
        }
    }

    #[test]
    fn e29_known_types_pass_as_ours_and_no_others() {
        let told = |endpoint, value: &'static str| {
            of_answer(endpoint, Some(&HeaderValue::from_static(value)))
                .map(|value| value.to_str().expect("text"))
        };
        for value in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;a",
        ] {
            assert_eq!(told(Endpoint::Query, value), Some("application/json"));
            assert_eq!(told(Endpoint::Rules, value), Some("application/json"));
            assert_eq!(told(Endpoint::Federate, value), None);
            assert_eq!(told(Endpoint::Healthy, value), None);
        }
        let stream = "application/stream+json; charset=utf-8";
        assert_eq!(told(Endpoint::Query, stream), Some("application/json"));
        assert_eq!(told(Endpoint::QueryRange, stream), None);
        for value in [
            "application/json;a, text/html",
            "text/html",
            "application/javascript",
            "",
        ] {
            for endpoint in Endpoint::ALL {
                assert_eq!(told(*endpoint, value), None, "{value}");
            }
        }
        for (value, expected) in [
            ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
            (
                "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
                "text/plain; version=0.0.4; charset=utf-8",
            ),
            (
                "text/plain; version=0.0.4; escaping=allow-utf-8; evil=x",
                "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            ),
            (
                PROTOBUF,
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            ),
        ] {
            assert_eq!(told(Endpoint::Federate, value), Some(expected));
        }
        assert_eq!(
            told(Endpoint::Federate, "application/vnd.google.protobuf"),
            None
        );
        assert_eq!(
            told(Endpoint::Ready, "text/plain"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(of_answer(Endpoint::Query, None), None);
        assert_eq!(of_answer(Endpoint::Federate, None), None);
        assert!(of_answer(Endpoint::Healthy, None).is_some());
    }
}
