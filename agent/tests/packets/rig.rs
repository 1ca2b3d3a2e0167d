//! What the trials share: the cluster, an agent with its folder, questions to
//! `explain`, and a look at the kernel's tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use closeby::render::tables::table_ids;
use closeby_nft::kernel::{Kernel as _, Listing};
use closeby_nft::socket::Netlink;
use closeby_tools::lab::manifests::{self, Folder, Service};
use closeby_tools::lab::{
    Agent, Answer, Attach, Cluster, Family, Host, Kind, LabError, NodeSpec, Reply, SCRATCH, Server,
    Spec,
};
use libtest_mimic::Failed;
use serde_json::Value;

/// The program under test.
pub(crate) const CLOSEBY: &str = env!("CARGO_BIN_EXE_closeby");
/// Where pods listen, and where Services do.
pub(crate) const TARGET: u16 = 8080;
pub(crate) const PORT: u16 = 80;
/// How long silence must last to be called one.
pub(crate) const SILENCE: Duration = Duration::from_millis(60);
/// How long an agent may take for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Where node ports of the rig begin.
const NODE_PORTS: u16 = 30_000;

/// The cluster: `n1` is where agents run, its pods routed; `n2` is elsewhere;
/// on `n3` agents run too, and pods are bridged.
pub(crate) struct Rig {
    pub(crate) cluster: Cluster,
    _servers: Vec<Server>,
}

impl Rig {
    pub(crate) fn build() -> Result<Self, LabError> {
        let spec = Spec::new()
            .node(NodeSpec::new("n1", "zone-a", Attach::Routed).pods(["a1", "a2"]))
            .node(NodeSpec::new("n2", "zone-b", Attach::Routed).pods(["b1"]))
            .node(NodeSpec::new("n3", "zone-c", Attach::Bridged).pods(["c1", "c2"]));
        let cluster = Cluster::build(&spec)?;
        let servers =
            cluster.pods().iter().map(|pod| pod.serve(TARGET)).collect::<Result<_, _>>()?;
        Ok(Self { cluster, _servers: servers })
    }

    /// An agent's surroundings on a node: a folder with the Nodes in it, and a
    /// configuration file with these lines. Nothing runs yet, and no tables of
    /// ours are on the node.
    pub(crate) fn site(&self, node: &str, settings: &str) -> Result<Site<'_>, Failed> {
        let node = self.cluster.node(node);
        self.cluster.enter_by(node)?;
        let root = Path::new(SCRATCH).join("site");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        let folder = Folder::create(root.join("manifests"))?;
        folder.write("nodes", &manifests::nodes(self.cluster.nodes()))?;
        let config = root.join("config.yaml");
        fs::write(
            &config,
            format!(
                "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
                 mode: nftables\n{settings}"
            ),
        )?;
        node.nft("flush ruleset")?;
        self.cluster.forget_connections()?;
        Ok(Site { rig: self, node, root, folder, config, agent: None })
    }

    /// The pod that has an address.
    fn pod_at(&self, socket: &str) -> Option<&str> {
        let address = socket.parse::<SocketAddr>().ok()?.ip();
        let pod = self.cluster.pods().iter().find(|pod| pod.addresses().contains(&address));
        pod.map(Host::name)
    }
}

/// Pods told by the ranges of the Node.
pub(crate) const BY_NODE_RANGE: &str = "detectLocalMode: NodeCIDR\n";

/// A node with an agent, or with room for one.
pub(crate) struct Site<'a> {
    pub(crate) rig: &'a Rig,
    pub(crate) node: &'a Host,
    pub(crate) root: PathBuf,
    pub(crate) folder: Folder,
    pub(crate) config: PathBuf,
    agent: Option<Agent>,
}

impl Site<'_> {
    pub(crate) fn pod(&self, name: &str) -> &Host {
        self.rig.cluster.pod(name)
    }

    pub(crate) fn outside(&self) -> &Host {
        self.rig.cluster.outside()
    }

    /// Writes a Service with these pods behind it.
    pub(crate) fn put(&self, service: &Service, pods: &[&str]) -> Result<(), Failed> {
        let backends: Vec<&Host> = pods.iter().map(|pod| self.pod(pod)).collect();
        Ok(self.folder.write(&service.name, &service.objects(&backends))?)
    }

    /// The same, and waits until the kernel has it.
    pub(crate) fn change(&mut self, service: &Service, pods: &[&str]) -> Result<(), Failed> {
        let backends: Vec<&Host> = pods.iter().map(|pod| self.pod(pod)).collect();
        let objects = service.objects(&backends);
        self.write_and_wait(&service.name, &objects)
    }

    /// Writes a file, and waits until the kernel has what it says.
    pub(crate) fn write_and_wait(&mut self, name: &str, objects: &[Value]) -> Result<(), Failed> {
        self.agent()?.forget_past();
        self.folder.write(name, objects)?;
        self.next_generation()
    }

    /// Removes a file, and waits until the kernel has the rest.
    pub(crate) fn remove(&mut self, name: &str) -> Result<(), Failed> {
        self.agent()?.forget_past();
        fs::remove_file(self.folder.path().join(format!("{name}.yaml")))?;
        self.next_generation()
    }

    /// Starts the agent; when this returns, the kernel has what the folder says.
    pub(crate) fn start(&mut self) -> Result<(), Failed> {
        self.launch()?;
        self.next_generation()
    }

    /// Starts the agent, and waits for nothing.
    pub(crate) fn launch(&mut self) -> Result<(), Failed> {
        let log = self.root.join("agent.log");
        self.agent = Some(Agent::start(self.node, &mut self.command(), &log)?);
        Ok(())
    }

    /// Starts the agent with more flags, and waits as [`Self::start`] does.
    pub(crate) fn start_with(&mut self, flags: &[&str]) -> Result<(), Failed> {
        let (log, mut command) = (self.root.join("agent.log"), self.command());
        self.agent = Some(Agent::start(self.node, command.args(flags), &log)?);
        self.next_generation()
    }

    /// Kills the agent with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.agent = None;
    }

    pub(crate) fn agent(&mut self) -> Result<&mut Agent, Failed> {
        Ok(self.agent.as_mut().ok_or("no agent runs")?)
    }

    /// The agent's command line.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(CLOSEBY);
        self.arguments(&mut command);
        command
    }

    pub(crate) fn arguments(&self, command: &mut Command) {
        command.arg("--manifests").arg(self.folder.path());
        command.arg("--config").arg(&self.config);
        command.args(["--hostname-override", self.node.name()]);
    }

    /// Waits until the agent has committed something.
    pub(crate) fn next_generation(&mut self) -> Result<(), Failed> {
        let agent = self.agent()?;
        match agent.next_generation(PATIENCE)? {
            Some(_) => Ok(()),
            None => Err(format!("nothing committed; its log:\n{}", agent.log_tail()).into()),
        }
    }

    /// What `closeby explain` says about a connection.
    pub(crate) fn explain(
        &self,
        client: &Host,
        to: SocketAddr,
        proto: impl Display,
    ) -> Result<Value, Failed> {
        let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
        let from = client.address(family);
        let word = proto.to_string().to_lowercase();
        let mut command = Command::new(CLOSEBY);
        command.args(["explain", "-o", "json", "--from", &from.to_string()]);
        command.args(["--to", &format!("{to}/{word}")]);
        self.arguments(&mut command);
        if let Some(interface) = self.interface(client) {
            command.args(["--interface", &interface]);
        }
        let output = command.output()?;
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }

    /// The interface by which a client's packets come to the node.
    fn interface(&self, client: &Host) -> Option<String> {
        if client.name() == self.node.name() {
            return None;
        }
        let pods = self.rig.cluster.pods().iter().filter(|pod| pod.node() == self.node.name());
        let bridged = self.node.name() == "n3";
        let number = pods.zip(2..).find(|(pod, _)| pod.name() == client.name());
        Some(match number {
            Some(_) if bridged => "cbr0".to_owned(),
            Some((_, number)) => format!("v{number}"),
            None => "eth0".to_owned(),
        })
    }

    /// `explain` in the words of [`word`]: a verdict, or the pods and whether
    /// the source is replaced.
    pub(crate) fn explained(
        &self,
        client: &Host,
        to: SocketAddr,
        proto: impl Display,
    ) -> Result<Saw, Failed> {
        let answer = self.explain(client, to, proto)?;
        let verdict = answer["verdict"].as_str().unwrap_or_default();
        if verdict != "forward" {
            return Ok(Saw { pods: Vec::new(), how: verdict.to_owned() });
        }
        let endpoints = answer["endpoints"].as_array().cloned().unwrap_or_default();
        let used = endpoints.iter().filter(|endpoint| endpoint["used"] == true);
        let names = used.filter_map(|endpoint| self.rig.pod_at(endpoint["endpoint"].as_str()?));
        let how = if answer["masquerade"] == true { "m" } else { "n" };
        Ok(Saw { pods: names.map(str::to_owned).collect(), how: how.to_owned() })
    }

    /// What the kernel has of ours, and its count of transactions.
    pub(crate) fn listing(&self) -> Result<Listing, Failed> {
        Ok(self.node.netns().run(|| {
            let list = || Netlink::open().ok()?.list(&table_ids()).ok();
            list().ok_or_else(|| LabError::Plan("the kernel does not list".to_owned()))
        })?)
    }
}

/// What came of some connections: who answered, and how (`n`: source kept,
/// `m`: replaced; otherwise the verdict alone).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Saw {
    pub(crate) pods: Vec<String>,
    pub(crate) how: String,
}

impl Saw {
    pub(crate) fn of(client: &Host, answers: &[Answer]) -> Self {
        let mut pods = BTreeSet::new();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for answer in answers {
            let how = match answer {
                Answer::From(reply) => {
                    pods.insert(reply.pod.clone());
                    (if replaced(client, reply) { "m" } else { "n" }).to_owned()
                }
                Answer::Refused => "reject".to_owned(),
                Answer::TimedOut => "drop".to_owned(),
                other => format!("{other:?}"),
            };
            *counts.entry(how).or_default() += 1;
        }
        // A node's own connection may get another port though nobody asked for
        // it: where a masqueraded one to the same endpoint drew that port.
        let rare = answers.len() / 8;
        if let (Some(&kept), Some(&replaced)) = (counts.get("n"), counts.get("m"))
            && client.kind() == Kind::Node
            && kept.min(replaced) <= rare
        {
            counts.remove(if kept < replaced { "n" } else { "m" });
        }
        let how: Vec<String> = counts.into_keys().collect();
        Self { pods: pods.into_iter().collect(), how: how.join("|") }
    }

    /// These pods, and how.
    pub(crate) fn expected(pods: &[&str], how: &str) -> Self {
        let pods = pods.iter().map(|pod| (*pod).to_owned()).collect();
        Self { pods, how: how.to_owned() }
    }
}

/// Whether the server saw another source. A node has one address to be replaced
/// by, its own: there the port tells.
fn replaced(client: &Host, reply: &Reply) -> bool {
    match client.kind() {
        Kind::Node => reply.seen_source != reply.sent_from,
        Kind::Pod | Kind::Outside | Kind::Fabric => reply.masqueraded(),
    }
}

/// A Service of the rig by number: its addresses and its node port follow.
pub(crate) fn service(name: &str, number: u8) -> Service {
    let addresses = Family::BOTH.map(|family| vip(number, family));
    let node_port = Some(node_port(number));
    Service { node_port, ..Service::new(name, addresses, PORT, TARGET) }
}

/// The same with a load balancer and external addresses.
pub(crate) fn exposed(name: &str, number: u8) -> Service {
    let all = |at: fn(u8, Family) -> SocketAddr| {
        Family::BOTH.map(|family| at(number, family).ip()).to_vec()
    };
    let (balancers, external_ips) = (all(at_balancer), all(at_external_ip));
    Service { balancers, external_ips, ..service(name, number) }
}

/// Where the load balancer of a Service is.
pub(crate) fn at_balancer(number: u8, family: Family) -> SocketAddr {
    let addr: IpAddr = match family {
        Family::V4 => [203, 0, 113, number].into(),
        Family::V6 => [0xfd00, 0x203, 0, 0x113, 0, 0, 0, u16::from(number)].into(),
    };
    SocketAddr::new(addr, PORT)
}

/// An external address of a Service.
pub(crate) fn at_external_ip(number: u8, family: Family) -> SocketAddr {
    let addr: IpAddr = match family {
        Family::V4 => [198, 51, 100, number].into(),
        Family::V6 => [0xfd00, 0x198, 0x51, 0x100, 0, 0, 0, u16::from(number)].into(),
    };
    SocketAddr::new(addr, PORT)
}

pub(crate) fn vip(number: u8, family: Family) -> IpAddr {
    match family {
        Family::V4 => [10, 96, 0, number].into(),
        Family::V6 => [0xfd00, 0x10, 0x96, 0, 0, 0, 0, u16::from(number)].into(),
    }
}

pub(crate) fn node_port(number: u8) -> u16 {
    NODE_PORTS + u16::from(number)
}

pub(crate) fn at_vip(number: u8, family: Family) -> SocketAddr {
    SocketAddr::new(vip(number, family), PORT)
}

pub(crate) fn at_node(node: &Host, number: u8, family: Family) -> SocketAddr {
    SocketAddr::new(node.address(family), node_port(number))
}

/// Runs `ip` on a host.
pub(crate) fn ip(host: &Host, words: &str) -> Result<(), Failed> {
    let status = host.spawn(Command::new("ip").args(words.split_whitespace()))?.wait()?;
    check(status.success(), &format!("ip {words}"), &status)
}

/// Asks again and again until it is so; the time that took.
pub(crate) fn until(
    within: Duration,
    what: &str,
    mut holds: impl FnMut() -> Result<bool, Failed>,
) -> Result<Duration, Failed> {
    let start = Instant::now();
    while !holds()? {
        if start.elapsed() > within {
            return Err(format!("not within {within:?}: {what}").into());
        }
    }
    Ok(start.elapsed())
}

pub(crate) fn check(holds: bool, what: &str, saw: &impl std::fmt::Debug) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(format!("{what}: {saw:?}").into()) }
}
