//! `closeby-bench`: what closeby costs in a real kernel, next to other ways to do the same, in
//! network namespaces of its own. Flags and exit codes live here.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use closeby_tools::lab::{self, Entry, Netns};
use nix::sched::{CloneFlags, unshare};

use limit::Limit;

mod churn;
mod commit;
mod conntrack;
mod counters;
mod flood;
mod layout;
mod limit;
mod nft;
mod packets;
mod proxies;
mod sink;
mod stats;
mod subject;

/// Something went where it must not.
const WRONG: u8 = 1;
/// It could not be measured; 2 is clap's, for flags it does not know.
const NOT_RUN: u8 = 3;

const EXIT_CODES: &str = "\
Exit codes:
  0  measured
  1  packets were lost or went to the wrong endpoint, or entries were not deleted
  2  wrong flags
  3  it could not be measured (no namespaces, no nft, a refused transaction)";

/// Measure what closeby costs in this machine's kernel, next to other layouts of the same rules.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Flags {
    #[command(subcommand)]
    command: Measure,
}

#[derive(Debug, Subcommand)]
enum Measure {
    Packets(packets::Packetry),
    Commit(commit::Commits),
    Conntrack(conntrack::Sweeps),
    Counters(counters::Counters),
    Proxies(proxies::Proxies),
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    match measure(&flags) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("closeby-bench: {error:#}");
            ExitCode::from(NOT_RUN)
        }
    }
}

/// Before [`enter`] nothing may start a thread.
fn measure(flags: &Flags) -> anyhow::Result<ExitCode> {
    let limit = match &flags.command {
        Measure::Conntrack(flags) => Some(Limit::raise(flags.most())?),
        _ => None,
    };
    let entry = match &flags.command {
        Measure::Proxies(flags) => {
            flags.check()?;
            lab::enter_as_root()?
        }
        _ => enter()?,
    };
    match entry {
        Entry::Outside(code) => return Ok(code),
        Entry::Inside => {}
    }
    if let Some(limit) = &limit {
        limit.put_back_on_signals()?;
    }
    let right = match &flags.command {
        Measure::Packets(flags) => packets::run(flags)?,
        Measure::Commit(flags) => commit::run(flags).map(|()| true)?,
        Measure::Conntrack(flags) => conntrack::run(flags)?,
        Measure::Counters(flags) => counters::run(flags).map(|()| true)?,
        Measure::Proxies(flags) => proxies::run(flags).map(|()| true)?,
    };
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

/// Leaves the machine's network. Root only leaves that, because a user namespace limits how large
/// a transaction may be; anybody else goes through the lab's door.
fn enter() -> anyhow::Result<Entry> {
    let map = fs::read_to_string("/proc/self/uid_map").context("reading /proc/self/uid_map")?;
    let whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    if whole && nix::unistd::geteuid().is_root() && unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        return Ok(Entry::Inside);
    }
    Ok(lab::enter()?)
}

/// Runs `work` on a thread inside a namespace, with errors of any kind.
fn inside<T: Send>(
    netns: &Netns,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    netns.run(|| Ok(work()))?
}

/// Writes figures to the file that was asked for, if any.
fn write_json(path: Option<&Path>, figures: &impl serde::Serialize) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_string_pretty(figures)? + "\n";
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        super::Flags::command().debug_assert();
    }
}
