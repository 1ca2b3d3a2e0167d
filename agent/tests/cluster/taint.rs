//! A taint that keeps pods off a node until it serves.

use std::fs;
use std::path::Path;

use closeby_tools::lab::{Agent, User};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::Trials;
use super::rig::{PATIENCE, Rig, SPARE, check};

pub(crate) const ALL: Trials = &[("a_startup_taint_goes_when_it_serves", a_startup_taint_goes)];

const KEY: &str = "closeby.dev/agent-not-ready";

fn a_startup_taint_goes(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let other = taint("example.com/other");
    set(rig, &json!([taint(KEY), other]))?;
    let log = rig.root.join("taint.log");
    let node = rig.cluster.node(SPARE);
    let mut command = rig.agent_command(node, User::KubeProxy)?;
    command.args(["--remove-startup-taint", KEY]);
    let mut agent = Agent::start(node, &mut command, &log)?;
    let generation = agent.next_generation(PATIENCE)?;
    check(generation.is_some(), "a first generation", &agent.log_tail())?;

    // kube-proxy's role lets nobody patch Nodes.
    let told = |words: &str| Ok::<_, Failed>(fs::read_to_string(&log)?.matches(words).count());
    rig.until("a warning", |_| Ok(told("stays on Node")? == 1))?;
    check(taints(rig)? == json!([taint(KEY), other]), "all are there", &taints(rig)?)?;
    rig.apply(&role())?;
    // Each change of the Node is a reason to try again.
    set(rig, &json!([taint(KEY), other, taint("example.com/more")]))?;
    without_ours(rig, &log)?;
    check(told("stays on Node")? == 1, "it is told once", &agent.log_tail())?;

    // As a node that was away comes back.
    set(rig, &json!([other, taint(KEY)]))?;
    without_ours(rig, &log)?;
    check(taints(rig)? == json!([other]), "the other stays", &taints(rig)?)?;
    rig.until("it says so", |_| Ok(told(&format!("removed the taint {KEY}"))? == 2))?;
    let text = fs::read_to_string(&log)?;
    let place = |words: &str| text.find(words).ok_or_else(|| format!("not told: {words}"));
    check(place("committed generation=1")? < place("stays on Node")?, "it serves first", &text)?;
    rig.ask(|api| role().iter().try_for_each(|object| api.delete(object, None)))?;
    set(rig, &json!([]))
}

fn without_ours(rig: &mut Rig<'static>, log: &Path) -> Result<(), Failed> {
    let gone = rig.until("it is gone", |rig| {
        Ok(!taints(rig)?.as_array().into_iter().flatten().any(|taint| taint["key"] == KEY))
    });
    gone.map(drop).map_err(|error| format!("{error:?}; {:?}", fs::read_to_string(log)).into())
}

fn taint(key: &str) -> Value {
    json!({ "key": key, "effect": "NoSchedule" })
}

fn set(rig: &Rig<'_>, taints: &Value) -> Result<(), Failed> {
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": SPARE } });
    let patch = json!({ "spec": { "taints": taints } });
    Ok(rig.ask(|api| api.merge(&node, &patch))?)
}

fn taints(rig: &Rig<'_>) -> Result<Value, Failed> {
    let node = rig.ask(|api| api.get(&format!("/api/v1/nodes/{SPARE}")))?;
    Ok(node["spec"]["taints"].clone())
}

/// What the chart gives with `startupTaint`.
fn role() -> [Value; 2] {
    let version = "rbac.authorization.k8s.io/v1";
    let metadata = json!({ "name": "startup-taint" });
    let group = "rbac.authorization.k8s.io";
    [
        json!({
            "apiVersion": version, "kind": "ClusterRole", "metadata": metadata,
            "rules": [{ "apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"] }],
        }),
        json!({
            "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": "startup-taint" },
            "subjects": [{ "apiGroup": group, "kind": "User", "name": "system:kube-proxy" }],
        }),
    ]
}
