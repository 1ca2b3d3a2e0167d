//! What the elements of counted sets have counted: all of a set, or of some keys.
//!
//! The kernel needs no lock for either, so neither holds up a commit, nor is held up by one.

use nix::errno::Errno;

use super::Netlink;
use super::listing::{Failure, Torn};
use crate::kernel::ListError;
use crate::name::Name;
use crate::nfnl::{self, Message};
use crate::ruleset::{Data, Key, TableId};
use crate::wire::consts::{elem, msg};
use crate::wire::decode;
use crate::wire::encode::{begin_request, get_elements};

/// How many elements are asked for by their keys at once: a receive buffer that may not
/// grow, as in a user namespace, has room for the answers.
const KEYS_MAX: usize = 128;

/// Takes the key of an element, what it carries and how many packets found it.
pub type EachCount<'a> = &'a mut dyn FnMut(Key, Data, u64);

impl Netlink {
    /// Of all elements of a set; of none if it does not exist. While others
    /// commit, one may be told twice, or be missing.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn counts(
        &mut self,
        table: &TableId,
        set: &Name,
        each: EachCount<'_>,
    ) -> Result<(), ListError> {
        let (seq, mut request) = (self.next_seq(), Vec::new());
        let flags = nfnl::DUMP;
        let message = begin_request(&mut request, msg::GETSETELEM, flags, seq, Some(table.family));
        nfnl::put_str(&mut request, elem::LIST_TABLE, table.name.as_str());
        nfnl::put_str(&mut request, elem::LIST_SET, set.as_str());
        nfnl::end_message(&mut request, &message);
        self.count(&request, seq, each)
    }

    /// Of the elements with these keys. The kernel stops at one that is not
    /// there: of those behind it in its request nothing is told.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn counts_of(
        &mut self,
        table: &TableId,
        set: &Name,
        keys: &[Key],
        each: EachCount<'_>,
    ) -> Result<(), ListError> {
        for keys in keys.chunks(KEYS_MAX) {
            let (seq, mut request) = (self.next_seq(), Vec::new());
            get_elements(&mut request, seq, table, set, keys);
            self.count(&request, seq, each)?;
        }
        Ok(())
    }

    fn count(&mut self, request: &[u8], seq: u32, each: EachCount<'_>) -> Result<(), ListError> {
        let mut told = |message: &Message<'_>| {
            decode::counts(message)?.into_iter().for_each(|(key, data, count)| {
                each(key, data, count);
            });
            Ok(())
        };
        match self.converse(request, seq, Torn::Passes, &mut told) {
            Ok(()) | Err(Failure::Errno(Errno::ENOENT)) => Ok(()),
            Err(other) => Err(other.into_list_error()),
        }
    }
}
