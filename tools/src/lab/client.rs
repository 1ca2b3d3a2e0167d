//! The clients of the lab: one request from a new socket, and how it ended, exactly. A refusal, a
//! silence and an "unreachable" are different answers, because rules differ in just that.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, iter};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

use super::netns::Netns;
use super::server::{LAST, LONGEST, MORE, Told};

/// How long an answer may take. Nothing is lost in the lab, so only a busy machine needs it.
const PATIENCE: Duration = Duration::from_secs(3);

/// A protocol that servers and clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Proto {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Tcp, Self::Udp];
}

impl std::fmt::Display for Proto {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// What to ask, and how.
#[derive(Debug, Clone)]
pub struct Request {
    to: SocketAddr,
    proto: Proto,
    timeout: Duration,
    source_port: u16,
    size: usize,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A server answered.
    From(Reply),
    /// TCP reset on connect, or ICMP port unreachable.
    Refused,
    /// Nothing came back: dropped.
    TimedOut,
    /// ICMP said that there is no way, or this host has no route.
    Unreachable,
    /// A connection was there and was cut.
    Reset,
    /// The request could not be sent as asked.
    Failed(String),
}

/// What a server told, next to what the client knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The pod that answered; the name of the node for servers of a node.
    pub pod: String,
    /// Its node.
    pub node: String,
    /// Its zone.
    pub zone: String,
    /// The port it listens on.
    pub port: u16,
    /// The source that arrived there.
    pub seen_source: SocketAddr,
    /// The source that was sent.
    pub sent_from: SocketAddr,
}

/// A request, how it ended, and when.
#[derive(Debug)]
pub struct Asked {
    /// How it ended.
    pub answer: Answer,
    /// Before anything was sent.
    pub began: Instant,
    /// How long a TCP connection took to come about.
    pub connected: Option<Duration>,
    /// When it had ended.
    pub ended: Instant,
}

impl Reply {
    /// Whether somebody on the way put another source address in.
    #[must_use]
    pub fn masqueraded(&self) -> bool {
        self.seen_source.ip() != self.sent_from.ip()
    }
}

impl Answer {
    /// The reply, if there was one.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Self::From(reply) => Some(reply),
            _ => None,
        }
    }

    fn of_error(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::TimedOut,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Self::Unreachable,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
                Self::Reset
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl Request {
    /// A request from a source port not used lately, with the patience of a normal client.
    #[must_use]
    pub fn new(to: SocketAddr, proto: Proto) -> Self {
        Self { to, proto, timeout: PATIENCE, source_port: 0, size: 0 }
    }

    /// Waits this long for each step: short where silence is expected.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends from this port.
    #[must_use]
    pub fn source_port(mut self, port: u16) -> Self {
        self.source_port = port;
        self
    }

    /// Asks with at least this many bytes, 4096 at most, and gets as many back.
    #[must_use]
    pub fn size(mut self, bytes: usize) -> Self {
        self.size = bytes.min(LONGEST);
        self
    }

    /// The question that begins with this word.
    fn question(&self, word: &[u8]) -> Vec<u8> {
        let mut question = word.to_vec();
        question.resize(question.len().max(self.size.saturating_sub(1)), b'.');
        question.push(b'\n');
        question
    }

    /// The unspecified address of the right family with the chosen port.
    fn source(&self) -> SocketAddr {
        match self.to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, self.source_port).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, self.source_port).into(),
        }
    }
}

/// An open TCP connection to whichever server answered.
#[derive(Debug)]
pub struct Conversation {
    stream: BufReader<TcpStream>,
    request: Request,
}

impl Conversation {
    pub(super) fn open(ports: &Ports, request: &Request) -> Result<Self, Box<Answer>> {
        let open = || -> io::Result<TcpStream> {
            let stream = connect_within(ports, request)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(request.timeout))?;
            Ok(stream)
        };
        let stream = open().map_err(|error| Box::new(Answer::of_error(&error)))?;
        Ok(Self { stream: BufReader::new(stream), request: request.clone() })
    }

    /// Asks once more on the same connection.
    #[must_use]
    pub fn ask(&mut self) -> Answer {
        self.say(MORE).unwrap_or_else(|error| Answer::of_error(&error))
    }

    fn say(&mut self, word: &[u8]) -> io::Result<Answer> {
        let mut line = String::new();
        let sent_from = self.stream.get_ref().local_addr()?;
        self.stream.get_mut().write_all(&self.request.question(word))?;
        if self.stream.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        answer_of(&self.request, line.as_bytes(), sent_from)
    }

    /// Asks, and lets the server close first.
    fn ask_last(mut self) -> io::Result<Answer> {
        let answer = self.say(LAST)?;
        self.stream.read_line(&mut String::new())?;
        Ok(answer)
    }
}

/// Source ports, each used again only after all others. A port that comes back while connection
/// tracking still knows it would follow its old way, whatever the rules say by now: also a TCP
/// connection that nobody answered is known for two minutes, with the way it did not find.
#[derive(Debug, Default)]
pub(super) struct Ports {
    taken: AtomicU16,
}

impl Ports {
    /// Below the range from which the kernel takes ports for everybody else.
    const FIRST: u16 = 10_000;
    /// A divisor of 65536, so that the counter may wrap.
    const COUNT: u16 = 16_384;

    /// The next port.
    pub(super) fn next(&self) -> u16 {
        Self::FIRST + self.taken.fetch_add(1, Ordering::Relaxed) % Self::COUNT
    }

    /// What `bind` makes of the source that a request wants, or of the next port that nobody in
    /// the namespace uses.
    fn bind<T>(
        &self,
        wanted: SocketAddr,
        bind: impl Fn(SocketAddr) -> io::Result<T>,
    ) -> io::Result<T> {
        if wanted.port() != 0 {
            return bind(wanted);
        }
        loop {
            match bind(SocketAddr::new(wanted.ip(), self.next())) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                bound => return bound,
            }
        }
    }
}

/// One request, on the calling thread, in its namespace.
pub(super) fn request(ports: &Ports, request: &Request) -> Answer {
    timed(ports, request).answer
}

/// The same, with its times.
pub(super) fn timed(ports: &Ports, request: &Request) -> Asked {
    let (began, mut connected) = (Instant::now(), None);
    let ended = match request.proto {
        Proto::Udp => ask_datagram(ports, request),
        Proto::Tcp => match Conversation::open(ports, request) {
            Ok(conversation) => {
                connected = Some(began.elapsed());
                conversation.ask_last()
            }
            Err(answer) => Ok(*answer),
        },
    };
    let answer = ended.unwrap_or_else(|error| Answer::of_error(&error));
    Asked { answer, began, connected, ended: Instant::now() }
}

/// Many requests, `width` at a time.
pub(super) fn requests(
    netns: &Netns,
    ports: &Ports,
    ask: &Request,
    count: usize,
    width: usize,
) -> Vec<Answer> {
    let started = AtomicUsize::new(0);
    let some = || {
        let entered = netns.enter();
        let next = || (started.fetch_add(1, Ordering::Relaxed) < count).then_some(());
        iter::from_fn(next)
            .map(|()| match &entered {
                Ok(()) => request(ports, ask),
                Err(error) => Answer::Failed(error.to_string()),
            })
            .collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..width.clamp(1, count.max(1))).map(|_| scope.spawn(some)).collect();
        let ends = workers.into_iter().map(thread::ScopedJoinHandle::join);
        ends.flat_map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

fn ask_datagram(ports: &Ports, request: &Request) -> io::Result<Answer> {
    let socket = ports.bind(request.source(), UdpSocket::bind)?;
    // Without it only "port unreachable" would be heard.
    match request.to {
        SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
        SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
    }
    socket.connect(request.to)?;
    socket.set_read_timeout(Some(request.timeout))?;
    match socket.send(&request.question(LAST)) {
        // This host's own rules ate it. Whether they refused it too, receiving will tell.
        Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => {}
        sent => drop(sent?),
    }
    let mut buffer = [0; LONGEST];
    let length = socket.recv(&mut buffer)?;
    answer_of(request, &buffer[..length], socket.local_addr()?)
}

/// Connects from a source port of ours and with a limit, which `std` does not offer together.
fn connect_within(ports: &Ports, request: &Request) -> io::Result<TcpStream> {
    let family = if request.to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd: OwnedFd = ports.bind(request.source(), |source| {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(family, SockType::Stream, flags, None)?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        bind(fd.as_raw_fd(), &SockaddrStorage::from(source))?;
        Ok(fd)
    })?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(request.to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(errno) => return Err(errno.into()),
    }
    let stream = TcpStream::from(fd);
    let limit = PollTimeout::try_from(request.timeout).unwrap_or(PollTimeout::MAX);
    let mut writable = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut writable, limit)? == 0 {
        return Err(ErrorKind::TimedOut.into());
    }
    match stream.take_error()? {
        Some(error) => Err(error),
        None => stream.set_nonblocking(false).map(|()| stream),
    }
}

fn answer_of(request: &Request, line: &[u8], sent_from: SocketAddr) -> io::Result<Answer> {
    if line.len() < request.size {
        return Ok(Answer::Failed(format!("{} of {} bytes came back", line.len(), request.size)));
    }
    let Told { pod, node, zone, port, seen_source } = serde_json::from_slice(line)?;
    Ok(Answer::From(Reply { pod, node, zone, port, seen_source, sent_from }))
}
