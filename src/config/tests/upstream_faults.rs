//! Impossible upstreams, and what the operator reads about them.

use super::faults_with;

/// Expects exactly one line for each first upstream.
fn expect_upstream(cases: &[(&str, &str)]) {
    for (upstream, line) in cases {
        let text = format!("upstreams: [{upstream}]");
        assert_eq!(faults_with(&text, &[]), [*line], "{text}");
    }
}

#[test]
fn an_upstream_has_exactly_one_address() {
    let one = "give exactly one of url, service, pods";
    for (upstream, problem) in [
        ("{}", "has none of url, service, pods"),
        ("~", "is nothing where keys are expected"),
        ("{url: ''}", "has none of url, service, pods"),
        (
            "{url: 'http://a', pods: {namespace: a, selector: a=b, port: 1}}",
            "has both url and pods",
        ),
    ] {
        let text = format!("upstreams: [{upstream}]");
        let hint = match upstream {
            "~" => String::new(),
            _ => format!("; {one}"),
        };
        assert_eq!(
            faults_with(&text, &[]),
            [format!("upstreams[0]: {problem}{hint}")]
        );
    }
    let add = "add - url: http://PROMETHEUS:9090";
    assert_eq!(
        faults_with("", &[]),
        [format!("upstreams: is missing; {add}")]
    );
    assert_eq!(
        faults_with("upstreams: []", &[]),
        [format!("upstreams: is empty; {add}")]
    );
    assert_eq!(
        faults_with("upstreams: [{service: {namespace: a, name: b}}]", &[]),
        ["upstreams[0].service.port: is missing; Port of the Service, by number or name"]
    );
}

#[test]
fn the_address_is_a_plain_url() {
    let write = "write http://HOST:PORT or https://HOST:PORT, with a path if Prometheus has one";
    for (url, problem) in [
        (
            "ftp://a",
            "\"ftp://a\" does not start with http:// or https://",
        ),
        (
            "prometheus:9090",
            "\"prometheus:9090\" does not start with http:// or https://",
        ),
        (
            "http://a:0",
            "\"http://a:0\" has a port that is not from 1 to 65535",
        ),
        (
            "http://a:99999",
            "\"http://a:99999\" has a port that is not from 1 to 65535",
        ),
        (
            "http://a,b",
            "\"http://a,b\" has a host that is not a host name or IP address",
        ),
        ("http://a/?token=x", "the value has a query or fragment"),
        ("http://a b", "\"http://a b\" is not a URL"),
    ] {
        let lines = faults_with(&format!("upstreams: [{{url: '{url}'}}]"), &[]);
        assert_eq!(lines[0], format!("upstreams[0].url: {problem}; {write}"));
    }
    expect_upstream(&[
        (
            "{url: 'http://user:secret@a'}",
            "upstreams[0].url: the value has a user name or password; use bearerTokenFile or headers",
        ),
        (
            "{url: 'http://a/b/../c'}",
            "upstreams[0].url: \"http://a/b/../c\" has a . or .. segment; \
             start with / and use letters, digits, - . _ and ~ between slashes",
        ),
    ]);
}

#[test]
fn path_prefixes_are_plain_and_lead_nowhere_else() {
    for path in ["a", "//", "/a//b", "/a/..", "/%2e", "/a?b", "/a b", "''"] {
        let lines = faults_with(
            &format!("upstreams: [{{url: 'http://a', pathPrefix: {path}}}]"),
            &[],
        );
        assert!(
            lines[0].starts_with("upstreams[0].pathPrefix: "),
            "{lines:?}"
        );
        assert_eq!(lines.len(), 1);
    }
    expect_upstream(&[(
        "{url: 'http://a', pathPrefix: /api/x}",
        "upstreams[0].pathPrefix: /api is the start of another path of this program; \
         start with another word",
    )]);
}

#[test]
fn upstreams_differ_in_name_and_path() {
    let two = "upstreams: [{url: 'http://a', name: b, pathPrefix: /x/}, {url: 'http://a', name: b, pathPrefix: /x}]";
    assert_eq!(
        faults_with(two, &[]),
        [
            "upstreams[1].name: \"b\" is that of upstreams[0] too; give each upstream a name of its own",
            "upstreams[1].pathPrefix: \"/x\" is that of upstreams[0] too; \
             give each upstream a pathPrefix of its own",
        ]
    );
}

#[test]
fn what_is_sent_upstream_is_checked() {
    expect_upstream(&[
        (
            "{url: 'http://a', headers: {Connection: x}}",
            "upstreams[0].headers.Connection: is set by the proxy itself; remove it",
        ),
        (
            "{url: 'http://a', headers: {hOst: x}}",
            "upstreams[0].headers.hOst: is set by the proxy itself; remove it",
        ),
        (
            "{url: 'http://a', headers: {a b: x}}",
            "upstreams[0].headers.\"a b\": is not the name of a header; \
             use letters, digits and - as in X-Scope-OrgID",
        ),
        (
            "{url: 'http://a', headers: {X-A: x, x-a: x}}",
            "upstreams[0].headers.x-a: is there twice; capitals make no difference",
        ),
        (
            "{url: 'http://a', headers: {X-A: 12345}}",
            "upstreams[0].headers.X-A: is a number where text is expected; put it in quotes",
        ),
        (
            "{url: 'http://a', headers: {X-A: \"a\\nb\"}}",
            "upstreams[0].headers.X-A: the value has characters that a header cannot hold; \
             remove line feeds and control characters",
        ),
        (
            "{url: 'http://a', bearerTokenFile: /t, headers: {Authorization: x}}",
            "upstreams[0].bearerTokenFile: is set beside headers.authorization; keep one of the two",
        ),
        (
            "{url: 'http://a', parameters: ['Match[]']}",
            "upstreams[0].parameters[0]: \"Match[]\" is a parameter of Prometheus' API; \
             remove it: the proxy sends it where it belongs",
        ),
        (
            "{url: 'http://a', parameters: [dedup, dedup]}",
            "upstreams[0].parameters[1]: \"dedup\" is there twice; remove one",
        ),
        (
            "{url: 'http://a', tls: {caFile: /ca}}",
            "upstreams[0].tls: is of no use with plain http; write https in its address, or remove tls",
        ),
        (
            "{url: 'https://a', tls: {certFile: /c}}",
            "upstreams[0].tls.keyFile: is missing beside certFile; give both, or no certFile",
        ),
    ]);
}
