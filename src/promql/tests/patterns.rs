//! Selectors without a name: Prometheus refuses those that select everything, and restricted ones must not be more.

use super::*;

#[test]
fn a_selector_of_everything_is_refused() {
    for matchers in [
        "",
        r#"a="""#,
        r#"a!="x""#,
        r#"a=~"""#,
        r#"a=~".*""#,
        r#"a=~"x*""#,
        r#"a=~"x|""#,
        r#"a=~"(x|y?)""#,
        r#"a=~"(?i)""#,
        r#"a=~"^$""#,
        r#"a=~"x{0,3}""#,
        r#"a=~"[a-z]*""#,
        r#"a=~"[]]?""#,
        r#"a=~"\\d*""#,
        r#"a=~"\\pL?""#,
        r#"a=~"\\101*""#,
        r#"a=~"\\Q\\E""#,
        r#"a=~"(?:(?P<n>a)*)+""#,
        r#"a=~"ä?""#,
        r#"a=~"\xff|""#,
        r#"a!~"x+""#,
        r#"a!~"x""#,
        r#"a="", b!="c", d=~".*""#,
        r#""""#,
    ] {
        let query = format!("{{{matchers}}}");
        assert_eq!(
            refused(&query),
            QueryError::EmptySelector { position: 0 },
            "{query}"
        );
    }
}

#[test]
fn a_selector_of_something_is_accepted() {
    for matchers in [
        r#"a="x""#,
        r#"a!="""#,
        r#"a=~"x""#,
        r#"a=~".+""#,
        r#"a=~"x|y""#,
        r#"a=~"(x|y)+""#,
        r#"a=~"x{1,}""#,
        r#"a=~"x{,3}""#,
        r#"a=~"x{00}""#,
        r#"a=~"{""#,
        r#"a=~"[*?]""#,
        r#"a=~"[^]*]""#,
        r#"a=~"[[:alpha:]*]""#,
        r#"a=~"\\*""#,
        r#"a=~"\\Qab\\E*""#,
        r#"a=~"\\101""#,
        r#"a=~"ä""#,
        r#"a=~"\\b""#,
        r#"a=~"\xff""#,
        r#"a!~"""#,
        r#"a!~".*""#,
        r#"a="", b="c""#,
        r#"b!="", a=~".*""#,
    ] {
        parse(&format!("{{{matchers}}}"));
    }
}

#[test]
fn a_pattern_that_is_not_understood_counts_as_everything() {
    for pattern in [
        "(", ")", "a)|(?:b", "(?x)a", "*", "[a", "\\", "(?P=n)", "\\q",
    ] {
        assert_eq!(
            refused(&format!("{{a=~`{pattern}`}}")),
            QueryError::EmptySelector { position: 0 },
            "{pattern}"
        );
        // With a name, it is Prometheus' business.
        parse(&format!("up{{a=~`{pattern}`}}"));
    }
}

#[test]
fn patterns_are_read_in_linear_time() {
    let limits = Limits {
        max_bytes: 10 << 20,
        ..Limits::default()
    };
    for piece in [
        "[[:", "[:", "{", "(", "a|", "\\Q", "(?", "{1", "\\x{", "[[]", "(?P<",
    ] {
        let pattern = piece.repeat(200_000);
        let query = format!("{{a=~`{pattern}`}}");
        let start = std::time::Instant::now();
        let _ = Query::parse(&query, &limits);
        assert!(start.elapsed().as_secs() < 5, "{piece}");
    }
}
