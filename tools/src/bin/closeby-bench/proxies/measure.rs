//! What one proxy does with one cluster, in this order: it starts on a node without rules, follows
//! lone changes, starts once more where its rules are, and follows changes without pause.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use closeby_tools::lab::{ControlPlane, Host, LabError, Proto, User};
use serde::Serialize;

use super::objects::Part;
use super::probe::{Probe, Seen};
use super::process::{Pace, Programs, Proxy, Running};
use crate::stats::Stats;

/// How long a proxy may take for anything.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between lone changes: kube-proxy would put off one that comes within its second.
const PAUSE: Duration = Duration::from_millis(1500);
/// Services of many that are asked whether rules are complete.
const SAMPLES: u32 = 32;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    /// What the Services speak.
    pub(super) proto: Proto,
    /// Endpoints of each Service.
    pub(super) endpoints: u32,
    /// Lone changes of each kind.
    pub(super) changes: u32,
    /// Changes a second, without pause.
    pub(super) rate: u32,
    /// For so long.
    pub(super) seconds: u32,
}

/// Where it is measured.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) plane: &'a ControlPlane<'a>,
    pub(super) node: &'a Host,
    pub(super) programs: &'a Programs,
    pub(super) probe: Probe,
    /// Numbers of endpoints that the changing Service has had.
    pub(super) spent: u32,
}

/// What came out. Times in milliseconds are from the write to the first packet.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) services: u32,
    pub(super) proxy: Proxy,
    /// Seconds from the start of the process until every Service asked is served.
    pub(super) cold_s: f64,
    pub(super) cold_cpu_s: f64,
    pub(super) cold_peak_mib: f64,
    pub(super) change_ms: Stats,
    pub(super) change_cpu_ms: f64,
    pub(super) added_ms: Stats,
    /// What the API server takes of that to answer.
    pub(super) added_write_ms: Stats,
    /// Seconds from the start of the process, where rules are, until a new change is in force.
    pub(super) restart_s: f64,
    pub(super) churn: Churn,
}

/// Changes without pause.
#[derive(Debug, Serialize)]
pub(super) struct Churn {
    pub(super) changes: usize,
    pub(super) ms: Stats,
    pub(super) p99_ms: f64,
    pub(super) cpu_ms: f64,
    pub(super) cpu_percent: f64,
    pub(super) before_mib: f64,
    pub(super) after_mib: f64,
    pub(super) peak_mib: f64,
    pub(super) helpers_peak_mib: f64,
    /// What the API server takes to answer a write.
    pub(super) write_ms: Stats,
}

/// When each change was written, and when the API server answered.
type Writes = Vec<(Instant, Instant)>;

impl Stage<'_> {
    /// Measures all of it; the node is without rules before and after.
    pub(super) fn measure(
        &mut self,
        proxy: Proxy,
        services: u32,
        amount: Amount,
    ) -> anyhow::Result<Figures> {
        self.node.nft("flush ruleset")?;
        let running = self.programs.start(proxy, Pace::Default, self.plane, self.node)?;
        let cold = self.complete(services, amount.endpoints).context("cold start")?;
        let cold_s = (cold - running.started).as_secs_f64();
        let (cold_cpu_s, cold_peak_mib) = (running.cpu()?.as_secs_f64(), running.peak_mib()?);
        thread::sleep(PAUSE);
        let before = running.cpu()?;
        let lone = self.lone_changes(amount.changes).context("lone changes")?;
        let change_cpu_ms = ms(running.cpu()? - before) / f64::from(amount.changes);
        let (added, answers) = self.added(amount).context("Services added")?;
        drop(running);
        self.change()?;
        let running = self.programs.start(proxy, Pace::AtOnce, self.plane, self.node)?;
        let restart = self.changed().context("restart")? - running.started;
        thread::sleep(PAUSE);
        let churn = self.churn(&running, amount).context("changes without pause")?;
        drop(running);
        self.node.nft("flush ruleset")?;
        let (change_ms, added_ms) = (Stats::of(&lone), Stats::of(&added));
        let restart_s = restart.as_secs_f64();
        Ok(Figures {
            services,
            proxy,
            cold_s,
            cold_cpu_s,
            cold_peak_mib,
            change_ms,
            change_cpu_ms,
            added_ms,
            added_write_ms: Stats::of(&answers),
            restart_s,
            churn,
        })
    }

    /// When all Services asked lead to an endpoint of theirs.
    pub(super) fn complete(&mut self, services: u32, endpoints: u32) -> anyhow::Result<Instant> {
        let step = usize::try_from(services.div_ceil(SAMPLES))?;
        let still = (0..services).step_by(step).chain([services - 1]).map(Part::Still);
        let mut last = None;
        for part in still {
            let is_one = |to| part.slot(to).is_some_and(|slot| slot < endpoints);
            last = Some(self.probe.arrives(part.address(), PATIENCE, is_one)?);
        }
        Ok(last.context("there is no Service")?.max(self.changed()?))
    }

    /// When packets come to the endpoint that was written last.
    fn changed(&mut self) -> anyhow::Result<Instant> {
        let endpoint = Part::Changing.endpoint(self.spent);
        self.probe.arrives(Part::Changing.address(), PATIENCE, |to| to == endpoint)
    }

    /// Writes one change.
    fn change(&mut self) -> Result<(), LabError> {
        self.spent += 1;
        let slot = self.spent;
        self.plane.ask(User::Admin, |api| Part::Changing.change(api, [slot]))
    }

    /// Milliseconds of changes of which each waits for the one before.
    fn lone_changes(&mut self, count: u32) -> anyhow::Result<Vec<f64>> {
        let (first, seen) = (self.spent + 1, AtomicU32::new(self.spent));
        let write = |number: u32, _: Instant| {
            while seen.load(Ordering::Acquire) + 1 < first + number {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(PAUSE);
        };
        let (writes, arrivals) = self.written_and_seen(count, write, &seen)?;
        Ok(latencies(&writes, &arrivals))
    }

    /// Changes at times that were set before, whether the proxy follows or not.
    fn churn(&mut self, running: &Running, amount: Amount) -> anyhow::Result<Churn> {
        let count = amount.rate * amount.seconds;
        let (before, before_mib) = (running.cpu()?, running.now_mib()?);
        let seen = AtomicU32::new(self.spent);
        let write = |number: u32, start: Instant| {
            let due = start + Duration::from_secs(1) * number / amount.rate;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        };
        let start = Instant::now();
        let (writes, arrivals) = self.written_and_seen(count, write, &seen)?;
        let cpu = running.cpu()? - before;
        let times = latencies(&writes, &arrivals);
        let answers: Vec<_> = writes.iter().map(|(sent, answered)| ms(*answered - *sent)).collect();
        Ok(Churn {
            changes: times.len(),
            ms: Stats::of(&times),
            p99_ms: Stats::percentile(&times, 99),
            cpu_ms: ms(cpu) / f64::from(count),
            cpu_percent: 100.0 * cpu.as_secs_f64() / start.elapsed().as_secs_f64(),
            before_mib,
            after_mib: running.now_mib()?,
            peak_mib: running.peak_mib()?,
            helpers_peak_mib: running.helpers_peak_mib(),
            write_ms: Stats::of(&answers),
        })
    }

    /// Writes so many changes, each after `wait`, and looks when packets follow: what arrived for
    /// the first time, in order.
    fn written_and_seen(
        &mut self,
        count: u32,
        wait: impl Fn(u32, Instant) + Sync,
        seen: &AtomicU32,
    ) -> anyhow::Result<(Writes, Vec<(u32, Instant)>)> {
        let (plane, probe, first) = (self.plane, &mut self.probe, self.spent + 1);
        self.spent += count;
        let last = self.spent;
        let mut arrivals = Vec::new();
        let (writes, looked) = thread::scope(|scope| {
            let write = &wait;
            let writer = scope.spawn(move || {
                plane.ask(User::Admin, |api| {
                    api.get("/readyz")?;
                    let start = Instant::now();
                    (0..count)
                        .map(|number| {
                            write(number, start);
                            let sent = Instant::now();
                            Part::Changing.change(api, [first + number])?;
                            Ok((sent, Instant::now()))
                        })
                        .collect::<Result<Writes, LabError>>()
                })
            });
            let looked = probe.until(Part::Changing.address(), PATIENCE, |arrival, now| {
                let slot = Part::Changing.slot(arrival.to);
                let Some(number) = slot.filter(|slot| (first..=last).contains(slot)) else {
                    return Seen::Known;
                };
                if seen.fetch_max(number, Ordering::Release) >= number {
                    return Seen::Known;
                }
                arrivals.push((number - first, now));
                if number == last { Seen::Enough } else { Seen::News }
            });
            if looked.is_err() {
                // Nobody is to wait for what does not come.
                seen.store(last, Ordering::Release);
            }
            (writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), looked)
        });
        let writes = writes?;
        looked?;
        Ok((writes, arrivals))
    }

    /// Milliseconds until new Services are served, one after the other, whose endpoints were known
    /// before, and until the API server answers; they are gone afterwards.
    fn added(&mut self, amount: Amount) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
        let Amount { proto, endpoints, changes, .. } = amount;
        let (mut times, mut answers) = (Vec::new(), Vec::new());
        for part in (0..changes).map(Part::Added) {
            self.plane.ask(User::Admin, |api| part.prepare(api, proto, endpoints))?;
            thread::sleep(PAUSE);
            let sent = self.plane.ask(User::Admin, |api| {
                api.get("/readyz")?;
                let sent = Instant::now();
                part.create(api, proto)?;
                answers.push(ms(sent.elapsed()));
                Ok(sent)
            })?;
            let is_one = |to| part.slot(to).is_some_and(|slot| slot < endpoints);
            times.push(ms(self.probe.arrives(part.address(), PATIENCE, is_one)? - sent));
            thread::sleep(PAUSE);
        }
        self.plane.ask(User::Admin, |api| {
            (0..changes).map(Part::Added).try_for_each(|part| part.delete(api))
        })?;
        Ok((times, answers))
    }
}

/// A change is in force when it, or one that came after it, is seen.
fn latencies(writes: &Writes, arrivals: &[(u32, Instant)]) -> Vec<f64> {
    let mut arrivals = arrivals.iter().copied().peekable();
    let mut times = Vec::with_capacity(writes.len());
    for (number, (sent, _)) in (0..).zip(writes) {
        while arrivals.next_if(|(seen, _)| *seen < number).is_some() {}
        if let Some((_, at)) = arrivals.peek() {
            times.push(ms(at.saturating_duration_since(*sent)));
        }
    }
    times
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_a_later_one_overtook_is_in_force_with_it() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let writes = [0, 100, 200, 300].map(|ms| (at(ms), at(ms + 1))).to_vec();
        let arrivals = [(1, at(150)), (3, at(320))];
        assert_eq!(latencies(&writes, &arrivals), [150.0, 50.0, 120.0, 20.0]);
    }
}
