//! Kubernetes objects as files: Nodes, Services and the EndpointSlices that the real controllers
//! would write for them, hints included. A file appears whole or not at all.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::error::LabError;
use super::host::Host;
use super::spec::Family;

/// A folder of manifests, watched by agents.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn create(path: PathBuf) -> Result<Self, LabError> {
        fs::create_dir_all(&path).map_err(LabError::io(format!("creating {}", path.display())))?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes or replaces `<name>.yaml` in one step: a watcher sees one change.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn write(&self, name: &str, objects: &[Value]) -> Result<(), LabError> {
        let documents: Result<Vec<_>, _> = objects.iter().map(serde_saphyr::to_string).collect();
        let text = documents.map_err(|error| LabError::Plan(error.to_string()))?.join("---\n");
        // A leading dot and no ending: watchers of manifests pass over it.
        let draft = self.path.join(format!(".{name}"));
        let done = self.path.join(format!("{name}.yaml"));
        fs::write(&draft, text)
            .and_then(|()| fs::rename(&draft, &done))
            .map_err(LabError::io(format!("writing {}", done.display())))
    }
}

/// A Node object per node of the cluster.
#[must_use]
pub fn nodes(hosts: &[Host]) -> Vec<Value> {
    let address = |address: IpAddr| json!({ "type": "InternalIP", "address": address });
    let node = |host: &Host| {
        let [cidr, _] = host.pod_ranges();
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": host.name(), "labels": {
                "kubernetes.io/hostname": host.name(),
                "topology.kubernetes.io/region": "lab",
                "topology.kubernetes.io/zone": host.zone(),
            } },
            "spec": { "podCIDR": cidr, "podCIDRs": host.pod_ranges() },
            "status": {
                "addresses": host.addresses().map(address),
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        })
    };
    hosts.iter().map(node).collect()
}

/// `spec.trafficDistribution`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// The older name of [`Self::PreferSameZone`].
    PreferClose,
    /// The client's zone, while it has endpoints.
    PreferSameZone,
    /// The client's node, while it has endpoints; then as the zone.
    PreferSameNode,
}

impl Distribution {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PreferClose, Self::PreferSameZone, Self::PreferSameNode];

    /// The API's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::PreferClose => "PreferClose",
            Self::PreferSameZone => "PreferSameZone",
            Self::PreferSameNode => "PreferSameNode",
        }
    }
}

/// A dual-stack Service in namespace `default`, open on TCP and UDP.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its cluster addresses, IPv4 first.
    pub addresses: [IpAddr; 2],
    /// The port on those addresses.
    pub port: u16,
    /// The port on the pods.
    pub target: u16,
    /// The port on the nodes, which makes it a NodePort Service.
    pub node_port: Option<u16>,
    /// The addresses of its load balancer, which make it a LoadBalancer Service.
    pub balancers: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `spec.loadBalancerSourceRanges`.
    pub source_ranges: Vec<String>,
    /// `spec.trafficDistribution`.
    pub distribution: Option<Distribution>,
    /// `metadata.annotations`.
    pub annotations: Vec<(&'static str, String)>,
    /// Endpoints have no hints, whatever is asked: as with no controller that writes them.
    pub without_hints: bool,
    /// `spec.internalTrafficPolicy` is `Local`.
    pub internal_local: bool,
    /// `spec.externalTrafficPolicy` is `Local`.
    pub external_local: bool,
}

impl Service {
    /// A Service of type ClusterIP without preferences, at these addresses.
    #[must_use]
    pub fn new(name: &str, addresses: [IpAddr; 2], port: u16, target: u16) -> Self {
        Self {
            name: name.to_owned(),
            addresses,
            port,
            target,
            node_port: None,
            balancers: Vec::new(),
            external_ips: Vec::new(),
            source_ranges: Vec::new(),
            distribution: None,
            annotations: Vec::new(),
            without_hints: false,
            internal_local: false,
            external_local: false,
        }
    }

    /// The Service and its EndpointSlices with these pods, all ready.
    #[must_use]
    pub fn objects(&self, backends: &[&Host]) -> Vec<Value> {
        let slices = Family::BOTH.map(|family| self.slice(family, backends));
        [self.service()].into_iter().chain(slices).collect()
    }

    fn service(&self) -> Value {
        let policy = |local: bool| if local { "Local" } else { "Cluster" };
        let port = |protocol: &str| {
            let mut port = json!({
                "name": protocol.to_lowercase(), "protocol": protocol,
                "port": self.port, "targetPort": self.target,
            });
            if let Some(node_port) = self.node_port {
                port["nodePort"] = node_port.into();
            }
            port
        };
        let kind = match self.node_port {
            _ if !self.balancers.is_empty() => "LoadBalancer",
            Some(_) => "NodePort",
            None => "ClusterIP",
        };
        let mut spec = json!({
            "type": kind,
            "externalIPs": self.external_ips,
            "clusterIP": self.addresses[0],
            "clusterIPs": self.addresses,
            "ipFamilies": ["IPv4", "IPv6"],
            "ipFamilyPolicy": "RequireDualStack",
            "internalTrafficPolicy": policy(self.internal_local),
            "selector": { "app": self.name },
            "ports": [port("TCP"), port("UDP")],
        });
        if let Some(distribution) = self.distribution {
            spec["trafficDistribution"] = distribution.word().into();
        }
        if !self.source_ranges.is_empty() {
            spec["loadBalancerSourceRanges"] = json!(self.source_ranges);
        }
        if self.node_port.is_some() || !self.external_ips.is_empty() || !self.balancers.is_empty() {
            spec["externalTrafficPolicy"] = policy(self.external_local).into();
        }
        let annotations: Map<String, Value> =
            self.annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let metadata =
            json!({ "name": self.name, "namespace": "default", "annotations": annotations });
        let ingress = self.balancers.iter().map(|ip| json!({ "ip": ip, "ipMode": "VIP" }));
        let status = json!({ "loadBalancer": { "ingress": ingress.collect::<Vec<_>>() } });
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": metadata, "spec": spec, "status": status,
        })
    }

    fn slice(&self, family: Family, backends: &[&Host]) -> Value {
        let port = |protocol: &str| json!({ "name": protocol.to_lowercase(), "protocol": protocol, "port": self.target });
        let endpoints = backends.iter().map(|host| self.endpoint(family, host));
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{}-{}", self.name, family.to_string().to_lowercase()),
                "namespace": "default",
                "labels": {
                    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                    "kubernetes.io/service-name": self.name,
                },
            },
            "addressType": family.to_string(),
            "ports": [port("TCP"), port("UDP")],
            "endpoints": endpoints.collect::<Vec<_>>(),
        })
    }

    fn endpoint(&self, family: Family, host: &Host) -> Value {
        let mut endpoint = json!({
            "addresses": [host.address(family)],
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "nodeName": host.node(),
            "zone": host.zone(),
            "targetRef": { "kind": "Pod", "namespace": "default", "name": host.name() },
        });
        let distribution = self.distribution.filter(|_| !self.without_hints);
        if let Some(hints) = hints(distribution, host.zone(), host.node()) {
            endpoint["hints"] = hints;
        }
        endpoint
    }
}

/// The hints of one ready endpoint, as the controller of Kubernetes 1.36 writes them: its own zone
/// whoever else is there, and its own node where that was asked for; none if nobody asks.
#[must_use]
pub fn hints(distribution: Option<Distribution>, zone: &str, node: &str) -> Option<Value> {
    let distribution = distribution?;
    let mut hints = Map::new();
    if !zone.is_empty() {
        hints.insert("forZones".to_owned(), json!([{ "name": zone }]));
    }
    if distribution == Distribution::PreferSameNode {
        hints.insert("forNodes".to_owned(), json!([{ "name": node }]));
    }
    (!hints.is_empty()).then(|| hints.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of `EndpointSlice` hints seen from a real controller.
    #[test]
    fn hints_are_those_of_the_real_controller() {
        let zone = json!({ "forZones": [{ "name": "zone-a" }] });
        let both = json!({ "forNodes": [{ "name": "n1" }], "forZones": [{ "name": "zone-a" }] });
        let node = json!({ "forNodes": [{ "name": "n1" }] });
        assert_eq!(hints(None, "zone-a", "n1"), None);
        assert_eq!(hints(Some(Distribution::PreferClose), "zone-a", "n1"), Some(zone.clone()));
        assert_eq!(hints(Some(Distribution::PreferSameZone), "zone-a", "n1"), Some(zone));
        assert_eq!(hints(Some(Distribution::PreferSameNode), "zone-a", "n1"), Some(both));
        assert_eq!(hints(Some(Distribution::PreferClose), "", "n1"), None);
        assert_eq!(hints(Some(Distribution::PreferSameNode), "", "n1"), Some(node));
    }

    #[test]
    fn a_service_is_written_in_the_words_of_the_api() {
        let addresses = [[10, 96, 0, 20].into(), [0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0x20].into()];
        let service = Service {
            node_port: Some(30080),
            distribution: Some(Distribution::PreferClose),
            internal_local: true,
            ..Service::new("catalog", addresses, 80, 8080)
        };
        let objects = service.objects(&[]);
        assert_eq!(objects.len(), 3);
        let spec = &objects[0]["spec"];
        assert_eq!(spec["trafficDistribution"], "PreferClose");
        assert_eq!(spec["internalTrafficPolicy"], "Local");
        assert_eq!(spec["externalTrafficPolicy"], "Cluster");
        assert_eq!(spec["clusterIPs"], json!(["10.96.0.20", "fd00:10:96::20"]));
        assert_eq!(spec["ports"][1]["nodePort"], 30080);
        assert_eq!(objects[2]["addressType"], "IPv6");
    }
}
