//! A history of a cluster, as the bytes draw it: each step is what a fresh
//! start would decide, no judge objects, and the rules do as the oracle says.

use std::sync::Arc;

use closeby::model::Cluster;
use closeby_nft::fake::Fake;
use closeby_nft::{Batch, Kernel as _, Ruleset, delta::diff};
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::assert_is_sound;
use crate::clusters;
use crate::events::event;
use crate::made::Made;
use crate::oracle::{Oracle, Probe};
use crate::traced::Traced;

/// So many bytes draw one thing, so that a change of few bytes, or of their
/// order, changes few things, or their order.
const DRAW: usize = 4;
/// So many events are tried.
const EVENTS_MAX: usize = 16;

/// Tries the history that the bytes draw.
pub fn compile(data: &[u8]) {
    let (node, history) = data.split_at(data.len().min(DRAW));
    let draws: Vec<&[u8]> = history.chunks(DRAW).take(EVENTS_MAX).collect();
    let mut facts = Arc::new(drawn(&clusters::facts(), node));
    let probes: Vec<Probe> = draws.iter().map(|draw| drawn(&clusters::probe(), draw)).collect();
    let event = event();
    let mut cluster = Cluster::default();
    let mut made = Made::nothing(&facts);
    let mut kernel = Fake::new();
    let mut installed = Ruleset::default();
    for draw in draws {
        let dirty = drawn(&event, draw).happens(&mut cluster, &mut facts);
        made = made.next(&cluster, &facts, &dirty);
        let difference = made.difference(&Made::at_once(&cluster, &facts));
        assert!(difference.is_none(), "{}", difference.unwrap_or_default());
        let delta = diff(&installed, made.ruleset());
        if let Err(error) = kernel.commit(&Batch::of(&delta)) {
            panic!("{}", error.explain(&delta));
        }
        installed = kernel.ruleset().clone();
        assert_eq!(&installed, made.ruleset());
    }
    assert_is_sound(&made);
    let addresses = clusters::node_addresses();
    let oracle = Oracle { cluster: &cluster, facts: &facts, addresses: &addresses };
    let traced = Traced::new(made.ruleset(), &addresses);
    for probe in probes {
        assert_eq!(traced.decision(&probe), Ok(oracle.decide(&probe)), "{probe:?}");
    }
}

/// What this strategy draws with these bytes for a seed.
fn drawn<S: Strategy>(strategy: &S, bytes: &[u8]) -> S::Value {
    let mut seed = [0; 32];
    seed.iter_mut().zip(bytes).for_each(|(seed, byte)| *seed = *byte);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = strategy.new_tree(&mut runner);
    tree.unwrap_or_else(|reason| panic!("nothing can be drawn: {reason}")).current()
}
