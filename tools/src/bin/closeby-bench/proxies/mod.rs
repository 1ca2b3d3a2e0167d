//! `closeby-bench proxies`: closeby and the real kube-proxy, one after the other, on the same node
//! with the same API server: from the write of an object to the first packet that follows it.

mod measure;
mod objects;
mod probe;
mod process;
mod report;
mod rotation;
mod traffic;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use closeby_tools::lab::{Attach, Cluster, ControlPlane, NodeSpec, Proto, SCRATCH, Spec, User};

use crate::layout::kube_proxy;
use crate::write_json;
use measure::{Amount, Stage};
use objects::Part;
use probe::Probe;
use process::{Programs, Proxy};
use traffic::Load;

/// Measure closeby next to the real kube-proxy, with a real API server; takes root
#[derive(Debug, clap::Args)]
pub(crate) struct Proxies {
    /// The program of the control plane and kube-proxy; `tests/cluster/build` prints where it is
    #[arg(long, value_name = "PATH")]
    control_plane: PathBuf,
    /// The agent [default: `closeby` beside this program]
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Services that are there while few of them change, in growing order
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [100, 1_000], value_parser = clap::value_parser!(u32).range(1..=50_000))]
    services: Vec<u32>,
    /// Services over UDP, whose changes end flows, too
    #[arg(long)]
    udp: bool,
    /// Endpoints of each of them
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=15))]
    endpoints: u32,
    /// Whom to measure
    #[arg(long, value_name = "WHO,..", value_delimiter = ',', value_enum, default_values_t = Proxy::ALL)]
    proxies: Vec<Proxy>,
    /// Lone changes of each kind
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
    changes: u32,
    /// Changes a second, without pause
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// For so many seconds
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Dial so many new connections a second meanwhile, kill the proxy every ten seconds, and count
    /// what goes wrong; nothing else is measured
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=20_000), conflicts_with = "udp")]
    traffic: Option<u32>,
    /// Let kube-proxy program more than 4,000 Services: it holds up this machine's kernel for
    /// seconds at a time
    #[arg(long)]
    force: bool,
    /// Keep logs in this folder
    #[arg(long, value_name = "DIR")]
    keep_logs: Option<PathBuf>,
    /// Write the figures to this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The node's name, and those of its pods: where packets come from, and where they end.
const NODE: &str = "n1";
const PODS: [&str; 2] = ["client", "sink"];

/// The kernel forgets a packet's flow at once: none is there when its source port comes again, and
/// what proxies do with the flows of others does not grow with this measurement.
const NODE_SETTINGS: [(&str, &str); 4] = [
    ("netfilter/nf_conntrack_udp_timeout", "0"),
    ("netfilter/nf_conntrack_udp_timeout_stream", "0"),
    ("netfilter/nf_conntrack_tcp_timeout_syn_sent", "0"),
    ("netfilter/nf_conntrack_checksum", "0"),
];

impl Proxies {
    /// Looks at what can be looked at before anything is started.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if !nix::unistd::geteuid().is_root() {
            bail!("run it as root: a user namespace limits how large a transaction may be");
        }
        if !self.services.is_sorted() {
            bail!("--services: write them in growing order");
        }
        let most = self.services.iter().max().copied().unwrap_or(0);
        let peer = self.proxies.contains(&Proxy::KubeProxy);
        if peer && most > kube_proxy::SERVICES_MAX && !self.force {
            bail!("more than {} services take --force, for kube-proxy", kube_proxy::SERVICES_MAX);
        }
        program(&self.control_plane, "`tests/cluster/build` builds it and prints its path")?;
        self.agent().map(drop)
    }

    fn agent(&self) -> anyhow::Result<PathBuf> {
        let path = match &self.agent {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("closeby"),
        };
        program(&path, "build it with `cargo build --release -p closeby-agent`")
    }
}

fn program(path: &Path, advice: &str) -> anyhow::Result<PathBuf> {
    path.canonicalize().with_context(|| format!("there is no {}; {advice}", path.display()))
}

/// Measures all clusters; must run inside the lab.
pub(crate) fn run(flags: &Proxies) -> anyhow::Result<()> {
    let home = flags.keep_logs.clone().unwrap_or_else(|| Path::new(SCRATCH).join("proxies"));
    fs::create_dir_all(&home).with_context(|| format!("creating {}", home.display()))?;
    let spec = NodeSpec::new(NODE, "zone-a", Attach::Routed).pods(PODS);
    let cluster = Cluster::build(&Spec::new().node(spec))?;
    let (node, [client, sink]) = (cluster.node(NODE), PODS.map(|name| cluster.pod(name)));
    node.sysctls(&NODE_SETTINGS)?;
    cluster.lead(objects::ENDPOINTS, sink)?;
    let control_plane = flags.control_plane.canonicalize()?;
    let plane = ControlPlane::start(&control_plane, &home.join("plane"), cluster.fabric())?;
    objects::create_node(&plane, node)?;
    let proto = if flags.udp { Proto::Udp } else { Proto::Tcp };
    plane.ask(User::Admin, |api| {
        Part::Changing.prepare(api, proto, 1)?;
        Part::Changing.create(api, proto)
    })?;
    let programs = Programs { agent: flags.agent()?, home };
    let probe = Probe::open(client, sink, proto)?;
    let mut stage = Stage { plane: &plane, node, programs: &programs, probe, spent: 0 };
    let Proxies { endpoints, changes, rate, seconds, .. } = *flags;
    let amount = Amount { proto, endpoints, changes, rate, seconds };
    let (mut figures, mut outcomes, mut there) = (Vec::new(), Vec::new(), 0);
    for &services in &flags.services {
        anstream::eprintln!("adding Services up to {services} ...");
        objects::grow(&plane, there, services, proto, endpoints)?;
        there = services;
        for &proxy in &flags.proxies {
            if let Some(flows) = flags.traffic {
                anstream::eprintln!("dialling while {} follows ...", proxy.name());
                let load = Load { services, endpoints, flows, rate, seconds };
                outcomes
                    .push(stage.traffic(proxy, client, sink, load).with_context(|| proxy.name())?);
                continue;
            }
            anstream::eprintln!("measuring {} with {services} Services ...", proxy.name());
            let measured = stage.measure(proxy, services, amount);
            figures.push(measured.with_context(|| proxy.name())?);
        }
    }
    if let Some(flows) = flags.traffic {
        anstream::println!("{}", report::of_traffic(&outcomes));
        anstream::println!("{flows} connections/s and {rate} changes/s for {seconds} s.");
        return write_json(flags.json.as_deref(), &outcomes);
    }
    anstream::println!("{}", report::table(&figures));
    anstream::println!(
        "Each Service has {endpoints} endpoints. Times are from the write to the first packet that \
         follows it\n(median, least..most of {changes}); \"without pause\": {rate} changes/s for \
         {seconds} s."
    );
    write_json(flags.json.as_deref(), &figures)
}
