//! The part of Kubernetes that is not there: what the API server makes of
//! Services, and the slices that its controllers write for them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use closeby_tools::lab::manifests::hints;
use closeby_tools::lab::{Cluster, Family, Host};
use serde_json::{Map, Value, json};

use super::scenario::{Policy, Service, Slice, Spread, Step};
use super::words::{Free, Ingress, Member, Port, Range, State, Target};

/// ClusterIPs that are given out by themselves begin here.
const FIRST_ADDRESS: u8 = 10;
/// When the first Service was made; each next one is a second younger.
const MADE: &str = "2026-01-01T00:00:";

/// The objects of a scenario as they are now.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    services: BTreeMap<String, Known>,
    /// Services made so far.
    made: u8,
    service_cidrs: Vec<Range>,
}

#[derive(Clone, Debug)]
struct Known {
    /// It counts as another one when it was deleted in between.
    number: u8,
    address: Free,
    spec: Service,
}

/// A server that an endpoint needs.
pub(crate) type Listener = (String, u16);

impl Objects {
    /// Takes in what a step says.
    pub(crate) fn change(&mut self, step: &Step) -> Result<(), String> {
        if let Some(ranges) = &step.service_cidrs {
            self.service_cidrs.clone_from(ranges);
        }
        for name in &step.delete {
            self.services.remove(name).ok_or_else(|| format!("there is no Service {name}"))?;
        }
        // In the order of their names within a step.
        for (name, change) in &step.services {
            let change = change.clone();
            let known = match self.services.remove(name) {
                Some(known) => Known { spec: change.over(known.spec), ..known },
                None => {
                    self.made += 1;
                    let next = FIRST_ADDRESS + self.made - 1;
                    let address = Free { range: Range::Vip, number: next };
                    Known { number: self.made, address, spec: change }
                }
            };
            let address = known.spec.address.clone().unwrap_or(known.address);
            self.services.insert(name.clone(), Known { address, ..known });
        }
        Ok(())
    }

    /// The ClusterIP of a Service that is or was there.
    pub(crate) fn address(&self, service: &str, family: Family) -> Option<IpAddr> {
        let known = self.services.get(service)?;
        let families = known.spec.families();
        families.contains(&family.to_string()).then(|| known.address.of(family))
    }

    /// Where somebody must listen for the endpoints to be real.
    pub(crate) fn listeners(&self) -> Vec<Listener> {
        let mut all = Vec::new();
        for known in self.services.values() {
            for slice in known.spec.all_slices() {
                for port in known.spec.ports_of(&slice) {
                    let hosts = slice.endpoints.iter().map(|member| member.host.clone());
                    all.extend(hosts.map(|host| (host, port.1)));
                }
            }
        }
        all
    }

    /// Everything as the API gives it.
    pub(crate) fn manifests(&self, cluster: &Cluster) -> Result<Vec<Value>, String> {
        let mut all: Vec<Value> = self.service_cidrs.iter().map(Range::service_cidr).collect();
        for (name, known) in &self.services {
            all.push(known.service(name, cluster));
            all.extend(known.slices(name, cluster)?);
        }
        Ok(all)
    }
}

impl Known {
    fn service(&self, name: &str, cluster: &Cluster) -> Value {
        let spec = &self.spec;
        let kind = spec.kind();
        let mut metadata = json!({
            "name": name,
            "namespace": "default",
            "uid": format!("{name}-{}", self.number),
            "creationTimestamp": format!("{MADE}{:02}Z", self.number),
            "labels": spec.labels,
        });
        let mut body = json!({ "type": kind, "selector": { "app": name } });
        let ports = spec.ports.as_deref().unwrap_or_default();
        body["ports"] = ports.iter().map(|port| spec.port(port)).collect();
        if kind == "ExternalName" {
            body["externalName"] = "example.org".into();
        } else {
            let addresses =
                Family::BOTH.map(|family| (family.to_string(), self.address.of(family)));
            let families = spec.families();
            let of = |family: &String| addresses.iter().find(|(known, _)| known == family);
            let addresses: Vec<IpAddr> = families.iter().filter_map(of).map(|(_, a)| *a).collect();
            body["clusterIP"] = json!(addresses.first());
            body["clusterIPs"] = json!(addresses);
            body["ipFamilyPolicy"] =
                if families.len() == 1 { "SingleStack" } else { "RequireDualStack" }.into();
            body["ipFamilies"] = json!(families);
            body["internalTrafficPolicy"] = word(spec.internal).into();
        }
        if kind == "NodePort" || kind == "LoadBalancer" {
            body["externalTrafficPolicy"] = word(spec.external).into();
        }
        if let Some(seconds @ 1..) = spec.affinity {
            body["sessionAffinity"] = "ClientIP".into();
            body["sessionAffinityConfig"] = json!({ "clientIP": { "timeoutSeconds": seconds } });
        }
        spec.balance(&mut body, cluster);
        match spec.distribution {
            None => {}
            Some(Spread::Auto) => {
                metadata["annotations"] = json!({ "service.kubernetes.io/topology-mode": "Auto" });
            }
            Some(spread) => body["trafficDistribution"] = spread.distribution().word().into(),
        }
        if let Some(publish) = spec.publish_not_ready_addresses {
            body["publishNotReadyAddresses"] = publish.into();
        }
        let ingress = if kind == "LoadBalancer" { spec.ingress() } else { Vec::new() };
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": body,
            "status": { "loadBalancer": { "ingress": ingress } },
        })
    }

    fn slices(&self, name: &str, cluster: &Cluster) -> Result<Vec<Value>, String> {
        let spec = &self.spec;
        let mut labels = Map::new();
        for (key, value) in spec.labels.iter().flatten() {
            // The controller keeps this one for Services without an address.
            if key != "service.kubernetes.io/headless" {
                labels.insert(key.clone(), value.as_str().into());
            }
        }
        labels.insert("kubernetes.io/service-name".to_owned(), name.into());
        let manager = "endpointslice-controller.k8s.io";
        labels.insert("endpointslice.kubernetes.io/managed-by".to_owned(), manager.into());
        let mut all = Vec::new();
        for family in Family::BOTH {
            if !spec.families().contains(&family.to_string()) {
                continue;
            }
            for (number, slice) in spec.all_slices().iter().enumerate() {
                let endpoint = |member: &Member| self.endpoint(member, family, cluster);
                let endpoints: Result<Vec<Value>, String> =
                    slice.endpoints.iter().map(endpoint).collect();
                let port = |(port, number): (&Port, u16)| {
                    let (name, proto) = (spec.name_of(port), port.proto.word());
                    json!({ "name": name, "protocol": proto, "port": number })
                };
                let ports: Vec<Value> = spec.ports_of(slice).into_iter().map(port).collect();
                let family = family.to_string();
                all.push(json!({
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "name": format!("{name}-{}-{number}", family.to_lowercase()),
                        "namespace": "default",
                        "labels": labels,
                    },
                    "addressType": family,
                    "ports": ports,
                    "endpoints": endpoints?,
                }));
            }
        }
        Ok(all)
    }

    fn endpoint(
        &self,
        member: &Member,
        family: Family,
        cluster: &Cluster,
    ) -> Result<Value, String> {
        let host = host(cluster, &member.host)?;
        let published = self.spec.publish_not_ready_addresses == Some(true);
        let (ready, serving, terminating) = match member.state {
            State::Ready => (true, true, false),
            State::Unready => (published, false, false),
            State::Draining => (published, true, true),
            State::Ending => (published, false, true),
        };
        let mut endpoint = json!({
            "addresses": [host.address(family)],
            "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
            "nodeName": host.node(),
            "zone": host.zone(),
            "targetRef": { "kind": "Pod", "namespace": "default", "name": host.name() },
        });
        let distribution = self.spec.distribution.filter(|_| ready);
        let distribution = distribution.map(Spread::distribution);
        if let Some(hints) = hints(distribution, host.zone(), host.node()) {
            endpoint["hints"] = hints;
        }
        Ok(endpoint)
    }
}

impl Service {
    fn kind(&self) -> &str {
        let has_node_ports = self.ports.iter().flatten().any(|port| port.node_port.is_some());
        let usual = if has_node_ports { "NodePort" } else { "ClusterIP" };
        self.r#type.as_deref().unwrap_or(usual)
    }

    fn families(&self) -> Vec<String> {
        let both = || Family::BOTH.iter().map(ToString::to_string).collect();
        self.families.clone().unwrap_or_else(both)
    }

    fn port(&self, port: &Port) -> Value {
        let mut value = json!({
            "name": self.name_of(port), "protocol": port.proto.word(), "port": port.number,
        });
        value["targetPort"] = match &port.target {
            Target::Number(number) => (*number).into(),
            Target::Named(name) => name.as_str().into(),
        };
        if let (Some(number), "NodePort" | "LoadBalancer") = (port.node_port, self.kind()) {
            value["nodePort"] = number.into();
        }
        value
    }

    /// The fields for those who come from elsewhere.
    fn balance(&self, body: &mut Value, cluster: &Cluster) {
        let of = |addresses: &[Free]| -> Vec<IpAddr> {
            let both = |free: &Free| Family::BOTH.map(|family| free.of(family));
            addresses.iter().flat_map(both).collect()
        };
        if let Some(addresses) = &self.external_ips {
            body["externalIPs"] = json!(of(addresses));
        }
        if self.kind() != "LoadBalancer" {
            return;
        }
        if let Some(ranges) = &self.source_ranges {
            let range = |text: &String| match host(cluster, text) {
                Ok(host) => host
                    .addresses()
                    .map(|addr| format!("{addr}/{}", if addr.is_ipv4() { 32 } else { 128 }))
                    .to_vec(),
                Err(_) => vec![text.clone()],
            };
            body["loadBalancerSourceRanges"] = ranges.iter().flat_map(range).collect();
        }
        if let (Some(port), Some(Policy::Local)) = (self.health_check_node_port, self.external) {
            body["healthCheckNodePort"] = port.into();
        }
        let has_node_ports = self.ports.iter().flatten().any(|port| port.node_port.is_some());
        body["allocateLoadBalancerNodePorts"] = has_node_ports.into();
    }

    fn ingress(&self) -> Vec<Value> {
        let one = |ingress: &Ingress| {
            let mode = if ingress.is_proxy { "Proxy" } else { "VIP" };
            Family::BOTH.map(|family| json!({ "ip": ingress.address.of(family), "ipMode": mode }))
        };
        self.ingress.iter().flatten().flat_map(one).collect()
    }

    /// A port's name: several need one.
    fn name_of(&self, port: &Port) -> String {
        let is_alone = self.ports.iter().flatten().count() == 1;
        let usual = || format!("{}-{}", port.proto.word().to_lowercase(), port.number);
        match &port.name {
            Some(name) => name.clone(),
            None if is_alone => String::new(),
            None => usual(),
        }
    }

    fn all_slices(&self) -> Vec<Slice> {
        let one = || Slice { ports: None, endpoints: self.endpoints.clone().unwrap_or_default() };
        self.slices.clone().unwrap_or_else(|| vec![one()])
    }

    /// The ports of a slice, and what each means there.
    fn ports_of(&self, slice: &Slice) -> Vec<(&Port, u16)> {
        let number = |port: &Port| match (&slice.ports, &port.target) {
            (Some(named), _) => named.get(&self.name_of(port)).copied(),
            (None, Target::Number(number)) => Some(*number),
            (None, Target::Named(_)) => None,
        };
        let ports = self.ports.iter().flatten();
        ports.filter_map(|port| Some((port, number(port)?))).collect()
    }
}

impl Range {
    /// All of it as an object.
    fn service_cidr(&self) -> Value {
        let free = Free { range: *self, number: 0 };
        // The range of Services is large, so that it has room for all scenarios.
        let lengths = if *self == Self::Vip { [16, 112] } else { [24, 120] };
        let addresses = Family::BOTH.map(|family| free.of(family));
        let cidrs = addresses.iter().zip(lengths).map(|(addr, length)| format!("{addr}/{length}"));
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": { "name": format!("{self:?}").to_lowercase() },
            "spec": { "cidrs": cidrs.collect::<Vec<_>>() },
        })
    }
}

impl Free {
    /// Both families read alike.
    pub(crate) fn of(&self, family: Family) -> IpAddr {
        let (v4, v6) = match self.range {
            Range::Vip => ([10, 96, 0], [0xfd00, 0x10, 0x96, 0]),
            Range::Wide => ([10, 97, 0], [0xfd00, 0x10, 0x97, 0]),
            Range::Lb => ([198, 51, 100], [0xfd00, 0x198, 0x51, 0x100]),
            Range::Ext => ([203, 0, 113], [0xfd00, 0x203, 0, 0x113]),
        };
        match family {
            Family::V4 => [v4[0], v4[1], v4[2], self.number].into(),
            Family::V6 => {
                let [a, b, c, d] = v6;
                // 21 becomes 0x21.
                let number = u16::from_str_radix(&self.number.to_string(), 16).unwrap_or(0);
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, number).into()
            }
        }
    }
}

fn word(policy: Option<Policy>) -> &'static str {
    match policy {
        Some(Policy::Local) => "Local",
        Some(Policy::Cluster) | None => "Cluster",
    }
}

/// A node, a pod, or the client outside.
pub(crate) fn host<'a>(cluster: &'a Cluster, name: &str) -> Result<&'a Host, String> {
    let all = cluster.nodes().iter().chain(cluster.pods()).chain([cluster.outside()]);
    let mut all = all.filter(|host| host.name() == name);
    all.next().ok_or_else(|| format!("nobody is called {name}"))
}
