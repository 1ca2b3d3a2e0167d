//! `--shadow` beside the real kube-proxy: it agrees, and names what was broken.

use std::io::Read;
use std::process::Stdio;
use std::time::Instant;

use closeby_tools::lab::{Host, User};
use libtest_mimic::Failed;
use serde_json::json;

use super::Trials;
use super::peer::{
    FIRST_NODE_PORT, KubeProxy, is_complete, services, targets, verdicts, without_lost_refusals,
};
use super::rig::{PATIENCE, Rig, SPARE, check, service};

pub(crate) const ALL: Trials = &[("shadow_agrees_with_kube_proxy", shadow_agrees_with_kube_proxy)];

fn shadow_agrees_with_kube_proxy(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let node = rig.cluster.node(SPARE);
    rig.cluster.enter_by(node)?;
    let kube_proxy = KubeProxy::start(rig, node)?;
    let outcome = compared(rig, node);
    drop(kube_proxy);
    node.nft("flush ruleset")?;
    rig.cluster.enter_by(&rig.cluster.nodes()[0])?;
    outcome
}

fn compared(rig: &mut Rig<'static>, node: &'static Host) -> Result<(), Failed> {
    let services = services(rig)?;
    others(rig)?;
    let targets = targets(rig, node, &services)?;
    rig.until("kube-proxy serves each Service with pods", |rig| {
        let mut theirs = verdicts(rig, node, &targets);
        theirs.values_mut().for_each(without_lost_refusals);
        Ok(is_complete(&theirs, &targets))
    })?;
    let mut last = (None, String::new());
    let agree = rig.until("both do the same", |rig| {
        last = once(rig, node)?;
        Ok(last.0 == Some(0))
    });
    check(agree.is_ok(), "both do the same", &last)?;
    // Six Services and two more, each over two protocols in two families, at the ClusterIP and a
    // node port, one at a load balancer's address as well; and the API's own.
    let expected = "compared 69 frontends, ";
    check(last.1.starts_with(expected), expected, &last)?;
    check(last.1.contains(": 0 differences, "), "no difference", &last)?;
    check(!last.1.contains(", 0 expected"), "TCP is refused otherwise", &last)?;

    let port = format!("{{ tcp . {FIRST_NODE_PORT} }}");
    node.nft(&format!("delete element ip kube-proxy service-nodeports {port}"))?;
    let (code, said) = once(rig, node)?;
    check(code == Some(1), "exit code", &(code, &said))?;
    let broken = format!("differs in verdict: nodePort {FIRST_NODE_PORT}/tcp (ip) at ");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("differs")).collect();
    check(lines.iter().all(|line| line.starts_with(&broken)), "what was broken alone", &lines)?;
    check(lines.len() == 4, "a pod, an endpoint, the node, outside", &lines)?;
    let tables = node.nft("list tables")?;
    check(tables == "table ip kube-proxy\ntable ip6 kube-proxy\n", "none of ours", &tables)
}

/// What remembers its clients, and what not everybody may use; by the pods of another Service.
fn others(rig: &Rig<'_>) -> Result<(), Failed> {
    let selector = json!({ "everywhere": "yes" });
    let affinity = "ClientIP";
    let spec = json!({ "type": "NodePort", "selector": selector, "sessionAffinity": affinity });
    let sticky = service("sticky", &spec);
    let ranges = ["10.9.0.0/16", "192.0.2.0/25", "fd00:9::/32"];
    let spec = json!({
        "type": "LoadBalancer", "selector": selector, "loadBalancerSourceRanges": ranges,
    });
    let chosen = service("chosen", &spec);
    rig.apply(&[sticky, chosen.clone()])?;
    let addresses = json!([{ "ip": "203.0.113.7" }, { "ip": "fd00:203:0:113::7" }]);
    let status = json!({ "loadBalancer": { "ingress": addresses } });
    Ok(rig.ask(|api| api.set_status(&chosen, &status))?)
}

/// A comparison: its exit code, and what it wrote to standard output.
fn once(rig: &Rig<'_>, node: &Host) -> Result<(Option<i32>, String), Failed> {
    let mut command = rig.agent_command(node, User::KubeProxy)?;
    command.args(["--shadow", "--once"]).stdin(Stdio::null());
    let mut child = node.spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()))?;
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > PATIENCE {
            child.kill()?;
        }
    }
    let mut said = String::new();
    child.stdout.take().ok_or("no stdout")?.read_to_string(&mut said)?;
    Ok((child.wait()?.code(), said))
}
