//! U-V01: how long a new Service takes from its objects to its first packet.

use std::time::{Duration, Instant};

use closeby_tools::lab::{Family, Proto, Request};
use libtest_mimic::Failed;

use super::Trials;
use super::rig::{BY_NODE_RANGE, Rig, at_vip, check, service};

pub(crate) const ALL: Trials = &[("new_services_are_soon_served", new_services_are_soon_served)];

/// Upstream makes 200 Services and waits for their endpoints, no packet; half of
/// them may take 20 s, one of a hundred 50 s. Here a tenth of that is slow: this
/// is to tell seconds from milliseconds, on any machine.
const SERVICES: u8 = 100;
const HALF: Duration = Duration::from_secs(2);
const TAIL: Duration = Duration::from_secs(5);

fn new_services_are_soon_served(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.start()?;
    let mut took = Vec::new();
    for number in 1..=SERVICES {
        let family = Family::BOTH[usize::from(number % 2)];
        let request = Request::new(at_vip(number, family), Proto::Tcp);
        let start = Instant::now();
        // Asking before the kernel has it would fill the quota of ICMP errors.
        site.change(&service(&format!("web-{number}"), number), &["a2"])?;
        let answer = rig.cluster.pod("a1").request(&request);
        took.push(start.elapsed());
        check(answer.reply().is_some(), "the first packet", &answer)?;
    }
    took.sort_unstable();
    let share = |percent: usize| took[(took.len() - 1) * percent / 100];
    let [half, tail, worst] = [50, 99, 100].map(share);
    println!("{SERVICES} Services: p50 {half:?}, p99 {tail:?}, at most {worst:?}");
    check(half < HALF && tail < TAIL, "from a Service's objects to its first packet", &took)
}
