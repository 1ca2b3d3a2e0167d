//! The thread that answers over HTTP: health checks of Services, the node's own
//! health, metrics.
//!
//! Whoever asks, and however slowly, costs at most `CONNECTIONS_MAX` sockets of
//! each server and never the machine's time: the thread shares nothing with it
//! but the newest snapshot, and what is in [`Shared`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::{io, thread};

use hyper::Request;
use hyper::body::Incoming;
use tokio::sync::watch;

use super::health_listeners;
use super::listener::{Place, Reply, page, serve};
use super::proxy_health::Told;
use super::shared::Shared;
use crate::fastpath::Snapshot;

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
}

impl Server {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If the system has no thread, or no epoll, to give.
    pub fn start(addresses: Addresses, shared: Arc<Shared>) -> io::Result<Self> {
        let (sender, snapshots) = watch::channel(None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("http".to_owned()).spawn(move || {
            if let Some(at) = addresses.healthz {
                let cost = "whoever asks there takes this node for dead";
                let shared = Arc::clone(&shared);
                let answer = move |request: &Request<Incoming>| health(request, &shared);
                runtime.spawn(serve(place(at, "healthzBindAddress", cost), Arc::default(), answer));
            }
            if let Some(at) = addresses.metrics {
                let cost = "there are no metrics";
                let shared = Arc::clone(&shared);
                let answer = move |request: &Request<Incoming>| metrics(request, &shared);
                runtime.spawn(serve(place(at, "metricsBindAddress", cost), Arc::default(), answer));
            }
            runtime.block_on(health_listeners::follow(snapshots, shared));
        })?;
        Ok(Self(sender))
    }

    /// Brings listeners and answers to this generation. Does not wait.
    pub fn publish(&self, snapshot: Option<Arc<Snapshot>>) {
        self.0.send_replace(snapshot);
    }
}

/// As Go listens: `0.0.0.0` is every address of both families.
fn place(at: SocketAddr, key: &str, cost: &'static str) -> Place {
    Place { at, spans_families: true, whose: key.to_owned(), cost }
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
