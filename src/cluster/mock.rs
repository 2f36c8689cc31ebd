//! A cluster for unit tests: answers by functions, counts what it is asked, and can be slow or away.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReviewSpec, TokenReviewStatus, UserInfo};
use k8s_openapi::api::authorization::v1::{SubjectAccessReviewSpec, SubjectAccessReviewStatus};

use super::{Cluster, ReviewClass, Unavailable};

type Answer<S, A> = Box<dyn Fn(&S) -> Result<A, Unavailable> + Send + Sync>;

pub(crate) struct MockCluster {
    tokens: Answer<TokenReviewSpec, TokenReviewStatus>,
    access: Answer<SubjectAccessReviewSpec, SubjectAccessReviewStatus>,
    pub(crate) delay: Duration,
    pub(crate) token_reviews: AtomicUsize,
    pub(crate) access_reviews: Mutex<Vec<SubjectAccessReviewSpec>>,
    /// Those of all reviews, in the order in which they were asked.
    pub(crate) classes: Mutex<Vec<ReviewClass>>,
    under_way: AtomicUsize,
    pub(crate) most_under_way: AtomicUsize,
    away: Mutex<Option<Unavailable>>,
}

impl MockCluster {
    pub(crate) fn new(
        tokens: impl Fn(&TokenReviewSpec) -> Result<TokenReviewStatus, Unavailable>
        + Send
        + Sync
        + 'static,
        access: impl Fn(&SubjectAccessReviewSpec) -> Result<SubjectAccessReviewStatus, Unavailable>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            tokens: Box::new(tokens),
            access: Box::new(access),
            delay: Duration::from_millis(5),
            token_reviews: AtomicUsize::new(0),
            access_reviews: Mutex::default(),
            classes: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            away: Mutex::default(),
        }
    }

    /// Every token is that of a user with the same name; access is decided by name and namespace ("" for the
    /// whole cluster), in the words of RBAC.
    pub(crate) fn allowing(allowed: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        Self::new(
            |spec| Ok(known(&spec.token)),
            move |spec| {
                let attributes = spec.resource_attributes.clone().unwrap_or_default();
                let user = spec.user.clone().unwrap_or_default();
                let namespace = attributes.namespace.unwrap_or_default();
                let allowed = allowed(&user, &namespace);
                Ok(SubjectAccessReviewStatus {
                    allowed,
                    reason: allowed.then(|| "RBAC: allowed by RoleBinding \"one\"".to_owned()),
                    ..Default::default()
                })
            },
        )
    }

    /// From now on every review fails with this; `None`: answers again.
    pub(crate) fn is_away(&self, unavailable: Option<Unavailable>) {
        *self.away.lock().expect("not poisoned") = unavailable;
    }

    async fn wait(&self, class: ReviewClass) -> Result<(), Unavailable> {
        self.classes.lock().expect("not poisoned").push(class);
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(self.delay).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        match *self.away.lock().expect("not poisoned") {
            Some(unavailable) => Err(unavailable),
            None => Ok(()),
        }
    }
}

/// The status of a good token.
pub(crate) fn known(username: &str) -> TokenReviewStatus {
    TokenReviewStatus {
        authenticated: Some(true),
        user: Some(UserInfo {
            username: Some(username.to_owned()),
            groups: Some(vec!["system:authenticated".to_owned()]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

impl Cluster for MockCluster {
    fn review_token(
        &self,
        spec: TokenReviewSpec,
        class: ReviewClass,
    ) -> BoxFuture<'_, Result<TokenReviewStatus, Unavailable>> {
        Box::pin(async move {
            self.token_reviews.fetch_add(1, Ordering::SeqCst);
            self.wait(class).await?;
            (self.tokens)(&spec)
        })
    }

    fn review_access(
        &self,
        spec: SubjectAccessReviewSpec,
        class: ReviewClass,
    ) -> BoxFuture<'_, Result<SubjectAccessReviewStatus, Unavailable>> {
        Box::pin(async move {
            self.access_reviews
                .lock()
                .expect("not poisoned")
                .push(spec.clone());
            self.wait(class).await?;
            (self.access)(&spec)
        })
    }
}
