//! What the charts of Headlamp's Prometheus plugin ask for, each as a selector of all objects.

use std::collections::BTreeSet;

/// Charts that come with one product.
pub(super) struct Charts {
    pub(super) product: &'static str,
    pub(super) charts: &'static [Chart],
}

/// A query of the plugin, without the name of one object. The label `namespace` stands in it as in the plugin's,
/// whatever the configuration calls the label.
pub(super) struct Chart {
    pub(super) name: &'static str,
    pub(super) query: &'static str,
}

const fn chart(name: &'static str, query: &'static str) -> Chart {
    Chart { name, query }
}

/// Charts that every cluster should have, the rate of CPU first.
pub(super) const PODS: &Charts = &CHARTS[0];

/// All of them. A test compares their metrics with those of the plugin's queries.
pub(super) const CHARTS: &[Charts] = &[
    Charts {
        product: "Pods",
        charts: &[
            chart(
                "CPU",
                "rate(container_cpu_usage_seconds_total{container!='',namespace!=''}[1m])",
            ),
            chart(
                "memory",
                "container_memory_working_set_bytes{container!='',namespace!=''}",
            ),
            chart(
                "network, received",
                "rate(container_network_receive_bytes_total{namespace!=''}[1m])",
            ),
            chart(
                "network, sent",
                "rate(container_network_transmit_bytes_total{namespace!=''}[1m])",
            ),
        ],
    },
    Charts {
        product: "File systems",
        charts: &[
            chart(
                "read",
                "rate(container_fs_reads_bytes_total{namespace!=''}[1m])",
            ),
            chart(
                "written",
                "rate(container_fs_writes_bytes_total{namespace!=''}[1m])",
            ),
        ],
    },
    Charts {
        product: "Volumes",
        charts: &[
            chart("used", "kubelet_volume_stats_used_bytes{namespace!=''}"),
            chart(
                "capacity",
                "kubelet_volume_stats_capacity_bytes{namespace!=''}",
            ),
        ],
    },
    Charts {
        product: "KEDA",
        charts: &[
            chart(
                "scaler values",
                "keda_scaler_metrics_value{exported_namespace!=''}",
            ),
            chart(
                "replicas",
                "kube_horizontalpodautoscaler_status_current_replicas{namespace!=''}",
            ),
            chart("active jobs", "kube_job_status_active{namespace!=''}"),
        ],
    },
    Charts {
        product: "Karpenter",
        charts: &[
            chart("usage", "karpenter_nodepools_usage"),
            chart("limit", "karpenter_nodepools_limit"),
            chart(
                "allowed disruptions",
                "karpenter_nodepools_allowed_disruptions",
            ),
            chart("pending pods", "karpenter_pods_state{phase='Pending'}"),
            chart(
                "creation rate",
                "rate(karpenter_nodeclaims_created_total[5m])",
            ),
            chart(
                "provisioning duration",
                "rate(operator_nodeclaim_status_condition_transition_seconds_sum[5m]) / \
         rate(operator_nodeclaim_status_condition_transition_seconds_count[5m])",
            ),
        ],
    },
    Charts {
        product: "Strimzi",
        charts: &[
            chart(
                "bytes in",
                "rate(kafka_server_brokertopicmetrics_bytesinpersec_count{namespace!=''}[5m])",
            ),
            chart(
                "bytes out",
                "rate(kafka_server_brokertopicmetrics_bytesoutpersec_count{namespace!=''}[5m])",
            ),
            chart(
                "messages",
                "rate(kafka_server_brokertopicmetrics_messagesinpersec_count{namespace!=''}[5m])",
            ),
            chart(
                "under-replicated partitions",
                "kafka_topic_partition_under_replicated_partition{namespace!=''}",
            ),
            chart(
                "offline partitions",
                "kafka_controller_kafkacontroller_offlinepartitionscount{namespace!=''}",
            ),
            chart("consumer lag", "kafka_consumergroup_lag{namespace!=''}"),
        ],
    },
    Charts {
        product: "Knative",
        charts: &[
            chart(
                "requests",
                "rate(revision_request_count{namespace!=''}[1m])",
            ),
            chart(
                "latency",
                "rate(revision_request_latencies_bucket{namespace!=''}[1m])",
            ),
        ],
    },
    Charts {
        product: "Volcano",
        charts: &[
            chart("CPU, allocated", "volcano_queue_allocated_milli_cpu"),
            chart("CPU, requested", "volcano_queue_request_milli_cpu"),
            chart("CPU, deserved", "volcano_queue_deserved_milli_cpu"),
            chart("CPU, capacity", "volcano_queue_capacity_milli_cpu"),
            chart("memory, allocated", "volcano_queue_allocated_memory_bytes"),
            chart("memory, requested", "volcano_queue_request_memory_bytes"),
            chart("memory, deserved", "volcano_queue_deserved_memory_bytes"),
            chart("memory, capacity", "volcano_queue_capacity_memory_bytes"),
            chart(
                "pod groups in the queue",
                "volcano_queue_pod_group_inqueue_count",
            ),
            chart(
                "pod groups, pending",
                "volcano_queue_pod_group_pending_count",
            ),
            chart(
                "pod groups, running",
                "volcano_queue_pod_group_running_count",
            ),
            chart(
                "pod groups, completed",
                "volcano_queue_pod_group_completed_count",
            ),
            chart(
                "pod groups, unknown",
                "volcano_queue_pod_group_unknown_count",
            ),
        ],
    },
    Charts {
        product: "Cluster API",
        charts: &[
            chart(
                "connection",
                "capi_cluster_cache_connection_up{cluster_namespace!=''}",
            ),
            chart(
                "health",
                "capi_cluster_cache_healthcheck{cluster_namespace!=''}",
            ),
            chart(
                "health checks",
                "capi_cluster_cache_healthchecks_total{cluster_namespace!=''}",
            ),
            chart(
                "client cache",
                "rate(capi_client_cache_wait_duration_seconds_sum[5m]) / rate(capi_client_cache_wait_duration_seconds_count[5m])",
            ),
            chart(
                "reconciliations",
                "capi_reconcile_total or controller_runtime_reconcile_total",
            ),
            chart(
                "failed reconciliations",
                "capi_reconcile_total{result!='success'} or controller_runtime_reconcile_errors_total",
            ),
            chart(
                "duration",
                "capi_reconcile_time_seconds_bucket or controller_runtime_reconcile_time_seconds_bucket",
            ),
            chart("active workers", "controller_runtime_active_workers"),
            chart(
                "most workers",
                "controller_runtime_max_concurrent_reconciles",
            ),
            chart("queue depth", "workqueue_depth"),
            chart("queue additions", "workqueue_adds_total"),
            chart("queue retries", "workqueue_retries_total"),
            chart("cache hits", "capi_ssa_cache_hits_total"),
            chart("cache misses", "capi_ssa_cache_misses_total"),
            chart(
                "webhook requests",
                "controller_runtime_webhook_requests_total",
            ),
            chart(
                "webhook latency",
                "controller_runtime_webhook_latency_seconds_bucket",
            ),
        ],
    },
];

/// In the answer to [`all`], the chart.
pub(super) const LABEL: &str = "chart";

/// Whether there are series of which the CPU rate can be computed.
pub(super) const SERIES_OF_CPU: Chart = chart(
    "series of CPU",
    "container_cpu_usage_seconds_total{container!='',namespace!=''}",
);

/// What a chart is called in the answer to [`all`].
pub(super) fn key(product: &str, chart: &Chart) -> String {
    format!("{product}: {}", chart.name)
}

/// One query for all charts: how many series each has.
pub(super) fn all() -> String {
    let charts = CHARTS
        .iter()
        .flat_map(|Charts { product, charts }| charts.iter().map(move |chart| (*product, chart)));
    let asked = charts.chain([(PODS.product, &SERIES_OF_CPU)]);
    let counted = asked.map(|(product, chart)| {
        let (key, query) = (key(product, chart), chart.query);
        format!("label_replace(count({query}), \"{LABEL}\", \"{key}\", \"\", \"\")")
    });
    counted.collect::<Vec<_>>().join(" or ")
}

fn queries() -> impl Iterator<Item = &'static str> {
    CHARTS
        .iter()
        .flat_map(|all| all.charts.iter().map(|chart| chart.query))
}

/// The metrics that charts ask for.
pub(super) fn metrics() -> BTreeSet<&'static str> {
    let words = queries().flat_map(|query| {
        let split = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
        query.split(split)
    });
    words
        .filter(|word| word.contains('_') && !word.ends_with("_namespace"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{Limits, Query};

    fn metrics_of(query: &str) -> BTreeSet<String> {
        let query = Query::parse(query, &Limits::default()).expect(query);
        let metrics = query.selectors().iter();
        metrics
            .filter_map(|selector| selector.metric().map(str::to_owned))
            .collect()
    }

    #[test]
    fn the_charts_ask_for_what_the_plugin_asks_for() {
        let rows = include_str!("../../../tests/corpus/headlamp-queries.json");
        let rows: Vec<serde_json::Value> = serde_json::from_str(rows).expect("rows");
        let plugin = rows
            .iter()
            .flat_map(|row| metrics_of(row["example"].as_str().expect("a query")));
        // The detection's own is answered by the proxy.
        let plugin: BTreeSet<_> = plugin.filter(|metric| metric != "up").collect();
        let ours: BTreeSet<_> = queries().flat_map(metrics_of).collect();
        assert_eq!(ours, plugin);
        assert_eq!(metrics(), plugin.iter().map(String::as_str).collect());
    }

    #[test]
    fn all_charts_are_one_query() {
        let all = all();
        assert_eq!(metrics_of(&all).len(), metrics().len());
        let count = queries().count() + 1;
        assert_eq!(all.matches("label_replace").count(), count);
        let names: BTreeSet<_> = all.split("\"chart\", ").skip(1).collect();
        assert_eq!(names.len(), count);
    }
}
