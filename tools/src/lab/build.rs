//! Lays a cluster out: namespaces, links, addresses, routes. A fabric (one bridge) joins the nodes
//! and the client outside; it routes to pods, and answers "unreachable" for every service address
//! that no node translated, so that a missing rule and a dropping rule do not look alike.

use std::thread;

use super::error::LabError;
use super::host::{Host, Kind};
use super::ip;
use super::netns::Netns;
use super::ready;
use super::spec::{
    Attach, EXTERNAL_RANGES, FIRST_NODE, Family, NodeSpec, Pair, SERVICE_RANGES, Spec,
};

/// The fabric's own number, and the client's.
const GATEWAY: u8 = 1;
const OUTSIDE: u8 = 100;

/// The next hop of routed pods: no interface has these addresses, the pods know the link address.
const NEXT_HOPS: [&str; 2] = ["169.254.1.1", "fe80::1"];
const NODE_END: &str = "ee:ee:ee:ee:ee:ee";

/// Everywhere: no waiting for duplicate addresses, no learning of routes, no reverse path filter.
const QUIET: [(&str, &str); 12] = [
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/accept_redirects", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
];
const FORWARD: [(&str, &str); 2] = [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];
/// Everywhere: who is refused hears of it. By default a kernel sends six ICMP errors to a peer at
/// once and then one a second (`inet_peer_xrlim_allow`); the others would look like a drop.
const TALKATIVE: [(&str, &str); 2] = [("ipv4/icmp_ratemask", "0"), ("ipv6/icmp/ratemask", "\n")];

/// Everywhere: time stamps as the machine's clock has them, one for all. Clients that share an
/// address behind masquerading would else differ in theirs, and a server takes one that draws the
/// port of another's late connection for that one's past: its SYN is lost (`PAWSTimewait`).
const ONE_CLOCK: [(&str, &str); 1] = [("ipv4/tcp_timestamps", "2")];

/// A running cluster. Dropping it closes its namespaces; the kernel takes them down.
#[derive(Debug)]
pub struct Cluster {
    fabric: Host,
    nodes: Vec<Host>,
    pods: Vec<Host>,
    outside: Option<Host>,
}

impl Cluster {
    /// Builds what `spec` describes. When it returns, every member reaches every other.
    ///
    /// # Errors
    /// Where `spec` cannot be built, or the kernel or `ip` refuses a step.
    pub fn build(spec: &Spec) -> Result<Self, LabError> {
        spec.check()?;
        let cluster = Self::namespaces(spec)?;
        cluster.lay_fabric()?;
        at_once(cluster.numbered(spec), |(number, node)| cluster.lay_node(number, node))?;
        let pods = cluster.numbered(spec).flat_map(|(number, node)| {
            (2_u8..).zip(&node.pods).map(move |(pod, spec)| (node.attach, number, pod, &spec.name))
        });
        at_once(pods, |(attach, number, pod, name)| {
            let commands = match attach {
                Attach::Routed => routed_pod(number, pod),
                Attach::Bridged => bridged_pod(number, pod),
            };
            ip::batch(name, cluster.pod(name).netns(), &commands)
        })?;
        let pods = cluster.pods.iter().map(|pod| (pod, cluster.node(pod.node())));
        let others = cluster.nodes.iter().chain(&cluster.outside);
        let others = others.map(|member| (member, &cluster.fabric));
        at_once(pods.chain(others), |(from, to)| ready::reaches(from, to))?;
        Ok(cluster)
    }

    /// The pod of this name.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn pod(&self, name: &str) -> &Host {
        find(&self.pods, name)
    }

    /// The node of this name: its own network, where pods with `hostNetwork` and agents live.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn node(&self, name: &str) -> &Host {
        find(&self.nodes, name)
    }

    /// The client outside.
    ///
    /// # Panics
    /// If the cluster was built without.
    #[must_use]
    pub fn outside(&self) -> &Host {
        self.outside.as_ref().unwrap_or_else(|| panic!("this cluster has no client outside"))
    }

    /// All nodes, in the order of their numbers.
    #[must_use]
    pub fn nodes(&self) -> &[Host] {
        &self.nodes
    }

    /// Makes every node forget the connections it tracks. A connection that comes back from a
    /// port that is still known would follow its old way, whatever the rules say by now.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn forget_connections(&self) -> Result<(), LabError> {
        self.nodes.iter().try_for_each(|node| node.netns().forget_connections())
    }

    /// All pods, node by node.
    #[must_use]
    pub fn pods(&self) -> &[Host] {
        &self.pods
    }

    /// The network between the nodes, for loss, partitions and captures.
    #[must_use]
    pub fn fabric(&self) -> &Host {
        &self.fabric
    }

    /// Makes the client outside send service addresses to this node from now on (at first, they
    /// go to the first node).
    ///
    /// # Errors
    /// Where `ip` refuses.
    pub fn enter_by(&self, node: &Host) -> Result<(), LabError> {
        ip::batch("outside", self.outside().netns(), &by_node("replace", node))
    }

    /// Makes a node send a range of IPv4 addresses to one of its routed pods.
    ///
    /// # Errors
    /// Where `ip` refuses.
    pub fn lead(&self, range: &str, pod: &Host) -> Result<(), LabError> {
        let (node, via) = (self.node(pod.node()), pod.address(Family::V4));
        let route = format!("route add {range} via {via}");
        ip::batch(node.name(), node.netns(), &[route])
    }

    /// Makes all namespaces, nothing in them yet.
    fn namespaces(spec: &Spec) -> Result<Self, LabError> {
        let member = |kind, name: &str, node: &NodeSpec, pair| {
            let (at, zone) = match kind {
                Kind::Pod | Kind::Node => (node.name.as_str(), node.zone.as_str()),
                Kind::Outside | Kind::Fabric => ("", ""),
            };
            let netns = Netns::new(kind == Kind::Node)?;
            ip::sysctls(&netns, &QUIET)?;
            ip::sysctls(&netns, &TALKATIVE)?;
            ip::sysctls(&netns, &ONE_CLOCK)?;
            if matches!(kind, Kind::Node | Kind::Fabric) {
                ip::sysctls(&netns, &FORWARD)?;
            }
            Ok::<_, LabError>(Host::new(kind, name, at, zone, pair, netns))
        };
        let first = &spec.nodes[0];
        let fabric = member(Kind::Fabric, "fabric", first, Pair::fabric(GATEWAY))?;
        let (mut nodes, mut pods) = (Vec::new(), Vec::new());
        for (number, node) in (1_u8..).zip(&spec.nodes) {
            nodes.push(member(Kind::Node, &node.name, node, node_pair(number))?);
            for (pod, spec) in (2_u8..).zip(&node.pods) {
                pods.push(member(Kind::Pod, &spec.name, node, Pair::pod(number, pod))?);
            }
        }
        let outside =
            spec.outside.then(|| member(Kind::Outside, "outside", first, Pair::fabric(OUTSIDE)));
        Ok(Self { fabric, nodes, pods, outside: outside.transpose()? })
    }

    /// The bridge, a cable to every node and to the client, routes to pods; then the client.
    fn lay_fabric(&self) -> Result<(), LabError> {
        let mut commands = bridge("br0", Pair::fabric(GATEWAY));
        let members = self.nodes.iter().chain(&self.outside);
        for (number, member) in members.enumerate() {
            let inside = member.netns().path()?;
            commands.push(format!(
                "link add port{number} type veth peer name eth0 netns {}",
                inside.display()
            ));
            commands.push(format!("link set port{number} master br0 up"));
        }
        commands.extend(self.routes_to_pods(None));
        ip::batch("the fabric", self.fabric.netns(), &commands)?;
        let Some(outside) = &self.outside else { return Ok(()) };
        let mut commands = on_fabric(Pair::fabric(OUTSIDE));
        commands.extend(self.routes_to_pods(None));
        commands.extend(by_node("add", &self.nodes[0]));
        ip::batch("outside", outside.netns(), &commands)
    }

    /// A node's own addresses and routes, and its end of the cables to its pods.
    fn lay_node(&self, number: u8, node: &NodeSpec) -> Result<(), LabError> {
        let mut commands = on_fabric(node_pair(number));
        commands.extend(self.routes_to_pods(Some(number)));
        if node.attach == Attach::Bridged {
            commands.extend(bridge("cbr0", Pair::pod(number, 1)));
        }
        for (pod, spec) in (2_u8..).zip(&node.pods) {
            let inside = self.pod(&spec.name).netns().path()?;
            let cable = format!("veth peer name eth0 netns {}", inside.display());
            commands.push(format!("link add v{pod} address {NODE_END} type {cable}"));
            match node.attach {
                Attach::Bridged => {
                    commands.push(format!("link set v{pod} master cbr0 up"));
                    commands.push(format!("link set v{pod} type bridge_slave hairpin on"));
                }
                Attach::Routed => {
                    commands.push(format!("link set v{pod} up"));
                    for (to, own) in
                        Pair::pod(number, pod).both().iter().zip(node_pair(number).both())
                    {
                        commands.push(format!("route add {to} dev v{pod} src {own}"));
                    }
                }
            }
        }
        ip::batch(&node.name, self.node(&node.name).netns(), &commands)
    }

    /// Routes to the pods of all nodes but one.
    fn routes_to_pods(&self, except: Option<u8>) -> Vec<String> {
        let others = (1_u8..).zip(&self.nodes).filter(|(number, _)| Some(*number) != except);
        let pairs = others.flat_map(|(number, node)| {
            Pair::pod(number, 1).networks().into_iter().zip(node.addresses())
        });
        pairs.map(|(network, via)| format!("route add {network} via {via}")).collect()
    }

    fn numbered<'a>(&self, spec: &'a Spec) -> impl Iterator<Item = (u8, &'a NodeSpec)> + use<'a> {
        (1_u8..).zip(&spec.nodes)
    }
}

fn node_pair(number: u8) -> Pair {
    Pair::fabric(FIRST_NODE + number)
}

fn bridge(name: &str, own: Pair) -> Vec<String> {
    let mut commands = vec![
        "link set lo up".to_owned(),
        format!("link add {name} type bridge forward_delay 0 mcast_snooping 0"),
        format!("link set {name} up"),
    ];
    commands.extend(addresses(name, own, ["24", "64"], ""));
    commands
}

/// A member of the fabric: two addresses, everything unknown goes to the fabric.
fn on_fabric(own: Pair) -> Vec<String> {
    let mut commands = vec!["link set lo up".to_owned(), "link set eth0 up".to_owned()];
    commands.extend(addresses("eth0", own, ["24", "64"], ""));
    commands.extend(Pair::fabric(GATEWAY).both().map(|via| format!("route add default via {via}")));
    commands
}

fn routed_pod(node: u8, pod: u8) -> Vec<String> {
    let mut commands = vec!["link set lo up".to_owned(), "link set eth0 up".to_owned()];
    commands.extend(addresses("eth0", Pair::pod(node, pod), ["32", "128"], ""));
    commands.push(format!("route add {} dev eth0 scope link", NEXT_HOPS[0]));
    for via in NEXT_HOPS {
        commands.push(format!("neigh add {via} lladdr {NODE_END} dev eth0 nud permanent"));
        commands.push(format!("route add default via {via} dev eth0"));
    }
    commands
}

fn bridged_pod(node: u8, pod: u8) -> Vec<String> {
    let mut commands = vec!["link set lo up".to_owned(), "link set eth0 up".to_owned()];
    commands.extend(addresses("eth0", Pair::pod(node, pod), ["24", "64"], "noprefixroute"));
    for via in Pair::pod(node, 1).both() {
        commands.push(format!("route add {via} dev eth0"));
        commands.push(format!("route add default via {via}"));
    }
    commands
}

fn addresses(link: &str, own: Pair, lengths: [&str; 2], flags: &str) -> [String; 2] {
    let Pair { v4, v6 } = own;
    [
        format!("addr add {v4}/{} dev {link} {flags}", lengths[0]),
        format!("addr add {v6}/{} dev {link} nodad {flags}", lengths[1]),
    ]
}

/// Routes that send service addresses to one node.
fn by_node(verb: &str, node: &Host) -> Vec<String> {
    let ranges = SERVICE_RANGES.iter().chain(&EXTERNAL_RANGES);
    let [v4, v6] = node.addresses();
    let via = |range: &str| if range.contains(':') { v6 } else { v4 };
    ranges.map(|range| format!("route {verb} {range} via {}", via(range))).collect()
}

fn find<'a>(hosts: &'a [Host], name: &str) -> &'a Host {
    hosts.iter().find(|host| host.name() == name).unwrap_or_else(|| {
        let names: Vec<_> = hosts.iter().map(Host::name).collect();
        panic!("no {name} in this cluster, only {}", names.join(", "))
    })
}

/// Does the same for all items, each on a thread of its own; the first failure is told.
fn at_once<T: Send>(
    items: impl Iterator<Item = T>,
    work: impl Fn(T) -> Result<(), LabError> + Sync,
) -> Result<(), LabError> {
    thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = items.map(|item| scope.spawn(move || work(item))).collect();
        let mut ends = workers.into_iter().map(thread::ScopedJoinHandle::join);
        ends.try_for_each(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
