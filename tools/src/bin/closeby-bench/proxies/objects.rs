//! The cluster that the API server tells: many Services that never change, one whose only endpoint
//! changes, and ones that are added while somebody waits for them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;

use anyhow::Context;
use closeby_tools::lab::{Api, ControlPlane, Host, LabError, Proto, User, manifests};
use serde_json::{Value, json};

use crate::sink;

/// The port of every Service.
const PORT: u16 = 80;
/// All endpoints; the pods of the lab are elsewhere.
pub(super) const ENDPOINTS: &str = "10.128.0.0/10";
/// Clients that write at the same time while the cluster grows.
const WRITERS: u32 = 4;

/// What the Services speak; the API's word.
fn protocol(proto: Proto) -> &'static str {
    match proto {
        Proto::Tcp => "TCP",
        Proto::Udp => "UDP",
    }
}

/// One Service of the cluster, by what it is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// One of many.
    Still(u32),
    /// The one that changes.
    Changing,
    /// One that is added later.
    Added(u32),
}

impl Part {
    fn name(self) -> String {
        match self {
            Self::Still(number) => format!("still-{number}"),
            Self::Changing => "changing".to_owned(),
            Self::Added(number) => format!("added-{number}"),
        }
    }

    /// Its ClusterIP and port.
    pub(super) fn address(self) -> SocketAddrV4 {
        let number = match self {
            Self::Still(number) => 0x0100 + number,
            Self::Changing => 0xfe00,
            Self::Added(number) => 0xff00 + number,
        };
        SocketAddrV4::new(Ipv4Addr::from_bits(0x0a60_0000 + number), PORT)
    }

    /// Endpoint number `slot` of it.
    pub(super) fn endpoint(self, slot: u32) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from_bits(self.first_endpoint() + slot), sink::PORT)
    }

    /// The number of the endpoint that has this address, if it could be one of this Service.
    pub(super) fn slot(self, endpoint: SocketAddrV4) -> Option<u32> {
        endpoint.ip().to_bits().checked_sub(self.first_endpoint())
    }

    fn first_endpoint(self) -> u32 {
        let offset = match self {
            Self::Still(number) => number << 4,
            Self::Added(number) => 0x0f_0000 + (number << 4),
            Self::Changing => 0x10_0000,
        };
        0x0a80_0000 + offset
    }

    fn service(self, proto: Proto) -> Value {
        let ip = self.address().ip().to_string();
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "namespace": "default", "name": self.name() },
            "spec": {
                "clusterIP": ip,
                "ports": [{
                    "name": "main", "protocol": protocol(proto),
                    "port": PORT, "targetPort": sink::PORT,
                }],
            },
        })
    }

    /// Its EndpointSlice, with so many endpoints.
    fn slice(self, proto: Proto, endpoints: u32) -> Value {
        let endpoints: Vec<Value> = (0..endpoints).map(|slot| self.endpoint_object(slot)).collect();
        let name = self.name();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "namespace": "default", "name": format!("{name}-a"),
                "labels": { "kubernetes.io/service-name": name },
            },
            "addressType": "IPv4",
            "ports": [{ "name": "main", "protocol": protocol(proto), "port": sink::PORT }],
            "endpoints": endpoints,
        })
    }

    fn endpoint_object(self, slot: u32) -> Value {
        let ip = self.endpoint(slot).ip().to_string();
        json!({
            "addresses": [ip],
            "conditions": { "ready": true, "serving": true, "terminating": false },
        })
    }

    /// Adds its endpoints, which nobody asks for yet.
    pub(super) fn prepare(self, api: &Api, proto: Proto, endpoints: u32) -> Result<(), LabError> {
        let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
        api.create(slices, &self.slice(proto, endpoints))
    }

    /// Adds the Service itself.
    pub(super) fn create(self, api: &Api, proto: Proto) -> Result<(), LabError> {
        api.create("/api/v1/namespaces/default/services", &self.service(proto))
    }

    /// Takes it away.
    pub(super) fn delete(self, api: &Api) -> Result<(), LabError> {
        // By their names.
        api.delete(&self.slice(Proto::Tcp, 0), None)?;
        api.delete(&self.service(Proto::Tcp), None)
    }

    /// Gives it these endpoints and no others.
    pub(super) fn change(
        self,
        api: &Api,
        slots: impl IntoIterator<Item = u32>,
    ) -> Result<(), LabError> {
        let endpoints = slots.into_iter().map(|slot| self.endpoint_object(slot));
        let patch = json!({ "endpoints": endpoints.collect::<Vec<_>>() });
        api.merge(&self.slice(Proto::Tcp, 0), &patch)
    }
}

/// The node's object.
pub(super) fn create_node(plane: &ControlPlane<'_>, node: &Host) -> Result<(), LabError> {
    plane.ask(User::Admin, |api| {
        for node in manifests::nodes(std::slice::from_ref(node)) {
            api.create("/api/v1/nodes", &node)?;
            api.set_status(&node, &node["status"])?;
        }
        Ok(())
    })
}

/// Adds those of many Services that are missing, each with so many endpoints.
pub(super) fn grow(
    plane: &ControlPlane<'_>,
    from: u32,
    to: u32,
    proto: Proto,
    endpoints: u32,
) -> anyhow::Result<()> {
    let share = |writer: u32| (from + writer..to).step_by(WRITERS as usize);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    plane.ask(User::Admin, |api| {
                        share(writer).map(Part::Still).try_for_each(|part| {
                            part.prepare(api, proto, endpoints)?;
                            part.create(api, proto)
                        })
                    })
                })
            })
            .collect();
        writers.into_iter().try_for_each(|writer| {
            writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
    .context("adding Services")
}
