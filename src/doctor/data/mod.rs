//! What Prometheus holds, compared with what the configuration says: namespaces, metrics without one, and the data of
//! charts.

mod answers;
mod charts;
mod judgement;
mod patterns;
mod question;

use std::cmp::Reverse;
use std::collections::BTreeSet;

use futures_util::future::join_all;

use self::answers::Answers;
use self::judgement::Judgement;
use super::finding::Section;
use super::lists::{Unread, known};
use super::snapshot::Snapshot;
use crate::config::Config;

const TITLE: &str = "Data";

/// What each upstream answered, in the order of the configuration.
pub(super) struct Data(Vec<Result<Answers, Unread>>);

impl Data {
    /// Asks all upstreams at the same time. Reports to `progress`.
    pub(super) async fn ask(
        config: &Config,
        cluster: &kube::Client,
        progress: &dyn Fn(&str),
    ) -> Self {
        progress("questions to Prometheus");
        let label = &config.authorization.namespace_label;
        let upstreams = config.upstreams.iter();
        let asked = upstreams.map(|upstream| answers::ask(upstream, label, cluster));
        Self(join_all(asked).await)
    }

    /// Whether any upstream answered.
    pub(super) fn is_known(&self) -> bool {
        self.0.iter().any(Result::is_ok)
    }
}

/// Judges what was answered.
pub(super) fn examine(data: Data, snapshot: &Snapshot, config: &Config) -> Section {
    let mut section = Section {
        title: TITLE,
        ..Section::default()
    };
    let without = "which values of the label are namespaces is not known";
    let namespaces = known(snapshot.namespaces.as_ref(), without, &mut section.unread);
    let namespaces: Option<BTreeSet<&str>> = namespaces.map(|all| {
        let names = all.iter().filter_map(|it| it.metadata.name.as_deref());
        names.collect()
    });
    for (answers, upstream) in data.0.into_iter().zip(&config.upstreams) {
        let without = format!("the data of upstream {} are not judged", upstream.name);
        let Some(answers) = known(answers, &without, &mut section.unread) else {
            continue;
        };
        let judgement = Judgement {
            answers: &answers,
            namespaces: namespaces.as_ref(),
            upstream,
            authorization: &config.authorization,
        };
        judgement.judge(&mut section);
    }
    section
        .findings
        .sort_by_key(|finding| Reverse(finding.severity));
    section
}
