//! `closeby-lab stories`: who may ask for closeness and what it does to packets, story by story:
//! a cluster each, real packets, and a matrix of who was answered by whom.

mod data;
mod play;
mod told;

use std::path::Path;

use anstream::println;

pub(crate) use data::NAMES;
use data::Story;

use crate::story::{BAD, BOLD, GOOD};

/// Plays these stories; true if every packet went where it must.
pub(crate) fn play(
    agent: &Path,
    names: &[String],
    requests: usize,
    keep: Option<&Path>,
) -> anyhow::Result<bool> {
    let names = if names.is_empty() { NAMES.map(str::to_owned).to_vec() } else { names.to_vec() };
    let mut outcomes = Vec::new();
    for name in names {
        let story = Story::read(&name)?;
        println!("{BOLD}{name}: {}{BOLD:#}", story.title);
        let faults = play::play(agent, &story, requests, &crate::stage::home(keep)?.join(&name))?;
        outcomes.push((name, story.title, faults));
        println!();
    }
    println!("{BOLD}Summary{BOLD:#}");
    for (name, title, faults) in &outcomes {
        let (style, word) = if *faults == 0 { (GOOD, "ok   ") } else { (BAD, "WRONG") };
        println!("  {style}{word}{style:#} {name}: {title}");
    }
    let faults: usize = outcomes.iter().map(|(_, _, faults)| faults).sum();
    match faults {
        0 => println!("{GOOD}Every packet went where it must.{GOOD:#}"),
        1 => println!("{BAD}One check failed.{BAD:#}"),
        _ => println!("{BAD}{faults} checks failed.{BAD:#}"),
    }
    Ok(faults == 0)
}
