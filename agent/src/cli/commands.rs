//! What can be asked for instead of running the agent.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::{Shell, generate};

use super::{InputArgs, command, help_of_answers};
use crate::ask::Question;
use crate::explain::Destination;

/// What to do instead of running the agent. Needs no privileges.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the tables that would be committed, as nft text.
    #[command(after_help = help_of_answers())]
    Render {
        /// What to render, and for which node.
        #[command(flatten)]
        input: InputArgs,
    },
    /// Say what happens to a connection, and why.
    #[command(after_help = help_of_answers())]
    Explain {
        /// Whom to ask.
        #[command(flatten)]
        ask: Ask,
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
    },
    /// List Services: how close their endpoints are and why; or one of them, with
    /// its frontends, what it asks for, and its endpoints by distance.
    #[command(after_help = help_of_answers())]
    Services {
        /// The Service to show. Its name alone is enough where one namespace has it.
        #[arg(value_name = "[NAMESPACE/]NAME")]
        name: Option<String>,
        /// Whom to ask.
        #[command(flatten)]
        ask: Ask,
    },
    /// Show Services by their cross-zone share, anew each interval, until q, Esc or
    /// Ctrl-C; once where the output is no terminal, or with -o json or yaml.
    #[command(after_help = help_of_answers())]
    Top {
        /// Whom to ask.
        #[command(flatten)]
        ask: Ask,
        /// Seconds from one look to the next.
        #[arg(
            long,
            value_name = "SECONDS",
            default_value_t = 1,
            value_parser = clap::value_parser!(u64).range(1..=3600),
        )]
        interval: u64,
    },
    /// Print what completes this command's words in a shell, for it to read.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// Whom a command asks, and how it prints the answer.
#[derive(Debug, Args)]
pub struct Ask {
    /// What to look at, and from which node.
    #[command(flatten)]
    pub input: InputArgs,
    /// Where the agent listens that is asked without --manifests. Default:
    /// /run/closeby/agent.sock.
    #[arg(long, value_name = "PATH", conflicts_with = "manifests")]
    pub socket: Option<PathBuf>,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

impl Command {
    /// The question, if it is one, and whom to ask.
    #[must_use]
    pub fn question(&self) -> Option<(Question, &Ask)> {
        Some(match self {
            Self::Render { .. } | Self::Completions { .. } => return None,
            Self::Explain { ask, from, to, interface } => {
                let (to, interface) = (to.to_string(), interface.clone());
                (Question::Explain { from: *from, to, interface }, ask)
            }
            Self::Top { ask, .. } => (Question::Top, ask),
            Self::Services { name: None, ask } => (Question::Services, ask),
            Self::Services { name: Some(name), ask } => (Question::Service(name.clone()), ask),
        })
    }
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For programs, as YAML.
    Yaml,
}

/// What completes the command's words in a shell.
#[must_use]
pub fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    generate(shell, &mut command(), "closeby", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
