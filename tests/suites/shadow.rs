//! `--shadow` on paper: our own tables in kube-proxy's place, read as those of others are.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use closeby::compile::{Entry, Facts, NodePlan, compile_all};
use closeby::model::Change;
use closeby::render::Rendered;
use closeby::render::tables::sizes::Sizes;
use closeby::shadow::{Comparison, Kind, Sides, compare};
use closeby_nft::foreign::{self, Content};
use closeby_nft::lower::lower;
use closeby_nft::{Family, Ruleset, TableId};
use closeby_tests::clusters;
use closeby_tests::property::cases;
use proptest::prelude::*;

/// A ruleset as it would be read if others had written it.
fn as_foreign(ruleset: &Ruleset) -> BTreeMap<TableId, foreign::Table> {
    let table = |(id, table): (&TableId, &closeby_nft::Table)| {
        let chains = table.chains.iter().map(|(name, chain)| {
            let rules = chain.rules.iter().map(|rule| Some(lower(rule, id.family))).collect();
            (name.clone(), foreign::Chain { hook: chain.hook, rules })
        });
        let sets = table.sets.iter().map(|(name, set)| {
            let set = foreign::Set {
                key_len: set.spec.key_len(id.family),
                size: set.spec.size,
                dynamic: set.spec.dynamic,
                content: Content::Keys(set.elements.clone()),
            };
            (name.clone(), set)
        });
        (id.clone(), foreign::Table { chains: chains.collect(), sets: sets.collect() })
    };
    ruleset.tables.iter().map(table).collect()
}

fn plan_of(objects: &[Change], facts: &Facts) -> (NodePlan, Rendered) {
    let plan = compile_all(&clusters::cluster(objects), &Arc::new(facts.clone()));
    let rendered = Rendered::nothing(Sizes::default()).next(&plan);
    (plan, rendered)
}

fn compared(
    (plan, rendered): &(NodePlan, Rendered),
    theirs: &BTreeMap<TableId, foreign::Table>,
) -> Comparison {
    let host = clusters::node_addresses();
    compare(&Sides { plan, ours: rendered.ruleset(), theirs, host: &host })
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn what_does_the_same_differs_in_nothing(
        objects in clusters::objects(),
        facts in clusters::facts(),
    ) {
        let ours = plan_of(&objects, &facts);
        let found = compared(&ours, &as_foreign(ours.1.ruleset()));
        prop_assert_eq!(found.differences.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
        let served = ours.0.services.values().flat_map(|it| &it.ports).map(|it| it.served.len());
        prop_assert_eq!(found.frontends, served.sum::<usize>());
    }

    /// With nobody else's rules, everything that we do is something else.
    #[test]
    fn what_is_missing_is_found(objects in clusters::objects(), facts in clusters::facts()) {
        let ours = plan_of(&objects, &facts);
        let found = compared(&ours, &BTreeMap::new());
        let ports = ours.0.services.values().flat_map(|service| &service.ports);
        let served = ports.flat_map(|port| &port.served);
        for served in served.filter(|it| matches!(it.entry, Entry::Forward { .. })) {
            let at_address = !matches!(served.frontend, closeby::compile::Frontend::NodePort { .. });
            let family = match served.frontend {
                closeby::compile::Frontend::Address { addr, .. } => Family::of(addr),
                closeby::compile::Frontend::NodePort { family, .. } => family,
            };
            if at_address && served.sources.is_none() && facts.families.contains(&family) {
                let mut there = found.differences.iter().filter(|it| it.frontend == served.frontend);
                prop_assert!(there.any(|it| it.kind == Kind::Verdict), "{:?}", served.frontend);
            }
        }
    }
}
