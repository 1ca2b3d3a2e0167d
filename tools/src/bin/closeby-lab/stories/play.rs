//! Plays one story: builds its cluster, starts an agent on every node, and asks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anstream::println;
use anyhow::{Context, bail};
use closeby_tools::lab::manifests::{self, Distribution, Folder, Service};
use closeby_tools::lab::{
    Agent, Answer, Attach, Cluster, Family, Host, NodeSpec, Proto, Request, Server, Spec,
};
use serde_json::{Value, json};

use super::data::{self, Expect, Step, Story};
use super::told::{Asked, faults, table};
use crate::stage::{NODE_PORT, START, TARGET, follow, plain_service, start_agents};
use crate::story::{BAD, BOLD, GOOD};

const ISTIO: &str = "networking.istio.io/traffic-distribution";
/// How long silence must last to be called a drop; only waited for where one is expected.
const SILENCE: Duration = Duration::from_millis(150);
const WIDTH: usize = 4;
const WIDTH_OF_SILENCE: usize = 20;

/// Returns how many checks failed.
pub(super) fn play(
    agent: &Path,
    story: &Story,
    requests: usize,
    home: &Path,
) -> anyhow::Result<usize> {
    let cluster = Cluster::build(&spec(story))?;
    let folder = Folder::create(home.join("manifests"))?;
    folder.write("nodes", &nodes(story, &cluster))?;
    let mut stage = Stage {
        cluster: &cluster,
        folder,
        numbers: BTreeMap::new(),
        _servers: cluster
            .pods()
            .iter()
            .map(|pod| pod.serve(TARGET))
            .collect::<Result<Vec<Server>, _>>()?,
    };
    let mut agents = Vec::new();
    let mut wrong = 0;
    for (number, step) in (1..).zip(&story.steps) {
        println!("\n{BOLD}{number}. {}{BOLD:#}", step.title);
        agents.iter().for_each(Agent::forget_past);
        stage.write(step)?;
        if agents.is_empty() {
            agents = start_agents(&cluster, &stage.folder, agent, home)?;
            for agent in &mut agents {
                if agent.next_generation(START)?.is_none() {
                    bail!("{} committed nothing; it said:\n{}", agent.node(), agent.log_tail());
                }
            }
        } else {
            follow(&mut agents)?;
        }
        wrong += stage.ask(step, requests)?;
    }
    Ok(wrong)
}

fn spec(story: &Story) -> Spec {
    story.nodes.iter().fold(Spec::new(), |spec, node| {
        let pods = node.pods.iter().map(String::as_str);
        spec.node(NodeSpec::new(&node.name, &node.zone, Attach::Routed).pods(pods))
    })
}

fn nodes(story: &Story, cluster: &Cluster) -> Vec<Value> {
    let mut nodes = manifests::nodes(cluster.nodes());
    for (object, node) in nodes.iter_mut().zip(&story.nodes) {
        if let Some(region) = &node.region {
            object["metadata"]["labels"]["topology.kubernetes.io/region"] = json!(region);
        }
    }
    nodes
}

struct Stage<'a> {
    cluster: &'a Cluster,
    folder: Folder,
    /// By which number each Service has its addresses.
    numbers: BTreeMap<String, u8>,
    _servers: Vec<Server>,
}

impl Stage<'_> {
    /// Writes what a step says, and says it.
    fn write(&mut self, step: &Step) -> anyhow::Result<()> {
        if let Some(word) = &step.namespace {
            println!("     namespace default: {ISTIO}: {word}");
            let metadata = json!({ "name": "default", "annotations": { ISTIO: word } });
            let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
            self.folder.write("namespace", &[object])?;
        }
        for (name, asked) in &step.services {
            let next = u8::try_from(10 + 10 * self.numbers.len())?;
            let number = *self.numbers.entry(name.clone()).or_insert(next);
            println!("     service {name}\n       {}", words(asked));
            let service = service(name, number, asked)?;
            let backends: Vec<&Host> =
                asked.endpoints.iter().map(|pod| self.cluster.pod(pod)).collect();
            self.folder.write(name, &service.objects(&backends))?;
        }
        Ok(())
    }

    /// Asks as the step expects; returns how many checks failed.
    fn ask(&self, step: &Step, requests: usize) -> anyhow::Result<usize> {
        let asked: Vec<Asked<'_>> = thread::scope(|scope| {
            let asking = step.expect.iter().map(|expect| {
                let to = self.address(expect);
                let client = match expect.from.as_str() {
                    "outside" => self.cluster.outside(),
                    pod => self.cluster.pod(pod),
                };
                scope.spawn(move || Asked::of(expect, &answers(client, to, expect, requests)))
            });
            let asking: Vec<_> = asking.collect();
            asking
                .into_iter()
                .map(|worker| {
                    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        println!();
        table(&asked).lines().for_each(|line| println!("   {line}"));
        let faults = faults(step, &asked);
        faults.iter().for_each(|fault| println!("   {BAD}WRONG{BAD:#}  {fault}"));
        if faults.is_empty() {
            println!("   {GOOD}ok{GOOD:#}");
        }
        Ok(faults.len())
    }

    /// Where a client asks, IPv4 first.
    fn address(&self, expect: &Expect) -> [SocketAddr; 2] {
        let number = self.numbers[&expect.to];
        match &expect.at {
            Some(node) => {
                let addresses = self.cluster.node(node).addresses();
                addresses.map(|address| SocketAddr::new(address, NODE_PORT))
            }
            None => {
                let Service { addresses, port, .. } = plain_service(&expect.to, number);
                addresses.map(|address| SocketAddr::new(address, port))
            }
        }
    }
}

fn answers(
    client: &Host,
    to: [SocketAddr; 2],
    expect: &Expect,
    requests: usize,
) -> Vec<(Family, Answer)> {
    let mut all = Vec::new();
    for (family, to) in Family::BOTH.into_iter().zip(to) {
        let udp = requests / 3;
        for (proto, count) in [(Proto::Tcp, requests - udp), (Proto::Udp, udp)] {
            let request = Request::new(to, proto);
            let answers = if expect.dropped {
                client.requests(&request.timeout(SILENCE), count, WIDTH_OF_SILENCE)
            } else {
                client.requests(&request, count, WIDTH)
            };
            all.extend(answers.into_iter().map(|answer| (family, answer)));
        }
    }
    all
}

fn service(name: &str, number: u8, asked: &data::Service) -> anyhow::Result<Service> {
    let local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let annotations = [
        (ISTIO, &asked.annotation),
        ("closeby.dev/strict", &asked.strict),
        ("closeby.dev/spill", &asked.spill),
    ];
    let annotations =
        annotations.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
    let distribution = match asked.distribution.as_deref() {
        None => None,
        Some(word) => Some(
            Distribution::ALL
                .into_iter()
                .find(|known| known.word() == word)
                .with_context(|| format!("{word} is no trafficDistribution"))?,
        ),
    };
    Ok(Service {
        annotations: annotations.collect(),
        distribution,
        // Nobody hints: closeness must come about without a controller.
        without_hints: true,
        internal_local: local(&asked.internal),
        external_local: local(&asked.external),
        node_port: asked.node_port.then_some(NODE_PORT),
        ..plain_service(name, number)
    })
}

/// What a Service asks for, a line each, and its endpoints.
fn words(asked: &data::Service) -> String {
    let parts = [
        ("trafficDistribution", &asked.distribution),
        (ISTIO, &asked.annotation),
        ("closeby.dev/strict", &asked.strict),
        ("closeby.dev/spill", &asked.spill),
        ("internalTrafficPolicy", &asked.internal),
        ("externalTrafficPolicy", &asked.external),
    ];
    let said = parts.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    let mut lines: Vec<String> = said.map(|(key, value)| format!("{key}: {value}")).collect();
    lines.push(format!("endpoints {}", asked.endpoints.join(" ")));
    lines.join("\n       ")
}
