//! Errors in a form for both kinds of clients: Prometheus' clients read `error`, Headlamp shows `message`.

use serde::Serialize;

/// The type of every answer of ours.
pub const CONTENT_TYPE: &str = "application/json";

#[derive(Serialize)]
struct Envelope<'a> {
    status: &'a str,
    #[serde(rename = "errorType")]
    error_type: &'a str,
    error: &'a str,
    message: &'a str,
}

/// An error as JSON.
pub fn error(error_type: &str, message: &str) -> Vec<u8> {
    let envelope = Envelope {
        status: "error",
        error_type,
        error: message,
        message,
    };
    serde_json::to_vec(&envelope).expect("text is always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_keys_of_both_audiences() {
        let expected =
            r#"{"status":"error","errorType":"bad_data","error":"a \"b\"","message":"a \"b\""}"#;
        assert_eq!(
            String::from_utf8(error("bad_data", "a \"b\"")).expect("UTF-8"),
            expected
        );
    }
}
