//! Whom the kernel draws: only who may be, everybody, and each as often as the
//! others.

use std::collections::BTreeMap;

use closeby_tools::lab::{Family, Proto, Request};
use libtest_mimic::Failed;

use super::Trials;
use super::rig::{BY_NODE_RANGE, Rig, at_node, at_vip, check, service};

pub(crate) const ALL: Trials = &[("draws_are_fair", draws_are_fair)];

/// Who may be drawn; other pods would answer, too.
const PODS: [&str; 3] = ["a2", "b1", "c1"];
/// Datagrams on each way, each a new flow.
const COUNT: usize = 600;
/// How likely a fair draw may fail here.
const CHANCE: f64 = 1e-6;

fn draws_are_fair(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&service("web", 1), &PODS)?;
    site.start()?;
    for family in Family::BOTH {
        let ways = [
            (site.pod("a1"), at_vip(1, family)),
            (site.node, at_vip(1, family)),
            (site.outside(), at_node(site.node, 1, family)),
        ];
        for (client, to) in ways {
            let answers = client.requests(&Request::new(to, Proto::Udp), COUNT, 4);
            let mut drawn = BTreeMap::from(PODS.map(|pod| (pod.to_owned(), 0)));
            for answer in &answers {
                let reply = answer.reply().ok_or_else(|| format!("{to}: {answer:?}"))?;
                *drawn.entry(reply.pod.clone()).or_default() += 1;
            }
            let what = format!("{} draws fairly at {to}", client.name());
            check(is_fair(&drawn), &what, &drawn)?;
        }
    }
    Ok(())
}

/// Pearson's test against draws that are all as likely. With three of them chi
/// square has two degrees of freedom, and is beyond x with a chance of
/// e^(-x/2).
fn is_fair(drawn: &BTreeMap<String, u32>) -> bool {
    let total: f64 = drawn.values().copied().map(f64::from).sum();
    let expected = total / 3.0;
    let square = |count: &u32| (f64::from(*count) - expected).powi(2) / expected;
    let chi_square: f64 = drawn.values().map(square).sum();
    drawn.len() == PODS.len() && (-chi_square / 2.0).exp() >= CHANCE
}
