//! The kinds that are watched: where the API has them and which of them.
//!
//! PURE. The selectors are kube-proxy's (`cmd/kube-proxy/app/server.go`).

use serde::Deserialize;

use super::super::convert::{self, Converted, LABEL_HEADLESS, LABEL_SERVICE_PROXY_NAME, Source};
use super::super::loose::Loose;
use super::super::objects::{EndpointSlice, Metadata, Node, Service, ServiceCidr};
use super::line::text;
use crate::model::{Kind, NodeName};

/// A kind of objects, as its type.
pub(super) trait Watched: for<'de> Deserialize<'de> {
    const KIND: Kind;
    /// Its name in addresses and in roles.
    const PLURAL: &'static str;
    /// Where it is.
    const PATH: &'static str;
    /// Objects with this label are not asked for.
    const WITHOUT_LABEL: Option<&'static str>;
    /// Whether the agent works without it: an API server may not have it.
    const IS_OPTIONAL: bool = false;

    /// Which of them this node asks for.
    fn fields(_node: &NodeName) -> Option<String> {
        None
    }

    fn metadata(&self) -> &Loose<Metadata>;

    fn convert(&self) -> Converted;

    /// Which state of it this is; empty if it does not say.
    fn version(&self) -> &str {
        text(self.metadata().as_option().map(|metadata| &metadata.resource_version))
    }
}

impl Watched for Service {
    const KIND: Kind = Kind::Service;
    const PLURAL: &'static str = "services";
    const PATH: &'static str = "/api/v1/services";
    const WITHOUT_LABEL: Option<&'static str> = Some(LABEL_SERVICE_PROXY_NAME);

    fn fields(_node: &NodeName) -> Option<String> {
        Some("spec.clusterIP!=None".to_owned())
    }

    fn metadata(&self) -> &Loose<Metadata> {
        &self.metadata
    }

    fn convert(&self) -> Converted {
        convert::service(self, &Source::Api)
    }
}

impl Watched for EndpointSlice {
    const KIND: Kind = Kind::Slice;
    const PLURAL: &'static str = "endpointslices";
    const PATH: &'static str = "/apis/discovery.k8s.io/v1/endpointslices";
    const WITHOUT_LABEL: Option<&'static str> = Some(LABEL_HEADLESS);

    fn metadata(&self) -> &Loose<Metadata> {
        &self.metadata
    }

    fn convert(&self) -> Converted {
        convert::slice(self, &Source::Api)
    }
}

impl Watched for Node {
    const KIND: Kind = Kind::Node;
    const PLURAL: &'static str = "nodes";
    const PATH: &'static str = "/api/v1/nodes";
    const WITHOUT_LABEL: Option<&'static str> = None;

    fn fields(node: &NodeName) -> Option<String> {
        Some(format!("metadata.name={}", node.as_str()))
    }

    fn metadata(&self) -> &Loose<Metadata> {
        &self.metadata
    }

    fn convert(&self) -> Converted {
        convert::node(self, &Source::Api)
    }
}

impl Watched for ServiceCidr {
    const KIND: Kind = Kind::ServiceCidr;
    const PLURAL: &'static str = "servicecidrs";
    const PATH: &'static str = "/apis/networking.k8s.io/v1/servicecidrs";
    const WITHOUT_LABEL: Option<&'static str> = None;
    /// Served since 1.33; without them B-29 does not hold, and nothing else.
    const IS_OPTIONAL: bool = true;

    fn metadata(&self) -> &Loose<Metadata> {
        &self.metadata
    }

    fn convert(&self) -> Converted {
        convert::service_cidr(self, &Source::Api)
    }
}
