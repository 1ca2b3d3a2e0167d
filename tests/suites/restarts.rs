//! A restart is none: whenever the agent is killed, the next one brings the
//! kernel to where the first would have, and sweeps for what the first left.

use std::time::Duration;

use closeby::model::{Change, Kind};
use closeby_nft::Ruleset;
use closeby_tests::property::cases;
use closeby_tests::simulated::{World, ours};
use closeby_tests::small;
use proptest::collection::vec;
use proptest::prelude::*;

/// More than the polls of any change.
const POLLS_MAX: usize = 1_000;

/// When an agent is killed: before it hears of this request to the kernel,
/// counted from 0, be that done or not.
#[derive(Clone, Copy, Debug)]
struct Kill {
    request: usize,
    is_done: bool,
}

/// A history, as far as it went.
struct Run {
    world: World,
    /// What the objects are, as changes.
    told: Vec<Change>,
    requests: usize,
    kill: Option<Kill>,
}

impl Run {
    /// Change after change, each until the kernel has it; after every other
    /// one, connection tracking is swept.
    fn of(history: &[Vec<Change>], kill: Option<Kill>) -> Self {
        let world = World::new(Duration::ZERO, usize::MAX);
        let told = Kind::ALL.map(Change::Listed).to_vec();
        let mut run = Self { world, told, requests: 0, kill };
        run.world.change(&run.told);
        run.settle();
        for (changes, sweeps) in history.iter().zip([false, true].into_iter().cycle()) {
            run.change(changes);
            if sweeps {
                run.sweep();
            }
        }
        run.sweep();
        // What was swept for is forgotten by the next transaction.
        run.change(&[Change::Service(small::service(1, true, true))]);
        run
    }

    fn change(&mut self, changes: &[Change]) {
        self.told.extend(changes.iter().cloned());
        self.world.change(changes);
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..POLLS_MAX {
            if self.world.is_waiting() {
                self.answer();
            } else if self.world.is_settled() {
                return;
            } else {
                self.world.pass(Duration::from_millis(50));
            }
        }
        panic!("not settled: {:?}", self.world.reports.last());
    }

    fn answer(&mut self) {
        match self.kill.filter(|kill| kill.request == self.requests) {
            None => self.world.answer(),
            Some(Kill { is_done, .. }) => {
                let nobody = World::new(Duration::ZERO, usize::MAX);
                self.world = std::mem::replace(&mut self.world, nobody).killed(is_done);
                self.world.change(&self.told);
            }
        }
        self.requests += 1;
    }

    fn sweep(&mut self) {
        while self.world.sweeps().next().is_some() {
            self.world.sweep();
        }
    }

    fn tables(&self) -> Ruleset {
        ours(self.world.kernel.ruleset())
    }
}

/// A Node that goes stays in force as last seen, which the next agent has not.
fn change() -> impl Strategy<Value = Change> {
    small::change()
        .prop_filter("seen by one agent alone", |change| !matches!(change, Change::NodeGone(_)))
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn a_restart_anywhere_is_none(history in vec(vec(change(), 1..4), 1..4)) {
        let whole = Run::of(&history, None);
        prop_assert!(!whole.world.owes_a_sweep());
        for request in 0..whole.requests {
            for is_done in [false, true] {
                let kill = Kill { request, is_done };
                let run = Run::of(&history, Some(kill));
                prop_assert_eq!(run.tables(), whole.tables(), "{:?}", kill);
                prop_assert!(!run.world.owes_a_sweep(), "{:?}", kill);
            }
        }
    }
}
