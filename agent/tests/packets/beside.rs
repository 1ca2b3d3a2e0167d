//! A proxy of a name, beside a kube-proxy: each serves its own Services, and leaves the other's
//! rules alone.

use closeby_nft::Ruleset;
use closeby_tools::lab::{Agent, Conversation, Family, Proto, Request};
use libtest_mimic::Failed;
use serde_json::Value;

use super::Trials;
use super::adoption::Running;
use super::rig::{
    BY_NODE_RANGE, CLOSEBY, PATIENCE, Rig, Saw, Site, at_node, at_vip, check, service,
};
use super::takeover::{KubeProxy, NFTABLES_MODE, restore_iptables};

pub(crate) const ALL: Trials = &[
    ("a_canary_serves_beside_kube_proxy", beside_nftables_mode),
    ("a_canary_serves_beside_iptables_mode", beside_iptables_mode),
];

const NAME: &str = "--service-proxy-name=canary";
/// Not kube-proxy's.
const PORTS: &str = "healthzBindAddress: 0.0.0.0:20256\nmetricsBindAddress: 127.0.0.1:20249\n";

fn beside_nftables_mode(rig: &Rig) -> Result<(), Failed> {
    beside(rig, |site| site.node.nft(NFTABLES_MODE).map(drop).map_err(Into::into))
}

fn beside_iptables_mode(rig: &Rig) -> Result<(), Failed> {
    beside(rig, restore_iptables)
}

/// kube-proxy's Service is the first, the canary's the second; both have the same endpoints.
fn beside(rig: &Rig, rules: impl Fn(&Site<'_>) -> Result<(), Failed>) -> Result<(), Failed> {
    let site = rig.site("n1", &format!("{BY_NODE_RANGE}{PORTS}"))?;
    site.put(&service("web", 1), &["a2", "b1"])?;
    let pods = ["a2", "b1"].map(|pod| site.pod(pod));
    let mut canary = service("canary", 2).objects(&pods);
    label(&mut canary)?;
    site.folder.write("canary", &canary)?;
    rules(&site)?;
    let theirs = rules_of(&site)?;
    let open = site.pod("a1").converse(&Request::new(at_vip(1, Family::V4), Proto::Tcp));
    let mut open: Conversation = open.map_err(|answer| format!("{answer:?}"))?;

    let kube_proxy = KubeProxy::listen(site.node)?;
    let agent = kube_proxy.answers(|| {
        let log = site.root.join("agent.log");
        let mut agent = Agent::start(site.node, site.command().arg(NAME), &log)?;
        let committed = agent.next_generation(PATIENCE)?;
        let (services, endpoints) =
            (committed.map(|it| it.services), committed.map(|it| it.endpoints));
        check(services == Some(1), "its Service alone", &(services, endpoints, agent.log_tail()))?;
        Ok(agent)
    })?;
    for number in [1, 2] {
        served(&site, number)?;
    }
    check(open.ask().reply().is_some(), "an open connection", &())?;

    // Not even when it does not answer.
    drop((agent, kube_proxy));
    let mut cleanup = std::process::Command::new(CLOSEBY);
    let (code, said) = Running::spawn(&site, cleanup.args(["--cleanup", NAME]))?.end()?;
    check(code == Some(0), "exit code", &said)?;
    check(site.listing()?.ruleset == Ruleset::default(), "none of ours", &())?;
    let left = rules_of(&site)?;
    check(left == theirs, "theirs are as they were", &left)?;
    check(open.ask().reply().is_some(), "an open connection", &())
}

fn label(objects: &mut [Value]) -> Result<(), Failed> {
    let service = objects.iter_mut().find(|object| object["kind"] == "Service");
    let service = service.ok_or("there is a Service")?;
    service["metadata"]["labels"]["service.kubernetes.io/service-proxy-name"] = "canary".into();
    Ok(())
}

/// All rules of the node, word for word, but for what they counted.
fn rules_of(site: &Site<'_>) -> Result<Vec<String>, Failed> {
    let text = site.node.nft("list ruleset")?;
    let mut rules = Vec::<String>::new();
    for word in text.split_whitespace() {
        let counted = rules.last().is_some_and(|before| before == "packets" || before == "bytes");
        rules.push(if counted { "N".to_owned() } else { word.to_owned() });
    }
    Ok(rules)
}

/// From a pod, from the node and from outside, by both endpoints.
fn served(site: &Site<'_>, number: u8) -> Result<(), Failed> {
    for family in Family::BOTH {
        let vip = at_vip(number, family);
        for (client, to, how) in [
            (site.pod("a1"), vip, "n"),
            (site.node, vip, "m"),
            (site.outside(), at_node(site.node, number, family), "m"),
        ] {
            for proto in Proto::BOTH {
                let saw = Saw::of(client, &client.requests(&Request::new(to, proto), 24, 4));
                check(saw == Saw::expected(&["a2", "b1"], how), "served", &(to, proto, saw))?;
            }
        }
    }
    Ok(())
}
