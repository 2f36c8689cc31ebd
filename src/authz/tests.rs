use std::sync::atomic::Ordering;

use http::Method;

use super::access::CONCURRENT_REVIEWS;
use super::*;
use crate::cluster::Unavailable;
use crate::cluster::mock::MockCluster;
use crate::prometheus::{RequestLimits, Target};
use crate::upstream::request::restrict;

const LIMITS: RequestLimits = RequestLimits {
    max_query_bytes: 4096,
    max_range: None,
    max_points: None,
};

const LIFETIMES: Lifetimes = Lifetimes {
    allowed: Duration::from_secs(60),
    denied: Duration::from_secs(10),
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
    let cluster = Arc::new(MockCluster::allowing(allowed));
    let namespaces = ClusterNamespaces::default();
    namespaces.publish(["team-a", "team-b", "victim"].map(namespace).to_vec());
    let authorizer = Authorizer::new(
        policy(),
        LIFETIMES,
        cluster.clone(),
        namespaces.clone(),
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

fn alice() -> Caller {
    Caller::assumed("alice", &["system:authenticated".to_owned()])
}

fn request(path: &str, pairs: &[(&str, &str)]) -> PrometheusRequest {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    let target = Target::find(path, &Method::GET).expect(path);
    target.read(&query, b"", &[], &LIMITS).expect("a request")
}

impl World {
    /// The parameters that would be sent, decoded.
    async fn sent(
        &self,
        path: &str,
        pairs: &[(&str, &str)],
    ) -> Result<Vec<(String, String)>, AuthorizationError> {
        let request = request(path, pairs);
        let permit = self.authorizer.permit(&self.alice, &request).await?;
        let sent = restrict(&permit, &Method::GET, None)?;
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
async fn k05_only_namespaces_that_a_query_names_are_reviewed() {
    let world = alice_in_team_a();
    let query = r#"sum(up{namespace="team-a"})"#;
    assert_eq!(world.query(query).await.expect("a permit"), query);
    assert_eq!(world.asked(), ["", "team-a"]);
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
    let chosen = keda
        .query(r#"{__name__=~"keda_scaler_active"}"#)
        .await
        .expect("a permit");
    assert!(chosen.contains(r#", namespace="team-a""#), "{chosen}");
    let closed = keda.query("karpenter_nodes").await.expect("a permit");
    assert_eq!(closed, r#"karpenter_nodes{namespace="team-a"}"#);

    let opened = Arc::new(MockCluster::new(
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
    ));
    let authorizer = Authorizer::new(
        policy(),
        LIFETIMES,
        opened.clone(),
        keda.namespaces.clone(),
        &ReviewsMetrics::default(),
    );
    let world = World {
        cluster: opened,
        namespaces: keda.namespaces,
        authorizer,
        alice: alice(),
    };
    assert_eq!(
        world.query("karpenter_nodes").await.expect("a permit"),
        "karpenter_nodes"
    );
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
    let expected = [
        r#"up{namespace="team-a"}"#,
        r#"{job="x", namespace="team-a"}"#,
    ];
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
        assert_eq!(
            sent,
            [("match[]".to_owned(), r#"{namespace="team-a"}"#.to_owned())],
            "{path}"
        );
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
        "/api/v1/targets",
        "/api/v1/targets/metadata",
        "/api/v1/status/tsdb",
        "/api/v1/status/runtimeinfo",
    ] {
        let refused = world.sent(path, &[]).await.expect_err("no permit");
        assert!(refused.to_string().contains("whole cluster"), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_that_cannot_be_completed_is_an_error_and_never_a_smaller_set() {
    let world = alice_in_team_a();
    world.cluster.is_away(Some(Unavailable::Unreachable));
    let error = world.query("up").await;
    assert!(matches!(
        error,
        Err(AuthorizationError::Unavailable(Unavailable::Unreachable))
    ));
    let fails_for_one = Arc::new(MockCluster::new(
        |_| Err(Unavailable::Malformed),
        |spec| {
            let attributes = spec.resource_attributes.clone().unwrap_or_default();
            match attributes.namespace.as_deref() {
                Some("victim") => Err(Unavailable::Deadline),
                namespace => Ok(
                    k8s_openapi::api::authorization::v1::SubjectAccessReviewStatus {
                        allowed: namespace == Some("team-a"),
                        ..Default::default()
                    },
                ),
            }
        },
    ));
    let authorizer = Authorizer::new(
        policy(),
        LIFETIMES,
        fails_for_one.clone(),
        world.namespaces.clone(),
        &ReviewsMetrics::default(),
    );
    let world = World {
        cluster: fails_for_one,
        namespaces: world.namespaces,
        authorizer,
        alice: alice(),
    };
    let error = world.query("up").await;
    assert!(
        matches!(
            error,
            Err(AuthorizationError::Unavailable(Unavailable::Deadline))
        ),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn k08_without_a_list_of_namespaces_nothing_is_guessed() {
    let cluster = Arc::new(MockCluster::allowing(|_, namespace| !namespace.is_empty()));
    let namespaces = ClusterNamespaces::default();
    let authorizer = Authorizer::new(
        policy(),
        LIFETIMES,
        cluster.clone(),
        namespaces.clone(),
        &ReviewsMetrics::default(),
    );
    let world = World {
        cluster,
        namespaces,
        authorizer,
        alice: alice(),
    };
    let error = world.query("up").await;
    assert!(matches!(
        error,
        Err(AuthorizationError::Unavailable(
            Unavailable::NamespacesUnknown
        ))
    ));
    world.namespaces.publish(Vec::new());
    assert!(matches!(
        world.query("up").await,
        Err(AuthorizationError::Nothing { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn k05_at_most_sixteen_reviews_of_one_caller_are_under_way_and_each_once() {
    let world = world(|_, namespace| namespace.starts_with("ns-1"));
    world.namespaces.publish(
        (0..1000)
            .map(|number| namespace(&format!("ns-{number}")))
            .collect(),
    );
    let world = Arc::new(world);
    let asks = (0..50).map(|_| {
        let world = world.clone();
        tokio::spawn(async move { world.query("up").await.map(|query| query.len()) })
    });
    let lengths: Vec<_> = asks.collect();
    for length in lengths {
        assert!(length.await.expect("no panic").expect("a permit") > 100);
    }
    assert_eq!(world.asked().len(), 1001);
    assert!(world.cluster.most_under_way.load(Ordering::SeqCst) <= CONCURRENT_REVIEWS);
}

#[tokio::test(start_paused = true)]
async fn t17_a_permission_that_was_counted_into_a_set_does_not_outlive_itself() {
    let world = alice_in_team_a();
    world
        .query(r#"up{namespace="team-a"}"#)
        .await
        .expect("a permit");
    tokio::time::sleep(LIFETIMES.allowed / 2).await;
    // Counted into the set now, from an answer that is half as old as it may be.
    world.query("up").await.expect("a permit");
    let before = world
        .asked()
        .iter()
        .filter(|name| *name == "team-a")
        .count();
    tokio::time::sleep(LIFETIMES.allowed / 2 + Duration::from_secs(1)).await;
    world.query("up").await.expect("a permit");
    let after = world
        .asked()
        .iter()
        .filter(|name| *name == "team-a")
        .count();
    assert_eq!((before, after), (1, 2));
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
    let sent = restrict(&permit, &Method::GET, None).expect("short enough");
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

/// A query that names each of these.
fn naming(names: impl IntoIterator<Item = String>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    format!(r#"up{{namespace=~"{}"}}"#, names.join("|"))
}

#[tokio::test(start_paused = true)]
async fn k18_a_namespace_that_does_not_exist_is_denied_unasked_in_the_words_of_a_denial() {
    let world = alice_in_team_a();
    let mut refusals = Vec::new();
    for name in ["victim", "nowhere"] {
        let query = naming([name.to_owned()]);
        let refused = world.query(&query).await.expect_err("no permit");
        refusals.push(refused.to_string().replace(name, "NAME"));
        let partly = request(
            "/api/v1/query",
            &[("query", &naming([name.to_owned(), "team-a".to_owned()]))],
        );
        let permit = world.authorizer.permit(&world.alice, &partly).await;
        let permit = permit.expect("a permit");
        let decisions = permit.decisions().iter();
        let denied = decisions
            .filter(|decision| decision.namespace.as_ref() == Some(&namespace(name)))
            .collect::<Vec<_>>();
        assert!(matches!(denied[..], [decision] if !decision.allowed));
        refusals.push(permit.warnings().join("").replace(name, "NAME"));
    }
    assert_eq!(refusals[..2], refusals[2..]);
    assert_eq!(world.asked(), ["", "victim", "team-a"]);
}

#[tokio::test(start_paused = true)]
async fn k18_while_the_list_of_namespaces_is_not_certain_they_are_asked_about() {
    let world = alice_in_team_a();
    world.namespaces.lost();
    let refused = world.query(r#"up{namespace="nowhere"}"#).await;
    assert!(matches!(
        refused,
        Err(AuthorizationError::Namespaces { .. })
    ));
    assert_eq!(world.asked(), ["", "nowhere"]);
}

#[tokio::test(start_paused = true)]
async fn k18_a_namespace_that_has_just_come_is_not_denied_by_what_was_said_before() {
    let world = alice_in_team_a();
    world.namespaces.publish(vec![namespace("team-b")]);
    let query = r#"up{namespace="team-a"}"#;
    assert!(world.query(query).await.is_err());
    world.namespaces.publish(vec![namespace("team-a")]);
    assert_eq!(world.query(query).await.expect("a permit"), query);
}

#[tokio::test(start_paused = true)]
async fn k18_one_request_names_500_namespaces_and_no_more() {
    let world = alice_in_team_a();
    let names = |count: usize| naming((0..count).map(|number| format!("n{number}")));
    let refused = world.query(&names(500)).await;
    assert!(matches!(
        refused,
        Err(AuthorizationError::Namespaces { .. })
    ));
    let refused = world.query(&names(501)).await.expect_err("no permit");
    assert!(
        refused.to_string().contains("more than 500 namespaces"),
        "{refused}"
    );
    // All selectors count together, and each name once.
    let half = |from: usize| naming((from..from + 300).map(|number| format!("n{number}")));
    let twice = format!("{} + {}", half(0), half(0));
    assert!(matches!(
        world.query(&twice).await,
        Err(AuthorizationError::Namespaces { .. })
    ));
    let apart = [half(0), half(300)];
    let selectors = apart.each_ref().map(|text| ("match[]", text.as_str()));
    for refused in [
        world.query(&apart.join(" + ")).await.map(drop),
        world.sent("/api/v1/series", &selectors).await.map(drop),
    ] {
        assert!(matches!(
            refused,
            Err(AuthorizationError::TooManyNamespaces { limit: 500 })
        ));
    }
    assert_eq!(world.asked(), [""], "for none of these");
}

#[tokio::test(start_paused = true)]
async fn k18_who_sees_everything_names_as_many_as_a_query_has_room_for() {
    let world = world(|_, namespace| namespace.is_empty());
    let query = naming((0..600).map(|number| format!("n{number}")));
    assert_eq!(world.query(&query).await.expect("a permit"), query);
}

#[tokio::test(start_paused = true)]
async fn k20_a_set_is_as_old_as_the_oldest_answer_in_it() {
    let cluster = Arc::new(MockCluster::allowing(|_, namespace| !namespace.is_empty()));
    let namespaces = ClusterNamespaces::default();
    namespaces.publish(["team-a", "team-b"].map(namespace).to_vec());
    let authorizer = Authorizer::new(
        policy(),
        LIFETIMES,
        cluster.clone(),
        namespaces.clone(),
        &ReviewsMetrics::default(),
    );
    let world = World {
        cluster,
        namespaces,
        authorizer,
        alice: alice(),
    };
    // The answer for team-a is half a lifetime older than the one for team-b.
    let begun = tokio::time::Instant::now();
    let older = world.query(r#"up{namespace="team-a"}"#).await;
    older.expect("a permit");
    tokio::time::sleep(LIFETIMES.allowed / 2).await;
    world.query("up").await.expect("a permit");
    world.cluster.is_away(Some(Unavailable::Deadline));
    // However often it is made anew of what is stale.
    let mut served = Duration::ZERO;
    while world.query("up").await.is_ok() {
        served = begun.elapsed();
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let most = LIFETIMES.allowed + LIFETIMES.stale;
    assert!(
        served <= most && served + Duration::from_secs(30) > most,
        "{served:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn k20_a_right_that_is_known_to_be_gone_is_in_no_set_made_of_what_is_stale() {
    // From some time on team-b is denied, and team-c cannot be reviewed.
    let later = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = later.clone();
    let cluster = Arc::new(MockCluster::new(
        |_| Err(Unavailable::Malformed),
        move |spec| {
            let attributes = spec.resource_attributes.clone().unwrap_or_default();
            let later = flag.load(Ordering::Relaxed);
            let allowed = match attributes.namespace.as_deref() {
                None => false,
                Some("team-b") => !later,
                Some("team-c") if later => return Err(Unavailable::Deadline),
                Some(_) => true,
            };
            Ok(
                k8s_openapi::api::authorization::v1::SubjectAccessReviewStatus {
                    allowed,
                    ..Default::default()
                },
            )
        },
    ));
    let namespaces = ClusterNamespaces::default();
    namespaces.publish(["team-a", "team-b", "team-c"].map(namespace).to_vec());
    let authorizer = Authorizer::new(
        policy(),
        LIFETIMES,
        cluster.clone(),
        namespaces.clone(),
        &ReviewsMetrics::default(),
    );
    let world = World {
        cluster,
        namespaces,
        authorizer,
        alice: alice(),
    };
    let all = world.query("up").await.expect("a permit");
    assert_eq!(all, r#"up{namespace=~"team-a|team-b|team-c"}"#);
    later.store(true, Ordering::Relaxed);
    tokio::time::sleep(LIFETIMES.allowed).await;
    let left = world.query("up").await.expect("a permit");
    assert_eq!(left, r#"up{namespace=~"team-a|team-c"}"#);
}

#[tokio::test(start_paused = true)]
async fn while_the_api_server_hangs_what_is_remembered_of_many_namespaces_serves_after_one_failure()
{
    let mut cluster = MockCluster::allowing(|_, namespace| !namespace.is_empty());
    cluster.delay = Duration::from_secs(3);
    let cluster = Arc::new(cluster);
    let namespaces = ClusterNamespaces::default();
    let names = (0..48).map(|number| namespace(&format!("ns-{number}")));
    namespaces.publish(names.collect());
    let authorizer = Authorizer::new(
        policy(),
        LIFETIMES,
        cluster.clone(),
        namespaces.clone(),
        &ReviewsMetrics::default(),
    );
    let world = World {
        cluster,
        namespaces,
        authorizer,
        alice: alice(),
    };
    let query = naming((0..48).map(|number| format!("ns-{number}")));
    world.query(&query).await.expect("a permit");
    world.cluster.is_away(Some(Unavailable::Deadline));
    tokio::time::sleep(LIFETIMES.allowed).await;
    for query in [query.as_str(), "up"] {
        let begun = tokio::time::Instant::now();
        world.query(query).await.expect("a permit");
        // One wait for the whole cluster, and one for the first of the namespaces.
        assert!(
            begun.elapsed() <= Duration::from_secs(7),
            "{query}: {:?}",
            begun.elapsed()
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn k19_reviews_of_one_caller_are_asked_for_that_caller_and_again_as_renewals() {
    let world = alice_in_team_a();
    let query = r#"up{namespace="team-a"}"#;
    world.query(query).await.expect("a permit");
    tokio::time::sleep(LIFETIMES.allowed).await;
    world.query(query).await.expect("a permit");
    let classes = world.cluster.classes.lock().expect("not poisoned").clone();
    assert!(classes.iter().all(|class| class.flow == world.alice.flow()));
    let priorities: Vec<_> = classes.iter().map(|class| class.priority).collect();
    use crate::cluster::Priority::{New, Renewal};
    assert_eq!(priorities, [New, New, Renewal, Renewal]);
}
