//! The command line: what can be asked, and what the exit codes mean.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::explain::Destination;

/// What the exit codes mean, at the end of every help.
const EXIT_CODES: &str = "\
Exit codes:
  0  done; with --once, the kernel has what the objects say, or with --shadow
     nothing differs; with --cleanup, it has nothing of ours
  1  failed: the message names the step, the object and what to do
  2  wrong flags, no source of objects, or a configuration or kubeconfig that cannot be used
  3  not here: a privilege or a kernel feature is missing, an agent or a kube-proxy
     runs already, or with --once a kube-proxy left rules behind; with --shadow
     and --once, there is no kube-proxy in nftables mode
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
    /// Where the API server is and who asks it. Default: `clientConnection.kubeconfig`
    /// of the configuration; without that, in a pod, what the pod was given.
    #[arg(long, value_name = "FILE", conflicts_with = "manifests")]
    pub kubeconfig: Option<PathBuf>,
    /// The API server's address, in place of the one in the kubeconfig.
    #[arg(long, value_name = "URL", conflicts_with = "manifests")]
    pub master: Option<String>,
    /// Take everything away at once that the API server does not list any more.
    /// Without this, when more than half of the Services or EndpointSlices are
    /// missing from a list, they stay until several lists agree.
    #[arg(long, conflicts_with = "manifests")]
    pub no_deletion_guard: bool,
    /// Program what the objects say now, then exit; the rules stay.
    #[arg(long)]
    pub once: bool,
    /// Set what takes full rights on the node (connection tracking), then exit.
    /// After it, CAP_NET_ADMIN is all that the agent needs.
    #[arg(long, conflicts_with = "once")]
    pub init_only: bool,
    /// Remove the rules of closeby, and those that kube-proxy's nftables mode
    /// left, then exit. Nothing else is touched.
    #[arg(long, conflicts_with_all = ["once", "init_only"])]
    pub cleanup: bool,
    /// Program nothing: compare what would be programmed with what a kube-proxy
    /// in nftables mode has programmed, and print what differs. With --once:
    /// compare once; the exit code is 1 if something differs.
    #[arg(long, conflicts_with_all = ["init_only", "cleanup"])]
    pub shadow: bool,
    /// Where /metrics is served with --shadow, nowhere by default: the usual ports
    /// are kube-proxy's.
    #[arg(long, value_name = "IP:PORT", requires = "shadow", conflicts_with = "once")]
    pub shadow_metrics: Option<SocketAddr>,
    /// Log format.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Where objects and settings come from.
#[derive(Clone, Debug, Args)]
pub struct InputArgs {
    /// A folder of Kubernetes objects as YAML or JSON (Service, EndpointSlice,
    /// Node, ServiceCIDR; also lists as printed by `kubectl get -o yaml`). The
    /// agent watches it and applies a change of it as one generation. Without it,
    /// the agent follows the API server.
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
        /// Where it goes: IP:PORT, with /udp or /sctp unless TCP; an IPv6 address in
        /// brackets.
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
}
