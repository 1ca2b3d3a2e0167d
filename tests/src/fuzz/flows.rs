//! Answers of ctnetlink: an entry that can be read can be named again, exactly.
//!
//! The request that deletes an entry is read back here by the reader of
//! entries. What must never happen is a deletion that names another entry, one
//! of another protocol, or none: that would flush the table.

use closeby_conntrack::{Expected, Frontend, Owners, Stale, wire};
use closeby_nft::nfnl::{self, Attr, Head, Message};
use closeby_nft::{L4Proto, Port};

/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`.
const TUPLES: [u16; 2] = [1, 2];
/// `IPCTNL_MSG_CT_NEW`, `IPCTNL_MSG_CT_DELETE`.
const NEW: u16 = 1 << 8;
const DELETE: u16 = 1 << 8 | 2;

/// Tries bytes as an answer of ctnetlink.
pub fn flows(data: &[u8]) {
    for message in nfnl::messages(data) {
        let Ok(message) = message else { break };
        let _ = nfnl::verdict(&message);
        let Ok(Some(flow)) = wire::flow(&message) else { continue };
        super::assert_is_a_line(&flow);
        let Some(port) = Port::new(flow.original.dport) else { continue };
        let mut expected = Expected::default();
        let frontend = Frontend::Address { addr: flow.original.dst, port };
        expected.insert(frontend, Owners::these([]));
        let stale = Stale::of(&flow, &expected);
        assert!(stale.is_none() || flow.proto == L4Proto::Udp.number(), "{flow} is not UDP");
        let Some(stale) = stale else { continue };
        let mut request = Vec::new();
        wire::put_delete(&mut request, 7, &stale);
        let requests: Vec<Message<'_>> = nfnl::messages(&request).flatten().collect();
        let [request] = requests[..] else { panic!("{} requests", requests.len()) };
        assert_eq!((request.kind, request.seq), (DELETE, 7));
        let named = wire::flow(&entry(&request).as_message());
        let named = named.unwrap_or_else(|error| panic!("{flow} is deleted as {error}"));
        let named = named.unwrap_or_else(|| panic!("{flow} is deleted without a tuple"));
        let whole = (named.original, named.proto, named.id, named.zone, named.original_zone);
        let wanted = (flow.original, flow.proto, flow.id, flow.zone, flow.original_zone);
        assert_eq!(whole, wanted);
    }
}

/// Bytes of one message.
struct Entry(Vec<u8>);

impl Entry {
    fn as_message(&self) -> Message<'_> {
        let message = nfnl::messages(&self.0).next().and_then(Result::ok);
        message.unwrap_or_else(|| unreachable!("it was just written"))
    }
}

/// The entry that a request names, as a listing would show it; its answers are
/// said to come as its packets go, for want of anything better.
fn entry(request: &Message<'_>) -> Entry {
    let mut out = Vec::new();
    let head = Head { kind: NEW, flags: 0, seq: 1, family: request.family(), res_id: 0 };
    let message = nfnl::begin_message(&mut out, head);
    let attrs: Vec<Attr<'_>> = request.attrs().flatten().collect();
    for attr in attrs {
        let [original, reply] = TUPLES;
        nfnl::put_bytes(&mut out, attr.kind, attr.payload);
        if attr.kind == original {
            nfnl::put_bytes(&mut out, reply, attr.payload);
        }
    }
    nfnl::end_message(&mut out, &message);
    Entry(out)
}
