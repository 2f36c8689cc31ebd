//! A question about namespaces: path, parameters and media type, read as the API server reads them. What cannot be
//! answered as the API server would is refused, and nothing that changes an answer is ignored.

use std::time::Duration;

use http::{HeaderMap, Method, Uri};

use super::media::{Form, Included};
use super::refusal::ListRefusal;
use super::selection::Selection;
use crate::namespace::Namespace;

/// The path of the list, and of each namespace after a slash.
const PATH: &str = "/api/v1/namespaces";

/// What a path names. Only in its plain spelling: any other goes to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Target {
    /// All namespaces.
    All,
    /// The one of this name.
    One(Namespace),
}

impl Target {
    /// The target of a request that reads. `None` for all others.
    pub(in crate::gateway) fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let rest = uri.path().strip_prefix(PATH)?;
        if *method != Method::GET {
            return None;
        }
        if rest.is_empty() {
            return Some(Self::All);
        }
        Namespace::parse(rest.strip_prefix('/')?).map(Self::One)
    }
}

/// A question that can be answered.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) form: Form,
    /// Whether the answer is laid out for people.
    pub(super) pretty: bool,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// One namespace.
    Object(Namespace),
    /// Those that are selected.
    List {
        selection: Selection,
        /// The answer must be at least as new as this.
        at_least: u64,
    },
    /// The same, and how they change.
    Watch(Watch),
}

#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) selection: Selection,
    pub(super) from: Start,
    /// Whether the caller wants to be told versions while nothing happens.
    pub(super) bookmarks: bool,
    /// When it ends at the latest. `None`: at a time of our choice.
    pub(super) timeout: Option<Duration>,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With all that is there.
    Now {
        /// It must be at least as new as this.
        at_least: u64,
        /// Whether to say where the beginning ends.
        marked: bool,
    },
    /// After what this version was.
    Version(u64),
}

/// The parameters that mean something here.
#[derive(Debug, Default)]
struct Parameters {
    continue_token: Option<String>,
    field_selector: Option<String>,
    include_object: Option<String>,
    label_selector: Option<String>,
    limit: Option<String>,
    pretty: Option<String>,
    send_initial_events: Option<String>,
    bookmarks: Option<String>,
    timeout_seconds: Option<String>,
    version: Option<String>,
    version_match: Option<String>,
    watch: Option<String>,
}

impl Parameters {
    /// Others are ignored, as by the API server.
    fn read(query: &str) -> Result<Self, ListRefusal> {
        let mut parameters = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*key {
                "continue" => &mut parameters.continue_token,
                "fieldSelector" => &mut parameters.field_selector,
                "includeObject" => &mut parameters.include_object,
                "labelSelector" => &mut parameters.label_selector,
                "limit" => &mut parameters.limit,
                "pretty" => &mut parameters.pretty,
                "sendInitialEvents" => &mut parameters.send_initial_events,
                "allowWatchBookmarks" => &mut parameters.bookmarks,
                "timeoutSeconds" => &mut parameters.timeout_seconds,
                "resourceVersion" => &mut parameters.version,
                "resourceVersionMatch" => &mut parameters.version_match,
                "watch" => &mut parameters.watch,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(ListRefusal::parameter(&key, "is given twice"));
            }
        }
        Ok(parameters)
    }
}

impl Question {
    /// Reads what is asked of `target`.
    pub(super) fn read(
        target: &Target,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<Self, ListRefusal> {
        let parameters = Parameters::read(query)?;
        let included = match parameters.include_object.as_deref() {
            None | Some("" | "Metadata") => Included::Metadata,
            Some("Object") => Included::Object,
            Some("None") => Included::Nothing,
            Some(_) => {
                let why = "is neither None, Metadata nor Object";
                return Err(ListRefusal::parameter("includeObject", why));
            }
        };
        let listed = *target == Target::All;
        let form = Form::accepted(headers, listed, included)?;
        let kind = match target {
            Target::One(name) => Kind::Object(name.clone()),
            Target::All => parameters.listed()?,
        };
        Ok(Self {
            form,
            pretty: is_set(parameters.pretty.as_deref()),
            kind,
        })
    }
}

impl Parameters {
    fn listed(&self) -> Result<Kind, ListRefusal> {
        let selection = Selection::read(
            self.label_selector.as_deref().unwrap_or_default(),
            self.field_selector.as_deref().unwrap_or_default(),
        )?;
        if is_set(self.watch.as_deref()) {
            return self.watch(selection);
        }
        if let Some(limit) = self.limit.as_deref().filter(|limit| !limit.is_empty()) {
            // A server may give more at once than is asked for, and then there is nothing to go on with.
            number("limit", limit)?;
        }
        if self
            .continue_token
            .as_deref()
            .is_some_and(|token| !token.is_empty())
        {
            return Err(ListRefusal::Continue);
        }
        if is_set(self.send_initial_events.as_deref()) {
            let why = "is for watches only";
            return Err(ListRefusal::parameter("sendInitialEvents", why));
        }
        let version = self.version()?;
        match self.version_match.as_deref().unwrap_or_default() {
            "" => {}
            "NotOlderThan" if version.is_some() => {}
            // Old versions are not kept.
            "Exact" if version.is_some_and(|version| version > 0) => {
                return Err(ListRefusal::Expired(version.unwrap_or_default()));
            }
            _ => return Err(bad_match()),
        }
        Ok(Kind::List {
            selection,
            at_least: version.unwrap_or_default(),
        })
    }

    fn watch(&self, selection: Selection) -> Result<Kind, ListRefusal> {
        let marked = is_set(self.send_initial_events.as_deref());
        let newer = self.version_match.as_deref() == Some("NotOlderThan");
        if self.send_initial_events.is_some() != newer || (self.version_match.is_some() && !newer) {
            return Err(bad_match());
        }
        let version = self.version()?.unwrap_or_default();
        let from = match (marked, version) {
            (true, at_least) => Start::Now { at_least, marked },
            (false, 0) if self.send_initial_events.is_none() => Start::Now {
                at_least: 0,
                marked,
            },
            (false, version) => Start::Version(version),
        };
        let timeout = self
            .timeout_seconds
            .as_deref()
            .filter(|text| !text.is_empty());
        let timeout = timeout
            .map(|text| number("timeoutSeconds", text))
            .transpose()?;
        Ok(Kind::Watch(Watch {
            selection,
            from,
            bookmarks: is_set(self.bookmarks.as_deref()),
            timeout: timeout
                .filter(|&seconds| seconds > 0)
                .map(Duration::from_secs),
        }))
    }

    /// The version that is named.
    fn version(&self) -> Result<Option<u64>, ListRefusal> {
        let version = self.version.as_deref().filter(|text| !text.is_empty());
        version
            .map(|text| number("resourceVersion", text))
            .transpose()
    }
}

fn bad_match() -> ListRefusal {
    let why = "does not go with the other parameters: it is NotOlderThan or Exact for a list with a resourceVersion, and \
               NotOlderThan for a watch with sendInitialEvents";
    ListRefusal::parameter("resourceVersionMatch", why)
}

/// As the API server reads a flag: whatever is not false is true.
fn is_set(value: Option<&str>) -> bool {
    value.is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
}

fn number(parameter: &'static str, text: &str) -> Result<u64, ListRefusal> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| ListRefusal::parameter(parameter, "is not a number"))
}
