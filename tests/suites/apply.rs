//! The strict kernel in this process: each error as the real kernel gives it,
//! nothing by halves, and every fault that can be asked for.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use closeby_nft::apply::{Refused, apply};
use closeby_nft::delta::{Op, Verb, diff};
use closeby_nft::fake::{Fake, Fault};
use closeby_nft::kernel::{Advice, CommitError, Kernel as _};
use closeby_nft::ruleset::{ChainType, HookPoint};
use closeby_nft::{
    Batch, Data, DataKind, Family, Hook, Key, L4Proto, Name, Ruleset, Statement, Verdict,
};
use closeby_tests::rulesets::{self, addr, goto, jump, table_id};

/// What is refused of these verbs on the sample: operation, element, error.
fn errnos(verbs: Vec<Verb>) -> Vec<(usize, Option<usize>, String)> {
    let mut ruleset = rulesets::sample();
    let ops: Vec<Op> =
        verbs.into_iter().map(|verb| Op { table: table_id(Family::Ip), verb }).collect();
    let refused = apply(&mut ruleset, &ops).err().unwrap_or_default();
    if !refused.is_empty() {
        assert_eq!(ruleset, rulesets::sample(), "all or nothing");
    }
    let name = |refused: Refused| (refused.op, refused.element, format!("{:?}", refused.errno));
    refused.into_iter().map(name).collect()
}

#[track_caller]
fn refuses(verb: Verb, element: Option<usize>, errno: &str) {
    assert_eq!(errnos(vec![verb]), vec![(0, element, errno.to_owned())]);
}

fn name(text: &str) -> Name {
    Name::from(text)
}

fn rule(chain: &str, statement: Statement) -> Verb {
    Verb::AddRule { chain: name(chain), rule: vec![statement] }
}

fn hook(kind: ChainType, point: HookPoint, priority: i32) -> Option<Hook> {
    Some(Hook { kind, point, priority })
}

#[test]
fn what_does_not_exist() {
    let missing = || name("missing");
    refuses(Verb::DeleteChain { chain: missing() }, None, "ENOENT");
    refuses(Verb::FlushChain { chain: missing() }, None, "ENOENT");
    refuses(Verb::DeleteSet { set: missing() }, None, "ENOENT");
    refuses(Verb::AddElements { set: missing(), elements: vec![] }, None, "ENOENT");
    refuses(rule("missing", Statement::Counter), None, "ENOENT");
    refuses(rule("n_3", jump("missing")), None, "ENOENT");
    let lookup = Statement::Lookup { key: vec![closeby_nft::Field::Daddr], set: missing() };
    refuses(rule("n_3", lookup), None, "ENOENT");
    let gone = Key::new().addr(addr(Family::Ip, 77));
    let there = Key::new().addr(addr(Family::Ip, 1));
    let delete = Verb::DeleteElements { set: name("vips"), keys: vec![there, gone] };
    refuses(delete, Some(1), "ENOENT");
    let mut nothing = Ruleset::default();
    let op = Op { table: table_id(Family::Ip), verb: Verb::DeleteTable };
    assert_eq!(apply(&mut nothing, &[op]).unwrap_err().len(), 1);
}

#[test]
fn what_exists_or_is_in_use() {
    let key = rulesets::frontend(addr(Family::Ip, 1), L4Proto::Tcp, 80);
    let again = |number| Verb::AddElements {
        set: name("classes"),
        elements: vec![(key.clone(), rulesets::number(number))],
    };
    assert_eq!(errnos(vec![again(3)]), vec![]);
    refuses(again(4), Some(0), "EEXIST");
    let spec = rulesets::set(&rulesets::FRONTEND, DataKind::None, vec![]).spec;
    refuses(Verb::AddSet { set: name("classes"), spec }, None, "EEXIST");
    let (filter, nat) = (ChainType::Filter, ChainType::Nat);
    let chain = |chain, hook| Verb::AddChain { chain: name(chain), hook };
    refuses(chain("n_3", hook(filter, HookPoint::Input, 0)), None, "EEXIST");
    refuses(chain("filter-in", hook(filter, HookPoint::Input, 9)), None, "EOPNOTSUPP");
    assert_eq!(errnos(vec![chain("filter-in", None)]), vec![]);
    refuses(chain("new", hook(nat, HookPoint::Forward, 0)), None, "EOPNOTSUPP");
    refuses(Verb::DeleteSet { set: name("vips") }, None, "EBUSY");
    refuses(Verb::DeleteChain { chain: name("filter-in") }, None, "EBUSY");
    // Empty, but elements of a verdict map lead to it.
    let flush = Verb::FlushChain { chain: name("n_3") };
    let busy = errnos(vec![flush, Verb::DeleteChain { chain: name("n_3") }]);
    assert_eq!(busy, vec![(1, None, "EBUSY".to_owned())]);
}

#[test]
fn what_does_not_fit() {
    let vip = |number| (Key::new().addr(addr(Family::Ip, number)), Data::None);
    let add = |elements| Verb::AddElements { set: name("small"), elements };
    let mut spec = rulesets::set(&[closeby_nft::Field::Daddr], DataKind::None, vec![]).spec;
    spec.size = 2;
    let small = || Verb::AddSet { set: name("small"), spec: spec.clone() };
    let full = errnos(vec![small(), add(vec![vip(1), vip(2), vip(3)])]);
    assert_eq!(full, vec![(1, Some(2), "ENFILE".to_owned())]);
    // What is deleted first makes room.
    let delete = Verb::DeleteElements { set: name("small"), keys: vec![vip(1).0] };
    let room = vec![small(), add(vec![vip(1), vip(2)]), delete, add(vec![vip(3)])];
    assert_eq!(errnos(room), vec![]);
    let short = vec![(Key::new(), Data::None)];
    assert_eq!(errnos(vec![small(), add(short)]), vec![(1, Some(0), "EINVAL".to_owned())]);
}

#[test]
fn ways_that_the_kernel_does_not_allow() {
    refuses(rule("n_3", jump("nat-in")), None, "EOPNOTSUPP");
    refuses(rule("n_3", goto("services")), None, "EMLINK");
    refuses(rule("filter-in", Statement::Masquerade), None, "EOPNOTSUPP");
    // The operation that closes the loop is to blame, not the last one.
    let chain = |chain| Verb::AddChain { chain: name(chain), hook: None };
    let loops = errnos(vec![
        chain("a"),
        chain("b"),
        rule("a", jump("b")),
        rule("b", jump("a")),
        rule("filter-in", Statement::Counter),
    ]);
    assert_eq!(loops[0], (3, None, "EMLINK".to_owned()));
    let verdict = Data::Verdict(Verdict::Jump(name("services")));
    let elements = vec![(Key::new().number(99), verdict)];
    refuses(Verb::AddElements { set: name("entries"), elements }, None, "EMLINK");
}

/// A kernel that holds the sample, and a transaction that adds an element.
fn kernel() -> (Fake, Batch<closeby_nft::Sealed>, Ruleset) {
    let mut kernel = Fake::new();
    kernel.foreign(|ruleset| *ruleset = rulesets::sample());
    let mut after = rulesets::sample();
    let table = after.tables.get_mut(&table_id(Family::Ip6)).unwrap();
    let vips = table.sets.get_mut(&name("vips")).unwrap();
    vips.elements.insert(Key::new().addr(addr(Family::Ip6, 9)), Data::None);
    let batch = Batch::of(&diff(kernel.ruleset(), &after));
    (kernel, batch, after)
}

#[test]
fn a_commit_moves_the_count_by_one_and_a_check_does_nothing() {
    let (mut kernel, batch, after) = kernel();
    let before = kernel.generation().unwrap();
    kernel.check(&batch).unwrap();
    assert_eq!(kernel.ruleset(), &rulesets::sample());
    assert_eq!(kernel.generation(), Ok(before));
    let receipt = kernel.commit(&batch).unwrap();
    assert_eq!(receipt.gen_id.0, before.0 + 1);
    assert_eq!(kernel.ruleset(), &after);
    kernel.foreign(|ruleset| ruleset.tables.clear());
    assert_eq!(kernel.generation().unwrap().0, before.0 + 2);
    // What was believed to be there is not: the operation is named.
    let error = kernel.commit(&batch).unwrap_err();
    assert!(matches!(&error, CommitError::Refused(refusals) if refusals[0].op == Some(0)));
    assert_eq!(error.advice(), Advice::ReadBack);
}

#[test]
fn faults_on_demand() {
    let advice = |fault| {
        let (mut kernel, batch, _) = kernel();
        kernel.fail_next(fault);
        let advice = kernel.commit(&batch).unwrap_err().advice();
        assert_eq!(kernel.ruleset(), &rulesets::sample(), "{fault:?}");
        // One fault spoils one transaction.
        assert!(kernel.commit(&batch).is_ok(), "{fault:?}");
        advice
    };
    let errno = nix::errno::Errno::ENOMEM;
    assert_eq!(advice(Fault::Refuse { op: 0, errno }), Advice::Retry);
    assert_eq!(advice(Fault::LoseAnswer { committed: false }), Advice::ReadBack);
    assert_eq!(advice(Fault::Busy), Advice::Retry);
    assert_eq!(advice(Fault::Denied), Advice::GiveUp);
    assert_eq!(advice(Fault::TooSmallBuffer { limit: 10 }), Advice::Split);

    let (mut kernel, batch, after) = kernel();
    kernel.fail_next(Fault::LoseAnswer { committed: true });
    assert!(matches!(kernel.commit(&batch), Err(CommitError::Unknown(_))));
    assert_eq!(kernel.ruleset(), &after);
}
