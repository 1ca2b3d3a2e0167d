//! `closeby-lab`: a cluster in one process, to try closeby without a cluster and without root.
//! Flags and exit codes live here; what is played lives in `story`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use closeby_tools::lab::{self, Entry};
use closeby_tools::steady;

mod held;
mod judge;
mod matrix;
mod stage;
mod steps;
mod stories;
mod story;

/// A packet went where it must not.
const WRONG: u8 = 1;
/// The lab could not be run; 2 is clap's, for flags it does not know.
const NOT_RUN: u8 = 3;

const EXIT_CODES: &str = "\
Exit codes:
  0  every packet went where it must
  1  a packet went where it must not
  2  wrong flags
  3  the lab could not be run (no user namespaces, no agent, the agent ended)";

/// Try closeby on a cluster of network namespaces: real agents, real packets, no root.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Flags {
    #[command(subcommand)]
    command: Play,
}

#[derive(Debug, Subcommand)]
enum Play {
    /// Play the story: three zones, and a service that learns to stay in the zone of its client.
    Try(Try),
    /// Play who may ask for closeness, story by story: a cluster each, and a matrix of answers
    Stories(Stories),
    /// Change Services a thousand times while clients dial them without pause: nobody may lose
    Steady(Steady),
}

/// How much is to change, and how much to be dialled.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
struct Steady {
    /// The agent to run [default: `closeby` beside this program]
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Generations at least; each changes the endpoints or a policy of a Service that is dialled
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    generations: usize,
    /// Connections at least; changes go on until both numbers are reached
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    connections: usize,
    /// Keep the agent's log, its configuration and the manifests in this folder
    #[arg(long, value_name = "DIR")]
    keep_logs: Option<PathBuf>,
}

/// Which stories to play.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
struct Stories {
    /// The stories [default: all]
    #[arg(value_name = "NAME", value_parser = stories::NAMES)]
    names: Vec<String>,
    /// The agent to run on every node [default: `closeby` beside this program]
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Requests of each client in each family, two thirds TCP, one third UDP
    // Fewer might miss one of four pods by chance, and that would look like a fault.
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u16).range(75..=10_000))]
    requests: u16,
    /// Keep the agents' logs, their configuration and the manifests in this folder
    #[arg(long, value_name = "DIR")]
    keep_logs: Option<PathBuf>,
}

/// How to play the story.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
struct Try {
    /// The agent to run on every node [default: `closeby` beside this program]
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Requests from each zone in each family, two thirds TCP, one third UDP
    // Fewer might miss one of three zones by chance, and that would look like a fault.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u16).range(45..=10_000))]
    requests: u16,
    /// Keep the agents' logs, their configuration and the manifests in this folder
    #[arg(long, value_name = "DIR")]
    keep_logs: Option<PathBuf>,
    /// Afterwards, leave the cluster running until Ctrl-C, and print how to enter its namespaces
    #[arg(long)]
    stay: bool,
}

fn main() -> ExitCode {
    match play(&Flags::parse().command) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("closeby-lab: {error:#}");
            ExitCode::from(NOT_RUN)
        }
    }
}

/// Before [`lab::enter`] nothing may start a thread.
fn play(play: &Play) -> anyhow::Result<ExitCode> {
    let (agent, keep) = match play {
        Play::Try(Try { agent, keep_logs, .. })
        | Play::Stories(Stories { agent, keep_logs, .. })
        | Play::Steady(Steady { agent, keep_logs, .. }) => {
            (self::agent(agent.as_deref())?, keep_logs.as_deref())
        }
    };
    if keep.is_some_and(|dir| dir.starts_with(lab::SCRATCH)) {
        bail!("--keep-logs must be outside of {}, which the lab covers", lab::SCRATCH);
    }
    match lab::enter()? {
        Entry::Outside(code) => Ok(code),
        Entry::Inside => {
            let right = match play {
                Play::Try(flags) => story::play(&agent, flags)?,
                Play::Stories(Stories { names, requests, keep_logs, .. }) => {
                    stories::play(&agent, names, usize::from(*requests), keep_logs.as_deref())?
                }
                Play::Steady(flags) => steady(&agent, flags)?,
            };
            Ok(if right { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
        }
    }
}

/// Changes and dials; true if nobody lost a connection.
fn steady(agent: &Path, flags: &Steady) -> anyhow::Result<bool> {
    let home = stage::home(flags.keep_logs.as_deref())?;
    let Steady { generations, connections, .. } = *flags;
    let report = steady::run(agent, &home, steady::Target { generations, connections })?;
    anstream::println!("{report}");
    Ok(report.is_clean())
}

/// The agent's program, as an absolute path.
fn agent(flag: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match flag {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("closeby"),
    };
    path.canonicalize().with_context(|| {
        format!(
            "there is no agent at {}; build it with `cargo build --release -p closeby-agent`, or \
             name another with --agent",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        super::Flags::command().debug_assert();
    }
}
