//! The real kube-proxy beside us: the same objects on the same node, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use closeby_tools::lab::{Family, Host, LabError, User};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::Trials;
use super::rig::{PORT, Rig, SPARE, TARGET, at_node, check, names, pod, service, who, who_at};

pub(crate) const ALL: Trials = &[
    ("kube_proxy_says_the_same", kube_proxy_says_the_same),
    ("a_canary_serves_beside_kube_proxy", a_canary_serves_beside_kube_proxy),
];

/// A Service by its name: a field that is special about it, its pods, and which of them a pod of
/// the spare node reaches at the ClusterIP.
struct Tried {
    name: &'static str,
    field: Option<(&'static str, &'static str)>,
    pods: &'static [&'static str],
    reached: &'static [&'static str],
}

/// Each has a node port, the first [`FIRST_NODE_PORT`].
const SERVICES: [Tried; 6] = [
    tried("everywhere", None, &["a1", "b1", "d1"], &["a1", "b1", "d1"]),
    tried("local", Some(("externalTrafficPolicy", "Local")), &["a2", "d1"], &["a2", "d1"]),
    tried("elsewhere", Some(("externalTrafficPolicy", "Local")), &["b2"], &["b2"]),
    tried("inside", Some(("internalTrafficPolicy", "Local")), &["c1", "d1"], &["d1"]),
    tried("close", Some(("trafficDistribution", "PreferSameZone")), &["a3", "b3", "c3"], &["a3"]),
    tried("nobody", None, &[], &["refused"]),
];

const fn tried(
    name: &'static str,
    field: Option<(&'static str, &'static str)>,
    pods: &'static [&'static str],
    reached: &'static [&'static str],
) -> Tried {
    Tried { name, field, pods, reached }
}

pub(crate) const FIRST_NODE_PORT: u16 = 30_080;

/// Who answers, by client and address.
pub(crate) type Verdicts = BTreeMap<(String, SocketAddr), BTreeSet<String>>;

fn kube_proxy_says_the_same(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let node = rig.cluster.node(SPARE);
    rig.cluster.enter_by(node)?;
    let services = services(rig)?;
    let targets = targets(rig, node, &services)?;
    let agent = rig.start_agent(node, User::KubeProxy, &["--topology=hints"])?;
    // Hints come some time after the pods.
    let mut ours = Verdicts::new();
    rig.until("each Service with pods is served", |rig| {
        ours = verdicts(rig, node, &targets);
        Ok(is_complete(&ours, &targets))
    })?;
    drop(agent);
    node.nft("flush ruleset")?;
    rig.cluster.forget_connections()?;
    let _proxy = KubeProxy::start(rig, node)?;
    let mut theirs = Verdicts::new();
    let same = rig.until("kube-proxy says the same", |rig| {
        theirs = verdicts(rig, node, &targets);
        theirs.values_mut().for_each(without_lost_refusals);
        Ok(theirs == ours)
    });
    let hints = hints(rig)?;
    let differ: Vec<_> = ours.iter().filter(|(who, what)| theirs.get(who) != Some(what)).collect();
    node.nft("flush ruleset")?;
    let first = &rig.cluster.nodes()[0];
    rig.cluster.enter_by(first)?;
    check(same.is_ok(), "ours, and what kube-proxy does not say", &(differ, hints, theirs))
}

/// What the controller says of each endpoint: both proxies go by it.
fn hints(rig: &Rig<'_>) -> Result<Vec<String>, LabError> {
    let slices = rig.ask(|api| api.get("/apis/discovery.k8s.io/v1/endpointslices"))?;
    let slices = slices["items"].as_array().into_iter().flatten();
    let endpoints = slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let hint = |endpoint: &Value| format!("{} {}", endpoint["addresses"], endpoint["hints"]);
    Ok(endpoints.map(hint).collect())
}

/// The Services, and a pod on each host that any of them has.
pub(crate) fn services(rig: &Rig<'_>) -> Result<Vec<Value>, Failed> {
    let mut pods: BTreeMap<&str, Value> = BTreeMap::new();
    let mut services = Vec::new();
    for (tried, node_port) in SERVICES.iter().zip(FIRST_NODE_PORT..) {
        let name = tried.name;
        let ports = ["TCP", "UDP"].map(|proto| {
            let name = proto.to_lowercase();
            json!({
                "name": name, "protocol": proto,
                "port": PORT, "targetPort": TARGET, "nodePort": node_port,
            })
        });
        let selector = json!({ name: "yes" });
        let mut spec = json!({ "type": "NodePort", "selector": selector, "ports": ports });
        if let Some((field, word)) = tried.field {
            spec[field] = word.into();
        }
        services.push(service(name, &spec));
        for &host in tried.pods {
            let pod = pods.entry(host).or_insert_with(|| pod("peer", rig.cluster.pod(host)));
            pod["metadata"]["labels"][name] = "yes".into();
        }
    }
    rig.apply(&services)?;
    rig.apply(&pods.into_values().collect::<Vec<_>>())?;
    Ok(services)
}

/// What is dialled: ClusterIPs, a port they do not have, and node ports.
pub(crate) fn targets(
    rig: &Rig<'_>,
    node: &Host,
    services: &[Value],
) -> Result<Vec<(usize, SocketAddr)>, Failed> {
    let mut targets = Vec::new();
    for ((place, service), node_port) in services.iter().enumerate().zip(FIRST_NODE_PORT..) {
        let at = rig.addresses(service)?;
        targets.extend(at.map(|at| (place, at)));
        targets.extend(Family::BOTH.map(|family| (place, at_node(node, family, node_port))));
    }
    let other = rig.addresses(&services[0])?.map(|at| SocketAddr::new(at.ip(), PORT + 1));
    targets.extend(other.map(|at| (SERVICES.len(), at)));
    Ok(targets)
}

pub(crate) fn verdicts(rig: &Rig<'_>, node: &Host, targets: &[(usize, SocketAddr)]) -> Verdicts {
    let clients = [rig.cluster.pod("d2"), node, rig.cluster.outside()];
    let each = clients.into_iter().flat_map(|client| targets.iter().map(move |it| (client, it.1)));
    each.map(|(client, to)| ((client.name().to_owned(), to), who(client, to))).collect()
}

/// Whether a pod of the node reaches each Service as it will in the end.
pub(crate) fn is_complete(verdicts: &Verdicts, targets: &[(usize, SocketAddr)]) -> bool {
    targets.iter().filter(|(_, to)| to.port() == PORT).all(|(place, to)| {
        let seen = verdicts.get(&("d2".to_owned(), *to));
        let reached = SERVICES[*place].reached.iter().copied();
        seen.is_some_and(|seen| seen.iter().map(String::as_str).eq(reached))
    })
}

/// kube-proxy refuses by ICMP, whose rate the kernel limits: some refusals are never heard of.
pub(crate) fn without_lost_refusals(seen: &mut BTreeSet<String>) {
    if seen.contains("refused") {
        seen.remove("dropped");
    }
}

/// Each serves its own Services, and a Service may go from the one to the other.
fn a_canary_serves_beside_kube_proxy(rig: &mut Rig<'static>) -> Result<(), Failed> {
    const LABEL: &str = "service.kubernetes.io/service-proxy-name";
    let node = rig.cluster.node(SPARE);
    let labelled = |name: &str, label: &Value| {
        let mut service = service(name, &json!({}));
        service["metadata"]["labels"] = json!({ LABEL: label });
        service
    };
    let theirs = service("theirs", &json!({}));
    let ours = labelled("ours", &json!("canary"));
    let pods = [("theirs", "a1"), ("ours", "b1")].map(|(app, on)| pod(app, rig.cluster.pod(on)));
    rig.apply(&[vec![theirs.clone(), ours.clone()], pods.to_vec()].concat())?;
    let _proxy = KubeProxy::start(rig, node)?;
    let flags = ["--service-proxy-name", "canary"];
    let agent = rig.start_agent(node, User::KubeProxy, &flags)?;
    let (theirs_at, ours_at) = (rig.addresses(&theirs)?, rig.addresses(&ours)?);
    let client = rig.cluster.pod("d1");
    let serve = |what: &str, rig: &mut Rig<'static>| {
        rig.until(what, |_| {
            let saw = [theirs_at, ours_at].map(|at| who_at(client, at));
            Ok(saw == [names(&["a1"]), names(&["b1"])])
        })
    };
    serve("both serve", rig)?;
    let text = |table: &str| node.nft(&format!("list table ip {table}"));
    let [their_vip, our_vip] = [theirs_at, ours_at].map(|at| format!("{} .", at[0].ip()));
    check(!text("kube-proxy")?.contains(&our_vip), "not kube-proxy's", &our_vip)?;
    check(!text("closeby")?.contains(&their_vip), "not the canary's", &their_vip)?;

    rig.apply(&[labelled("theirs", &json!("canary"))])?;
    rig.until("it has changed hands", |_| {
        Ok(!text("kube-proxy")?.contains(&their_vip) && text("closeby")?.contains(&their_vip))
    })?;
    serve("the canary serves both", rig)?;
    drop(agent);
    Ok(node.nft("flush ruleset").map(drop)?)
}

/// A kube-proxy in nftables mode on a node, until it is dropped; its rules stay.
pub(crate) struct KubeProxy(Child);

impl KubeProxy {
    pub(crate) fn start(rig: &Rig<'_>, node: &Host) -> Result<Self, LabError> {
        let mut command = rig.plane.command("kube-proxy");
        command.arg("--kubeconfig").arg(rig.plane.kubeconfig(User::KubeProxy)).args([
            "--proxy-mode=nftables",
            "--detect-local-mode=NodeCIDR",
            "--nodeport-addresses=primary",
            // The machine's, not the namespace's.
            "--conntrack-max-per-core=0",
            "--hostname-override",
            node.name(),
        ]);
        let log = rig.root.join("kube-proxy.log");
        let log = File::create(&log).map_err(|source| LabError::Io {
            doing: format!("creating {}", log.display()),
            source,
        })?;
        Ok(Self(node.spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log))?))
    }
}

impl Drop for KubeProxy {
    fn drop(&mut self) {
        // Either may fail only because it is gone already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
