//! One generation's decisions, laid out for lookups: immutable, without lock,
//! and without allocation when read.

use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;

use crate::compile::{Backend, Facts, Frontend, Generation};

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
    pub targets: OrdMap<Frontend, Target>,
    /// Every ClusterIP, and how many frontends it has: other ports of it are
    /// refused.
    pub cluster_ips: OrdMap<IpAddr, u32>,
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
            facts,
            targets: OrdMap::new(),
            cluster_ips: OrdMap::new(),
        }
    }
}
