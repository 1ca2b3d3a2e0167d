//! Istio's objects as they are written, as far as they are read here.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::MapAccess;
use serde::de::value::MapAccessDeserializer;

use super::super::loose::{Lenient, Loose};
use super::{Labels, List, Metadata};

objects! {
    /// A ServiceEntry, `networking.istio.io/v1`.
    ServiceEntry {
        /// Who it is.
        metadata: Loose<Metadata>,
        /// What is asked for.
        spec: Loose<ServiceEntrySpec>,
        /// What Istio made of it.
        status: Loose<ServiceEntryStatus>,
    }

    /// `spec` of a ServiceEntry.
    ServiceEntrySpec {
        /// Its addresses; prefixes, too.
        addresses: List<String>,
        /// Its ports.
        ports: List<ServiceEntryPort>,
        /// How endpoints are found: `STATIC` means that they are written here.
        resolution: Loose<String>,
        /// The endpoints.
        endpoints: List<WorkloadEntry>,
        /// Which pods are endpoints.
        workload_selector: Loose<WorkloadSelector>,
        /// The Namespaces that may see it: `*` for all, `.` for its own.
        export_to: List<String>,
    }

    /// `workloadSelector` of a ServiceEntry.
    WorkloadSelector {
        /// Labels of pods.
        labels: Loose<Labels>,
    }

    /// A port of a ServiceEntry.
    ServiceEntryPort {
        /// The port of the addresses.
        number: Loose<i64>,
        /// The port of endpoints that say nothing else.
        target_port: Loose<i64>,
        /// Its name.
        name: Loose<String>,
        /// `TCP`, `UDP`, or what is spoken over TCP.
        protocol: Loose<String>,
    }

    /// An endpoint of a ServiceEntry.
    WorkloadEntry {
        /// Its address, or its name.
        address: Loose<String>,
        /// Where it listens, by the names of ports.
        ports: Loose<BTreeMap<String, Loose<i64>>>,
        /// Where it is: `region/zone/subzone`.
        locality: Loose<String>,
        /// The network that its address is of.
        network: Loose<String>,
    }

    /// `status` of a ServiceEntry.
    ServiceEntryStatus {
        /// Addresses that Istio gave to it.
        addresses: List<ServiceEntryAddress>,
    }

    /// An address that Istio gave to a ServiceEntry.
    ServiceEntryAddress {
        /// The address.
        value: Loose<String>,
    }
}
