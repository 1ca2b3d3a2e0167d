//! Entries as kernel 6.18 lists them, in hexadecimal, against what is read; and
//! requests that are read back.

use closeby_nft::Port;
use proptest::prelude::*;

use super::*;
use crate::expected::{Expected, Frontend, Owners};

/// UDP, rewritten.
const V4: &str = "c00000000001020001000000e3620000020000003400018014000180080001000af40009080002000a60000a\
     1c0002800500010011000000060002000fa0000006000300003500003400028014000180080001000af40101\
     080002000af400091c0002800500010011000000060002001f750000060003000fa000000800030000000008\
     080008000000000708000c0080b0110508000b0000000001080007000000012b1c0018800800010000000000\
     08000200000000000800030000000000";
/// The same in IPv6.
const V6: &str = "f00000000001020001000000e36200000a0000004c0001802c00018014000300fd0000000000000000000000\
     0000000914000400fd00001000960000000000000000000a1c0002800500010011000000060002000fa00000\
     06000300003500004c0002802c00018014000300fd00000000000000000000000000000114000400fd000000\
     0000000000000000000000091c0002800500010011000000060002001f750000060003000fa0000008000300\
     00000008080008000000000008000c003c95f29208000b0000000001080007000000012b1c00188008000100\
     0000000008000200000000000800030000000000";
/// One in zone 5.
const ZONE: &str = "c80000000001020001000000e3620000020000003400018014000180080001000af40009080002000a60000a\
     1c0002800500010011000000060002000fa1000006000300003500003400028014000180080001000af40101\
     080002000af400091c0002800500010011000000060002001f750000060003000fa100000600120000050000\
     0800030000000008080008000000000008000c00d54fabb408000b0000000001080007000000012b1c001880\
     080001000000000008000200000000000800030000000000";
/// One whose original direction alone is in zone 6.
const ORIGINAL_ZONE: &str = "c80000000001020001000000e3620000020000003c00018014000180080001000af40009080002000a60000a\
     1c0002800500010011000000060002000fa20000060003000035000006000300000600003400028014000180\
     080001000af40101080002000af400091c0002800500010011000000060002001f750000060003000fa20000\
     0800030000000008080008000000000008000c00a3dc78d208000b0000000001080007000000012b1c001880\
     080001000000000008000200000000000800030000000000";
/// TCP.
const TCP: &str = "f00000000001020001000000e3620000020000003400018014000180080001000af40009080002000a60000a\
     1c0002800500010006000000060002000fa0000006000300003500003400028014000180080001000af40101\
     080002000af400091c0002800500010006000000060002001f750000060003000fa000000800030000000008\
     080008000000000008000c00df5f121c08000b0000000001080007000000012b300004802c00018005000100\
     0300000005000200000000000500030000000000060004000a000000060005000a0000001c00188008000100\
     0000000008000200000000000800030000000000";
/// An echo request, without ports.
const ICMP: &str = "d00000000001020001000000e3620000020000003c00018014000180080001000af40009080002000a60000a\
     24000280050001000100000006000400004d0000050005000800000005000600000000003c00028014000180\
     080001000a60000a080002000af4000924000280050001000100000006000400004d00000500050000000000\
     05000600000000000800030000000008080008000000000008000c001223841908000b000000000108000700\
     0000001d1c001880080001000000000008000200000000000800030000000000";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn read(bytes: &[u8]) -> Result<Option<Flow>, Malformed> {
    flow(&nfnl::messages(bytes).next().unwrap()?)
}

fn told(hex: &str) -> String {
    read(&bytes(hex)).unwrap().unwrap().to_string()
}

#[test]
fn entries_as_the_kernel_lists_them() {
    let udp = "10.244.0.9:4000 > 10.96.0.10:53, answers 10.244.1.1:8053 > 10.244.0.9:4000";
    let cases = [
        (V4, format!("proto 17: {udp}, id 0x80b01105")),
        (V6, "proto 17: [fd00::9]:4000 > [fd00:10:96::a]:53, answers [fd00::1]:8053 > [fd00::9]:4000, id 0x3c95f292".to_owned()),
        (ZONE, format!("proto 17: {}, zone 5, id 0xd54fabb4", udp.replace("4000", "4001"))),
        (ORIGINAL_ZONE, format!("proto 17: {}, original zone 6, id 0xa3dc78d2", udp.replace("4000", "4002"))),
        (TCP, format!("proto 6: {udp}, id 0xdf5f121c")),
        (ICMP, "proto 1: 10.244.0.9:0 > 10.96.0.10:0, answers 10.96.0.10:0 > 10.244.0.9:0, id 0x12238419".to_owned()),
    ];
    for (hex, expected) in cases {
        assert_eq!(told(hex), expected);
    }
}

/// Everything that a message can be cut to, and each byte changed.
#[test]
fn what_is_cut_off_or_changed_is_an_error_or_another_entry() {
    for hex in [V4, V6, ZONE, ORIGINAL_ZONE, TCP, ICMP] {
        let whole = bytes(hex);
        for len in 0..whole.len() {
            for message in nfnl::messages(&whole[..len]).flatten() {
                let _ = flow(&message);
            }
            let mut shorter = whole[..len].to_vec();
            if let Some(length) = shorter.get_mut(..4) {
                length.copy_from_slice(&u32::try_from(len).unwrap().to_ne_bytes());
            }
            // Both tuples end before its 130th byte, whichever entry it is.
            if (16..124).contains(&len) {
                let read = read(&shorter);
                assert!(read.is_err(), "{len} bytes: {read:?}");
            }
        }
    }
}

#[test]
fn tuples_that_do_not_belong_together_are_no_entry() {
    // The protocol of the second tuple.
    let (before, after) = V4.rsplit_once("0500010011").unwrap();
    let mixed = bytes(&format!("{before}0500010006{after}"));
    assert!(read(&mixed).is_err());
}

#[test]
fn what_is_no_entry_is_passed_over() {
    let mut other = bytes(V4);
    other[4] = 2;
    assert_eq!(read(&other), Ok(None));
}

#[test]
fn a_listing_asks_for_udp_and_never_for_an_ipv6_address() {
    let port = Port::new(53);
    let v4 = Some("10.96.0.10".parse().unwrap());
    let v6 = Some("fd00::10".parse().unwrap());
    for (family, addr, port, flags) in [
        (Family::Ip, v4, port, 8 | 2 | 32),
        (Family::Ip, v4, None, 8 | 2),
        (Family::Ip6, v6, port, 8 | 32),
        (Family::Ip6, None, None, 8),
    ] {
        let mut request = Vec::new();
        put_list(&mut request, 7, &Selection { family, addr, port });
        let message = nfnl::messages(&request).next().unwrap().unwrap();
        assert_eq!((message.subsystem(), message.message(), message.seq), (1, 1, 7));
        let attrs: Vec<_> = message.attrs().map(Result::unwrap).collect();
        let kinds: Vec<_> = attrs.iter().map(|attr| attr.kind).collect();
        assert_eq!(kinds, [cta::TUPLE_ORIG, cta::FILTER]);
        let inner: Vec<_> = attrs[1].attrs().map(Result::unwrap).collect();
        assert_eq!((inner[0].kind, inner[0].payload), (1, &u32::to_ne_bytes(flags)[..]));
    }
}

/// The kernel reads our tuples as we read its.
#[test]
fn a_deletion_names_the_entry_in_full() {
    for (hex, id) in
        [(V4, 0x80b01105), (V6, 0x3c95f292), (ZONE, 0xd54fabb4), (ORIGINAL_ZONE, 0xa3dc78d2)]
    {
        let flow = read(&bytes(hex)).unwrap().unwrap();
        let mut expected = Expected::default();
        let port = Port::new(53).unwrap();
        expected.insert(Frontend::Address { addr: flow.original.dst, port }, Owners::these([]));
        let stale = Stale::of(&flow, &expected).unwrap();
        let mut request = Vec::new();
        put_delete(&mut request, 9, &stale);
        let message = nfnl::messages(&request).next().unwrap().unwrap();
        assert_eq!((message.subsystem(), message.message(), message.seq), (1, 2, 9));
        assert_eq!(message.flags, nfnl::REQUEST | nfnl::ACK);
        let (mut named, mut zone) = (None, None);
        for attr in message.attrs().map(Result::unwrap) {
            match attr.kind {
                cta::TUPLE_ORIG => named = Some(read_tuple(&attr).unwrap()),
                cta::ZONE => zone = Some(attr.u16().unwrap()),
                cta::ID => assert_eq!(attr.u32(), Ok(id)),
                other => panic!("{other}"),
            }
        }
        assert_eq!(named, Some((17, flow.original, flow.original_zone)));
        assert_eq!(zone, flow.zone);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        head in prop::collection::vec(any::<u8>(), 0..40),
        at in 0usize..240,
        noise in prop::collection::vec(any::<u8>(), 0..24),
    ) {
        for hex in [V4, V6, ZONE, ICMP] {
            let mut bytes = bytes(hex);
            let end = bytes.len().min(at + noise.len());
            if at < end {
                bytes.splice(at..end, noise.iter().copied());
            }
            bytes.extend(&head);
            for message in nfnl::messages(&bytes).flatten() {
                let _ = flow(&message);
            }
        }
    }
}
