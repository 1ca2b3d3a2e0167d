//! An agent that is killed, and the one that is started after it.

use closeby_nft::kernel::Kernel as _;

use super::{Request, World};

impl World {
    /// The agent is killed. What it had asked of the kernel is done or not; it
    /// never hears of it. The next one knows nothing: it must be told all
    /// objects. What is owed to connection tracking is owed by it now.
    #[must_use]
    pub fn killed(mut self, is_done: bool) -> Self {
        if let (Some(Request::Commit(stage)), true) = (self.waiting.take(), is_done) {
            let before = self.kernel.ruleset().clone();
            let outcome = self.kernel.commit(&stage.batch);
            assert!(outcome.is_ok(), "refused without a fault: {outcome:?}");
            self.owed.committed(&before, self.kernel.ruleset(), self.is_tainted);
        }
        let mut next = Self::after(self.kernel);
        next.owed = self.owed.inherited();
        next
    }

    /// Whether a UDP frontend vanished that nothing was swept for since.
    #[must_use]
    pub fn owes_a_sweep(&self) -> bool {
        !self.owed.is_empty()
    }
}
