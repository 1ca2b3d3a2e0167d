//! How many new connections went how far, as far as they are counted.

use serde::{Deserialize, Serialize};

/// New connections to a Service by how far they went; `None` where they are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// To endpoints of this node.
    pub same_node: Option<u64>,
    /// To others of its zone.
    pub same_zone: Option<u64>,
    /// To others of its region.
    pub same_region: Option<u64>,
    /// To other zones.
    pub cross_zone: Option<u64>,
    /// To endpoints of which it is not known.
    pub unknown: Option<u64>,
}

impl Connections {
    /// The words of localities with their counts, from near to far.
    #[must_use]
    pub fn by_locality(&self) -> [(&'static str, Option<u64>); 5] {
        [
            ("same_node", self.same_node),
            ("same_zone", self.same_zone),
            ("same_region", self.same_region),
            ("cross_zone", self.cross_zone),
            ("unknown", self.unknown),
        ]
    }

    /// All that are counted; `None` if none are.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.by_locality()
            .into_iter()
            .filter_map(|(_, count)| count)
            .reduce(|sum, count| sum + count)
    }
}
