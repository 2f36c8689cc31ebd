//! `Impersonate-*`: a caller acts as someone else, if roles allow each part of it.

use std::collections::BTreeMap;

use http::HeaderMap;

use super::authentication::{AUTHENTICATED, User};
use super::rbac::{Attributes, authorize};
use super::request::RequestInfo;
use super::status::Status;
use super::store::Store;

const EXTRA_PREFIX: &str = "impersonate-extra-";

/// Applies `Impersonate-*`: the caller needs `impersonate` on each part.
pub(crate) fn impersonate(headers: &HeaderMap, user: User, store: &Store) -> Result<User, Status> {
    let values = |name: &str| -> Vec<String> {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect()
    };
    let username = values("impersonate-user")
        .into_iter()
        .next()
        .unwrap_or_default();
    let uid = values("impersonate-uid")
        .into_iter()
        .next()
        .unwrap_or_default();
    let mut groups = values("impersonate-group");
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA_PREFIX), value.to_str()) {
            extra
                .entry(crate::path::decode(key))
                .or_default()
                .push(value.to_owned());
        }
    }
    if username.is_empty() && uid.is_empty() && groups.is_empty() && extra.is_empty() {
        return Ok(user);
    }
    if username.is_empty() {
        return Err(Status::bad_request(
            "requested impersonation without impersonating a user",
        ));
    }
    let account = username
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    let mut needed = match account {
        Some((namespace, name)) => vec![wanted("serviceaccounts", "", namespace, name)],
        None => vec![wanted("users", "", "", &username)],
    };
    needed.extend(groups.iter().map(|group| wanted("groups", "", "", group)));
    if !uid.is_empty() {
        needed.push(wanted("uids", "", "", &uid));
    }
    for (key, values) in &extra {
        needed.extend(
            values
                .iter()
                .map(|value| wanted("userextras", key, "", value)),
        );
    }
    for attributes in needed {
        let decision = authorize(store, &user, &attributes);
        if !decision.allowed {
            return Err(refused(&user, &attributes, &decision.reason));
        }
    }
    if let (Some((namespace, name)), true) = (account, groups.is_empty()) {
        groups = User::service_account(namespace, name).groups;
    }
    if !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    Ok(User {
        username,
        uid,
        groups,
        extra,
    })
}

fn wanted(resource: &str, subresource: &str, namespace: &str, name: &str) -> Attributes {
    let group = match resource {
        "uids" | "userextras" => "authentication.k8s.io",
        _ => "",
    };
    Attributes {
        verb: "impersonate".to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        path: None,
    }
}

fn refused(user: &User, attributes: &Attributes, reason: &str) -> Status {
    let info = RequestInfo {
        verb: attributes.verb.clone(),
        is_resource: true,
        group: attributes.group.clone(),
        resource: attributes.resource.clone(),
        subresource: attributes.subresource.clone(),
        namespace: attributes.namespace.clone(),
        name: attributes.name.clone(),
        ..Default::default()
    };
    Status::forbidden(user, &info, reason)
}
