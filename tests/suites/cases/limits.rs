//! How much fits: into a transaction, into a socket.

use std::process::Command;

use closeby_nft::delta::Verb;
use closeby_nft::{
    Batch, CommitError, Data, DataKind, Delta, Family, Kernel, Key, L4Proto, Name, Op, Ruleset,
    delta,
};
use closeby_tests::rulesets::{self, FRONTEND, TARGET, slot};

/// 10,000 services of 10 endpoints and a frontend each.
const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;

/// A ruleset with that many elements.
fn large(family: Family) -> Ruleset {
    let addr = |base: u32, number: u32| match family {
        Family::Ip => std::net::IpAddr::from((base + number).to_be_bytes()),
        Family::Ip6 => std::net::Ipv6Addr::from(u128::from(base) << 96 | u128::from(number)).into(),
    };
    let frontend = |service| {
        Key::new().addr(addr(0x0a60_0000, service)).proto(L4Proto::Tcp).port(rulesets::port(80))
    };
    let fields = |fields: &[_]| DataKind::Fields(fields.to_vec());
    let classes = (0..SERVICES).map(|service| (frontend(service), rulesets::number(ENDPOINTS)));
    let endpoints = (0..SERVICES).flat_map(|service| {
        (0..ENDPOINTS).map(move |slot| {
            let target = addr(0x0a01_0000, service * ENDPOINTS + slot);
            (frontend(service).number(slot), rulesets::target(target, 8080))
        })
    });
    let priority = [closeby_nft::Field::Priority];
    let mut sets = [
        ("classes", rulesets::set(&FRONTEND, fields(&priority), classes.collect())),
        ("endpoints", rulesets::set(&slot(2), fields(&TARGET), endpoints.collect())),
    ];
    for (_, set) in &mut sets {
        set.spec.size = 2 * SERVICES * ENDPOINTS;
    }
    let table = closeby_nft::Table {
        sets: sets.into_iter().map(|(name, set)| (Name::from(name), set)).collect(),
        ..Default::default()
    };
    Ruleset { tables: [(rulesets::table_id(family), table)].into() }
}

pub(crate) fn many_elements() {
    let mut kernel = super::netlink();
    for family in Family::BOTH {
        let large = large(family);
        let delta = delta::diff(&Ruleset::default(), &large);
        assert_eq!(delta.element_counts(), (110_000, 0));
        let batch = Batch::of(&delta);
        if batch.bytes().len() <= kernel.send_limit() {
            super::commit(&mut kernel, &delta);
        } else {
            let limit = kernel.send_limit();
            let refused = kernel.commit(&batch);
            assert!(
                matches!(refused, Err(CommitError::TooLarge { limit: said, .. }) if said == limit)
            );
            for delta in parts(&delta) {
                super::commit(&mut kernel, &delta);
            }
        }
        assert_eq!(super::list(&mut kernel, &large), large);
        super::converge(&mut kernel, &large, &Ruleset::default());
    }
}

/// The same operations in transactions of a thousand elements.
fn parts(delta: &Delta) -> Vec<Delta> {
    let mut parts = Vec::new();
    for op in delta.ops.iter().cloned().map(Op::listed) {
        match &op.verb {
            Verb::AddElements { set, elements } => {
                parts.extend(elements.chunks(1000).map(|chunk| {
                    let verb = Verb::AddElements { set: set.clone(), elements: chunk.to_vec() };
                    Delta { ops: vec![Op { table: op.table.clone(), verb }] }
                }));
            }
            _ => parts.push(Delta { ops: vec![op.clone()] }),
        }
    }
    parts
}

pub(crate) fn too_large_in_a_user_namespace() {
    let program = std::env::current_exe().expect("the name of this program");
    let helper = Command::new(program).arg(crate::HELPER).output().expect("a copy of this program");
    assert!(helper.status.success(), "{}", String::from_utf8_lossy(&helper.stderr));
}

/// Where the kernel limits sockets, a transaction of exactly the limit passes;
/// one that is larger is named so, and leaves nothing behind.
pub(crate) fn small_socket() {
    let mut kernel = super::netlink();
    let limit = kernel.send_limit();
    assert!(limit < 1 << 30, "a user namespace has the machine's limit, not {limit}");
    let fits = Batch::of_ops(&filling(limit));
    assert_eq!(fits.bytes().len(), limit);
    kernel.commit(&fits).expect("what fits exactly");
    kernel.check(&fits).expect("what fits exactly");

    let before = kernel.generation();
    let large = Batch::of_ops(&filling(limit + 4));
    let refused = Err(CommitError::TooLarge { len: limit + 4, limit });
    assert_eq!(kernel.commit(&large), refused);
    assert_eq!(kernel.generation(), before);
}

/// Harmless operations that take exactly this many bytes, a multiple of 4.
fn filling(bytes: usize) -> Vec<Op> {
    let op = |verb| Op { table: rulesets::table_id(Family::Ip), verb };
    let name = Name::from("large");
    let set = rulesets::set(&FRONTEND, DataKind::None, Vec::new());
    let mut ops = vec![op(Verb::AddTable), op(Verb::AddSet { set: name.clone(), spec: set.spec })];
    let element = (rulesets::frontend([10, 0, 0, 1].into(), L4Proto::Tcp, 1), Data::None);
    let len = |ops: &[Op]| Batch::of_ops(ops).bytes().len();
    let mut left = bytes - len(&ops);
    for count in [1000, 1] {
        let elements = vec![element.clone(); count];
        let add = op(Verb::AddElements { set: name.clone(), elements });
        let each = len(std::slice::from_ref(&add)) - len(&[]);
        // The last operation needs some for itself.
        let times = left.saturating_sub(64) / each;
        ops.extend(std::iter::repeat_n(add, times));
        left -= times * each;
    }
    let chain = |len| op(Verb::AddChain { chain: Name::from("x".repeat(len)), hook: None });
    let shortest = len(&[chain(3)]) - len(&[]);
    ops.push(chain(3 + left - shortest));
    ops
}

/// More refusals than any queue takes: the outcome is still known.
pub(crate) fn answers_that_overflow() {
    let mut kernel = super::netlink();
    let table = rulesets::table_id(Family::Ip);
    let refused = |number: u32| Op {
        table: table.clone(),
        verb: Verb::DeleteChain { chain: Name::from(format!("absent-{number}")) },
    };
    let ops: Vec<Op> = (0..100_000).map(refused).collect();
    for len in [ops.len(), 3] {
        let Err(CommitError::Refused(refusals)) = kernel.commit(&Batch::of_ops(&ops[..len])) else {
            panic!("refused it must be");
        };
        assert_eq!(refusals[0].op, Some(0));
        assert!(refusals.len() <= len);
    }
}
