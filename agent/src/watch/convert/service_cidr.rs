//! Judges a ServiceCIDR.

use closeby_nft::Prefix;

use super::super::objects;
use super::name;
use super::notes::Notes;
use crate::model::{Change, ServiceCidr, ServiceCidrName, ServiceProxy, read_prefix};

pub(super) fn change(
    raw: &objects::ServiceCidr,
    proxy: &ServiceProxy,
    notes: &mut Notes,
) -> Option<Change> {
    let name = ServiceCidrName::from(name(&raw.metadata, notes)?);
    // What is no ClusterIP of ours may be one of the cluster's own proxy.
    if *proxy != ServiceProxy::Default {
        return Some(Change::ServiceCidrGone(name));
    }
    Some(Change::ServiceCidr(ServiceCidr { name, cidrs: cidrs(raw, notes) }))
}

fn cidrs(raw: &objects::ServiceCidr, notes: &mut Notes) -> Vec<Prefix> {
    let Some(spec) = notes.read(format_args!("spec"), &raw.spec, "it is taken as empty") else {
        return Vec::new();
    };
    let mut cidrs: Vec<Prefix> = Vec::new();
    for (place, text) in notes.items(format_args!("spec.cidrs"), &spec.cidrs) {
        match cidr(text, &cidrs) {
            Ok(prefix) => cidrs.push(prefix),
            Err(problem) => {
                let problem = format!("{problem}; it is left out");
                notes.add(format_args!("spec.cidrs[{place}]"), problem);
            }
        }
    }
    cidrs
}

/// One prefix, judged beside those before it.
fn cidr(text: &str, before: &[Prefix]) -> Result<Prefix, String> {
    let prefix = read_prefix(text)?;
    if prefix.is_empty() {
        return Err(format!("{prefix} is every address there is"));
    }
    match before.iter().find(|other| other.family() == prefix.family()) {
        Some(other) => Err(format!("{prefix} is a second prefix beside {other} of its family")),
        None => Ok(prefix),
    }
}
