//! The machine between a cluster and the fake kernel, on a clock of its own.
//!
//! [`World`] carries out effects when it is told to, so that things happen in
//! between, and checks at every step what must always hold:
//! - nothing is asked or written before every kind of object was told in full;
//! - one request at a time;
//! - what is published is, or was, in the kernel (but for what somebody else
//!   changed since we looked), and never goes back;
//! - a transaction leaves one generation, no mixture, and nobody else's tables
//!   are touched;
//! - between two transactions is `minSyncPeriod`, unless the first one failed
//!   or the second one repairs;
//! - a UDP frontend that the kernel serves no longer is remembered there until
//!   connection tracking was swept for it;
//! - who wakes it when it says so does not turn in circles.

mod foreign;
mod killed;
mod owed;
mod tables;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use closeby::compile::{Generation, compile_all};
use closeby::model::{Change, Cluster, Node, NodeName};
use closeby::render::Rendered;
use closeby::render::tables::sizes::Sizes;
use closeby::render::tables::superseded_ids;
use closeby::sync::effect::SweepJob;
use closeby::sync::run;
use closeby::sync::stages::Stage;
use closeby::sync::{Effect, Input, Machine, Moment, Pace, Report};
use closeby_nft::Ruleset;
use closeby_nft::fake::Fake;
use closeby_nft::kernel::{Kernel as _, ListError};

use crate::small;
pub use foreign::Foreign;
use owed::Owed;
pub use tables::ours;
use tables::{as_read, met, others};

/// How often the loop around the machine asks the kernel for its count.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// A request to the kernel that is under way.
#[derive(Debug)]
enum Request {
    List,
    Commit(std::sync::Arc<Stage>),
}

/// The machine and its surroundings.
#[derive(Debug)]
pub struct World {
    /// The machine under test.
    pub machine: Machine,
    /// Its kernel.
    pub kernel: Fake,
    /// What it told the operator, with the time.
    pub reports: Vec<(Moment, Report)>,
    /// When it asked the kernel for something.
    pub requests: Vec<Moment>,
    /// The virtual time.
    pub now: Moment,
    waiting: Option<Request>,
    list_faults: VecDeque<ListError>,
    truth: Cluster,
    /// The Node that the machine runs on, as it was told last.
    node: Option<Node>,
    rendered: BTreeMap<Generation, Ruleset>,
    /// What the kernel had of ours since the last publication.
    had: Vec<Ruleset>,
    published: Option<Generation>,
    min_sync_period: Duration,
    /// When the last generation was there.
    synced: Option<Moment>,
    is_repair: bool,
    /// Whether somebody changed our tables since they were listed.
    is_tainted: bool,
    is_limited: bool,
    owed: Owed,
}

impl World {
    /// A machine that knows nothing, and an empty kernel.
    #[must_use]
    pub fn new(min_sync_period: Duration, send_limit: usize) -> Self {
        let pace = Pace::new(Some(min_sync_period), None);
        Self::with_pace(pace, min_sync_period, send_limit)
    }

    /// The same at another pace.
    #[must_use]
    pub fn with_pace(pace: Pace, min_sync_period: Duration, send_limit: usize) -> Self {
        let facts_of = Box::new(small::facts);
        Self {
            machine: Machine::new(NodeName::from(small::NODE), facts_of, pace, send_limit),
            kernel: Fake::new().with_send_limit(send_limit),
            reports: Vec::new(),
            requests: Vec::new(),
            now: Moment::default(),
            waiting: None,
            list_faults: VecDeque::new(),
            truth: Cluster::default(),
            node: None,
            rendered: BTreeMap::new(),
            had: vec![Ruleset::default()],
            published: None,
            min_sync_period,
            synced: None,
            is_repair: false,
            is_tainted: false,
            is_limited: send_limit < usize::MAX,
            owed: Owed::default(),
        }
    }

    /// The same on what an agent before it left in the kernel.
    #[must_use]
    pub fn after(kernel: Fake) -> Self {
        let mut world = Self::new(Duration::ZERO, usize::MAX);
        world.had = vec![ours(kernel.ruleset())];
        // What it left is of no generation of ours.
        world.is_tainted = true;
        world.kernel = kernel;
        world
    }

    /// Objects change.
    pub fn change(&mut self, changes: &[Change]) {
        for change in changes {
            self.truth.apply(change.clone());
            if let Some(node) = self.truth.node(&NodeName::from(small::NODE)) {
                self.node = Some(node.clone());
            }
        }
        self.step(Input::Changed(changes.to_vec()));
    }

    /// The next listing fails.
    pub fn fail_list(&mut self, error: ListError) {
        self.list_faults.push_back(error);
    }

    /// The kernel takes small datagrams now and then, so loads may be divided.
    pub fn expect_divided_loads(&mut self) {
        self.is_limited = true;
    }

    /// Somebody else commits.
    pub fn foreign(&mut self, what: Foreign) {
        let before = ours(self.kernel.ruleset());
        self.kernel.foreign(|ruleset| foreign::edit(ruleset, what));
        let after = ours(self.kernel.ruleset());
        self.is_tainted |= before != after;
        self.had.push(after);
    }

    /// Whether a request is under way.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// The kernel does what is under way and answers; nothing if nothing is.
    pub fn answer(&mut self) {
        self.answer_after(None);
    }

    /// The same, and somebody else commits between the deed and the answer.
    pub fn answer_after(&mut self, meanwhile: Option<Foreign>) {
        let Some(request) = self.waiting.take() else {
            return;
        };
        match request {
            Request::List => {
                let listed = match self.list_faults.pop_front() {
                    Some(error) => Err(error),
                    None => run::list(&mut self.kernel, &superseded_ids()).map(as_read),
                };
                self.step(Input::Listed(listed));
            }
            Request::Commit(stage) => {
                let theirs = others(self.kernel.ruleset());
                let before = self.kernel.ruleset().clone();
                let mut outcome = self.kernel.commit(&stage.batch);
                self.owed.committed(&before, self.kernel.ruleset(), self.is_tainted);
                assert_eq!(others(self.kernel.ruleset()), theirs, "touched what is not ours");
                let content = ours(self.kernel.ruleset());
                if outcome.is_ok() && !self.is_limited {
                    let met = met(&content);
                    let known = self.rendered.values().any(|rendered| self::met(rendered) == met);
                    // What a stranger did goes with the change, not before it.
                    assert!(known || self.is_tainted, "a mixture of generations is in the kernel");
                    self.is_tainted &= !known;
                }
                self.had.push(content);
                if let (Some(what), Ok(receipt)) = (meanwhile, &mut outcome) {
                    self.foreign(what);
                    receipt.gen_id = self.kernel.generation().unwrap_or(receipt.gen_id);
                }
                let told = self.reports.len();
                self.step(Input::Committed(outcome));
                let is_done =
                    |(_, report): &(Moment, Report)| matches!(report, Report::Committed { .. });
                if self.reports[told..].iter().any(is_done) {
                    self.synced = Some(self.now);
                }
            }
        }
    }

    /// Connection tracking is swept for the oldest job; nothing if there is none.
    pub fn sweep(&mut self) {
        if let Some(job) = self.owed.sweep() {
            self.step(Input::Swept(job.generation));
        }
    }

    /// The sweeps asked for and not done, oldest first.
    pub fn sweeps(&self) -> impl Iterator<Item = &SweepJob> {
        self.owed.sweeps()
    }

    /// Time passes; the machine is woken when it asked to be, and at every
    /// poll. Requests stay under way.
    pub fn pass(&mut self, wait: Duration) {
        let end = self.now.after(wait);
        loop {
            let next = self.machine.wake_at().min(self.now.after(POLL_EVERY)).max(self.now);
            if next > end || self.is_waiting() {
                self.now = end;
                return;
            }
            self.now = next;
            self.poll();
        }
    }

    /// The loop asks the kernel for its count.
    pub fn poll(&mut self) {
        let gen_id = self.kernel.generation();
        self.step(Input::Polled(gen_id));
        let is_spinning = !self.is_waiting() && self.machine.wake_at() <= self.now;
        assert!(!is_spinning, "it wants to be woken at once, and does nothing then");
    }

    /// Goes on without further events until the kernel has what the cluster
    /// says. Returns how often the machine was woken.
    ///
    /// # Panics
    /// If that takes more than `most` steps.
    pub fn settle(&mut self, most: usize) -> usize {
        for steps in 0..most {
            if self.is_waiting() {
                self.answer();
            } else if self.is_settled() {
                return steps;
            } else {
                self.now = self.machine.wake_at().min(self.now.after(POLL_EVERY)).max(self.now);
                self.poll();
            }
        }
        let told = self.reports.last();
        panic!("not settled after {most} steps at {:?}; last report: {told:?}", self.now);
    }

    /// Whether the kernel has what the cluster says and nothing of kube-proxy's,
    /// and readers see it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let newest = self.machine.plan().map(|plan| plan.generation);
        let tables = &self.kernel.ruleset().tables;
        newest.is_some()
            && self.published == newest
            && !superseded_ids().iter().any(|id| tables.contains_key(id))
            && ours(self.kernel.ruleset()) == self.wanted()
    }

    /// The tables for the cluster, from nothing.
    #[must_use]
    pub fn wanted(&self) -> Ruleset {
        let facts = small::shared_facts(self.node.as_ref(), self.truth.host());
        let plan = compile_all(&self.truth, &facts);
        Rendered::nothing(Sizes::default()).next(&plan).ruleset().clone()
    }

    /// Tells the machine, notes its effects and checks them.
    pub fn step(&mut self, input: Input) {
        let effects = self.machine.step(input, self.now);
        if let Some(plan) = self.machine.plan() {
            self.rendered.entry(plan.generation).or_insert_with(|| {
                Rendered::nothing(Sizes::default()).next(plan).ruleset().clone()
            });
        }
        for effect in effects {
            match effect {
                Effect::List => self.request(Request::List),
                Effect::Commit(stage) => {
                    let since = self.synced.map_or(Duration::MAX, |at| self.now.0 - at.0);
                    let in_time = since >= self.min_sync_period || self.is_repair;
                    assert!(in_time, "a transaction {since:?} after the last one");
                    self.request(Request::Commit(stage));
                }
                Effect::Publish(snapshot) => self.publish(snapshot.generation),
                Effect::Sweep(job) => {
                    assert_eq!(Some(job.generation), self.published, "a sweep before its rules");
                    self.owed.asked(*job);
                }
                Effect::Report(report) => {
                    self.is_repair = match &report {
                        Report::Drift { .. } => true,
                        Report::Committed { .. } => false,
                        _ => self.is_repair,
                    };
                    self.reports.push((self.now, report));
                }
            }
        }
    }

    fn request(&mut self, request: Request) {
        // The kernel may be read meanwhile, once.
        let is_first_look = matches!(request, Request::List) && self.requests.is_empty();
        let may_ask = self.truth.is_complete() || is_first_look;
        assert!(may_ask, "{request:?} before all was told");
        assert!(self.waiting.is_none(), "two requests at a time");
        self.waiting = Some(request);
        self.requests.push(self.now);
    }

    fn publish(&mut self, generation: Generation) {
        let rendered = &self.rendered[&generation];
        // What somebody else did just before is noticed only after the commit.
        let was_there = self.is_tainted || self.had.contains(rendered);
        assert!(was_there, "{generation:?} was never in the kernel");
        assert!(self.published <= Some(generation), "{generation:?} after {:?}", self.published);
        self.published = Some(generation);
        self.had = vec![ours(self.kernel.ruleset())];
    }
}
