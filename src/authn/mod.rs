//! Authenticates callers: finds a request's token and has it reviewed.

mod cookie;
mod credential;
mod token;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::authentication::v1::{TokenReviewSpec, TokenReviewStatus};

pub use self::credential::{Carrier, CredentialError, Sources};
pub use self::token::{Digest, Digester, MAX_TOKEN_BYTES, MalformedToken, Token};
use crate::cluster::metrics::ReviewMetrics;
use crate::cluster::review_cache::{Answer, Known, ReviewCache, Standing};
use crate::cluster::{Cluster, Flow, Priority, ReviewClass, Unavailable};
use crate::slots::{Bounds, CallerSlots};

#[cfg(test)]
mod tests;

/// The names that Kubernetes gives to unauthenticated requests.
const ANONYMOUS_USER: &str = "system:anonymous";
const UNAUTHENTICATED_GROUP: &str = "system:unauthenticated";

/// The start of a ServiceAccount's user name; its namespace and name follow, with a colon between them.
pub const ACCOUNT: &str = "system:serviceaccount:";

/// An authenticated caller. Only a token review makes one.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Identity>);

#[derive(Debug)]
struct Identity {
    username: String,
    uid: Option<String>,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
    digest: Digest,
    slots: CallerSlots,
}

impl Caller {
    /// A caller whom no token review has named, for `explain` and `doctor`: nothing is served to one. The groups that
    /// every review of such a user has are added to the given ones.
    pub fn assumed(username: &str, groups: &[String]) -> Self {
        let groups = groups_of(username, groups);
        let parts = std::iter::once(username).chain(groups.iter().map(String::as_str));
        Self(Arc::new(Identity {
            username: username.to_owned(),
            uid: None,
            groups: groups.clone(),
            extra: BTreeMap::new(),
            digest: Digester::new().digest(parts.map(str::as_bytes)),
            slots: CallerSlots::new(Bounds {
                concurrent: 0,
                queued: 0,
                patience: Duration::ZERO,
            }),
        }))
    }

    pub fn username(&self) -> &str {
        &self.0.username
    }

    /// The unique id, where there is one.
    pub fn uid(&self) -> Option<&str> {
        self.0.uid.as_deref()
    }

    /// The groups, as the review gave them.
    pub fn groups(&self) -> &[String] {
        &self.0.groups
    }

    /// Further attributes from the authenticator; an authorizer may decide by them.
    pub fn extra(&self) -> &BTreeMap<String, Vec<String>> {
        &self.0.extra
    }

    /// A digest of the complete identity: name, uid, groups and extra.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// The reviews that are asked for this caller.
    pub fn flow(&self) -> Flow {
        Flow::Caller(self.0.digest.bits())
    }

    /// The slots of this caller, shared by all tokens of the same identity.
    pub fn slots(&self) -> &CallerSlots {
        &self.0.slots
    }
}

/// The given groups, and those that Kubernetes adds.
pub fn groups_of(username: &str, given: &[String]) -> Vec<String> {
    let mut groups = given.to_vec();
    let mut add = |group: String| {
        if !groups.contains(&group) {
            groups.push(group);
        }
    };
    let account = username.strip_prefix(ACCOUNT);
    if let Some((namespace, _)) = account.and_then(|account| account.split_once(':')) {
        add("system:serviceaccounts".to_owned());
        add(format!("system:serviceaccounts:{namespace}"));
    }
    add("system:authenticated".to_owned());
    groups
}

/// The result of a token review.
#[derive(Clone, Debug)]
enum Verdict {
    Known(Caller),
    Rejected,
}

impl Verdict {
    fn caller(self) -> Result<Caller, AuthenticationError> {
        match self {
            Self::Known(caller) => Ok(caller),
            Self::Rejected => Err(AuthenticationError::Rejected),
        }
    }
}

/// Who sent a request, or the future that asks.
pub enum Identification {
    /// Known from the headers alone, or from an earlier answer of Kubernetes.
    Remembered(Result<Caller, AuthenticationError>),
    /// Kubernetes has to be asked.
    Asked(Pin<Box<dyn Future<Output = Result<Caller, AuthenticationError>> + Send + Sync>>),
}

/// The renewal of a known token counts for its caller; any other review counts for unknown tokens.
fn class(remembered: Option<&Verdict>) -> ReviewClass {
    match remembered {
        Some(Verdict::Known(caller)) => ReviewClass {
            flow: caller.flow(),
            priority: Priority::Renewal,
        },
        Some(Verdict::Rejected) | None => ReviewClass {
            flow: Flow::UnknownTokens,
            priority: Priority::New,
        },
    }
}

/// How long answers are kept.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Of a good token.
    pub known: Duration,
    /// Of a token that was rejected.
    pub rejected: Duration,
    /// Of a good token after `known` has passed, while Kubernetes does not answer.
    pub stale: Duration,
    /// How many tokens are kept.
    pub capacity: u64,
}

/// Why the sender of a request is not known.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// There is no usable token.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// Kubernetes does not accept the token. One text for every reason, since the reason would help a guesser.
    #[error(
        "Kubernetes does not accept this token: it is invalid, has expired, or is for another audience; sign in again"
    )]
    Rejected,
    /// Kubernetes did not say.
    #[error("the token cannot be checked now: {0}; try again")]
    Unavailable(Unavailable),
}

impl From<Unavailable> for AuthenticationError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

/// Turns the headers of a request into a [`Caller`].
pub struct Authenticator {
    sources: Sources,
    audiences: Vec<String>,
    lifetimes: Lifetimes,
    cluster: Arc<dyn Cluster>,
    digester: Digester,
    callers: CallerSlotsByDigest,
    cache: ReviewCache<Digest, Verdict>,
    new_slots: CallerSlots,
}

/// The slots of a caller, by identity, so that a second token of the same one does not double the limit.
type CallerSlotsByDigest = moka::sync::Cache<Digest, CallerSlots>;

impl Authenticator {
    /// `new_slots` has the limits of each caller.
    pub fn new(
        sources: Sources,
        audiences: Vec<String>,
        lifetimes: Lifetimes,
        cluster: Arc<dyn Cluster>,
        metrics: ReviewMetrics,
        new_slots: CallerSlots,
    ) -> Arc<Self> {
        let callers = moka::sync::Cache::builder()
            .max_capacity(lifetimes.capacity)
            .time_to_idle(lifetimes.known + lifetimes.stale)
            .build();
        let cache = ReviewCache::new(
            lifetimes.capacity,
            lifetimes.known + lifetimes.stale,
            metrics,
        );
        let digester = Digester::new();
        Arc::new(Self {
            sources,
            audiences,
            lifetimes,
            cluster,
            digester,
            callers,
            cache,
            new_slots,
        })
    }

    /// What carries the token of a request with these headers, if anything does.
    pub fn carrier(&self, headers: &http::HeaderMap) -> Carrier {
        self.sources.carrier(headers)
    }

    /// Who sent a request with these headers.
    ///
    /// # Errors
    /// When there is no token, it is not accepted, or Kubernetes does not say.
    pub async fn caller(
        self: &Arc<Self>,
        headers: &http::HeaderMap,
    ) -> Result<Caller, AuthenticationError> {
        match self.identify(headers) {
            Identification::Remembered(caller) => caller,
            Identification::Asked(review) => review.await,
        }
    }

    /// When the token in these headers says that it expires, if it does. Means nothing for a token that was not
    /// reviewed.
    pub fn token_expires(&self, headers: &http::HeaderMap) -> Option<SystemTime> {
        self.sources.token(headers).ok()?.expires()
    }

    /// The same, without a future where the answer is cached, as for most requests.
    pub fn identify(self: &Arc<Self>, headers: &http::HeaderMap) -> Identification {
        let token = match self.sources.token(headers) {
            Ok(token) => token,
            Err(error) => return Identification::Remembered(Err(error.into())),
        };
        let key = token.digest(&self.digester, &self.audiences);
        let ended = match self.cache.known(&key, |_, _| Standing::Holds) {
            Known::Fresh(answer) => return Identification::Remembered(answer.value.caller()),
            Known::Ended(answer) => answer,
        };
        let (this, token) = (self.clone(), token.into_owned());
        Identification::Asked(Box::pin(async move {
            let review = |remembered: Option<&Verdict>| {
                let class = class(remembered);
                this.clone().review(token, class)
            };
            this.cache.ask(key, ended, review).await?.value.caller()
        }))
    }

    async fn review(
        self: Arc<Self>,
        token: Token<'static>,
        class: ReviewClass,
    ) -> Result<Answer<Verdict>, Unavailable> {
        let rejected = |fresh_for| Answer::new(Verdict::Rejected, fresh_for, fresh_for);
        let remaining = match token.expires() {
            Some(end) => match end.duration_since(SystemTime::now()) {
                Ok(remaining) => remaining,
                Err(_) => return Ok(rejected(self.lifetimes.rejected)),
            },
            None => Duration::MAX,
        };
        let audiences = (!self.audiences.is_empty()).then(|| self.audiences.clone());
        let spec = TokenReviewSpec {
            token: token.expose().to_owned(),
            audiences,
        };
        let status = self.cluster.review_token(spec, class).await?;
        let Some(caller) = self.accept(status) else {
            return Ok(rejected(self.lifetimes.rejected));
        };
        let fresh_for = self.lifetimes.known.min(remaining);
        let usable_for = (self.lifetimes.known + self.lifetimes.stale).min(remaining);
        Ok(Answer::new(Verdict::Known(caller), fresh_for, usable_for))
    }

    /// The caller that a token review names, if it names one beyond doubt.
    fn accept(&self, status: TokenReviewStatus) -> Option<Caller> {
        let authenticated = status.authenticated == Some(true);
        let contradicted = status.error.is_some_and(|error| !error.is_empty());
        // An authenticator that knows nothing of audiences returns none. That is good only for the API server's own
        // audience, which is what a review without audiences asks for.
        let for_us = self.audiences.is_empty()
            || status
                .audiences
                .is_some_and(|granted| granted.iter().any(|one| self.audiences.contains(one)));
        let user = status.user?;
        let username = user
            .username
            .filter(|name| !name.is_empty() && name != ANONYMOUS_USER)?;
        let groups = user.groups.unwrap_or_default();
        let anonymous = groups.iter().any(|group| group == UNAUTHENTICATED_GROUP);
        if !authenticated || contradicted || !for_us || anonymous {
            return None;
        }
        let uid = user.uid.filter(|uid| !uid.is_empty());
        let extra = user.extra.unwrap_or_default();
        let digest = self.identity_digest(&username, uid.as_deref(), &groups, &extra);
        let slots = self.callers.get_with(digest, || self.new_slots.fresh());
        Some(Caller(Arc::new(Identity {
            username,
            uid,
            groups,
            extra,
            digest,
            slots,
        })))
    }

    fn identity_digest(
        &self,
        username: &str,
        uid: Option<&str>,
        groups: &[String],
        extra: &BTreeMap<String, Vec<String>>,
    ) -> Digest {
        // Counts go in as well: they say where the groups end and each key's values begin.
        let count = |n: usize| n.to_le_bytes();
        let mut parts: Vec<Vec<u8>> = vec![
            username.as_bytes().to_vec(),
            uid.map_or_else(Vec::new, |uid| [b"u", uid.as_bytes()].concat()),
            count(groups.len()).to_vec(),
        ];
        parts.extend(groups.iter().map(|group| group.as_bytes().to_vec()));
        for (key, values) in extra {
            parts.push(key.as_bytes().to_vec());
            parts.push(count(values.len()).to_vec());
            parts.extend(values.iter().map(|value| value.as_bytes().to_vec()));
        }
        self.digester.digest(parts.iter().map(Vec::as_slice))
    }

    /// About how many tokens are cached.
    pub fn entries(&self) -> u64 {
        self.cache.entries()
    }
}
