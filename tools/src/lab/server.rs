//! The servers of the lab: every question is answered with one line that says who answers and
//! which source was seen. All sockets are open before the server is handed out.
//!
//! The protocol: a line that begins with `more` is answered and the connection stays; any other
//! line is answered and the server closes first, so that clients can use their source port again
//! at once. A datagram is answered with a datagram. No answer is shorter than its question.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use serde::{Deserialize, Serialize};

use super::error::LabError;
use super::netns::Netns;

/// The line that keeps a connection open.
pub(super) const MORE: &[u8] = b"more";
/// The line after which the server closes.
pub(super) const LAST: &[u8] = b"last";
/// The longest question.
pub(super) const LONGEST: usize = 4096;

/// What a server tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) pod: String,
    pub(super) node: String,
    pub(super) zone: String,
    pub(super) port: u16,
    pub(super) seen_source: SocketAddr,
}

/// A server that listens until this value is dropped.
#[derive(Debug)]
pub struct Server {
    addresses: [IpAddr; 2],
    port: u16,
    /// Closing it ends the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(
        netns: &Netns,
        addresses: [IpAddr; 2],
        port: u16,
        told: Told,
    ) -> Result<Self, LabError> {
        let sockets = netns.run(|| {
            Sockets::open(addresses, port)
                .map_err(LabError::io(format!("listening on port {port} in {}", told.pod)))
        })?;
        let (stop, stopped) =
            UnixStream::pair().map_err(LabError::io("making a pair of sockets"))?;
        let thread = thread::Builder::new()
            .name(format!("serve {}", told.pod))
            .spawn(move || sockets.serve(&stopped, &told))
            .map_err(LabError::io("starting a thread"))?;
        Ok(Self { addresses, port, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens in IPv4.
    #[must_use]
    pub fn v4(&self) -> SocketAddr {
        SocketAddr::new(self.addresses[0], self.port)
    }

    /// Where it listens in IPv6.
    #[must_use]
    pub fn v6(&self) -> SocketAddr {
        SocketAddr::new(self.addresses[1], self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            // The panic has been printed already; a second one here would hide it.
        }
    }
}

/// Listening sockets and the connections they have brought.
struct Sockets {
    listeners: [TcpListener; 2],
    datagrams: [UdpSocket; 2],
    connections: Vec<Connection>,
}

/// A connection, and what of a question has arrived.
struct Connection {
    stream: TcpStream,
    begun: Vec<u8>,
}

impl Sockets {
    /// UDP on the host's own addresses only: from a socket bound to all of them, a node would
    /// answer its pods with its bridge's address, and not with the one they asked.
    fn open([v4, v6]: [IpAddr; 2], port: u16) -> std::io::Result<Self> {
        let any = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let [any4, any6] = any.map(|ip: IpAddr| SocketAddr::new(ip, port));
        let listeners = [listener(any4)?, listener(any6)?];
        let datagrams = [datagrams((v4, port).into())?, datagrams((v6, port).into())?];
        Ok(Self { listeners, datagrams, connections: Vec::new() })
    }

    /// Answers until the other end of `stopped` is closed.
    fn serve(mut self, stopped: &UnixStream, told: &Told) {
        while let Some(ready) = self.wait(stopped) {
            let [tcp4, tcp6, udp4, udp6, connections @ ..] = ready.as_slice() else { return };
            let mut at = connections.iter();
            self.connections.retain_mut(|connection| {
                at.next() != Some(&true) || connection.answer(told).unwrap_or(false)
            });
            for (listener, ready) in self.listeners.iter().zip([tcp4, tcp6]) {
                if *ready && let Ok((stream, _)) = listener.accept() {
                    self.connections.push(Connection { stream, begun: Vec::new() });
                }
            }
            for (socket, ready) in self.datagrams.iter().zip([udp4, udp6]) {
                if *ready {
                    answer_datagrams(socket, told);
                }
            }
        }
    }

    /// Waits; says which socket is ready: listeners, datagrams, connections. None: time to stop.
    fn wait(&self, stopped: &UnixStream) -> Option<Vec<bool>> {
        let stop = PollFd::new(stopped.as_fd(), PollFlags::POLLIN);
        let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![stop];
        fds.extend(self.listeners.iter().map(|socket| watch(socket.as_fd())));
        fds.extend(self.datagrams.iter().map(|socket| watch(socket.as_fd())));
        fds.extend(self.connections.iter().map(|open| watch(open.stream.as_fd())));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return None,
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        let (stop, sockets) = ready.split_first()?;
        (!stop).then(|| sockets.to_vec())
    }
}

/// The line for one client, filled up with blanks to the length of the question.
fn line(told: &Told, seen_source: SocketAddr, length: usize) -> Vec<u8> {
    let told = Told { seen_source, ..told.clone() };
    let mut line = serde_json::to_vec(&told).unwrap_or_default();
    line.resize(line.len().max(length.saturating_sub(1)), b' ');
    line.push(b'\n');
    line
}

impl Connection {
    /// Answers what has arrived in full; false when the connection is over.
    fn answer(&mut self, told: &Told) -> std::io::Result<bool> {
        let mut buffer = [0; LONGEST];
        let length = self.stream.read(&mut buffer)?;
        self.begun.extend(&buffer[..length]);
        while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
            let question: Vec<u8> = self.begun.drain(..=end).collect();
            let answer = line(told, self.stream.peer_addr()?, question.len());
            self.stream.write_all(&answer)?;
            if !question.starts_with(MORE) {
                return Ok(false);
            }
        }
        Ok(length > 0 && self.begun.len() <= LONGEST)
    }
}

fn answer_datagrams(socket: &UdpSocket, told: &Told) {
    let mut buffer = [0; LONGEST];
    loop {
        match socket.recv_from(&mut buffer) {
            // A client that is gone is its own affair.
            Ok((length, client)) => drop(socket.send_to(&line(told, client, length), client)),
            // An ICMP error of an earlier answer is no reason to stop.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}

/// A listener with room for every connection of a burst.
fn listener(at: SocketAddr) -> std::io::Result<TcpListener> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if at.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(at))?;
    listen(&fd, Backlog::MAXCONN)?;
    Ok(TcpListener::from(fd))
}

fn datagrams(at: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
