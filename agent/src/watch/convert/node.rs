//! Judges a Node.

use std::net::IpAddr;

use closeby_nft::Prefix;

use super::super::loose::Loose;
use super::super::objects;
use super::notes::Notes;
use super::{
    LABEL_NETWORK, LABEL_REGION, LABEL_SUBZONE, LABEL_ZONE, TAINT_TO_BE_DELETED, label, name,
};
use crate::model::{
    Change, Locality, Network, Node, NodeName, Region, Subzone, Zone, read_address, read_prefix,
};

pub(super) fn change(raw: &objects::Node, notes: &mut Notes) -> Option<Change> {
    let name = NodeName::from(name(&raw.metadata, notes)?);
    Some(Change::Node(Node {
        name,
        locality: locality(&raw.metadata),
        addresses: addresses(&raw.status, notes),
        pod_cidrs: pod_cidrs(&raw.spec, notes),
        is_leaving: is_deleted(&raw.metadata, notes) || is_tainted(&raw.spec, notes),
    }))
}

/// Where a Node is of which nothing else is told.
pub(super) fn place(raw: &objects::NodeMetadata, notes: &mut Notes) -> Option<Change> {
    let name = NodeName::from(name(&raw.metadata, notes)?);
    Some(Change::Locality(name, locality(&raw.metadata)))
}

fn locality(metadata: &Loose<objects::Metadata>) -> Locality {
    let label = |key| label(metadata, key).filter(|value| !value.is_empty());
    Locality {
        network: label(LABEL_NETWORK).map(Network::from),
        region: label(LABEL_REGION).map(Region::from),
        zone: label(LABEL_ZONE).map(Zone::from),
        subzone: label(LABEL_SUBZONE).map(Subzone::from),
    }
}

fn is_deleted(metadata: &Loose<objects::Metadata>, notes: &mut Notes) -> bool {
    let field = format_args!("metadata.deletionTimestamp");
    let outcome = "the Node is taken for one that stays";
    let raw = metadata.as_option().map(|metadata| &metadata.deletion_timestamp);
    raw.and_then(|raw| notes.read(field, raw, outcome)).is_some()
}

/// What cannot be read of the taints is told, and taken for none.
fn is_tainted(raw: &Loose<objects::NodeSpec>, notes: &mut Notes) -> bool {
    // Told of already, if it is no mapping.
    let Some(spec) = raw.as_option() else { return false };
    let taints = notes.items(format_args!("spec.taints"), &spec.taints);
    let mut keys = taints.iter().filter_map(|(_, taint)| taint.key.as_option());
    keys.any(|key| key == TAINT_TO_BE_DELETED)
}

fn addresses(raw: &Loose<objects::NodeStatus>, notes: &mut Notes) -> Vec<IpAddr> {
    let field = format_args!("status");
    let Some(status) = notes.read(field, raw, "the Node's addresses are unknown") else {
        return Vec::new();
    };
    let items = notes.items(format_args!("status.addresses"), &status.addresses);
    let mut addrs = Vec::new();
    for wanted in ["InternalIP", "ExternalIP"] {
        for (place, item) in &items {
            if item.r#type.as_option().is_none_or(|kind| kind != wanted) {
                continue;
            }
            let field = format_args!("status.addresses[{place}].address");
            let text = notes.read(field, &item.address, "it is left out");
            match text.map(|text| read_address(text)) {
                Some(Ok(addr)) => addrs.push(addr),
                Some(Err(problem)) => notes.add(field, format!("{problem}; it is left out")),
                None => {}
            }
        }
    }
    addrs
}

fn pod_cidrs(raw: &Loose<objects::NodeSpec>, notes: &mut Notes) -> Vec<Prefix> {
    let field = format_args!("spec");
    let Some(spec) = notes.read(field, raw, "the Node's pod CIDRs are unknown") else {
        return Vec::new();
    };
    let several = notes.items(format_args!("spec.podCIDRs"), &spec.pod_cidrs);
    let mut prefixes = Vec::new();
    let mut take =
        |field: std::fmt::Arguments<'_>, text: &str, notes: &mut Notes| match read_prefix(text) {
            Ok(prefix) => prefixes.push(prefix),
            Err(problem) => notes.add(field, format!("{problem}; it is left out")),
        };
    for (place, text) in &several {
        take(format_args!("spec.podCIDRs[{place}]"), text, notes);
    }
    if several.is_empty() {
        let field = format_args!("spec.podCIDR");
        let one = notes.read(field, &spec.pod_cidr, "it is left out");
        if let Some(text) = one.filter(|text| !text.is_empty()) {
            take(field, text, notes);
        }
    }
    prefixes
}
