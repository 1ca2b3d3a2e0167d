//! What elements count is the kernel's: read by itself, and no difference.

use std::net::Ipv6Addr;

use closeby_nft::delta::{Delta, Op, Verb, diff};
use closeby_nft::{Data, DataKind, Family, Field, Key, Name, Ruleset, Table, TableId, text};
use closeby_tests::{nft, rulesets};

use super::same_as_nft::rendered_with_counters;

const SET: &str = "endpoints";

fn table(family: Family) -> TableId {
    TableId { family, name: Name::from("closeby") }
}

/// What all elements of a set have counted.
fn counts(family: Family) -> Vec<(Key, u64)> {
    let mut counts = Vec::new();
    let mut each = |key, _, count| counts.push((key, count));
    super::netlink().counts(&table(family), &Name::from(SET), &mut each).unwrap();
    counts.sort();
    counts
}

/// The same of some.
fn counts_of(family: Family, keys: &[Key]) -> Vec<(Key, u64)> {
    let mut counts = Vec::new();
    let mut each = |key, _, count| counts.push((key, count));
    super::netlink().counts_of(&table(family), &Name::from(SET), keys, &mut each).unwrap();
    counts
}

/// Loads it as if each element had counted seven packets.
fn load_with_counts(ruleset: &Ruleset) {
    let text = text::ruleset(ruleset);
    let counted = text.replace(" counter :", " counter packets 7 bytes 420 :");
    assert_ne!(counted, text);
    nft::load(&counted).unwrap();
}

pub(crate) fn counts_are_no_difference() {
    let ruleset = rendered_with_counters();
    load_with_counts(&ruleset);
    let listed = super::list(&mut super::netlink(), &ruleset);
    assert_eq!(diff(&listed, &ruleset), Delta::default());
    assert_eq!(listed, ruleset);
}

pub(crate) fn counts_are_read_of_all_and_by_key() {
    let ruleset = rendered_with_counters();
    load_with_counts(&ruleset);
    for family in Family::BOTH {
        let keys: Vec<Key> = ruleset.tables[&table(family)].sets[SET].elements.keys().collect();
        let sevens: Vec<(Key, u64)> = keys.iter().map(|key| (key.clone(), 7)).collect();
        assert!(sevens.len() > 3);
        assert_eq!(counts(family), sevens);
        assert_eq!(counts_of(family, &keys), sevens);
        // The kernel stops where one is not there.
        let absent = Key(keys[0].0.iter().map(|byte| byte ^ 1).collect());
        let asked = [keys[1].clone(), absent, keys[2].clone()];
        assert_eq!(counts_of(family, &asked), sevens[1..2]);
    }
    let other = TableId { family: Family::Ip, name: Name::from("none") };
    super::netlink().counts(&other, &Name::from(SET), &mut |_, _, _| panic!("none")).unwrap();
}

pub(crate) fn what_is_written_anew_counts_from_0() {
    let ruleset = rendered_with_counters();
    load_with_counts(&ruleset);
    let table = table(Family::Ip);
    let (key, data) = ruleset.tables[&table].sets[SET].elements.iter().next().unwrap();
    let set = Name::from(SET);
    let verbs = [
        Verb::DeleteElements { set: set.clone(), keys: vec![key.clone()] },
        Verb::AddElements { set, elements: vec![(key.clone(), data)] },
    ];
    let ops = verbs.map(|verb| Op { table: table.clone(), verb });
    super::commit(&mut super::netlink(), &Delta { ops: ops.into() });
    assert_eq!(counts_of(Family::Ip, std::slice::from_ref(&key)), [(key, 0)]);
}

/// More than one request holds, and more answers than a receive buffer that may not
/// grow has room for.
pub(crate) fn many_are_read_by_key() {
    const MANY: u32 = 4_000;
    let table = rulesets::table_id(Family::Ip6);
    let key = |number| Key::new().addr(Ipv6Addr::from(u128::from(number)).into());
    let elements = (1..=MANY).map(|number| (key(number), Data::None)).collect();
    let mut set = rulesets::set(&[Field::Daddr], DataKind::None, elements);
    (set.spec.size, set.spec.counted) = (MANY, true);
    let keys: Vec<Key> = set.elements.keys().collect();
    let sets = [(Name::from(SET), set)].into_iter().collect();
    let tables = [(table.clone(), Table { sets, ..Table::default() })].into();
    super::converge(&mut super::netlink(), &Ruleset::default(), &Ruleset { tables });
    let (mut told, mut kernel) = (Vec::new(), super::netlink());
    let mut each = |key, _, _| told.push(key);
    kernel.counts_of(&table, &Name::from(SET), &keys, &mut each).unwrap();
    assert_eq!(told, keys);
}
