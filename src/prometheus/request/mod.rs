//! A request to Prometheus, read once: endpoint, and parameters from URL and form together.
//!
//! It is not restricted yet, so nothing here can be sent anywhere; `upstream::request` makes of it what can.

mod error;
mod live;

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::Method;

pub use self::error::RequestError;
pub use self::live::Live;
use super::endpoint::{Endpoint, Kind};
use super::form;
use super::path::LabelName;
use super::time;
use crate::namespace::{Namespace, NamespaceSet};

/// What a request may ask for.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    /// Longest query or selector, in bytes.
    pub max_query_bytes: usize,
    /// Most selectors. Prometheus answers them one after the other.
    pub max_selectors: usize,
    /// Most parameters.
    pub max_parameters: usize,
    /// Longest value of a parameter that is neither a query nor a selector, in bytes.
    pub max_parameter_bytes: usize,
    /// Longest range from `start` to `end`. `None`: no limit.
    pub max_range: Option<Duration>,
    /// Most points of one series, as Prometheus counts them. `None`: no limit.
    pub max_points: Option<u32>,
    /// Names of parameters that narrow an answer to the namespaces that they name.
    pub namespace_parameters: Vec<String>,
}

/// What an upstream takes besides what Prometheus takes. Default: nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accepted<'a> {
    /// Names of further parameters that pass.
    pub parameters: &'a [String],
    /// That it speaks MetricsQL, whose times may be relative to this one.
    pub metricsql: Option<SystemTime>,
}

/// What is asked of Prometheus, as the caller wrote it, every part of it read and bounded. A time that was relative to
/// now is the one that it meant.
#[derive(Clone, Debug)]
pub struct PrometheusRequest {
    endpoint: Endpoint,
    label: Option<LabelName>,
    expression: Option<String>,
    selectors: Vec<String>,
    others: Vec<(Cow<'static, str>, String)>,
    narrowed: Option<NamespaceSet>,
    metricsql: bool,
    points: u64,
}

/// An endpoint that was found, whose parameters are still to be read.
#[derive(Clone, Debug)]
pub struct Target {
    endpoint: Endpoint,
    label: Option<LabelName>,
}

impl Target {
    /// Finds the endpoint that `path` (after all prefixes) and `method` name.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(path: &str, method: &Method) -> Result<Self, RequestError> {
        let (endpoint, label) = Endpoint::find(path).ok_or(RequestError::UnknownEndpoint)?;
        let methods = endpoint.methods();
        if !methods.allow(method) {
            return Err(RequestError::Method {
                endpoint: endpoint.name(),
                allow: methods.as_str(),
            });
        }
        let label = label.map(LabelName::parse).transpose()?;
        Ok(Self { endpoint, label })
    }

    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Reads the parameters of URL and body together. What neither the endpoint knows nor the upstream accepts is
    /// dropped.
    ///
    /// # Errors
    /// When a parameter is malformed, there twice, or past a limit.
    pub fn read(
        self,
        query: &str,
        body: &[u8],
        accepted: Accepted<'_>,
        limits: &RequestLimits,
    ) -> Result<PrometheusRequest, RequestError> {
        let Self { endpoint, label } = self;
        let mut request = PrometheusRequest {
            endpoint,
            label,
            expression: None,
            selectors: Vec::new(),
            others: Vec::new(),
            narrowed: None,
            metricsql: accepted.metricsql.is_some(),
            points: 1,
        };
        let mut narrowed = Vec::new();
        for (count, pair) in form::pairs(query.as_bytes())
            .chain(form::pairs(body))
            .enumerate()
        {
            if count == limits.max_parameters {
                let limit = limits.max_parameters;
                return Err(RequestError::TooManyParameters { limit });
            }
            let (name, value) = pair?;
            if limits.namespace_parameters.iter().any(|one| *one == name) {
                narrowed.push(namespace(endpoint, &name, &value)?);
                continue;
            }
            request.take(&name, value, accepted, limits)?;
        }
        request.narrowed = NamespaceSet::new(narrowed);
        if endpoint.parameter("query").is_some() && request.expression.is_none() {
            return Err(RequestError::NoQuery);
        }
        request.points = request.check_range(limits)?;
        Ok(request)
    }
}

impl PrometheusRequest {
    /// The request of a GET of `/api/v1/query` with this expression and no other parameter.
    ///
    /// # Errors
    /// When it is past a limit.
    pub fn instant(expression: &str, limits: &RequestLimits) -> Result<Self, RequestError> {
        Self::get("/api/v1/query", &[("query", expression)], limits)
    }

    /// The request of a GET of this path, with these parameters.
    ///
    /// # Errors
    /// When there is no such endpoint, or a parameter is malformed or past a limit.
    pub fn get(
        path: &str,
        parameters: &[(&str, &str)],
        limits: &RequestLimits,
    ) -> Result<Self, RequestError> {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(parameters)
            .finish();
        let target = Target::find(path, &Method::GET)?;
        target.read(&query, b"", Accepted::default(), limits)
    }

    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The label of [`Endpoint::LabelValues`].
    pub fn label(&self) -> Option<&LabelName> {
        self.label.as_ref()
    }

    /// The PromQL expression; there on every endpoint that has one.
    pub fn expression(&self) -> Option<&str> {
        self.expression.as_deref()
    }

    /// The selectors of `match[]`.
    pub fn selectors(&self) -> &[String] {
        &self.selectors
    }

    /// Whether the upstream speaks MetricsQL.
    pub fn speaks_metricsql(&self) -> bool {
        self.metricsql
    }

    /// How many points of each series Prometheus computes for it; 1 for anything but a range query.
    pub fn points(&self) -> u64 {
        self.points
    }

    /// The namespaces that the answer is to be narrowed to, whoever the caller is.
    pub fn narrowed(&self) -> Option<&NamespaceSet> {
        self.narrowed.as_ref()
    }

    pub fn others(&self) -> impl Iterator<Item = (&str, &str)> {
        self.others
            .iter()
            .map(|(name, value)| (&**name, value.as_str()))
    }

    fn take(
        &mut self,
        name: &str,
        value: Cow<'_, str>,
        accepted: Accepted<'_>,
        limits: &RequestLimits,
    ) -> Result<(), RequestError> {
        let (name, kind) = match self.endpoint.parameter(name) {
            Some((name, kind)) => (Cow::Borrowed(name), kind),
            None if accepted.parameters.iter().any(|other| other == name) => {
                let kind = if name.ends_with("[]") {
                    Kind::Texts
                } else {
                    Kind::Text
                };
                (Cow::Owned(name.to_owned()), kind)
            }
            None => return Ok(()),
        };
        let limit = match kind {
            Kind::Expression | Kind::Selector => limits.max_query_bytes,
            _ => limits.max_parameter_bytes,
        };
        if value.len() > limit {
            return Err(match kind {
                Kind::Expression | Kind::Selector => RequestError::QueryTooLong {
                    bytes: value.len(),
                    limit,
                },
                _ => RequestError::TooLong { name, limit },
            });
        }
        match kind {
            Kind::Expression if self.expression.is_some() => {
                return Err(RequestError::Duplicate { name });
            }
            Kind::Expression => self.expression = Some(value.into_owned()),
            Kind::Selector if self.selectors.len() == limits.max_selectors => {
                return Err(RequestError::TooManySelectors {
                    limit: limits.max_selectors,
                });
            }
            Kind::Selector => self.selectors.push(value.into_owned()),
            _ if !kind.repeats() && self.others.iter().any(|(other, _)| *other == name) => {
                return Err(RequestError::Duplicate { name });
            }
            Kind::Time => {
                let relative = accepted.metricsql;
                let absolute = relative.and_then(|now| time::relative_to(now, &value));
                let value = absolute.unwrap_or_else(|| value.into_owned());
                self.others.push((name, value));
            }
            _ => self.others.push((name, value.into_owned())),
        }
        Ok(())
    }

    /// Checks the times that are asked for, and counts their points.
    fn check_range(&self, limits: &RequestLimits) -> Result<u64, RequestError> {
        let start = self.time("start")?;
        let end = self.time("end")?;
        self.time("time")?;
        let step = self.duration("step")?;
        for name in ["timeout", "lookback_delta"] {
            self.duration(name)?;
        }
        let (Some(start), Some(end)) = (start, end) else {
            return Ok(1);
        };
        let range = end - start;
        if let Some(limit) = limits.max_range
            && range > limit.as_secs_f64()
        {
            return Err(RequestError::Range {
                asked: range as u64,
                limit: limit.as_secs(),
            });
        }
        let Some(step) = step else { return Ok(1) };
        if step.is_zero() {
            return Err(RequestError::NotADuration { name: "step" });
        }
        // Counted as Prometheus does: whole steps, the first point left out.
        let points = range / step.as_secs_f64();
        if let Some(limit) = limits.max_points
            && points.floor() > f64::from(limit)
        {
            let step = (range / f64::from(limit)).ceil().max(1.0) as u64;
            return Err(RequestError::Points {
                asked: points as u64 + 1,
                limit,
                step,
            });
        }
        Ok((points as u64).saturating_add(1))
    }

    fn time(&self, name: &'static str) -> Result<Option<f64>, RequestError> {
        self.other(name)
            .map(|text| time::time(text).ok_or(RequestError::NotATime { name }))
            .transpose()
    }

    fn duration(&self, name: &'static str) -> Result<Option<Duration>, RequestError> {
        self.other(name)
            .map(|text| time::duration(text).ok_or(RequestError::NotADuration { name }))
            .transpose()
    }

    /// Where the asked time begins, in seconds since 1970. `None`: nothing is asked for, or about now.
    pub fn start(&self) -> Option<f64> {
        let name = match self.endpoint {
            Endpoint::Query => "time",
            _ => "start",
        };
        self.time(name).ok().flatten()
    }

    /// How long the caller lets Prometheus take.
    pub fn timeout(&self) -> Option<Duration> {
        self.duration("timeout").ok().flatten()
    }

    /// One of the other parameters. An empty value counts as none, as for Prometheus.
    pub fn other(&self, name: &str) -> Option<&str> {
        self.others()
            .find(|(other, value)| *other == name && !value.is_empty())
            .map(|(_, value)| value)
    }
}

/// The namespace that a parameter narrows the answer of an endpoint to.
fn namespace(endpoint: Endpoint, name: &str, value: &str) -> Result<Namespace, RequestError> {
    if !endpoint.reads().can_be_narrowed() {
        return Err(RequestError::NotNarrowed {
            name: name.to_owned(),
            endpoint: endpoint.name(),
        });
    }
    Namespace::parse(value).ok_or_else(|| RequestError::NotANamespace {
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests;
