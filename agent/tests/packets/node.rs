//! What the node is changes while the agent runs: its addresses, its Node
//! object. The agent follows, and goes on running.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use closeby_tools::lab::manifests::{self, Distribution, Service};
use closeby_tools::lab::{Answer, Family, Host, LabError, Proto, Request};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::Trials;
use super::rig::{
    BY_NODE_RANGE, PATIENCE, Rig, Saw, Site, at_node, at_vip, check, ip, node_port, service, until,
};

pub(crate) const ALL: Trials = &[
    ("an_address_that_comes_serves_and_one_that_goes_does_not", |rig| {
        addresses_come_and_go(rig, "nodePortAddresses: [\"192.0.2.0/24\", \"2001:db8:5::/64\"]\n")
    }),
    ("where_all_addresses_serve_a_new_one_does", |rig| {
        addresses_come_and_go(rig, "nodePortAddresses: [all]\n")
    }),
    ("the_nodes_first_address_moves", the_nodes_first_address_moves),
    ("a_node_changes_its_zone_and_its_pods_range", a_node_changes_its_zone_and_its_pods_range),
    ("a_node_that_is_deleted_goes_on", a_node_that_is_deleted_goes_on),
    ("connection_tracking_is_set_as_asked", connection_tracking_is_set_as_asked),
];

/// From the end of a change of the node to the packets that show it.
const PROMISE: Duration = Duration::from_secs(1);

/// An interface that comes with its addresses, and goes with them.
struct Guest<'a> {
    site: &'a Site<'a>,
}

impl<'a> Guest<'a> {
    const ADDRESSES: [&'static str; 2] = ["192.0.2.7", "2001:db8:5::7"];

    fn come(site: &'a Site<'a>) -> Result<Self, Failed> {
        ip(site.node, "link add guest type bridge")?;
        let guest = Self { site };
        ip(site.node, "link set guest up")?;
        ip(site.node, &format!("addr add {}/24 dev guest", Self::ADDRESSES[0]))?;
        ip(site.node, &format!("addr add {}/64 dev guest nodad", Self::ADDRESSES[1]))?;
        // An IPv6 address is the host's own a moment after it can be seen on the interface; what
        // is sent there before goes out by it.
        let is_own = || Self::is_own(site.node, Self::ADDRESSES[1]);
        until(PROMISE, "the address is the host's own", is_own)?;
        Ok(guest)
    }

    fn is_own(node: &Host, address: &str) -> Result<bool, Failed> {
        let mut command = Command::new("ip");
        command.args(["-6", "route", "show", "table", "local", address]).stdout(Stdio::piped());
        Ok(!node.spawn(&mut command)?.wait_with_output()?.stdout.is_empty())
    }

    fn go(self) -> Result<(), Failed> {
        let site = self.site;
        std::mem::forget(self);
        ip(site.node, "link del guest")
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        if ip(self.site.node, "link del guest").is_err() {
            eprintln!("the guest stays: later trials see it");
        }
    }
}

fn at(address: &str) -> Result<SocketAddr, Failed> {
    Ok(SocketAddr::new(address.parse::<IpAddr>()?, node_port(1)))
}

/// Asks until it is so; the rules may be there a moment before the answer.
fn soon(site: &Site<'_>, to: SocketAddr, what: &str, expected: &Saw) -> Result<(), Failed> {
    let client = site.pod("a1");
    for proto in Proto::BOTH {
        let told = format!("{what}: {to} {proto}: {expected:?}");
        let asked = || Saw::of(client, &[client.request(&Request::new(to, proto))]);
        until(PROMISE, &told, || Ok(asked() == *expected))?;
    }
    Ok(())
}

fn addresses_come_and_go(rig: &Rig, settings: &str) -> Result<(), Failed> {
    let mut site = rig.site("n1", &format!("{BY_NODE_RANGE}{settings}"))?;
    site.put(&service("web", 1), &["a2"])?;
    site.start()?;
    let before = site.listing()?.ruleset;
    for round in ["comes", "comes again"] {
        let guest = Guest::come(&site)?;
        for address in Guest::ADDRESSES {
            soon(&site, at(address)?, round, &Saw::expected(&["a2"], "m"))?;
        }
        guest.go()?;
        until(PROMISE, "the rules forget it", || Ok(site.listing()?.ruleset == before))?;
    }
    // All the time this agent, and no other.
    site.change(&service("web", 1), &["b1"])
}

/// The Nodes, this site's changed.
fn nodes(site: &Site<'_>, edit: impl Fn(&mut Value)) -> Vec<Value> {
    let mut nodes = manifests::nodes(site.rig.cluster.nodes());
    nodes.iter_mut().filter(|node| node["metadata"]["name"] == site.node.name()).for_each(edit);
    nodes
}

fn the_nodes_first_address_moves(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&service("web", 1), &["a2"])?;
    site.start()?;
    let (served, refused) = (Saw::expected(&["a2"], "m"), Saw::expected(&[], "reject"));
    let moved = nodes(&site, |node| {
        let address = |address: &str| json!({ "type": "InternalIP", "address": address });
        node["status"]["addresses"] = Guest::ADDRESSES.map(address).into();
    });
    // The object is ahead of the host: nothing is served until both agree.
    site.write_and_wait("nodes", &moved)?;
    for family in Family::BOTH {
        soon(&site, at_node(site.node, 1, family), "the old one", &refused)?;
    }
    let guest = Guest::come(&site)?;
    for address in Guest::ADDRESSES {
        soon(&site, at(address)?, "the new one", &served)?;
    }
    guest.go()
}

fn a_node_changes_its_zone_and_its_pods_range(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let near = Service { distribution: Some(Distribution::PreferClose), ..service("web", 1) };
    site.put(&near, &["a2", "b1"])?;
    site.start()?;
    let expect = |site: &Site<'_>, pod: &str, how: &str| {
        let client = site.pod("a1");
        Family::BOTH.into_iter().try_for_each(|family| {
            let answers = client.requests(&Request::new(at_vip(1, family), Proto::Tcp), 8, 4);
            let saw = Saw::of(client, &answers);
            check(saw == Saw::expected(&[pod], how), &format!("{family} {pod} {how}"), &saw)
        })
    };
    expect(&site, "a2", "n")?;
    let zone = |node: &mut Value| {
        node["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!("zone-b");
    };
    site.write_and_wait("nodes", &nodes(&site, zone))?;
    expect(&site, "b1", "n")?;
    let range = |node: &mut Value| {
        zone(node);
        node["spec"]["podCIDRs"] = json!(["10.77.0.0/24", "fd00:77::/64"]);
    };
    site.write_and_wait("nodes", &nodes(&site, range))?;
    expect(&site, "b1", "m")?;
    site.write_and_wait("nodes", &nodes(&site, |_| {}))?;
    expect(&site, "a2", "n")
}

/// Nothing changes for packets, and the next Node is followed.
fn a_node_that_is_deleted_goes_on(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let near = Service { distribution: Some(Distribution::PreferClose), ..service("web", 1) };
    site.put(&near, &["a2", "b1"])?;
    site.start()?;
    let before = site.listing()?;
    let mut others = nodes(&site, |_| {});
    others.retain(|node| node["metadata"]["name"] != site.node.name());
    site.folder.write("nodes", &others)?;
    let told = "Node n1: is gone; its zone, addresses and podCIDRs stay in force as last seen";
    until(PATIENCE, "a note", || Ok(site.agent()?.log_tail().contains(told)))?;
    check(site.listing()? == before, "the rules are as they were", &())?;
    let answer = site.pod("a1").request(&Request::new(at_vip(1, Family::V4), Proto::Tcp));
    check(matches!(&answer, Answer::From(reply) if reply.pod == "a2"), "served", &answer)?;
    let zone = |node: &mut Value| {
        node["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!("zone-b");
    };
    site.write_and_wait("nodes", &nodes(&site, zone))?;
    let answer = site.pod("a1").request(&Request::new(at_vip(1, Family::V4), Proto::Tcp));
    check(matches!(&answer, Answer::From(reply) if reply.pod == "b1"), "followed", &answer)
}

/// The number of entries is the machine's, not the namespace's: there it is told that it stays.
fn connection_tracking_is_set_as_asked(rig: &Rig) -> Result<(), Failed> {
    let asked = "conntrack: {maxPerCore: 0, tcpCloseWaitTimeout: 90s, tcpBeLiberal: true, \
                 udpTimeout: 77s, udpStreamTimeout: 0s}\n";
    let site = rig.site("n1", &format!("{BY_NODE_RANGE}{asked}"))?;
    let read = |name: &str| {
        site.node.netns().run(|| {
            let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
            let doing = format!("reading {path}");
            fs::read_to_string(path).map_err(|source| LabError::Io { doing, source })
        })
    };
    let stream = read("udp_timeout_stream")?;
    let init = |config: &str| -> Result<Output, Failed> {
        let mut command = site.command();
        command.arg("--init-only").stdout(Stdio::piped()).stderr(Stdio::piped());
        fs::write(&site.config, config)?;
        Ok(site.node.spawn(&mut command)?.wait_with_output()?)
    };
    let whole = fs::read_to_string(&site.config)?;
    let done = init(&whole)?;
    check(done.status.success(), "everything is set", &done)?;
    for (name, value) in [
        ("tcp_timeout_established", "86400"),
        ("tcp_timeout_close_wait", "90"),
        ("tcp_be_liberal", "1"),
        ("udp_timeout", "77"),
        ("udp_timeout_stream", stream.trim()),
    ] {
        let now = read(name)?;
        check(now.trim() == value, name, &now)?;
    }
    let refused = init(&whole.replace("maxPerCore: 0", "maxPerCore: 1, min: 1000"))?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let told = "/proc/sys/net/netfilter/nf_conntrack_max cannot be set to 1000: ";
    check(refused.status.code() == Some(3) && said.contains(told), "told what stays", &said)
}
