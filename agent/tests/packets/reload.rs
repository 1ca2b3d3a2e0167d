//! The configuration file changes while the agent runs, and what it must have
//! cannot be had.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use libtest_mimic::Failed;

use super::Trials;
use super::rig::{BY_NODE_RANGE, PATIENCE, Rig, Site, check, service, until};
use super::takeover::restore_iptables;

pub(crate) const ALL: Trials = &[
    ("another_configuration_ends_the_agent", another_configuration_ends_the_agent),
    ("it_ends_an_agent_that_waits", it_ends_an_agent_that_waits),
    ("an_address_that_must_be_had_ends_the_agent", an_address_that_must_be_had_ends_the_agent),
];

/// As the kubelet does: all files change by one swap of the link `..data`.
fn swap(mount: &Path, name: &str, text: &str) -> Result<(), Failed> {
    fs::create_dir_all(mount.join(name))?;
    fs::write(mount.join(name).join("config.conf"), text)?;
    symlink(name, mount.join("..data_tmp"))?;
    Ok(fs::rename(mount.join("..data_tmp"), mount.join("..data"))?)
}

fn says(site: &mut Site<'_>, words: &str) -> Result<(), Failed> {
    until(PATIENCE, words, || Ok(site.agent()?.log_tail().contains(words)))?;
    Ok(())
}

/// How the agent ended, and its last words.
fn end(site: &mut Site<'_>) -> Result<String, Failed> {
    loop {
        match site.agent()?.next_generation(PATIENCE) {
            Ok(Some(_)) => {}
            Ok(None) => return Err("it goes on".into()),
            Err(error) => return Ok(error.to_string()),
        }
    }
}

fn another_configuration_ends_the_agent(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&service("web", 1), &["a2"])?;
    let (before, mount) = (fs::read_to_string(&site.config)?, site.root.join("mount"));
    swap(&mount, "..1", &before)?;
    symlink("..data/config.conf", mount.join("config.conf"))?;
    site.config = mount.join("config.conf");
    site.start()?;

    // What cannot be used changes nothing, and is said once.
    swap(&mount, "..2", &format!("{before}nftables: {{masqueradeBit: 32}}\n"))?;
    says(&mut site, "32 is no bit of a mark")?;
    says(&mut site, "the configuration read before stays in force")?;
    // The same again, and in other words.
    swap(&mount, "..3", &before)?;
    says(&mut site, "is again what is in force")?;
    swap(&mount, "..4", &format!("# {before}"))?;
    says(&mut site, "apiVersion: is missing")?;
    swap(&mount, "..5", &format!("# A remark.\n{before}"))?;
    until(PATIENCE, "right twice", || {
        Ok(site.agent()?.log_tail().matches("is again what is in force").count() == 2)
    })?;
    site.change(&service("web", 1), &["b1"])?;

    let rules = site.listing()?;
    swap(&mount, "..6", &format!("{before}nftables: {{masqueradeAll: true}}\n"))?;
    let said = end(&mut site)?;
    check(said.contains("(exit status: 1)"), "the exit code", &said)?;
    check(said.contains("config.conf: the configuration changed: ended"), "why", &said)?;
    let after = site.listing()?;
    check(after.ruleset == rules.ruleset, "the rules stay", &())?;
    // Started anew it has what the file says.
    site.start()?;
    check(site.listing()?.ruleset != rules.ruleset, "other rules", &())
}

/// For what a kube-proxy left: nothing is programmed yet.
fn it_ends_an_agent_that_waits(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    restore_iptables(&site)?;
    site.launch()?;
    says(&mut site, "iptables chains in table ip nat")?;
    fs::write(&site.config, fs::read_to_string(&site.config)? + "clusterCIDR: 10.0.0.0/8\n")?;
    let said = end(&mut site)?;
    check(said.contains("the configuration changed: ended"), "why", &said)
}

fn an_address_that_must_be_had_ends_the_agent(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", &format!("{BY_NODE_RANGE}bindAddressHardFail: true\n"))?;
    let before = site.listing()?;
    let taken = site.node.serve(10_256)?;
    site.launch()?;
    let said = end(&mut site)?;
    check(said.contains("(exit status: 1)"), "the exit code", &said)?;
    let told = "healthzBindAddress: cannot listen on 0.0.0.0:10256";
    check(said.contains(told), "the address", &said)?;
    check(site.listing()?.ruleset == before.ruleset, "nothing is programmed", &())?;
    drop(taken);
    site.put(&service("web", 1), &["a2"])?;
    site.start()
}
