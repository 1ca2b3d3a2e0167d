//! What holds for every legal ruleset and every two of them.

use closeby_nft::apply::apply;
use closeby_nft::delta::diff;
use closeby_nft::judge::judge;
use closeby_nft::kernel::{Kernel as _, Listing};
use closeby_nft::trace::{Event, Host, Origin, Packet, Tracer};
use closeby_nft::{Batch, Family, L4Proto, Name, fake, lower, text};
use closeby_tests::{generate, namespace, rulesets};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

/// A packet to one of the generated rulesets' addresses.
fn packet() -> impl Strategy<Value = (Packet, Origin)> {
    let any_proto = prop_oneof![
        proptest::sample::select(&L4Proto::ALL[..]).prop_map(L4Proto::number),
        Just(1u8),
    ];
    let iif = proptest::option::of(Just(Name::from("eth0")));
    (any::<bool>(), 0..5u8, 0..5u8, any_proto, 0..4u16, any::<(u32, u32, bool)>(), iif).prop_map(
        |(six, saddr, daddr, proto, dport, (mark, priority, incoming), iif)| {
            let family = if six { Family::Ip6 } else { Family::Ip };
            let (saddr, daddr) = (rulesets::addr(family, saddr), rulesets::addr(family, daddr));
            let origin = if incoming { Origin::Incoming } else { Origin::Host };
            (Packet { saddr, daddr, proto, sport: 40000, dport, mark, priority, iif }, origin)
        },
    )
}

proptest! {
    #[test]
    fn the_judge_finds_nothing(ruleset in generate::ruleset()) {
        prop_assert_eq!(judge(&ruleset), vec![]);
    }

    #[test]
    fn a_difference_applied_is_the_other((before, after) in generate::pair()) {
        let delta = diff(&before, &after);
        let mut applied = before;
        prop_assert_eq!(apply(&mut applied, &delta.ops), Ok(()), "{:#?}", delta);
        prop_assert_eq!(applied, after);
    }

    #[test]
    fn nothing_differs_from_itself(ruleset in generate::ruleset()) {
        prop_assert!(diff(&ruleset, &ruleset.clone()).is_empty());
    }

    #[test]
    fn lowering_is_undone_by_raising(ruleset in generate::ruleset()) {
        for (id, table) in &ruleset.tables {
            for rule in table.chains.values().flat_map(|chain| &chain.rules) {
                let raised = lower::raise(&lower::lower(rule, id.family), id.family);
                prop_assert_eq!(raised.as_ref(), Some(rule));
            }
        }
    }

    /// Through bytes and back.
    #[test]
    fn the_fake_kernel_comes_to_hold_the_other((before, after) in generate::pair()) {
        let mut kernel = fake::Fake::new();
        kernel.foreign(|ruleset| *ruleset = before.clone());
        let delta = diff(&before, &after);
        let batch = Batch::of(&delta);
        if let Err(error) = kernel.check(&batch) {
            return Err(TestCaseError::fail(format!("{error:?}: {}", error.explain(&delta))));
        }
        prop_assert_eq!(kernel.ruleset(), &before);
        let receipt = kernel.commit(&batch);
        prop_assert!(receipt.is_ok(), "{:?}", receipt);
        let tables: Vec<_> = after.tables.keys().chain(before.tables.keys()).cloned().collect();
        let gen_id = kernel.generation().unwrap();
        prop_assert_eq!(kernel.list(&tables), Ok(Listing { ruleset: after, gen_id }));
    }

    #[test]
    fn a_trace_ends_and_meets_nothing_impossible(
        ruleset in generate::ruleset(),
        (packet, origin) in packet(),
        draws in any::<u32>(),
    ) {
        let host = Host { addresses: [rulesets::addr(Family::Ip, 2)].into() };
        let outcome = Tracer::new(&ruleset).run(packet, origin, &host, &mut |_| draws);
        let impossible = |event: &Event| matches!(event, Event::Impossible(_));
        prop_assert!(!outcome.path.iter().any(|step| impossible(&step.event)), "{}", outcome);
    }

    /// Elements that do not fit their declarations, as a listing may bring them.
    #[test]
    fn text_is_total(key in prop::collection::vec(any::<u8>(), 0..40), six in any::<bool>()) {
        let family = if six { Family::Ip6 } else { Family::Ip };
        let sample = rulesets::sample();
        for set in sample.tables[&rulesets::table_id(family)].sets.values() {
            let key = closeby_nft::Key(key.iter().copied().collect());
            for data in [closeby_nft::Data::None, rulesets::number(1)] {
                let text = text::element(&key, &data, &set.spec, family);
                prop_assert!(!text.contains('\n'));
            }
        }
    }
}

/// The real kernel takes what the judge passes, nft lists it, and the listing
/// loads again to the same. Few cases, because each starts programs.
#[test]
fn nft_loads_lists_and_loads_again_what_is_legal() {
    let config = ProptestConfig { cases: 32, max_shrink_iters: 100, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&generate::ruleset(), |ruleset| {
        let ours = text::ruleset(&ruleset);
        let failed = |error: String| TestCaseError::fail(format!("{error}\n{ours}"));
        let listing = namespace::load_and_list(&ours).map_err(failed)?;
        let again = namespace::load_and_list(&listing).map_err(failed)?;
        prop_assert_eq!(&listing, &again);
        let bytecode = [&ours, &listing].map(|text| namespace::bytecode(text).map_err(failed));
        let [first, second] = bytecode;
        prop_assert_eq!(first?, second?, "{}", listing);
        Ok(())
    });
    assert!(result.is_ok(), "{}", result.unwrap_err());
}
