//! Commit, list, compare: the kernel ends where the values say.

use closeby_nft::delta::Verb;
use closeby_nft::{Batch, Data, Delta, GenId, Kernel, Name, Op, Ruleset, delta};
use closeby_tests::{nft, rawdump, rulesets};

use super::both::Both;

pub(crate) fn listed_is_what_was_committed() {
    let (mut kernel, sample) = (Both::new(), rulesets::sample());
    super::converge(&mut kernel, &Ruleset::default(), &sample);
    assert_eq!(super::list(&mut kernel, &sample), sample);
}

/// The sample after a day's work: elements come, go and change, a set grows
/// while rules use it, a chain goes and another comes.
fn changed(sample: &Ruleset) -> Ruleset {
    let mut changed = sample.clone();
    for (id, table) in &mut changed.tables {
        let class = closeby_nft::Key::new().number(3);
        let entry = Data::Verdict(closeby_nft::Verdict::Goto(Name::from("n_5")));
        table.chains.insert(Name::from("n_5"), table.chains["n_3"].clone());
        table.chains.remove(&Name::from("n_3"));
        let mut entries = table.sets["entries"].clone();
        entries.elements.clear();
        entries.elements.insert(class, entry);
        table.sets.insert(Name::from("entries"), entries);

        let mut endpoints = table.sets["endpoints"].clone();
        endpoints.spec.size *= 2;
        let target = rulesets::target(rulesets::addr(id.family, 99), 9090);
        let first = endpoints.elements.keys().next().unwrap();
        endpoints.elements.insert(first, target);
        table.sets.insert(Name::from("endpoints"), endpoints);

        table.sets.remove(&Name::from("empty"));
        let mut input = table.chains["filter-in"].clone();
        input.hook = input.hook.map(|hook| closeby_nft::Hook { priority: 7, ..hook });
        table.chains.insert(Name::from("filter-in"), input);
    }
    changed
}

pub(crate) fn one_sample_becomes_another() {
    let (mut kernel, sample) = (Both::new(), rulesets::sample());
    let changed = changed(&sample);
    super::converge(&mut kernel, &Ruleset::default(), &sample);
    for (before, after) in [(&sample, &changed), (&changed, &sample)] {
        let delta = delta::diff(before, after);
        let remade =
            |op: &Op| matches!(&op.verb, Verb::AddSet { set, .. } if set.as_str() == "endpoints");
        assert!(delta.ops.iter().any(remade), "the set of another size is made anew");
        super::commit(&mut kernel, &delta);
        assert_eq!(super::list(&mut kernel, &sample), *after);
    }
    super::converge(&mut kernel, &sample, &Ruleset::default());
    assert_eq!(super::list(&mut kernel, &sample), Ruleset::default());
}

/// Elements of a dynamic map are neither listed nor touched, whatever changes
/// around them; they go with the map.
pub(crate) fn what_packets_fill_is_left_alone() {
    let (mut kernel, sample) = (super::netlink(), rulesets::sample());
    super::converge(&mut kernel, &Ruleset::default(), &sample);
    let filled = "add element ip closeby memory { 8000:2000 . 10.0.0.1 timeout 1h : 8000:2001 }
        add element ip6 closeby memory { 8000:2000 . 0x1 timeout 1h : 8000:2001 }";
    nft::load(filled).unwrap();
    let in_kernel =
        || [2, 10].map(|family| rawdump::elements(family, "closeby", "memory").unwrap().len());
    for (before, after) in [(&sample, &changed(&sample)), (&changed(&sample), &sample)] {
        assert_eq!(super::list(&mut kernel, &sample), *before);
        super::commit(&mut kernel, &delta::diff(before, after));
        assert_eq!(in_kernel(), [1, 1]);
    }
    let mut larger = sample.clone();
    for table in larger.tables.values_mut() {
        table.sets["memory"].spec.size *= 2;
    }
    super::converge(&mut kernel, &sample, &larger);
    assert_eq!(in_kernel(), [0, 0]);
    assert_eq!(super::list(&mut kernel, &sample), larger);
}

pub(crate) fn a_check_changes_nothing() {
    let (mut kernel, sample) = (Both::new(), rulesets::sample());
    let batch = Batch::of(&delta::diff(&Ruleset::default(), &sample));
    let before = kernel.generation().unwrap();
    kernel.check(&batch).unwrap();
    assert_eq!(super::list(&mut kernel, &sample), Ruleset::default());
    assert_eq!(kernel.generation().unwrap(), before);
    kernel.commit(&batch).unwrap();
    assert_eq!(super::list(&mut kernel, &sample), sample);
}

pub(crate) fn generations() {
    let mut kernel = super::netlink();
    let GenId(first) = kernel.generation().unwrap();
    let nothing = kernel.commit(&Batch::of(&Delta::default())).unwrap();
    assert_eq!(nothing.gen_id, GenId(first), "an empty transaction is none");

    let table = rulesets::table_id(closeby_nft::Family::Ip);
    let add = Op { table: table.clone(), verb: Verb::AddTable };
    let empty = Op {
        table: table.clone(),
        verb: Verb::AddElements { set: Name::from("vips"), elements: Vec::new() },
    };
    let set = rulesets::sample().tables[&table].sets["vips"].spec.clone();
    let set = Op { table, verb: Verb::AddSet { set: Name::from("vips"), spec: set } };
    let receipt = kernel.commit(&Batch::of_ops(&[add, set, empty])).unwrap();
    assert_eq!(receipt.gen_id, GenId(first + 1));
}
