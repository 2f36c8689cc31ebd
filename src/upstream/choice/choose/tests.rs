use http::uri::Authority;

use super::*;
use crate::upstream::choice::endpoint::Offer;
use crate::upstream::choice::load::Load;

const CALLERS: usize = 2000;

fn endpoint(name: &str) -> Arc<Endpoint> {
    let address = Authority::from_static("10.0.0.1:9090");
    let endpoint = Endpoint::new(name.to_owned(), vec![address], Offer::Ready);
    endpoint.observe(ProbeResult::Ready);
    load(&endpoint, None, None, None);
    Arc::new(endpoint)
}

fn endpoints(count: usize) -> Vec<Arc<Endpoint>> {
    (0..count)
        .map(|index| endpoint(&format!("prometheus-{index}")))
        .collect()
}

fn wanted(caller: usize, start: Option<f64>) -> Wanted {
    Wanted {
        affinity: Affinity::of(&format!("user-{caller}")),
        start,
    }
}

/// Which endpoint each caller goes to.
fn chosen(endpoints: &[Arc<Endpoint>], start: Option<f64>) -> Vec<String> {
    let choose = |caller| choose(endpoints, wanted(caller, start), None).expect("there are some");
    (0..CALLERS)
        .map(|caller| choose(caller).name().to_owned())
        .collect()
}

/// The share of callers that go to an endpoint.
fn share(chosen: &[String], endpoint: &Endpoint) -> f64 {
    let there = chosen.iter().filter(|name| *name == endpoint.name());
    there.count() as f64 / chosen.len() as f64
}

#[test]
fn callers_spread_evenly_and_each_stays_where_it_is() {
    for count in 1..6 {
        let endpoints = endpoints(count);
        let first = chosen(&endpoints, None);
        let mut turned = endpoints.clone();
        turned.reverse();
        assert_eq!(first, chosen(&turned, None), "the order does not matter");
        for endpoint in &endpoints {
            let share = share(&first, endpoint) * count as f64;
            assert!((0.8..1.2).contains(&share), "{share} of a fair share");
        }
    }
}

#[test]
fn when_an_endpoint_goes_only_its_own_callers_move() {
    let mut endpoints = endpoints(4);
    let before = chosen(&endpoints, None);
    let gone = endpoints.remove(1);
    let after = chosen(&endpoints, None);
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || before == gone.name());
    }
}

#[test]
fn a_pod_that_comes_back_under_its_name_gets_its_callers_back() {
    let mut endpoints = endpoints(3);
    let before = chosen(&endpoints, None);
    endpoints[2] = endpoint("prometheus-2");
    assert_eq!(before, chosen(&endpoints, None));
}

#[test]
fn the_same_caller_is_sent_to_the_same_place_by_every_replica_of_the_proxy() {
    // Fixed numbers: a change of the hash would show here, and would move every caller at a rollout.
    assert_eq!(Affinity::of("alice"), Affinity::of("alice"));
    let spread = [0, 1, 2].map(|n| {
        let affinity = Affinity::of("system:serviceaccount:team-a:grafana");
        (affinity.with(crate::upstream::choice::affinity::hash(&[n])) * 1e6) as u32
    });
    assert_eq!(spread, [561_932, 845_955, 321_151]);
}

/// What speaks against an endpoint, each worse than all before it together.
const FAULTS: usize = 6;

/// Lets the faults of that range befall it.
fn afflict(endpoint: &Endpoint, faults: std::ops::Range<usize>) {
    let has = |fault| faults.contains(&fault);
    let queries = has(2).then_some(20.0);
    let oldest = has(1).then_some(9000.0);
    load(endpoint, queries, oldest, has(0).then_some(1500.0));
    if has(3) {
        endpoint.offered(Offer::Withdrawn);
    }
    if has(4) {
        endpoint.mark();
    }
    if has(5) {
        endpoint.observe(ProbeResult::NotReady);
    }
}

fn load(endpoint: &Endpoint, queries: Option<f64>, oldest: Option<f64>, started: Option<f64>) {
    endpoint.observe_load(&Load {
        queries,
        most_queries: Some(20.0),
        oldest: oldest.or(Some(-1e9)),
        started: started.or(Some(-1e9)),
    });
}

#[tokio::test(start_paused = true)]
async fn nobody_goes_where_something_speaks_against_it_while_another_has_nothing() {
    for fault in 0..FAULTS {
        let endpoints = endpoints(3);
        afflict(&endpoints[0], fault..fault + 1);
        let share = share(&chosen(&endpoints, Some(1000.0)), &endpoints[0]);
        assert_eq!(share, 0.0, "fault {fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_lesser_evil_is_taken() {
    for worse in 1..FAULTS {
        let endpoints = endpoints(2);
        afflict(&endpoints[0], worse..worse + 1);
        afflict(&endpoints[1], 0..worse);
        let share = share(&chosen(&endpoints, Some(1000.0)), &endpoints[0]);
        assert_eq!(share, 0.0, "fault {worse}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_same_speaks_against_all_they_share() {
    for fault in 0..FAULTS {
        let endpoints = endpoints(2);
        for endpoint in &endpoints {
            afflict(endpoint, fault..fault + 1);
        }
        let share = share(&chosen(&endpoints, Some(1000.0)), &endpoints[0]);
        assert!((0.4..0.6).contains(&share), "fault {fault}: {share}");
    }
}

#[test]
fn a_range_goes_to_whoever_has_most_of_it() {
    const DAY: f64 = 86_400.0;
    let endpoints = endpoints(3);
    for (endpoint, days) in endpoints.iter().zip([0.0, 5.0, 9.0]) {
        load(endpoint, None, Some(10.0 * DAY - days * DAY), None);
    }
    // Asked for: 3 days back, 7 days back, more than anybody has.
    let shares = [3.0, 7.0, 30.0].map(|back| {
        let chosen = chosen(&endpoints, Some(10.0 * DAY - back * DAY));
        [0, 1, 2].map(|index| (share(&chosen, &endpoints[index]) * 4.0).round() / 4.0)
    });
    assert_eq!(shares, [[0.0, 0.5, 0.5], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]);
    // One that cannot be reached counts for nothing here.
    endpoints[2].observe(ProbeResult::Lost);
    let chosen = chosen(&endpoints, Some(-30.0 * DAY));
    assert_eq!(share(&chosen, &endpoints[1]), 1.0);
}

#[test]
fn who_says_nothing_of_itself_is_not_preferred_and_where_nobody_does_all_share() {
    let endpoints = endpoints(2);
    endpoints[0].observe_load(&Load::default());
    let shares = share(&chosen(&endpoints, Some(1000.0)), &endpoints[0]);
    assert_eq!(shares, 0.0);
    endpoints[1].observe_load(&Load::default());
    let shares = share(&chosen(&endpoints, Some(1000.0)), &endpoints[0]);
    assert!((0.4..0.6).contains(&shares), "{shares}");
}

#[test]
fn a_busy_endpoint_loses_a_share_of_its_callers_and_the_others_keep_theirs() {
    let endpoints = endpoints(2);
    let before = chosen(&endpoints, Some(1000.0));
    load(&endpoints[0], Some(16.0), None, None);
    let after = chosen(&endpoints, Some(1000.0));
    let kept = share(&after, &endpoints[0]);
    assert!(
        (0.28..0.38).contains(&kept),
        "a third instead of half: {kept}"
    );
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || before == endpoints[0].name());
    }
}

#[test]
fn the_second_choice_is_another_or_none() {
    let all = endpoints(2);
    for caller in 0..100 {
        let first = choose(&all, wanted(caller, None), None).expect("one");
        let second = choose(&all, wanted(caller, None), Some(first)).expect("another");
        assert!(!Arc::ptr_eq(first, second));
    }
    let one = endpoints(1);
    assert!(choose(&one, wanted(0, None), Some(&one[0])).is_none());
    assert!(choose(&[], wanted(0, None), None).is_none());
}
