//! Reads whole lists of the API server, a page at a time.

use std::borrow::Borrow;
use std::fmt::Debug;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use crate::cluster::goaway::again_if_unprocessed;

/// Objects of a page: what kubectl asks for.
const PAGE: u32 = 500;

/// How often a list is begun again when its next page has expired.
const ATTEMPTS: usize = 3;

pub(super) struct Lists<'a> {
    client: Client,
    progress: &'a dyn Fn(&str),
}

/// Why a list could not be read, as the report says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unread(pub(super) String);

/// What was read. If it was not, adds the reason to `unread`, with what is not known `without` it.
pub(super) fn known<T>(
    read: Result<T, impl Borrow<Unread>>,
    without: &str,
    unread: &mut Vec<String>,
) -> Option<T> {
    let told = |Unread(why): &Unread| format!("{why}; {without}");
    read.map_err(|why| unread.push(told(why.borrow()))).ok()
}

impl<'a> Lists<'a> {
    pub(super) fn new(client: Client, progress: &'a dyn Fn(&str)) -> Self {
        Self { client, progress }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// All objects of a kind, in all namespaces, perhaps with certain labels alone.
    pub(super) async fn all<K>(&self, labels: Option<&str>) -> Result<Vec<K>, Unread>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api = Api::<K>::all(self.client.clone());
        self.whole(&api, labels, "in the whole cluster").await
    }

    /// The pods of a namespace that a selector matches.
    pub(super) async fn pods(&self, namespace: &str, labels: &str) -> Result<Vec<Pod>, Unread> {
        let api = Api::namespaced(self.client.clone(), namespace);
        let place = format!("in namespace {namespace}");
        self.whole(&api, Some(labels), &place).await
    }

    async fn whole<K>(
        &self,
        api: &Api<K>,
        labels: Option<&str>,
        place: &str,
    ) -> Result<Vec<K>, Unread>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let mut attempt = 1;
        loop {
            match self.pages(api, labels).await {
                Ok(objects) => return Ok(objects),
                Err(kube::Error::Api(status)) if status.code == 410 && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Err(unread(&K::plural(&()), place, &error)),
            }
        }
    }

    async fn pages<K>(&self, api: &Api<K>, labels: Option<&str>) -> Result<Vec<K>, kube::Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let mut objects = Vec::new();
        let mut parameters = ListParams::default().limit(PAGE);
        parameters.label_selector = labels.map(str::to_owned);
        loop {
            let page = again_if_unprocessed(|| api.list(&parameters)).await?;
            objects.extend(page.items);
            (self.progress)(&format!("{}: {}", K::plural(&()), objects.len()));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(objects),
            }
        }
    }
}

/// The API server's own message names the user and the right that is missing, and nothing secret.
fn unread(resource: &str, place: &str, error: &kube::Error) -> Unread {
    Unread(match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("{resource} may not be listed {place}: {}", status.message)
        }
        kube::Error::Api(status) => format!("{resource}: the API server answered {}", status.code),
        _ => format!("{resource}: the API server gave no answer that can be read"),
    })
}
