use super::*;

const LIMITS: RequestLimits = RequestLimits {
    max_query_bytes: 100,
    max_selectors: 32,
    max_parameters: 1_100,
    max_parameter_bytes: 1_024,
    max_range: Some(Duration::from_secs(86_400)),
    max_points: Some(11_000),
    namespace_parameters: Vec::new(),
};

fn accepting(parameters: &[String]) -> Accepted<'_> {
    Accepted {
        parameters,
        metricsql: None,
    }
}

fn read(path: &str, query: &str, body: &str) -> Result<PrometheusRequest, RequestError> {
    let target = Target::find(path, &Method::GET)?;
    target.read(
        query,
        body.as_bytes(),
        accepting(&["dedup".to_owned()]),
        &LIMITS,
    )
}

fn others(request: &PrometheusRequest) -> Vec<(&str, &str)> {
    request.others().collect()
}

#[test]
fn parameters_of_url_and_form_come_to_one() {
    let request =
        read("/api/v1/query_range", "start=1&end=2", "step=1&query=up").expect("a request");
    assert_eq!(request.expression(), Some("up"));
    assert_eq!(
        others(&request),
        [("start", "1"), ("end", "2"), ("step", "1")]
    );
}

#[test]
fn e06_a_parameter_in_two_places_is_refused() {
    for (query, body) in [
        ("query=up&query=secret", ""),
        ("query=&query=secret", ""),
        ("query=secret", "query=up"),
        ("%71uery=secret&query=up", ""),
        ("query=up&time=1&time=2", ""),
        ("query=up&time=1", "time=2"),
    ] {
        assert!(
            matches!(
                read("/api/v1/query", query, body),
                Err(RequestError::Duplicate { .. })
            ),
            "{query} {body}"
        );
    }
}

#[test]
fn e06_names_that_are_not_quite_a_parameters_are_dropped() {
    let request = read(
        "/api/v1/query",
        "query=up&Query=x&query[]=x&match[]=secret&match=x&_=1",
        "",
    )
    .expect("a request");
    assert_eq!(request.expression(), Some("up"));
    assert_eq!(others(&request), []);
    assert!(request.selectors().is_empty());
}

#[test]
fn e08_unknown_parameters_are_dropped_unless_configured() {
    let query =
        "query=up&extra_filters[]=x&extra_label=x&storeMatch[]=x&tenant=x&engine=x&dedup=false";
    let request = read("/api/v1/query", query, "").expect("a request");
    assert_eq!(others(&request), [("dedup", "false")]);
}

#[test]
fn configured_parameters_whose_names_say_so_may_repeat() {
    let read = |query: &str| {
        let target = Target::find("/api/v1/query", &Method::GET)?;
        let extra = ["storeMatch[]".to_owned(), "dedup".to_owned()];
        target.read(query, b"", accepting(&extra), &LIMITS)
    };
    let request = read("query=up&storeMatch[]=a&storeMatch%5B%5D=b").expect("a request");
    assert_eq!(
        others(&request),
        [("storeMatch[]", "a"), ("storeMatch[]", "b")]
    );
    assert!(read("query=up&dedup=true&dedup=true").is_err());
}

#[test]
fn parameters_that_are_configured_narrow_the_answer() {
    let limits = RequestLimits {
        namespace_parameters: vec!["namespace".to_owned()],
        ..LIMITS
    };
    let narrowing = |path: &str, query: &str, form: &str| {
        let target = Target::find(path, &Method::GET)?;
        target.read(query, form.as_bytes(), Accepted::default(), &limits)
    };
    let names = |request: &PrometheusRequest| {
        let set = request.narrowed()?;
        Some(
            set.iter()
                .map(|name| name.as_str().to_owned())
                .collect::<Vec<_>>(),
        )
    };
    let request = narrowing(
        "/api/v1/query",
        "query=up&namespace=b",
        "namespace=a&namespace=b",
    );
    let request = request.expect("a request");
    assert_eq!(names(&request), Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(others(&request), []);
    let request = narrowing("/api/v1/rules", "", "").expect("a request");
    assert_eq!(names(&request), None);
    for value in ["", "a,b", "a|b", ".*", "A", "a%0A"] {
        let error = narrowing("/api/v1/query", &format!("query=up&namespace={value}"), "");
        let name = "namespace".to_owned();
        assert_eq!(
            error.unwrap_err(),
            RequestError::NotANamespace { name },
            "{value}"
        );
    }
    for path in ["/api/v1/status/tsdb", "/api/v1/targets/metadata"] {
        let error = narrowing(path, "namespace=a", "").unwrap_err();
        assert!(matches!(error, RequestError::NotNarrowed { .. }), "{path}");
    }
    // Where nothing is configured it is any unknown parameter.
    let request = read("/api/v1/query", "query=up&namespace=.*", "");
    assert_eq!(names(&request.expect("a request")), None);
}

#[test]
fn the_boundaries_of_time_that_clients_send_are_times() {
    let all = "start=-292273086-05-16T16%3A47%3A06Z&end=292277025-08-18T07%3A12%3A54.999999999Z";
    let limits = RequestLimits {
        max_range: None,
        ..LIMITS
    };
    let target = Target::find("/api/v1/series", &Method::GET).expect("an endpoint");
    assert!(target.read(all, b"", Accepted::default(), &limits).is_ok());
}

#[test]
fn e03_selectors_of_url_and_form_are_all_kept() {
    let request =
        read("/api/v1/series", "match[]=a", "match[]=b&match%5B%5D=c").expect("a request");
    assert_eq!(request.selectors(), ["a", "b", "c"]);
}

#[test]
fn d04_numbers_of_parameters_and_selectors_are_bounded() {
    let many = "a=b&".repeat(LIMITS.max_parameters + 1);
    assert_eq!(
        read("/api/v1/labels", &many, "").unwrap_err(),
        RequestError::TooManyParameters { limit: 1_100 }
    );
    let selectors = "match[]=up&".repeat(33);
    assert_eq!(
        read("/api/v1/series", &selectors, "").unwrap_err(),
        RequestError::TooManySelectors { limit: 32 }
    );
}

#[test]
fn a_query_is_needed_and_bounded() {
    assert_eq!(
        read("/api/v1/query", "time=1", "").unwrap_err(),
        RequestError::NoQuery
    );
    let long = format!("query={}", "x".repeat(101));
    assert_eq!(
        read("/api/v1/query", &long, "").unwrap_err(),
        RequestError::QueryTooLong {
            bytes: 101,
            limit: 100
        }
    );
    let long = format!("query=up&stats={}", "x".repeat(1025));
    assert_eq!(
        read("/api/v1/query", &long, "").unwrap_err(),
        RequestError::TooLong {
            name: "stats".into(),
            limit: 1_024
        }
    );
}

#[test]
fn e18_times_and_durations_are_read() {
    for (query, name) in [
        ("time=NaN", "time"),
        ("time=1e400", "time"),
        ("time=soon", "time"),
    ] {
        let error = read("/api/v1/query", &format!("query=up&{query}"), "").unwrap_err();
        assert_eq!(error, RequestError::NotATime { name });
    }
    for (query, name) in [("step=0", "step"), ("step=-1", "step"), ("step=x", "step")] {
        let error = read(
            "/api/v1/query_range",
            &format!("query=up&start=1&end=2&{query}"),
            "",
        )
        .unwrap_err();
        assert_eq!(error, RequestError::NotADuration { name });
    }
    assert!(read("/api/v1/query", "query=up&time=", "").is_ok());
}

#[test]
fn more_points_than_prometheus_answers_say_which_step_fits() {
    let limits = RequestLimits {
        max_range: None,
        ..LIMITS
    };
    let read = |query: &str| {
        let target = Target::find("/api/v1/query_range", &Method::GET)?;
        target.read(query, b"", Accepted::default(), &limits)
    };
    // Headlamp: 14 days at 10 s.
    let error = read("query=up&start=0&end=1209600&step=10").unwrap_err();
    assert_eq!(
        error,
        RequestError::Points {
            asked: 120_961,
            limit: 11_000,
            step: 110
        }
    );
    assert!(read("query=up&start=0&end=1209600&step=110").is_ok());
    assert!(read("query=up&start=0&end=11000&step=1").is_ok());
    assert!(read("query=up&start=0&end=11001&step=1").is_err());
}

#[test]
fn a_range_past_the_limit_is_refused() {
    let error = read(
        "/api/v1/query_range",
        "query=up&start=0&end=86401&step=60",
        "",
    )
    .unwrap_err();
    assert_eq!(
        error,
        RequestError::Range {
            asked: 86_401,
            limit: 86_400
        }
    );
    assert!(read("/api/v1/series", "start=0&end=86401", "").is_err());
}

#[test]
fn methods_and_paths_that_are_not_served_are_told_apart() {
    let find = |path, method| Target::find(path, &method).map(|target| target.endpoint());
    assert_eq!(
        find("/api/v1/write", Method::POST),
        Err(RequestError::UnknownEndpoint)
    );
    assert_eq!(
        find("/api/v1/rules", Method::POST),
        Err(RequestError::Method {
            endpoint: "rules",
            allow: "GET"
        })
    );
    assert_eq!(find("/-/healthy", Method::HEAD), Ok(Endpoint::Healthy));
}
