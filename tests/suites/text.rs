//! Our text against the real nft and the real kernel: it loads, nft lists it
//! again, and the listing loads again to the same.

use std::collections::BTreeSet;

use closeby_nft::text;
use closeby_tests::{namespace, rulesets};

#[test]
fn text_loads_and_its_listing_loads_again_to_the_same() {
    let ours = text::ruleset(&rulesets::sample());
    namespace::check(&ours).unwrap();
    let listing = namespace::load_and_list(&ours).unwrap();
    let again = namespace::load_and_list(&listing).unwrap();
    assert_eq!(listing, again);
    let bytecode = |text| namespace::bytecode(text).unwrap();
    assert!(!bytecode(&ours).is_empty());
    assert_eq!(bytecode(&ours), bytecode(&listing));
}

/// Rules, declarations and base chains read exactly as nft writes them;
/// elements only wrap differently.
#[test]
fn text_reads_as_nft_lists_it() {
    let ours = text::ruleset(&rulesets::sample());
    let listing = namespace::load_and_list(&ours).unwrap();
    let listed: BTreeSet<&str> = listing.lines().map(str::trim).collect();
    let is_element = |line: &&str| line.ends_with(',') || *line == "elements = {";
    let foreign: Vec<&str> = ours
        .lines()
        .map(str::trim)
        .filter(|line| !is_element(line) && !listed.contains(line))
        .collect();
    assert_eq!(foreign, Vec::<&str>::new(), "nft lists:\n{listing}");
    for element in ours.lines().map(str::trim).filter_map(|line| line.strip_suffix(',')) {
        assert!(listing.contains(element), "{element} is not in nft's listing:\n{listing}");
    }
}
