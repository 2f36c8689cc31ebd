//! Each step of a request's way alone, and all of them, without network. Restriction of every query of Headlamp's
//! plugin is in `restriction.rs`.

#[allow(unreachable_pub, reason = "shared with instructions.rs")]
#[path = "pipeline/steps.rs"]
mod steps;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

use self::steps::Steps;

fn pipeline(criterion: &mut Criterion) {
    let steps = Steps::new();
    let mut group = criterion.benchmark_group("pipeline");
    for (name, step) in Steps::ALL {
        group.bench_function(name, |bencher| bencher.iter(|| step(&steps)));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .without_plots();
    targets = pipeline
}
criterion_main!(benches);
