//! The stage of the story: the cluster, the manifests, one agent per node, and the servers of all
//! pods. After a change it waits until every agent says that the change is in the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use closeby_tools::lab::manifests::{self, Folder, Service};
use closeby_tools::lab::{Agent, Attach, Cluster, NodeSpec, POD_RANGES, SCRATCH, Server, Spec};

use crate::steps::{Catalog, ZONES};

/// The port all pods serve.
pub(crate) const TARGET: u16 = 8080;
/// The port of `ui` on every node.
pub(crate) const NODE_PORT: u16 = 30080;
/// How long an agent may take until its first generation, and to follow a change.
pub(crate) const START: Duration = Duration::from_secs(15);
const FOLLOW: Duration = Duration::from_secs(3);

/// Everything that plays.
#[derive(Debug)]
pub(crate) struct Stage {
    cluster: Cluster,
    folder: Folder,
    /// The servers of `catalog`, by zone, and of `ui`.
    catalog: BTreeMap<&'static str, Server>,
    _ui: Vec<Server>,
    agents: Vec<Agent>,
}

impl Stage {
    /// Builds the cluster, writes the first manifests and starts the agents on them.
    pub(crate) fn build(agent: &Path, first: Catalog, keep: Option<&Path>) -> anyhow::Result<Self> {
        let home = home(keep)?;
        let cluster = Cluster::build(&cluster())?;
        let folder = Folder::create(home.join("manifests"))?;
        folder.write("nodes", &manifests::nodes(cluster.nodes()))?;
        let ui = ZONES.map(|zone| cluster.pod(&in_zone("ui", zone)));
        folder.write("ui", &ui_service().objects(&ui))?;
        let servers = ui.iter().map(|pod| pod.serve(TARGET)).collect::<Result<_, _>>()?;
        let mut stage =
            Self { cluster, folder, catalog: BTreeMap::new(), _ui: servers, agents: Vec::new() };
        stage.put(first)?;
        stage.agents = start_agents(&stage.cluster, &stage.folder, agent, &home)?;
        for agent in &mut stage.agents {
            if agent.next_generation(START)?.is_none() {
                let (node, tail) = (agent.node(), agent.log_tail());
                bail!("the agent on {node} reported no generation in {START:?}; it said:\n{tail}");
            }
        }
        Ok(stage)
    }

    /// The cluster.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Changes `catalog` and waits for the agents. Says how long each took; none if it reported
    /// nothing, which an agent may do whose node the change does not concern.
    pub(crate) fn change(
        &mut self,
        catalog: Catalog,
    ) -> anyhow::Result<Vec<(String, Option<Duration>)>> {
        self.agents.iter().for_each(Agent::forget_past);
        self.put(catalog)?;
        follow(&mut self.agents)
    }

    /// Writes `catalog`, and lets exactly its endpoints serve.
    fn put(&mut self, catalog: Catalog) -> anyhow::Result<()> {
        let pod = |zone: &&str| self.cluster.pod(&in_zone("catalog", zone));
        for zone in catalog.zones {
            if !self.catalog.contains_key(zone) {
                self.catalog.insert(zone, pod(zone).serve(TARGET)?);
            }
        }
        let backends: Vec<_> = catalog.zones.iter().map(pod).collect();
        self.folder.write("catalog", &catalog_service(catalog).objects(&backends))?;
        self.catalog.retain(|zone, _| catalog.zones.contains(zone));
        Ok(())
    }
}

/// Waits until every agent has committed what was just written. Says how long each took; none if
/// it reported nothing, which an agent may do whose node the change does not concern.
pub(crate) fn follow(agents: &mut [Agent]) -> anyhow::Result<Vec<(String, Option<Duration>)>> {
    let written = Instant::now();
    let follow = |agent: &mut Agent| {
        let left = FOLLOW.saturating_sub(written.elapsed());
        let committed = agent.next_generation(left.max(Duration::from_millis(1)))?;
        let took = committed.map(|it| it.at.saturating_duration_since(written));
        Ok((agent.node().to_owned(), took))
    };
    agents.iter_mut().map(follow).collect()
}

/// Starts an agent on every node.
pub(crate) fn start_agents(
    cluster: &Cluster,
    folder: &Folder,
    agent: &Path,
    home: &Path,
) -> anyhow::Result<Vec<Agent>> {
    let config = home.join("config.yaml");
    let [v4, v6] = POD_RANGES;
    let text = format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
         mode: nftables\nclusterCIDR: \"{v4},{v6}\"\n"
    );
    fs::write(&config, text).with_context(|| format!("writing {}", config.display()))?;
    let start = |node: &closeby_tools::lab::Host| {
        let mut command = Command::new(agent);
        command.arg("--manifests").arg(folder.path());
        command.arg("--config").arg(&config).args(["--hostname-override", node.name()]);
        Ok(Agent::start(node, &mut command, &home.join(format!("{}.log", node.name())))?)
    };
    cluster.nodes().iter().map(start).collect()
}

/// Where manifests and logs go: memory that vanishes with the lab, or a folder that stays.
pub(crate) fn home(keep: Option<&Path>) -> anyhow::Result<PathBuf> {
    let home = keep.map_or_else(|| PathBuf::from(SCRATCH), Path::to_owned);
    fs::create_dir_all(&home)
        .and_then(|()| home.canonicalize())
        .with_context(|| format!("creating {}", home.display()))
}

/// Three nodes in three zones, pods attached in both ways.
fn cluster() -> Spec {
    let attach = [Attach::Routed, Attach::Bridged, Attach::Routed];
    ZONES.into_iter().zip(attach).fold(Spec::new(), |spec, (zone, attach)| {
        let pods = ["ui", "catalog"].map(|app| in_zone(app, zone));
        spec.node(NodeSpec::new(in_zone("node", zone), zone, attach).pods(pods))
    })
}

/// `catalog` and `zone-a` make `catalog-a`.
pub(crate) fn in_zone(what: &str, zone: &str) -> String {
    zone.replacen("zone", what, 1)
}

fn ui_service() -> Service {
    Service { node_port: Some(NODE_PORT), ..plain_service("ui", 10) }
}

fn catalog_service(catalog: Catalog) -> Service {
    let Catalog { distribution, local, .. } = catalog;
    Service { distribution, internal_local: local, ..plain_service("catalog", 20) }
}

pub(crate) fn plain_service(name: &str, number: u8) -> Service {
    Service::new(name, service_addresses(number), 80, TARGET)
}

/// 10.96.0.20 and fd00:10:96::20.
fn service_addresses(number: u8) -> [IpAddr; 2] {
    let v6 = u16::from(number) / 10 * 16 + u16::from(number) % 10;
    [[10, 96, 0, number].into(), [0xfd00, 0x10, 0x96, 0, 0, 0, 0, v6].into()]
}

/// Where `catalog` is asked.
pub(crate) fn catalog_addresses() -> [SocketAddr; 2] {
    service_addresses(20).map(|address| SocketAddr::new(address, 80))
}

/// Where `ui` is asked from outside: the NodePort on one node.
pub(crate) fn ui_addresses(cluster: &Cluster) -> [SocketAddr; 2] {
    cluster.node("node-a").addresses().map(|address| SocketAddr::new(address, NODE_PORT))
}
