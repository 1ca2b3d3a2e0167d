//! The tests of the kernel suite, by what they are about, and what they share.
//!
//! Each runs in a network of its own and panics to fail.

pub(crate) mod addresses;
pub(crate) mod both;
pub(crate) mod convergence;
pub(crate) mod counters;
pub(crate) mod foreign;
pub(crate) mod limits;
pub(crate) mod refusals;
pub(crate) mod same_as_nft;

use closeby_nft::socket::Netlink;
use closeby_nft::{Batch, Delta, Kernel, Ruleset, TableId, delta};

/// A test by name.
pub(crate) type Case = (&'static str, fn());

/// All of them.
pub(crate) const ALL: &[Case] = &[
    ("same_as_nft::committed_is_what_nft_loads", same_as_nft::committed_is_what_nft_loads),
    ("same_as_nft::our_tables_are_what_nft_loads", same_as_nft::our_tables_are_what_nft_loads),
    (
        "same_as_nft::our_tables_with_affinity_are_what_nft_loads",
        same_as_nft::our_tables_with_affinity_are_what_nft_loads,
    ),
    (
        "same_as_nft::a_listing_of_our_tables_with_affinity_loads_again",
        same_as_nft::a_listing_of_our_tables_with_affinity_loads_again,
    ),
    ("same_as_nft::a_listing_loads_again", same_as_nft::a_listing_loads_again),
    (
        "same_as_nft::a_listing_of_our_tables_loads_again",
        same_as_nft::a_listing_of_our_tables_loads_again,
    ),
    (
        "same_as_nft::our_tables_with_counters_are_what_nft_loads",
        same_as_nft::our_tables_with_counters_are_what_nft_loads,
    ),
    (
        "same_as_nft::a_listing_of_our_tables_with_counters_loads_again",
        same_as_nft::a_listing_of_our_tables_with_counters_loads_again,
    ),
    ("counters::counts_are_no_difference", counters::counts_are_no_difference),
    ("counters::counts_are_read_of_all_and_by_key", counters::counts_are_read_of_all_and_by_key),
    ("counters::many_are_read_by_key", counters::many_are_read_by_key),
    ("counters::what_is_written_anew_counts_from_0", counters::what_is_written_anew_counts_from_0),
    (
        "same_as_nft::tables_of_scenarios_are_what_nft_loads",
        same_as_nft::tables_of_scenarios_are_what_nft_loads,
    ),
    (
        "same_as_nft::a_listing_of_scenarios_loads_again",
        same_as_nft::a_listing_of_scenarios_loads_again,
    ),
    ("convergence::listed_is_what_was_committed", convergence::listed_is_what_was_committed),
    ("convergence::one_sample_becomes_another", convergence::one_sample_becomes_another),
    ("convergence::what_packets_fill_is_left_alone", convergence::what_packets_fill_is_left_alone),
    ("convergence::a_check_changes_nothing", convergence::a_check_changes_nothing),
    ("convergence::generations", convergence::generations),
    ("foreign::is_listed_and_replaced", foreign::is_listed_and_replaced),
    ("foreign::chains_of_any_table_are_named", foreign::chains_of_any_table_are_named),
    (
        "foreign::a_table_that_was_not_read_goes_whole",
        foreign::a_table_that_was_not_read_goes_whole,
    ),
    ("foreign::what_others_wrote_runs_as_it_does", foreign::what_others_wrote_runs_as_it_does),
    ("limits::many_elements", limits::many_elements),
    ("limits::too_large_in_a_user_namespace", limits::too_large_in_a_user_namespace),
    ("limits::answers_that_overflow", limits::answers_that_overflow),
    ("refusals::existing_with_other_data", refusals::existing_with_other_data),
    ("refusals::absent", refusals::absent),
    ("refusals::in_use", refusals::in_use),
    ("refusals::full", refusals::full),
    ("refusals::loop_of_chains", refusals::loop_of_chains),
    ("refusals::several_at_once", refusals::several_at_once),
    ("addresses::are_followed", addresses::are_followed),
    (
        "addresses::are_read_again_when_announcements_were_lost",
        addresses::are_read_again_when_announcements_were_lost,
    ),
];

/// A socket in this test's network.
pub(crate) fn netlink() -> Netlink {
    Netlink::open().expect("a netlink socket")
}

/// Commits what turns `before` into `after`, and says what is refused.
pub(crate) fn converge(kernel: &mut impl Kernel, before: &Ruleset, after: &Ruleset) {
    let delta = delta::diff(before, after);
    commit(kernel, &delta);
}

/// Commits a delta.
pub(crate) fn commit(kernel: &mut impl Kernel, delta: &Delta) {
    if let Err(error) = kernel.commit(&Batch::of(delta)) {
        panic!("{}", error.explain(delta));
    }
}

/// What the kernel holds of the tables of `like`.
pub(crate) fn list(kernel: &mut impl Kernel, like: &Ruleset) -> Ruleset {
    let ids: Vec<TableId> = like.tables.keys().cloned().collect();
    kernel.list(&ids).expect("a listing").ruleset
}
