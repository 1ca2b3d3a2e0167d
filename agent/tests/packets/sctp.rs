//! SCTP, where most kernels have no sockets for it: a first packet written by
//! hand, caught where the endpoint would get it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use closeby_tools::lab::{Family, Host, LabError};
use libtest_mimic::Failed;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto,
    socket,
};
use serde_json::json;

use super::Trials;
use super::rig::{
    BY_NODE_RANGE, PATIENCE, PORT, Rig, Saw, TARGET, at_node, at_vip, check, node_port, service,
};

pub(crate) const ALL: Trials = &[("sctp_goes_through", sctp_goes_through)];

/// SCTP's number.
const SCTP: u8 = 132;

/// From a pod to an endpoint elsewhere: by the ClusterIP its source is kept, by
/// the node port it is replaced. The checksum covers the ports and must be right.
fn sctp_goes_through(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let (client, server) = (rig.cluster.pod("a1"), rig.cluster.pod("b1"));
    let mut objects = service("signals", 1).objects(&[server]);
    objects[0]["spec"]["ports"] = json!([{ "name": "sctp", "protocol": "SCTP", "port": PORT,
        "targetPort": TARGET, "nodePort": node_port(1) }]);
    for slice in &mut objects[1..] {
        slice["ports"] = json!([{ "name": "sctp", "protocol": "SCTP", "port": TARGET }]);
    }
    site.folder.write("signals", &objects)?;
    site.start()?;
    for family in Family::BOTH {
        let [own, node] = [client, site.node].map(|host| host.address(family));
        let ways = [(at_vip(1, family), own, "n"), (at_node(site.node, 1, family), node, "m")];
        for (to, source, how) in ways {
            let net = catch(server)?;
            let from = SocketAddr::new(own, client.next_port());
            client.netns().run(|| send(from, to).map_err(refused("sending")))?;
            let caught = wait_for(&net)?;
            let seen = (caught.from.ip(), caught.to, caught.is_whole);
            let expected = (source, SocketAddr::new(server.address(family), TARGET), true);
            check(seen == expected, &format!("{to}, expected {expected:?}"), &seen)?;
            let explained = site.explained(client, to, "sctp")?;
            check(
                explained == Saw::expected(&["b1"], how),
                &format!("{to} explained"),
                &explained,
            )?;
        }
    }
    Ok(())
}

/// What arrived.
#[derive(Debug)]
struct Caught {
    from: SocketAddr,
    to: SocketAddr,
    /// Whether its checksum is right.
    is_whole: bool,
}

fn refused(doing: &'static str) -> impl Fn(Errno) -> LabError {
    move |errno| LabError::Plan(format!("{doing}: {errno}"))
}

/// A socket that hears everything that reaches a host from now on.
fn catch(host: &Host) -> Result<OwnedFd, Failed> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let open = || socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
    Ok(host.netns().run(|| open().map_err(refused("listening to packets")))?)
}

fn wait_for(net: &OwnedFd) -> Result<Caught, Failed> {
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 2048];
    while Instant::now() < deadline {
        match recv(net.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(len) => {
                if let Some(caught) = buffer.get(14..len).and_then(read) {
                    return Ok(caught);
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err("no SCTP packet arrived".into())
}

/// A packet, if it is an INIT.
fn read(packet: &[u8]) -> Option<Caught> {
    let (proto, from, to, rest) = match packet.first()? >> 4 {
        4 => {
            let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            (packet[9], IpAddr::from(from), IpAddr::from(to), packet.get(20..)?)
        }
        6 => {
            let from: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (packet[6], IpAddr::from(from), IpAddr::from(to), packet.get(40..)?)
        }
        _ => return None,
    };
    let init = rest.get(..INIT_LEN).filter(|_| proto == SCTP)?;
    let port = |at: usize| u16::from_be_bytes([init[at], init[at + 1]]);
    Some(Caught {
        from: SocketAddr::new(from, port(0)),
        to: SocketAddr::new(to, port(2)),
        is_whole: with_checksum(init.to_vec()) == init,
    })
}

/// Sends a first packet, its IP header included.
fn send(from: SocketAddr, to: SocketAddr) -> Result<(), Errno> {
    let init = init(from.port(), to.port());
    let len = u16::try_from(init.len()).unwrap_or(u16::MAX);
    let (family, mut packet) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = (len + 20).to_be_bytes();
            let head = [0x45, 0, high, low, 0, 0, 0, 0, 64, SCTP, 0, 0];
            (AddressFamily::Inet, [&head[..], &from.octets(), &to.octets()].concat())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = len.to_be_bytes();
            let head = [0x60, 0, 0, 0, high, low, SCTP, 64];
            (AddressFamily::Inet6, [&head[..], &from.octets(), &to.octets()].concat())
        }
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    packet.extend(init);
    let net = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
    let to = SockaddrStorage::from(SocketAddr::new(to.ip(), 0));
    sendto(net.as_raw_fd(), &packet, &to, MsgFlags::empty()).map(drop)
}

/// The common header and one chunk.
const INIT_LEN: usize = 32;

fn init(sport: u16, dport: u16) -> Vec<u8> {
    let mut bytes = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    bytes.extend([0; 8]);
    // INIT, 20 bytes: a tag, a window, one stream each way, a sequence number.
    bytes.extend([1, 0, 0, 20, 1, 2, 3, 4, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    with_checksum(bytes)
}

fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[8..12].fill(0);
    let sum = crc32c(&bytes).to_le_bytes();
    bytes[8..12].copy_from_slice(&sum);
    bytes
}

fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
    !bytes
        .iter()
        .fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| shift(sum)))
}
