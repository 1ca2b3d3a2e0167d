//! One member of a cluster: a pod, a node, the client outside, the fabric. The same things can be
//! done in each: serve, ask, run a program.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::client::{self, Answer, Asked, Conversation, Ports, Request};
use super::error::LabError;
use super::ip;
use super::netns::Netns;
use super::server::{Server, Told};
use super::spec::{FIRST_NODE, Family, Pair};

/// What a member of the cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A pod with a network of its own.
    Pod,
    /// A node's network.
    Node,
    /// The client outside.
    Outside,
    /// The network between the nodes.
    Fabric,
}

/// One member of a cluster.
#[derive(Debug)]
pub struct Host {
    kind: Kind,
    name: String,
    node: String,
    zone: String,
    pair: Pair,
    netns: Netns,
    ports: Ports,
}

impl Host {
    pub(super) fn new(
        kind: Kind,
        name: &str,
        node: &str,
        zone: &str,
        pair: Pair,
        netns: Netns,
    ) -> Self {
        let [name, node, zone] = [name, node, zone].map(str::to_owned);
        Self { kind, name, node, zone, pair, netns, ports: Ports::default() }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node it is on, or is; empty for the client outside and the fabric.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The zone of that node.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// Its address in one family.
    #[must_use]
    pub fn address(&self, family: Family) -> IpAddr {
        self.pair.of(family)
    }

    /// Its addresses, IPv4 first.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        self.pair.both()
    }

    /// The ranges of this node's pods (`spec.podCIDRs`).
    #[must_use]
    pub fn pod_ranges(&self) -> [String; 2] {
        self.pods().networks()
    }

    /// The address this node has on its bridge for pods, if it has one.
    #[must_use]
    pub fn pod_gateway(&self, family: Family) -> IpAddr {
        self.pods().of(family)
    }

    /// Number 1 among this node's pods.
    fn pods(&self) -> Pair {
        Pair::pod(self.pair.v4.octets()[3].saturating_sub(FIRST_NODE), 1)
    }

    /// Its namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// A shell command that enters this namespace from another terminal, while the lab runs.
    ///
    /// # Errors
    /// Where `/proc` cannot be read.
    pub fn nsenter(&self) -> Result<String, LabError> {
        let net = self.netns.path()?;
        let process = net.ancestors().nth(2).map(|path| path.join("ns/user")).unwrap_or_default();
        let (user, net) = (process.display(), net.display());
        Ok(format!("nsenter --preserve-credentials --user={user} --net={net}"))
    }

    /// Starts a server on TCP and UDP in both families; it listens when this returns, and stops
    /// when the value is dropped.
    ///
    /// # Errors
    /// Where the port is taken.
    pub fn serve(&self, port: u16) -> Result<Server, LabError> {
        let told = Told {
            pod: self.name.clone(),
            node: self.node.clone(),
            zone: self.zone.clone(),
            port,
            seen_source: SocketAddr::new(self.address(Family::V4), 0),
        };
        Server::start(&self.netns, self.addresses(), port, told)
    }

    /// Sends one request from here and waits for its answer.
    #[must_use]
    pub fn request(&self, request: &Request) -> Answer {
        self.inside(|| client::request(&self.ports, request))
    }

    /// Sends `count` requests from here, `width` at a time, each from a new socket.
    #[must_use]
    pub fn requests(&self, request: &Request, count: usize, width: usize) -> Vec<Answer> {
        client::requests(&self.netns, &self.ports, request, count, width)
    }

    /// Sends these requests from here in turn, again and again, until `done` and then once more:
    /// whatever was done is met by each of them.
    #[must_use]
    pub fn ask_until(&self, done: &AtomicBool, requests: &[Request]) -> Vec<Answer> {
        let mut answers = Vec::new();
        loop {
            let is_last = done.load(Ordering::Relaxed);
            answers.extend(requests.iter().map(|request| self.request(request)));
            if is_last {
                return answers;
            }
        }
    }

    /// Sends these requests from here, one after the other on one thread, and tells how each ended.
    ///
    /// # Errors
    /// Where the namespace cannot be entered.
    pub fn ask_each<T>(
        &self,
        requests: impl Iterator<Item = (T, Request)> + Send,
        mut told: impl FnMut(T, Asked) + Send,
    ) -> Result<(), LabError> {
        self.netns.run(|| {
            for (what, request) in requests {
                told(what, client::timed(&self.ports, &request));
            }
            Ok(())
        })
    }

    /// Sets network sysctls here: paths below `/proc/sys/net`, and values.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn sysctls(&self, settings: &[(&str, &str)]) -> Result<(), LabError> {
        ip::sysctls(&self.netns, settings)
    }

    /// Opens a TCP connection from here that can be asked again and again.
    ///
    /// # Errors
    /// How the attempt ended, if not in a connection.
    pub fn converse(&self, request: &Request) -> Result<Conversation, Box<Answer>> {
        let mut opened = Err(Box::new(Answer::TimedOut));
        let entered = self.netns.run(|| {
            opened = Conversation::open(&self.ports, request);
            Ok(())
        });
        entered.map_err(|error| Box::new(Answer::Failed(error.to_string()))).and(opened)
    }

    /// A source port that no request from here had lately.
    #[must_use]
    pub fn next_port(&self) -> u16 {
        self.ports.next()
    }

    /// Starts a program here. On a node it also finds a `/run` that is this node's alone.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, LabError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let doing = format!("starting {program} on {}", self.name);
        self.netns.run(|| command.spawn().map_err(LabError::io(doing)))
    }

    /// Runs nft here, and gives what it says.
    ///
    /// # Errors
    /// Where nft is missing, or refuses the script.
    pub fn nft(&self, script: &str) -> Result<String, LabError> {
        let mut command = Command::new("nft");
        command.arg(script).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = self.netns.run(|| {
            command.output().map_err(|source| match source.kind() {
                ErrorKind::NotFound => LabError::Missing { program: "nft", package: "nftables" },
                _ => LabError::Io { doing: format!("running nft on {}", self.name), source },
            })
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(LabError::Program {
            place: self.name.clone(),
            program: "nft".to_owned(),
            said: String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
            input: script.to_owned(),
        })
    }

    fn inside(&self, ask: impl FnOnce() -> Answer + Send) -> Answer {
        self.netns.run(|| Ok(ask())).unwrap_or_else(|error| Answer::Failed(error.to_string()))
    }
}
