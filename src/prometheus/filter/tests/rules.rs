//! `/api/v1/rules`.

use serde_json::json;

use super::*;

/// The rules of an answer by name.
fn rule<'a>(answer: &'a Value, name: &str) -> Option<&'a Value> {
    let groups = answer["data"]["groups"].as_array().expect("groups");
    let mut rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"));
    rules.find(|rule| rule["name"] == name)
}

fn group<'a>(answer: &'a Value, name: &str) -> Option<&'a Value> {
    let groups = answer["data"]["groups"].as_array().expect("groups");
    groups.iter().find(|group| group["name"] == name)
}

fn document(rules: &str) -> String {
    format!(
        r#"{{"status":"success","data":{{"groups":[{{"name":"g","file":"f","rules":[{rules}]}}]}}}}"#
    )
}

#[test]
fn e14_recorded_rules_show_only_own_rules_and_own_alerts() {
    let text = filtered(rules, RULES).expect("rules");
    // What an alert of the caller's says, and what a rule of the caller's says, its error among it.
    let shown = text.replace("all of team-a and team-b", "").replacen(
        "many-to-many matching not allowed",
        "",
        1,
    );
    for secret in [
        "team-b",
        "team_b",
        "team-c",
        "BOnly",
        "cluster",
        "many-to-many",
        "shared.rules.yml",
        "other.rules.yml",
    ] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    let (answer, all) = (json(&text), json(RULES));
    for own in ["team_a:v:sum", "ABroken", "AValue", "a:v"] {
        assert_eq!(rule(&answer, own), rule(&all, own), "{own}");
    }
    assert_eq!(group(&answer, "team-a"), group(&all, "team-a"));
    assert_eq!(group(&answer, "shared").expect("kept")["file"], "");
    assert_eq!(group(&answer, "broken-shared").expect("kept")["file"], "");
    assert_eq!(group(&answer, "team-b-only"), None);
    for gone in [
        "BrokenShared",
        "Quiet",
        "cluster:up:sum",
        "BOnly",
        "team_b:v:sum",
    ] {
        assert_eq!(rule(&answer, gone), None, "{gone}");
    }
    let shared = rule(&answer, "HighValue").expect("kept");
    assert_eq!(
        (&shared["query"], &shared["annotations"]),
        (&json!(""), &json!({}))
    );
    let alerts = shared["alerts"].as_array().expect("alerts");
    assert_eq!(alerts.len(), 2);
    assert!(
        alerts
            .iter()
            .all(|alert| alert["labels"]["namespace"] == "team-a")
    );
    assert_eq!(
        alerts[0],
        rule(&all, "HighValue").expect("there")["alerts"][0]
    );
}

#[test]
fn e14_a_label_that_is_filled_in_for_each_alert_is_no_static_label() {
    let answer = json(&outcome(rules(), [RULES.as_bytes()]).0);
    let templated = rule(&answer, "Templated").expect("kept");
    assert_eq!(templated["alerts"].as_array().map(Vec::len), Some(2));
    assert_eq!(templated["query"], "");
}

#[test]
fn e14_answers_of_prometheus_3_are_filtered_and_unknown_fields_kept() {
    let text = filtered(rules, RULES_3).expect("rules");
    assert_eq!(
        text,
        concat!(
            r#"{"status":"success","data":{"groups":[{"name":"shared","rules":[{"name":"Latency","#,
            r#""duration":60,"keepFiringFor":300,"labels":{"severity":"page"},"query":"","annotations":{},"#,
            r#""alerts":[{"labels":{"alertname":"Latency","namespace":"team-a"},"annotations":{"summary":"7"},"#,
            r#""state":"pending","activeAt":"2026-01-02T03:04:05.6Z","value":"7e+00"}],"health":"err","#,
            r#""evaluationTime":1.0e-7,"lastEvaluation":"2026-01-02T03:04:05.6Z","type":"alerting","#,
            r#""state":"pending"}],"interval":30,"limit":0,"evaluationTime":0.000123456789012345678901,"#,
            r#""lastEvaluation":"2026-01-02T03:04:05.6Z","queryOffset":60,"file":""},{"name":"own","rules":["#,
            r#"{"name":"NotYet","duration":0,"keepFiringFor":0,"labels":{"namespace":"team-a"},"#,
            r#""query":"up{namespace=\"team-a\"} == 0","annotations":{"summary":"down"},"alerts":null,"#,
            r#""health":"unknown","evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z","#,
            r#""type":"alerting","futureField":{"nested":[1e400,-0.0]},"state":"unknown"},"#,
            r#"{"name":"a:up","labels":{"namespace":"team-a"},"query":"up{namespace=\"team-a\"}","#,
            r#""health":"ok","evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z","type":"recording"}],"#,
            r#""interval":30,"limit":0,"evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z","#,
            r#""file":""}]},"warnings":["a warning"],"infos":["an info"]}"#,
        )
    );
}

#[test]
fn e25_the_file_of_a_group_is_shown_only_if_all_its_rules_are_the_callers() {
    let own = r#"{"name":"mine","labels":{"namespace":"team-a"}}"#;
    let others = r#"{"name":"theirs","labels":{"namespace":"team-b"}}"#;
    let nobodys = r#"{"name":"cluster:up","labels":{}}"#;
    for (rules_of, file) in [
        (own.to_owned(), "f"),
        (format!("{own},{others}"), ""),
        (format!("{others},{own}"), ""),
        (format!("{own},{nobodys}"), ""),
    ] {
        let answer = json(&filtered(rules, &document(&rules_of)).expect("rules"));
        assert_eq!(
            group(&answer, "g").expect("kept")["file"],
            file,
            "{rules_of}"
        );
        assert!(rule(&answer, "mine").is_some());
    }
}

#[test]
fn e30_what_is_not_known_is_shown_only_of_what_is_wholly_the_callers() {
    let alert = r#"{"labels":{"namespace":"team-a"},"state":"firing","unknown":1}"#;
    let shared =
        format!(r#"{{"name":"shared","unknown":"victim","labels":{{}},"alerts":[{alert}]}}"#);
    let late =
        format!(r#"{{"name":"shared","labels":{{}},"alerts":[{alert}],"unknown":"victim"}}"#);
    let own = r#"{"name":"mine","labels":{"namespace":"team-a"},"unknown":"mine"}"#;
    let group_of = |rules_of: &str| {
        let group = format!(
            r#"{{"name":"g","sourceTenants":["victim"],"rules":[{rules_of}],"later":"victim"}}"#
        );
        format!(r#"{{"status":"success","data":{{"groups":[{group}]}}}}"#)
    };
    for rules_of in [
        &*shared,
        &late,
        &format!("{own},{shared}"),
        &format!("{late},{own}"),
    ] {
        let text = filtered(rules, &group_of(rules_of)).expect("rules");
        assert!(!text.contains("victim"), "{text}");
        assert!(
            text.contains(r#""unknown":1"#),
            "the alert is the caller's: {text}"
        );
        assert_eq!(text.contains(r#""unknown":"mine""#), rules_of.contains(own));
    }
    let whole = json(&filtered(rules, &group_of(own)).expect("rules"));
    assert_eq!(whole, json(&group_of(own)));
}

#[test]
fn e15_the_token_of_the_next_page_is_not_echoed() {
    // Releases up to 3.0 spell the key with a slip of the struct tag in it (changelog of 3.1, #15400).
    for key in ["groupNextToken", "groupNextToken:omitempty"] {
        let answer = RULES_3.replace("groupNextToken", key);
        let text = filtered(rules, &answer).expect("rules");
        assert!(!text.contains("groupNextToken") && !text.contains("f1e2d3c4"));
    }
}

#[test]
fn k07_members_of_the_answer_and_of_data_that_are_unknown_are_dropped() {
    let text =
        r#"{"status":"success","data":{"hidden":["team-b"],"groups":[]},"stats":{"team-b":1}}"#;
    assert_eq!(
        filtered(rules, text).as_deref(),
        Ok(r#"{"status":"success","data":{"groups":[]}}"#)
    );
}

#[test]
fn the_state_of_a_rule_is_that_of_the_alerts_which_are_kept() {
    let alert = |namespace: &str, state: &str| {
        format!(r#"{{"labels":{{"namespace":"{namespace}"}},"state":"{state}"}}"#)
    };
    for (own, expected) in [
        (&["pending", "firing", "inactive"][..], "firing"),
        (&["inactive", "pending"], "pending"),
        (&["inactive"], "inactive"),
        (&["unheard-of"], "inactive"),
    ] {
        let mut alerts = vec![alert("team-b", "firing")];
        alerts.extend(own.iter().map(|state| alert("team-a", state)));
        let text = document(&format!(
            r#"{{"state":"firing","labels":{{}},"alerts":[{}]}}"#,
            alerts.join(",")
        ));
        let answer = json(&filtered(rules, &text).expect("rules"));
        assert_eq!(answer["data"]["groups"][0]["rules"][0]["state"], expected);
    }
}

#[test]
fn a_rule_of_the_callers_keeps_its_own_state_unless_an_alert_is_hidden() {
    let text = document(concat!(
        r#"{"state":"odd","labels":{"namespace":"team-a"},"alerts":[{"labels":{"namespace":"team-a"},"state":"firing"}]},"#,
        r#"{"state":"firing","labels":{"namespace":"team-a"},"alerts":[{"labels":{"namespace":"team-b"},"state":"firing"}]}"#,
    ));
    let answer = json(&filtered(rules, &text).expect("rules"));
    let rules = &answer["data"]["groups"][0]["rules"];
    assert_eq!(
        (&rules[0]["state"], &rules[1]["state"]),
        (&json!("odd"), &json!("inactive"))
    );
    assert_eq!(rules[1]["alerts"], json!([]));
}

#[test]
fn alerts_may_come_before_the_labels_that_tell_whose_the_rule_is() {
    let alerts = r#""alerts":[{"labels":{"namespace":"team-a"},"state":"firing"}]"#;
    for (namespace, kept) in [("team-a", true), ("team-b", false)] {
        let text = document(&format!(
            r#"{{{alerts},"query":"q","labels":{{"namespace":"{namespace}"}}}}"#
        ));
        let answer = json(&filtered(rules, &text).expect("rules"));
        assert_eq!(
            answer["data"]["groups"][0]["rules"][0]["query"] == "q",
            kept
        );
        assert_eq!(answer["data"]["groups"] == json!([]), !kept);
    }
    // A rule without labels belongs to nobody.
    let text = document(&format!(r#"{{{alerts},"query":"q"}}"#));
    let answer = json(&filtered(rules, &text).expect("rules"));
    assert_eq!(answer["data"]["groups"][0]["rules"][0]["query"], "");
}

#[test]
fn alerts_that_are_left_out_still_tell_which_rules_concern_the_caller() {
    let without = json(&outcome(rules().without_alerts(), [RULES.as_bytes()]).0);
    let mut with = json(&outcome(rules(), [RULES.as_bytes()]).0);
    for group in with["data"]["groups"].as_array_mut().expect("groups") {
        for rule in group["rules"].as_array_mut().expect("rules") {
            if let Some(alerts) = rule.get_mut("alerts") {
                *alerts = Value::Null;
            }
        }
    }
    assert_eq!(without, with);
}

#[test]
fn names_that_are_spelled_with_escapes_are_the_same_names() {
    let text = r#"{"status":"success","d\u0061ta":{"gr\u006fups":[{"rul\u0065s":[{"qu\u0065ry":"secret","l\u0061bels":{},"alerts":[{"labels":{"n\u0061mespace":"team-\u0061"},"state":"firing"}]}]}]}}"#;
    let answer = json(&filtered(rules, text).expect("rules"));
    assert_eq!(answer["data"]["groups"][0]["rules"][0]["query"], "");
}

#[test]
fn e14_answers_of_another_shape_are_errors() {
    let alert = r#"{"labels":{"namespace":"team-a"},"state":"firing"}"#;
    for text in [
        "null".to_owned(),
        "1 ".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"status":"error","errorType":"internal","error":"team-b"}"#.to_owned(),
        r#"{"status":"error","data":{"groups":[]}}"#.to_owned(),
        r#"{"data":{"groups":[]}}"#.to_owned(),
        r#"{"status":["success"],"data":{"groups":[]}}"#.to_owned(),
        r#"{"status":"success"}"#.to_owned(),
        r#"{"status":"success","data":null}"#.to_owned(),
        r#"{"status":"success","data":[]}"#.to_owned(),
        r#"{"status":"success","data":{}}"#.to_owned(),
        r#"{"status":"success","data":{"groups":{}}}"#.to_owned(),
        r#"{"status":"success","data":{"groups":"x"}}"#.to_owned(),
        r#"{"status":"success","data":{"groups":[[]]}}"#.to_owned(),
        r#"{"status":"success","data":{"groups":[1]}}"#.to_owned(),
        r#"{"status":"success","data":{"groups":[{}]}}"#.to_owned(),
        r#"{"status":"success","data":{"groups":[{"rules":{}}]}}"#.to_owned(),
        r#"{"status":"success","data":{"groups":[{"rules":1}]}}"#.to_owned(),
        r#"{"status":"success","data":{"groups":[{"rules":[],"rules":[]}]}}"#.to_owned(),
        r#"{"status":"success","data":{"groups":[{"file":"a","file":"b","rules":[]}]}}"#.to_owned(),
        r#"{"status":"success","data":{"groups":[],"groups":[]}}"#.to_owned(),
        r#"{"status":"success","data":{"groups":[]},"data":{"groups":[]}}"#.to_owned(),
        r#"{"status":"success","status":"success","data":{"groups":[]}}"#.to_owned(),
        r#"{"status":"success","data":{"groups":[]}}{}"#.to_owned(),
        r#"{"status":"success","data":{"groups":[],"x":"\ud800","\ud800":1}}"#.to_owned(),
        document("1"),
        document("[]"),
        document(r#"{"labels":[]}"#),
        document(r#"{"labels":null}"#),
        document(r#"{"labels":{"namespace":1}}"#),
        document(r#"{"labels":{"namespace":"team-b","namespace":"team-a"}}"#),
        document(r#"{"labels":{"namespace":"team-b"},"labels":{"namespace":"team-a"}}"#),
        document(r#"{"labels":{"namespace":"team-b"},"l\u0061bels":{"namespace":"team-a"}}"#),
        document(r#"{"labels":{},"state":"a","state":"b"}"#),
        document(r#"{"labels":{},"alerts":{}}"#),
        document(r#"{"labels":{},"alerts":1}"#),
        document(r#"{"labels":{},"alerts":[1]}"#),
        document(r#"{"labels":{},"alerts":[{}]}"#),
        document(r#"{"labels":{},"alerts":[[{"namespace":"team-a"},"firing"]]}"#),
        document(r#"{"labels":{},"alerts":[{"labels":{"namespace":"team-a"}}]}"#),
        document(r#"{"labels":{},"alerts":[{"labels":{"namespace":"team-a"},"state":1}]}"#),
        document(
            r#"{"labels":{},"alerts":[{"labels":{"namespace":["team-a"]},"state":"firing"}]}"#,
        ),
        document(
            r#"{"labels":{},"alerts":[{"labels":{"namespace":"team-b","namespace":"team-a"},"state":"firing"}]}"#,
        ),
        document(
            r#"{"labels":{},"alerts":[{"labels":{},"labels":{"namespace":"team-a"},"state":"firing"}]}"#,
        ),
        document(&format!(
            r#"{{"labels":{{}},"alerts":[{alert}],"alerts":[{alert}]}}"#
        )),
        document(&format!(
            r#"{{"labels":{{}},"alerts":null,"alerts":[{alert}]}}"#
        )),
    ] {
        assert!(filtered(rules, &text).is_err(), "{text}");
    }
}

#[test]
fn e14_a_value_that_is_merely_like_a_namespace_of_the_callers_is_anothers() {
    for value in [
        "team-a ",
        "team-a\\u0000",
        "TEAM-A",
        "team-ab",
        "team-a|x",
        ".*",
        "team",
    ] {
        let text = document(&format!(
            concat!(
                r#"{{"name":"r","labels":{{"namespace":"{0}"}},"alerts":[]}},"#,
                r#"{{"name":"r","labels":{{}},"alerts":[{{"labels":{{"namespace":"{0}"}},"state":"firing"}}]}}"#,
            ),
            value
        ));
        let answer = json(&filtered(rules, &text).expect("rules"));
        assert_eq!(answer["data"]["groups"], json!([]), "{value}");
    }
}

#[test]
fn nothing_of_a_rule_that_is_dropped_shows_in_the_next_one() {
    let alert = r#"{"labels":{"namespace":"team-a"},"state":"firing"}"#;
    for dropped in [
        r#"{"name":"x","state":"pending","query":"secret","annotations":{"a":"secret"},"lastError":"secret"}"#,
        &format!(r#"{{"query":"secret","alerts":[{alert}],"labels":{{"namespace":"team-b"}}}}"#),
    ] {
        for kept in [
            r#"{"labels":{"namespace":"team-a"},"query":"own"}"#,
            &format!(r#"{{"labels":{{}},"alerts":[{alert}]}}"#),
        ] {
            // But for the file, which is that of both.
            let alone = filtered(rules, &document(kept)).expect("rules");
            assert_eq!(
                filtered(rules, &document(&format!("{dropped},{kept}"))),
                Ok(alone.replace(r#""file":"f""#, r#""file":"""#))
            );
        }
    }
}

#[test]
fn no_beginning_of_an_answer_is_a_whole_answer() {
    assert_no_prefix_is_complete(rules, RULES);
    assert_no_prefix_is_complete(rules, RULES_3);
}

/// A rule with so many alerts of which every second is the caller's.
fn large_rule(alerts: usize) -> String {
    let alerts: Vec<_> = (0..alerts)
        .map(|number| {
            let namespace = ["team-a", "team-b"][number % 2];
            format!(r#"{{"labels":{{"namespace":"{namespace}","n":"{number}"}},"state":"firing","value":"1"}}"#)
        })
        .collect();
    format!(
        r#"{{"state":"firing","query":"q","labels":{{}},"alerts":[{}],"type":"alerting"}}"#,
        alerts.join(",")
    )
}

#[test]
fn e14_neither_a_large_group_nor_a_large_rule_is_held() {
    let limits = Limits { element_bytes: 256 };
    let filter = RulesFilter::new(namespaces(&["team-a"]), "namespace", limits);
    let text = document(&vec![large_rule(5_000); 3].join(","));
    let (out, result) = outcome(filter, text.as_bytes().chunks(4096));
    assert_eq!(result, Ok(()));
    let answer = json(&out);
    for rule in answer["data"]["groups"][0]["rules"]
        .as_array()
        .expect("rules")
    {
        assert_eq!(rule["alerts"].as_array().map(Vec::len), Some(2_500));
    }
}

#[test]
fn a_rule_an_alert_or_the_head_of_a_group_past_the_bound_is_an_error() {
    let long = "x".repeat(300);
    let limits = Limits { element_bytes: 256 };
    let bounded = || RulesFilter::new(namespaces(&["team-a"]), "namespace", limits);
    let many = |count: usize| {
        (0..count)
            .map(|n| format!(r#""member-{n}":0,"#))
            .collect::<String>()
    };
    for text in [
        document(&format!(r#"{{"labels":{{}},"name":"{long}"}}"#)),
        document(&format!(r#"{{"labels":{{}},"{long}":1}}"#)),
        document(&format!(
            r#"{{"labels":{{}},"alerts":[{{"labels":{{}},"state":"{long}"}}]}}"#
        )),
        document(&format!(r#"{{{}"labels":{{}}}}"#, many(30))),
        document(&format!(r#"{{{}"type":"recording"}}"#, many(30))),
        // Alerts that cannot be written, since it is not known whose the rule is.
        document(&large_rule(20).replacen(r#""labels":{},"#, "", 1).replacen(
            r#","type":"alerting""#,
            "",
            1,
        )),
        format!(
            r#"{{"status":"success","data":{{"groups":[{{{}"rules":[]}}]}}}}"#,
            many(30)
        ),
    ] {
        let refused = filtered(bounded, &text);
        assert_eq!(refused, Err(FilterError::TooLarge { limit: 256 }), "{text}");
    }
}
