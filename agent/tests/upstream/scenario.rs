//! A scenario's file: the objects of each step, and what is expected then.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use closeby_tools::lab::manifests::Distribution;
use serde::Deserialize;
use serde_json::Value;

use super::words::{Expectation, Free, Ingress, Member, Port, Range};

/// A file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The scenarios of Kubernetes' own suites that this is.
    pub(crate) ids: Vec<String>,
    /// What it shows.
    pub(crate) title: String,
    pub(crate) steps: Vec<Step>,
}

/// What happens in one generation, and what holds then.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Step {
    /// Services that come, or change in the fields that are given.
    pub(crate) services: BTreeMap<String, Service>,
    /// Ranges that are ServiceCIDRs from now on.
    pub(crate) service_cidrs: Option<Vec<Range>>,
    /// Services that go, before others come.
    pub(crate) delete: Vec<String>,
    /// Nodes whose agent is killed before, and started after the objects change.
    pub(crate) restart: Vec<String>,
    /// Objects that must mean nothing; they are there in this step alone.
    pub(crate) others: Vec<Value>,
    /// What somebody does with nft on a node, once the objects are there.
    pub(crate) nft: BTreeMap<String, String>,
    /// Nodes whose agent has something to repair after that.
    pub(crate) repairs: Vec<String>,
    /// What holds for every new connection while all this happens.
    pub(crate) throughout: Vec<Expectation>,
    /// What holds afterwards for new connections.
    pub(crate) expect: Vec<Expectation>,
    /// Connections that stay open from one step to the next, by name; in UDP,
    /// flows from one port. Each says who answers now.
    pub(crate) held: BTreeMap<String, Expectation>,
}

/// A Service and its endpoints, or a change of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Service {
    /// `NodePort` if ports have a number on nodes, else `ClusterIP`.
    pub(crate) r#type: Option<String>,
    /// Its ClusterIPs; by default the next that no Service of the scenario had.
    pub(crate) address: Option<Free>,
    /// Its families, the primary one first; by default IPv4 and IPv6.
    pub(crate) families: Option<Vec<String>>,
    pub(crate) ports: Option<Vec<Port>>,
    /// Members of its slices, one slice for each family.
    pub(crate) endpoints: Option<Vec<Member>>,
    /// Several slices for each family, in place of `endpoints`.
    pub(crate) slices: Option<Vec<Slice>>,
    /// internalTrafficPolicy.
    pub(crate) internal: Option<Policy>,
    /// externalTrafficPolicy.
    pub(crate) external: Option<Policy>,
    /// trafficDistribution; the hints are those of the real controller.
    pub(crate) distribution: Option<Spread>,
    pub(crate) publish_not_ready_addresses: Option<bool>,
    /// Session affinity by client address for so many seconds; 0 for none.
    pub(crate) affinity: Option<u32>,
    /// What a load balancer gave, in `status.loadBalancer.ingress`.
    pub(crate) ingress: Option<Vec<Ingress>>,
    #[serde(rename = "externalIPs")]
    pub(crate) external_ips: Option<Vec<Free>>,
    /// loadBalancerSourceRanges; a host stands for its addresses.
    pub(crate) source_ranges: Option<Vec<String>>,
    pub(crate) health_check_node_port: Option<u16>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

/// A slice, one for each family.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slice {
    /// Ports by the names of the Service's; by default all with a number.
    pub(crate) ports: Option<BTreeMap<String, u16>>,
    #[serde(default)]
    pub(crate) endpoints: Vec<Member>,
}

/// A traffic policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Policy {
    Cluster,
    Local,
}

/// `trafficDistribution`, or the annotation that was before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Spread {
    /// `service.kubernetes.io/topology-mode: Auto`.
    Auto,
    PreferClose,
    PreferSameZone,
    PreferSameNode,
}

impl Spread {
    pub(crate) fn distribution(self) -> Distribution {
        match self {
            Self::PreferClose => Distribution::PreferClose,
            // With as many endpoints as nodes in each zone, it hints the same.
            Self::Auto | Self::PreferSameZone => Distribution::PreferSameZone,
            Self::PreferSameNode => Distribution::PreferSameNode,
        }
    }
}

impl Service {
    /// This change of a Service: what it does not say stays.
    pub(crate) fn over(self, before: Self) -> Self {
        let new_members = self.endpoints.is_some() || self.slices.is_some();
        let (endpoints, slices) = match new_members {
            true => (self.endpoints, self.slices),
            false => (before.endpoints, before.slices),
        };
        Self {
            r#type: self.r#type.or(before.r#type),
            address: self.address.or(before.address),
            families: self.families.or(before.families),
            ports: self.ports.or(before.ports),
            endpoints,
            slices,
            internal: self.internal.or(before.internal),
            external: self.external.or(before.external),
            distribution: self.distribution.or(before.distribution),
            publish_not_ready_addresses: self
                .publish_not_ready_addresses
                .or(before.publish_not_ready_addresses),
            affinity: self.affinity.or(before.affinity),
            ingress: self.ingress.or(before.ingress),
            external_ips: self.external_ips.or(before.external_ips),
            source_ranges: self.source_ranges.or(before.source_ranges),
            health_check_node_port: self.health_check_node_port.or(before.health_check_node_port),
            labels: self.labels.or(before.labels),
        }
    }
}

/// A scenario and where it is written.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// The file's name without its ending.
    pub(crate) name: String,
    pub(crate) scenario: Scenario,
}

/// Reads all scenarios, in the order of their names.
pub(crate) fn read_all(folder: &Path) -> Result<Vec<Written>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(told)? {
        paths.push(entry.map_err(told)?.path());
    }
    paths.sort();
    let read = |path: &PathBuf| {
        let told = |problem: String| format!("{}: {problem}", path.display());
        let text = fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
        let scenario: Scenario =
            serde_saphyr::from_str(&text).map_err(|error| told(error.to_string()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Written { name, scenario })
    };
    paths.iter().map(read).collect()
}
