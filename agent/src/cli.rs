//! The command line: what can be asked, and what the exit codes mean.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use closeby_nft::{L4Proto, Port};

/// What the exit codes mean, at the end of every help.
const EXIT_CODES: &str = "\
Exit codes:
  0  done; with --once, the kernel has what the objects say
  1  failed: the message names the step, the object and what to do
  2  wrong flags, or a configuration file that cannot be read
  3  this machine cannot do it: a privilege or a kernel feature is missing
";

/// Keeps Kubernetes Service traffic close by: a node agent in the place of
/// kube-proxy's nftables mode.
#[derive(Debug, Parser)]
#[command(name = "closeby", version, after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of running the agent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run the agent.
    #[command(flatten)]
    pub run: Run,
}

/// Running the agent.
#[derive(Debug, Args)]
pub struct Run {
    /// What to serve, and for which node.
    #[command(flatten)]
    pub input: InputArgs,
    /// Program what the objects say now, then exit; the rules stay.
    #[arg(long)]
    pub once: bool,
    /// Log format.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Where objects and settings come from.
#[derive(Clone, Debug, Args)]
pub struct InputArgs {
    /// A folder of Kubernetes objects as YAML or JSON (Service, EndpointSlice,
    /// Node; also lists as printed by `kubectl get -o yaml`). The agent watches
    /// it and applies a change of it as one generation.
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// The name of this node, as in its Node object. Default: the host name.
    #[arg(long, value_name = "NODE")]
    pub hostname_override: Option<String>,
    /// A KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What to do instead of running the agent. Needs no privileges.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the tables that would be committed, as nft text.
    #[command(after_help = EXIT_CODES)]
    Render {
        /// What to render, and for which node.
        #[command(flatten)]
        input: InputArgs,
    },
    /// Say what happens to a connection, and why.
    #[command(after_help = EXIT_CODES)]
    Explain {
        /// What to look at, and from which node.
        #[command(flatten)]
        input: InputArgs,
        /// The address it comes from.
        #[arg(long, value_name = "IP")]
        from: IpAddr,
        /// Where it goes: IP:PORT, or [IP]:PORT, with /udp or /sctp unless TCP.
        #[arg(long, value_name = "IP:PORT[/proto]")]
        to: Destination,
        /// The interface it comes in by, where pods are told by interface.
        #[arg(long, value_name = "NAME")]
        interface: Option<String>,
        /// How to print the answer.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The address.
    pub addr: IpAddr,
    /// The port.
    pub port: Port,
    /// The protocol.
    pub proto: L4Proto,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (socket, proto) = text.split_once('/').unwrap_or((text, "tcp"));
        let proto = L4Proto::ALL
            .into_iter()
            .find(|known| known.to_string() == proto)
            .ok_or_else(|| format!("{proto} is no protocol: use tcp, udp or sctp"))?;
        let socket: SocketAddr = socket
            .parse()
            .map_err(|_| format!("{socket} is not IP:PORT; write an IPv6 address as [IP]:PORT"))?;
        let port = Port::new(socket.port()).ok_or("port 0 cannot be addressed")?;
        Ok(Self { addr: socket.ip(), port, proto })
    }
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line an event, for people.
    Text,
    /// A JSON object an event.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn destinations_are_read_or_refused_with_a_reason() {
        let read = |text: &str| text.parse::<Destination>();
        assert_eq!(read("10.96.0.1:80").unwrap().proto, L4Proto::Tcp);
        assert_eq!(read("[fd00::1]:53/udp").unwrap().proto, L4Proto::Udp);
        assert_eq!(
            read("10.96.0.1:80/icmp").unwrap_err(),
            "icmp is no protocol: use tcp, udp or sctp"
        );
        assert_eq!(read("10.96.0.1:0").unwrap_err(), "port 0 cannot be addressed");
        assert_eq!(
            read("10.96.0.1").unwrap_err(),
            "10.96.0.1 is not IP:PORT; write an IPv6 address as [IP]:PORT"
        );
    }
}
