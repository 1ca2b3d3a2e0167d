//! When elements come and go: which part of a change takes them.
//!
//! PURE. Named are all kinds of sets, so that whoever adds one must say.

use closeby_nft::elements::Word;
use closeby_nft::{Key, Name};

use crate::render::tables::sets::SetKind;

/// The parts of a change that elements go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Before the change.
    Expand,
    /// With it.
    Change,
    /// After it.
    Contract,
}

/// When new elements of a set come.
///
/// Early is what a class leads to. Early is also who may use a load balancer: it
/// is asked before a class leads in, and known before anybody is asked.
pub(super) fn comes(set: &Name) -> Part {
    match SetKind::named(set.as_str()) {
        Some(SetKind::Entries | SetKind::Picks | SetKind::Restricted | SetKind::Allowed(_)) => {
            Part::Expand
        }
        _ => Part::Change,
    }
}

/// When the element of this key goes, among others of its set that do.
///
/// Late is what an old class leads to: chains, classes of this node, pools. As
/// long as a pool has a slot, slot 0 catches whoever drew one that went, and
/// who finds no token draws a slot. Late is also what later chains say of
/// packets that found no class (refused, dropped): a packet that came before
/// the class is told so until all know the class. An address that becomes a
/// ClusterIP, or is one no more, may refuse or pass a packet of that moment, as
/// any other port of it would.
pub(super) fn goes(set: &Name, key: &Key, is_gone: impl Fn(&Key) -> bool) -> Part {
    match SetKind::named(set.as_str()) {
        Some(
            SetKind::Entries
            | SetKind::Picks
            | SetKind::LocalClasses
            | SetKind::NodeLocalClasses
            | SetKind::LocalEndpoints
            | SetKind::NodeLocalEndpoints
            | SetKind::RejectServices
            | SetKind::DropServices
            | SetKind::RejectNodePorts
            | SetKind::DropNodePorts
            | SetKind::Hairpin
            | SetKind::Allowed(_),
        ) => Part::Contract,
        Some(SetKind::Endpoints | SetKind::NodeEndpoints) if is_gone(&slot_0(key)) => {
            Part::Contract
        }
        Some(
            SetKind::Endpoints
            | SetKind::NodeEndpoints
            | SetKind::Vips
            | SetKind::ClusterIps
            | SetKind::NodeIps
            | SetKind::Classes
            | SetKind::NodeClasses
            | SetKind::Tokens
            | SetKind::LocalTokens
            | SetKind::NodeTokens
            | SetKind::NodeLocalTokens
            | SetKind::StickyEndpoints
            | SetKind::LocalStickyEndpoints
            | SetKind::NodeStickyEndpoints
            | SetKind::NodeLocalStickyEndpoints
            | SetKind::Affinity
            | SetKind::UdpGone
            | SetKind::Restricted,
        )
        | None => Part::Change,
    }
}

/// What is told, under the same key, to those who find no class of this node
/// though their frontend's class stays: nobody here has an endpoint. Both change
/// in one moment then. What else goes late (who must be masqueraded) must not go
/// while anybody finds the class.
pub(super) fn instead_of(set: &Name) -> Option<SetKind> {
    match SetKind::named(set.as_str()) {
        Some(SetKind::LocalClasses) => Some(SetKind::DropServices),
        Some(SetKind::NodeLocalClasses) => Some(SetKind::DropNodePorts),
        _ => None,
    }
}

/// The key of the first slot beside that of another.
fn slot_0(key: &Key) -> Key {
    let mut first = key.clone();
    if let Some(slot) = first.0.last_chunk_mut::<{ size_of::<Word>() }>() {
        *slot = Word::default();
    }
    first
}
