//! Each error of the kernel lies at the door of its operation and element, and
//! the fake kernel answers the same.

use closeby_nft::delta::Verb;
use closeby_nft::{
    Batch, CommitError, Data, DataKind, Delta, Family, Kernel, Key, Name, Op, Ruleset, Statement,
    Verdict, delta,
};
use closeby_tests::rulesets::{self, TARGET, slot};
use nix::errno::Errno;

use super::both::Both;

/// A kernel that holds the sample, and the sample.
fn loaded() -> (Both, Ruleset) {
    let (mut kernel, sample) = (Both::new(), rulesets::sample());
    super::converge(&mut kernel, &Ruleset::default(), &sample);
    (kernel, sample)
}

fn op(verb: Verb) -> Op {
    Op { table: rulesets::table_id(Family::Ip), verb }
}

/// Something the kernel takes.
fn harmless() -> Op {
    op(Verb::AddChain { chain: Name::from("harmless"), hook: None })
}

/// What a commit and a check are refused for: the same, and nothing changes.
fn refused(kernel: &mut Both, ops: &[Op]) -> Vec<(Option<usize>, Option<usize>, Errno)> {
    let batch = Batch::of_ops(ops);
    let before = kernel.generation().unwrap();
    let [committed, checked] =
        [kernel.commit(&batch).map(|_| ()), kernel.check(&batch)].map(|outcome| match outcome {
            Err(CommitError::Refused(refusals)) => refusals,
            other => panic!("not refused: {other:?}"),
        });
    assert_eq!(committed, checked);
    assert_eq!(kernel.generation().unwrap(), before);
    // The next transaction is not confused by what this one left.
    kernel.commit(&Batch::of(&Delta { ops: vec![harmless()] })).unwrap();
    let short =
        |refusal: closeby_nft::kernel::Refusal| (refusal.op, refusal.element, refusal.errno);
    committed.into_iter().map(short).collect()
}

/// So many endpoints that they take several messages.
fn endpoints(from: u32, to: u32) -> Vec<(Key, Data)> {
    let target = || rulesets::target([192, 0, 2, 1].into(), 80);
    (from..to).map(|number| (endpoint(number), target())).collect()
}

fn endpoint(number: u32) -> Key {
    rulesets::frontend([192, 0, 2, 1].into(), closeby_nft::L4Proto::Tcp, 80).number(number)
}

/// Room for them.
fn wide(kernel: &mut Both, size: u32) -> Name {
    let name = Name::from("wide");
    let mut set = rulesets::set(&slot(2), DataKind::Fields(TARGET.to_vec()), Vec::new());
    set.spec.size = size;
    let add = op(Verb::AddSet { set: name.clone(), spec: set.spec });
    super::commit(kernel, &Delta { ops: vec![add] });
    name
}

pub(crate) fn existing_with_other_data() {
    let (mut kernel, _) = loaded();
    let set = wide(&mut kernel, 10_000);
    let add = |elements| op(Verb::AddElements { set: set.clone(), elements });
    super::commit(&mut kernel, &Delta { ops: vec![add(endpoints(0, 10))] });
    super::commit(&mut kernel, &Delta { ops: vec![add(endpoints(0, 10))] });

    let mut elements = endpoints(1000, 6000);
    let other = rulesets::target([192, 0, 2, 2].into(), 80);
    elements[4321] = (endpoint(7), other);
    let found = refused(&mut kernel, &[harmless(), add(elements), harmless()]);
    assert_eq!(found, [(Some(1), Some(4321), Errno::EEXIST)]);
}

pub(crate) fn absent() {
    let (mut kernel, _) = loaded();
    let set = wide(&mut kernel, 10_000);
    let add = op(Verb::AddElements { set: set.clone(), elements: endpoints(0, 6000) });
    super::commit(&mut kernel, &Delta { ops: vec![add] });
    let mut keys: Vec<Key> = (0..6000).map(endpoint).collect();
    keys[5999] = endpoint(9999);
    let delete = op(Verb::DeleteElements { set, keys });
    assert_eq!(refused(&mut kernel, &[delete]), [(Some(0), Some(5999), Errno::ENOENT)]);

    let rule = vec![Statement::Verdict(Verdict::Jump(Name::from("absent")))];
    let add = op(Verb::AddRule { chain: Name::from("check"), rule });
    assert_eq!(refused(&mut kernel, &[harmless(), add]), [(Some(1), None, Errno::ENOENT)]);
}

pub(crate) fn in_use() {
    let (mut kernel, _) = loaded();
    let delete = op(Verb::DeleteChain { chain: Name::from("refuse") });
    assert_eq!(refused(&mut kernel, &[harmless(), delete]), [(Some(1), None, Errno::EBUSY)]);
    let delete = op(Verb::DeleteSet { set: Name::from("endpoints") });
    assert_eq!(refused(&mut kernel, &[delete]), [(Some(0), None, Errno::EBUSY)]);
}

pub(crate) fn full() {
    let (mut kernel, _) = loaded();
    let set = wide(&mut kernel, 2500);
    let add = op(Verb::AddElements { set, elements: endpoints(0, 2501) });
    assert_eq!(refused(&mut kernel, &[add]), [(Some(0), Some(2500), Errno::ENFILE)]);
}

pub(crate) fn loop_of_chains() {
    let (mut kernel, sample) = loaded();
    let rule = vec![Statement::Verdict(Verdict::Jump(Name::from("services")))];
    let add = op(Verb::AddRule { chain: Name::from("n_3"), rule });
    let found = refused(&mut kernel, &[harmless(), add, harmless()]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].2, Errno::EMLINK);
    assert_eq!(found[0].0, Some(1));
    let rest = super::list(&mut kernel, &sample);
    super::converge(&mut kernel, &rest, &sample);
}

pub(crate) fn several_at_once() {
    let (mut kernel, sample) = loaded();
    let delete = |name: &str| op(Verb::DeleteChain { chain: Name::from(name) });
    let found =
        refused(&mut kernel, &[delete("absent"), harmless(), delete("refuse"), delete("gone")]);
    let expected = [(0, Errno::ENOENT), (2, Errno::EBUSY), (3, Errno::ENOENT)];
    assert_eq!(found, expected.map(|(op, errno)| (Some(op), None, errno)));

    // And in words.
    let missing =
        op(Verb::DeleteElements { set: Name::from("vips"), keys: vec![Key::new().number(1)] });
    let delta = Delta { ops: vec![missing] };
    let words = kernel.commit(&Batch::of(&delta)).unwrap_err().explain(&delta);
    assert!(words.starts_with("delete element ip closeby vips (1) (element "), "{words}");
    assert!(delta::diff(&super::list(&mut kernel, &sample), &sample).ops.len() == 1);
}
