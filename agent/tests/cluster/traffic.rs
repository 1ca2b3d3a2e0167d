//! Where connections go, as Deployments, Services and Nodes change.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use closeby_tools::lab::{Family, Host, Proto, Request};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::Trials;
use super::rig::{Rig, at_node, check, deployment, names, pod, service, who, who_at};

pub(crate) const ALL: Trials = &[
    ("hints_of_the_controller_keep_traffic_in_the_zone", hints_keep_traffic_in_the_zone),
    ("a_node_that_moves_to_another_zone_follows_its_hints", a_node_moves_to_another_zone),
    ("a_rolling_update_loses_no_connection", a_rolling_update_loses_no_connection),
    ("scaled_to_zero_it_refuses_and_back_it_serves", scaled_to_zero_and_back),
    ("a_service_changes_its_type", a_service_changes_its_type),
];

/// A pod in each zone.
const SPREAD: [&str; 3] = ["a1", "b1", "c1"];

fn pods(rig: &Rig<'_>, app: &str, hosts: &[&str]) -> Vec<Value> {
    hosts.iter().map(|host| pod(app, rig.cluster.pod(host))).collect()
}

fn hints_keep_traffic_in_the_zone(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let web = service("web", &json!({ "trafficDistribution": "PreferSameZone" }));
    rig.apply(&[vec![web.clone()], pods(rig, "web", &SPREAD)].concat())?;
    let to = rig.addresses(&web)?;
    for (client, own) in [("a2", "a1"), ("b2", "b1"), ("c2", "c1")] {
        let client = rig.cluster.pod(client);
        rig.until("its own zone", |_| Ok(who_at(client, to) == names(&[own])))?;
    }
    // Without the preference, everybody uses all.
    rig.apply(&[service("web", &json!({}))])?;
    let client = rig.cluster.pod("a2");
    rig.until("the whole cluster", |_| Ok(who_at(client, to) == names(&SPREAD)))?;
    Ok(())
}

fn a_node_moves_to_another_zone(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let web = service("web", &json!({ "trafficDistribution": "PreferSameZone" }));
    rig.apply(&[vec![web.clone()], pods(rig, "web", &SPREAD)].concat())?;
    let to = rig.addresses(&web)?;
    let client = rig.cluster.pod("a2");
    rig.until("its own zone", |_| Ok(who_at(client, to) == names(&["a1"])))?;
    let move_to = |rig: &Rig<'_>, zone: &str| {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" } });
        let labels = json!({ "topology.kubernetes.io/zone": zone });
        rig.ask(|api| api.merge(&node, &json!({ "metadata": { "labels": labels } })))
    };
    // Its pod's zone follows, too, when the controller next looks at the Service: it does not look
    // at all of them when a node changes.
    let mut looks = 0;
    let mut look = |rig: &Rig<'_>| {
        looks += 1;
        let annotations = json!({ "looks": looks.to_string() });
        rig.ask(|api| api.merge(&web, &json!({ "metadata": { "annotations": annotations } })))
    };
    move_to(rig, "zone-b")?;
    rig.until("its new zone, and the pods there", |rig| {
        look(rig)?;
        Ok(who_at(client, to) == names(&["a1", "b1"]))
    })?;
    move_to(rig, "zone-a")?;
    rig.until("its old zone", |rig| {
        look(rig)?;
        Ok(who_at(client, to) == names(&["a1"]))
    })?;
    Ok(())
}

fn a_rolling_update_loses_no_connection(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let web = service("web", &json!({}));
    rig.apply(&[web.clone(), deployment("web", 3, 1)])?;
    let to = rig.addresses(&web)?;
    let cluster = rig.cluster;
    let clients = [cluster.pod("a3"), cluster.pod("b3"), cluster.outside()];
    for client in clients {
        rig.until("three pods", |_| Ok(who_at(client, to).len() == 3))?;
    }
    let before: Vec<String> = rig.kubelet.hosts().iter().map(|host| host.name().into()).collect();
    let both = |to| Proto::BOTH.map(|proto| Request::new(to, proto));
    let (requests, done) = (&to.map(both).concat(), AtomicBool::new(false));
    let (asked, lost) = thread::scope(|scope| {
        let done = &done;
        let asking = clients.map(|client| scope.spawn(move || client.ask_until(done, requests)));
        let rolled = rig.apply(&[deployment("web", 3, 2)]).map_err(Failed::from).and_then(|()| {
            rig.until("all pods are new", |rig| {
                let status =
                    rig.ask(|api| api.get("/apis/apps/v1/namespaces/default/deployments/web"))?;
                let status = &status["status"];
                Ok(status["updatedReplicas"] == 3
                    && status["replicas"] == 3
                    && status["readyReplicas"] == 3
                    && rig.kubelet.hosts().len() == 3)
            })
        });
        done.store(true, Ordering::Relaxed);
        let answers = asking.map(|asking| asking.join().unwrap_or_default());
        rolled.map(|_| {
            let lost = answers.iter().flatten().find(|answer| answer.reply().is_none());
            (answers.iter().map(Vec::len).sum::<usize>(), lost.cloned())
        })
    })?;
    check(lost.is_none(), &format!("one of {asked} connections was lost"), &(lost, rig.logs()))?;
    check(asked > 500, "connections meanwhile", &asked)?;
    let after: Vec<String> = rig.kubelet.hosts().iter().map(|host| host.name().into()).collect();
    check(before != after, "other pods", &after)
}

fn scaled_to_zero_and_back(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let web = service("web", &json!({}));
    rig.apply(&[web.clone(), deployment("web", 2, 1)])?;
    let to = rig.addresses(&web)?;
    let client = rig.cluster.pod("a3");
    rig.until("two pods", |_| Ok(who_at(client, to).len() == 2))?;
    rig.apply(&[deployment("web", 0, 1)])?;
    rig.until("refused", |_| Ok(who_at(client, to) == names(&["refused"])))?;
    rig.apply(&[deployment("web", 3, 1)])?;
    rig.until("three pods", |_| {
        let seen = who_at(client, to);
        Ok(seen.len() == 3 && !seen.contains("refused"))
    })?;
    Ok(())
}

fn a_service_changes_its_type(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let typed = |kind: &str| service("web", &json!({ "type": kind }));
    rig.apply(&[vec![typed("NodePort")], pods(rig, "web", &SPREAD)].concat())?;
    let to = rig.addresses(&typed("NodePort"))?;
    let found = rig.ask(|api| api.get("/api/v1/namespaces/default/services/web"))?;
    let port =
        found["spec"]["ports"][0]["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or("no node port")?;
    let (outside, node) = (rig.cluster.outside(), rig.cluster.node("n2"));
    for family in Family::BOTH {
        let at = at_node(node, family, port);
        let tcp = |client: &Host| {
            let answers = client.requests(&Request::new(at, Proto::Tcp), 30, 4);
            answers
                .iter()
                .filter_map(|answer| answer.reply().map(|reply| reply.pod.clone()))
                .collect()
        };
        rig.until("the node port", |_| {
            Ok::<bool, Failed>({
                let seen: std::collections::BTreeSet<String> = tcp(outside);
                seen == names(&SPREAD)
            })
        })?;
    }
    rig.apply(&[typed("ClusterIP")])?;
    let at = at_node(node, Family::V4, port);
    rig.until("no node port", |_| Ok(who(outside, at) == names(&["refused"])))?;
    let client = rig.cluster.pod("a2");
    rig.until("the ClusterIP", |_| Ok(who_at(client, to) == names(&SPREAD)))?;
    Ok(())
}
