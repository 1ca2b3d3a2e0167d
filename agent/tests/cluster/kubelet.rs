//! What kubelets and the scheduler would do: pods get a place in the lab, a server that runs there,
//! and a status that says so. A pod that is deleted serves on for a while, as one that ends well does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use closeby_tools::lab::{Api, Cluster, Family, Host, LabError, Server};
use serde_json::{Value, json};

use super::rig::TARGET;

/// How long a deleted pod serves on: longer than anybody may take to hear of it.
const GRACE: Duration = Duration::from_secs(2);

/// The pods of one cluster.
#[derive(Default)]
pub(crate) struct Kubelet<'a> {
    running: BTreeMap<String, Running<'a>>,
}

/// A pod that runs.
struct Running<'a> {
    host: &'a Host,
    /// Stops when the pod goes.
    _server: Server,
    deleted: Option<Instant>,
}

impl<'a> Kubelet<'a> {
    /// Looks at all pods once, and does what is to be done.
    pub(crate) fn sync(&mut self, cluster: &'a Cluster, api: &Api) -> Result<(), LabError> {
        let pods = api.get("/api/v1/pods")?;
        for pod in pods["items"].as_array().into_iter().flatten() {
            let pod = with_kind(pod);
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                self.end(name, &pod, api)?;
            } else if !self.running.contains_key(name) {
                self.start(name, &pod, cluster, api)?;
            }
        }
        Ok(())
    }

    /// The pods that run on these hosts.
    pub(crate) fn hosts(&self) -> Vec<&'a Host> {
        self.running.values().map(|running| running.host).collect()
    }

    fn start(
        &mut self,
        name: &str,
        pod: &Value,
        cluster: &'a Cluster,
        api: &Api,
    ) -> Result<(), LabError> {
        let host = self.place(pod, cluster)?;
        if pod["spec"]["nodeName"].is_null() {
            let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
            let binding = json!({
                "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
                "target": { "apiVersion": "v1", "kind": "Node", "name": host.node() },
            });
            api.create(&format!("/api/v1/namespaces/{namespace}/pods/{name}/binding"), &binding)?;
        }
        let server = host.serve(TARGET)?;
        self.running.insert(name.to_owned(), Running { host, _server: server, deleted: None });
        let [v4, v6] = Family::BOTH.map(|family| host.address(family).to_string());
        let conditions = ["Initialized", "ContainersReady", "Ready"]
            .map(|kind| json!({ "type": kind, "status": "True" }));
        api.set_status(
            pod,
            &json!({
                "phase": "Running",
                "conditions": conditions,
                "podIP": v4,
                "podIPs": [{ "ip": v4 }, { "ip": v6 }],
            }),
        )
    }

    /// A host where no pod is, on the node that the pod wants, or else on the node with the fewest.
    fn place(&self, pod: &Value, cluster: &'a Cluster) -> Result<&'a Host, LabError> {
        let taken = self.hosts();
        let pods_on = |node: &str| taken.iter().filter(|host| host.node() == node).count();
        let wanted = pod["spec"]["nodeName"].as_str();
        let named = pod["metadata"]["labels"]["on"].as_str();
        cluster
            .pods()
            .iter()
            .filter(|host| !taken.iter().any(|other| other.name() == host.name()))
            .filter(|host| wanted.is_none_or(|node| node == host.node()))
            .filter(|host| named.is_none_or(|name| name == host.name()))
            .min_by_key(|host| pods_on(host.node()))
            .ok_or_else(|| LabError::Plan("there is no room for a pod".to_owned()))
    }

    fn end(&mut self, name: &str, pod: &Value, api: &Api) -> Result<(), LabError> {
        let is_over = match self.running.get_mut(name) {
            Some(running) => running.deleted.get_or_insert_with(Instant::now).elapsed() > GRACE,
            None => true,
        };
        if is_over {
            self.running.remove(name);
            api.delete(pod, Some(0))?;
        }
        Ok(())
    }
}

/// Items of a list do not say what they are.
fn with_kind(pod: &Value) -> Value {
    let mut pod = pod.clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod
}
