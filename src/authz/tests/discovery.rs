//! What lists tell of metrics that rules are about.

use super::*;
use crate::upstream::request::Treatment;

/// The selectors that would be sent beside each other.
async fn selectors(world: &World, path: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let sent = world.sent(path, pairs).await.expect(path);
    let selectors = sent.into_iter().filter(|(name, _)| name == "match[]");
    selectors.map(|(_, text)| text).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_rules_label_shows_is_in_lists_beside_what_the_default_label_shows() {
    let world = alice_in_team_a();
    for (own, written) in [
        (ANY, None),
        (r#"__name__=~"keda_.+""#, Some(r#"{__name__=~"keda_.+"}"#)),
        // Both must hold, so that nothing is left of it.
        (
            r#"exported_namespace="victim""#,
            Some(r#"{exported_namespace="victim"}"#),
        ),
    ] {
        let default = match written {
            None => r#"{namespace="team-a"}"#.to_owned(),
            Some(_) => format!(r#"{{{own}, namespace="team-a"}}"#),
        };
        let expected: Vec<_> = [default].into_iter().chain(beside(own)).collect();
        let written: Vec<_> = written.iter().map(|text| ("match[]", *text)).collect();
        for path in [
            "/api/v1/labels",
            "/api/v1/label/__name__/values",
            "/api/v1/series",
            "/federate",
        ] {
            assert_eq!(selectors(&world, path, &written).await, expected, "{path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_selector_with_a_name_or_a_namespace_of_its_own_gets_no_other_beside_it() {
    let world = alice_in_team_a();
    for text in [
        "up",
        "keda_scaler_active",
        r#"{namespace="team-a"}"#,
        r#"{__name__=~"keda_.+", namespace=~"team-a|victim"}"#,
    ] {
        let sent = selectors(&world, "/api/v1/series", &[("match[]", text)]).await;
        assert_eq!(sent.len(), 1, "{sent:?}");
    }
    // Its values are the namespaces that may be read.
    let sent = selectors(&world, "/api/v1/label/namespace/values", &[]).await;
    assert_eq!(sent, [r#"{namespace="team-a"}"#]);
    // In an expression there is no place for two.
    let sent = world.query(r#"{__name__=~"keda_.+"}"#).await;
    let expected = r#"{__name__=~"keda_.+", namespace="team-a"}"#;
    assert_eq!(sent.expect("a permit"), expected);
}

#[tokio::test(start_paused = true)]
async fn metrics_of_the_cluster_are_in_lists_of_those_to_whom_they_are_open() {
    let nodes = r#"{__name__!="", __name__=~"karpenter_nodes"}"#.to_owned();
    let open = alice_in_team_a_with_nodes();
    assert!(
        selectors(&open, "/api/v1/labels", &[])
            .await
            .contains(&nodes)
    );
    let narrowed = [("namespace", "team-a")];
    for (world, pairs) in [(&alice_in_team_a(), &[][..]), (&open, &narrowed)] {
        let sent = selectors(world, "/api/v1/labels", pairs).await;
        assert_eq!(sent.len(), 3, "{sent:?}");
        assert!(!sent.contains(&nodes), "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_rule_that_fits_a_name_is_the_only_one_that_shows_it() {
    let mut policy = policy();
    policy.metric_rules = vec![
        MetricRule {
            metrics: vec![
                MetricPattern::Exact("app_x".to_owned()),
                MetricPattern::Exact("other".to_owned()),
            ],
            rule: MetricAccess::Cluster(attributes("nodes")),
        },
        MetricRule {
            metrics: vec![MetricPattern::Prefix("app_raw_".to_owned())],
            rule: MetricAccess::Label("raw_namespace".to_owned()),
        },
        MetricRule {
            metrics: vec![MetricPattern::Prefix("app_".to_owned())],
            rule: MetricAccess::Label("app_namespace".to_owned()),
        },
    ];
    let mut world = alice_in_team_a();
    world.authorizer = Authorizer::new(
        policy,
        LIFETIMES,
        world.cluster.clone(),
        world.namespaces.clone(),
        None,
        &ReviewsMetrics::default(),
    );
    assert_eq!(
        selectors(&world, "/api/v1/labels", &[]).await,
        [
            r#"{namespace="team-a"}"#,
            r#"{__name__!="", __name__=~"app_raw_(?s:.*)", raw_namespace="team-a"}"#,
            r#"{__name__!="", __name__=~"app_(?s:.*)", __name__!~"app_x|app_raw_(?s:.*)", app_namespace="team-a"}"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn metadata_is_looked_up_by_the_names_that_rules_show_too() {
    let world = alice_in_team_a();
    let request = request("/api/v1/metadata", &[]);
    let permit = world.authorizer.permit(&world.alice, &request).await;
    let sent = restrict(&permit.expect("a permit"), &Method::GET, None, &[]).expect("short");
    let Treatment::Metadata(metadata) = sent.treatment() else {
        panic!("{sent:?}");
    };
    let (path, query) = metadata.names.target().split_once('?').expect("a query");
    assert_eq!(path, "/api/v1/label/__name__/values");
    let texts = form_urlencoded::parse(query.as_bytes()).map(|(_, text)| text.into_owned());
    let own = [r#"{namespace="team-a"}"#.to_owned()].into_iter();
    assert_eq!(
        texts.collect::<Vec<_>>(),
        own.chain(beside(ANY)).collect::<Vec<_>>()
    );
}
