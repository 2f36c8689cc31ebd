//! Reads and restricts each of Headlamp's queries, to one namespace and to fifty. The target is a median below 3 us for
//! each query and one namespace, on one thread.

#[allow(dead_code, reason = "shared with the test suites")]
#[path = "../tests/corpus/mod.rs"]
mod corpus;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use prom_rbac_proxy::namespace::{Namespace, NamespaceSet};
use prom_rbac_proxy::promql::{Constraint, Limits, Query};

fn restriction(criterion: &mut Criterion) {
    let limits = Limits::default();
    let names = |count: usize| {
        let names = (0..count).map(|index| Namespace::parse(&format!("namespace-{index}")));
        NamespaceSet::new(names.flatten()).expect("at least one name")
    };
    for count in [1, 50] {
        let set = names(count);
        let mut group = criterion.benchmark_group(format!("restriction/{count}"));
        for (index, query) in corpus::headlamp().iter().enumerate() {
            let id = BenchmarkId::new(index.to_string(), query.len());
            group.bench_with_input(id, query, |bencher, query| {
                bencher.iter(|| {
                    let query = Query::parse(black_box(query), &limits).expect("a valid query");
                    query.restrict(|_, selector| {
                        black_box(selector.named("namespace"));
                        Constraint::Namespaces {
                            label: "namespace",
                            set: &set,
                        }
                    })
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(20))
        .measurement_time(Duration::from_millis(100))
        .without_plots();
    targets = restriction
}
criterion_main!(benches);
