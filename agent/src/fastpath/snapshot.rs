//! One generation's decisions, laid out for lookups: immutable, without lock,
//! and without allocation when read.

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use closeby_nft::{Family, Prefix};
use imbl::shared_ptr::DefaultSharedPtr;
use imbl::{GenericHashMap, OrdMap};

use crate::compile::{Backend, Facts, Frontend, Generation, HealthPort, NodePlan};
use crate::model::ServiceName;

/// A map that is only looked up in, never listed: found faster by hash than by
/// order, and copied as cheaply.
pub type Lookup<K, V> = GenericHashMap<K, V, BuildHasherDefault<Mix>, DefaultSharedPtr>;

/// Hashes addresses and ports in a few instructions (FxHash).
///
/// It needs no secret: keys come from the API, where whoever may write them can
/// do worse than make a lookup slow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix(u64);

impl Mix {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        // Multiplication mixes upwards, and the map reads the lower half.
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.add(u64::from_ne_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.add(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.add(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.add(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.add(number);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_usize(number.cast_unsigned());
    }

    fn write_usize(&mut self, number: usize) {
        self.add(u64::try_from(number).unwrap_or(u64::MAX));
    }
}

/// What happens to new connections, by frontend.
///
/// Published only after the kernel has the same generation, behind one
/// `ArcSwap`; a reader takes it once per unit of work.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The generation it is of.
    pub generation: Generation,
    /// The node it is for.
    pub facts: Arc<Facts>,
    /// What happens, by frontend.
    pub targets: Lookup<Frontend, Target>,
    /// Who alone may use a frontend; whoever is not named there is open to all.
    pub sources: Lookup<Frontend, Arc<[Prefix]>>,
    /// Every ClusterIP, and how many frontends it has: other ports of it are
    /// refused.
    pub cluster_ips: Lookup<IpAddr, u32>,
    /// Where load balancers ask for endpoints of this node.
    pub health: OrdMap<ServiceName, HealthPort>,
    /// How many ports drop traffic under policy Local, for only other nodes have
    /// endpoints of them; none of those that are not named. To be told of alone.
    pub none_local: BTreeMap<(Family, Traffic), usize>,
    /// What it was laid out from. To be told of alone, too.
    pub plan: NodePlan,
}

/// Where traffic comes from, as policies tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// From inside the cluster, to a ClusterIP.
    Internal,
    /// To any other address, or a NodePort.
    External,
}

/// What happens to a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// It goes to one of these; never empty.
    Forward(Arc<[Backend]>),
    /// Pods of this node and the node itself draw from `cluster`, others from
    /// `local`, and are dropped if that is empty.
    ByOrigin {
        /// Never empty.
        cluster: Arc<[Backend]>,
        /// May be empty.
        local: Arc<[Backend]>,
    },
    /// It is dropped.
    Drop,
    /// It is refused.
    Reject,
}

impl Snapshot {
    /// A snapshot that knows no Service.
    #[must_use]
    pub fn empty(facts: Arc<Facts>) -> Self {
        Self {
            generation: Generation::default(),
            plan: NodePlan::empty(facts.clone()),
            facts,
            targets: Lookup::default(),
            sources: Lookup::default(),
            cluster_ips: Lookup::default(),
            health: OrdMap::new(),
            none_local: BTreeMap::new(),
        }
    }
}
