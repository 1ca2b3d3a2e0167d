//! The candidate `verdict map`: address and port lead to the chain at once, in one map of verdicts;
//! no class, nothing carried in the packet, no set of addresses in front.
//!
//! PURE. Made from our own rendering by putting each class's chain in its place.

use closeby::render::tables::sets::{ADDRESS, NODE_PORT, SetKind};
use closeby_nft::{Chain, Data, DataKind, Rule, Ruleset, Statement, Table};

/// The same decisions in this layout.
pub(crate) fn of(ruleset: &Ruleset) -> Ruleset {
    let mut other = ruleset.clone();
    for table in other.tables.values_mut() {
        rewrite(table);
    }
    other
}

fn rewrite(table: &mut Table) {
    let entries = table.sets.remove(&*SetKind::Entries.as_str());
    let entries = entries.map(|set| set.elements).unwrap_or_default();
    table.sets.remove(&*SetKind::Vips.as_str());
    for kind in [SetKind::Classes, SetKind::NodeClasses] {
        let Some(set) = table.sets.get_mut(&*kind.as_str()) else {
            continue;
        };
        set.spec.data = DataKind::Verdict;
        let verdict = |class: &Data| match class {
            // A class is the key of its entry, in the same bytes.
            Data::Value(class) => {
                let key = entries.keys().find(|key| key.0[..] == class.0[..]);
                key.and_then(|key| entries.get(&key))
            }
            _ => None,
        };
        let elements = set.elements.iter();
        set.elements = elements
            .filter_map(|(key, class)| verdict(&class).map(|verdict| (key, verdict)))
            .collect();
    }
    let chains = std::mem::take(&mut table.chains);
    let dispatch = ["service-address", "node-address"];
    table.chains = chains
        .into_iter()
        .filter(|(name, _)| !dispatch.contains(&name.as_str()))
        .map(|(name, chain)| {
            let rules = match name.as_str() {
                "services" => services(&chain),
                _ => without_carrier(&chain),
            };
            (name, Chain { hook: chain.hook, rules })
        })
        .collect();
}

/// Straight to the chain, for addresses and for NodePorts.
fn services(chain: &Chain) -> Vec<Rule> {
    let vmap = |key: &[_], map: SetKind| Statement::Vmap { key: key.to_vec(), map: map.name() };
    let mut rules = vec![vec![vmap(&ADDRESS, SetKind::Classes)]];
    for to_node in chain.rules.iter().skip(1) {
        let mut rule = to_node.clone();
        rule.pop();
        rule.push(vmap(&NODE_PORT, SetKind::NodeClasses));
        rules.push(rule);
    }
    rules
}

/// Chains that pick an endpoint have no class to forget.
fn without_carrier(chain: &Chain) -> Vec<Rule> {
    let picks = chain.rules.iter().flatten().any(|rule| matches!(rule, Statement::Dnat { .. }));
    let forgets = |rule: &Rule| *rule == [Statement::PriorityClear];
    chain.rules.iter().filter(|rule| !(picks && forgets(rule))).cloned().collect()
}

#[cfg(test)]
mod tests {
    use closeby_tools::clusters::{self, Shape};
    use closeby_tools::pipeline::Derived;

    use super::*;

    #[test]
    fn every_service_leads_to_its_chain() {
        let derived = Derived::cold(&clusters::cluster(Shape::flat(50, 3)), &clusters::facts());
        let other = of(derived.ruleset());
        let table = other.tables.values().next().unwrap();
        let services = table.sets.get(&*SetKind::Classes.as_str()).unwrap();
        assert_eq!(services.elements.len(), 50);
        assert!(services.elements.values().all(|data| matches!(data, Data::Verdict(_))));
        let used = table.chains.values().flat_map(|chain| chain.rules.iter().flatten());
        let missing = used.filter_map(Statement::set).find(|set| !table.sets.contains_key(*set));
        assert_eq!(missing, None);
    }
}
