//! Flows while the endpoints change: what is open goes on, what is new goes
//! where the newest objects say.

use closeby_tools::lab::{Answer, Conversation, Family, Proto, Request};
use libtest_mimic::Failed;
use serde_json::json;

use super::Trials;
use super::rig::{BY_NODE_RANGE, Rig, Saw, Site, at_node, at_vip, check, service};

pub(crate) const ALL: Trials = &[
    ("an_open_connection_goes_on", an_open_connection_goes_on),
    ("an_unready_endpoint_gets_nothing_new", an_unready_endpoint_gets_nothing_new),
    ("a_service_comes_moves_and_goes", a_service_comes_moves_and_goes),
];

const MANY: usize = 24;

/// Through a change of its endpoint, the agent's death and its return.
fn an_open_connection_goes_on(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let web = service("web", 1);
    site.put(&web, &["b1"])?;
    site.start()?;
    let mut open = Vec::new();
    for family in Family::BOTH {
        for to in [at_vip(1, family), at_node(site.node, 1, family)] {
            for client in [site.pod("a1"), site.node, site.outside()] {
                let conversation = client.converse(&Request::new(to, Proto::Tcp));
                open.push(conversation.map_err(|answer| format!("{to}: {answer:?}"))?);
            }
        }
    }
    all_go_on(&mut open, "at first")?;
    site.change(&web, &["a2"])?;
    all_go_on(&mut open, "after their endpoint is gone")?;
    expect_new(&site, "a2")?;
    site.kill();
    all_go_on(&mut open, "without an agent")?;
    expect_new(&site, "a2")?;
    site.start()?;
    all_go_on(&mut open, "with a new agent")?;
    site.change(&web, &[])?;
    all_go_on(&mut open, "without any endpoint")
}

fn all_go_on(open: &mut [Conversation], when: &str) -> Result<(), Failed> {
    for conversation in open {
        let answer = conversation.ask();
        let by = answer.reply().map(|reply| reply.pod.as_str());
        check(by == Some("b1"), when, &answer)?;
    }
    Ok(())
}

fn expect_new(site: &Site<'_>, pod: &str) -> Result<(), Failed> {
    for family in Family::BOTH {
        let client = site.pod("a1");
        for proto in Proto::BOTH {
            let answers = client.requests(&Request::new(at_vip(1, family), proto), MANY, 4);
            let saw = Saw::of(client, &answers);
            check(saw == Saw::expected(&[pod], "n"), "new ones", &saw)?;
        }
    }
    Ok(())
}

fn an_unready_endpoint_gets_nothing_new(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let web = service("web", 1);
    site.put(&web, &["a2", "b1"])?;
    site.start()?;
    let client = site.pod("a1");
    let both = client.requests(&Request::new(at_vip(1, Family::V4), Proto::Tcp), MANY, 4);
    let saw = Saw::of(client, &both);
    check(saw == Saw::expected(&["a2", "b1"], "n"), "both ready", &saw)?;
    for conditions in [
        json!({ "ready": false, "serving": false, "terminating": false }),
        json!({ "ready": false, "serving": true, "terminating": true }),
    ] {
        let mut objects = web.objects(&[site.pod("a2"), site.pod("b1")]);
        for slice in &mut objects[1..] {
            slice["endpoints"][1]["conditions"] = conditions.clone();
        }
        site.write_and_wait("web", &objects)?;
        expect_new(&site, "a2")?;
        site.change(&web, &["a2", "b1"])?;
    }
    Ok(())
}

fn a_service_comes_moves_and_goes(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.start()?;
    let to = |family| Request::new(at_vip(1, family), Proto::Tcp);
    let ask = |site: &Site<'_>, expected: &Answer| {
        Family::BOTH.into_iter().try_for_each(|family| {
            let answer = site.pod("a1").request(&to(family));
            check(answer == *expected, &format!("{family}: {expected:?}"), &answer)
        })
    };
    ask(&site, &Answer::Unreachable)?;
    let web = service("web", 1);
    site.change(&web, &["a2"])?;
    expect_new(&site, "a2")?;
    site.change(&web, &["b1"])?;
    expect_new(&site, "b1")?;
    site.change(&web, &[])?;
    ask(&site, &Answer::Refused)?;
    site.remove("web")?;
    ask(&site, &Answer::Unreachable)
}
