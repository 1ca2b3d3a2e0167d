//! The cluster that all scenarios share: five nodes, an agent on each, servers,
//! and one folder that stands for the API.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use closeby::config::Settings;
use closeby_tools::lab::manifests::{self, Folder};
use closeby_tools::lab::{Agent, Attach, Cluster, NodeSpec, SCRATCH, Server, Spec};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::objects::Listener;

/// The program under test.
const CLOSEBY: &str = env!("CARGO_BIN_EXE_closeby");
/// How long an agent may take for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// The settings of all agents.
const CONFIG: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
detectLocalMode: NodeCIDR
";

/// Everything that outlives a scenario.
pub(crate) struct Stage {
    pub(crate) ground: Ground,
    config: PathBuf,
    agents: BTreeMap<String, Agent>,
    /// Counts what was written, so that each time something changes.
    written: u16,
}

/// What is there without agents.
pub(crate) struct Ground {
    pub(crate) cluster: Arc<Cluster>,
    /// The objects, as files.
    pub(crate) folder: Folder,
    /// The settings of all agents.
    pub(crate) settings: Settings,
    servers: BTreeMap<Listener, Server>,
}

impl Stage {
    /// `n1` to `n3` in zones a to c, `n4` and `n5` once more in zones a and b.
    /// `n2` has its pods on a bridge.
    pub(crate) fn build() -> Result<Self, Failed> {
        let node = |name, zone, attach, pods: &[&str]| {
            NodeSpec::new(name, zone, attach).pods(pods.iter().copied())
        };
        let spec = Spec::new()
            .node(node("n1", "zone-a", Attach::Routed, &["a1", "a2", "a3"]))
            .node(node("n2", "zone-b", Attach::Bridged, &["b1", "b2"]))
            .node(node("n3", "zone-c", Attach::Routed, &["c1", "c2"]))
            .node(node("n4", "zone-a", Attach::Routed, &["d1", "d2"]))
            .node(node("n5", "zone-b", Attach::Routed, &["e1", "e2"]));
        let cluster = Arc::new(Cluster::build(&spec)?);
        let root = Path::new(SCRATCH).join("upstream");
        let folder = Folder::create(root.join("manifests"))?;
        folder.write("nodes", &manifests::nodes(cluster.nodes()))?;
        let config = root.join("config.yaml");
        fs::write(&config, CONFIG)?;
        let ground = Ground {
            cluster,
            folder,
            settings: Settings::parse(CONFIG, "config.yaml")?,
            servers: BTreeMap::new(),
        };
        let mut stage = Self { ground, config, agents: BTreeMap::new(), written: 0 };
        stage.clear()?;
        Ok(stage)
    }

    /// No object but the Nodes, and every agent runs.
    pub(crate) fn clear(&mut self) -> Result<(), Failed> {
        if self.write(&[]).is_err() {
            // An agent that ended, in a scenario that failed, fails no other.
            self.agents.clear();
        }
        self.ground.cluster.forget_connections()?;
        let nodes = self.ground.cluster.nodes().iter().map(|node| node.name().to_owned());
        let missing: Vec<String> = nodes.filter(|node| !self.agents.contains_key(node)).collect();
        self.start(&missing)
    }

    /// Makes these objects those of the API; when this returns, every kernel
    /// whose agent runs has what they mean.
    pub(crate) fn write(&mut self, objects: &[Value]) -> Result<(), Failed> {
        let mut all = objects.to_vec();
        self.written += 1;
        all.push(fence(self.written));
        for agent in self.agents.values() {
            agent.forget_past();
        }
        self.ground.folder.write("objects", &all)?;
        self.agents.values_mut().try_for_each(next_generation)
    }

    /// Kills these nodes' agents with SIGKILL.
    pub(crate) fn kill(&mut self, nodes: &[String]) {
        self.agents.retain(|node, _| !nodes.contains(node));
    }

    /// Starts these nodes' agents; they have committed when this returns.
    pub(crate) fn start(&mut self, nodes: &[String]) -> Result<(), Failed> {
        for name in nodes {
            let node = self.ground.cluster.node(name);
            let log = Path::new(SCRATCH).join("upstream").join(format!("{name}.log"));
            let mut command = Command::new(CLOSEBY);
            command.arg("--manifests").arg(self.ground.folder.path());
            command.arg("--config").arg(&self.config);
            command.args(["--hostname-override", name]);
            let agent = Agent::start(node, &mut command, &log)?;
            self.agents.insert(name.clone(), agent);
        }
        let started = self.agents.iter_mut().filter(|(node, _)| nodes.contains(node));
        started.map(|(_, agent)| agent).try_for_each(next_generation)
    }

    /// Runs nft on nodes, and waits until those whose agents have something to
    /// repair have done so.
    pub(crate) fn nft(
        &mut self,
        scripts: &BTreeMap<String, String>,
        repairs: &[String],
    ) -> Result<(), Failed> {
        for node in repairs {
            self.agent(node)?.forget_past();
        }
        for (node, script) in scripts {
            self.ground.cluster.node(node).nft(script)?;
        }
        repairs.iter().try_for_each(|node| next_generation(self.agent(node)?))
    }

    fn agent(&mut self, node: &str) -> Result<&mut Agent, Failed> {
        Ok(self.agents.get_mut(node).ok_or_else(|| format!("no agent runs on {node}"))?)
    }
}

impl Ground {
    /// Lets these hosts listen, from now on and for all scenarios.
    pub(crate) fn serve(&mut self, listeners: Vec<Listener>) -> Result<(), Failed> {
        for (host, port) in listeners {
            let member = super::objects::host(&self.cluster, &host)?;
            if let Entry::Vacant(entry) = self.servers.entry((host, port)) {
                entry.insert(member.serve(port)?);
            }
        }
        Ok(())
    }

    /// Whether somebody listens there.
    pub(crate) fn listens(&self, host: &str, port: u16) -> bool {
        self.servers.contains_key(&(host.to_owned(), port))
    }
}

fn next_generation(agent: &mut Agent) -> Result<(), Failed> {
    match agent.next_generation(PATIENCE)? {
        Some(_) => Ok(()),
        None => {
            let (node, log) = (agent.node(), agent.log_tail());
            Err(format!("{node}: nothing committed within {PATIENCE:?}; its log:\n{log}").into())
        }
    }
}

/// A Service that is another one each time, so that every write is a
/// generation, even one that means nothing to a proxy.
fn fence(written: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "fence", "namespace": "lab" },
        "spec": {
            "clusterIP": "10.96.255.1",
            "ports": [{ "port": written, "protocol": "TCP" }],
        },
    })
}
