//! What a change costs from the cluster to sealed netlink bytes, cold and for
//! one endpoint, at three sizes.
//!
//! `cargo bench -p closeby-tools --bench pipeline`

use std::hint::black_box;

use closeby::model::Change;
use closeby_nft::delta::diff;
use closeby_nft::{Batch, Ruleset};
use closeby_tools::clusters::{self, Shape};
use closeby_tools::pipeline::Derived;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const SERVICES: [u32; 3] = [1_000, 10_000, 30_000];
const ENDPOINTS: u32 = 10;

fn cold(c: &mut Criterion) {
    let mut group = c.benchmark_group("cold");
    group.sample_size(10);
    let facts = clusters::facts();
    for services in SERVICES {
        let cluster = clusters::cluster(Shape::flat(services, ENDPOINTS));
        group.bench_function(BenchmarkId::from_parameter(services), |b| {
            b.iter(|| {
                let derived = Derived::cold(&cluster, &facts);
                let delta = diff(&Ruleset::default(), derived.ruleset());
                black_box(Batch::of(&delta).bytes().len())
            });
        });
    }
    group.finish();
}

fn one_endpoint(c: &mut Criterion) {
    let mut group = c.benchmark_group("one-endpoint");
    let facts = clusters::facts();
    for services in SERVICES {
        let shape = Shape::flat(services, ENDPOINTS);
        let mut cluster = clusters::cluster(shape);
        let mut derived = Derived::cold(&cluster, &facts);
        let mut turn = 0;
        group.bench_function(BenchmarkId::from_parameter(services), |b| {
            b.iter(|| {
                // Another Service each time, first one endpoint less, then back.
                let index = (turn / 2 * 7919) % services;
                let count = if turn % 2 == 0 { ENDPOINTS - 1 } else { ENDPOINTS };
                turn += 1;
                let slice = clusters::slice(shape, index, count);
                let dirty = cluster.apply(Change::Slice(slice));
                let next = derived.after(&cluster, &facts, &dirty);
                let delta = diff(derived.ruleset(), next.ruleset());
                derived = next;
                black_box(Batch::of(&delta).bytes().len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, cold, one_endpoint);
criterion_main!(benches);
