//! Tells the log, the metrics and the health of what the loop goes through.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use closeby_nft::Family;
use closeby_nft::delta::Delta;

use super::counting::Counter;
use super::{DaemonError, ONCE_TRIES, say};
use crate::model::Change;
use crate::serve::{Server, Shared};
use crate::sync::desired::Desired;
use crate::sync::run::{Asked, Observer, Published};
use crate::sync::{Moment, Report, Standing};
use crate::watch::api::Recorder;

/// Sees everything that happens to the machine.
pub(super) struct Teller<'a> {
    shared: Arc<Shared>,
    published: &'a Published,
    /// Listens while the agent runs on.
    server: Option<Server>,
    recorder: Recorder,
    /// If connections are counted.
    counter: Option<Counter>,
    /// When the agent started: what came about before is not measured.
    started: Duration,
    round: Round,
    /// Whether something waits to be written.
    is_waiting: bool,
    is_node_eligible: Option<bool>,
    failures: usize,
    /// How it ends, if it ended now.
    pub(super) ended: Result<(), DaemonError>,
}

/// What happened since the loop last rested.
struct Round {
    began: Instant,
    has_changes: bool,
    has_asked: bool,
    has_listed: bool,
}

impl Round {
    fn new() -> Self {
        Self { began: Instant::now(), has_changes: false, has_asked: false, has_listed: false }
    }
}

/// The time since 1970; 0 before that.
fn clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl<'a> Teller<'a> {
    /// For an agent that starts; without a server it ends after the first
    /// generation.
    pub(super) fn new(
        shared: Arc<Shared>,
        published: &'a Published,
        server: Option<Server>,
        recorder: Recorder,
        counter: Option<Counter>,
    ) -> Self {
        Self {
            shared,
            published,
            server,
            recorder,
            counter,
            started: clock(),
            round: Round::new(),
            is_waiting: false,
            is_node_eligible: None,
            failures: 0,
            ended: Ok(()),
        }
    }

    fn waits(&mut self) {
        self.is_waiting = true;
        self.shared.waits();
        self.shared.metrics.kube_proxy.queued(clock());
    }

    /// What is in force is told to whoever asks.
    fn committed(&mut self, triggered: &[(Family, Duration)]) {
        let (kube_proxy, now) = (&self.shared.metrics.kube_proxy, clock());
        for &(family, when) in triggered.iter().filter(|(_, when)| *when > self.started) {
            kube_proxy.programmed(family, now.saturating_sub(when));
        }
        let snapshot = self.published.load_full();
        if let Some(snapshot) = &snapshot {
            kube_proxy.none_local(&snapshot.none_local);
            if let Some(counter) = &mut self.counter {
                counter.published(snapshot);
            }
        }
        if let Some(server) = &self.server {
            server.publish(snapshot);
        }
    }
}

impl Observer for Teller<'_> {
    fn begins(&mut self) {
        self.round = Round::new();
    }

    fn changed(&mut self, changes: &[Change]) {
        self.round.has_changes = true;
        self.shared.metrics.kube_proxy.changed(changes);
    }

    fn asks(&mut self, asked: Asked) {
        if !self.round.has_asked {
            self.waits();
        }
        self.round.has_asked = true;
        match asked {
            Asked::Listing => self.round.has_listed = true,
            Asked::Transaction => self.shared.metrics.own.transaction(),
        }
    }

    fn will_commit(&mut self, delta: &Delta) {
        if let Some(counter) = &mut self.counter {
            counter.will_commit(delta);
        }
    }

    fn has_committed(&mut self, is_done: bool) {
        if let Some(counter) = &mut self.counter {
            counter.has_committed(is_done);
        }
    }

    fn reports(&mut self, report: &Report, now: Moment) -> bool {
        say(report, now);
        let metrics = &self.shared.metrics;
        let once = self.server.is_none();
        match report {
            Report::Stuck { why } => {
                self.ended = Err(DaemonError::Unable(why.clone()));
                return false;
            }
            Report::Failed { why, .. } => {
                metrics.kube_proxy.failed();
                self.recorder.refused(why);
                if once {
                    self.failures += 1;
                    self.ended = Err(DaemonError::Refused(why.clone()));
                    return self.failures < ONCE_TRIES;
                }
            }
            Report::Committed { generation, services, endpoints, elements, triggered } => {
                metrics.own.committed(*generation, *services, *endpoints, *elements);
                self.committed(triggered);
                self.recorder.committed();
                self.ended = Ok(());
                return !once;
            }
            Report::Drift { .. } => metrics.own.drifted(),
            Report::Notes(notes) => {
                metrics.own.noted(notes.len());
                notes.iter().for_each(|note| self.recorder.note(note));
            }
        }
        true
    }

    fn rests(&mut self, standing: Standing, desired: Option<&Desired>) -> bool {
        if let (Some(counter), Some(desired)) = (&mut self.counter, desired) {
            counter.counts(desired.rendered.counts());
        }
        if self.is_node_eligible != Some(standing.is_node_eligible) {
            self.is_node_eligible = Some(standing.is_node_eligible);
            self.shared.node_is_eligible(standing.is_node_eligible);
        }
        let Round { began, has_changes, has_asked, has_listed } = self.round;
        let kube_proxy = &self.shared.metrics.kube_proxy;
        if has_asked {
            kube_proxy.synced(began.elapsed(), has_listed);
        }
        if standing.is_settled {
            if self.is_waiting || has_changes {
                self.is_waiting = false;
                self.shared.is_written();
                kube_proxy.settled(clock());
            }
        } else if has_changes && !has_asked {
            self.waits();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwapOption;
    use serde_json::Value;

    use super::*;
    use crate::metrics::Metrics;
    use crate::model::NodeName;
    use crate::serve::ProxyHealth;

    const WAITS: Standing = Standing { is_settled: false, is_node_eligible: true };
    const SETTLED: Standing = Standing { is_settled: true, is_node_eligible: true };

    /// What happens, in words; changes, questions and how it stands then; the answer.
    type Step<'a> = (&'a str, &'a [Change], &'a [Asked], Standing, u16);

    /// A round of the loop with these changes, in which the kernel is asked this.
    fn round(teller: &mut Teller<'_>, changes: &[Change], asked: &[Asked], standing: Standing) {
        teller.begins();
        if !changes.is_empty() {
            teller.changed(changes);
        }
        asked.iter().for_each(|asked| teller.asks(*asked));
        assert!(teller.rests(standing, None));
    }

    #[test]
    fn what_waits_is_told_until_it_is_settled() {
        // Whatever waits is late at once.
        let health = ProxyHealth::new(Family::BOTH.into(), Some(Duration::ZERO));
        let metrics = Metrics::new(&Family::BOTH.into());
        let shared = Arc::new(Shared::new(health, metrics, &Value::Null));
        let published = Arc::new(ArcSwapOption::empty());
        let mut teller =
            Teller::new(Arc::clone(&shared), &published, None, Recorder::silent(), None);
        let changes = [Change::NodeGone(NodeName::from("n2"))];
        let both = [Asked::Listing, Asked::Transaction];
        let rounds: [Step<'_>; 8] = [
            ("it starts", &[], &[], WAITS, 200),
            ("the first generation", &changes, &both, SETTLED, 200),
            ("nothing happens", &[], &[], SETTLED, 200),
            ("a change waits its turn", &changes, &[], WAITS, 503),
            ("nothing was to be written", &[], &[], SETTLED, 200),
            ("the kernel refuses", &changes, &both[1..], WAITS, 503),
            ("and goes on to", &[], &both, WAITS, 503),
            ("and takes it", &[], &both, SETTLED, 200),
        ];
        for (what, changes, asked, standing, status) in rounds {
            round(&mut teller, changes, asked, standing);
            assert_eq!(shared.healthz().status, status, "{what}");
        }
        let text = shared.metrics.text();
        for (kind, count) in [("sync", 4), ("sync_full", 3), ("sync_partial", 1)] {
            let line = format!(
                "kubeproxy_{kind}_proxy_rules_duration_seconds_count{{ip_family=\"IPv4\"}} {count}"
            );
            assert!(text.contains(&line), "{line}\n{text}");
        }
        assert!(text.contains("closeby_transactions_total 4"), "{text}");
    }
}
