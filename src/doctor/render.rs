//! A report as text for people, and as JSON for programs.

use std::fmt::Write;

use super::finding::{Finding, Report, Section};

/// Most lines of a long list in the text; JSON has all.
const SHOWN: usize = 12;

/// As JSON, with every line.
pub fn json(report: &Report) -> String {
    format!("{:#}\n", serde_json::json!(report))
}

/// As text.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    for section in &report.sections {
        // Writing to a string does not fail.
        let _ = write_section(&mut text, section);
    }
    text
}

fn write_section(text: &mut String, section: &Section) -> std::fmt::Result {
    if !text.is_empty() {
        writeln!(text)?;
    }
    writeln!(text, "== {} ==", section.title)?;
    for unread in &section.unread {
        writeln!(text, "not read: {}", printable(unread))?;
    }
    for note in &section.notes {
        writeln!(text, "note: {}", printable(note))?;
    }
    for finding in &section.findings {
        writeln!(text)?;
        write_finding(text, finding)?;
    }
    if section.findings.is_empty() {
        writeln!(text, "nothing found")?;
    }
    Ok(())
}

fn write_finding(text: &mut String, finding: &Finding) -> std::fmt::Result {
    let (severity, code) = (finding.severity.as_str(), finding.code.as_str());
    writeln!(text, "{severity} {code}: {}", printable(&finding.about))?;
    writeln!(text, "  {}", printable(&finding.what))?;
    for detail in finding.details.iter().take(SHOWN) {
        writeln!(text, "  - {}", printable(detail))?;
    }
    if let Some(more) = finding
        .details
        .len()
        .checked_sub(SHOWN)
        .filter(|more| *more > 0)
    {
        writeln!(text, "  - and {more} more: --output json has all")?;
    }
    writeln!(text, "  do: {}", printable(&finding.remedy))?;
    if let Some(manifest) = &finding.manifest {
        for line in manifest.lines() {
            writeln!(text, "    {line}")?;
        }
    }
    Ok(())
}

/// Names in a cluster are others' texts, and this goes to a terminal.
fn printable(text: &str) -> String {
    let shown = |letter: char| {
        if letter.is_control() {
            '\u{fffd}'
        } else {
            letter
        }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Code, Severity};
    use super::*;

    fn report(findings: Vec<Finding>) -> Report {
        let section = Section {
            title: "Rights to take away",
            unread: vec!["roles".to_owned()],
            notes: vec!["edit".to_owned()],
            findings,
        };
        Report {
            sections: vec![section],
        }
    }

    fn finding() -> Finding {
        Finding {
            code: Code::RightsProxyGranted,
            severity: Severity::Warning,
            about: "ClusterRole a".to_owned(),
            what: "what\u{1b}[2J".to_owned(),
            details: (0..15).map(|number| format!("held by {number}")).collect(),
            remedy: "apply".to_owned(),
            manifest: Some("kind: ClusterRole\nrules: []\n".to_owned()),
        }
    }

    #[test]
    fn text_is_for_people_and_json_has_all() {
        let report = report(vec![finding()]);
        let shown = text(&report);
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        assert!(
            shown.contains("warning rights-proxy-granted: ClusterRole a\n"),
            "{shown}"
        );
        assert!(shown.contains("  - and 3 more"), "{shown}");
        assert!(
            shown.contains("    kind: ClusterRole\n    rules: []\n"),
            "{shown}"
        );
        let parsed: serde_json::Value = serde_json::from_str(&json(&report)).expect("JSON");
        let details = &parsed["sections"][0]["findings"][0]["details"];
        assert_eq!(details.as_array().map(Vec::len), Some(15));
    }

    #[test]
    fn nothing_found_is_said() {
        assert!(text(&report(Vec::new())).ends_with("nothing found\n"));
    }
}
