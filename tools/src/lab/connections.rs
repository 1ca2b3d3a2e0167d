//! Connection tracking of a namespace, forgotten as a whole.

use closeby_nft::nfnl;
use closeby_nft::socket::Channel;
use nix::errno::Errno;

use super::error::LabError;
use super::netns::Netns;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`, which without a tuple means all.
const DELETE: u16 = 1 << 8 | 2;
/// Room for the one answer.
const RECEIVE_BUFFER: usize = 64 << 10;

impl Netns {
    /// Forgets all connections that are tracked here: the next packet of each is a new one.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn forget_connections(&self) -> Result<(), LabError> {
        self.run(|| {
            let failed = LabError::sys("forgetting tracked connections");
            let mut channel = Channel::open(RECEIVE_BUFFER)
                .map_err(|error| LabError::Plan(format!("forgetting connections: {error}")))?;
            flush(&mut channel).map_err(failed)
        })
    }
}

fn flush(channel: &mut Channel) -> Result<(), Errno> {
    let mut request = Vec::new();
    let flags = nfnl::REQUEST | nfnl::ACK;
    let head = nfnl::Head { kind: DELETE, flags, seq: 1, family: 0, res_id: 0 };
    let message = nfnl::begin_message(&mut request, head);
    nfnl::end_message(&mut request, &message);
    channel.send(&request)?;
    let answer = channel.receive()?.ok_or(Errno::ENODATA)?;
    for message in nfnl::messages(answer) {
        let verdict = message.and_then(|message| nfnl::verdict(&message));
        match verdict.map_err(|_| Errno::EBADMSG)?.errno {
            0 => {}
            errno => return Err(Errno::from_raw(errno)),
        }
    }
    Ok(())
}
