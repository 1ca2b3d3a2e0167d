//! The command line: what can be asked, and what the exit codes mean.
//!
//! closeby's own flags are written here; those of kube-proxy that are settings
//! come from their table ([`FLAGS`]). Names, booleans and values are read as
//! kube-proxy reads them.

mod commands;
mod counting;
mod guards;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::error::Error;
use clap::{
    Arg, ArgAction, ArgMatches, Args, Command as Clap, CommandFactory as _, FromArgMatches, Parser,
    ValueEnum,
};

use crate::compile;
use crate::config::Settings as Configured;
use crate::config::flags::{FLAGS, Flag, Given, read_switch};
use crate::model::{Admission, ServiceProxy};
pub use commands::{Ask, Command, Output, completions};
pub use counting::Counting;
pub use guards::Guards;

/// What the exit codes mean, at the end of every help.
const EXIT_CODES: &str = "\
Exit codes:
  0  done; with --once, the kernel has what the objects say, or with --shadow
     nothing differs; with --cleanup, it has nothing of ours
  1  failed: the message names the step, the object and what to do; or the
     configuration changed, and it is to be started anew; or with --shadow and
     --once, something differs
  2  wrong flags, no source of objects, or a configuration or kubeconfig that
     cannot be used
  3  not here: a privilege or a kernel feature is missing, an agent or a
     kube-proxy runs already, or with --once a kube-proxy left rules behind;
     with --shadow and --once, there is no kube-proxy in nftables mode
";

/// Above the settings in the help.
const SETTINGS: [&str; 2] =
    ["kube-proxy's settings, also beside --config", "kube-proxy's settings, not beside --config"];

/// Services with metrics of their own, unless more are wanted.
const SERVICE_METRICS: usize = 100;
/// How wide the help is.
const HELP_COLUMNS: usize = 80;

/// Keeps Kubernetes Service traffic close by: a node agent in the place of
/// kube-proxy's nftables mode.
#[derive(Debug, Parser)]
#[command(
    name = "closeby",
    version,
    disable_version_flag = true,
    after_help = after_help(),
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    term_width = HELP_COLUMNS,
)]
pub struct Cli {
    /// What to do instead of running the agent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run the agent.
    #[command(flatten)]
    pub run: Run,
    /// Print the version.
    #[arg(
        short = 'V',
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = read_version,
    )]
    pub version: Option<bool>,
}

impl Cli {
    /// Reads a command line; when it is wrong, or asks for help, ends with that.
    #[must_use]
    pub fn of(args: impl IntoIterator<Item = OsString>) -> Self {
        Self::try_of(args).unwrap_or_else(|error| error.exit())
    }

    fn try_of(args: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        Self::from_arg_matches(&command().try_get_matches_from(with_dashes(args))?)
    }
}

/// The commands beside the agent take its settings too, and do not list them
/// again.
fn command() -> Clap {
    let is_setting = |arg: &Arg| FLAGS.iter().any(|flag| arg.get_id() == flag.name);
    let hide = |arg: Arg| {
        let hides = is_setting(&arg) && arg.get_id() != "hostname-override";
        if hides { arg.hide(true) } else { arg }
    };
    Cli::command().mut_subcommands(|command| command.mut_args(hide))
}

/// Running the agent.
#[derive(Debug, Args)]
pub struct Run {
    /// What to serve, and for which node.
    #[command(flatten)]
    pub input: InputArgs,
    /// The API server's address, in place of the one in the kubeconfig.
    #[arg(long, value_name = "URL", conflicts_with = "manifests")]
    pub master: Option<String>,
    /// Take everything away at once that the API server does not list any more.
    /// Without this, when more than half of the Services or EndpointSlices are
    /// missing from a list, they stay until several lists agree.
    #[arg(long, conflicts_with = "manifests")]
    pub no_deletion_guard: bool,
    /// Remove taints of this key from this node once it serves, and whenever its
    /// Node has one again. Takes the right to patch nodes.
    #[arg(
        long,
        value_name = "KEY",
        value_parser = NonEmptyStringValueParser::new(),
        conflicts_with_all = ["manifests", "once", "shadow"],
    )]
    pub remove_startup_taint: Option<String>,
    /// So many Services have metrics of their own: those with most connections, the
    /// others being summed up, and those that ask for closeness, first who does not
    /// get it. 0 for no metrics by Service.
    #[arg(long, value_name = "N", default_value_t = SERVICE_METRICS)]
    pub service_metrics: usize,
    /// Where `closeby services`, `explain` and `top` ask, for root and the agent's own
    /// user; an empty one for nowhere. Default: /run/closeby/agent.sock, if that can
    /// be made.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["once", "shadow"])]
    pub socket: Option<OsString>,
    /// Program what the objects say now, then exit; the rules stay.
    #[arg(long)]
    pub once: bool,
    /// Set what takes full rights on the node (connection tracking), then exit.
    /// After it, CAP_NET_ADMIN is all that the agent needs.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = read_switch,
        conflicts_with = "once",
    )]
    pub init_only: Option<bool>,
    /// Remove the rules of closeby, and those that kube-proxy's nftables mode
    /// left, then exit. Nothing else is touched.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = read_switch,
        conflicts_with = "once",
    )]
    pub cleanup: Option<bool>,
    /// Write the configuration in force to this file, then exit.
    #[arg(long, value_name = "FILE", conflicts_with = "once")]
    pub write_config_to: Option<PathBuf>,
    /// Program nothing: compare what would be programmed with what a kube-proxy
    /// in nftables mode has programmed, and print what differs. With --once:
    /// compare once; the exit code is 1 if something differs.
    #[arg(
        long,
        conflicts_with_all = ["init_only", "cleanup", "write_config_to", "service_proxy_name"],
    )]
    pub shadow: bool,
    /// Where /metrics is served with --shadow, nowhere by default: the usual ports
    /// are kube-proxy's.
    #[arg(long, value_name = "IP:PORT", requires = "shadow", conflicts_with = "once")]
    pub shadow_metrics: Option<SocketAddr>,
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
    /// Serve the Services of this proxy alone, beside a kube-proxy that serves the
    /// others: those with this value of `service.kubernetes.io/service-proxy-name`.
    /// Default: those without that label, in the place of kube-proxy.
    #[arg(long, value_name = "NAME")]
    pub service_proxy_name: Option<ServiceProxy>,
    /// What endpoints are chosen by, besides traffic policies.
    #[arg(long, value_enum, value_name = "BY", default_value_t = Topology::Closest)]
    pub topology: Topology,
    /// A KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1). When it
    /// changes, the agent ends with exit code 1, to be started anew; the rules stay.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What is taken of objects, and of neighbours.
    #[command(flatten)]
    pub guards: Guards,
    /// What is counted in the kernel.
    #[command(flatten)]
    pub counting: Counting,
    /// Settings by flags.
    #[command(flatten)]
    pub settings: Settings,
}

impl InputArgs {
    /// Whether it says what node this is, or how it is to behave.
    #[must_use]
    pub fn has_settings(&self) -> bool {
        let is_default = self.topology == Topology::Closest && self.guards == Guards::default();
        let is_silent = self.settings.0.is_empty() && self.config.is_none();
        !(is_default && is_silent && self.service_proxy_name.is_none())
    }

    /// Which service proxy the agent is.
    #[must_use]
    pub fn proxy(&self) -> ServiceProxy {
        self.service_proxy_name.clone().unwrap_or_default()
    }

    /// What the agent takes of objects, with this configuration in force.
    #[must_use]
    pub fn admission(&self, configured: &Configured) -> Admission {
        self.guards.admission(self.proxy(), !configured.allow_external_ips)
    }
}

/// What endpoints are chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Topology {
    /// What Services ask for by trafficDistribution or by Istio's annotation; where
    /// hints are not whole, by the endpoints' own node and zone.
    Closest,
    /// Hints alone, all or none, as kube-proxy does; also with --shadow.
    Hints,
}

impl From<Topology> for compile::Topology {
    fn from(topology: Topology) -> Self {
        match topology {
            Topology::Closest => Self::Closest,
            Topology::Hints => Self::Hints,
        }
    }
}

/// kube-proxy's flags that are settings, as they were given.
#[derive(Clone, Debug, Default)]
pub struct Settings(pub Vec<Given>);

impl Args for Settings {
    fn augment_args(command: Clap) -> Clap {
        command.args(FLAGS.iter().map(arg))
    }

    fn augment_args_for_update(command: Clap) -> Clap {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = FLAGS.iter().filter_map(|flag| {
            let texts = matches.get_many::<String>(flag.name)?.cloned().collect();
            Some(Given { flag, texts })
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn arg(flag: &'static Flag) -> Arg {
    let arg = Arg::new(flag.name)
        .long(flag.name)
        .value_name(flag.value_name())
        .help(flag.help)
        .help_heading(SETTINGS[usize::from(!flag.counts_beside_file())])
        .hide(!flag.has_effect() || flag.is_deprecated())
        .action(ArgAction::Append);
    let arg = match flag.name {
        "v" => arg.short('v'),
        _ => arg,
    };
    if flag.is_switch() {
        arg.num_args(0..=1).require_equals(true).default_missing_value("true")
    } else {
        // `--oom-score-adj -500`
        arg.allow_hyphen_values(true)
    }
}

/// Underscores in names of flags are dashes, as for kube-proxy.
fn with_dashes(args: impl IntoIterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    args.into_iter().map(|arg| match arg.to_str().filter(|text| text.starts_with("--")) {
        Some(text) => match text.split_once('=') {
            Some((name, value)) => format!("{}={value}", name.replace('_', "-")).into(),
            None => text.replace('_', "-").into(),
        },
        None => arg,
    })
}

/// Whether the version is to be printed. `vX.Y.Z` only has kube-proxy say that it
/// is another.
fn read_version(text: &str) -> Result<bool, String> {
    match text {
        "raw" => Ok(true),
        _ if text.starts_with('v') => Ok(false),
        _ => read_switch(text),
    }
}

fn after_help() -> String {
    let idle = FLAGS.iter().filter(|flag| !flag.has_effect());
    let idle: Vec<String> = idle.map(|flag| format!("--{}", flag.name)).collect();
    format!(
        "Taken as kube-proxy takes them, and without effect here:\n{}\n\n{EXIT_CODES}",
        idle.join(", ")
    )
}

fn help_of_answers() -> String {
    format!("Settings are the same flags as of the agent: closeby --help\n\n{EXIT_CODES}")
}

#[cfg(test)]
mod tests;
