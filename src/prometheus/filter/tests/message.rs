//! Error answers.

use super::with_message;

#[test]
fn the_text_of_an_error_is_its_message_too() {
    let body =
        br#"{"status":"error","errorType":"bad_data","error":"1:3: \u003c \"x\" \ud83e\udd80"}"#;
    let expected = concat!(
        r#"{"status":"error","errorType":"bad_data","error":"1:3: \u003c \"x\" \ud83e\udd80","#,
        r#""message":"1:3: \u003c \"x\" \ud83e\udd80"}"#,
    );
    let answer = with_message(body).expect("an error answer");
    assert_eq!(std::str::from_utf8(&answer), Ok(expected));
    // Once is enough.
    assert_eq!(with_message(&answer), Some(answer));
}

#[test]
fn blanks_around_an_error_do_no_harm() {
    let answer = with_message(b" { \"error\" : \"x\" } \n").expect("an error answer");
    assert_eq!(answer, br#"{ "error" : "x" ,"message":"x"}"#);
}

#[test]
fn e16_what_is_no_error_of_prometheus_is_refused() {
    let bodies: [&[u8]; 11] = [
        b"",
        b"404 page not found\n",
        b"null",
        b"[]",
        br#"["x",null]"#,
        b"{}",
        br#"{"error":1}"#,
        br#"{"error":null}"#,
        br#"{"error":"a","error":"b"}"#,
        br#"{"error":"a"}x"#,
        b"{\"error\":\"\xff\"}",
    ];
    for body in bodies {
        assert_eq!(with_message(body), None, "{}", body.escape_ascii());
    }
}
