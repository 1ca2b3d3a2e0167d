//! The API server goes, comes back, and has forgotten; rights are missing; events are written.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use closeby_tools::lab::{Host, LabError, User};
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::Trials;
use super::rig::{PATIENCE, Rig, SPARE, check, names, pod, service, who_at};

pub(crate) const ALL: Trials = &[
    ("without_an_api_server_everything_stays", without_an_api_server_everything_stays),
    ("what_was_forgotten_is_read_again", what_was_forgotten_is_read_again),
    ("without_rights_it_says_which_and_touches_nothing", without_rights_it_says_which),
    ("a_service_that_is_wrong_has_an_event", a_service_that_is_wrong_has_an_event),
    ("what_is_waited_for_has_an_event", what_is_waited_for_has_an_event),
];

/// How long an agent may take to follow a server that is back.
const FOLLOWS: Duration = Duration::from_secs(2);

fn two_pods(rig: &mut Rig<'static>) -> Result<([std::net::SocketAddr; 2], &'static Host), Failed> {
    let web = service("web", &json!({}));
    let pods = ["a1", "b1"].map(|host| pod("web", rig.cluster.pod(host)));
    rig.apply(&[vec![web.clone()], pods.to_vec()].concat())?;
    let (to, client) = (rig.addresses(&web)?, rig.cluster.pod("c1"));
    rig.until("two pods", |_| Ok(who_at(client, to) == names(&["a1", "b1"])))?;
    Ok((to, client))
}

fn without_an_api_server_everything_stays(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let (to, client) = two_pods(rig)?;
    rig.plane.stop_api();
    check(who_at(client, to) == names(&["a1", "b1"]), "without a server", &rig.logs())?;
    rig.plane.start_api()?;
    let gone = pod("web", rig.cluster.pod("b1"));
    rig.ask(|api| api.delete(&gone, Some(0)))?;
    let took = rig.until("the other pod alone", |_| Ok(who_at(client, to) == names(&["a1"])))?;
    check(took < FOLLOWS, "after the server is back", &took)
}

/// The agents sleep while a Service goes and etcd forgets that it was there: they are told 410, and
/// list anew.
fn what_was_forgotten_is_read_again(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let (to, client) = two_pods(rig)?;
    signal(rig, Signal::SIGSTOP)?;
    let gone = service("web", &json!({}));
    rig.ask(|api| api.delete(&gone, None))?;
    rig.plane.compact()?;
    rig.plane.stop_api();
    rig.plane.start_api()?;
    check(who_at(client, to) == names(&["a1", "b1"]), "while they sleep", &rig.logs())?;
    signal(rig, Signal::SIGCONT)?;
    rig.until("it is gone", |_| {
        let seen = who_at(client, to);
        Ok(!seen.contains("a1") && !seen.contains("b1"))
    })?;
    Ok(())
}

fn without_rights_it_says_which(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let node = rig.cluster.node(SPARE);
    let agent = rig.start_agent(node, User::Nobody, &[])?;
    for kind in ["services", "endpointslices", "nodes"] {
        let told = |line: &str| line.contains("WARN") && line.contains(kind);
        rig.until(kind, |_| Ok(agent.log_tail().lines().any(told)))?;
    }
    let tables = node.nft("list tables")?;
    check(tables.is_empty(), "no tables", &tables)
}

fn signal(rig: &Rig<'_>, signal: Signal) -> Result<(), LabError> {
    for agent in &rig.agents {
        let pid = i32::try_from(agent.pid()).map_err(|error| LabError::Plan(error.to_string()))?;
        kill(Pid::from_raw(pid), signal).map_err(|errno| LabError::Io {
            doing: format!("signal to the agent on {}", agent.node()),
            source: errno.into(),
        })?;
    }
    Ok(())
}

/// Two Services want one address. All agents see it, and one event says so.
fn a_service_that_is_wrong_has_an_event(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let taken = json!({ "externalIPs": ["203.0.113.9"], "ipFamilyPolicy": "SingleStack" });
    rig.apply(&["one", "other"].map(|name| service(name, &taken)))?;
    rig.until("an event", |rig| Ok(!events(rig, "NotServedAsWritten")?.is_empty()))?;
    let found = events(rig, "NotServedAsWritten")?;
    let texts: BTreeSet<_> = found.iter().map(|event| event["note"].to_string()).collect();
    check(texts.len() == found.len(), "each is there once", &found)?;
    let regards = &found[0]["regarding"];
    let path = "/api/v1/namespaces/default/services/";
    let path = format!("{path}{}", regards["name"].as_str().unwrap_or_default());
    let service = rig.ask(|api| api.get(&path))?;
    check(service["metadata"]["uid"] == regards["uid"], "it is found by its UID", regards)?;
    check(!events(rig, "Starting")?.is_empty(), "agents say that they start", &"none does")
}

/// The interface alone, of another kind, stands for what IPVS mode leaves.
fn what_is_waited_for_has_an_event(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let node = rig.cluster.node(SPARE);
    ip(node, "link add kube-ipvs0 type bridge")?;
    let mut agent = rig.start_agent(node, User::KubeProxy, &[])?;
    let told = rig.until("an event", |rig| Ok(!events(rig, "WaitingForLeftovers")?.is_empty()));
    ip(node, "link delete kube-ipvs0")?;
    told?;
    let [event] = &events(rig, "WaitingForLeftovers")?[..] else {
        return Err(agent.log_tail().into());
    };
    let note = event["note"].as_str().unwrap_or_default();
    let says = note.contains("kube-ipvs0") && note.contains("kube-proxy --cleanup");
    check(says && event["type"] == "Warning", "what and what to do", event)?;
    let regards = &event["regarding"];
    check(regards["kind"] == "Node" && regards["name"] == SPARE, "whom it is about", regards)?;
    let generation = agent.next_generation(PATIENCE)?;
    check(generation.is_some(), "then it goes on", &agent.log_tail())
}

fn events(rig: &Rig<'_>, reason: &str) -> Result<Vec<Value>, Failed> {
    let all = rig.ask(|api| api.get("/apis/events.k8s.io/v1/namespaces/default/events"))?;
    let all = all["items"].as_array().cloned().unwrap_or_default();
    Ok(all.into_iter().filter(|event| event["reason"] == reason).collect())
}

fn ip(node: &Host, words: &str) -> Result<(), Failed> {
    let status = node.spawn(Command::new("ip").args(words.split_whitespace()))?.wait()?;
    check(status.success(), &format!("ip {words}"), &status)
}
