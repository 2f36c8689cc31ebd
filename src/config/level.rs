//! How much is logged: a level, or parts of the program with a level each.

use serde_json::json;

use super::format::{Format, owned};

/// A level, or parts of the program with a level each. The log's own parser takes a word that is not a level for
/// the name of a part to be logged, and then logs nothing else.
pub(super) const LEVEL: Format<String> = Format {
    schema: || {
        let levels = "(off|error|warn|info|debug|trace|OFF|ERROR|WARN|INFO|DEBUG|TRACE)";
        let directive = format!(" *([A-Za-z0-9_:.-]+=)?{levels} *");
        json!({"type": "string", "pattern": format!("^{directive}(,{directive})*$")})
    },
    ..Format::text(|text| {
        let part = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_:.-".contains(&b))
        };
        let level = |level: &str| {
            let levels = ["off", "error", "warn", "info", "debug", "trace"];
            levels
                .iter()
                .any(|known| *known == level || known.to_ascii_uppercase() == level)
        };
        let valid =
            text.split(',').all(
                |directive| match directive.trim_matches(' ').split_once('=') {
                    Some((target, of_target)) => part(target) && level(of_target),
                    None => level(directive.trim_matches(' ')),
                },
            );
        owned(
            text,
            valid,
            "is neither a level nor a list of directives",
            "write one of error, warn, info, debug, trace, or such as warn,prom_rbac_proxy=debug",
        )
    })
};
