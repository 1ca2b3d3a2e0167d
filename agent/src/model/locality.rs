//! Where something runs, from the widest to the narrowest.

use super::name::{Network, Region, Subzone, Zone};

/// Where something runs, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locality {
    /// Label `topology.istio.io/network`.
    pub network: Option<Network>,
    /// Label `topology.kubernetes.io/region`.
    pub region: Option<Region>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<Zone>,
    /// Label `topology.istio.io/subzone`.
    pub subzone: Option<Subzone>,
}

impl Locality {
    /// How many parts there are.
    pub const PARTS: usize = 4;

    /// How many parts are the same in both, from the widest on. What neither says is the same, as
    /// in Istio: most clusters have no subzones.
    #[must_use]
    pub fn shared_parts(&self, other: &Self) -> usize {
        let same = [
            self.network == other.network,
            self.region == other.region,
            self.zone == other.zone,
            self.subzone == other.subzone,
        ];
        same.iter().take_while(|same| **same).count()
    }
}
