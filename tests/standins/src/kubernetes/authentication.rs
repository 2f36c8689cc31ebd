//! Who a request comes from: bearer tokens, issued or static, and anonymity. Client certificates
//! and other authenticators are left out.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, header};
use serde_json::{Value, json};

use super::status::Status;
use super::store::{Store, text};
use crate::{clock, random};

/// The API server's own audience, which a token has unless another was asked for.
pub const DEFAULT_AUDIENCE: &str = "https://kubernetes.default.svc";

pub(crate) const AUTHENTICATED: &str = "system:authenticated";

/// A user as reviews and authorization see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Never empty for an authenticated user.
    pub username: String,
    /// May be empty.
    pub uid: String,
    /// With `system:authenticated` added when the user has authenticated.
    pub groups: Vec<String>,
    /// Values per key.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user without uid, groups or extra.
    pub fn named(username: &str) -> Self {
        Self {
            username: username.to_owned(),
            ..Self::default()
        }
    }

    /// The ServiceAccount of that namespace and name, with the groups it always has.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            username: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                AUTHENTICATED.to_owned(),
            ],
            ..Self::default()
        }
    }

    pub(crate) fn anonymous() -> Self {
        Self {
            username: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Self::default()
        }
    }

    /// The `UserInfo` of reviews; what is empty is left out.
    pub fn object(&self) -> Value {
        let mut object = json!({"username": self.username});
        if !self.uid.is_empty() {
            object["uid"] = self.uid.clone().into();
        }
        if !self.groups.is_empty() {
            object["groups"] = self.groups.clone().into();
        }
        if !self.extra.is_empty() {
            object["extra"] = json!(self.extra);
        }
        object
    }
}

/// What a token stands for.
#[derive(Clone)]
enum Credential {
    Static(User),
    Issued(Issued),
}

#[derive(Clone)]
struct Issued {
    namespace: String,
    name: String,
    uid: String,
    audiences: Vec<String>,
    expires: u64,
    id: String,
    pod: Option<(String, String)>,
}

/// A token as it was asked for.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// Empty: the API server's own.
    pub audiences: Vec<String>,
    /// Lifetime in seconds. The subresource refuses less than 600; the handle does not.
    pub seconds: u64,
    /// The pod it is bound to: name and uid.
    pub pod: Option<(String, String)>,
}

impl Default for TokenRequest {
    fn default() -> Self {
        Self {
            audiences: Vec::new(),
            seconds: 3600,
            pod: None,
        }
    }
}

/// A token's user and the audiences it is good for, of those asked.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) user: User,
    pub(crate) audiences: Vec<String>,
}

/// Every token the server knows.
#[derive(Default)]
pub(crate) struct Tokens {
    known: HashMap<String, Credential>,
}

impl Tokens {
    pub(crate) fn add_user(&mut self, token: &str, mut user: User) {
        if !user.groups.iter().any(|group| group == AUTHENTICATED) {
            user.groups.push(AUTHENTICATED.to_owned());
        }
        self.known
            .insert(token.to_owned(), Credential::Static(user));
    }

    pub(crate) fn remove(&mut self, token: &str) {
        self.known.remove(token);
    }

    /// Issues a token for a stored ServiceAccount.
    pub(crate) fn issue(&mut self, account: &Value, request: &TokenRequest) -> (String, u64) {
        let metadata = &account["metadata"];
        let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
        let audiences = if request.audiences.is_empty() {
            vec![DEFAULT_AUDIENCE.to_owned()]
        } else {
            request.audiences.clone()
        };
        let now = clock::now();
        let issued = Issued {
            uid: text(&metadata["uid"]),
            expires: now + request.seconds,
            id: random::uuid(),
            pod: request.pod.clone(),
            audiences,
            namespace,
            name,
        };
        let token = issued.write(now);
        let expires = issued.expires;
        self.known.insert(token.clone(), Credential::Issued(issued));
        (token, expires)
    }

    /// Checks a token for these audiences; the error is the text of a TokenReview.
    pub(crate) fn verify(
        &self,
        store: &Store,
        token: &str,
        wanted: &[String],
    ) -> Result<Verified, String> {
        let invalid = || "invalid bearer token".to_owned();
        let with = |detail: String| format!("[invalid bearer token, {detail}]");
        match self.known.get(token).ok_or_else(invalid)? {
            Credential::Static(user) => {
                let audiences = common(&[DEFAULT_AUDIENCE.to_owned()], wanted);
                if audiences.is_empty() {
                    return Err(invalid());
                }
                Ok(Verified {
                    user: user.clone(),
                    audiences,
                })
            }
            Credential::Issued(issued) => {
                if issued.expires <= clock::now() {
                    return Err(with("service account token has expired".to_owned()));
                }
                issued.owner_exists(store).map_err(with)?;
                let audiences = common(&issued.audiences, wanted);
                if audiences.is_empty() {
                    return Err(with(format!(
                        "token audiences {:?} is invalid for the target audiences {wanted:?}",
                        issued.audiences
                    )));
                }
                Ok(Verified {
                    user: issued.user(),
                    audiences,
                })
            }
        }
    }
}

fn common(has: &[String], wanted: &[String]) -> Vec<String> {
    has.iter()
        .filter(|audience| wanted.contains(audience))
        .cloned()
        .collect()
}

impl Issued {
    fn user(&self) -> User {
        let mut user = User::service_account(&self.namespace, &self.name);
        user.uid = self.uid.clone();
        let key = |name: &str| format!("authentication.kubernetes.io/{name}");
        let id = format!("JTI={}", self.id);
        user.extra.insert(key("credential-id"), vec![id]);
        if let Some((name, uid)) = &self.pod {
            user.extra.insert(key("pod-name"), vec![name.clone()]);
            user.extra.insert(key("pod-uid"), vec![uid.clone()]);
        }
        user
    }

    fn owner_exists(&self, store: &Store) -> Result<(), String> {
        let kind = store
            .kind("", "serviceaccounts")
            .expect("it is in the table");
        let account = store
            .object(&kind, &self.namespace, &self.name)
            .ok_or_else(|| format!("serviceaccounts \"{}\" not found", self.name))?;
        if account["metadata"]["uid"] != *self.uid {
            return Err("the UID in the token does not match the service account".to_owned());
        }
        Ok(())
    }

    /// A JWT in shape; its signature is random, since only the table above verifies it.
    fn write(&self, now: u64) -> String {
        let mut kubernetes = json!({
            "namespace": self.namespace,
            "serviceaccount": {"name": self.name, "uid": self.uid},
        });
        if let Some((name, uid)) = &self.pod {
            kubernetes["pod"] = json!({"name": name, "uid": uid});
        }
        let header = json!({"alg": "RS256", "kid": "kV3pG8tYq0mXn5sJw2rLhB7cUe9dZaFo1iQyTxKvN4M"});
        let claims = json!({
            "aud": self.audiences,
            "exp": self.expires,
            "iat": now,
            "nbf": now,
            "iss": DEFAULT_AUDIENCE,
            "jti": self.id,
            "kubernetes.io": kubernetes,
            "sub": format!("system:serviceaccount:{}:{}", self.namespace, self.name),
        });
        [header, claims]
            .iter()
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
            .chain([URL_SAFE_NO_PAD.encode(random::bytes::<256>())])
            .collect::<Vec<_>>()
            .join(".")
    }
}

/// The user of a request, before impersonation. No credentials are `system:anonymous`.
pub(crate) fn authenticate(
    headers: &HeaderMap,
    tokens: &Tokens,
    store: &Store,
) -> Result<User, Status> {
    let Some(token) = bearer(headers) else {
        return Ok(User::anonymous());
    };
    tokens
        .verify(store, &token, &[DEFAULT_AUDIENCE.to_owned()])
        .map(|verified| verified.user)
        .map_err(|_| Status::unauthorized())
}

/// The token of the first `Authorization` header, or of a WebSocket's subprotocol. Another
/// scheme, or none, is no token, as on the real server.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut words = value.trim().split(' ');
    if words
        .next()
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer"))
    {
        return words
            .next()
            .filter(|token| !token.is_empty())
            .map(str::to_owned);
    }
    let prefix = "base64url.bearer.authorization.k8s.io.";
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(prefix))
        .and_then(|encoded| URL_SAFE_NO_PAD.decode(encoded).ok())
        .and_then(|token| String::from_utf8(token).ok())
}
