//! Numbers and durations: one token, and the same one, for every release of Prometheus.

use super::*;

#[test]
fn q45_a_number_is_not_two_tokens_to_an_older_prometheus() {
    for query in [
        // Before 2.54 these are `0x1e + decade` and so on, with a selector that was never seen here.
        "0x1e+decade",
        "sum by (namespace) (0x1e+b)",
        r#"0x1e+or or{a="b"}"#,
        "0x1E-b",
        "0xfe+a_b",
        "0x1_e+a",
        "0x1e+5",
        "up[5m:0x1e+5]",
        "up @ 0x1e-a",
        "0x1e+b[5m]",
    ] {
        let error = refused(query);
        assert!(matches!(error, QueryError::Syntax { .. }), "{query}");
    }
    assert!(
        refused("1 + 0x1e+decade")
            .to_string()
            .ends_with("at byte 4: write a space after a hexadecimal number")
    );
    assert_eq!(
        restricted("0x1e +decade"),
        r#"30 + decade{namespace="team-a"}"#
    );
    assert_eq!(
        restricted("0x1e\n+ or or{a=\"b\"}"),
        r#"30 + or{namespace="team-a"} or {a="b", namespace="team-a"}"#
    );
}

#[test]
fn q46_numbers_are_written_in_a_spelling_that_all_releases_read_alike() {
    for (query, expected) in [
        ("0x1F", "31"),
        ("0X_1f", "31"),
        ("0x1_F", "31"),
        ("0x0", "0"),
        ("0x1e ", "30"),
        ("0x1e5 ", "485"),
        ("0x7fffffffffffffff", "9.223372036854775807e18"),
        ("0x20000000000001", "9.007199254740992e15"),
        ("1_000", "1000"),
        ("1_0.5_0e1_0", "105000000000"),
        ("010", "8"),
        ("0_17", "15"),
        ("0777777777777777777777777", "7.777777777777778e23"),
        ("00", "0"),
        ("08", "8"),
        ("08.5", "8.5"),
        ("1.", "1"),
        ("1.e5", "100000"),
        ("1.e300", "1e300"),
        (".5", "0.5"),
        (".5e-300", "5e-301"),
        ("1_0e-400", "0e0"),
    ] {
        let written = unchanged(query);
        let value = |text: &str| text.parse::<f64>().expect(text).to_bits();
        assert_eq!(value(&written), value(expected), "{query}: {written}");
        assert_eq!(unchanged(&written), written, "twice is once");
    }
    for plain in [
        "0",
        "5",
        "12.50",
        "0.5",
        "1e5",
        "1E5",
        "1e+5",
        "1.5e-3",
        "1e308",
        "18446744073709551616",
        "inf",
        "NaN",
        "-Inf",
        "1h30m",
        "5m",
        "1y2w3d4h5m6s7ms",
        "0s",
        "007m",
    ] {
        assert_eq!(unchanged(plain), plain);
    }
}

#[test]
fn q46_bool_stands_behind_a_comparison_only() {
    for query in ["up + bool 1", "up or bool up", "up + bool.5 - 0x1e+a"] {
        refused(query);
    }
    assert_eq!(
        restricted("up - bool.5 > bool.x"),
        r#"up{namespace="team-a"} - bool.5{namespace="team-a"} > bool.x{namespace="team-a"}"#
    );
    assert_eq!(
        restricted("up > bool.5"),
        r#"up{namespace="team-a"} > bool 0.5"#
    );
}

#[test]
fn q46_what_is_neither_a_number_nor_a_duration_is_refused() {
    for text in [
        "0x",
        "0x_",
        "0x__1",
        "0x1__0",
        "0x1_",
        "0x1.5",
        "0x1p5",
        "0x.5",
        "0xfee5",
        "0b1",
        "0o7",
        "1_",
        "1__0",
        "1._5",
        "1_.5",
        "1_e5",
        "1e_5",
        "1e",
        "1e+",
        "1e5.5",
        "1.5.5",
        "1..5",
        "1e5e5",
        "1.5h",
        "1e5m",
        "0x5m",
        "1m1h",
        "1m1m",
        "1hs",
        "1ys",
        "5ms5s",
        "5m30",
        "5x",
        "1_0m",
        "5m_",
        "1e999",
        "0x8000000000000000",
        "300y",
        "99999999999999999999999999s",
        "106751991168d",
    ] {
        for query in [
            text.to_owned(),
            format!("1 + {text} "),
            format!("up[5m:{text} ]"),
        ] {
            assert!(
                matches!(refused(&query), QueryError::Syntax { .. }),
                "{query}"
            );
        }
    }
}
