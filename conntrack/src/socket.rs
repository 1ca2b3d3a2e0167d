//! The kernel's table of connections over netlink: the only I/O of this crate.
//!
//! Two sockets: what is deleted in the middle of a listing is answered on
//! another one.

use closeby_nft::nfnl::{self, Message};
use closeby_nft::socket::Channel;
use nix::errno::Errno;

use crate::expected::Selection;
use crate::flow::Flow;
use crate::judge::Stale;
use crate::table::{Deleted, Part, Table, TableError};
use crate::wire;

/// Room for the answers to one datagram of deletions, of less than 1 KiB each.
const RECEIVE_BUFFER: usize = 256 * 1024;

const LISTED: &str = "listed";
const DELETED: &str = "deleted from";

/// The table of the network namespace it was opened in.
#[derive(Debug)]
pub struct Conntrack {
    listing: Channel,
    deleting: Channel,
    /// The number of the newest request.
    seq: u32,
    /// The number of the listing under way.
    listed_as: u32,
    is_interrupted: bool,
}

impl Conntrack {
    /// Opens sockets in the calling thread's network namespace. Whether the
    /// kernel answers is not known before it is asked.
    ///
    /// # Errors
    /// When there is no such socket to be had.
    pub fn open() -> Result<Self, TableError> {
        let open =
            || Channel::open(RECEIVE_BUFFER).map_err(|error| TableError::Open(error.to_string()));
        let (listing, deleting) = (open()?, open()?);
        Ok(Self { listing, deleting, seq: 0, listed_as: 0, is_interrupted: false })
    }

    fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        self.seq
    }
}

impl Table for Conntrack {
    fn list(&mut self, selection: &Selection) -> Result<(), TableError> {
        // One that was given up is still under way in the kernel.
        self.listing.drain();
        self.listed_as = self.next_seq();
        self.is_interrupted = false;
        let mut request = Vec::new();
        wire::put_list(&mut request, self.listed_as, selection);
        self.listing.send(&request).map_err(|errno| TableError::of(errno, LISTED))
    }

    fn next(&mut self, flows: &mut Vec<Flow>) -> Result<Part, TableError> {
        let answer = self.listing.receive().map_err(|errno| TableError::of(errno, LISTED))?;
        let answer = answer.ok_or(TableError::Unfinished(LISTED))?;
        let mut part = Part { unreadable: 0, more: true, is_interrupted: false };
        for message in nfnl::messages(answer) {
            let Ok(message) = message else {
                part.unreadable += 1;
                continue;
            };
            if message.seq != self.listed_as {
                continue;
            }
            self.is_interrupted |= message.flags & nfnl::DUMP_INTR != 0;
            match message.kind {
                nfnl::MSG_DONE | nfnl::MSG_ERROR => {
                    if let Some(errno) = failure(&message) {
                        return Err(TableError::of(errno, LISTED));
                    }
                    part.more = false;
                }
                _ => match wire::flow(&message) {
                    Ok(flow) => flows.extend(flow),
                    Err(_) => part.unreadable += 1,
                },
            }
        }
        part.is_interrupted = self.is_interrupted && !part.more;
        Ok(part)
    }

    fn delete(&mut self, stale: &[Stale]) -> Result<Deleted, TableError> {
        self.deleting.drain();
        let mut request = Vec::new();
        let first = self.seq.wrapping_add(1);
        for stale in stale {
            let seq = self.next_seq();
            wire::put_delete(&mut request, seq, stale);
        }
        let failed = |errno| TableError::of(errno, DELETED);
        self.deleting.send(&request).map_err(failed)?;
        let (mut deleted, mut answered) = (Deleted::default(), 0);
        while answered < stale.len() {
            let answer = self.deleting.receive().map_err(failed)?;
            let answer = answer.ok_or(TableError::Unfinished(DELETED))?;
            for message in nfnl::messages(answer).flatten() {
                let Ok(verdict) = nfnl::verdict(&message) else { continue };
                if message.kind != nfnl::MSG_ERROR
                    || verdict.seq.wrapping_sub(first) as usize >= stale.len()
                {
                    continue;
                }
                answered += 1;
                match Errno::from_raw(verdict.errno) {
                    _ if verdict.errno == 0 => deleted.done += 1,
                    Errno::ENOENT => deleted.gone += 1,
                    Errno::EBUSY => deleted.kept += 1,
                    errno => return Err(failed(errno)),
                }
            }
        }
        Ok(deleted)
    }
}

/// The errno in the last message of a listing, if it failed. The end of one
/// that was begun well may carry an error, too.
fn failure(message: &Message<'_>) -> Option<Errno> {
    let bytes = message.body.first_chunk::<4>()?;
    let errno = i32::from_ne_bytes(*bytes).saturating_neg();
    (errno > 0).then(|| Errno::from_raw(errno))
}
