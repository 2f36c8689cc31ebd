use http::Method;

use super::*;
use crate::cluster::mock::MockCluster;
use crate::cluster::{ClusterNamespaces, Unavailable};
use crate::config::{MetricAccess, MetricPattern};
use crate::prometheus::{Accepted, RequestLimits, Target};
use crate::upstream::request::restrict;

mod candidates;
mod changes;
mod discovery;
mod reviews;
mod watched;

const LIMITS: RequestLimits = RequestLimits {
    max_query_bytes: 4096,
    max_selectors: 256,
    max_parameters: 1_100,
    max_parameter_bytes: 1_024,
    max_range: None,
    max_points: None,
    namespace_parameters: Vec::new(),
};

const LIFETIMES: Lifetimes = Lifetimes {
    allowed: Duration::from_secs(60),
    denied: Duration::from_secs(10),
    watched: Duration::from_secs(300),
    stale: Duration::from_secs(600),
    capacity: 10_000,
};

fn attributes(resource: &str) -> ResourceAttributes {
    ResourceAttributes {
        verb: "get".to_owned(),
        group: "metrics.k8s.io".to_owned(),
        resource: resource.to_owned(),
        subresource: String::new(),
    }
}

fn namespace(name: &str) -> Namespace {
    Namespace::parse(name).expect(name)
}

fn policy() -> Policy {
    Policy {
        attributes: attributes("pods"),
        namespace_label: "namespace".to_owned(),
        metric_rules: vec![
            MetricRule {
                metrics: vec![MetricPattern::Prefix("keda_".to_owned())],
                rule: MetricAccess::Label("exported_namespace".to_owned()),
            },
            MetricRule {
                metrics: vec![MetricPattern::Prefix("http.server.".to_owned())],
                rule: MetricAccess::Label("k8s.namespace.name".to_owned()),
            },
            MetricRule {
                metrics: vec![MetricPattern::Exact("karpenter_nodes".to_owned())],
                rule: MetricAccess::Cluster(attributes("nodes")),
            },
        ],
        query_limits: promql::Limits::default(),
        max_namespaces: 500,
        patience: Duration::from_secs(10),
    }
}

struct World {
    cluster: Arc<MockCluster>,
    namespaces: ClusterNamespaces,
    authorizer: Authorizer,
    alice: Caller,
}

/// Allows by the user's name and the namespace, "" standing for the whole cluster.
fn world(allowed: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> World {
    let names = ["team-a", "team-b", "victim"].map(str::to_owned);
    world_of(MockCluster::allowing(allowed), names)
}

fn world_of(cluster: MockCluster, names: impl IntoIterator<Item = String>) -> World {
    let cluster = Arc::new(cluster);
    let namespaces = ClusterNamespaces::default();
    namespaces.publish(names.into_iter().map(|name| namespace(&name)).collect());
    let authorizer = Authorizer::new(
        policy(),
        LIFETIMES,
        cluster.clone(),
        namespaces.clone(),
        None,
        &ReviewsMetrics::default(),
    );
    World {
        cluster,
        namespaces,
        authorizer,
        alice: alice(),
    }
}

fn alice_in_team_a() -> World {
    world(|user, namespace| user == "alice" && namespace == "team-a")
}

/// The same, and the right that rules of the cluster ask for.
fn alice_in_team_a_with_nodes() -> World {
    let opened = MockCluster::new(
        |_| Err(Unavailable::Malformed),
        |spec| {
            let attributes = spec.resource_attributes.clone().unwrap_or_default();
            let nodes =
                attributes.resource.as_deref() == Some("nodes") && attributes.namespace.is_none();
            let allowed = nodes || attributes.namespace.as_deref() == Some("team-a");
            Ok(
                k8s_openapi::api::authorization::v1::SubjectAccessReviewStatus {
                    allowed,
                    ..Default::default()
                },
            )
        },
    );
    world_of(opened, ["team-a", "team-b", "victim"].map(str::to_owned))
}

fn alice() -> Caller {
    Caller::assumed("alice", &["system:authenticated".to_owned()])
}

fn request(path: &str, pairs: &[(&str, &str)]) -> PrometheusRequest {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    let target = Target::find(path, &Method::GET).expect(path);
    let limits = RequestLimits {
        namespace_parameters: vec!["namespace".to_owned()],
        ..LIMITS
    };
    target
        .read(&query, b"", Accepted::default(), &limits)
        .expect("a request")
}

/// What is sent beside a selector without a fixed name, for whoever sees team-a: metrics of the rules. `own` is what
/// the selector has of its own.
fn beside(own: &str) -> [String; 2] {
    [
        format!(r#"{{{own}, __name__=~"keda_(?s:.*)", exported_namespace="team-a"}}"#),
        format!(r#"{{{own}, __name__=~"http\\.server\\.(?s:.*)", "k8s.namespace.name"="team-a"}}"#),
    ]
}

/// The selector of all series.
const ANY: &str = r#"__name__!="""#;

impl World {
    /// The parameters that would be sent, decoded.
    async fn sent(
        &self,
        path: &str,
        pairs: &[(&str, &str)],
    ) -> Result<Vec<(String, String)>, AuthorizationError> {
        let request = request(path, pairs);
        let permit = self.authorizer.permit(&self.alice, &request).await?;
        let sent = restrict(&permit, &Method::GET, None, &[])?;
        let query = sent.target().split_once('?').map_or("", |(_, query)| query);
        Ok(form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect())
    }

    /// The query that would be sent.
    async fn query(&self, expression: &str) -> Result<String, AuthorizationError> {
        let sent = self.sent("/api/v1/query", &[("query", expression)]).await?;
        let query = sent.into_iter().find(|(name, _)| name == "query");
        Ok(query.expect("a query").1)
    }

    fn asked(&self) -> Vec<String> {
        let reviews = self.cluster.access_reviews.lock().expect("not poisoned");
        let namespace = |spec: &k8s_openapi::api::authorization::v1::SubjectAccessReviewSpec| {
            let attributes = spec.resource_attributes.clone().unwrap_or_default();
            attributes.namespace.unwrap_or_default()
        };
        reviews.iter().map(namespace).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_sees_everything_sends_the_query_as_it_is() {
    let world = world(|_, namespace| namespace.is_empty());
    let query = "sum(up)  # a comment";
    assert_eq!(world.query(query).await.expect("a permit"), query);
    assert_eq!(world.asked(), [""]);
}

#[tokio::test(start_paused = true)]
async fn q44_limits_hold_for_those_who_see_everything_too() {
    let world = world(|_, _| true);
    let deep = format!("{}up{}", "(".repeat(300), ")".repeat(300));
    assert!(matches!(
        world.query(&deep).await,
        Err(AuthorizationError::Query { .. })
    ));
    let refused = world.sent("/api/v1/series", &[("match[]", &deep)]).await;
    assert!(matches!(refused, Err(AuthorizationError::Query { .. })));
}

#[tokio::test(start_paused = true)]
async fn k06_what_a_matcher_does_not_name_is_confined_to_what_is_readable() {
    let world = alice_in_team_a();
    for (query, sent) in [
        ("up", r#"up{namespace="team-a"}"#),
        (
            r#"up{namespace!="x"}"#,
            r#"up{namespace!="x", namespace="team-a"}"#,
        ),
        (
            r#"up{namespace=~".*"}"#,
            r#"up{namespace=~".*", namespace="team-a"}"#,
        ),
        (
            r#"up{namespace=""}"#,
            r#"up{namespace="", namespace="team-a"}"#,
        ),
        (
            r#"{__name__=~".+"}"#,
            r#"{__name__=~".+", namespace="team-a"}"#,
        ),
    ] {
        assert_eq!(world.query(query).await.expect("a permit"), sent);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_named_and_denied_is_narrowed_or_refused_with_its_name() {
    let world = alice_in_team_a();
    let narrowed = world.query(r#"up{namespace=~"team-a|team-b"}"#).await;
    let expected = r#"up{namespace=~"team-a|team-b", namespace="team-a"}"#;
    assert_eq!(narrowed.expect("a permit"), expected);
    let request = request(
        "/api/v1/query",
        &[("query", r#"up{namespace=~"team-a|team-b"}"#)],
    );
    let permit = world
        .authorizer
        .permit(&world.alice, &request)
        .await
        .expect("a permit");
    assert!(
        permit.warnings()[0].contains("namespace team-b"),
        "{:?}",
        permit.warnings()
    );
    let refused = world
        .query(r#"up{namespace="team-b"}"#)
        .await
        .expect_err("no permit");
    let message = refused.to_string();
    assert!(
        message.contains("namespace team-b") && message.contains("get pods.metrics.k8s.io"),
        "{message}"
    );
    let half = world
        .query(r#"up{namespace="team-a"} + up{namespace="team-b"}"#)
        .await;
    assert!(matches!(half, Err(AuthorizationError::Namespaces { .. })));
}

#[tokio::test(start_paused = true)]
async fn q08_whoever_sees_nothing_gets_no_query_at_all() {
    let world = world(|_, _| false);
    for query in ["up", "vector(1)", r#"up{namespace=""}"#] {
        let refused = world.query(query).await;
        assert!(
            matches!(refused, Err(AuthorizationError::Nothing { .. })),
            "{query}: {refused:?}"
        );
    }
    for path in [
        "/api/v1/labels",
        "/api/v1/rules",
        "/api/v1/metadata",
        "/-/healthy",
        "/api/v1/status/buildinfo",
    ] {
        let refused = world.sent(path, &[]).await;
        assert!(
            matches!(refused, Err(AuthorizationError::Nothing { .. })),
            "{path}: {refused:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn rules_by_metric_choose_the_label_or_open_the_metric() {
    let keda = alice_in_team_a();
    let sent = keda.query("keda_scaler_active").await.expect("a permit");
    assert_eq!(sent, r#"keda_scaler_active{exported_namespace="team-a"}"#);
    for (query, expected) in [
        (
            r#"{"http.server.duration"}"#,
            r#"{"http.server.duration", "k8s.namespace.name"="team-a"}"#,
        ),
        (
            "http.server.duration",
            r#"http.server.duration{"k8s.namespace.name"="team-a"}"#,
        ),
        (
            r#"{__name__="http.server.duration", "k8s.namespace.name"=~"team-a|victim"}"#,
            r#"{__name__="http.server.duration", "k8s.namespace.name"=~"team-a|victim", "k8s.namespace.name"="team-a"}"#,
        ),
    ] {
        assert_eq!(keda.query(query).await.expect("a permit"), expected);
    }
    let named = keda.query(r#"{"http.server.duration", "k8s.namespace.name"="victim"}"#);
    assert!(matches!(
        named.await,
        Err(AuthorizationError::Namespaces { .. })
    ));
    let chosen = keda
        .query(r#"{__name__=~"keda_scaler_active"}"#)
        .await
        .expect("a permit");
    assert!(chosen.contains(r#", namespace="team-a""#), "{chosen}");
    let own = r#"karpenter_nodes{namespace="team-a"}"#;
    assert_eq!(keda.query(own).await.expect("a permit"), own);

    let world = alice_in_team_a_with_nodes();
    assert_eq!(
        world.query("karpenter_nodes").await.expect("a permit"),
        "karpenter_nodes"
    );
}

#[tokio::test(start_paused = true)]
async fn no_number_is_made_up_where_cluster_wide_access_is_missing() {
    let world = alice_in_team_a();
    for query in [
        "karpenter_nodes",
        "sum(karpenter_nodes) or vector(0)",
        r#"sum(up{namespace="team-a"}) or sum(karpenter_nodes) or vector(0)"#,
        "absent(karpenter_nodes)",
        "absent_over_time(karpenter_nodes[5m])",
        "up unless on() karpenter_nodes",
        "up and on() karpenter_nodes",
        "count(up or karpenter_nodes)",
        "up * on() group_left() karpenter_nodes",
        "topk(scalar(karpenter_nodes), up)",
        r#"karpenter_nodes{namespace=""}"#,
        r#"karpenter_nodes{namespace!="victim"}"#,
        r#"karpenter_nodes{namespace=~".*"}"#,
        r#"{__name__="karpenter_nodes"}"#,
    ] {
        let refused = world.query(query).await.expect_err(query);
        let expected = "you may not read the metrics karpenter_nodes, which belong to no namespace: ask for \
                        get nodes.metrics.k8s.io in the whole cluster; those of a namespace that you may read are \
                        answered where the query names it in the label namespace";
        assert_eq!(refused.to_string(), expected, "{query}");
    }
    let pairs = [("match[]", "up"), ("match[]", "karpenter_nodes")];
    for path in ["/api/v1/series", "/api/v1/labels", "/federate"] {
        let refused = world.sent(path, &pairs).await;
        assert!(
            matches!(refused, Err(AuthorizationError::ClusterMetrics { .. })),
            "{path}: {refused:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn q16_q17_every_selector_is_restricted_and_one_is_added_where_there_is_none() {
    let world = alice_in_team_a();
    let sent = world
        .sent(
            "/api/v1/series",
            &[("match[]", "up"), ("match[]", r#"{job="x"}"#)],
        )
        .await;
    let own = [
        r#"up{namespace="team-a"}"#,
        r#"{job="x", namespace="team-a"}"#,
    ];
    let expected = [own.map(str::to_owned), beside(r#"job="x""#)].concat();
    let sent: Vec<_> = sent
        .expect("a permit")
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    assert_eq!(sent, expected);
    for path in [
        "/api/v1/labels",
        "/api/v1/label/pod/values",
        "/api/v1/series",
        "/federate",
    ] {
        let sent = world.sent(path, &[]).await.expect("a permit");
        let own = [r#"{namespace="team-a"}"#.to_owned()].into_iter();
        let expected = own.chain(beside(ANY));
        let expected: Vec<_> = expected.map(|text| ("match[]".to_owned(), text)).collect();
        assert_eq!(sent, expected, "{path}");
    }
    let one_is_bad = world
        .sent(
            "/api/v1/series",
            &[("match[]", "up"), ("match[]", "up or up")],
        )
        .await;
    assert!(matches!(one_is_bad, Err(AuthorizationError::Query { .. })));
    let one_is_denied = world
        .sent(
            "/api/v1/series",
            &[("match[]", "up"), ("match[]", r#"up{namespace="victim"}"#)],
        )
        .await;
    assert!(matches!(
        one_is_denied,
        Err(AuthorizationError::Namespaces { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn what_names_no_namespace_is_for_those_who_see_everything() {
    let world = alice_in_team_a();
    for path in [
        "/api/v1/targets/metadata",
        "/api/v1/status/config",
        "/api/v1/status/flags",
        "/api/v1/status/tsdb",
        "/api/v1/status/runtimeinfo",
    ] {
        let refused = world.sent(path, &[]).await.expect_err("no permit");
        assert!(refused.to_string().contains("whole cluster"), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn thousands_of_names_are_sent_with_post() {
    let world = world(|_, namespace| !namespace.is_empty());
    world.namespaces.publish(
        (0..5000)
            .map(|number| namespace(&format!("namespace-{number}")))
            .collect(),
    );
    let request = request("/api/v1/query", &[("query", "up"), ("time", "1")]);
    let permit = world
        .authorizer
        .permit(&world.alice, &request)
        .await
        .expect("a permit");
    let sent = restrict(&permit, &Method::GET, None, &[]).expect("short enough");
    assert_eq!(
        (sent.method(), sent.target()),
        (&Method::POST, "/api/v1/query")
    );
    let form: Vec<_> = form_urlencoded::parse(&sent.form()).into_owned().collect();
    assert!(
        form.iter()
            .any(|(name, value)| name == "query" && value.contains("namespace-4999"))
    );
    assert!(form.contains(&("time".to_owned(), "1".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_query_that_cannot_be_read_says_where() {
    let world = alice_in_team_a();
    let error = world
        .query("sum(up")
        .await
        .expect_err("no permit")
        .to_string();
    assert!(
        error.contains("sum(up\n") && error.ends_with('^'),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_parameter_narrows_the_answer_of_every_caller() {
    let everything = world(|user, namespace| user == "alice" && namespace.is_empty());
    for world in [everything, alice_in_team_a()] {
        let query = |expression| [("query", expression), ("namespace", "team-a")];
        for (expression, expected) in [
            ("up", r#"up{namespace="team-a"}"#),
            (
                r#"up{namespace=~"victim|team-a"}"#,
                r#"up{namespace=~"victim|team-a", namespace="team-a"}"#,
            ),
            (
                r#"up{namespace="victim"}"#,
                r#"up{namespace="victim", namespace="team-a"}"#,
            ),
            ("vector(1)", "vector(1)"),
        ] {
            let sent = world.sent("/api/v1/query", &query(expression)).await;
            let sent = sent.expect("a permit");
            assert_eq!(sent, [("query".to_owned(), expected.to_owned())]);
        }
        let sent = world.sent("/api/v1/labels", &[("namespace", "team-a")]);
        let own = [r#"{namespace="team-a"}"#.to_owned()].into_iter();
        let expected: Vec<_> = own.chain(beside(ANY)).collect();
        let sent = sent.await.expect("a permit").into_iter();
        assert_eq!(sent.map(|(_, text)| text).collect::<Vec<_>>(), expected);
        let request = request("/api/v1/rules", &[("namespace", "team-a")]);
        let permit = world.authorizer.permit(&world.alice, &request).await;
        let permit = permit.expect("a permit");
        assert_eq!(permit.namespaces(), [&namespace("team-a")]);
    }
    let world = alice_in_team_a();
    for named in [&["victim"][..], &["team-a", "victim"]] {
        let named = named.iter().map(|name| ("namespace", *name));
        let pairs: Vec<_> = [("query", "up")].into_iter().chain(named).collect();
        assert!(matches!(
            world.sent("/api/v1/query", &pairs).await,
            Err(AuthorizationError::Namespaces { namespaces, .. }) if namespaces == [namespace("victim")]
        ));
    }
}

/// What would be sent to an upstream with matchers.
async fn sent_with_matchers(
    world: &World,
    path: &str,
    pairs: &[(&str, &str)],
) -> Result<Vec<String>, AuthorizationError> {
    let request = request(path, pairs);
    let permit = world.authorizer.permit(&world.alice, &request).await?;
    let matchers = [("cluster".to_owned(), "prod-1".to_owned())];
    let sent = restrict(&permit, &Method::GET, None, &matchers)?;
    let query = sent.target().split_once('?').map_or("", |(_, query)| query);
    let pairs = form_urlencoded::parse(query.as_bytes());
    Ok(pairs.map(|(_, value)| value.into_owned()).collect())
}

#[tokio::test(start_paused = true)]
async fn an_upstreams_matchers_are_in_everybodys_selectors() {
    let everything = world(|_, namespace| namespace.is_empty());
    let some = alice_in_team_a();
    for (path, pairs, for_everything, for_some) in [
        (
            "/api/v1/query",
            &[("query", "sum(up) / b")][..],
            &[r#"sum(up{cluster="prod-1"}) / b{cluster="prod-1"}"#][..],
            &[
                r#"sum(up{namespace="team-a", cluster="prod-1"}) / b{namespace="team-a", cluster="prod-1"}"#,
            ][..],
        ),
        (
            "/api/v1/query_exemplars",
            &[("query", "up")],
            &[r#"up{cluster="prod-1"}"#],
            &[r#"up{namespace="team-a", cluster="prod-1"}"#],
        ),
        (
            "/api/v1/series",
            &[("match[]", "up"), ("match[]", "{pod=\"x\"}")],
            &[r#"up{cluster="prod-1"}"#, r#"{pod="x", cluster="prod-1"}"#],
            &[
                r#"up{namespace="team-a", cluster="prod-1"}"#,
                r#"{pod="x", namespace="team-a", cluster="prod-1"}"#,
            ],
        ),
        (
            "/api/v1/labels",
            &[],
            &[r#"{__name__!="", cluster="prod-1"}"#],
            &[r#"{namespace="team-a", cluster="prod-1"}"#],
        ),
        (
            "/api/v1/label/pod/values",
            &[],
            &[r#"{__name__!="", cluster="prod-1"}"#],
            &[r#"{namespace="team-a", cluster="prod-1"}"#],
        ),
        (
            "/federate",
            &[("match[]", "up")],
            &[r#"up{cluster="prod-1"}"#],
            &[r#"up{namespace="team-a", cluster="prod-1"}"#],
        ),
    ] {
        let sent = sent_with_matchers(&everything, path, pairs).await;
        assert_eq!(sent.expect(path), for_everything, "{path}");
        let sent = sent_with_matchers(&some, path, pairs).await.expect(path);
        let (own, ruled) = sent.split_at(for_some.len());
        assert_eq!(own, for_some, "{path}");
        for selector in ruled {
            assert!(
                selector.ends_with(r#""team-a", cluster="prod-1"}"#),
                "{selector}"
            );
        }
        let open = for_some.iter().filter(|text| text.starts_with('{')).count();
        assert_eq!(ruled.len(), 2 * open, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_endpoint_has_an_upstreams_matchers_tells_of_no_series_or_is_refused() {
    let world = world(|_, namespace| namespace.is_empty());
    for &endpoint in Endpoint::ALL {
        let path = endpoint.path((endpoint == Endpoint::LabelValues).then_some("pod"));
        let queries = [("query", "up")];
        let pairs = &queries[..usize::from(endpoint.parameter("query").is_some())];
        match sent_with_matchers(&world, &path, pairs).await {
            Err(AuthorizationError::NotConfined { .. }) => {}
            Err(error) => panic!("{path}: {error}"),
            Ok(sent) => {
                let confined = sent.iter().any(|text| text.contains(r#"cluster="prod-1""#));
                assert!(confined || endpoint.reads() == Reads::NoSeries, "{path}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_not_sent_where_an_upstream_has_matchers() {
    let world = world(|_, namespace| namespace.is_empty());
    for query in ["rollup(up)", "up{", "{}", "up or"] {
        let sent = sent_with_matchers(&world, "/api/v1/query", &[("query", query)]).await;
        assert!(
            matches!(sent, Err(AuthorizationError::Query { .. })),
            "{query}"
        );
    }
}
