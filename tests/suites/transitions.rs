//! Every state of the machine times every input, as a text to read:
//! `snapshots/machine.txt`. `UPDATE=1` writes it anew; then read the difference.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use closeby::compile::Generation;
use closeby::model::{Change, Kind};
use closeby::render::tables::table_ids;
use closeby::sync::{Effect, Input, Machine, Moment, Report};
use closeby_nft::fake::Fault;
use closeby_nft::kernel::{CommitError, Kernel as _, ListError, Listing, Receipt, Refusal};
use closeby_nft::{GenId, Ruleset};
use closeby_tests::simulated::World;
use closeby_tests::small;
use nix::errno::Errno;

/// Less than a cold load takes.
const LIMIT: usize = 6000;

/// A way to a state.
type Make = fn() -> World;

/// The states, and how to get there.
const STATES: [(&str, Make); 7] = [
    ("not told all", || World::new(Duration::ZERO, usize::MAX)),
    ("unknown, tried in vain", || {
        let mut world = told(usize::MAX);
        world.fail_list(ListError::Socket(Errno::ENOBUFS));
        world.answer();
        world
    }),
    ("listing", || told(usize::MAX)),
    ("known, as it should be", settled),
    ("known, change refused", || {
        let mut world = settled();
        world.kernel.fail_next(Fault::Busy);
        world.change(&other());
        world.answer();
        world
    }),
    ("committing", || {
        let mut world = settled();
        world.change(&other());
        world
    }),
    ("committing the second part", || {
        let mut world = told(LIMIT);
        world.answer();
        world.answer();
        world
    }),
];

fn objects() -> Vec<Change> {
    let services = (0..3).map(|name| Change::Service(small::service(name, true, false)));
    let slices = (0..3).flat_map(|name| [false, true].map(|six| small::slice(name, six, 3)));
    let told = Kind::ALL.into_iter().map(Change::Listed);
    services.chain(slices.map(Change::Slice)).chain(told).collect()
}

fn other() -> [Change; 1] {
    [Change::Slice(small::slice(0, false, 1))]
}

fn told(send_limit: usize) -> World {
    let mut world = World::new(Duration::ZERO, send_limit);
    world.change(&objects());
    world
}

fn settled() -> World {
    let mut world = told(usize::MAX);
    world.settle(10);
    world
}

/// The inputs, with what they need to know of the world.
fn inputs(world: &mut World) -> Vec<(&'static str, Input)> {
    let GenId(count) = world.kernel.generation().expect("the fake has one");
    let listing = world.kernel.list(&table_ids()).expect("the fake lists");
    let empty = Listing { ruleset: Ruleset::default(), gen_id: GenId(count) };
    let receipt = |by| Input::Committed(Ok(Receipt { gen_id: GenId(count + by) }));
    let failed = |error| Input::Committed(Err(error));
    let refused = |errno| {
        let refusal = Refusal { op: Some(0), element: None, errno, message: None };
        failed(CommitError::Refused(vec![refusal]))
    };
    let list_failed = |error| Input::Listed(Err(error));
    vec![
        ("changed: the same again", Input::Changed(vec![])),
        ("changed", Input::Changed(vec![Change::Slice(small::slice(1, true, 1))])),
        ("changed: all told", Input::Changed(objects())),
        ("changed: the host's addresses", Input::Changed(vec![Change::Host(small::host(3))])),
        ("listed: nothing there", Input::Listed(Ok(empty))),
        ("listed: as it is", Input::Listed(Ok(listing))),
        ("listed: socket failed", list_failed(ListError::Socket(Errno::ENOBUFS))),
        ("listed: restless", list_failed(ListError::Restless(10))),
        ("listed: denied", list_failed(ListError::Denied)),
        ("committed", receipt(1)),
        ("committed, and a stranger too", receipt(2)),
        ("refused: ENOENT", refused(Errno::ENOENT)),
        ("refused: EBUSY", refused(Errno::EBUSY)),
        ("refused: ENOMEM", refused(Errno::ENOMEM)),
        ("too large", failed(CommitError::TooLarge { len: 9999, limit: 3000 })),
        ("denied", failed(CommitError::Denied)),
        ("answer lost", failed(CommitError::Unknown(Errno::ENOBUFS))),
        ("not sent", failed(CommitError::Send(Errno::ENOBUFS))),
        ("swept", Input::Swept(Generation(1))),
        ("polled: the same", Input::Polled(Ok(GenId(count)))),
        ("polled: another", Input::Polled(Ok(GenId(count + 1)))),
        ("polled: failed", Input::Polled(Err(ListError::Socket(Errno::EBADF)))),
    ]
}

fn word(effect: &Effect) -> String {
    match effect {
        Effect::List => "list".to_owned(),
        Effect::Commit(stage) => format!("commit {} operations", stage.delta.ops.len()),
        Effect::Publish(snapshot) => format!("publish {}", snapshot.generation),
        Effect::Sweep(job) => format!("sweep for {} frontends", job.expected.len()),
        Effect::Report(Report::Committed { generation, .. }) => format!("tell of {generation}"),
        Effect::Report(Report::Failed { why, .. }) => format!("tell: {why}"),
        Effect::Report(Report::Stuck { why }) => format!("stuck: {why}"),
        Effect::Report(Report::Drift { ops }) => format!("drift of {ops}"),
        Effect::Report(Report::Notes(notes)) => format!("{} notes", notes.len()),
    }
}

/// The state's name and when it wants to be woken.
fn after(machine: &Machine, now: Moment) -> String {
    let debug = format!("{machine:?}");
    let state = debug.split("state: ").nth(1).unwrap_or_default();
    let state: String = state.chars().take_while(|letter| letter.is_alphabetic()).collect();
    let wake = match machine.wake_at() {
        Moment::NEVER => "when told".to_owned(),
        at if at <= now => "now".to_owned(),
        at => format!("in {:?}", at.0 - now.0),
    };
    format!("{state}, woken {wake}")
}

fn table() -> String {
    let mut text = String::new();
    for (state, make) in STATES {
        let _ = writeln!(text, "{state}");
        for index in 0..inputs(&mut make()).len() {
            let mut world = make();
            let (name, input) = inputs(&mut world).swap_remove(index);
            // Later than any retry.
            let now = world.now.after(Duration::from_secs(1));
            let effects = world.machine.step(input, now);
            let mut words: Vec<String> = effects.iter().map(word).collect();
            words.push(after(&world.machine, now));
            let _ = writeln!(text, "  {name:<30} -> {}", words.join("; "));
        }
    }
    text
}

#[test]
fn the_table_of_transitions_is_as_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/machine.txt");
    let table = table();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &table).expect("the snapshot can be written");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let mut lines = known.lines().zip(table.lines()).zip(1..);
    if let Some(((known, now), line)) = lines.find(|((known, now), _)| known != now) {
        panic!("machine.txt:{line}: UPDATE=1 writes it anew\n- {known}\n+ {now}");
    }
    assert_eq!(known.len(), table.len(), "machine.txt: UPDATE=1 writes it anew");
}
