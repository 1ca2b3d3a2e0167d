//! What the kernel holds of nf_tables, as it says it: attributes in bytes, not
//! our reading of them.
//!
//! Knows framing and where handles stand; nothing of what an attribute means.
//! Invariant: two namespaces whose dumps are equal execute the same.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;

use closeby_nft::nfnl::{self, Attr, Message};
use closeby_nft::wire::consts::{SUBSYS, elem, msg, rule, set};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// `NFTA_RULE_HANDLE`, `NFTA_RULE_POSITION`: numbers the kernel gives.
const RULE_NUMBERS: [u16; 2] = [3, 6];
/// `NFTA_SET_HANDLE`, and the type of the key, which says nothing to the kernel:
/// we give a slot another than nft does, for the sake of its older versions.
const SET_NUMBERS: [u16; 2] = [16, set::KEY_TYPE];

/// An object's family and names, and its attributes without these numbers.
pub type Dump = BTreeMap<(u8, String), Vec<Vec<(u16, Vec<u8>)>>>;

/// The rules of each chain, in order.
///
/// # Errors
/// The socket's.
pub fn rules() -> Result<Dump, Errno> {
    dump(msg::GETRULE, 0, &[], &[rule::TABLE, rule::CHAIN], &RULE_NUMBERS)
}

/// The declaration of each set.
///
/// # Errors
/// The socket's.
pub fn sets() -> Result<Dump, Errno> {
    dump(msg::GETSET, 0, &[], &[set::TABLE, set::NAME], &SET_NUMBERS)
}

/// The elements of one set, sorted: the kernel keeps them in no order.
///
/// # Errors
/// The socket's.
pub fn elements(family: u8, table: &str, set: &str) -> Result<Vec<Vec<u8>>, Errno> {
    let names = [(elem::LIST_TABLE, table), (elem::LIST_SET, set)];
    let answers = ask(msg::GETSETELEM, family, &names)?;
    let mut items = Vec::new();
    for message in nfnl::messages(&answers).flatten() {
        let lists = message.attrs().flatten().filter(|attr| attr.kind == elem::LIST_ELEMENTS);
        items.extend(lists.flat_map(|list| list.attrs().flatten()).map(|item| item.payload.into()));
    }
    items.sort();
    Ok(items)
}

fn dump(
    kind: u8,
    family: u8,
    names: &[(u16, &str)],
    identity: &[u16],
    numbers: &[u16],
) -> Result<Dump, Errno> {
    let answers = ask(kind, family, names)?;
    let mut dump = Dump::new();
    for message in nfnl::messages(&answers).flatten().filter(is_data) {
        let attrs: Vec<Attr<'_>> = message.attrs().flatten().collect();
        let names: Vec<&str> = identity
            .iter()
            .filter_map(|kind| attrs.iter().find(|attr| attr.kind == *kind)?.text().ok())
            .collect();
        let content = attrs
            .iter()
            .filter(|attr| !numbers.contains(&attr.kind))
            .map(|attr| (attr.kind, attr.payload.to_vec()))
            .collect();
        dump.entry((message.family(), names.join(" "))).or_default().push(content);
    }
    Ok(dump)
}

fn is_data(message: &Message<'_>) -> bool {
    message.subsystem() == SUBSYS
}

fn ask(kind: u8, family: u8, names: &[(u16, &str)]) -> Result<Vec<u8>, Errno> {
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    let mut request = Vec::new();
    let head = nfnl::Head {
        kind: u16::from_be_bytes([SUBSYS, kind]),
        flags: nfnl::REQUEST | nfnl::DUMP,
        seq: 1,
        family,
        res_id: 0,
    };
    let message = nfnl::begin_message(&mut request, head);
    for (attr, name) in names {
        nfnl::put_str(&mut request, *attr, name);
    }
    nfnl::end_message(&mut request, &message);
    sendto(fd.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;

    let (mut answers, mut buffer) = (Vec::new(), vec![0; 128 * 1024]);
    loop {
        let len = recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        answers.extend_from_slice(&buffer[..len]);
        let ends = |kind| matches!(kind, nfnl::MSG_DONE | nfnl::MSG_ERROR);
        if nfnl::messages(&buffer[..len]).flatten().any(|message| ends(message.kind)) {
            return Ok(answers);
        }
    }
}
