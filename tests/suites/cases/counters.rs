//! What elements count is the kernel's: read by itself, and no difference.

use closeby_nft::delta::{Delta, Op, Verb, diff};
use closeby_nft::{Family, Key, Name, Ruleset, TableId, text};
use closeby_tests::nft;

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
