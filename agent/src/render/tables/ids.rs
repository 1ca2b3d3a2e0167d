//! Which tables are ours, and which may not be there beside them.

use closeby_nft::{Family, Name, TableId};

/// The name of our tables. They are ours alone.
pub const TABLE: &str = "closeby";

/// The table of a family.
#[must_use]
pub fn table_id(family: Family) -> TableId {
    TableId { family, name: Name::from(TABLE) }
}

/// Our tables, whether or not both are programmed.
#[must_use]
pub fn table_ids() -> [TableId; 2] {
    Family::BOTH.map(table_id)
}

/// kube-proxy's tables (nftables mode, every version). No ruleset of ours has
/// them, so they go as soon as ours are live.
#[must_use]
pub fn superseded_ids() -> [TableId; 2] {
    Family::BOTH.map(|family| TableId { family, name: Name::from("kube-proxy") })
}
