//! What a lookup in the snapshot costs at 10,000 Services; and that it
//! allocates nothing, which is asserted before anything is measured.
//!
//! `cargo bench -p closeby-tools --bench route`

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

use closeby::fastpath::{Flow, Origin, Route, Snapshot, route};
use closeby_nft::{L4Proto, Port};
use closeby_tools::clusters::{self, Shape};
use closeby_tools::pipeline::Derived;
use criterion::{Criterion, criterion_group, criterion_main};

const SERVICES: u32 = 10_000;
/// Flows looked up in turn, so many that the branch predictor learns none.
const FLOWS: u32 = 1 << 16;

/// The system's allocator, counting what is asked of it.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
#[expect(unsafe_code, reason = "an allocator can be written in no other way")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract for us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above; `at` came from `System`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Flows to port `port` of Services in random order.
fn flows(port: u16) -> Vec<Flow> {
    let port = Port::new(port).expect("a port above 0");
    (0..FLOWS)
        .map(|number| {
            // A multiplicative hash: every Service, none twice in a row.
            let index = number.wrapping_mul(0x9e37_79b9) % SERVICES;
            let destination = clusters::service_addr(closeby_nft::Family::Ip, index);
            let (origin, proto) = (Origin::Pod, L4Proto::Tcp);
            let source = Ipv4Addr::new(10, 128, 0, 5).into();
            Flow { origin, source, destination, to_node: false, proto, port }
        })
        .collect()
}

/// Looks all of them up; how many lead somewhere.
fn hits(snapshot: &Snapshot, flows: &[Flow]) -> usize {
    let hit = |(draw, flow)| matches!(route(snapshot, flow, draw), Route::To { .. });
    (0..).zip(flows).filter(|numbered| hit(*numbered)).count()
}

fn lookups(c: &mut Criterion) {
    let shape = Shape::flat(SERVICES, 10);
    let derived = Derived::cold(&clusters::cluster(shape), &clusters::facts());
    let snapshot = derived.snapshot();
    let mut group = c.benchmark_group("route");
    group.throughput(criterion::Throughput::Elements(1));
    for (name, port, expected) in [("hit", 80, FLOWS), ("other-port", 81, 0)] {
        let flows = flows(port);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let hits = hits(snapshot, &flows);
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert_eq!(u32::try_from(hits), Ok(expected), "{name}");
        assert_eq!(allocations, 0, "{name}: a lookup allocates");
        let mut turn = flows.iter().cycle();
        let mut draw = 0_u32;
        group.bench_function(name, |b| {
            b.iter(|| {
                draw = draw.wrapping_add(1);
                let flow = turn.next().expect("a flow");
                black_box(route(snapshot, black_box(flow), draw));
            });
        });
    }
    elsewhere(&mut group, snapshot);
    group.finish();
}

/// To addresses that no Service has: most packets of a node.
fn elsewhere(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    snapshot: &Snapshot,
) {
    let mut flows = flows(80);
    for (number, flow) in (0..).zip(&mut flows) {
        flow.destination = std::net::Ipv4Addr::from_bits(0x0a80_0000 + number).into();
    }
    assert_eq!(hits(snapshot, &flows), 0);
    let mut turn = flows.iter().cycle();
    group.bench_function("elsewhere", |b| {
        b.iter(|| black_box(route(snapshot, black_box(turn.next().expect("a flow")), 7)));
    });
}

criterion_group!(benches, lookups);
criterion_main!(benches);
