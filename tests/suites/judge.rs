//! The judge finds nothing in what is legal, and each mistake in what is not.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use closeby_nft::judge::judge;
use closeby_nft::ruleset::{ChainType, HookPoint};
use closeby_nft::statement::{Interfaces, Relation, Side};
use closeby_nft::{
    Chain, Data, DataKind, Family, Field, Hook, Key, L4Proto, Name, Prefix, Ruleset, SetSpec,
    Statement, Table, Verdict,
};
use closeby_tests::rulesets::{self, base, goto, jump, plain, table_id};

#[test]
fn nothing_is_wrong_with_the_sample() {
    assert_eq!(judge(&rulesets::sample()), vec![]);
}

/// What the judge says about the sample after one change to its IPv4 table.
fn faults_after(change: impl FnOnce(&mut Table)) -> Vec<String> {
    let mut ruleset = rulesets::sample();
    change(ruleset.tables.get_mut(&table_id(Family::Ip)).unwrap());
    judge(&ruleset).iter().map(ToString::to_string).collect()
}

#[track_caller]
fn finds(words: &str, change: impl FnOnce(&mut Table)) {
    let faults = faults_after(change);
    assert!(faults.iter().any(|fault| fault.contains(words)), "{words}: found {faults:#?}");
}

/// The judge's word about a rule in a plain chain that nothing leads to.
#[track_caller]
fn finds_in_rule(words: &str, rule: Vec<Statement>) {
    finds(words, |table| {
        table.chains.insert(Name::from("alone"), plain(vec![rule]));
    });
}

fn chain(table: &mut Table, name: &str, chain: Chain) {
    table.chains.insert(Name::from(name), chain);
}

#[test]
fn names() {
    finds("cannot read its name", |table| chain(table, "a b", plain(vec![])));
    finds("a word of nft", |table| chain(table, "accept", plain(vec![])));
    finds("has 256 bytes", |table| chain(table, &"x".repeat(256), plain(vec![])));
    let mut ruleset = Ruleset::default();
    let id = closeby_nft::TableId { family: Family::Ip, name: Name::from("1") };
    ruleset.tables.insert(id, Table::default());
    assert_eq!(judge(&ruleset).len(), 1);
}

#[test]
fn chains_that_lead_nowhere_or_in_circles() {
    finds_in_rule("there is no chain missing", vec![jump("missing")]);
    finds_in_rule("nat-in is a base chain", vec![goto("nat-in")]);
    finds("a loop of chains", |table| {
        chain(table, "ping", plain(vec![vec![jump("pong")]]));
        chain(table, "pong", plain(vec![vec![goto("ping")]]));
    });
    finds("there is no chain gone", |table| {
        let entries = table.sets.get_mut(&Name::from("entries")).unwrap();
        let goto = Data::Verdict(Verdict::Goto(Name::from("gone")));
        entries.elements.insert(Key::new().number(9), goto);
    });
    // Through a verdict map: services -> entries -> n_3 -> services.
    finds("a loop of chains", |table| {
        let n_3 = table.chains.get_mut(&Name::from("n_3")).unwrap();
        n_3.rules.push(vec![jump("services")]);
    });
}

/// A base chain and `plain_count` plain ones, each jumping to the next.
fn nest(table: &mut Table, plain_count: usize) {
    let name = |index: usize| format!("deep_{index}");
    for index in 1..=plain_count {
        let next = if index < plain_count { vec![vec![jump(&name(index + 1))]] } else { vec![] };
        chain(table, &name(index), plain(next));
    }
    let first = vec![vec![jump(&name(1))]];
    chain(table, "deep", base(ChainType::Filter, HookPoint::Input, 7, first));
}

#[test]
fn nesting_as_deep_as_the_kernel_allows() {
    assert_eq!(faults_after(|table| nest(table, 15)), Vec::<String>::new());
    finds("nests 17 chains", |table| nest(table, 16));
}

#[test]
fn statements_where_they_cannot_work() {
    let into = |kind, point, statement| {
        move |table: &mut Table| chain(table, "x", base(kind, point, 1, vec![vec![statement]]))
    };
    let (filter, nat) = (ChainType::Filter, ChainType::Nat);
    finds("dnat works in nat", into(filter, HookPoint::Output, jump("n_3")));
    finds("dnat works in nat", into(nat, HookPoint::Postrouting, jump("n_3")));
    finds("masquerade works in nat", into(nat, HookPoint::Prerouting, Statement::Masquerade));
    finds("reject does not work", into(filter, HookPoint::Postrouting, Statement::Reject));
    finds("no nat in forward", into(nat, HookPoint::Forward, Statement::Counter));
    finds("after connection tracking", |table| {
        let hook = Hook { kind: nat, point: HookPoint::Output, priority: -200 };
        chain(table, "x", Chain { hook: Some(hook), rules: vec![] });
    });
}

#[test]
fn rules() {
    let counter = Statement::Counter;
    finds_in_rule("it is empty", vec![]);
    finds_in_rule("follow one that ends", vec![jump("n_3"), counter.clone()]);
    finds_in_rule("a reset in a rule that does not begin", vec![Statement::RejectTcpReset]);
    finds_in_rule(
        "a reset in a rule that does not begin",
        vec![Statement::L4Proto(L4Proto::Udp), Statement::RejectTcpReset],
    );
    let udp = Statement::L4Proto(L4Proto::Udp);
    let lookup =
        Statement::Lookup { key: rulesets::FRONTEND.to_vec(), set: Name::from("reject-services") };
    finds_in_rule("nft moves", vec![udp.clone(), counter.clone(), lookup]);
    finds_in_rule("a second `meta l4proto`", vec![Statement::L4Proto(L4Proto::Tcp), udp]);
    finds_in_rule("cannot be said", vec![Statement::Unknown(vec![])]);
    finds_in_rule("not of one bit", vec![Statement::MarkHas(3)]);
    finds_in_rule("changes no bit", vec![Statement::MarkOr(0)]);
    let (side, relation) = (Side::Saddr, Relation::Eq);
    let all = Prefix::new([0, 0, 0, 0].into(), 0).unwrap();
    finds_in_rule("every address", vec![Statement::Addr { side, relation, prefix: all }]);
    let other = Prefix::new(rulesets::addr(Family::Ip6, 1), 64).unwrap();
    finds_in_rule("other family", vec![Statement::Addr { side, relation, prefix: other }]);
    for name in ["", "a\"b", "0123456789abcdef"] {
        let interfaces = Interfaces::Named(Name::from(name));
        finds_in_rule("interface name", vec![Statement::Iifname { relation, interfaces }]);
    }
}

#[test]
fn lookups() {
    let frontend = rulesets::FRONTEND.to_vec();
    let vips = Name::from("vips");
    let classes = Name::from("classes");
    let lookup = |key, set: &Name| vec![Statement::Lookup { key, set: set.clone() }];
    finds_in_rule("there is no nothing", lookup(frontend.clone(), &Name::from("nothing")));
    finds_in_rule("keys of other fields", lookup(frontend.clone(), &vips));
    finds_in_rule("classes is not a set", lookup(frontend.clone(), &classes));
    finds_in_rule("has no fields", lookup(vec![], &vips));
    finds_in_rule("below 0", lookup(vec![Field::Random { modulus: 0 }], &vips));
    let hairpin = |len| {
        let key = vec![Field::SaddrNet { len }, Field::Daddr, Field::L4Proto, Field::Dport];
        lookup(key, &Name::from("hairpin"))
    };
    finds_in_rule("all or none of its bits", hairpin(0));
    finds_in_rule("all or none of its bits", hairpin(32));
    let vmap = Statement::Vmap { key: frontend.clone(), map: classes.clone() };
    finds_in_rule("not a verdict map", vec![vmap]);
    let dnat = Statement::Dnat { key: frontend, map: classes };
    finds_in_rule("not a map to an address and a port", vec![dnat]);
    let map = Name::from("endpoints");
    let portless = Statement::Dnat { key: vec![Field::Daddr], map: map.clone() };
    finds_in_rule("a port needs", vec![portless]);
    let from = Statement::PriorityFrom { key: rulesets::slot(2), map };
    finds_in_rule("not a map to meta priority", vec![from]);
}

#[test]
fn sets() {
    let edit = |change: fn(&mut closeby_nft::Set)| {
        move |table: &mut Table| change(table.sets.get_mut(&Name::from("classes")).unwrap())
    };
    finds("its size is 0", edit(|set| set.spec.size = 0));
    finds("3 elements where 2 fit", edit(|set| set.spec.size = 2));
    finds("has no fields", edit(|set| set.spec.key.clear()));
    finds("declared with a mask", edit(|set| set.spec.key[0] = Field::SaddrNet { len: 8 }));
    finds("a single field", edit(|set| set.spec.key = vec![Field::Dport]));
    finds("has 48 bytes where 40 fit", edit(|set| set.spec.key = vec![Field::Priority; 12]));
    finds(
        "has 4 bytes instead of 12",
        edit(|set| {
            set.elements.insert(Key::new().number(1), rulesets::number(1));
        }),
    );
    finds(
        "of another kind",
        edit(|set| {
            let key = rulesets::frontend([1, 1, 1, 1].into(), L4Proto::Tcp, 1);
            set.elements.insert(key, Data::None);
        }),
    );
    finds(
        "its data has 8 bytes instead of 4",
        edit(|set| {
            let key = rulesets::frontend([1, 1, 1, 1].into(), L4Proto::Tcp, 1);
            set.elements.insert(key, rulesets::target([1, 1, 1, 1].into(), 1));
        }),
    );
    finds(
        "padding",
        edit(|set| {
            let key = Key::new().addr([1, 1, 1, 1].into()).number(u32::MAX).number(0);
            set.elements.insert(key, rulesets::number(1));
        }),
    );
    finds(
        "has 52 bytes where 20 fit",
        edit(|set| {
            let data = DataKind::Fields(vec![Field::Priority; 13]);
            set.spec = SetSpec { data, ..set.spec.clone() };
        }),
    );
}
