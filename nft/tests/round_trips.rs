//! What is lowered is raised again, what is encoded is decoded again, and no
//! bytes make a reader panic.
//!
//! Knows the public values alone. The kernel's own opinion is in the suite
//! `kernel`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use closeby_nft::delta::Verb;
use closeby_nft::lower::{lower, raise};
use closeby_nft::ruleset::{ChainType, HookPoint, Value};
use closeby_nft::statement::{Interfaces, Relation, Side};
use closeby_nft::wire::decode;
use closeby_nft::{
    Batch, Data, DataKind, Family, Field, Hook, Key, L4Proto, Name, Op, Port, Prefix, Rule,
    SetSpec, Statement, TableId, Verdict,
};
use proptest::prelude::*;
use proptest::sample::select;

fn family() -> impl Strategy<Value = Family> {
    select(&Family::BOTH[..])
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z_][a-z0-9_-]{0,39}".prop_map(Name::from)
}

fn addr(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::Ip => any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).into()).boxed(),
        Family::Ip6 => any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).into()).boxed(),
    }
}

fn prefix(family: Family) -> impl Strategy<Value = Prefix> {
    let bits: u8 = match family {
        Family::Ip => 32,
        Family::Ip6 => 128,
    };
    (addr(family), 0..=bits).prop_filter_map("no prefix", |(addr, len)| Prefix::new(addr, len))
}

fn field() -> impl Strategy<Value = Field> {
    let plain = [
        Field::Saddr,
        Field::Daddr,
        Field::SaddrLow96,
        Field::L4Proto,
        Field::Dport,
        Field::Priority,
    ];
    prop_oneof![
        5 => select(plain.to_vec()),
        1 => any::<u32>().prop_map(|modulus| Field::Random { modulus }),
    ]
}

/// What a rule looks up may be masked besides.
fn looked_up() -> impl Strategy<Value = Vec<Field>> {
    let bits = any::<u32>().prop_map(|mask| Field::PriorityBits { mask });
    let net = (1..32_u8).prop_map(|len| Field::SaddrNet { len });
    prop::collection::vec(prop_oneof![6 => field(), 1 => bits, 1 => net], 1..=3)
}

fn fields(most: usize) -> impl Strategy<Value = Vec<Field>> {
    prop::collection::vec(field(), 1..=most)
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        select(vec![Verdict::Accept, Verdict::Drop, Verdict::Return]),
        name().prop_map(Verdict::Jump),
        name().prop_map(Verdict::Goto),
    ]
}

fn interfaces() -> impl Strategy<Value = Interfaces> {
    let name = "[a-zA-Z0-9._-]{1,15}".prop_map(Name::from);
    prop_oneof![name.clone().prop_map(Interfaces::Named), name.prop_map(Interfaces::Prefixed),]
}

/// Every shape of a statement that can be listed.
fn statement(family: Family) -> impl Strategy<Value = Statement> {
    let side = || select(vec![Side::Saddr, Side::Daddr]);
    let relation = || select(vec![Relation::Eq, Relation::Ne]);
    let keyed = || (looked_up(), name());
    let plain = vec![
        Statement::CtStateNew,
        Statement::CtStatusDnat,
        Statement::PriorityClear,
        Statement::Masquerade,
        Statement::RejectTcpReset,
        Statement::Reject,
        Statement::Counter,
    ];
    prop_oneof![
        (side(), relation(), prefix(family)).prop_map(|(side, relation, prefix)| Statement::Addr {
            side,
            relation,
            prefix
        }),
        (relation(), interfaces())
            .prop_map(|(relation, interfaces)| Statement::Iifname { relation, interfaces }),
        select(&L4Proto::ALL[..]).prop_map(Statement::L4Proto),
        side().prop_map(Statement::FibLocal),
        select(plain),
        any::<u32>().prop_map(Statement::MarkHas),
        (1..=u32::MAX).prop_map(Statement::MarkOr),
        any::<u32>().prop_map(Statement::MarkXor),
        any::<u32>().prop_map(Statement::PriorityHas),
        (keyed(), any::<u32>()).prop_map(|((key, map), timeout_s)| Statement::Update {
            key,
            timeout_s,
            map
        }),
        keyed().prop_map(|(key, map)| Statement::Delete { key, map }),
        keyed().prop_map(|(key, set)| Statement::Lookup { key, set }),
        keyed().prop_map(|(key, map)| Statement::PriorityFrom { key, map }),
        keyed().prop_map(|(key, map)| Statement::Vmap { key, map }),
        keyed().prop_map(|(key, map)| Statement::Dnat { key, map }),
        verdict().prop_map(Statement::Verdict),
    ]
}

fn rule(family: Family) -> impl Strategy<Value = Rule> {
    prop::collection::vec(statement(family), 0..6)
}

/// A field alone that is padded: a protocol or a port needs company.
fn whole(fields: &[Field], family: Family, most: usize) -> bool {
    let alone = matches!(fields, [Field::L4Proto | Field::Dport]);
    !alone && closeby_nft::ruleset::concat_len(fields, family) <= most
}

fn spec(family: Family) -> impl Strategy<Value = SetSpec> {
    let key = fields(5).prop_filter("too long", move |key| whole(key, family, 40));
    let data = fields(3).prop_filter("too long", move |data| whole(data, family, 20));
    let data = prop_oneof![
        Just(DataKind::None),
        Just(DataKind::Verdict),
        data.prop_map(DataKind::Fields),
    ];
    (key, data, any::<(u32, bool, bool)>()).prop_map(|(key, data, (size, dynamic, counted))| {
        SetSpec { key, data, size, dynamic, counted }
    })
}

fn key() -> impl Strategy<Value = Key> {
    let words = prop::collection::vec(any::<u32>(), 0..=10);
    words.prop_map(|words| words.into_iter().fold(Key::new(), Key::number))
}

fn data() -> impl Strategy<Value = Data> {
    let words = prop::collection::vec(any::<u32>(), 1..=5);
    prop_oneof![
        Just(Data::None),
        verdict().prop_map(Data::Verdict),
        words.prop_map(|words| Data::Value(words.into_iter().fold(Value::new(), Value::number))),
    ]
}

fn hook() -> impl Strategy<Value = Hook> {
    let points = [
        HookPoint::Prerouting,
        HookPoint::Input,
        HookPoint::Forward,
        HookPoint::Output,
        HookPoint::Postrouting,
    ];
    (select(vec![ChainType::Filter, ChainType::Nat]), select(points.to_vec()), any::<i32>())
        .prop_map(|(kind, point, priority)| Hook { kind, point, priority })
}

fn op() -> impl Strategy<Value = Op> {
    (family(), name()).prop_flat_map(|(family, table)| {
        let chain = name;
        let set = name;
        let elements = prop::collection::vec((key(), data()), 0..20);
        let verb = prop_oneof![
            Just(Verb::AddTable),
            Just(Verb::DeleteTable),
            (set(), spec(family)).prop_map(|(set, spec)| Verb::AddSet { set, spec }),
            set().prop_map(|set| Verb::DeleteSet { set }),
            (chain(), prop::option::of(hook()))
                .prop_map(|(chain, hook)| Verb::AddChain { chain, hook }),
            chain().prop_map(|chain| Verb::FlushChain { chain }),
            chain().prop_map(|chain| Verb::DeleteChain { chain }),
            (chain(), rule(family)).prop_map(|(chain, rule)| Verb::AddRule { chain, rule }),
            (set(), elements).prop_map(|(set, elements)| Verb::AddElements { set, elements }),
            (set(), prop::collection::vec(key(), 0..20))
                .prop_map(|(set, keys)| Verb::DeleteElements { set, keys }),
        ];
        let table = TableId { family, name: table };
        verb.prop_map(move |verb| Op { table: table.clone(), verb })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lowered_is_raised((family, rule) in family().prop_flat_map(|it| (Just(it), rule(it)))) {
        prop_assert_eq!(raise(&lower(&rule, family), family), Some(rule));
    }

    #[test]
    fn encoded_is_decoded(ops in prop::collection::vec(op(), 0..12)) {
        let batch = Batch::of_ops(&ops);
        let decoded = decode::batch(batch.bytes()).unwrap();
        for (index, (seq, _)) in decoded.iter().enumerate() {
            prop_assert_eq!(batch.op_of(*seq), Some(index));
        }
        let read: Vec<Op> = decoded.into_iter().map(|(_, op)| op).collect();
        prop_assert_eq!(read, ops);
    }

    /// A transaction with a broken byte is read or refused, and so is a listing.
    #[test]
    fn broken_bytes_do_not_panic(
        ops in prop::collection::vec(op(), 1..6),
        breaks in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = Batch::of_ops(&ops).bytes().to_vec();
        for (at, byte) in breaks {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode::batch(&bytes);
        for message in closeby_nft::nfnl::messages(&bytes).flatten() {
            let _ = decode::chain(&message);
            let _ = decode::rule(&message);
            let _ = decode::set(&message);
            let _ = decode::elements(&message);
            let _ = decode::gen_id(&message);
            let _ = decode::element_at(&message, bytes.len() / 2);
        }
    }
}

fn table() -> TableId {
    TableId { family: Family::Ip, name: Name::from("closeby") }
}

#[test]
fn a_long_list_takes_messages_below_the_attribute_limit() {
    let port = Port::new(80).unwrap();
    let key = |number: u32| Key::new().addr(Ipv4Addr::from(number).into()).port(port);
    let elements: Vec<(Key, Data)> = (0..10_000)
        .map(|number| {
            let chain = Name::from("x".repeat(255));
            (key(number), Data::Verdict(Verdict::Goto(chain)))
        })
        .collect();
    let verb = Verb::AddElements { set: Name::from("entries"), elements: elements.clone() };
    let batch = Batch::of_ops(&[Op { table: table(), verb }]);
    let decoded = decode::batch(batch.bytes()).unwrap();
    assert!(decoded.len() > 1);
    let mut read = Vec::new();
    for (seq, op) in decoded {
        assert_eq!(batch.op_of(seq), Some(0));
        let Verb::AddElements { elements, .. } = op.verb else { panic!("{op}") };
        read.extend(elements);
    }
    assert_eq!(read, elements);
}

#[test]
fn an_unknown_rule_is_sent_as_it_came() {
    // A list of one expression of no content.
    let unknown = vec![Statement::Unknown(vec![12, 0, 1, 0x80, 8, 0, 1, 0, b'x', b'y', b'z', 0])];
    let add = Verb::AddRule { chain: Name::from("theirs"), rule: unknown.clone() };
    let op = Op { table: table(), verb: add };
    let decoded = decode::batch(Batch::of_ops(std::slice::from_ref(&op)).bytes()).unwrap();
    assert_eq!(decoded, [(1, op)]);
    assert!(lower(&unknown, Family::Ip).is_empty());
}

#[test]
fn the_acknowledgement_is_asked_of_the_last_message_alone() {
    let op = |verb| Op { table: table(), verb };
    let flush = |chain: &str| op(Verb::FlushChain { chain: Name::from(chain) });
    let batch = Batch::of_ops(&[flush("a"), flush("b"), flush("c")]);
    let asked: Vec<bool> = closeby_nft::nfnl::messages(batch.bytes())
        .map(|message| message.unwrap().flags & closeby_nft::nfnl::ACK != 0)
        .collect();
    assert_eq!(asked, [false, false, false, true, false]);
    assert_eq!(batch.last_seq(), Some(3));
}

#[test]
fn what_reads_back_as_another_rule() {
    let odd = [
        vec![Statement::MarkOr(0)],
        vec![Statement::Lookup { key: Vec::new(), set: Name::from("vips") }],
        vec![Statement::Addr {
            side: Side::Saddr,
            relation: Relation::Eq,
            prefix: "fd00::/8".parse().unwrap(),
        }],
        vec![Statement::Iifname {
            relation: Relation::Eq,
            interfaces: Interfaces::Named(Name::from("sixteen-bytes-xx")),
        }],
        vec![Statement::Iifname {
            relation: Relation::Eq,
            interfaces: Interfaces::Prefixed(Name::from("")),
        }],
        vec![Statement::Iifname {
            relation: Relation::Eq,
            interfaces: Interfaces::Prefixed(Name::from("sixteen-bytes-xx")),
        }],
    ];
    for rule in odd {
        assert_ne!(raise(&lower(&rule, Family::Ip), Family::Ip).as_ref(), Some(&rule), "{rule:?}");
    }
}
