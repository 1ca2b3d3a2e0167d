//! What suites of properties share.

use proptest::prelude::*;

use crate::made::Made;

/// How many cases a property tries, unless `PROPTEST_CASES` says.
#[must_use]
pub fn cases(count: u32) -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(count),
    }
}

/// Whether both decide and render the same.
///
/// # Errors
/// With what differs.
pub fn same(one: &Made, other: &Made) -> Result<(), TestCaseError> {
    one.difference(other).map_or(Ok(()), |difference| Err(TestCaseError::fail(difference)))
}
