//! What the trials share: nodes with agents, the control plane, and pods.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use closeby_tools::lab::{
    Agent, Answer, Api, Attach, Cluster, ControlPlane, Family, Host, LabError, NodeSpec, Proto,
    Request, SCRATCH, Spec, User, manifests,
};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::kubelet::Kubelet;

/// Where pods listen, and where Services do.
pub(crate) const TARGET: u16 = 8080;
pub(crate) const PORT: u16 = 80;
/// How long anything may take here: controllers and pods are part of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long silence must last to be called one.
const SILENCE: Duration = Duration::from_millis(100);
/// Requests over each protocol that show where a frontend leads: one of four
/// endpoints is missed by all of them once in a hundred thousand times, and
/// whoever waits for it asks again.
const ENOUGH: usize = 24;

/// The cluster, its control plane, an agent on every node.
pub(crate) struct Rig<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) plane: ControlPlane<'a>,
    pub(crate) kubelet: Kubelet<'a>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) root: PathBuf,
}

/// The node where no agent runs but what a trial starts there.
pub(crate) const SPARE: &str = "n4";

/// Three nodes with agents, in three zones, and a spare one.
pub(crate) fn cluster() -> Result<Cluster, LabError> {
    Cluster::build(
        &Spec::new()
            .node(NodeSpec::new("n1", "zone-a", Attach::Routed).pods(["a1", "a2", "a3"]))
            .node(NodeSpec::new("n2", "zone-b", Attach::Bridged).pods(["b1", "b2", "b3"]))
            .node(NodeSpec::new("n3", "zone-c", Attach::Routed).pods(["c1", "c2", "c3"]))
            .node(NodeSpec::new(SPARE, "zone-a", Attach::Routed).pods(["d1", "d2"])),
    )
}

impl<'a> Rig<'a> {
    /// Everything runs, and no Service is there but the API's own.
    pub(crate) fn start(cluster: &'a Cluster, control_plane: &Path) -> Result<Self, LabError> {
        let root = Path::new(SCRATCH).join("cluster");
        let mut plane = ControlPlane::start(control_plane, &root.join("plane"), cluster.fabric())?;
        plane.start_controllers()?;
        let kubelet = Kubelet::default();
        let mut rig = Self { cluster, plane, kubelet, agents: Vec::new(), root };
        rig.plane.ask(User::Admin, |api| {
            for node in manifests::nodes(cluster.nodes()) {
                api.apply(&without_status(&node))?;
                api.set_status(&node, &node["status"])?;
            }
            Ok(())
        })?;
        for node in cluster.nodes().iter().filter(|node| node.name() != SPARE) {
            let mut agent = rig.start_agent(node, User::KubeProxy, &[])?;
            match agent.next_generation(PATIENCE)? {
                Some(_) => rig.agents.push(agent),
                None => {
                    let why = format!("nothing committed: {}", agent.log_tail());
                    return Err(LabError::Plan(why));
                }
            }
        }
        Ok(rig)
    }

    /// Starts an agent that has this user's rights, with more flags.
    pub(crate) fn start_agent(
        &self,
        node: &Host,
        user: User,
        flags: &[&str],
    ) -> Result<Agent, LabError> {
        let log = self.root.join(format!("{}.log", node.name()));
        Agent::start(node, self.agent_command(node, user)?.args(flags), &log)
    }

    /// The command line of an agent that has this user's rights.
    pub(crate) fn agent_command(&self, node: &Host, user: User) -> Result<Command, LabError> {
        self.agent_command_by(node, &self.plane.kubeconfig(user))
    }

    /// The command line of an agent that asks as this file says.
    pub(crate) fn agent_command_by(
        &self,
        node: &Host,
        kubeconfig: &Path,
    ) -> Result<Command, LabError> {
        let config = self.root.join("config.yaml");
        let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
                    mode: nftables\ndetectLocalMode: NodeCIDR\n";
        fs::write(&config, text).map_err(|source| LabError::Io {
            doing: format!("writing {}", config.display()),
            source,
        })?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_closeby"));
        command.arg("--kubeconfig").arg(kubeconfig);
        command.arg("--config").arg(config).args(["--hostname-override", node.name()]);
        Ok(command)
    }

    /// Asks the API server for something, as admin.
    pub(crate) fn ask<T: Send>(
        &self,
        work: impl FnOnce(&Api) -> Result<T, LabError> + Send,
    ) -> Result<T, LabError> {
        self.plane.ask(User::Admin, work)
    }

    /// Creates these objects or changes them.
    pub(crate) fn apply(&self, objects: &[Value]) -> Result<(), LabError> {
        self.ask(|api| objects.iter().try_for_each(|object| api.apply(object)))
    }

    /// Lets pods start and end until it is so.
    pub(crate) fn until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&Self) -> Result<bool, Failed>,
    ) -> Result<Duration, Failed> {
        let start = Instant::now();
        loop {
            let (cluster, plane, kubelet) = (self.cluster, &self.plane, &mut self.kubelet);
            plane.ask(User::Admin, |api| kubelet.sync(cluster, api))?;
            if holds(self)? {
                return Ok(start.elapsed());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("not within {PATIENCE:?}: {what}; {}", self.logs()).into());
            }
        }
    }

    /// What every agent said last.
    pub(crate) fn logs(&self) -> String {
        let log = |agent: &Agent| format!("\n{}: {}", agent.node(), agent.log_tail());
        self.agents.iter().map(log).collect()
    }

    /// The addresses of a Service, by family.
    pub(crate) fn addresses(&self, service: &Value) -> Result<[SocketAddr; 2], Failed> {
        let path = service_path(service);
        let found = self.ask(|api| api.get(&path))?;
        let address = |family: usize| {
            let text = found["spec"]["clusterIPs"][family].as_str();
            text.and_then(|text| Some(SocketAddr::new(text.parse().ok()?, PORT)))
        };
        match (address(0), address(1)) {
            (Some(v4), Some(v6)) => Ok([v4, v6]),
            _ => Err(format!("no two addresses: {}", found["spec"]).into()),
        }
    }

    /// Deletes everything that a trial made, and waits until no pod runs.
    ///
    /// Deployments are scaled to zero before: of one that is deleted with its pods, a controller
    /// that does not know yet makes new ones, which nobody would delete.
    pub(crate) fn clear(&mut self) -> Result<(), Failed> {
        const OWNERS: [&str; 2] = ["/apis/apps/v1/deployments", "/apis/apps/v1/replicasets"];
        self.ask(|api| scale_to_zero(api, OWNERS[0]))?;
        self.until("no pod is wanted", |rig| {
            let idle =
                |api: &Api| Ok(is_idle(&api.get(OWNERS[0])?) && is_idle(&api.get(OWNERS[1])?));
            Ok(rig.ask(idle)?)
        })?;
        self.ask(|api| {
            for path in OWNERS {
                delete_all(api, path, "apps/v1", None)?;
            }
            delete_all(api, "/api/v1/pods", "v1", Some(0))?;
            delete_all(api, "/api/v1/services", "v1", None)
        })?;
        self.kubelet = Kubelet::default();
        self.cluster.forget_connections()?;
        Ok(())
    }
}

fn scale_to_zero(api: &Api, path: &str) -> Result<(), LabError> {
    for item in api.get(path)?["items"].as_array().into_iter().flatten() {
        let mut item = item.clone();
        item["apiVersion"] = "apps/v1".into();
        item["kind"] = "Deployment".into();
        api.merge(&item, &json!({ "spec": { "replicas": 0 } }))?;
    }
    Ok(())
}

/// Whether none of these has pods, or is to have any, as its controller knows.
fn is_idle(list: &Value) -> bool {
    list["items"].as_array().into_iter().flatten().all(|item| {
        let (wanted, status) = (&item["spec"]["replicas"], &item["status"]);
        let is_seen = status["observedGeneration"] == item["metadata"]["generation"];
        is_seen && *wanted == 0 && status["replicas"].as_u64().unwrap_or(0) == 0
    })
}

fn delete_all(api: &Api, path: &str, version: &str, grace_s: Option<u32>) -> Result<(), LabError> {
    let list = api.get(path)?;
    let kind = list["kind"].as_str().unwrap_or_default().trim_end_matches("List");
    for item in list["items"].as_array().into_iter().flatten() {
        if item["metadata"]["name"] == "kubernetes" {
            continue;
        }
        let mut item = item.clone();
        item["apiVersion"] = version.into();
        item["kind"] = kind.into();
        api.delete(&item, grace_s)?;
    }
    Ok(())
}

fn without_status(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    object
}

fn service_path(service: &Value) -> String {
    let name = service["metadata"]["name"].as_str().unwrap_or_default();
    format!("/api/v1/namespaces/default/services/{name}")
}

/// A dual-stack Service on TCP and UDP for the pods of this name.
pub(crate) fn service(name: &str, spec: &Value) -> Value {
    let ports = ["TCP", "UDP"].map(|proto| {
        let name = proto.to_lowercase();
        json!({ "name": name, "protocol": proto, "port": PORT, "targetPort": TARGET })
    });
    let mut whole = json!({
        "selector": { "app": name },
        "ipFamilyPolicy": "RequireDualStack",
        "ports": ports,
    });
    if let (Some(whole), Some(more)) = (whole.as_object_mut(), spec.as_object()) {
        whole.extend(more.clone());
    }
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": "default", "name": name }, "spec": whole,
    })
}

/// A pod of this name that runs in the lab's pod of the same.
pub(crate) fn pod(app: &str, host: &Host) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": "default", "name": format!("{app}-{}", host.name()),
            "labels": { "app": app, "on": host.name() },
        },
        "spec": { "nodeName": host.node(), "containers": [{ "name": "c", "image": "none" }] },
    })
}

/// A Deployment that replaces pods one after the other, none too few.
pub(crate) fn deployment(name: &str, replicas: u32, version: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "namespace": "default", "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "strategy": { "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
            "template": {
                "metadata": {
                    "labels": { "app": name },
                    "annotations": { "version": version.to_string() },
                },
                "spec": { "containers": [{ "name": "c", "image": "none" }] },
            },
        },
    })
}

/// Who answers at an address, over both protocols; a refusal and a silence have names, too.
pub(crate) fn who(client: &Host, to: SocketAddr) -> BTreeSet<String> {
    let request = |proto| Request::new(to, proto).timeout(SILENCE);
    let answers = Proto::BOTH.map(|proto| client.requests(&request(proto), ENOUGH, 4));
    answers.iter().flatten().map(name_of).collect()
}

/// Who answers at both addresses of a Service.
pub(crate) fn who_at(client: &Host, to: [SocketAddr; 2]) -> BTreeSet<String> {
    to.into_iter().flat_map(|to| who(client, to)).collect()
}

fn name_of(answer: &Answer) -> String {
    match answer {
        Answer::From(reply) => reply.pod.clone(),
        Answer::Refused => "refused".to_owned(),
        Answer::TimedOut => "dropped".to_owned(),
        other => format!("{other:?}"),
    }
}

/// These names.
pub(crate) fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The address of a node, for its node ports.
pub(crate) fn at_node(node: &Host, family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(node.address(family), port)
}

pub(crate) fn check(holds: bool, what: &str, saw: &impl std::fmt::Debug) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(format!("{what}: {saw:?}").into()) }
}
