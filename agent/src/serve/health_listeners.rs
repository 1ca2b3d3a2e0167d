//! Listens for the health checks of Services and answers them: the rim around
//! [`health_check`](super::health_check).
//!
//! On a thread of its own. Whoever asks, and however slowly, costs at most
//! `CONNECTIONS_MAX` sockets and never the machine's time: the thread shares
//! nothing with it but the newest snapshot.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tracing::{info, warn};

use super::health_check::{HealthAddress, HealthChecks, answer, difference, health_checks};
use crate::fastpath::Snapshot;

/// What failed is tried again after so long; a port that is taken then after
/// twice as long each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// But not after longer.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Connections at a time, over all health checks. One more ends the oldest: a
/// load balancer is answered at once, so the oldest is somebody who lingers.
const CONNECTIONS_MAX: usize = 256;
/// Connections that wait to be taken, at each address.
const BACKLOG: i32 = 64;
/// A request must be there in so long, the first and each that follows.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head; a longer one is refused (431).
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// How many endpoints of this node load balancers are told of.
const WEIGHT: &str = "x-load-balancing-endpoint-weight";

/// Tells the listening thread what is in force; when dropped, it ends.
#[derive(Debug)]
pub struct HealthListeners(watch::Sender<Option<Arc<Snapshot>>>);

impl HealthListeners {
    /// Starts the thread, which listens nowhere yet.
    ///
    /// # Errors
    ///
    /// If the system has no thread, or no epoll, to give.
    pub fn start() -> io::Result<Self> {
        let (sender, snapshots) = watch::channel(None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new()
            .name("health".to_owned())
            .spawn(move || runtime.block_on(follow(snapshots)))?;
        Ok(Self(sender))
    }

    /// Brings listeners and answers to this generation. Does not wait.
    pub fn publish(&self, snapshot: Option<Arc<Snapshot>>) {
        self.0.send_replace(snapshot);
    }
}

/// Opens and closes listeners as snapshots say.
async fn follow(mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>) {
    let (told, checks) = watch::channel(HealthChecks::new());
    let connections = Arc::default();
    let mut listeners: BTreeMap<HealthAddress, AbortHandle> = BTreeMap::new();
    while snapshots.changed().await.is_ok() {
        let Some(snapshot) = snapshots.borrow_and_update().clone() else { continue };
        let want = health_checks(&snapshot);
        let difference = difference(listeners.keys(), &want);
        told.send_replace(want);
        for address in difference.close {
            if let Some(listener) = listeners.remove(&address) {
                info!(service = %address.service, at = %address.at, "health check closed");
                listener.abort();
            }
        }
        // What was aborted holds its port until it has been dropped.
        tokio::task::yield_now().await;
        for address in difference.open {
            let serve = serve(address.clone(), checks.clone(), Arc::clone(&connections));
            listeners.insert(address, tokio::spawn(serve).abort_handle());
        }
    }
}

/// Listens at one address until aborted.
async fn serve(
    address: HealthAddress,
    checks: watch::Receiver<HealthChecks>,
    connections: Arc<Connections>,
) {
    let listener = open(&address).await;
    info!(service = %address.service, at = %address.at, "health check open");
    let address = Arc::new(address);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let converse = converse(stream, Arc::clone(&address), checks.clone());
                connections.add(tokio::spawn(converse).abort_handle());
            }
            // Of one connection, or out of descriptors: the next may do better.
            Err(_) => sleep(RETRY_FIRST).await,
        }
    }
}

/// Tries until the port can be had.
async fn open(address: &HealthAddress) -> tokio::net::TcpListener {
    let mut wait = RETRY_FIRST;
    let mut said = None;
    loop {
        match bound(address.at).and_then(tokio::net::TcpListener::from_std) {
            Ok(listener) => return listener,
            Err(error) => {
                if said != Some(error.kind()) {
                    said = Some(error.kind());
                    warn!(
                        "Service {}: spec.healthCheckNodePort: cannot listen on {}: {error}; its \
                         load balancer takes this node for one without endpoints until that is \
                         free, and it is tried again every {} s at least",
                        address.service,
                        address.at,
                        RETRY_MAX.as_secs()
                    );
                }
            }
        }
        sleep(wait).await;
        wait = RETRY_MAX.min(wait * 2);
    }
}

/// A listening socket. The families are apart: `[::]` is not `0.0.0.0` as well.
fn bound(at: SocketAddr) -> io::Result<TcpListener> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    // Connections of an agent that was there before do not keep the port.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if at.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(at))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd.into())
}

/// Answers on one connection.
async fn converse(
    stream: TcpStream,
    address: Arc<HealthAddress>,
    checks: watch::Receiver<HealthChecks>,
) {
    let reply = service_fn(|_: Request<Incoming>| {
        // Of a check that is closed meanwhile: nobody should send traffic here.
        let count = checks.borrow().get(&*address).copied().unwrap_or_default();
        let reply = reply(&address, count);
        async { reply }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), reply);
    // Whatever it was, it was the other side's.
    let _ = served.await;
}

fn reply(address: &HealthAddress, count: usize) -> Result<Response<String>, hyper::http::Error> {
    let answer = answer(&address.service, count);
    Response::builder()
        .status(StatusCode::from_u16(answer.status)?)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
        .header(WEIGHT, answer.weight)
        .body(answer.body)
}

/// The connections there are, the oldest first.
#[derive(Debug, Default)]
struct Connections(Mutex<VecDeque<AbortHandle>>);

impl Connections {
    /// Adds one, and ends the oldest if there are too many.
    fn add(&self, connection: AbortHandle) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS_MAX
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(connection);
    }
}
