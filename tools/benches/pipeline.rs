//! What a change costs from the cluster to sealed netlink bytes, cold and for
//! one endpoint, at three sizes.
//!
//! `cargo bench -p closeby-tools --bench pipeline`

use std::hint::black_box;
use std::sync::Arc;

use closeby::compile::{Facts, NodePlan, compile, compile_all};
use closeby::fastpath::Snapshot;
use closeby::model::{Change, Cluster};
use closeby::render::Rendered;
use closeby::render::snapshot::snapshot;
use closeby::render::tables::sizes::Sizes;
use closeby_nft::delta::diff;
use closeby_nft::{Batch, Ruleset};
use closeby_tools::clusters::{self, Shape};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const SERVICES: [u32; 3] = [1_000, 10_000, 30_000];
const ENDPOINTS: u32 = 10;

/// Everything that follows from a cluster.
#[derive(Clone)]
struct Derived {
    plan: NodePlan,
    rendered: Rendered,
    snapshot: Snapshot,
}

impl Derived {
    fn cold(cluster: &Cluster, facts: &Arc<Facts>) -> Self {
        let plan = compile_all(cluster, facts);
        let empty = NodePlan::empty(facts.clone());
        Self {
            rendered: Rendered::nothing(Sizes::default()).next(&plan),
            snapshot: snapshot(&Snapshot::empty(facts.clone()), &empty, &plan),
            plan,
        }
    }

    fn after(&self, cluster: &Cluster, facts: &Arc<Facts>, dirty: &closeby::model::Dirty) -> Self {
        let plan = compile(&self.plan, cluster, facts, dirty);
        Self {
            rendered: self.rendered.next(&plan),
            snapshot: snapshot(&self.snapshot, &self.plan, &plan),
            plan,
        }
    }
}

fn cold(c: &mut Criterion) {
    let mut group = c.benchmark_group("cold");
    group.sample_size(10);
    let facts = clusters::facts();
    for services in SERVICES {
        let cluster = clusters::cluster(Shape::flat(services, ENDPOINTS));
        group.bench_function(BenchmarkId::from_parameter(services), |b| {
            b.iter(|| {
                let derived = Derived::cold(&cluster, &facts);
                let delta = diff(&Ruleset::default(), derived.rendered.ruleset());
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
                let delta = diff(derived.rendered.ruleset(), next.rendered.ruleset());
                derived = next;
                black_box(Batch::of(&delta).bytes().len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, cold, one_endpoint);
criterion_main!(benches);
