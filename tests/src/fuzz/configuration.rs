//! kube-proxy's configuration: refused in one line, or settings that every
//! cluster can be compiled with.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use closeby::config::{self, Settings};
use closeby::model::{Change, Cluster, HostAddresses, Node};
use closeby_nft::Family;

use super::{assert_is_a_line, assert_is_sound};
use crate::made::Made;
use crate::small;

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let mut cluster = Cluster::default();
    for number in 0..4 {
        cluster.apply(Change::Service(small::service(number, true, number % 2 == 0)));
        cluster.apply(Change::Slice(small::slice(number, number % 2 == 1, number)));
    }
    cluster
});

/// Tries bytes as a configuration file.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let settings = match Settings::parse(text, "config.conf") {
        Ok(settings) => settings,
        Err(error) => {
            assert_is_a_line(&error);
            assert!(!error.problem.is_empty(), "{error} says not what to do");
            return;
        }
    };
    settings.remarks.iter().for_each(|remark| assert_is_a_line(remark));
    assert!(!settings.node_port_addresses.is_empty());
    let node = small::node(0);
    let families: [BTreeSet<Family>; 2] = [Family::BOTH.into(), [Family::Ip].into()];
    for families in families {
        for node in [None, Some(&node)] {
            assert_can_be_used(&settings, node, &families);
        }
    }
}

fn assert_can_be_used(settings: &Settings, node: Option<&Node>, families: &BTreeSet<Family>) {
    let name = small::node(0).name;
    let host: HostAddresses = small::host(3);
    let (facts, notes) = config::facts(settings, &name, node, families, &host);
    notes.iter().chain(&facts.notes()).for_each(|note| assert_is_a_line(note));
    assert_is_sound(&Made::at_once(&CLUSTER, &Arc::new(facts)));
}
