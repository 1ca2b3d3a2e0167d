//! The candidate `carrier with mark bits`: the class is the count alone, a bit of it asks for
//! masquerading, and the dispatch tests that bit before it looks at the count; ClusterIPs are
//! looked up once more in front to mark what comes from outside.
//!
//! PURE. As nft text, because a verdict map keyed by a masked field cannot be said in
//! [`closeby_nft::Statement`].

use closeby::compile::MarkBit;
use closeby::render::tables::sets::SetKind;
use closeby_nft::ruleset::Value;
use closeby_nft::{Chain, Data, Family, Key, Prefix, Ruleset, Statement, TableId, text};

/// The same decisions in this layout, for one family, as text. `pods` is where this node's pods
/// are: whoever asks a ClusterIP from elsewhere is masqueraded.
pub(crate) fn of(ruleset: &Ruleset, id: &TableId, pods: Prefix) -> String {
    let Some(table) = ruleset.tables.get(id) else {
        return String::new();
    };
    let mut table = table.clone();
    if let Some(classes) = table.sets.get_mut(&*SetKind::Classes.as_str()) {
        let old = std::mem::take(&mut classes.elements);
        let count = |data: &Data| match data {
            Data::Value(class) => Data::Value(Value::new().number(count(&class.0))),
            other => other.clone(),
        };
        classes.elements = old.iter().map(|(key, data)| (key, count(&data))).collect();
    }
    if let Some(entries) = table.sets.get_mut(&*SetKind::Entries.as_str()) {
        let old = std::mem::take(&mut entries.elements);
        let key = |key: &Key| Key::new().number(count(&key.0));
        entries.elements = old.iter().map(|(old, data)| (key(&old), data.clone())).collect();
    }
    let dispatch = ["services", "service-address", "node-address"];
    let chains = std::mem::take(&mut table.chains);
    table.chains = chains
        .into_iter()
        .filter(|(name, _)| !dispatch.contains(&name.as_str()))
        .map(|(name, chain)| (name, unmarked(&chain)))
        .collect();
    let mut out = text::table(id, &table);
    // The last brace makes room for the chains that have no value.
    out.truncate(out.trim_end().trim_end_matches('}').len());
    out.push_str(&self::dispatch(id.family, pods));
    out.push_str("}\n");
    out
}

/// The lower half of a class.
fn count(class: &[u8]) -> u32 {
    <[u8; 4]>::try_from(class).map_or(0, u32::from_ne_bytes) & 0xffff
}

/// A chain that picks an endpoint: the marking was done before.
fn unmarked(chain: &Chain) -> Chain {
    let picks = chain.rules.iter().flatten().any(|rule| matches!(rule, Statement::Dnat { .. }));
    let marks = |statement: &Statement| matches!(statement, Statement::MarkOr(_));
    let mut chain = chain.clone();
    chain.rules.retain(|rule| !(picks && rule.iter().any(marks)));
    chain
}

fn dispatch(family: Family, pods: Prefix) -> String {
    let mark = format!("meta mark set meta mark | {:#010x}", MarkBit::DEFAULT.mask());
    let chain = |key: &str, map: &str| {
        format!(
            "\t\tmeta priority set none\n\
             \t\tmeta priority set {key} map @{map}\n\
             \t\tmeta priority & 0:800 != none {mark}\n\
             \t\tmeta priority & 0:7ff vmap @entries\n"
        )
    };
    let to_address = format!("{family} daddr . meta l4proto . th dport");
    format!(
        "\n\tchain services {{\n\
         \t\t{family} daddr @cluster-ips {family} saddr != {pods} {mark}\n\
         \t\t{family} daddr @vips jump service-address\n\
         \t\t{family} daddr @node-ips jump node-address\n\t}}\n\n\
         \tchain service-address {{\n{}\t}}\n\n\
         \tchain node-address {{\n{}\t}}\n",
        chain(&to_address, "classes"),
        chain("meta l4proto . th dport", "node-classes"),
    )
}
