//! What connection tracking is owed a sweep for, found from the kernel's tables
//! alone.

use std::collections::{BTreeSet, VecDeque};

use closeby::render::tables::table_ids;
use closeby::sync::effect::SweepJob;
use closeby_nft::{Key, Ruleset, TableId};

/// UDP frontends that the kernel served and serves no longer, and that nothing
/// was swept for since.
#[derive(Debug, Default)]
pub(super) struct Owed {
    frontends: BTreeSet<(TableId, Key)>,
    /// Sweeps asked for, with what was owed then.
    sweeps: VecDeque<(SweepJob, BTreeSet<(TableId, Key)>)>,
}

impl Owed {
    /// A transaction was tried. What is served no longer is owed a sweep, and
    /// the kernel says so, unless a stranger took that away: then it comes back
    /// with the repair.
    pub(super) fn committed(&mut self, before: &Ruleset, after: &Ruleset, is_tainted: bool) {
        let now = udp_frontends(after);
        self.frontends.extend(udp_frontends(before));
        self.frontends.retain(|frontend| !now.contains(frontend));
        for (id, key) in &self.frontends {
            let table = after.tables.get(id);
            let set = table.and_then(|table| table.sets.get("udp-gone"));
            let is_remembered = set.is_some_and(|set| set.elements.contains_key(key));
            assert!(is_remembered || is_tainted, "{id:?} does not remember {key:?}");
        }
    }

    pub(super) fn asked(&mut self, job: SweepJob) {
        self.sweeps.push_back((job, self.frontends.clone()));
    }

    /// The oldest job is done.
    pub(super) fn sweep(&mut self) -> Option<SweepJob> {
        let (job, owed) = self.sweeps.pop_front()?;
        self.frontends.retain(|frontend| !owed.contains(frontend));
        Some(job)
    }

    /// What is left when the agent is killed: its jobs are lost.
    pub(super) fn inherited(self) -> Self {
        Self { frontends: self.frontends, sweeps: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frontends.is_empty()
    }

    pub(super) fn sweeps(&self) -> impl Iterator<Item = &SweepJob> {
        self.sweeps.iter().map(|(job, _)| job)
    }
}

/// The UDP frontends that our tables serve, as they would be remembered.
fn udp_frontends(ruleset: &Ruleset) -> BTreeSet<(TableId, Key)> {
    const WITH_ADDRESS: [&str; 3] = ["classes", "reject-services", "drop-services"];
    const NODE_PORTS: [&str; 3] = ["node-classes", "reject-node-ports", "drop-node-ports"];
    let mut found = BTreeSet::new();
    for id in table_ids() {
        let Some(table) = ruleset.tables.get(&id) else { continue };
        let keys = |name| table.sets.get(name).into_iter().flat_map(|set| set.elements.iter());
        let len = id.family.addr_len();
        let mut take = |addr: &[u8], rest: &[u8]| {
            if let [17, 0, 0, 0, port @ ..] = rest {
                found.insert((id.clone(), Key(addr.iter().chain(port).copied().collect())));
            }
        };
        for (key, _) in WITH_ADDRESS.into_iter().flat_map(keys) {
            take(&key.0[..len], &key.0[len..]);
        }
        for (key, _) in NODE_PORTS.into_iter().flat_map(keys) {
            take(&[0; 16][..len], &key.0);
        }
    }
    found
}
