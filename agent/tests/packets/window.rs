//! U-C06 and H-17: a packet far outside the window of its TCP connection, on
//! the way back to the client.
//!
//! Connection tracking does not know it (`INVALID`), so nobody gives it the
//! Service's address back. The client answers a stranger by a reset, which ends
//! the server's side. kube-proxy's nftables mode has no rule against that, as
//! its iptables mode has, but `conntrack.tcpBeLiberal`; so has closeby.

use closeby_tools::lab::{Family, Proto, Request, Tap};
use libtest_mimic::Failed;

use super::Trials;
use super::rig::{BY_NODE_RANGE, PATIENCE, Rig, TARGET, at_vip, check, service, until};

pub(crate) const ALL: Trials = &[
    ("out_of_its_window_a_packet_is_known_if_asked", |rig| out_of_its_window(rig, true)),
    ("out_of_its_window_a_packet_ends_a_connection", |rig| out_of_its_window(rig, false)),
];

/// Beyond every window. Kernels since 6.1 bear one that is as far behind.
const FAR: u32 = 1 << 30;
const LIBERAL: &str = "netfilter/nf_conntrack_tcp_be_liberal";

fn out_of_its_window(rig: &Rig, is_liberal: bool) -> Result<(), Failed> {
    let asked = format!("conntrack: {{maxPerCore: 0, tcpBeLiberal: {is_liberal}}}\n");
    let mut site = rig.site("n1", &format!("{BY_NODE_RANGE}{asked}"))?;
    site.put(&service("web", 1), &["a2"])?;
    site.node.sysctls(&[(LIBERAL, "0")])?;
    site.start()?;
    let outcome = Family::BOTH.into_iter().try_for_each(|family| {
        let tap = Tap::open(site.pod("a2"), family)?;
        let open = site.pod("a1").converse(&Request::new(at_vip(1, family), Proto::Tcp));
        let mut open = open.map_err(|answer| format!("{family}: {answer:?}"))?;
        let answer = open.ask();
        let seen = answer.reply().ok_or_else(|| format!("{family}: {answer:?}"))?.seen_source;
        tap.acknowledge(seen, TARGET, FAR)?;
        if is_liberal {
            let answer = open.ask();
            return check(answer.reply().is_some(), "it goes on", &answer);
        }
        until(PATIENCE, "its end, as with kube-proxy", || Ok(open.ask().reply().is_none()))?;
        Ok(())
    });
    site.node.sysctls(&[(LIBERAL, "0")])?;
    outcome
}
