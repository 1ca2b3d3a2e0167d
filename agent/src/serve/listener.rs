//! Listens at an address and answers whoever asks there: sockets, and how much
//! of this thread they may cost.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::response::Builder;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tracing::{info, warn};

/// What failed is tried again after so long; a port that is taken then after
/// twice as long each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// But not after longer.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Connections at a time: over all health checks of Services, and to each of the
/// other servers. One more ends the oldest: who asks is answered at once, so the
/// oldest is somebody who lingers.
const CONNECTIONS_MAX: usize = 256;
/// Connections that wait to be taken, at each address.
const BACKLOG: i32 = 64;
/// A request must be there in so long, the first and each that follows.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head; a longer one is refused (431).
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// What somebody is answered.
pub(super) type Reply = Result<Response<String>, hyper::http::Error>;

/// An answer with the headers that kube-proxy gives nearly all of them.
pub(super) fn page(status: u16, content_type: &'static str) -> Builder {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, HeaderValue::from_static(content_type))
        .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
}

/// Where to listen.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) at: SocketAddr,
    /// Whether the unspecified address of one family stands for both.
    pub(super) spans_families: bool,
    /// For whom, in a log: the object with its field.
    pub(super) whose: String,
    /// What it costs while the address cannot be had.
    pub(super) cost: &'static str,
}

/// Listens at one address until aborted; perhaps there is a socket already.
pub(super) async fn serve(
    place: Place,
    had: Option<TcpListener>,
    connections: Arc<Connections>,
    answer: impl Fn(&Request<Incoming>) -> Reply + Clone + Send + Sync + 'static,
) {
    let listener = open(&place, had).await;
    info!("{}: listening on {}", place.whose, place.at);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let converse = converse(stream, answer.clone());
                connections.add(tokio::spawn(converse).abort_handle());
            }
            // Of one connection, or out of descriptors: the next may do better.
            Err(_) => sleep(RETRY_FIRST).await,
        }
    }
}

/// Tries until the address can be had.
async fn open(place: &Place, mut had: Option<TcpListener>) -> tokio::net::TcpListener {
    let mut wait = RETRY_FIRST;
    let mut said = None;
    loop {
        let socket = had.take().map_or_else(|| bound(place), Ok);
        match socket.and_then(tokio::net::TcpListener::from_std) {
            Ok(listener) => return listener,
            Err(error) => {
                if said != Some(error.kind()) {
                    said = Some(error.kind());
                    let (Place { at, whose, cost, .. }, most_s) = (place, RETRY_MAX.as_secs());
                    warn!(
                        "{whose}: cannot listen on {at}: {error}; {cost} until that is free, and \
                         it is tried again every {most_s} s at least"
                    );
                }
            }
        }
        sleep(wait).await;
        wait = RETRY_MAX.min(wait * 2);
    }
}

/// A listening socket, of both families if the place asks for it and the kernel
/// has IPv6.
pub(super) fn bound(place: &Place) -> io::Result<TcpListener> {
    let at = place.at;
    if place.spans_families && at.ip().is_unspecified() {
        let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), at.port());
        match bound_at(both, false) {
            Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => {}
            done => return Ok(done?),
        }
    }
    // The families are apart: `[::]` is not `0.0.0.0` as well.
    Ok(bound_at(at, true)?)
}

fn bound_at(at: SocketAddr, is_six_alone: bool) -> nix::Result<TcpListener> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    // Connections of an agent that was there before do not keep the port.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if at.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &is_six_alone)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(at))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd.into())
}

/// Answers on one connection.
async fn converse(stream: TcpStream, answer: impl Fn(&Request<Incoming>) -> Reply) {
    let reply = service_fn(|request: Request<Incoming>| {
        let reply = answer(&request);
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

/// The connections there are, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<VecDeque<AbortHandle>>);

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
