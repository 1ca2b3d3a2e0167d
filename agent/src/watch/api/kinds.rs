//! The kinds that are watched: where the API has them and which of them.
//!
//! PURE. The selectors are kube-proxy's (`cmd/kube-proxy/app/server.go`).

use serde::Deserialize;

use super::super::convert::{self, Converted, LABEL_HEADLESS, LABEL_SERVICE_PROXY_NAME, Source};
use super::super::loose::Loose;
use super::super::objects::{
    EndpointSlice, Metadata, Namespace, Node, NodeMetadata, Service, ServiceCidr, ServiceEntry,
};
use super::line::text;
use crate::model::{Admission, Kind, NodeName, ServiceProxy};

/// A kind of objects, as its type.
pub(super) trait Watched: for<'de> Deserialize<'de> {
    const KIND: Kind;
    /// Its name in addresses and in roles.
    const PLURAL: &'static str;
    /// Where it is.
    const PATH: &'static str;
    /// Whether the agent works without it: an API server may not have it.
    const IS_OPTIONAL: bool = false;
    /// Whether kube-proxy's role lets it be listed: then it is worth a warning if not.
    const IS_IN_ROLE: bool = true;
    /// Whether no more of it is asked for than every object has.
    const IS_METADATA: bool = false;

    /// Which of them this proxy asks for, by their labels.
    fn labels(_proxy: &ServiceProxy) -> Option<String> {
        None
    }

    /// Which of them this node asks for, by their fields.
    fn fields(_node: &NodeName) -> Option<String> {
        None
    }

    /// Whether it has a taint of this key.
    fn carries(&self, _taint: &str) -> bool {
        false
    }

    fn metadata(&self) -> &Loose<Metadata>;

    /// Judges it, by what this agent takes.
    fn convert(&self, admission: &Admission) -> Converted;

    /// Which state of it this is; empty if it does not say.
    fn version(&self) -> &str {
        text(self.metadata().as_option().map(|metadata| &metadata.resource_version))
    }
}

impl Watched for Service {
    const KIND: Kind = Kind::Service;
    const PLURAL: &'static str = "services";
    const PATH: &'static str = "/api/v1/services";

    fn labels(proxy: &ServiceProxy) -> Option<String> {
        Some(match proxy {
            ServiceProxy::Default => format!("!{LABEL_SERVICE_PROXY_NAME}"),
            ServiceProxy::Named(name) => format!("{LABEL_SERVICE_PROXY_NAME}={name}"),
        })
    }

    fn fields(_node: &NodeName) -> Option<String> {
        Some("spec.clusterIP!=None".to_owned())
    }

    fn metadata(&self) -> &Loose<Metadata> {
        &self.metadata
    }

    fn convert(&self, admission: &Admission) -> Converted {
        convert::service(self, &Source::Api, admission)
    }
}

impl Watched for EndpointSlice {
    const KIND: Kind = Kind::Slice;
    const PLURAL: &'static str = "endpointslices";
    const PATH: &'static str = "/apis/discovery.k8s.io/v1/endpointslices";

    fn labels(_: &ServiceProxy) -> Option<String> {
        Some(format!("!{LABEL_HEADLESS}"))
    }

    fn metadata(&self) -> &Loose<Metadata> {
        &self.metadata
    }

    fn convert(&self, admission: &Admission) -> Converted {
        convert::slice(self, &Source::Api, admission)
    }
}

impl Watched for Node {
    const KIND: Kind = Kind::Node;
    const PLURAL: &'static str = "nodes";
    const PATH: &'static str = "/api/v1/nodes";

    fn fields(node: &NodeName) -> Option<String> {
        Some(format!("metadata.name={}", node.as_str()))
    }

    fn carries(&self, taint: &str) -> bool {
        let taints = self.spec.as_option().and_then(|spec| spec.taints.as_option());
        let mut taints = taints.into_iter().flatten().filter_map(Loose::as_option);
        taints.any(|it| it.key.as_option().is_some_and(|key| key == taint))
    }

    fn metadata(&self) -> &Loose<Metadata> {
        &self.metadata
    }

    fn convert(&self, _: &Admission) -> Converted {
        convert::node(self, &Source::Api)
    }
}

impl Watched for ServiceCidr {
    const KIND: Kind = Kind::ServiceCidr;
    const PLURAL: &'static str = "servicecidrs";
    const PATH: &'static str = "/apis/networking.k8s.io/v1/servicecidrs";
    /// Served since 1.33; without them B-29 does not hold, and nothing else.
    const IS_OPTIONAL: bool = true;

    fn metadata(&self) -> &Loose<Metadata> {
        &self.metadata
    }

    fn convert(&self, admission: &Admission) -> Converted {
        convert::service_cidr(self, &Source::Api, admission)
    }
}

impl Watched for Namespace {
    const KIND: Kind = Kind::Namespace;
    const PLURAL: &'static str = "namespaces";
    const PATH: &'static str = "/api/v1/namespaces";
    /// Without them, Services alone say what they prefer.
    const IS_OPTIONAL: bool = true;
    const IS_IN_ROLE: bool = false;
    const IS_METADATA: bool = true;

    fn metadata(&self) -> &Loose<Metadata> {
        &self.metadata
    }

    fn convert(&self, _: &Admission) -> Converted {
        convert::namespace_object(self, &Source::Api)
    }
}

impl Watched for ServiceEntry {
    const KIND: Kind = Kind::ServiceEntry;
    const PLURAL: &'static str = "serviceentries";
    const PATH: &'static str = "/apis/networking.istio.io/v1/serviceentries";
    /// Where there is no Istio there are none.
    const IS_OPTIONAL: bool = true;
    const IS_IN_ROLE: bool = false;

    fn metadata(&self) -> &Loose<Metadata> {
        &self.metadata
    }

    fn convert(&self, admission: &Admission) -> Converted {
        convert::service_entry(self, &Source::Api, admission)
    }
}

impl Watched for NodeMetadata {
    const KIND: Kind = Kind::Locality;
    const PLURAL: &'static str = "nodes";
    const PATH: &'static str = "/api/v1/nodes";
    /// Without them, endpoints are where their slices say.
    const IS_OPTIONAL: bool = true;
    const IS_METADATA: bool = true;

    fn metadata(&self) -> &Loose<Metadata> {
        &self.metadata
    }

    fn convert(&self, _: &Admission) -> Converted {
        convert::node_metadata(self, &Source::Api)
    }
}
