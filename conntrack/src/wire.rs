//! ctnetlink messages: requests written, entries read.
//!
//! PURE. Attribute numbers are those of `nfnetlink_conntrack.h`. Invariant: no
//! bytes make the reader panic, and what is no entry is an error; attributes
//! that it does not know are passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use closeby_nft::nfnl::{self, Attr, Head, Malformed, Message};
use closeby_nft::{Family, L4Proto};

use crate::expected::Selection;
use crate::flow::{Flow, Tuple};
use crate::judge::Stale;

/// `NFNL_SUBSYS_CTNETLINK`.
const SUBSYSTEM: u16 = 1;
/// `IPCTNL_MSG_CT_NEW`: an entry, in an answer.
const NEW: u16 = SUBSYSTEM << 8;
/// `IPCTNL_MSG_CT_GET`.
const GET: u16 = SUBSYSTEM << 8 | 1;
/// `IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = SUBSYSTEM << 8 | 2;

/// `CTA_*`: parts of an entry.
mod cta {
    pub(super) const TUPLE_ORIG: u16 = 1;
    pub(super) const TUPLE_REPLY: u16 = 2;
    pub(super) const ID: u16 = 12;
    pub(super) const ZONE: u16 = 18;
    pub(super) const FILTER: u16 = 25;
}

/// `CTA_TUPLE_*`, `CTA_IP_*` and `CTA_PROTO_*`: parts of a tuple.
mod tuple {
    pub(super) const IP: u16 = 1;
    pub(super) const PROTO: u16 = 2;
    pub(super) const ZONE: u16 = 3;
    pub(super) const IP_V4_SRC: u16 = 1;
    pub(super) const IP_V4_DST: u16 = 2;
    pub(super) const IP_V6_SRC: u16 = 3;
    pub(super) const IP_V6_DST: u16 = 4;
    pub(super) const PROTO_NUM: u16 = 1;
    pub(super) const PROTO_SPORT: u16 = 2;
    pub(super) const PROTO_DPORT: u16 = 3;
}

/// `CTA_FILTER_*`: which parts of the given tuple an entry must share (kernel
/// 5.8). An older kernel lists more, which is judged and stays.
mod filter {
    pub(super) const ORIG_FLAGS: u16 = 1;
    pub(super) const REPLY_FLAGS: u16 = 2;
    pub(super) const IP_DST: u32 = 1 << 1;
    pub(super) const PROTO_NUM: u32 = 1 << 3;
    pub(super) const PROTO_DPORT: u32 = 1 << 5;
}

/// Writes the request to list these entries.
pub fn put_list(out: &mut Vec<u8>, seq: u32, selection: &Selection) {
    let flags = nfnl::REQUEST | nfnl::DUMP;
    let message = nfnl::begin_message(out, head(GET, flags, seq, selection.family));
    let mut shared = filter::PROTO_NUM;
    let nest = nfnl::begin_nest(out, cta::TUPLE_ORIG);
    // Of IPv6 addresses, kernels list all but the one that is asked for
    // (`ctnetlink_filter_match_tuple`, seen in 6.18).
    if let Some(IpAddr::V4(addr)) = selection.addr {
        shared |= filter::IP_DST;
        let ip = nfnl::begin_nest(out, tuple::IP);
        nfnl::put_bytes(out, tuple::IP_V4_DST, &addr.octets());
        nfnl::end_nest(out, &ip);
    }
    let proto = nfnl::begin_nest(out, tuple::PROTO);
    nfnl::put_bytes(out, tuple::PROTO_NUM, &[L4Proto::Udp.number()]);
    if let Some(port) = selection.port {
        shared |= filter::PROTO_DPORT;
        nfnl::put_bytes(out, tuple::PROTO_DPORT, &port.get().to_be_bytes());
    }
    nfnl::end_nest(out, &proto);
    nfnl::end_nest(out, &nest);
    let nest = nfnl::begin_nest(out, cta::FILTER);
    // Unlike everything of netfilter's own, in host order.
    nfnl::put_bytes(out, filter::ORIG_FLAGS, &shared.to_ne_bytes());
    nfnl::put_bytes(out, filter::REPLY_FLAGS, &0_u32.to_ne_bytes());
    nfnl::end_nest(out, &nest);
    nfnl::end_message(out, &message);
}

/// Writes the request to delete this entry and no other.
///
/// It always names its tuple in full, and UDP: a request without a tuple would
/// flush the table, and no entry of another protocol can be meant.
pub fn put_delete(out: &mut Vec<u8>, seq: u32, stale: &Stale) {
    let flow = stale.flow();
    let flags = nfnl::REQUEST | nfnl::ACK;
    let message = nfnl::begin_message(out, head(DELETE, flags, seq, stale.family()));
    let nest = nfnl::begin_nest(out, cta::TUPLE_ORIG);
    let Tuple { src, dst, sport, dport } = flow.original;
    let ip = nfnl::begin_nest(out, tuple::IP);
    put_addr(out, tuple::IP_V4_SRC, tuple::IP_V6_SRC, src);
    put_addr(out, tuple::IP_V4_DST, tuple::IP_V6_DST, dst);
    nfnl::end_nest(out, &ip);
    let proto = nfnl::begin_nest(out, tuple::PROTO);
    nfnl::put_bytes(out, tuple::PROTO_NUM, &[L4Proto::Udp.number()]);
    nfnl::put_bytes(out, tuple::PROTO_SPORT, &sport.to_be_bytes());
    nfnl::put_bytes(out, tuple::PROTO_DPORT, &dport.to_be_bytes());
    nfnl::end_nest(out, &proto);
    if let Some(zone) = flow.original_zone {
        nfnl::put_bytes(out, tuple::ZONE, &zone.to_be_bytes());
    }
    nfnl::end_nest(out, &nest);
    if let Some(zone) = flow.zone {
        nfnl::put_bytes(out, cta::ZONE, &zone.to_be_bytes());
    }
    if let Some(id) = flow.id {
        nfnl::put_u32(out, cta::ID, id);
    }
    nfnl::end_message(out, &message);
}

fn head(kind: u16, flags: u16, seq: u32, family: Family) -> Head {
    /// `AF_INET`, `AF_INET6`.
    const NUMBERS: [u8; 2] = [2, 10];
    let [v4, v6] = NUMBERS;
    let family = match family {
        Family::Ip => v4,
        Family::Ip6 => v6,
    };
    Head { kind, flags, seq, family, res_id: 0 }
}

fn put_addr(out: &mut Vec<u8>, v4_kind: u16, v6_kind: u16, addr: IpAddr) {
    match addr {
        IpAddr::V4(v4) => nfnl::put_bytes(out, v4_kind, &v4.octets()),
        IpAddr::V6(v6) => nfnl::put_bytes(out, v6_kind, &v6.octets()),
    }
}

/// The entry in a message; `None` if it holds something else.
///
/// # Errors
/// When it is cut off, or an entry without both tuples.
pub fn flow(message: &Message<'_>) -> Result<Option<Flow>, Malformed> {
    if message.kind != NEW {
        return Ok(None);
    }
    let (mut original, mut reply) = (None, None);
    let (mut id, mut zone) = (None, None);
    for attr in message.attrs() {
        let attr = attr?;
        match attr.kind {
            cta::TUPLE_ORIG => original = Some(read_tuple(&attr)?),
            cta::TUPLE_REPLY => reply = Some(read_tuple(&attr)?),
            cta::ID => id = Some(attr.u32()?),
            cta::ZONE => zone = Some(attr.u16()?),
            _ => {}
        }
    }
    let (proto, original, original_zone) = original.ok_or(Malformed("an entry has no tuple"))?;
    let (reply_proto, reply, _) = reply.ok_or(Malformed("an entry has no tuple of answers"))?;
    let families = [original.src, original.dst, reply.src, reply.dst].map(Family::of);
    if reply_proto != proto || families.iter().any(|family| *family != families[0]) {
        return Err(Malformed("the tuples of an entry do not belong together"));
    }
    Ok(Some(Flow { proto, original, reply, id, zone, original_zone }))
}

/// A tuple with its protocol and its zone.
fn read_tuple(nest: &Attr<'_>) -> Result<(u8, Tuple, Option<u16>), Malformed> {
    let (mut src, mut dst, mut proto, mut zone) = (None, None, None, None);
    let (mut sport, mut dport) = (0, 0);
    for attr in nest.attrs() {
        let attr = attr?;
        match attr.kind {
            tuple::IP => {
                for part in attr.attrs() {
                    let part = part?;
                    match part.kind {
                        tuple::IP_V4_SRC | tuple::IP_V6_SRC => src = Some(read_addr(&part)?),
                        tuple::IP_V4_DST | tuple::IP_V6_DST => dst = Some(read_addr(&part)?),
                        _ => {}
                    }
                }
            }
            tuple::PROTO => {
                for part in attr.attrs() {
                    let part = part?;
                    match part.kind {
                        tuple::PROTO_NUM => proto = Some(part.u8()?),
                        tuple::PROTO_SPORT => sport = part.u16()?,
                        tuple::PROTO_DPORT => dport = part.u16()?,
                        _ => {}
                    }
                }
            }
            tuple::ZONE => zone = Some(attr.u16()?),
            _ => {}
        }
    }
    let src = src.ok_or(Malformed("a tuple has no source"))?;
    let dst = dst.ok_or(Malformed("a tuple has no destination"))?;
    let proto = proto.ok_or(Malformed("a tuple has no protocol"))?;
    Ok((proto, Tuple { src, dst, sport, dport }, zone))
}

fn read_addr(attr: &Attr<'_>) -> Result<IpAddr, Malformed> {
    let is_v4 = matches!(attr.kind, tuple::IP_V4_SRC | tuple::IP_V4_DST);
    let v4 = || <[u8; 4]>::try_from(attr.payload).ok().map(|octets| Ipv4Addr::from(octets).into());
    let v6 = || <[u8; 16]>::try_from(attr.payload).ok().map(|octets| Ipv6Addr::from(octets).into());
    if is_v4 { v4() } else { v6() }.ok_or(Malformed("an address has an impossible length"))
}

#[cfg(test)]
mod tests;
