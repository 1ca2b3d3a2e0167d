//! The machine under chance: objects, faults and strangers in any order. What
//! must always hold, [`World`] checks at every step; in the end the kernel has
//! what the cluster says.
//!
//! A failure prints its seed and the shortest list of events that fails.

use std::time::Duration;

use closeby::model::{Change, Kind};
use closeby_nft::fake::Fault;
use closeby_nft::kernel::ListError;
use closeby_tests::simulated::{Foreign, World};
use closeby_tests::small;
use nix::errno::Errno;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// What may happen next.
#[derive(Clone, Debug)]
enum Event {
    /// Objects change.
    Changed(Vec<Change>),
    /// The last change is told once more.
    Again,
    /// A kind of objects has been told in full.
    Told(Kind),
    /// The next transaction fails.
    Fault(Fault),
    /// The next listing fails.
    ListFault(ListError),
    /// Somebody else commits.
    Foreign(Foreign),
    /// The kernel answers what is under way.
    Answer,
    /// Somebody else commits before the kernel's answer is read.
    AnswerAfter(Foreign),
    /// Connection tracking is swept.
    Swept,
    /// Time passes.
    Pass(u64),
}

const FOREIGN: [Foreign; 7] = [
    Foreign::Flush,
    Foreign::DeleteTable,
    Foreign::DeleteElements,
    Foreign::AddElement,
    Foreign::FlushChain,
    Foreign::KubeProxy,
    Foreign::Elsewhere,
];

fn fault() -> impl Strategy<Value = Fault> {
    let errnos = vec![
        Errno::EEXIST,
        Errno::ENOENT,
        Errno::ENFILE,
        Errno::EBUSY,
        Errno::ENOMEM,
        Errno::EPERM,
    ];
    prop_oneof![
        (0..3usize, select(errnos)).prop_map(|(op, errno)| Fault::Refuse { op, errno }),
        any::<bool>().prop_map(|committed| Fault::LoseAnswer { committed }),
        Just(Fault::Busy),
        Just(Fault::Denied),
        (8_000..40_000usize).prop_map(|limit| Fault::TooSmallBuffer { limit }),
    ]
}

fn list_fault() -> impl Strategy<Value = ListError> {
    select(vec![
        ListError::Socket(Errno::ENOBUFS),
        ListError::Denied,
        ListError::Restless(10),
        ListError::Garbled("half an answer".to_owned()),
    ])
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => small::changes().prop_map(Event::Changed),
        1 => Just(Event::Again),
        2 => select(Kind::ALL.to_vec()).prop_map(Event::Told),
        3 => fault().prop_map(Event::Fault),
        1 => list_fault().prop_map(Event::ListFault),
        3 => select(FOREIGN.to_vec()).prop_map(Event::Foreign),
        8 => Just(Event::Answer),
        2 => select(FOREIGN.to_vec()).prop_map(Event::AnswerAfter),
        4 => Just(Event::Swept),
        4 => prop_oneof![0..60u64, 900..1100u64, 0..100_000u64].prop_map(Event::Pass),
    ]
}

/// Kinds told before the first event: often all.
fn told_before() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(Kind::ALL.len()), 1 => 0..Kind::ALL.len()]
}

fn play(told: usize, min_sync_ms: u64, limit: usize, events: &[Event]) -> World {
    let mut world = World::new(Duration::from_millis(min_sync_ms), limit);
    let kinds: Vec<Change> = Kind::ALL.into_iter().map(Change::Listed).collect();
    world.change(&kinds[..told]);
    let mut last = Vec::new();
    for event in events {
        match event {
            Event::Changed(changes) => {
                world.change(changes);
                last.clone_from(changes);
            }
            Event::Again => world.change(&last),
            Event::Told(kind) => world.change(&[Change::Listed(*kind)]),
            Event::Fault(fault) => {
                if matches!(fault, Fault::TooSmallBuffer { .. }) {
                    world.expect_divided_loads();
                }
                world.kernel.fail_next(*fault);
            }
            Event::ListFault(error) => world.fail_list(error.clone()),
            Event::Foreign(what) => world.foreign(*what),
            Event::Answer => world.answer(),
            Event::AnswerAfter(what) => world.answer_after(Some(*what)),
            Event::Swept => world.sweep(),
            Event::Pass(ms) => world.pass(Duration::from_millis(*ms)),
        }
    }
    world.change(&kinds);
    world
}

/// More than the polls of the longest waits: for a retry, between two looks,
/// for the next transaction; each several times.
const STEPS_MAX: usize = 20_000;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_ends_well(
        told in told_before(),
        min_sync_ms in select(vec![0u64, 1000]),
        events in vec(event(), 0..40),
    ) {
        let mut world = play(told, min_sync_ms, usize::MAX, &events);
        world.settle(STEPS_MAX);
    }

    /// Requests are few in any second, whatever fails: each event may cause a
    /// listing and a change in three transactions, so may each poll, and
    /// failures wait longer each time.
    #[test]
    fn it_never_runs_hot(events in vec(event(), 0..40)) {
        let mut world = play(Kind::ALL.len(), 0, usize::MAX, &events);
        world.settle(STEPS_MAX);
        let most = 6 * events.len() + 120;
        for from in &world.requests {
            let until = from.after(Duration::from_secs(1));
            let count = world.requests.iter().filter(|at| (from..&until).contains(at)).count();
            prop_assert!(count <= most, "{} requests within a second of {:?}", count, from);
        }
    }
}
