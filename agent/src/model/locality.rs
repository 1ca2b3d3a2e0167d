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
        let pairs = self.parts().into_iter().zip(other.parts());
        pairs.take_while(|(own, other)| own == other).count()
    }

    /// Its parts, the widest first; empty where nothing is said.
    #[must_use]
    pub fn parts(&self) -> [&str; Self::PARTS] {
        let Self { network, region, zone, subzone } = self;
        [
            network.as_ref().map_or("", Network::as_str),
            region.as_ref().map_or("", Region::as_str),
            zone.as_ref().map_or("", Zone::as_str),
            subzone.as_ref().map_or("", Subzone::as_str),
        ]
    }
}
