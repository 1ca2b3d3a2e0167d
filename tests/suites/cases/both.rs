//! The real kernel and the fake one, asked the same: whatever one answers, the
//! other must answer, too.

use closeby_nft::fake::Fake;
use closeby_nft::kernel::{ListError, Listing, Refusal};
use closeby_nft::socket::Netlink;
use closeby_nft::{Batch, CommitError, GenId, Kernel, Receipt, Sealed, TableId};
use nix::errno::Errno;

/// Both of them; its answers are those of the real one.
pub(crate) struct Both {
    real: Netlink,
    fake: Fake,
}

/// What is refused, without the kernel's own words.
type Refused = Vec<(Option<usize>, Option<usize>, Errno)>;

impl Both {
    /// Two empty kernels.
    pub(crate) fn new() -> Self {
        Self { real: super::netlink(), fake: Fake::new() }
    }
}

fn refused<T>(outcome: &Result<T, CommitError>) -> Option<Refused> {
    let short = |refusal: &Refusal| (refusal.op, refusal.element, refusal.errno);
    match outcome {
        Ok(_) => None,
        Err(CommitError::Refused(refusals)) => Some(refusals.iter().map(short).collect()),
        Err(other) => panic!("neither done nor refused: {other}"),
    }
}

impl Kernel for Both {
    fn generation(&mut self) -> Result<GenId, ListError> {
        self.real.generation()
    }

    fn list(&mut self, tables: &[TableId]) -> Result<Listing, ListError> {
        let real = self.real.list(tables)?;
        assert_eq!(self.fake.list(tables)?.ruleset, real.ruleset, "the fake holds something else");
        Ok(real)
    }

    fn has_table(&mut self, table: &TableId) -> Result<bool, ListError> {
        let real = self.real.has_table(table)?;
        assert_eq!(self.fake.has_table(table)?, real, "the fake holds something else");
        Ok(real)
    }

    fn commit(&mut self, batch: &Batch<Sealed>) -> Result<Receipt, CommitError> {
        let real = self.real.commit(batch);
        assert_eq!(refused(&self.fake.commit(batch)), refused(&real), "the fake judges otherwise");
        real
    }

    fn check(&mut self, batch: &Batch<Sealed>) -> Result<(), CommitError> {
        let real = self.real.check(batch);
        assert_eq!(refused(&self.fake.check(batch)), refused(&real), "the fake judges otherwise");
        real
    }

    fn send_limit(&self) -> usize {
        self.real.send_limit()
    }
}
