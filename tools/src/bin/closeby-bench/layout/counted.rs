//! Two ways to have the kernel count new connections: a counter in each element that a packet is
//! led away by, or a set that packets fill once they are.

use closeby::render::tables::TABLE;
use closeby::render::tables::sets::SetKind;
use closeby_nft::Ruleset;

/// The same rules, with counters in the maps or without.
pub(crate) fn of(ruleset: &Ruleset, counts: bool) -> Ruleset {
    let mut counted = ruleset.clone();
    for table in counted.tables.values_mut() {
        let sets = std::mem::take(&mut table.sets);
        table.sets = sets
            .into_iter()
            .map(|(name, mut set)| {
                let leads_away = SetKind::named(name.as_str()).is_some_and(SetKind::leads_away);
                set.spec.counted = counts && leads_away;
                (name, set)
            })
            .collect();
    }
    counted
}

/// What is added to our table for counting in the filter hooks. The least that could do: nft 1.0.6
/// has no grammar for the original port behind another field, so that this cannot tell two ports
/// of a Service apart, nor any NodePorts.
pub(crate) fn after_dnat() -> String {
    const KEY: &str = "ct original ip daddr . meta l4proto . ip daddr . th dport";
    let rule = format!("ct state new ct status dnat update @connections {{ {KEY} counter }}");
    let mut text = format!(
        "table ip {TABLE} {{\n set connections {{\n typeof {KEY}\n size 262144\n flags dynamic\n \
         counter\n }}\n}}\n"
    );
    for chain in ["filter-forward", "filter-output"] {
        text += &format!("insert rule ip {TABLE} {chain} {rule}\n");
    }
    text
}
