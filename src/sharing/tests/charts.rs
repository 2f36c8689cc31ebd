use super::*;

const NOW: u64 = 1_700_000_000;

#[test]
fn a_chart_is_kept_for_once_two_ask_for_it_and_as_long_as_they_do() {
    let charts = Charts::new();
    let asked = |end| charts.asked(&Key::chart("up", end), Live::fake(end));
    let standing = |look, keep| ChartState { look, keep };
    assert_eq!(asked(NOW), standing(false, false));
    assert_eq!(asked(NOW), standing(true, true));
    assert_eq!(asked(NOW), standing(true, true));
    assert_eq!(asked(NOW + 10), standing(false, true), "it was popular");
    assert_eq!(asked(NOW), standing(true, false), "a clock that is behind");
    assert_eq!(asked(NOW + 10), standing(true, true));
    assert_eq!(asked(NOW + 20), standing(false, true));
    assert_eq!(
        asked(NOW + 30),
        standing(false, false),
        "one viewer is left"
    );
    assert_eq!(asked(NOW + 30 + 61), standing(false, false));
}

#[test]
fn a_lone_viewer_never_looks_and_never_keeps() {
    let charts = Charts::new();
    for number in 0..100 {
        let end = NOW + 10 * number;
        let standing = charts.asked(&Key::chart("up", end), Live::fake(end));
        assert_eq!(
            standing,
            ChartState {
                look: false,
                keep: false
            }
        );
    }
}

#[test]
fn charts_of_one_set_do_not_make_each_other_forgotten_until_there_are_too_many() {
    let set = Set::default();
    let charts = 1..=PLACES as u32;
    let end = NOW as u32;
    for which in charts.clone() {
        assert_eq!(set.asked(which, end), ChartState::NEW);
    }
    for round in 1..5 {
        for which in charts.clone() {
            // Two viewers of each, refresh by refresh.
            let first = set.asked(which, end + 10 * round);
            assert_eq!(first.keep, round > 1, "{which} in round {round}");
            let second = set.asked(which, end + 10 * round);
            assert!(second.look && second.keep, "{which} in round {round}");
        }
    }
    // All but the first go on; then one comes that there is no place for.
    for which in charts.clone().skip(1) {
        set.asked(which, end + 50);
    }
    assert_eq!(set.asked(1000, end + 50), ChartState::NEW);
    for which in charts.skip(1) {
        assert!(set.asked(which, end + 50).look, "{which} was forgotten");
    }
    assert_eq!(set.asked(1, end + 50), ChartState::NEW);
}
