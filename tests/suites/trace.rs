//! Walks through the tracer: what NAT decides, where a packet goes, how chains
//! call each other.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use closeby_nft::expr::RejectWith;
use closeby_nft::ruleset::{ChainType, HookPoint};
use closeby_nft::trace::{Event, Fate, Host, Memory, Origin, Outcome, Packet, Tracer};
use closeby_nft::{Chain, Family, Key, L4Proto, Name, Rule, Ruleset, Statement, Table, Verdict};
use closeby_tests::rulesets::{self, addr, base, goto, jump, plain, table_id};

const FILTER: ChainType = ChainType::Filter;
const NAT: ChainType = ChainType::Nat;

fn packet(family: Family) -> Packet {
    Packet {
        saddr: addr(family, 200),
        daddr: addr(family, 1),
        proto: L4Proto::Tcp.number(),
        sport: 40000,
        dport: 80,
        mark: 0,
        priority: 0,
        iif: Some(Name::from("veth0")),
    }
}

/// The host has address 99 of each family; every draw is 1 where it can be.
fn run(ruleset: &Ruleset, packet: Packet, origin: Origin) -> Outcome {
    let host = Host { addresses: Family::BOTH.map(|family| addr(family, 99)).into() };
    Tracer::new(ruleset).run(packet, origin, &host, &mut |modulus| 1 % modulus)
}

/// One IPv4 table of these chains.
fn table_of<const N: usize>(chains: [(&str, Chain); N]) -> Ruleset {
    let chains = chains.map(|(name, chain)| (Name::from(name), chain)).into_iter().collect();
    let table =
        Table { sets: rulesets::sample().tables[&table_id(Family::Ip)].sets.clone(), chains };
    Ruleset { tables: [(table_id(Family::Ip), table)].into() }
}

fn verdict(verdict: Verdict) -> Rule {
    vec![Statement::Verdict(verdict)]
}

fn mark(bit: u32) -> Rule {
    vec![Statement::MarkOr(bit)]
}

#[test]
fn a_service_address_becomes_an_endpoint() {
    for family in Family::BOTH {
        for origin in [Origin::Incoming, Origin::Host] {
            let outcome = run(&rulesets::sample(), packet(family), origin);
            assert_eq!(outcome.fate, Fate::Forwarded, "{outcome}");
            assert_eq!(outcome.dnat, Some((addr(family, 11), 8080)), "{outcome}");
            let there = (outcome.packet.daddr, outcome.packet.dport, outcome.packet.priority);
            assert_eq!(there, (addr(family, 11), 8080, 0), "{outcome}");
            assert!(!outcome.masqueraded, "{outcome}");
        }
    }
}

/// Source outside the prefix that stays unmarked.
#[test]
fn a_marked_packet_is_masqueraded_and_loses_its_mark() {
    for family in Family::BOTH {
        let saddr = match family {
            Family::Ip => [192, 0, 2, 1].into(),
            Family::Ip6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
        };
        let outcome =
            run(&rulesets::sample(), Packet { saddr, ..packet(family) }, Origin::Incoming);
        assert!(outcome.masqueraded, "{outcome}");
        assert_eq!(outcome.packet.mark, 0, "{outcome}");
    }
}

#[test]
fn a_miss_ends_the_rule_and_keeps_the_number() {
    let other = Packet { dport: 82, priority: 5, ..packet(Family::Ip) };
    let outcome = run(&rulesets::sample(), other, Origin::Incoming);
    // Cleared, then not set; number 0 returns from the vmap.
    assert_eq!((outcome.packet.priority, outcome.dnat), (0, None), "{outcome}");
    let rule = vec![Statement::PriorityFrom {
        key: rulesets::FRONTEND.to_vec(),
        map: Name::from("classes"),
    }];
    let ruleset = table_of([("in", base(FILTER, HookPoint::Prerouting, 0, vec![rule]))]);
    let missed = Packet { dport: 82, priority: 5, ..packet(Family::Ip) };
    assert_eq!(run(&ruleset, missed, Origin::Incoming).packet.priority, 5);
    assert_eq!(run(&ruleset, packet(Family::Ip), Origin::Incoming).packet.priority, 3);
}

#[test]
fn refusals_by_protocol() {
    let tcp = Statement::L4Proto(L4Proto::Tcp);
    let rules = vec![vec![tcp, Statement::RejectTcpReset], vec![Statement::Reject]];
    let ruleset = table_of([
        ("check", base(FILTER, HookPoint::Forward, 0, vec![vec![goto("refuse")]])),
        ("refuse", plain(rules)),
    ]);
    for (proto, with) in [
        (L4Proto::Tcp.number(), RejectWith::TcpReset),
        (L4Proto::Udp.number(), RejectWith::PortUnreachable),
        (1, RejectWith::PortUnreachable),
    ] {
        let packet = Packet { proto, ..packet(Family::Ip) };
        let outcome = run(&ruleset, packet, Origin::Incoming);
        assert_eq!(outcome.fate, Fate::Rejected { chain: Name::from("refuse"), with });
    }
}

/// The marks left say which rules ran.
fn marks<const N: usize>(chains: [(&str, Chain); N]) -> u32 {
    let outcome = run(&table_of(chains), packet(Family::Ip), Origin::Incoming);
    outcome.packet.mark
}

#[test]
fn jump_comes_back_and_goto_comes_back_to_the_caller() {
    let entry = |rules| base(FILTER, HookPoint::Prerouting, 0, rules);
    // Jump: both the callee and what follows.
    let called =
        marks([("in", entry(vec![vec![jump("a")], mark(1)])), ("a", plain(vec![mark(2)]))]);
    assert_eq!(called, 1 | 2);
    // Goto from a base chain: what follows is skipped, the policy applies.
    let gone = marks([("in", entry(vec![vec![goto("a")], mark(1)])), ("a", plain(vec![mark(2)]))]);
    assert_eq!(gone, 2);
    // Goto from a called chain: its rest is skipped, its caller goes on.
    let back = marks([
        ("in", entry(vec![vec![jump("a")], mark(1)])),
        ("a", plain(vec![mark(2), vec![goto("b")], mark(4)])),
        ("b", plain(vec![mark(8), verdict(Verdict::Return), mark(16)])),
    ]);
    assert_eq!(back, 1 | 2 | 8);
    // Accept in a called chain ends the base chain, not the hook.
    let accepted = marks([
        ("in", entry(vec![vec![jump("a")], mark(1)])),
        ("a", plain(vec![verdict(Verdict::Accept)])),
        ("later", base(FILTER, HookPoint::Prerouting, 1, vec![mark(32)])),
    ]);
    assert_eq!(accepted, 32);
}

#[test]
fn drop_ends_the_walk() {
    let ruleset = table_of([
        ("first", base(FILTER, HookPoint::Forward, -1, vec![verdict(Verdict::Drop)])),
        ("second", base(FILTER, HookPoint::Forward, 0, vec![mark(1)])),
    ]);
    let outcome = run(&ruleset, packet(Family::Ip), Origin::Incoming);
    assert_eq!(outcome.fate, Fate::Dropped { chain: Name::from("first") });
    assert_eq!(outcome.packet.mark, 0);
}

#[test]
fn the_first_dnat_ends_nat_at_its_hook() {
    let key = rulesets::slot(1);
    let dnat = vec![Statement::Dnat { key, map: Name::from("endpoints") }];
    let ruleset = table_of([
        ("a", base(NAT, HookPoint::Prerouting, 5, vec![dnat])),
        ("b", base(NAT, HookPoint::Prerouting, 6, vec![mark(1)])),
        // Its priority orders it among filter chains: all nat runs at -100.
        ("c", base(FILTER, HookPoint::Prerouting, 0, vec![mark(2)])),
        ("d", base(FILTER, HookPoint::Prerouting, -101, vec![mark(4)])),
        (
            "e",
            base(
                NAT,
                HookPoint::Postrouting,
                0,
                vec![
                    vec![Statement::CtStatusDnat, Statement::MarkOr(8)],
                    vec![Statement::Masquerade],
                ],
            ),
        ),
        ("f", base(NAT, HookPoint::Postrouting, 1, vec![mark(16)])),
    ]);
    let outcome = run(&ruleset, packet(Family::Ip), Origin::Incoming);
    assert_eq!(outcome.packet.mark, 2 | 4 | 8, "{outcome}");
    assert!(outcome.masqueraded);
    assert_eq!(outcome.dnat, Some((addr(Family::Ip, 10), 8080)));
}

/// Seen on kernel 6.18: filter chains of prerouting and input see a packet of
/// the host to itself as new and from lo; nat chains there do not see it.
#[test]
fn the_host_talks_to_itself_through_lo() {
    let lo = closeby_nft::statement::Interfaces::Named(Name::from("lo"));
    let from_lo =
        Statement::Iifname { relation: closeby_nft::statement::Relation::Eq, interfaces: lo };
    let seen = vec![Statement::CtStateNew, from_lo, Statement::MarkOr(1)];
    let ruleset = table_of([
        ("pre", base(FILTER, HookPoint::Prerouting, -110, vec![seen])),
        ("nat-pre", base(NAT, HookPoint::Prerouting, -100, vec![mark(2)])),
        ("nat-in", base(NAT, HookPoint::Input, 100, vec![mark(4)])),
        ("nat-post", base(NAT, HookPoint::Postrouting, 100, vec![mark(8)])),
        ("in", base(FILTER, HookPoint::Input, 0, vec![mark(16)])),
        ("forward", base(FILTER, HookPoint::Forward, 0, vec![mark(32)])),
    ]);
    let own = Packet { daddr: addr(Family::Ip, 99), iif: None, ..packet(Family::Ip) };
    let outcome = run(&ruleset, own, Origin::Host);
    assert_eq!(outcome.fate, Fate::Delivered);
    assert_eq!(outcome.packet.mark, 1 | 8 | 16, "{outcome}");
}

#[test]
fn before_connection_tracking_nothing_is_new() {
    let new = |bit| vec![Statement::CtStateNew, Statement::MarkOr(bit)];
    let ruleset = table_of([
        ("raw", base(FILTER, HookPoint::Prerouting, -201, vec![new(1)])),
        ("later", base(FILTER, HookPoint::Prerouting, -199, vec![new(2)])),
    ]);
    assert_eq!(run(&ruleset, packet(Family::Ip), Origin::Incoming).packet.mark, 2);
}

#[test]
fn loops_end() {
    for again in [jump("a"), goto("a")] {
        let ruleset = table_of([
            ("in", base(FILTER, HookPoint::Prerouting, 0, vec![vec![jump("a")]])),
            ("a", plain(vec![vec![again]])),
        ]);
        let outcome = run(&ruleset, packet(Family::Ip), Origin::Incoming);
        assert_eq!(outcome.fate, Fate::Dropped { chain: Name::from("a") });
        let last = outcome.path.last().map(|step| step.event.clone());
        assert_eq!(last, Some(Event::Impossible("chains without end")));
    }
}

#[test]
fn what_the_kernel_would_not_load_is_said() {
    let nowhere = Statement::Lookup { key: rulesets::FRONTEND.to_vec(), set: Name::from("none") };
    for rule in [vec![jump("missing")], vec![nowhere]] {
        let ruleset = table_of([("in", base(FILTER, HookPoint::Prerouting, 0, vec![rule]))]);
        let outcome = run(&ruleset, packet(Family::Ip), Origin::Incoming);
        assert_eq!(outcome.fate, Fate::Dropped { chain: Name::from("in") }, "{outcome}");
    }
}

/// A map that packets fill, of this size, and a chain that counts a client as
/// seen, takes the number that was kept, and marks the packet.
fn remembering(family: Family, size: u32) -> Tracer {
    let (key, map) = (rulesets::remembered(family), Name::from("memory"));
    let update = Statement::Update { key: key.clone(), timeout_s: 10, map: map.clone() };
    let rules = vec![
        vec![update, Statement::MarkOr(1)],
        vec![Statement::PriorityFrom { key: key.clone(), map: map.clone() }],
        vec![Statement::PriorityHas(0x100), Statement::Delete { key, map }, Statement::MarkOr(2)],
    ];
    let sets = [(Name::from("memory"), rulesets::memory(family, size))].into_iter().collect();
    let chain = base(FILTER, HookPoint::Prerouting, 0, rules);
    let chains = [(Name::from("in"), chain)].into_iter().collect();
    let tables = [(table_id(family), Table { sets, chains })].into();
    Tracer::new(&Ruleset { tables })
}

/// The mark and the number of a packet from a client with a number.
fn remembered(
    tracer: &Tracer,
    memory: &mut Memory,
    family: Family,
    client: u8,
    number: u32,
) -> (u32, u32) {
    let packet = Packet { saddr: addr(family, client), priority: number, ..packet(family) };
    let outcome = tracer.run_after(memory, packet, Origin::Incoming, &Host::default(), &mut |_| 0);
    (outcome.packet.mark, outcome.packet.priority)
}

#[test]
fn what_packets_keep_is_kept_until_its_time_ends() {
    for family in Family::BOTH {
        let (tracer, mut memory) = (remembering(family, 8), Memory::default());
        let meets = |memory: &mut Memory, client, number| {
            remembered(&tracer, memory, family, client, number)
        };
        assert_eq!(meets(&mut memory, 1, 0x8000_2001), (1, 0x8000_2001));
        // The first number stays, and each packet starts its time anew.
        for _ in 0..3 {
            memory.pass(9);
            assert_eq!(meets(&mut memory, 1, 0x8000_2002), (1, 0x8000_2001));
        }
        // Another client, and another owner of the same client, keep their own.
        assert_eq!(meets(&mut memory, 2, 0x8000_2003), (1, 0x8000_2003));
        assert_eq!(meets(&mut memory, 1, 0x8000_4001), (1, 0x8000_4001));
        memory.pass(10);
        assert_eq!(memory.elements(&table_id(family), &Name::from("memory")).count(), 0);
        assert_eq!(meets(&mut memory, 1, 0x8000_2002), (1, 0x8000_2002));
        // What has the bit is taken out again, once.
        assert_eq!(meets(&mut memory, 3, 0x8000_2100), (3, 0x8000_2100));
        assert_eq!(meets(&mut memory, 3, 0x8000_2003), (1, 0x8000_2003));
    }
}

#[test]
fn a_map_that_is_full_ends_the_rule_and_keeps_what_it_has() {
    let (tracer, mut memory) = (remembering(Family::Ip, 2), Memory::default());
    let mut meets = |client, number| remembered(&tracer, &mut memory, Family::Ip, client, number);
    assert_eq!(meets(1, 0x8000_2001), (1, 0x8000_2001));
    assert_eq!(meets(2, 0x8000_2002), (1, 0x8000_2002));
    assert_eq!(meets(3, 0x8000_2003), (0, 0x8000_2003));
    assert_eq!(meets(2, 0x8000_2001), (1, 0x8000_2002));
}

#[test]
fn a_trace_reads_well() {
    let ruleset = table_of([
        (
            "in",
            base(
                NAT,
                HookPoint::Prerouting,
                -100,
                vec![vec![
                    Statement::Lookup {
                        key: vec![closeby_nft::Field::Daddr],
                        set: Name::from("vips"),
                    },
                    jump("n_3"),
                ]],
            ),
        ),
        (
            "n_3",
            plain(vec![
                vec![Statement::MarkHas(1), Statement::Counter],
                vec![Statement::Dnat { key: rulesets::slot(3), map: Name::from("endpoints") }],
            ]),
        ),
    ]);
    let outcome = run(&ruleset, packet(Family::Ip), Origin::Incoming);
    let expected = "\
ip closeby in: entered by type nat hook prerouting priority dstnat
ip closeby in 0: ip daddr @vips: 10.1.0.1 is in vips
ip closeby in 0: jump n_3: jumps to n_3
ip closeby n_3 0: meta mark & 0x00000001 != 0x00000000: does not match
ip closeby n_3 1: dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints: \
10.1.0.1 . tcp . 80 . 1 : 10.1.0.11 . 8080 is in endpoints
ip closeby n_3 1: dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints: \
to 10.1.0.11:8080
forwarded: tcp 10.1.0.200:40000 -> 10.1.0.11:8080 from veth0";
    assert_eq!(outcome.to_string(), expected);
    let key = Key::new().addr(addr(Family::Ip, 1));
    assert!(
        outcome.path.iter().any(
            |step| matches!(&step.event, Event::LookedUp { key: looked, .. } if *looked == key)
        )
    );
}
