use http::{HeaderMap, Method, Uri};

use super::{name, object};
use crate::gateway::namespace_list::media::{Form, Included};
use crate::gateway::namespace_list::question::{Kind, Question, Start, Target};
use crate::gateway::namespace_list::refusal::ListRefusal;
use crate::gateway::namespace_list::selection::Selection;

fn read(query: &str) -> Result<Kind, ListRefusal> {
    Question::read(&Target::All, query, &HeaderMap::new()).map(|question| question.kind)
}

fn accepting(accept: &str, listed: bool) -> Result<Form, ListRefusal> {
    let mut headers = HeaderMap::new();
    headers.insert("accept", accept.parse().expect("a value"));
    Form::accepted(&headers, listed, Included::Metadata)
}

#[test]
fn only_plain_reads_of_the_two_paths_are_questions() {
    let of = |method: Method, path: &'static str| Target::of(&method, &Uri::from_static(path));
    assert_eq!(
        of(Method::GET, "/api/v1/namespaces?watch=1"),
        Some(Target::All)
    );
    let one = of(Method::GET, "/api/v1/namespaces/team-a");
    assert_eq!(one, Some(Target::One(name("team-a"))));
    for path in [
        "/api/v1/namespaces/",
        "/api/v1/namespaces/team-a/pods",
        "/api/v1/namespaces/team-a/",
        "/api/v1/namespaces/%74eam-a",
        "/api/v1/namespaces//team-a",
        "/api/v1/namespaces/..",
        "/api/v1/./namespaces",
        "/API/v1/namespaces",
        "/api/v1/namespacesx",
    ] {
        assert_eq!(of(Method::GET, path), None, "{path}");
    }
    for method in [Method::HEAD, Method::POST, Method::DELETE] {
        assert_eq!(of(method, "/api/v1/namespaces"), None);
    }
}

#[test]
fn the_first_form_of_the_greatest_weight_is_written() {
    let table = Ok(Form::Table(Included::Metadata));
    for (accept, expected) in [
        ("*/*", Ok(Form::Plain)),
        ("application/json", Ok(Form::Plain)),
        (
            "application/json;stream=watch;charset=UTF-8",
            Ok(Form::Plain),
        ),
        (
            "application/vnd.kubernetes.protobuf, application/json",
            Ok(Form::Plain),
        ),
        (
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
            table.clone(),
        ),
        (
            "application/json;q=0.1, application/json;as=Table;g=meta.k8s.io;v=v1;q=0.5",
            table,
        ),
        (
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Ok(Form::Metadata),
        ),
        (
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            Ok(Form::Metadata),
        ),
        ("application/json;q=0", Err(ListRefusal::NotAcceptable)),
        (
            "application/json;as=Table;g=other;v=v1",
            Err(ListRefusal::NotAcceptable),
        ),
        ("application/yaml", Err(ListRefusal::NotAcceptable)),
        ("", Err(ListRefusal::NotAcceptable)),
    ] {
        assert_eq!(accepting(accept, true), expected, "{accept}");
    }
    let list = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    assert_eq!(accepting(list, false), Err(ListRefusal::NotAcceptable));
}

#[test]
fn labels_and_fields_select_as_at_the_api_server() {
    let of = |labels: &str, fields: &str| {
        let selection = Selection::read(labels, fields).expect(labels);
        let matches = |x: &str| selection.matches(&object("a", 1, x));
        [matches("1"), matches("2")]
    };
    for (labels, fields, expected) in [
        ("", "", [true, true]),
        ("x", "", [true, true]),
        ("!x", "", [false, false]),
        ("! y , x", "", [true, true]),
        ("x=1", "", [true, false]),
        ("x==1", "", [true, false]),
        ("x!=1", "", [false, true]),
        ("x in (1, 3)", "", [true, false]),
        ("x notin (1,3)", "", [false, true]),
        ("x in (1),y notin (a)", "", [true, false]),
        ("y=", "", [false, false]),
        ("example.com/x!=1", "", [true, true]),
        ("", "metadata.name=a", [true, true]),
        ("", "metadata.name!=a", [false, false]),
        ("", "metadata.name==b", [false, false]),
        ("x=1", "metadata.name=a,status.phase=Active", [true, false]),
        ("", "status.phase=Terminating", [false, false]),
        ("", "metadata.name=A", [false, false]),
    ] {
        assert_eq!(of(labels, fields), expected, "{labels} {fields}");
    }
    let only = |fields: &str| Selection::read("", fields).expect(fields).only();
    assert_eq!(only("metadata.name=a"), Some(name("a")));
    assert_eq!(only("metadata.name!=a"), None);
    assert_eq!(only("metadata.name=A"), None);
}

#[test]
fn a_selector_in_doubt_is_refused() {
    for labels in [
        "=",
        "x=1,",
        ",x",
        "x=1 y",
        "x in 1",
        "x in (1",
        "x in (1 2)",
        "x>1",
        "x<1",
        "a/b/c=1",
        "x===1",
        "(x)",
        "x=ä",
        "/",
        "a/",
        "x in (1))",
    ] {
        assert!(Selection::read(labels, "").is_err(), "{labels}");
    }
    for fields in [
        "x=1",
        "metadata.name",
        "metadata.name=a\\,b",
        "metadata.uid=1",
        "=a",
    ] {
        assert!(Selection::read("", fields).is_err(), "{fields}");
    }
    let many = vec!["x"; 65].join(",");
    assert!(Selection::read(&many, "").is_err());
    assert!(Selection::read(&"x".repeat(4097), "").is_err());
}

#[test]
fn where_a_watch_begins_is_read_as_the_api_server_reads_it() {
    let from = |query: &str| match read(&format!("watch=true&{query}")) {
        Ok(Kind::Watch(watch)) => Some(watch.from),
        _ => None,
    };
    let now = |at_least, marked| Some(Start::Now { at_least, marked });
    for (query, expected) in [
        ("", now(0, false)),
        ("resourceVersion=0", now(0, false)),
        ("resourceVersion=7", Some(Start::Version(7))),
        (
            "sendInitialEvents=1&resourceVersionMatch=NotOlderThan",
            now(0, true),
        ),
        (
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=7",
            now(7, true),
        ),
        (
            "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=7",
            Some(Start::Version(7)),
        ),
        ("sendInitialEvents=true", None),
        ("resourceVersionMatch=NotOlderThan", None),
        ("sendInitialEvents=true&resourceVersionMatch=Exact", None),
        ("resourceVersion=-1", None),
        ("resourceVersion=99999999999999999999", None),
        ("watch=1", None),
    ] {
        assert_eq!(from(query), expected, "{query}");
    }
    assert!(matches!(read("watch=false"), Ok(Kind::List { .. })));
    assert!(matches!(read("watch=0"), Ok(Kind::List { .. })));
    assert!(matches!(read("watch="), Ok(Kind::Watch(_))));
}
