//! Rulesets to test with: one that has every statement, and a generator of
//! legal ones.
//!
//! Invariant: what is made here is legal: the judge finds nothing, nft loads it.

use std::net::IpAddr;

use closeby_nft::ruleset::{ChainType, HookPoint, Value};
use closeby_nft::statement::{Interfaces, Relation, Side};
use closeby_nft::{
    Chain, Data, DataKind, Family, Field, Hook, Key, L4Proto, Name, Port, Prefix, Rule, Ruleset,
    Set, SetSpec, Statement, Table, TableId, Verdict,
};
use imbl::OrdMap;

/// The name of every table made here.
pub const TABLE: &str = "closeby";

/// The identity of the table of a family.
#[must_use]
pub fn table_id(family: Family) -> TableId {
    TableId { family, name: Name::from(TABLE) }
}

/// An address of this family, distinct for each number.
#[must_use]
pub fn addr(family: Family, number: u8) -> IpAddr {
    match family {
        Family::Ip => IpAddr::from([10, 1, 0, number]),
        Family::Ip6 => IpAddr::from([0xfd00, 0, 0, 1, 0, 0, 0, u16::from(number)]),
    }
}

/// A port. Port 0 becomes 1.
#[must_use]
pub fn port(number: u16) -> Port {
    Port::new(number.max(1)).unwrap_or_else(|| unreachable!("not 0"))
}

/// A base chain.
#[must_use]
pub fn base(kind: ChainType, point: HookPoint, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { hook: Some(Hook { kind, point, priority }), rules }
}

/// A plain chain.
#[must_use]
pub fn plain(rules: Vec<Rule>) -> Chain {
    Chain { hook: None, rules }
}

/// `jump chain`.
#[must_use]
pub fn jump(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Jump(Name::from(chain)))
}

/// `goto chain`.
#[must_use]
pub fn goto(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Goto(Name::from(chain)))
}

/// The fields of a frontend: address, protocol, port.
pub const FRONTEND: [Field; 3] = [Field::Daddr, Field::L4Proto, Field::Dport];

/// The fields of a frontend and a slot.
#[must_use]
pub fn slot(modulus: u32) -> Vec<Field> {
    let mut fields = FRONTEND.to_vec();
    fields.push(Field::Random { modulus });
    fields
}

/// The fields of a NAT target.
pub const TARGET: [Field; 2] = [Field::Daddr, Field::Dport];

/// A key of [`FRONTEND`].
#[must_use]
pub fn frontend(addr: IpAddr, proto: L4Proto, number: u16) -> Key {
    Key::new().addr(addr).proto(proto).port(port(number))
}

/// Data of [`TARGET`].
#[must_use]
pub fn target(addr: IpAddr, number: u16) -> Data {
    Data::Value(Value::new().addr(addr).port(port(number)))
}

/// A number as data.
#[must_use]
pub fn number(number: u32) -> Data {
    Data::Value(Value::new().number(number))
}

/// A set or map.
#[must_use]
pub fn set(key: &[Field], data: DataKind, elements: Vec<(Key, Data)>) -> Set {
    Set {
        spec: SetSpec { key: key.to_vec(), data, size: 1024, dynamic: false, counted: false },
        elements: elements.into_iter().collect(),
    }
}

/// The mask of the part of a number that names whom packets remember.
pub const OWNER: u32 = 0xffff_e000;

/// What stands for a client in a key that packets fill.
#[must_use]
pub fn client(family: Family) -> Field {
    match family {
        Family::Ip => Field::Saddr,
        Family::Ip6 => Field::SaddrLow96,
    }
}

/// A map that packets fill: by owner and client.
#[must_use]
pub fn memory(family: Family, size: u32) -> Set {
    let mut memory =
        set(&[Field::Priority, client(family)], DataKind::Fields(vec![Field::Priority]), vec![]);
    memory.spec.size = size;
    memory.spec.dynamic = true;
    memory
}

/// The key of an element of [`memory`] as a rule looks it up.
#[must_use]
pub fn remembered(family: Family) -> Vec<Field> {
    vec![Field::PriorityBits { mask: OWNER }, client(family)]
}

/// One table of each family that together have every statement.
#[must_use]
pub fn sample() -> Ruleset {
    let tables = Family::BOTH.map(|family| {
        let table = Table { sets: sample_sets(family), chains: sample_chains(family) };
        (table_id(family), table)
    });
    Ruleset { tables: tables.into() }
}

fn sample_sets(family: Family) -> OrdMap<Name, Set> {
    let vip = addr(family, 1);
    let key = || frontend(vip, L4Proto::Tcp, 80);
    let refused = frontend(vip, L4Proto::Tcp, 81);
    let fields = |fields: &[Field]| DataKind::Fields(fields.to_vec());
    let hairpin = [Field::Saddr, Field::Daddr, Field::L4Proto, Field::Dport];
    let verdict = |verdict| Data::Verdict(verdict);
    let entries = vec![
        (Key::new().number(3), verdict(Verdict::Goto(Name::from("n_3")))),
        (Key::new().number(0x8000_2000), verdict(Verdict::Jump(Name::from("n_3")))),
        (Key::new().number(7), verdict(Verdict::Drop)),
        (Key::new().number(0), verdict(Verdict::Return)),
        (Key::new().number(u32::MAX), verdict(Verdict::Accept)),
    ];
    let classes = L4Proto::ALL
        .into_iter()
        .zip([3, 0, 0x8000_2000])
        .map(|(proto, class)| (frontend(vip, proto, 80), number(class)))
        .collect();
    let endpoints = (0..3u8)
        .map(|slot| (key().number(slot.into()), target(addr(family, 10 + slot), 8080)))
        .collect();
    [
        ("vips", set(&[Field::Daddr], DataKind::None, vec![(Key::new().addr(vip), Data::None)])),
        ("classes", set(&FRONTEND, fields(&[Field::Priority]), classes)),
        ("entries", set(&[Field::Priority], DataKind::Verdict, entries)),
        ("endpoints", set(&slot(2), fields(&TARGET), endpoints)),
        ("reject-services", set(&FRONTEND, DataKind::None, vec![(refused, Data::None)])),
        ("empty", set(&[Field::L4Proto, Field::Dport], DataKind::None, vec![])),
        ("memory", memory(family, 1024)),
        (
            "hairpin",
            set(
                &hairpin,
                DataKind::None,
                vec![(
                    Key::new().addr(vip).addr(vip).proto(L4Proto::Udp).port(port(53)),
                    Data::None,
                )],
            ),
        ),
    ]
    .map(|(name, set)| (Name::from(name), set))
    .into_iter()
    .collect()
}

fn sample_chains(family: Family) -> OrdMap<Name, Chain> {
    let (filter, nat) = (ChainType::Filter, ChainType::Nat);
    let check = || vec![vec![Statement::CtStateNew, jump("check")]];
    let entry = || vec![vec![jump("services")]];
    [
        ("services", plain(services(family))),
        ("n_3", plain(vec![vec![Statement::PriorityClear], dnat(3), dnat(1)])),
        ("remember", plain(remember(family))),
        ("check", plain(checks())),
        ("refuse", plain(refuse())),
        ("all-matches", plain(matches(family))),
        ("verdicts", plain(verdicts())),
        ("raw-in", base(filter, HookPoint::Prerouting, -110, check())),
        ("nat-in", base(nat, HookPoint::Prerouting, -100, entry())),
        ("nat-out", base(nat, HookPoint::Output, -100, entry())),
        ("filter-in", base(filter, HookPoint::Input, 0, check())),
        ("filter-through", base(filter, HookPoint::Forward, 5, check())),
        ("filter-out", base(filter, HookPoint::Output, -250, check())),
        ("nat-post", base(nat, HookPoint::Postrouting, 100, masquerading())),
    ]
    .map(|(name, chain)| (Name::from(name), chain))
    .into_iter()
    .collect()
}

fn services(family: Family) -> Vec<Rule> {
    let classes = Name::from("classes");
    let entries = Name::from("entries");
    let pods = Prefix::new(addr(family, 0), 24).into_iter();
    let mut rules: Vec<Rule> = pods
        .map(|prefix| {
            vec![
                Statement::Addr { side: Side::Saddr, relation: Relation::Ne, prefix },
                Statement::MarkOr(0x4000),
            ]
        })
        .collect();
    rules.extend([
        vec![Statement::PriorityClear],
        vec![Statement::PriorityFrom { key: FRONTEND.to_vec(), map: classes }],
        vec![Statement::Vmap { key: vec![Field::Priority], map: entries }],
    ]);
    rules
}

fn dnat(modulus: u32) -> Rule {
    vec![Statement::Dnat { key: slot(modulus), map: Name::from("endpoints") }]
}

/// Keeps the packet's number for its client, takes what is kept, forgets it.
fn remember(family: Family) -> Vec<Rule> {
    let (key, map) = (remembered(family), Name::from("memory"));
    let update = Statement::Update { key: key.clone(), timeout_s: 10_865, map: map.clone() };
    vec![
        vec![Statement::PriorityHas(0x8000_0000), update],
        vec![Statement::PriorityFrom { key: key.clone(), map: map.clone() }],
        vec![Statement::Delete { key, map }],
        vec![Statement::CtStatusDnat, Statement::PriorityHas(1), Statement::PriorityClear],
    ]
}

fn checks() -> Vec<Rule> {
    let rejects = Statement::Lookup { key: FRONTEND.to_vec(), set: Name::from("reject-services") };
    let vips = Statement::Lookup { key: vec![Field::Daddr], set: Name::from("vips") };
    vec![
        vec![vips, Statement::Counter, jump("all-matches")],
        vec![Statement::FibLocal(Side::Saddr), jump("remember")],
        vec![rejects, goto("refuse")],
    ]
}

fn refuse() -> Vec<Rule> {
    let tcp = Statement::L4Proto(L4Proto::Tcp);
    vec![
        vec![tcp, Statement::Counter, Statement::RejectTcpReset],
        vec![Statement::Counter, Statement::Reject],
    ]
}

fn masquerading() -> Vec<Rule> {
    let key = vec![Field::Saddr, Field::Daddr, Field::L4Proto, Field::Dport];
    let hairpin = Statement::Lookup { key: key.clone(), set: Name::from("hairpin") };
    let masked = |len| Statement::Lookup {
        key: [&[Field::SaddrNet { len }], &key[1..]].concat(),
        set: Name::from("hairpin"),
    };
    vec![
        vec![masked(24), Statement::Counter],
        vec![masked(31), Statement::Counter],
        vec![Statement::MarkHas(0x4000), Statement::MarkXor(0x4000), Statement::Masquerade],
        vec![Statement::CtStatusDnat, hairpin, Statement::Masquerade],
    ]
}

fn verdicts() -> Vec<Rule> {
    vec![
        vec![Statement::L4Proto(L4Proto::Sctp), Statement::Verdict(Verdict::Accept)],
        vec![Statement::L4Proto(L4Proto::Udp), Statement::Verdict(Verdict::Drop)],
        vec![Statement::Verdict(Verdict::Return)],
    ]
}

/// Every match in both relations, prefixes of every kind of length.
fn matches(family: Family) -> Vec<Rule> {
    let lengths: &[u8] = match family {
        Family::Ip => &[1, 8, 15, 16, 20, 24, 31, 32],
        Family::Ip6 => &[1, 8, 44, 56, 63, 64, 127, 128],
    };
    let mut rules: Vec<Rule> = Vec::new();
    for relation in [Relation::Eq, Relation::Ne] {
        for side in [Side::Saddr, Side::Daddr] {
            let prefixes = lengths.iter().filter_map(|len| Prefix::new(addr(family, 255), *len));
            rules.extend(prefixes.map(|prefix| vec![Statement::Addr { side, relation, prefix }]));
        }
        let named = Interfaces::Named(Name::from("br0"));
        let prefixed = Interfaces::Prefixed(Name::from("veth"));
        for interfaces in [named, prefixed] {
            rules.push(vec![Statement::Iifname { relation, interfaces }]);
        }
    }
    rules.push(vec![Statement::FibLocal(Side::Saddr)]);
    rules.push(vec![Statement::FibLocal(Side::Daddr), Statement::CtStatusDnat]);
    for rule in &mut rules {
        rule.push(jump("verdicts"));
    }
    rules
}
