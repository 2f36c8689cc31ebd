//! What a request asks for, read from its method and path the way the API server does before it
//! authorizes.

use http::Method;

use super::selector;
use crate::path;

/// A request's attributes. All text is decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the
    /// lower-case method for paths that are no resource.
    pub verb: String,
    /// Whether the path names a resource.
    pub is_resource: bool,
    /// The decoded path.
    pub path: String,
    /// API group; `""` is core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace, or `""`.
    pub namespace: String,
    /// Resource, as `pods`.
    pub resource: String,
    /// Subresource, or `""`.
    pub subresource: String,
    /// Object name, or `""`.
    pub name: String,
    /// What follows `/proxy`: `""` or a path with its leading slash, neither cleaned nor encoded.
    pub remainder: String,
}

impl RequestInfo {
    /// Reads a request line.
    pub(crate) fn of(method: &Method, raw_path: &str, query: &str) -> Self {
        let decoded = path::decode(raw_path);
        let parts: Vec<&str> = decoded.trim_matches('/').split('/').collect();
        let mut info = Self {
            path: decoded.clone(),
            verb: method.as_str().to_ascii_lowercase(),
            ..Self::default()
        };
        let rest = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                info.version = (*version).to_owned();
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                info.group = (*group).to_owned();
                info.version = (*version).to_owned();
                rest
            }
            _ => return info,
        };
        info.is_resource = true;
        let rest = info.take_namespace(rest);
        info.resource = text(rest, 0);
        info.name = text(rest, 1);
        info.subresource = text(rest, 2);
        if rest.len() > 3 {
            info.remainder = format!("/{}", rest[3..].join("/"));
        }
        if info.subresource == "proxy" && decoded.ends_with('/') {
            info.remainder.push('/');
        }
        info.verb = verb(method, &mut info, query);
        info
    }

    /// `namespaces/NS/pods/..` is about pods, `namespaces/NS` and `namespaces/NS/status` about
    /// the namespace itself; both are requests in that namespace.
    fn take_namespace<'a, 'b>(&mut self, rest: &'a [&'b str]) -> &'a [&'b str] {
        match rest {
            ["namespaces", namespace, resource, ..]
                if !matches!(*resource, "status" | "finalize") =>
            {
                self.namespace = (*namespace).to_owned();
                &rest[2..]
            }
            ["namespaces", namespace, ..] => {
                self.namespace = (*namespace).to_owned();
                rest
            }
            _ => rest,
        }
    }

    /// `pods`, `services/proxy`.
    pub fn combined_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

fn text(parts: &[&str], index: usize) -> String {
    parts
        .get(index)
        .map_or_else(String::new, |part| (*part).to_owned())
}

fn verb(method: &Method, info: &mut RequestInfo, query: &str) -> String {
    let verb = match method.as_str() {
        "GET" | "HEAD" if !info.name.is_empty() => "get",
        "GET" | "HEAD" => {
            // A list of the one object that a field selector names is authorized by that name.
            if let Some(name) = selector::single_name(query) {
                info.name = name;
            }
            if is_watch(query) { "watch" } else { "list" }
        }
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if info.name.is_empty() => "deletecollection",
        "DELETE" => "delete",
        other => return other.to_ascii_lowercase(),
    };
    verb.to_owned()
}

fn is_watch(query: &str) -> bool {
    parameter(query, "watch").is_some_and(|value| !matches!(&*value, "0" | "false" | "False"))
}

/// The first value of a query parameter, decoded.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::RequestInfo;

    fn get(path: &str, query: &str) -> RequestInfo {
        RequestInfo::of(&Method::GET, path, query)
    }

    #[test]
    fn a_proxied_path_keeps_what_follows_proxy() {
        let info = get(
            "/api/v1/namespaces/m/services/prom:9090/proxy/a%2Fb//c/",
            "",
        );
        assert_eq!(info.combined_resource(), "services/proxy");
        assert_eq!((&*info.name, &*info.namespace), ("prom:9090", "m"));
        assert_eq!(info.remainder, "/a/b//c/");
        assert_eq!(get("/api/v1/namespaces/m/pods/p/proxy", "").remainder, "");
        assert_eq!(get("/api/v1/namespaces/m/pods/p/proxy/", "").remainder, "/");
    }

    #[test]
    fn a_namespace_is_requested_in_itself() {
        let info = get("/api/v1/namespaces/team-a", "");
        assert_eq!(
            (&*info.resource, &*info.namespace),
            ("namespaces", "team-a")
        );
        assert_eq!(info.verb, "get");
        assert_eq!(get("/api/v1/namespaces", "watch=1").verb, "watch");
    }

    #[test]
    fn groups_and_other_paths_are_told_apart() {
        let info = get("/apis/apps/v1/namespaces/a/deployments", "");
        assert_eq!((&*info.group, &*info.verb), ("apps", "list"));
        for path in ["/api", "/api/v1", "/apis/apps/v1", "/healthz", "/"] {
            assert!(!get(path, "").is_resource, "{path}");
        }
    }

    #[test]
    fn a_field_selector_on_the_name_is_the_name() {
        assert_eq!(
            get("/api/v1/pods", "fieldSelector=metadata.name%3Dx").name,
            "x"
        );
    }
}
