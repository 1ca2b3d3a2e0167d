//! Connections without pause while something happens, and some that stay open,
//! to the first Service by its ClusterIP and its node port; none may be lost.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use closeby_tools::lab::{Conversation, Family, Host, Proto, Request};
use libtest_mimic::Failed;

use super::rig::{Rig, Site, at_node, at_vip, check};

/// A packet that is lost is sent again after a second: that must not pass.
const AT_ONCE: Duration = Duration::from_millis(900);

/// A pod, the node and a client outside, each by its own way.
fn ways(rig: &Rig, family: Family) -> [(&Host, SocketAddr); 3] {
    let (cluster, node) = (&rig.cluster, rig.cluster.node("n1"));
    [
        (cluster.pod("a1"), at_vip(1, family)),
        (node, at_vip(1, family)),
        (cluster.outside(), at_node(node, 1, family)),
    ]
}

/// Does this while everybody asks without pause, each time anew; nothing of
/// that may be lost.
pub(crate) fn under_load<T>(
    rig: &Rig,
    deed: impl FnOnce() -> Result<T, Failed>,
) -> Result<T, Failed> {
    let done = AtomicBool::new(false);
    let (outcome, answers) = thread::scope(|scope| {
        let mut asking = Vec::new();
        for (client, to) in Family::BOTH.into_iter().flat_map(|family| ways(rig, family)) {
            let requests = Proto::BOTH.map(|proto| Request::new(to, proto).timeout(AT_ONCE));
            let done = &done;
            let way = format!("{} to {to}", client.name());
            asking.push((way, scope.spawn(move || client.ask_until(done, &requests))));
        }
        let outcome = deed();
        done.store(true, Ordering::Relaxed);
        let answers: Vec<_> =
            asking.into_iter().map(|(way, asking)| (way, asking.join())).collect();
        (outcome, answers)
    });
    let outcome = outcome?;
    for (way, answers) in answers {
        let answers = answers.map_err(|_| "a thread that asks panicked")?;
        let asked = answers.iter().zip(Proto::BOTH.into_iter().cycle()).enumerate();
        let lost: Vec<_> = asked.filter(|(_, (answer, _))| answer.reply().is_none()).collect();
        let what = format!("of {} requests of {way}, these were lost", answers.len());
        check(lost.is_empty(), &what, &lost)?;
    }
    Ok(outcome)
}

/// One open connection of everybody.
pub(crate) fn conversations(site: &Site<'_>) -> Result<Vec<Conversation>, Failed> {
    let all = Family::BOTH.into_iter().flat_map(|family| ways(site.rig, family));
    all.map(|(client, to)| {
        let conversation = client.converse(&Request::new(to, Proto::Tcp));
        conversation.map_err(|answer| format!("{to}: {answer:?}").into())
    })
    .collect()
}

pub(crate) fn all_go_on(open: &mut [Conversation]) -> Result<(), Failed> {
    for conversation in open {
        let answer = conversation.ask();
        check(answer.reply().is_some(), "an open connection", &answer)?;
    }
    Ok(())
}
