//! Every series of the test data: what Headlamp's charts read, and what must not leak.

use super::{Collector, DENSE, SPARSE, Series, Shape};

/// Pods per namespace: pod and container.
const PODS: &[(&str, &[(&str, &str)])] = &[
    (
        "team-a",
        &[
            ("web-7d4b9c6f5-abcde", "web"),
            ("web-7d4b9c6f5-fghij", "web"),
            ("postgres-0", "postgres"),
            ("log-agent-x7k2p", "agent"),
            ("hello-00001-deployment-5c8f7d9b4-mn2vq", "user-container"),
            ("hello-00002-deployment-7b6c5d4f8-zt9wr", "user-container"),
        ],
    ),
    (
        "team-b",
        &[
            ("web-6f8d7c5b4-qwert", "web"),
            ("postgres-0", "postgres"),
            ("api-59d8c7b6f-zxcvb", "api"),
        ],
    ),
    ("victim", &[("v-0", "main")]),
    ("monitoring", &[("prometheus-0", "prometheus")]),
];

/// Every series there is.
pub(crate) fn all() -> Vec<Series> {
    let mut collector = Collector { all: Vec::new() };
    for (namespace, pods) in PODS {
        for (pod, container) in *pods {
            containers(&mut collector, namespace, pod, container);
        }
    }
    for namespace in ["team-a", "team-b"] {
        workloads(&mut collector, namespace);
        serving(&mut collector, namespace);
        streams(&mut collector, namespace);
        scaling(&mut collector, namespace);
    }
    nodes(&mut collector);
    queues(&mut collector);
    clusters(&mut collector);
    traps(&mut collector);
    collector.all
}

/// cAdvisor and scrape health, per pod.
fn containers(collector: &mut Collector, namespace: &str, pod: &str, container: &str) {
    let place = [("namespace", namespace), ("pod", pod)];
    for name in [container, ""] {
        let labels = [&place[..], &[("container", name), ("node", "node-1")]].concat();
        collector.dense(
            "container_cpu_usage_seconds_total",
            &labels,
            Shape::Counter(0.2),
        );
        let memory = Shape::Gauge(200e6, 50e6);
        collector.sparse("container_memory_working_set_bytes", &labels, memory);
    }
    let interface = [&place[..], &[("interface", "eth0")]].concat();
    for direction in ["receive", "transmit"] {
        let name = format!("container_network_{direction}_bytes_total");
        collector.dense(&name, &interface, Shape::Counter(20_000.0));
    }
    let device = [&place[..], &[("device", "/dev/sda")]].concat();
    for operation in ["reads", "writes"] {
        let name = format!("container_fs_{operation}_bytes_total");
        collector.dense(&name, &device, Shape::Counter(4096.0));
    }
    let target = [&place[..], &[("job", container), ("instance", pod)]].concat();
    collector.sparse("up", &target, Shape::Constant(1.0));
}

/// kube-state-metrics, kubelet and the application's own.
fn workloads(collector: &mut Collector, namespace: &str) {
    let claim = [
        ("namespace", namespace),
        ("persistentvolumeclaim", "data-postgres-0"),
    ];
    collector.sparse(
        "kubelet_volume_stats_used_bytes",
        &claim,
        Shape::Gauge(4e9, 1e9),
    );
    collector.sparse(
        "kubelet_volume_stats_capacity_bytes",
        &claim,
        Shape::Constant(1e10),
    );
    let job = [("namespace", namespace), ("job_name", "importer-28374650")];
    collector.sparse("kube_job_status_active", &job, Shape::Constant(1.0));
    for code in ["200", "404", "500"] {
        let labels = [
            ("namespace", namespace),
            ("job", "web"),
            ("instance", "v:1"),
            ("code", code),
        ];
        collector.dense("http_requests_total", &labels, Shape::Counter(3.0));
    }
    let labels = [("namespace", namespace), ("job", "web")];
    collector.histogram("http_request_duration_seconds", &labels, 9.0, DENSE);
}

/// Knative.
fn serving(collector: &mut Collector, namespace: &str) {
    for revision in ["hello-00001", "hello-00002"] {
        let place = [
            ("namespace", namespace),
            ("service_name", "hello"),
            ("revision_name", revision),
        ];
        for class in ["2xx", "4xx", "5xx"] {
            let labels = [&place[..], &[("response_code_class", class)]].concat();
            collector.dense("revision_request_count", &labels, Shape::Counter(5.0));
        }
        collector.histogram("revision_request_latencies", &place, 5.0, DENSE);
    }
}

/// Strimzi Kafka.
fn streams(collector: &mut Collector, namespace: &str) {
    let labels = [("namespace", namespace), ("kafka_cluster", "events")];
    for what in ["bytesin", "bytesout", "messagesin"] {
        let name = format!("kafka_server_brokertopicmetrics_{what}persec_count");
        collector.sparse(&name, &labels, Shape::Counter(1000.0));
    }
    for (name, value) in [
        ("kafka_topic_partition_under_replicated_partition", 1.0),
        (
            "kafka_controller_kafkacontroller_offlinepartitionscount",
            2.0,
        ),
        ("kafka_consumergroup_lag", 17.0),
    ] {
        collector.sparse(name, &labels, Shape::Constant(value));
    }
}

/// KEDA, whose own namespace label is its operator's.
fn scaling(collector: &mut Collector, namespace: &str) {
    for (object, kind) in [("worker", "scaledobject"), ("importer", "scaledjob")] {
        let labels = [
            ("namespace", "keda"),
            ("exported_namespace", namespace),
            ("scaledObject", object),
            ("type", kind),
            ("metric", "s0-queue"),
            ("scaler", "queue"),
            ("instance", "keda-operator:8080"),
        ];
        collector.sparse(
            "keda_scaler_metrics_value",
            &labels,
            Shape::Gauge(12.0, 6.0),
        );
    }
    let labels = [
        ("namespace", namespace),
        ("horizontalpodautoscaler", "keda-hpa-worker"),
        ("instance", "kube-state-metrics:8080"),
    ];
    let name = "kube_horizontalpodautoscaler_status_current_replicas";
    collector.sparse(name, &labels, Shape::Constant(3.0));
}

/// Karpenter: no namespace at all.
fn nodes(collector: &mut Collector) {
    let pool = [("nodepool", "general-purpose")];
    for (resource, limit) in [("cpu", 64.0), ("memory", 256e9)] {
        let labels = [&pool[..], &[("resource_type", resource)]].concat();
        let usage = Shape::Gauge(limit / 2.0, limit / 8.0);
        collector.sparse("karpenter_nodepools_usage", &labels, usage);
        collector.sparse("karpenter_nodepools_limit", &labels, Shape::Constant(limit));
    }
    let reason = [&pool[..], &[("reason", "drifted")]].concat();
    collector.sparse(
        "karpenter_nodepools_allowed_disruptions",
        &reason,
        Shape::Constant(2.0),
    );
    let pending = [("phase", "Pending"), ("reason", "Unschedulable")];
    collector.sparse("karpenter_pods_state", &pending, Shape::Constant(4.0));
    collector.sparse(
        "karpenter_nodeclaims_created_total",
        &pool,
        Shape::Counter(0.01),
    );
    let name = "operator_nodeclaim_status_condition_transition_seconds";
    collector.histogram(name, &[("type", "Ready")], 0.02, SPARSE);
    for node in ["node-1", "node-2"] {
        let labels = [("job", "node-exporter"), ("instance", node)];
        collector.sparse("up", &labels, Shape::Constant(1.0));
    }
}

/// Volcano: no namespace either.
fn queues(collector: &mut Collector) {
    let queue = [("queue_name", "batch-high")];
    for what in ["allocated", "request", "deserved", "capacity"] {
        let cpu = format!("volcano_queue_{what}_milli_cpu");
        collector.sparse(&cpu, &queue, Shape::Gauge(4000.0, 1000.0));
        let memory = format!("volcano_queue_{what}_memory_bytes");
        collector.sparse(&memory, &queue, Shape::Gauge(8e9, 2e9));
    }
    for state in ["inqueue", "pending", "running", "completed", "unknown"] {
        let name = format!("volcano_queue_pod_group_{state}_count");
        collector.sparse(&name, &queue, Shape::Constant(2.0));
    }
}

/// Cluster API controllers, told apart by their scrape job.
fn clusters(collector: &mut Collector) {
    let job = [("job", "capi-controller-manager-metrics")];
    let with = |more: &[(&'static str, &'static str)]| [&job[..], more].concat();
    let cluster = with(&[("cluster_name", "prod-eu"), ("cluster_namespace", "team-a")]);
    for name in [
        "capi_cluster_cache_connection_up",
        "capi_cluster_cache_healthcheck",
    ] {
        collector.sparse(name, &cluster, Shape::Constant(1.0));
    }
    for status in ["success", "error"] {
        let labels = [&cluster[..], &[("status", status)]].concat();
        collector.sparse(
            "capi_cluster_cache_healthchecks_total",
            &labels,
            Shape::Counter(0.1),
        );
    }
    collector.histogram("capi_client_cache_wait_duration_seconds", &job, 0.5, SPARSE);
    for controller in CONTROLLERS {
        let labels = with(&[("controller", controller)]);
        for result in ["success", "error"] {
            let labels = [&labels[..], &[("result", result)]].concat();
            for name in ["capi_reconcile_total", "controller_runtime_reconcile_total"] {
                collector.sparse(name, &labels, Shape::Counter(0.2));
            }
        }
        for name in [
            "capi_reconcile_time_seconds",
            "controller_runtime_reconcile_time_seconds",
        ] {
            collector.histogram(name, &labels, 0.4, SPARSE);
        }
        for name in [
            "controller_runtime_reconcile_errors_total",
            "capi_ssa_cache_hits_total",
            "capi_ssa_cache_misses_total",
        ] {
            collector.sparse(name, &labels, Shape::Counter(0.05));
        }
        collector.sparse(
            "controller_runtime_active_workers",
            &labels,
            Shape::Constant(1.0),
        );
        let most = "controller_runtime_max_concurrent_reconciles";
        collector.sparse(most, &labels, Shape::Constant(10.0));
        let queue = with(&[("name", controller)]);
        collector.sparse("workqueue_depth", &queue, Shape::Gauge(3.0, 2.0));
        collector.sparse("workqueue_adds_total", &queue, Shape::Counter(0.3));
        collector.sparse("workqueue_retries_total", &queue, Shape::Counter(0.1));
        let webhook = format!("validation.{controller}.cluster.x-k8s.io.v1beta2-{controller}");
        let labels = [&job[..], &[("webhook", webhook.as_str())]].concat();
        for code in ["200", "500"] {
            let labels = [&labels[..], &[("code", code)]].concat();
            let name = "controller_runtime_webhook_requests_total";
            collector.sparse(name, &labels, Shape::Counter(0.2));
        }
        let name = "controller_runtime_webhook_latency_seconds";
        collector.histogram(name, &labels, 0.4, SPARSE);
    }
}

const CONTROLLERS: [&str; 6] = [
    "cluster",
    "machinedeployment",
    "machineset",
    "machine",
    "machinepool",
    "kubeadmcontrolplane",
];

/// What must never reach a caller of another namespace.
fn traps(collector: &mut Collector) {
    let victim = [("namespace", "victim"), ("pod", "v-0")];
    collector.dense("secret", &victim, Shape::Constant(42.0));
    let own = [("namespace", "team-a"), ("pod", "web-7d4b9c6f5-abcde")];
    collector.dense("secret", &own, Shape::Constant(7.0));
    let other = [("namespace", "team-b"), ("pod", "web-6f8d7c5b4-qwert")];
    collector.dense("secret", &other, Shape::Constant(8.0));
    collector.dense("secret", &[("pod", "nons")], Shape::Constant(99.0));
    // Spelled with hexadecimal digits only, so that it can be taken for a part of a number.
    collector.dense("decade", &victim, Shape::Constant(42.0));
    collector.dense("phi", &[("namespace", "victim")], Shape::Constant(0.4242));
    let target = [
        ("namespace", "victim"),
        ("job", "web"),
        ("instance", "v:1"),
        ("k8s_cluster_name", "VICTIMDATA"),
    ];
    collector.dense("target_info", &target, Shape::Constant(1.0));
    // One job and instance in three namespaces: `info()` joins by these two labels alone.
    for (namespace, region) in [
        ("team-a", "a-1"),
        ("team-b", "b-1"),
        ("victim", "VICTIMDATA"),
    ] {
        let target = [
            ("namespace", namespace),
            ("job", "postgres"),
            ("instance", "postgres-0"),
        ];
        let labels = [&target[..], &[("k8s_region", region)]].concat();
        collector.dense("target_info", &labels, Shape::Constant(1.0));
        if namespace != "team-a" {
            let labels = [&target[..], &[("version", region)]].concat();
            collector.sparse("build_info", &labels, Shape::Constant(1.0));
        }
    }
}
