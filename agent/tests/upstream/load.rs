//! Connections without pause while something happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use closeby_tools::lab::{Cluster, Reply, Request};
use libtest_mimic::Failed;

use super::objects::{Objects, host};
use super::packets::lab_proto;
use super::run::{Job, entries, jobs};
use super::words::{Expectation, Verdict};

/// Each of its connections must be answered by one of those that are expected.
pub(crate) struct Load {
    done: Arc<AtomicBool>,
    workers: Vec<thread::JoinHandle<Option<String>>>,
}

impl Load {
    pub(crate) fn start(
        cluster: &Arc<Cluster>,
        objects: &Objects,
        expectations: &[Expectation],
    ) -> Result<Self, Failed> {
        let by: Vec<&str> = entries(expectations).into_iter().collect();
        let [by] = by[..] else {
            return Err("throughout, the client outside comes in by one node".into());
        };
        cluster.enter_by(host(cluster, by)?)?;
        let done = Arc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        for expectation in expectations {
            let requests = Self::requests(cluster, objects, expectation)?;
            let Verdict::Reaches { servers, .. } = expectation.verdict.clone() else {
                return Err(format!("{:?}: only who is reached", expectation.text).into());
            };
            let (cluster, done) = (Arc::clone(cluster), Arc::clone(&done));
            let text = expectation.text.clone();
            workers.push(thread::spawn(move || {
                let wrong = ask_until(&cluster, &done, &requests, &servers)?;
                Some(format!("throughout, {text}: {wrong}"))
            }));
        }
        Ok(Self { done, workers })
    }

    /// The hosts that ask, by name, and what.
    fn requests(
        cluster: &Cluster,
        objects: &Objects,
        expectation: &Expectation,
    ) -> Result<Vec<(String, Request)>, Failed> {
        let jobs = jobs(cluster, objects, std::slice::from_ref(expectation))?;
        let request = |job: &Job<'_>| {
            let proto = lab_proto(job.ask.proto).ok_or("SCTP has no connections here")?;
            let request = Request::new(job.ask.to, proto);
            Ok((job.ask.client.name().to_owned(), request))
        };
        jobs.iter().map(request).collect()
    }

    /// What went wrong meanwhile.
    pub(crate) fn end(mut self) -> Vec<String> {
        self.done.store(true, Ordering::Relaxed);
        let ends = std::mem::take(&mut self.workers).into_iter().map(thread::JoinHandle::join);
        ends.filter_map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    }
}

/// A step that failed half-way ends its load, too.
impl Drop for Load {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// Asks in turn until told to stop, at least once; the first answer that must
/// not be.
fn ask_until(
    cluster: &Cluster,
    done: &AtomicBool,
    requests: &[(String, Request)],
    servers: &[(String, u16)],
) -> Option<String> {
    loop {
        let is_last = done.load(Ordering::Relaxed);
        for (client, request) in requests {
            let Ok(client) = host(cluster, client) else { continue };
            let answer = client.request(request);
            let by = |reply: &Reply| (reply.pod.clone(), reply.port);
            let expected = answer.reply().is_some_and(|reply| servers.contains(&by(reply)));
            if !expected {
                return Some(format!("{} got {answer:?}", client.name()));
            }
        }
        if is_last {
            return None;
        }
    }
}
