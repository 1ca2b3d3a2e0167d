//! Does anybody lose a connection while everything changes? Clients in a pod, on the node and
//! outside open connections without pause, over TCP and UDP in both families, to ClusterIPs, node
//! ports and load balancers, while each generation changes the endpoints or a policy of one of
//! those Services, and other Services come and go.
//!
//! Every Service always has an endpoint on the node, and no server ever stops: whoever is not
//! answered, or by a pod that was no endpoint in any generation of that time, was failed by the
//! rules.

mod history;
mod report;
mod script;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::manifests::{self, Folder};
use crate::lab::{
    Agent, Asked, Attach, Cluster, Family, Host, LabError, NodeSpec, POD_RANGES, Proto, Request,
    Server, Spec,
};
use history::History;
pub use report::Report;
use script::{LOCAL, REMOTE, SERVICES, State, TARGET, Way};

/// How long an agent may take for anything.
const PATIENCE: Duration = Duration::from_secs(15);
/// The node with the agent.
const NODE: &str = "n1";

/// Clients take the same source port again after 16,384 requests, some seconds later. By then
/// connection tracking must have forgotten the connection before: a known one keeps its endpoint.
const FORGETFUL: [(&str, &str); 7] = [
    ("netfilter/nf_conntrack_tcp_timeout_time_wait", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_close", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_last_ack", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_fin_wait", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_close_wait", "1"),
    ("netfilter/nf_conntrack_udp_timeout", "1"),
    ("netfilter/nf_conntrack_udp_timeout_stream", "1"),
];

/// How much is to happen; the run goes on until both numbers are reached.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Generations.
    pub generations: usize,
    /// Connections.
    pub connections: usize,
}

/// Plays it with this agent; manifests and the log go to `home`. Must run inside the lab.
///
/// # Errors
/// Where the cluster cannot be built, or the agent ends or does not follow.
pub fn run(agent: &Path, home: &Path, target: Target) -> Result<Report, LabError> {
    let mut stage = Stage::build(agent, home)?;
    let started = Instant::now();
    let (dialled, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut report = thread::scope(|scope| {
        let dialling: Vec<_> = flows(&stage.cluster)
            .map(|flow| {
                let (histories, dialled, is_over) = (&stage.histories, &dialled, &is_over);
                scope.spawn(move || flow.dial(histories, dialled, is_over))
            })
            .collect();
        let changes = Changes::drive(
            &stage.cluster,
            &stage.folder,
            &stage.histories,
            &mut stage.agent,
            || dialled.load(Ordering::Relaxed),
            target,
        );
        is_over.store(true, Ordering::Relaxed);
        let dialled = dialling
            .into_iter()
            .map(|flow| flow.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let report = dialled.collect::<Result<Vec<_>, _>>()?;
        let report = report.into_iter().fold(Report::default(), Report::and);
        let Changes { generations, count_changes } = changes?;
        Ok::<_, LabError>(Report { generations, count_changes, ..report })
    })?;
    report.took = started.elapsed();
    Ok(report)
}

/// Everything that plays.
struct Stage {
    cluster: Cluster,
    _servers: Vec<Server>,
    folder: Folder,
    agent: Agent,
    /// Of each Service.
    histories: Vec<History>,
}

impl Stage {
    /// When it returns, the first generation is in the kernel.
    fn build(agent: &Path, home: &Path) -> Result<Self, LabError> {
        let spec = Spec::new()
            .node(NodeSpec::new(NODE, "zone-a", Attach::Routed).pods(LOCAL))
            .node(NodeSpec::new("n2", "zone-b", Attach::Routed).pods(REMOTE));
        let cluster = Cluster::build(&spec)?;
        let node = cluster.node(NODE);
        node.sysctls(&FORGETFUL)?;
        let servers =
            cluster.pods().iter().map(|pod| pod.serve(TARGET)).collect::<Result<_, _>>()?;
        let folder = Folder::create(home.join("manifests"))?;
        folder.write("nodes", &manifests::nodes(cluster.nodes()))?;
        for number in 0..SERVICES {
            write(&cluster, &folder, number, &State::FIRST)?;
        }
        let config = home.join("config.yaml");
        let [v4, v6] = POD_RANGES;
        let text = format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
             mode: nftables\nclusterCIDR: \"{v4},{v6}\"\nnftables: {{minSyncPeriod: 0s}}\n"
        );
        fs::write(&config, text).map_err(LabError::io(format!("writing {}", config.display())))?;
        let mut command = Command::new(agent);
        command.arg("--manifests").arg(folder.path()).arg("--config").arg(&config);
        command.args(["--hostname-override", NODE]);
        let mut agent = Agent::start(node, &mut command, &home.join("agent.log"))?;
        follow(&mut agent)?;
        let histories = (0..SERVICES).map(|_| History::new(State::FIRST)).collect();
        Ok(Self { cluster, _servers: servers, folder, agent, histories })
    }
}

/// Waits for the next generation; says when it was known to be in the kernel.
fn follow(agent: &mut Agent) -> Result<Instant, LabError> {
    match agent.next_generation(PATIENCE)? {
        Some(committed) => Ok(committed.at),
        None => Err(LabError::Plan(format!(
            "the agent reported no generation in {PATIENCE:?}; it said:\n{}",
            agent.log_tail()
        ))),
    }
}

/// Writes a Service, and the one beside it, as one file: one generation.
fn write(cluster: &Cluster, folder: &Folder, number: usize, state: &State) -> Result<(), LabError> {
    let backends: Vec<&Host> = state.endpoints().map(|pod| cluster.pod(pod)).collect();
    let services = [state.service(number)].into_iter().chain(state.neighbour(number));
    let objects: Vec<_> = services.flat_map(|service| service.objects(&backends)).collect();
    folder.write(&format!("dialled-{number}"), &objects)
}

/// What was changed.
struct Changes {
    generations: usize,
    count_changes: usize,
}

impl Changes {
    /// Changes one Service after the other, each when the one before is in the kernel.
    fn drive(
        cluster: &Cluster,
        folder: &Folder,
        histories: &[History],
        agent: &mut Agent,
        dialled: impl Fn() -> usize,
        target: Target,
    ) -> Result<Self, LabError> {
        let mut changes = Self { generations: 0, count_changes: 0 };
        while changes.generations < target.generations || dialled() < target.connections {
            let (number, turn) = (changes.generations % SERVICES, changes.generations / SERVICES);
            let history = &histories[number];
            let before = history.newest();
            let next = before.next(turn);
            agent.forget_past();
            history.written(next.clone());
            write(cluster, folder, number, &next)?;
            history.committed(follow(agent)?);
            changes.generations += 1;
            changes.count_changes += usize::from(next.count() != before.count());
        }
        Ok(changes)
    }
}

/// Connections of one client, family and protocol, one after the other.
struct Flow<'a> {
    name: &'static str,
    client: &'a Host,
    family: Family,
    proto: Proto,
    /// The address of the node in this family, for its node ports.
    node: [std::net::IpAddr; 2],
}

fn flows(cluster: &Cluster) -> impl Iterator<Item = Flow<'_>> {
    let node = cluster.node(NODE);
    let clients =
        [("a pod", cluster.pod(LOCAL[0])), ("the node", node), (OUTSIDE, cluster.outside())];
    clients.into_iter().flat_map(move |(name, client)| {
        Family::BOTH.into_iter().flat_map(move |family| {
            let flow = move |proto| Flow { name, client, family, proto, node: node.addresses() };
            Proto::BOTH.map(flow)
        })
    })
}

/// What the table calls the client outside.
const OUTSIDE: &str = "outside";

impl Flow<'_> {
    /// Dials until it is over.
    fn dial(
        &self,
        histories: &[History],
        dialled: &AtomicUsize,
        is_over: &AtomicBool,
    ) -> Result<Report, LabError> {
        let mut report = Report::default();
        let rounds = (0_usize..).take_while(|_| !is_over.load(Ordering::Relaxed));
        let calls = rounds.map(|round| {
            let (number, way) = (round % SERVICES, Way::ALL[round / SERVICES % Way::ALL.len()]);
            let to = script::addresses(number, way, self.node);
            let to = to[usize::from(self.family == Family::V6)];
            (Call { number, way, to }, Request::new(to, self.proto))
        });
        self.client.ask_each(calls, |call, asked| {
            dialled.fetch_add(1, Ordering::Relaxed);
            self.judge(&call, &asked, &histories[call.number], &mut report);
        })?;
        Ok(report)
    }

    fn judge(&self, call: &Call, asked: &Asked, history: &History, report: &mut Report) {
        *report.flows.entry((self.name, self.family, self.proto)).or_default() += 1;
        let told = || {
            let Self { name, proto, .. } = self;
            format!("{name} over {proto} to {} ({:?})", call.to, call.way)
        };
        if self.proto == Proto::Tcp {
            report.connected.extend(asked.connected);
        }
        let Some(reply) = asked.answer.reply() else {
            return report.failed(format!("{}: {:?}", told(), asked.answer));
        };
        let from_outside = self.name == OUTSIDE;
        let allows = |state: &State| state.may_answer(&reply.pod, call.way, from_outside);
        if !history.any_during((asked.began, asked.ended), allows) {
            report.misrouted(format!("{}: answered by {}", told(), reply.pod));
        }
    }
}

/// One thing to dial.
struct Call {
    number: usize,
    way: Way,
    to: SocketAddr,
}
