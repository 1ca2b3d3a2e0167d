//! No packet meets a mixture: whatever changes, and whenever a transaction
//! overtakes a packet, it is treated as before the change or as after it.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use closeby::compile::Facts;
use closeby::model::{Change, Cluster, Service};
use closeby::sync::stages::stages;
use closeby_nft::apply::apply;
use closeby_nft::delta::diff;
use closeby_nft::trace::{Fate, Memory, Outcome};
use closeby_tests::clusters;
use closeby_tests::made::Made;
use closeby_tests::oracle::{Decision, Oracle, Probe, Way};
use closeby_tests::property::cases;
use closeby_tests::traced::Traced;
use proptest::collection::vec;
use proptest::prelude::*;

/// What is wrong with this outcome between two decisions, if anything.
fn fault(outcome: &Outcome, decisions: &[Decision; 2]) -> Option<String> {
    let ways: Vec<_> = decisions
        .iter()
        .flat_map(|decision| match decision {
            Decision::To(targets) => targets.iter().collect(),
            Decision::Drop | Decision::Reject | Decision::Pass => Vec::new(),
        })
        .collect();
    let is_allowed = match (&outcome.fate, outcome.dnat) {
        (Fate::Forwarded | Fate::Delivered, Some(target)) => {
            // Who is masqueraded, and where to: each as before or as after.
            let masquerading: BTreeSet<bool> = ways.iter().map(|(_, how)| **how).collect();
            ways.iter().any(|(known, _)| **known == target)
                && masquerading.contains(&outcome.masqueraded)
        }
        (Fate::Forwarded | Fate::Delivered, None) => decisions.contains(&Decision::Pass),
        // Source ranges are asked before the class is looked up: who was let in
        // by the old ones is told what the new class says to others. A frontend
        // that comes or goes may be one for some a moment before the rest.
        (Fate::Dropped { .. } | Fate::Rejected { .. }, _) => {
            let refusals = [Decision::Drop, Decision::Reject, Decision::Pass];
            refusals.iter().any(|refusal| decisions.contains(refusal))
        }
    };
    (!is_allowed)
        .then(|| format!("{outcome}\nbut before {:?}, after {:?}", decisions[0], decisions[1]))
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn no_packet_meets_a_mixture(
        objects in clusters::objects(),
        facts in clusters::facts(),
        changes in vec(vec(clusters::change(), 1..=3), 1..6),
        probes in vec(clusters::probe(), 12),
    ) {
        let facts = Arc::new(facts);
        let mut cluster = clusters::cluster(&objects);
        let mut made = Made::at_once(&cluster, &facts);
        for changes in changes {
            let (before, old) = (cluster.clone(), made.clone());
            for change in changes {
                let dirty = cluster.apply(change);
                made = made.next(&cluster, &facts, &dirty);
            }
            overtaken(&old, &made, &[&before, &cluster], &facts, &probes)?;
        }
    }
}

/// Whether packets go to a ClusterIP. Where that changes, its other ports may be
/// refused a moment early or late.
fn is_cluster_ip(cluster: &Cluster, probe: &Probe) -> bool {
    cluster.services().values().any(|service| service.cluster_ips.contains(&probe.destination))
}

/// Whether there is an endpoint before and after.
fn served(decisions: &[Decision; 2]) -> bool {
    decisions.iter().all(|decision| matches!(decision, Decision::To(_)))
}

/// Whether source ranges let in, after the change, whom they did not before: who
/// may come is known early, and finds the endpoints of before.
fn is_newly_let_in(oracles: &[Oracle<'_>; 2], probe: &Probe) -> bool {
    let lets_in = oracles.map(|oracle| match oracle.port_of(probe) {
        Some((service, _, Way::Elsewhere)) => Some(oracle.lets_in(service, probe)),
        _ => None,
    });
    lets_in == [Some(false), Some(true)]
}

/// Whether a packet found its class before the change and its endpoint after
/// it: it goes by the policy that its frontend had, among the endpoints that its
/// frontend has. Somebody who was served meets somebody who serves there. Where
/// both change at once, as when the frontend passes from one Service to another,
/// neither side need say so.
fn is_between(oracles: &[Oracle<'_>; 2], probe: &Probe, outcome: &Outcome) -> bool {
    let [before, after] = oracles;
    let (Some((old, _, old_way)), Some((new, _, new_way))) =
        (before.port_of(probe), after.port_of(probe))
    else {
        return false;
    };
    let (internal_policy, external_policy) = (old.internal_policy, old.external_policy);
    // Who was served was let in.
    let source_ranges = BTreeMap::new();
    let between = Service { internal_policy, external_policy, source_ranges, ..new.clone() };
    let mut cluster = after.cluster.clone();
    cluster.apply(Change::Service(between));
    let between = Oracle { cluster: &cluster, ..*after }.decide(probe);
    match (before.decide(probe), between, outcome.dnat) {
        (Decision::To(_), Decision::To(ways), Some(target)) => {
            old_way == new_way && ways.get(&target) == Some(&outcome.masqueraded)
        }
        _ => false,
    }
}

/// Every transaction from one to the other, for each packet.
fn overtaken(
    old: &Made,
    new: &Made,
    clusters: &[&Cluster; 2],
    facts: &Facts,
    probes: &[Probe],
) -> Result<(), TestCaseError> {
    let addresses = clusters::node_addresses();
    let oracles = clusters.map(|cluster| Oracle { cluster, facts, addresses: &addresses });
    let mut installed = old.ruleset().clone();
    let stages = stages(diff(&installed, new.ruleset()), &installed, usize::MAX).unwrap();
    for stage in stages {
        let before = Traced::new(&installed, &addresses);
        prop_assert_eq!(apply(&mut installed, &stage.delta.ops), Ok(()));
        let after = Traced::new(&installed, &addresses);
        for probe in probes {
            let decisions = oracles.map(|oracle| oracle.decide(probe));
            let mut known = Memory::default();
            let _ = before.outcome(&mut known, probe, &mut |_| 0);
            let memories = [Memory::default(), known];
            let outcomes =
                memories.iter().flat_map(|memory| before.outcomes_during(&after, memory, probe));
            for outcome in outcomes {
                let ops: Vec<String> = stage.delta.ops.iter().map(ToString::to_string).collect();
                let turns = clusters.map(|cluster| is_cluster_ip(cluster, probe));
                let is_open = !served(&decisions)
                    && ((turns[0] != turns[1] && outcome.dnat.is_none())
                        || is_newly_let_in(&oracles, probe));
                let fault = fault(&outcome, &decisions)
                    .filter(|_| !is_open && !is_between(&oracles, probe, &outcome));
                prop_assert_eq!(fault, None, "{:?}\nby {:#?}", probe, ops);
            }
        }
    }
    prop_assert_eq!(&installed, new.ruleset());
    Ok(())
}
