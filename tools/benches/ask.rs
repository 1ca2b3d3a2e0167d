//! What a question costs the main thread: the whole answer, the part of it after which a commit may
//! begin, and the copy of what it knows that it does not make.
//!
//! `cargo bench -p closeby-tools --bench ask`

use std::hint::black_box;

use closeby::ask::protocol::write_answer;
use closeby::ask::{Parts, Question, answer};
use closeby::compile::Generation;
use closeby_tools::clusters::{self, Shape};
use closeby_tools::pipeline::Derived;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const SERVICES: [u32; 2] = [1_000, 10_000];
const ENDPOINTS: u32 = 10;

fn questions() -> [(&'static str, Question); 4] {
    let service = clusters::service(Shape::flat(1, ENDPOINTS), 0);
    let to = format!("{}:{}/tcp", service.cluster_ips[0], service.ports[0].port);
    let from = [10, 128, 0, 1].into();
    [
        ("services", Question::Services),
        ("service", Question::Service(service.name.to_string())),
        ("explain", Question::Explain { from, to, interface: None }),
        ("top", Question::Top),
    ]
}

fn ask(c: &mut Criterion) {
    let mut group = c.benchmark_group("ask");
    group.sample_size(20);
    let facts = clusters::facts();
    for services in SERVICES {
        let shape = Shape { zones: 3, ..Shape::flat(services, ENDPOINTS) };
        let cluster = clusters::cluster(shape);
        let derived = Derived::cold(&cluster, &facts);
        group.bench_function(BenchmarkId::new("copy", services), |b| {
            b.iter_with_large_drop(|| (cluster.clone(), derived.clone()));
        });
        for (name, question) in questions() {
            group.bench_function(BenchmarkId::new(format!("part of {name}"), services), |b| {
                let part = || Parts::of(question.clone()).next(&derived.knowledge(&cluster));
                b.iter_with_large_drop(part);
            });
        }
        for (name, question) in questions() {
            group.bench_function(BenchmarkId::new(name, services), |b| {
                b.iter(|| {
                    let answer =
                        answer(&question, &derived.knowledge(&cluster)).expect("an answer");
                    black_box(write_answer(Ok((Generation(1), &answer))).len())
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, ask);
criterion_main!(benches);
