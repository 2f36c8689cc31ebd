//! Writes some metrics as the patterns of a rule: a start that no other metric has, or the name.

/// Patterns for `some` of all names. Both are sorted.
pub(super) fn patterns(some: &[&str], all: &[&str]) -> Vec<String> {
    let mut patterns: Vec<String> = Vec::new();
    for name in some {
        let covered = patterns.last().and_then(|last| last.strip_suffix('*'));
        if covered.is_some_and(|start| name.starts_with(start)) {
            continue;
        }
        let starts = name.match_indices('_').map(|(at, _)| &name[..=at]);
        // A first letter that is one: `_` alone is hardly the start of what belongs together.
        let own = starts
            .filter(|start| start.len() > 1)
            .find(|start| count(some, start) == count(all, start) && count(some, start) > 1);
        patterns.push(match own {
            Some(start) => format!("{start}*"),
            None => (*name).to_owned(),
        });
    }
    patterns
}

/// How many names start so.
fn count(sorted: &[&str], start: &str) -> usize {
    let from = sorted.partition_point(|name| *name < start);
    let names = &sorted[from..];
    names.partition_point(|name| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_no_other_metric_has_stands_for_all() {
        let all = ["a_b_1", "a_b_2", "a_c_1", "keda_x", "keda_y", "up"];
        assert_eq!(patterns(&["keda_x", "keda_y"], &all), ["keda_*"]);
        assert_eq!(patterns(&["a_b_1", "a_b_2"], &all), ["a_b_*"]);
        assert_eq!(patterns(&["a_b_1", "up"], &all), ["a_b_1", "up"]);
        assert_eq!(patterns(&["keda_x"], &all), ["keda_x"]);
        assert_eq!(patterns(&[], &all), [""; 0]);
    }
}
