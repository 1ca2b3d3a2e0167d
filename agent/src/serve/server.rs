//! The thread that answers over HTTP: health checks of Services, the node's own
//! health, metrics.
//!
//! Whoever asks, and however slowly, costs at most `CONNECTIONS_MAX` sockets of
//! each server and never the machine's time: the thread shares nothing with it
//! but the newest snapshot, and what is in [`Shared`].

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use tokio::sync::watch;

use super::health_check::has_same_checks;
use super::health_listeners;
use super::listener::{Place, Reply, bound, page, serve};
use super::proxy_health::Told;
use super::shared::Shared;
use crate::fastpath::Snapshot;
use crate::threads::{self, Guard, OnPanic};

/// The thread.
pub(super) const NAME: &str = "http";

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus' text format, the one that kube-proxy speaks.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Tells the thread what is in force; when dropped, it ends.
#[derive(Debug)]
pub struct Server(watch::Sender<Option<Arc<Snapshot>>>);

/// Where the node's own servers listen; `None` for nowhere.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// For `/healthz` and `/livez`.
    pub healthz: Option<SocketAddr>,
    /// For `/metrics` and what goes with it.
    pub metrics: Option<SocketAddr>,
    /// Whether they must be had at once, rather than be waited for.
    pub must: bool,
}

/// The servers cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The system has no thread, or no epoll, to give.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    /// An address that must be had cannot be.
    #[error(
        "{key}: cannot listen on {at}: {source}; free it, or set bindAddressHardFail to false to \
         wait for it"
    )]
    Address {
        /// Which one.
        key: &'static str,
        /// Where.
        at: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

impl Server {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// See [`ServeError`].
    pub fn start(
        addresses: Addresses,
        shared: Arc<Shared>,
        on_panic: &OnPanic,
    ) -> Result<Self, ServeError> {
        let Addresses { healthz, metrics, must } = addresses;
        let healthz = opened(
            healthz,
            "healthzBindAddress",
            "whoever asks there takes this node for dead",
            must,
        )?;
        let metrics = opened(metrics, "metricsBindAddress", "there are no metrics", must)?;
        let (sender, snapshots) = watch::channel(None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let for_tasks = on_panic.clone();
        threads::spawn(NAME, on_panic, move || {
            if let Some((place, had)) = healthz {
                let shared = Arc::clone(&shared);
                let answer = move |request: &Request<Incoming>| health(request, &shared);
                let listening = serve(place, had, Arc::default(), answer);
                runtime.spawn(guarded(for_tasks.guard(NAME), listening));
            }
            if let Some((place, had)) = metrics {
                let shared = Arc::clone(&shared);
                let answer = move |request: &Request<Incoming>| self::metrics(request, &shared);
                let listening = serve(place, had, Arc::default(), answer);
                runtime.spawn(guarded(for_tasks.guard(NAME), listening));
            }
            runtime.block_on(health_listeners::follow(snapshots, shared, &for_tasks));
        })?;
        Ok(Self(sender))
    }

    /// Brings listeners and answers to this generation. Does not wait, and does
    /// not wake the thread for a generation that asks for the same ones.
    pub fn publish(&self, snapshot: Option<Arc<Snapshot>>) {
        self.0.send_if_modified(|known| {
            let before = std::mem::replace(known, snapshot);
            let pair = before.as_deref().zip(known.as_deref());
            !pair.is_some_and(|(before, after)| has_same_checks(before, after))
        });
    }
}

/// The runtime catches a panic of a task; who listens no more must be known for that.
pub(super) async fn guarded(guard: Guard, listening: impl Future<Output = ()>) {
    let _guard = guard;
    listening.await;
}

/// Where to listen, with the socket if that must be had at once. As Go listens:
/// `0.0.0.0` is every address of both families.
fn opened(
    at: Option<SocketAddr>,
    key: &'static str,
    cost: &'static str,
    must: bool,
) -> Result<Option<(Place, Option<TcpListener>)>, ServeError> {
    let Some(at) = at else { return Ok(None) };
    let place = Place { at, spans_families: true, whose: key.to_owned(), cost };
    let had = must.then(|| bound(&place)).transpose();
    let had = had.map_err(|source| ServeError::Address { key, at, source })?;
    Ok(Some((place, had)))
}

fn health(request: &Request<Incoming>, shared: &Shared) -> Reply {
    let Told { status, body } = match request.uri().path() {
        "/healthz" => shared.healthz(),
        "/livez" => shared.livez(),
        _ => return not_found(),
    };
    page(status, JSON).body(body)
}

fn metrics(request: &Request<Incoming>, shared: &Shared) -> Reply {
    match request.uri().path() {
        "/metrics" => page(200, METRICS).body(shared.metrics.text()),
        "/healthz" | "/healthz/ping" => page(200, TEXT).body("ok".to_owned()),
        "/proxyMode" => page(200, TEXT).body("nftables".to_owned()),
        "/configz" => page(200, JSON).body(shared.configz.clone()),
        _ => not_found(),
    }
}

fn not_found() -> Reply {
    page(404, TEXT).body("404 page not found\n".to_owned())
}
