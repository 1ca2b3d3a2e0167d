//! Closeness by annotation, with the Nodes and Namespaces of a real API server, which are watched
//! once somebody asks, and as far as the agent may.

use closeby_tools::lab::User;
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::Trials;
use super::rig::{Rig, SPARE, check, names, pod, service, who_at};

pub(crate) const ALL: Trials = &[("nodes_are_watched_on_demand", nodes_are_watched_on_demand)];

const ISTIO: &str = "networking.istio.io/traffic-distribution";
/// A pod in each zone.
const SPREAD: [&str; 3] = ["a1", "b1", "c1"];

fn nodes_are_watched_on_demand(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let outcome = asked_and_moved(rig);
    // What later trials do not expect.
    label(rig, "zone-b")?;
    prefer(rig, &namespace(), None)?;
    rig.cluster.node(SPARE).nft("flush ruleset")?;
    outcome
}

fn asked_and_moved(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let web = service("web", &json!({}));
    let pods = SPREAD.map(|host| pod("web", rig.cluster.pod(host)));
    rig.apply(&[vec![web.clone()], pods.to_vec()].concat())?;
    let to = rig.addresses(&web)?;
    let near = rig.cluster.pod("a2");
    rig.until("the whole cluster", |_| Ok(who_at(near, to) == names(&SPREAD)))?;
    // The agents have the rights of kube-proxy: they may list Nodes.
    prefer(rig, &web, Some("PreferSameZone"))?;
    rig.until("its own zone", |_| Ok(who_at(near, to) == names(&["a1"])))?;
    label(rig, "zone-a")?;
    rig.until("a Node that came nearer", |_| Ok(who_at(near, to) == names(&["a1", "b1"])))?;
    label(rig, "zone-b")?;
    rig.until("its own zone again", |_| Ok(who_at(near, to) == names(&["a1"])))?;
    // And no Namespaces.
    prefer(rig, &web, None)?;
    prefer(rig, &namespace(), Some("PreferSameZone"))?;
    rig.until("the whole cluster again", |_| Ok(who_at(near, to) == names(&SPREAD)))?;
    let may_all = rig.start_agent(rig.cluster.node(SPARE), User::Admin, &[])?;
    let far = rig.cluster.pod("d1");
    rig.until("as the Namespace says", |_| Ok(who_at(far, to) == names(&["a1"])))?;
    drop(may_all);
    let may_less = rig.start_agent(rig.cluster.node(SPARE), User::KubeProxy, &[])?;
    rig.until("the whole cluster, there too", |_| Ok(who_at(far, to) == names(&SPREAD)))?;
    let log = may_less.log_tail();
    let told =
        ["namespaces", "serviceentries"].map(|what| format!("not allowed to watch {what}: "));
    check(told.iter().all(|told| log.contains(told)), "it is told", &log)?;
    check(who_at(near, to) == names(&SPREAD), "who may not list Namespaces goes without", &near)
}

fn namespace() -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default" } })
}

/// Writes the annotation, or takes it away.
fn prefer(rig: &Rig<'_>, object: &Value, what: Option<&str>) -> Result<(), Failed> {
    let metadata = json!({ "metadata": { "annotations": { ISTIO: what } } });
    Ok(rig.ask(|api| api.merge(object, &metadata))?)
}

/// Moves the second node.
fn label(rig: &Rig<'_>, zone: &str) -> Result<(), Failed> {
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n2" } });
    let labels = json!({ "topology.kubernetes.io/zone": zone });
    Ok(rig.ask(|api| api.merge(&node, &json!({ "metadata": { "labels": labels } })))?)
}
