//! `Status` objects: how the API server says no.

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::authentication::User;
use super::kinds::{Kind, qualified};
use super::request::RequestInfo;
use crate::body::{self, Body};

/// A refusal, as the API server words it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) details: Option<Value>,
}

impl Status {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The answer to a path that no one serves.
    pub(crate) fn no_such_path() -> Self {
        Self {
            details: Some(json!({})),
            ..Self::new(
                404,
                "NotFound",
                "the server could not find the requested resource",
            )
        }
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        Self {
            details: Some(details(kind, name)),
            ..Self::new(
                404,
                "NotFound",
                format!("{} \"{name}\" not found", kind.qualified()),
            )
        }
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        Self {
            details: Some(details(kind, name)),
            ..Self::new(
                409,
                "AlreadyExists",
                format!("{} \"{name}\" already exists", kind.qualified()),
            )
        }
    }

    pub(crate) fn conflict(kind: &Kind, name: &str) -> Self {
        Self {
            details: Some(details(kind, name)),
            ..Self::new(
                409,
                "Conflict",
                format!(
                    "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; \
                     please apply your changes to the latest version and try again",
                    kind.qualified()
                ),
            )
        }
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self {
            details: Some(json!({})),
            ..Self::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            )
        }
    }

    /// A field of an object that is not acceptable; `kind` is in the form `Kind.group`.
    pub(crate) fn invalid(group: &str, kind: &str, name: &str, field: &str, value: &str) -> Self {
        Self::invalid_fields(group, kind, name, &[(field, value.to_owned())])
    }

    /// The same with several fields, each with what is wrong with it.
    pub(crate) fn invalid_fields(
        group: &str,
        kind: &str,
        name: &str,
        faults: &[(&str, String)],
    ) -> Self {
        let cause = |(field, value): &(&str, String)| json!({"reason": "FieldValueInvalid", "message": value, "field": field});
        let mut details = json!({ "causes": faults.iter().map(cause).collect::<Vec<_>>() });
        for (key, value) in [("group", group), ("kind", kind), ("name", name)] {
            if !value.is_empty() {
                details[key] = value.into();
            }
        }
        let qualified = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let texts: Vec<_> = faults
            .iter()
            .map(|(field, value)| format!("{field}: {value}"))
            .collect();
        let texts = match texts.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        Self {
            details: Some(details),
            ..Self::new(
                422,
                "Invalid",
                format!("{qualified} \"{name}\" is invalid: {texts}"),
            )
        }
    }

    /// The caller may not do this; `reason` is what the authorizer adds, mostly nothing.
    pub(crate) fn forbidden(user: &User, info: &RequestInfo, reason: &str) -> Self {
        let suffix = if reason.is_empty() {
            String::new()
        } else {
            format!(": {reason}")
        };
        let username = &user.username;
        if !info.is_resource {
            let message = format!(
                "forbidden: User \"{username}\" cannot {} path \"{}\"{suffix}",
                info.verb, info.path
            );
            return Self {
                details: Some(json!({})),
                ..Self::new(403, "Forbidden", message)
            };
        }
        let resource = qualified(&info.group, &info.resource);
        let object = if info.name.is_empty() {
            resource
        } else {
            format!("{resource} \"{}\"", info.name)
        };
        let place = if info.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", info.namespace)
        };
        let mut details = json!({"kind": info.resource});
        if !info.group.is_empty() {
            details["group"] = info.group.clone().into();
        }
        if !info.name.is_empty() {
            details["name"] = info.name.clone().into();
        }
        let message = format!(
            "{object} is forbidden: User \"{username}\" cannot {} resource \"{}\" in API group \
             \"{}\" {place}{suffix}",
            info.verb,
            info.combined_resource(),
            info.group
        );
        Self {
            details: Some(details),
            ..Self::new(403, "Forbidden", message)
        }
    }

    pub(crate) fn object(&self) -> Value {
        let mut object = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if let Some(details) = &self.details {
            object["details"] = details.clone();
        }
        object
    }

    pub(crate) fn response(&self) -> Response<Body> {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json_response(code, &self.object());
        if code == StatusCode::FORBIDDEN {
            response.headers_mut().insert(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            );
        }
        response
    }
}

fn details(kind: &Kind, name: &str) -> Value {
    let mut details = json!({"name": name, "kind": kind.resource});
    if !kind.group.is_empty() {
        details["group"] = kind.group.into();
    }
    details
}

/// A JSON answer with the headers that the API server gives to all of them.
pub(crate) fn json_response(code: StatusCode, value: &Value) -> Response<Body> {
    let mut text = value.to_string();
    text.push('\n');
    let mut response = Response::new(body::full(text));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    response
}
