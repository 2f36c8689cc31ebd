//! What an upstream says about its series, as far as it answered.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use super::charts;
use super::question::{Asker, Sample};
use crate::config;
use crate::doctor::lists::Unread;

/// Labels besides the namespace label whose values are looked at.
const MAX_LABELS: usize = 8;

/// A part of a label's name that says what it holds.
const NAMESPACE: &str = "namespace";

/// How often each job was scraped in some minutes, of those that were there at their beginning.
const SCRAPES: &str = "max by (job) (count_over_time(up[5m]) and up offset 5m)";
const SCRAPED_SECONDS: u64 = 300;

/// The answers of one upstream.
pub(super) struct Answers {
    /// Values of the namespace label.
    pub(super) namespaces: Vec<String>,
    /// The names of all metrics, sorted.
    pub(super) names: Result<Vec<String>, Unread>,
    /// Those with the label in some series.
    pub(super) labelled: Result<BTreeSet<String>, Unread>,
    /// Series without the label, by metric.
    pub(super) unlabelled: Result<BTreeMap<String, u64>, Unread>,
    /// Other labels that may name a namespace.
    pub(super) others: Result<Vec<OtherLabel>, Unread>,
    /// Series of each chart that has any.
    pub(super) charts: Result<BTreeMap<String, u64>, Unread>,
    /// How often each job is scraped, in seconds.
    pub(super) intervals: Result<Vec<(String, u64)>, Unread>,
}

/// A label that may name a namespace.
#[derive(Debug)]
pub(super) struct OtherLabel {
    pub(super) name: String,
    pub(super) values: Vec<String>,
    /// Series with it, by metric.
    pub(super) metrics: BTreeMap<String, u64>,
}

/// Asks one upstream everything. Nothing is known of one that does not answer the first question.
pub(super) async fn ask(
    upstream: &config::Upstream,
    label: &str,
    cluster: &kube::Client,
) -> Result<Answers, Unread> {
    let asker = Asker::new(upstream, cluster)?;
    let namespaces = asker.values(label, None).await?;
    let with_label = format!("{{{label}!=\"\"}}");
    let without_label = format!("count by (__name__) ({{__name__!=\"\",{label}=\"\"}})");
    let charts = charts::all();
    let (names, labelled, unlabelled, others, charts, intervals) = tokio::join!(
        asker.values("__name__", None),
        asker.values("__name__", Some(&with_label)),
        asker.instant(&without_label),
        others(&asker, label),
        asker.instant(&charts),
        asker.instant(SCRAPES),
    );
    let interval = |sample: &Sample| {
        let seconds = SCRAPED_SECONDS.checked_div(sample.count())?;
        Some((sample.label("job").to_owned(), seconds))
    };
    Ok(Answers {
        namespaces,
        names: names.map(|mut names| {
            names.sort_unstable();
            names
        }),
        labelled: labelled.map(|names| names.into_iter().collect()),
        unlabelled: unlabelled.map(|samples| counted(&samples, "__name__")),
        others,
        charts: charts.map(|samples| counted(&samples, charts::LABEL)),
        intervals: intervals.map(|samples| {
            let mut jobs: Vec<_> = samples.iter().filter_map(interval).collect();
            jobs.sort_unstable();
            jobs
        }),
    })
}

async fn others(asker: &Asker<'_>, label: &str) -> Result<Vec<OtherLabel>, Unread> {
    let labels = asker.labels().await?;
    let plain = |name: &String| {
        name.bytes()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
    };
    let asked = labels
        .into_iter()
        .filter(|name| name.contains(NAMESPACE) && name != label && plain(name))
        .take(MAX_LABELS)
        .map(async |name| {
            let counts = format!("count by (__name__) ({{{name}!=\"\"}})");
            let (values, counts) = tokio::join!(asker.values(&name, None), asker.instant(&counts));
            Ok(OtherLabel {
                values: values?,
                metrics: counted(&counts?, "__name__"),
                name,
            })
        });
    join_all(asked).await.into_iter().collect()
}

fn counted(samples: &[Sample], label: &str) -> BTreeMap<String, u64> {
    let counts = samples
        .iter()
        .map(|it| (it.label(label).to_owned(), it.count()));
    counts.collect()
}
