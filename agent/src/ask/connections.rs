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

    /// The share that left the zone, of those whose way is known; `None` if there are none.
    #[must_use]
    pub fn cross_zone_share(&self) -> Option<f64> {
        let away = self.same_region.unwrap_or(0) + self.cross_zone.unwrap_or(0);
        let known = self.total()?.saturating_sub(self.unknown.unwrap_or(0));
        (known > 0).then(|| share(away, known))
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

/// A share, to three places.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    let thousandths = part.saturating_mul(1000).saturating_add(whole / 2) / whole.max(1);
    f64::from(u32::try_from(thousandths).unwrap_or(u32::MAX)) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_zone_is_a_share_of_what_is_known() {
        let all = |counts: [u64; 5]| {
            let [same_node, same_zone, same_region, cross_zone, unknown] = counts.map(Some);
            let counted = Connections { same_node, same_zone, same_region, cross_zone, unknown };
            counted.cross_zone_share()
        };
        assert_eq!(all([1, 1, 1, 1, 9]), Some(0.5));
        assert_eq!(all([0, 0, 0, 0, 9]), None);
        assert_eq!(all([3, 0, 0, 0, 0]), Some(0.0));
        assert_eq!(Connections::default().cross_zone_share(), None);
    }

    #[test]
    fn shares_have_three_places() {
        assert_eq!([share(0, 3), share(1, 3), share(2, 3), share(3, 3)], [0.0, 0.333, 0.667, 1.0]);
    }
}
