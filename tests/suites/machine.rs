//! The machine between cluster and kernel, case by case: each once went wrong,
//! or would take long to be noticed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use closeby::compile::Generation;
use closeby::model::{
    Change, HostAddresses, Kind, Node, NodeName, Service, ServiceName, Slice, SliceName,
};
use closeby::render::tables::superseded_ids;
use closeby::sync::run::{Event, run};
use closeby::sync::{Input, Machine, Moment, Pace, Report, Standing};
use closeby_nft::fake::{Fake, Fault};
use closeby_nft::kernel::{CommitError, Kernel, ListError, Listing, Receipt};
use closeby_nft::trace::{Host, Origin, Packet, Tracer};
use closeby_nft::{Batch, Family, GenId, L4Proto, Ruleset, Sealed, TableId};
use closeby_tests::simulated::{Foreign, World, ours};
use closeby_tests::small;
use crossbeam_channel::{Receiver, unbounded};
use nix::errno::Errno;

const SECOND: Duration = Duration::from_secs(1);
/// Enough steps for anything that does not wait for long.
const FEW: usize = 40;
/// Enough steps for the longest waits.
const MANY: usize = 5000;

/// Three Services, told in full.
fn objects() -> Vec<Change> {
    let services = (0..3).map(|name| Change::Service(small::service(name, true, false)));
    let slices = (0..3).flat_map(|name| [false, true].map(|six| small::slice(name, six, 3)));
    let told = Kind::ALL.into_iter().map(Change::Listed);
    let node = Change::Node(small::node(0));
    services.chain(slices.map(Change::Slice)).chain([node]).chain(told).collect()
}

/// A small change of what [`objects`] made.
fn small_change(count: u8) -> [Change; 1] {
    [Change::Slice(small::slice(0, false, count))]
}

fn settled(min_sync_period: Duration, send_limit: usize) -> World {
    let mut world = World::new(min_sync_period, send_limit);
    world.change(&objects());
    world.settle(FEW);
    world
}

fn failures(world: &World) -> Vec<&str> {
    let why = world.reports.iter().map(|(_, report)| match report {
        Report::Failed { why, .. } | Report::Stuck { why } => Some(why.as_str()),
        _ => None,
    });
    why.flatten().collect()
}

fn drifts(world: &World) -> usize {
    world.reports.iter().filter(|(_, report)| matches!(report, Report::Drift { .. })).count()
}

#[test]
fn a_repair_does_not_wait_for_min_sync_period() {
    let mut world = settled(Duration::from_secs(3600), usize::MAX);
    let damaged = world.now;
    world.foreign(Foreign::Flush);
    world.settle(FEW);
    assert!(world.now.0 - damaged.0 <= Duration::from_millis(100), "{:?}", world.now);
    assert_eq!(drifts(&world), 1);
}

/// Which of kube-proxy's tables the kernel has.
fn superseded(world: &World) -> Vec<TableId> {
    let tables = &world.kernel.ruleset().tables;
    superseded_ids().into_iter().filter(|id| tables.contains_key(id)).collect()
}

/// Whether ours come at once or in parts.
#[test]
fn kube_proxys_tables_go_once_ours_are_live() {
    for (limit, transactions) in [(usize::MAX, 2..=2), (LIMIT, 3..=FEW)] {
        let mut world = World::new(Duration::ZERO, limit);
        world.foreign(Foreign::KubeProxy);
        world.change(&objects());
        let mut is_live = false;
        while !superseded(&world).is_empty() {
            assert_eq!(superseded(&world), superseded_ids());
            assert!(world.is_waiting(), "{:?}", world.reports);
            is_live = ours(world.kernel.ruleset()) == world.wanted();
            world.answer();
        }
        assert!(is_live, "nobody served");
        assert!(transactions.contains(&world.kernel.commit_count()));
        world.foreign(Foreign::KubeProxy);
        world.settle(FEW);
        assert_eq!((superseded(&world), drifts(&world)), (Vec::new(), 1), "they came back");
    }
}

#[test]
fn a_change_waits_for_min_sync_period_and_wakes_it_then() {
    let mut world = settled(SECOND, usize::MAX);
    world.change(&small_change(1));
    assert!(!world.is_waiting());
    assert_eq!(world.machine.wake_at(), Moment(SECOND));
    world.settle(FEW);
    assert_eq!(world.now, Moment(SECOND));
}

/// What waits while the kernel refuses is told as waiting, until it is written.
#[test]
fn what_is_not_written_is_not_settled() {
    let mut world = World::new(Duration::ZERO, usize::MAX);
    let stands = |world: &World| {
        let Standing { is_settled, is_node_eligible } = world.machine.standing();
        (is_settled, is_node_eligible)
    };
    assert_eq!(stands(&world), (false, false), "nothing is known of the node");
    world.change(&objects());
    world.settle(FEW);
    assert_eq!(stands(&world), (true, true));
    world.kernel.fail_next(Fault::Busy);
    world.change(&small_change(1));
    world.answer();
    assert_eq!(stands(&world), (false, true));
    world.settle(FEW);
    assert_eq!(stands(&world), (true, true));
    let leaving = Node { is_leaving: true, ..small::node(0) };
    world.change(&[Change::Node(leaving)]);
    assert_eq!(stands(&world), (true, false));
    world.change(&[Change::Node(small::node(0))]);
    assert_eq!(stands(&world), (true, true));
    world.change(&[Change::NodeGone(small::NODE.into())]);
    assert_eq!(stands(&world), (true, false));
}

/// When endpoints changed is told once, with the generation that has them.
#[test]
fn when_it_changed_is_told_with_the_generation() {
    let mut world = settled(Duration::ZERO, usize::MAX);
    let when = |seconds| Some(Duration::from_secs(seconds));
    let told = |world: &World| match world.reports.last() {
        Some((_, Report::Committed { triggered, .. })) => triggered.clone(),
        other => panic!("{other:?}"),
    };
    world.kernel.fail_next(Fault::Busy);
    world.change(&[Change::Slice(Slice { triggered: when(1), ..small::slice(0, false, 1) })]);
    world.answer();
    world.change(&[Change::Slice(Slice { triggered: when(2), ..small::slice(1, true, 1) })]);
    world.settle(FEW);
    let both = [(Family::Ip, Duration::from_secs(1)), (Family::Ip6, Duration::from_secs(2))];
    assert_eq!(told(&world), both);
    // The same endpoints at another time are no change.
    let generations = world.reports.len();
    world.change(&[Change::Slice(Slice { triggered: when(3), ..small::slice(1, true, 1) })]);
    world.settle(FEW);
    assert_eq!(world.reports.len(), generations);
    world.change(&small_change(2));
    world.settle(FEW);
    assert_eq!(told(&world), []);
}

#[test]
fn a_stranger_between_two_parts_of_a_load_is_noticed() {
    let mut world = World::new(Duration::ZERO, LIMIT);
    world.change(&objects());
    // The stranger writes into a set of ours: it must be there.
    let has_set = |world: &World| {
        let mut tables = world.kernel.ruleset().tables.values();
        tables.any(|table| table.sets.contains_key("vips"))
    };
    while !has_set(&world) {
        world.answer();
    }
    assert!(world.is_waiting(), "more parts follow");
    world.answer_after(Some(Foreign::AddElement));
    while world.is_waiting() {
        world.answer();
    }
    // No part removes it, and the last receipt follows on the one before.
    world.pass(SECOND);
    world.settle(FEW);
    assert_eq!(ours(world.kernel.ruleset()), world.wanted());
    assert_eq!(drifts(&world), 1, "{:?}", world.reports);
}

#[test]
fn a_refused_change_is_due_again_when_it_said() {
    let mut world = settled(Duration::ZERO, usize::MAX);
    world.kernel.fail_next(Fault::Busy);
    world.change(&small_change(1));
    world.answer();
    let Some((_, Report::Failed { retry_at, .. })) = world.reports.last() else {
        panic!("{:?}", world.reports.last());
    };
    assert_eq!(world.machine.wake_at(), *retry_at);
    world.settle(FEW);
}

/// Whether the transaction is there or not.
#[test]
fn after_a_lost_answer_it_looks_before_it_writes() {
    for committed in [true, false] {
        let mut world = settled(Duration::ZERO, usize::MAX);
        // Without a NodePort, its change takes one transaction.
        world.change(&[Change::Service(small::service(0, false, false))]);
        world.settle(FEW);
        world.kernel.fail_next(Fault::LoseAnswer { committed });
        world.change(&small_change(1));
        world.answer();
        let written = world.kernel.commit_count();
        world.pass(SECOND);
        world.answer();
        assert_eq!(world.kernel.commit_count(), written, "it looked");
        assert_eq!(world.is_settled(), committed);
        world.settle(FEW);
    }
}

#[test]
fn nothing_is_due_before_all_is_told() {
    let mut world = World::new(Duration::ZERO, usize::MAX);
    let mut told = objects();
    told.pop();
    world.change(&told);
    world.answer();
    assert_eq!(world.machine.wake_at(), Moment::NEVER);
    world.pass(Duration::from_secs(2 * 3600));
    world.foreign(Foreign::Elsewhere);
    world.pass(Duration::from_secs(2 * 3600));
    assert_eq!(world.requests.len(), 1, "the kernel is read, once");
}

/// What was read while the objects were told is not believed if somebody has
/// committed since.
#[test]
fn what_was_read_too_early_is_read_again() {
    for (what, requests) in [(None, 2), (Some(Foreign::Elsewhere), 3)] {
        let mut world = World::new(Duration::ZERO, usize::MAX);
        world.change(&[]);
        world.answer();
        what.into_iter().for_each(|what| world.foreign(what));
        world.poll();
        world.change(&objects());
        world.settle(FEW);
        assert_eq!(world.requests.len(), requests, "{what:?}");
        assert!(!world.reports.iter().any(|(_, report)| matches!(report, Report::Drift { .. })));
    }
}

#[test]
fn an_overdue_look_at_a_kernel_that_fails_does_not_spin() {
    let pace = Pace::new(None, Some(Duration::from_secs(30)));
    let mut world = World::with_pace(pace, Duration::ZERO, usize::MAX);
    world.change(&objects());
    world.settle(FEW);
    for _ in 0..20 {
        world.fail_list(ListError::Socket(Errno::ENOBUFS));
    }
    let before = world.requests.len();
    // `poll` fails if the machine wants to be woken for nothing.
    for _ in 0..4000 {
        world.pass(Duration::from_millis(50));
        world.answer();
    }
    assert!((10..30).contains(&(world.requests.len() - before)), "{:?}", world.requests);
    world.settle(MANY);
}

#[test]
fn a_kernel_that_cannot_be_asked_is_told_of() {
    let mut world = settled(Duration::ZERO, usize::MAX);
    world.fail_list(ListError::Socket(Errno::EBADF));
    world.step(Input::Polled(Err(ListError::Socket(Errno::EBADF))));
    assert!(world.is_waiting(), "it looks");
    world.answer();
    assert_eq!(failures(&world).len(), 1);
    world.pass(SECOND);
    world.settle(FEW);
}

#[test]
fn a_change_of_ours_that_failed_is_nobodys_drift() {
    let mut world = settled(Duration::ZERO, usize::MAX);
    world.kernel.fail_next(Fault::Busy);
    world.change(&small_change(1));
    world.answer();
    world.foreign(Foreign::Elsewhere);
    world.settle(FEW);
    assert_eq!(drifts(&world), 0, "{:?}", world.reports);
}

#[test]
fn failures_are_forgotten_once_it_is_as_it_should_be() {
    let mut world = settled(Duration::ZERO, usize::MAX);
    for _ in 0..12 {
        world.fail_list(ListError::Restless(10));
        world.foreign(Foreign::Elsewhere);
        // The look that fails, and the one after it.
        for _ in 0..2 {
            world.pass(30 * SECOND);
            assert!(world.is_waiting());
            world.answer();
        }
    }
    let waits = world.reports.iter().filter_map(|(at, report)| match report {
        Report::Failed { retry_at, .. } => Some(retry_at.0.saturating_sub(at.0)),
        _ => None,
    });
    let waits: Vec<Duration> = waits.collect();
    assert!(waits.len() > 5 && waits.iter().all(|wait| wait.as_millis() == 20), "{waits:?}");
}

#[test]
fn its_own_looks_do_not_delay_the_next_repair() {
    let mut world = settled(Duration::ZERO, usize::MAX);
    for count in [1, 2, 1, 2, 1, 2, 1, 2] {
        world.kernel.fail_next(Fault::LoseAnswer { committed: false });
        world.change(&small_change(count));
        world.settle(FEW);
    }
    let damaged = world.now;
    world.foreign(Foreign::Flush);
    world.settle(FEW);
    assert!(world.now.0 - damaged.0 <= Duration::from_millis(100), "{:?}", world.now.0 - damaged.0);
}

#[test]
fn a_kernel_that_goes_on_failing_is_asked_less_and_less() {
    let kinds = [
        Fault::Busy,
        Fault::Denied,
        Fault::LoseAnswer { committed: false },
        Fault::Refuse { op: 0, errno: Errno::ENFILE },
        Fault::TooSmallBuffer { limit: 100 },
    ];
    for fault in kinds {
        let mut world = settled(Duration::ZERO, usize::MAX);
        for _ in 0..100 {
            world.kernel.fail_next(fault);
        }
        world.change(&small_change(1));
        let before = world.requests.len();
        while world.now < Moment(60 * SECOND) {
            world.pass(Duration::from_millis(50));
            world.answer();
        }
        let asked = world.requests.len() - before;
        assert!((8..=40).contains(&asked), "{fault:?}: {asked} requests in a minute");
    }
}

#[test]
fn a_socket_that_took_less_once_may_take_more_later() {
    let mut world = settled(Duration::ZERO, usize::MAX);
    world.kernel.fail_next(Fault::TooSmallBuffer { limit: 100 });
    world.expect_divided_loads();
    world.change(&small_change(1));
    world.settle(FEW);
}

/// Less than a cold load of [`objects`] takes, more than any of its parts.
const LIMIT: usize = 6000;

#[test]
fn a_divided_load_is_invisible_until_its_end() {
    let mut world = World::new(Duration::ZERO, LIMIT);
    world.change(&objects());
    let parts = load_unseen(&mut world);
    assert!(parts > 2, "{parts} parts");
}

#[test]
fn a_divided_load_that_was_interrupted_is_invisible_until_its_end() {
    let mut world = World::new(Duration::ZERO, LIMIT);
    world.change(&objects());
    world.answer();
    // Long enough that the base chains are there.
    for _ in 0..2 {
        world.answer();
    }
    world.kernel.fail_next(Fault::LoseAnswer { committed: true });
    world.answer();
    assert!(!world.is_waiting() && !world.is_settled(), "interrupted");
    world.pass(SECOND);
    load_unseen(&mut world);
}

/// Answers until the load is done. Until then no packet may meet any of it.
fn load_unseen(world: &mut World) -> usize {
    let mut parts = 0;
    while !world.is_settled() {
        assert!(!meets_anything(world.kernel.ruleset()), "after {parts} parts");
        assert!(world.is_waiting(), "{:?}", world.reports.last());
        world.answer();
        parts += 1;
    }
    assert!(meets_anything(world.kernel.ruleset()), "the test can see");
    parts
}

/// Whether the rules do anything to a packet to one of the Services.
fn meets_anything(ruleset: &Ruleset) -> bool {
    (0..3).any(|name| is_led(ruleset, &small::service(name, true, false)))
}

/// Whether the rules lead a packet to one of a Service's addresses to an endpoint.
fn is_led(ruleset: &Ruleset, service: &Service) -> bool {
    let tracer = Tracer::new(ruleset);
    service.cluster_ips.iter().any(|&daddr| {
        let packet = Packet {
            saddr: if daddr.is_ipv4() { [10, 9, 0, 7].into() } else { [0xfd00; 8].into() },
            daddr,
            proto: L4Proto::Tcp.number(),
            sport: 40_000,
            dport: 80,
            mark: 0,
            priority: 0,
            iif: Some("eth0".into()),
        };
        let outcome = tracer.run(packet, Origin::Incoming, &Host::default(), &mut |_| 0);
        outcome.dnat.is_some()
    })
}

#[test]
fn a_change_of_live_tables_that_is_too_large_is_refused_in_words_and_tried_again() {
    let mut world = settled(Duration::ZERO, LIMIT);
    let before = ours(world.kernel.ruleset());
    let all_new: Vec<Change> = (0..4)
        .flat_map(|name| [false, true].map(|six| Change::Slice(small::slice(name, six, 200))))
        .collect();
    world.change(&all_new);
    world.pass(SECOND);
    let told = failures(&world);
    let message = told.first().copied().unwrap_or_default();
    assert!(message.contains("this socket takes 6000: run with CAP_NET_ADMIN"), "{message}");
    assert!((2..10).contains(&told.len()), "tried again, and not in a hurry: {}", told.len());
    assert_eq!(ours(world.kernel.ruleset()), before);
    world.change(&objects());
    world.settle(MANY);
}

/// A kernel that remembers what it was asked.
#[derive(Debug, Default)]
struct Counting {
    fake: Fake,
    /// How often for its count.
    asked: usize,
    /// Transactions: whether to be committed, and how many operations.
    transactions: Vec<(bool, usize)>,
    stop_at: usize,
    stop: Option<crossbeam_channel::Sender<Event>>,
}

impl Kernel for Counting {
    fn generation(&mut self) -> Result<GenId, ListError> {
        self.asked += 1;
        if self.asked >= self.stop_at
            && let Some(stop) = self.stop.take()
        {
            assert!(stop.send(Event::Stop).is_ok(), "the loop listens");
        }
        self.fake.generation()
    }

    fn list(&mut self, tables: &[TableId]) -> Result<Listing, ListError> {
        self.fake.list(tables)
    }

    fn has_table(&mut self, table: &TableId) -> Result<bool, ListError> {
        self.fake.has_table(table)
    }

    fn commit(&mut self, batch: &Batch<Sealed>) -> Result<Receipt, CommitError> {
        self.transactions.push((true, batch.op_count()));
        self.fake.commit(batch)
    }

    fn check(&mut self, batch: &Batch<Sealed>) -> Result<(), CommitError> {
        self.transactions.push((false, batch.op_count()));
        self.fake.check(batch)
    }

    fn send_limit(&self) -> usize {
        self.fake.send_limit()
    }
}

#[test]
fn what_the_node_is_changes_in_one_generation() {
    let mut world = settled(Duration::ZERO, usize::MAX);
    let first = world.machine.plan().map(|plan| plan.generation);
    world.change(&[Change::Host(small::host(4)), Change::Node(small::node(1))]);
    world.settle(FEW);
    let second = world.machine.plan().map(|plan| plan.generation);
    assert_eq!(second, first.map(Generation::next));
    // All addresses gone, as on an interface that flaps: followed, there and back.
    for host in [HostAddresses::default(), small::host(4)] {
        world.change(&[Change::Host(host)]);
        world.settle(FEW);
    }
    assert_eq!(failures(&world), [""; 0]);
}

#[test]
fn what_no_plan_depends_on_makes_no_generation() {
    let mut world = settled(Duration::ZERO, usize::MAX);
    let newest = |world: &World| world.machine.plan().map(|plan| plan.generation);
    let (generation, asked) = (newest(&world), world.requests.len());
    let mut stranger = small::node(2);
    stranger.name = NodeName::from("n9");
    let node = NodeName::from(small::NODE);
    for change in
        [Change::Host(HostAddresses::default()), Change::Node(stranger), Change::NodeGone(node)]
    {
        world.change(&[change]);
        assert!(!world.is_waiting() && world.is_settled());
    }
    assert_eq!(newest(&world), generation);
    assert_eq!(world.requests.len(), asked);
    let notes = world.reports.iter().filter_map(|(_, report)| match report {
        Report::Notes(notes) => Some(notes.iter().map(ToString::to_string)),
        _ => None,
    });
    let gone = notes.flatten().filter(|note| note.starts_with("Node n1: is gone; its zone"));
    assert_eq!(gone.count(), 1);
}

/// The loop itself with a machine that knows nothing yet, until it is told to
/// stop, or until one report is answered with false.
fn run_loop(
    kernel: &mut Counting,
    events: &Receiver<Event>,
    on_report: &mut dyn FnMut(&Report, Moment) -> bool,
) {
    let pace = Pace::new(None, None);
    let mut machine = Machine::new(small::NODE.into(), Box::new(small::facts), pace, usize::MAX);
    let published = Arc::new(ArcSwapOption::empty());
    let (sweeper, _) = unbounded();
    let mut observer = |report: &Report, now: Moment| on_report(report, now);
    run(&mut machine, kernel, &[], events, &published, &sweeper, &mut observer);
}

/// Objects that change nothing, one after the other, more often than the loop
/// polls: it must poll all the same.
#[test]
fn events_without_a_pause_do_not_keep_it_from_looking() {
    let (sender, events) = unbounded();
    let mut kernel = Counting { stop_at: 4, stop: Some(sender.clone()), ..Counting::default() };
    let deadline = Instant::now() + 10 * SECOND;
    let flood = std::thread::spawn(move || {
        let send = || sender.send(Event::Changed(objects()));
        while send().is_ok() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        // Without it the loop would run for ever.
        sender.send(Event::Stop)
    });
    run_loop(&mut kernel, &events, &mut |_, _| true);
    drop(events);
    assert!(flood.join().is_ok(), "the flood ends");
    assert!(kernel.asked >= 4, "asked {} times", kernel.asked);
}

/// A transaction that is checked and not committed ends when all packets are
/// through that were on their way: so what others led to goes after them.
#[test]
fn a_later_stage_waits_for_packets_that_came_before() {
    let (sender, events) = unbounded();
    let mut kernel = Counting::default();
    sender.send(Event::Changed(objects())).unwrap();
    // Then one without endpoints: it is refused, and after that its pool goes.
    let mut next = Some(Event::Changed(small_change(0).into()));
    run_loop(&mut kernel, &events, &mut |report, _| {
        if matches!(report, Report::Committed { .. }) {
            return next.take().is_some_and(|event| sender.send(event).is_ok());
        }
        true
    });
    let [first, change, check, contract] = kernel.transactions[..] else {
        panic!("{:?}", kernel.transactions);
    };
    assert_eq!([first, change].map(|(is_commit, _)| is_commit), [true, true]);
    assert_eq!([check, contract].map(|(is_commit, _)| is_commit), [false, true]);
    assert_eq!(check.1, contract.1, "what is checked is what is committed next");
}

/// A Service of another namespace than all others here, with an endpoint.
fn quiet() -> (Service, [Change; 2]) {
    let name = ServiceName::new("quiet", "s5");
    let service = Service { name: name.clone(), ..small::service(5, false, false) };
    let slice = Slice {
        name: SliceName::new("quiet", "s5-v4"),
        service: name,
        ..small::slice(5, false, 1)
    };
    (service.clone(), [Change::Service(service), Change::Slice(slice)])
}

/// Changes without a pause, of one namespace.
fn flood(changes: usize) -> impl Iterator<Item = [Change; 1]> {
    [1, 2, 3].into_iter().cycle().map(small_change).take(changes)
}

fn generations(world: &World) -> usize {
    let is_done = |report: &&(Moment, Report)| matches!(report.1, Report::Committed { .. });
    world.reports.iter().filter(is_done).count()
}

/// H-11: nobody stands in a queue behind a namespace that changes without a pause. However
/// much of it waits, before and behind, another's change is in the next generation.
#[test]
fn a_namespace_without_a_pause_delays_nobody() {
    for (before, behind) in [(0, 1000), (1, 1), (1000, 0), (500, 500)] {
        let mut world = settled(Duration::ZERO, usize::MAX);
        let (service, changes) = quiet();
        world.change(&small_change(1));
        assert!(world.is_waiting(), "a generation is under way");
        flood(before).for_each(|change| world.change(&change));
        world.change(&changes);
        flood(behind).for_each(|change| world.change(&change));
        let done = generations(&world);
        while generations(&world) < done + 2 {
            assert!(!is_led(world.kernel.ruleset(), &service) || generations(&world) > done);
            assert!(world.is_waiting(), "the next one follows at once: {:?}", world.reports);
            // It goes on, between any two answers of the kernel.
            flood(3).for_each(|change| world.change(&change));
            world.answer();
        }
        assert!(is_led(world.kernel.ruleset(), &service), "{before} before, {behind} behind");
    }
}

/// The same of what waits for the loop: all of it, whoever sent it, is one generation.
#[test]
fn whatever_waits_for_the_loop_is_one_generation() {
    let (sender, events) = unbounded();
    let mut kernel = Counting::default();
    let (service, changes) = quiet();
    let send = |changes: &[Change]| sender.send(Event::Changed(changes.into())).unwrap();
    send(&objects());
    flood(1000).for_each(|change| send(&change));
    let mut done = Vec::new();
    run_loop(&mut kernel, &events, &mut |report, _| {
        let Report::Committed { generation, services, .. } = report else { return true };
        done.push((*generation, *services));
        flood(1000).for_each(|change| send(&change));
        send(&changes);
        flood(1000).for_each(|change| send(&change));
        done.len() < 2
    });
    let first = Generation::default().next();
    assert_eq!(done, [(first, 3), (first.next(), 4)]);
    assert!(is_led(kernel.fake.ruleset(), &service));
}
