//! What others put into our table is listed as something that is not ours, and
//! the next difference removes it.

use std::net::SocketAddr;

use closeby_nft::trace::{Event, Host, Origin, Outcome, Packet, Tracer};
use closeby_nft::wire::FOREIGN_HOOK;
use closeby_nft::{Family, Kernel as _, L4Proto, Name, Ruleset, Statement, Table, TableId};
use closeby_tests::{nft, rulesets};

/// All that we would not write, under names that we use and others.
const FOREIGN: &str = r#"
table ip closeby {
    set vips { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.1-192.0.2.9 } }
    set empty { type inet_proto . inet_service; size 1024; }
    set unsized { typeof ip daddr; elements = { 192.0.2.1 } }
    set timed { typeof ip daddr; size 16; timeout 1h; }
    set noted { typeof ip daddr; size 16; comment "mine"; }
    map verdicts { typeof ip daddr : verdict; size 16; elements = { 192.0.2.1 : jump theirs } }
    map untyped { type ipv4_addr : verdict; elements = { 192.0.2.1 : goto theirs } }
    chain theirs { ip daddr { 192.0.2.1, 192.0.2.2 } udp sport 53 log prefix "x" drop; }
    chain n_3 { counter accept comment "mine"; tcp dport vmap { 1 : drop }; ip daddr != @unsized drop; }
    chain filter-in { type filter hook input priority 0; policy drop; }
    chain services { type route hook output priority 3; policy accept; }
}"#;

pub(crate) fn is_listed_and_replaced() {
    let (mut kernel, sample) = (super::netlink(), rulesets::sample());
    nft::load(FOREIGN).unwrap();
    let listed = super::list(&mut kernel, &sample);
    let table = &listed.tables[&rulesets::table_id(Family::Ip)];
    for name in ["vips", "empty", "unsized", "timed", "noted", "untyped"] {
        assert!(table.sets[name].spec.key.is_empty(), "{name} is not ours");
    }
    assert_eq!(table.sets.len(), 7, "anonymous sets are part of their rules");
    let unknown = |name: &str| {
        let rules = &table.chains[name].rules;
        rules.iter().filter(|rule| matches!(rule[..], [Statement::Unknown(_)])).count()
    };
    assert_eq!((unknown("theirs"), unknown("n_3")), (1, 2));
    assert_eq!(table.chains["filter-in"].hook, Some(FOREIGN_HOOK));
    assert_eq!(table.chains["services"].hook, Some(FOREIGN_HOOK));

    super::converge(&mut kernel, &listed, &sample);
    assert_eq!(super::list(&mut kernel, &sample), sample);

    // One element for everything else, as nft knows none in our kind of set.
    let table = sample.tables.keys().next().unwrap().clone();
    let everything = (closeby_nft::Key::new(), closeby_nft::Data::None);
    let verb = closeby_nft::delta::Verb::AddElements {
        set: Name::from("vips"),
        elements: vec![everything],
    };
    super::commit(&mut kernel, &closeby_nft::Delta { ops: vec![closeby_nft::Op { table, verb }] });
    let listed = super::list(&mut kernel, &sample);
    assert_ne!(listed, sample);
    super::converge(&mut kernel, &listed, &sample);
    assert_eq!(super::list(&mut kernel, &sample), sample);
    super::converge(&mut kernel, &sample, &Ruleset::default());
}

/// A table that we could not read, of each family.
const ILLEGIBLE: &str = r#"
table ip nat {
    map ports { type inet_service : verdict; flags interval; elements = { 1-9 : goto KUBE-SVC-A } }
    chain KUBE-SVC-A { numgen random mod 2 vmap { 0 : jump KUBE-SEP-A, 1 : accept }; counter; }
    chain KUBE-SEP-A { meta l4proto tcp log prefix "x" counter; }
    chain PREROUTING { type nat hook prerouting priority -100; policy drop; jump KUBE-SVC-A; }
}
table ip6 nat { chain KUBE-SERVICES { ip6 daddr { ::1, ::2 } drop; }; }
table inet nat { chain KUBE-NODEPORTS { counter; }; }"#;

fn nat(family: Family) -> TableId {
    TableId { family, name: Name::from("nat") }
}

pub(crate) fn chains_of_any_table_are_named() {
    let mut kernel = super::netlink();
    assert!(!kernel.has_table(&nat(Family::Ip)).unwrap());
    nft::load(ILLEGIBLE).unwrap();
    assert!(kernel.has_table(&nat(Family::Ip)).unwrap());
    let mut named = Vec::new();
    for family in Family::BOTH {
        let chains = kernel.chains(family).unwrap();
        named.extend(chains.iter().map(|(table, chain)| format!("{table} {chain}")));
    }
    named.sort_unstable();
    assert_eq!(
        named,
        ["ip nat KUBE-SEP-A", "ip nat KUBE-SVC-A", "ip nat PREROUTING", "ip6 nat KUBE-SERVICES",]
    );
}

pub(crate) fn a_table_that_was_not_read_goes_whole() {
    let (mut kernel, sample) = (super::netlink(), rulesets::sample());
    nft::load(ILLEGIBLE).unwrap();
    let unread = Family::BOTH.map(|family| (nat(family), Table::default()));
    super::converge(&mut kernel, &Ruleset { tables: unread.into() }, &sample);
    assert_eq!(super::list(&mut kernel, &sample), sample);
    assert!(Family::BOTH.iter().all(|family| !kernel.has_table(&nat(*family)).unwrap()));
    super::converge(&mut kernel, &sample, &Ruleset::default());
}

/// What kube-proxy and others write and we do not.
const THEIRS: &str = r#"
table ip theirs {
    comment "theirs"
    set ranges { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.1-192.0.2.9 comment "x" } }
    set both { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 1-9 } }
    set clients { type ipv4_addr; flags dynamic,timeout; timeout 3h; elements = { 192.0.2.1 } }
    map ports { type inet_proto . inet_service : verdict; elements = { tcp . 80 comment "y" : goto one } }
    chain one {
        update @clients { ip saddr }
        meta l4proto tcp dnat to 10.1.1.1:8080 comment "z"
    }
    chain enters {
        type nat hook prerouting priority -100; policy accept;
        ip saddr @ranges accept
        ip saddr != { 198.51.100.0/24, 203.0.113.0/24 } drop
        ip saddr . th dport @both accept
        meta l4proto . th dport vmap @ports
        meta l4proto udp dnat ip to numgen random mod 2 map { 0 : 10.1.1.1 . 53, 1 : 10.1.1.2 . 53 }
        meta length > 9000 drop
    }
}"#;

fn theirs() -> TableId {
    TableId { family: Family::Ip, name: Name::from("theirs") }
}

pub(crate) fn what_others_wrote_runs_as_it_does() {
    let mut kernel = super::netlink();
    nft::load(THEIRS).unwrap();
    let listing = kernel.list_foreign(&[theirs(), nat(Family::Ip)]).unwrap();
    assert_eq!(listing.tables.keys().collect::<Vec<_>>(), [&theirs()]);
    let tracer = Tracer::foreign(&listing.tables);
    let cases = [
        ("10.9.9.9:80", L4Proto::Tcp, "1.2.3.4:80 forwarded"),
        ("192.0.2.9:80", L4Proto::Tcp, "1.2.3.4:80 forwarded"),
        // Behind the range, and in none that may pass.
        ("192.0.2.10:80", L4Proto::Tcp, "1.2.3.4:80 dropped in enters"),
        // A set of ranges in several fields is not read, and says nothing.
        ("198.51.100.1:80", L4Proto::Tcp, "10.1.1.1:8080 unread forwarded"),
        (
            "203.0.113.9:53",
            L4Proto::Udp,
            "10.1.1.1:53 unread forwarded, 10.1.1.2:53 unread forwarded",
        ),
        ("203.0.113.9:53", L4Proto::Tcp, "1.2.3.4:53 unread unread forwarded"),
    ];
    for (from, proto, expected) in cases {
        let from: SocketAddr = from.parse().unwrap();
        let packet = Packet {
            saddr: from.ip(),
            daddr: [1, 2, 3, 4].into(),
            proto: proto.number(),
            sport: 40_000,
            dport: from.port(),
            mark: 0,
            priority: 0,
            iif: Some(Name::from("eth0")),
        };
        let outcomes = tracer.outcomes(&packet, Origin::Incoming, &Host::default());
        let words: Vec<String> = outcomes.iter().map(in_words).collect();
        assert_eq!(words.join(", "), expected, "{from} {proto}");
    }
    nft::load("add chain ip theirs odd { type filter hook input priority 0; policy drop; }")
        .unwrap();
    let error = kernel.list_foreign(&[theirs()]).unwrap_err();
    assert!(error.to_string().contains("the base chain odd of table ip theirs"), "{error}");
}

/// Where a packet ends, `unread` for each rule that was passed over, and how.
fn in_words(outcome: &Outcome) -> String {
    let unread = outcome.path.iter().filter(|step| step.event == Event::Unread);
    let to = SocketAddr::new(outcome.packet.daddr, outcome.packet.dport);
    format!("{to} {}{}", "unread ".repeat(unread.count()), outcome.fate)
}
