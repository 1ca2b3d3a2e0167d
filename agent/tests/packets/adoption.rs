//! Ends and beginnings: how an agent stops, what it leaves, and what the next
//! one makes of that.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use closeby_nft::Ruleset;
use closeby_tools::lab::{Family, Proto, Request};
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Trials;
use super::load::under_load;
use super::rig::{BY_NODE_RANGE, PATIENCE, Rig, Saw, Site, at_vip, check, service, until};

pub(crate) const ALL: Trials = &[
    ("a_restart_commits_nothing_and_loses_nothing", a_restart_commits_nothing_and_loses_nothing),
    (
        "what_changed_meanwhile_is_mended_at_the_start",
        what_changed_meanwhile_is_mended_at_the_start,
    ),
    ("killed_at_any_moment_it_leaves_all_or_nothing", killed_at_any_moment),
    ("once_leaves_the_rules", once_leaves_the_rules),
    ("a_second_agent_is_refused", a_second_agent_is_refused),
    ("signals_end_it_well_and_the_rules_stay", signals_end_it_well_and_the_rules_stay),
    ("without_rights_it_says_so", without_rights_it_says_so),
    ("one_right_is_enough", one_right_is_enough),
];

/// Between two moments of killing it, and how often it may be done by then.
const STEP: Duration = Duration::from_millis(1);
const ENOUGH: usize = 5;
/// Restarts under way while requests are sent.
const RESTARTS: usize = 3;

fn site(rig: &Rig) -> Result<Site<'_>, Failed> {
    let site = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&service("web", 1), &["a2", "b1"])?;
    Ok(site)
}

fn a_restart_commits_nothing_and_loses_nothing(rig: &Rig) -> Result<(), Failed> {
    let mut site = site(rig)?;
    site.start()?;
    let before = site.listing()?;
    under_load(rig, || {
        (0..RESTARTS).try_for_each(|_| {
            site.kill();
            site.start()
        })
    })?;
    check(site.listing()? == before, "the kernel, its count of transactions included", &())
}

fn what_changed_meanwhile_is_mended_at_the_start(rig: &Rig) -> Result<(), Failed> {
    let mut site = site(rig)?;
    site.start()?;
    site.kill();
    site.put(&service("web", 1), &["b1"])?;
    let before = site.listing()?;
    site.start()?;
    let after = site.listing()?;
    check(
        after.gen_id.0 == before.gen_id.0 + 3,
        "a chain comes, the endpoint changes, a chain goes: three transactions",
        &(before.gen_id, after.gen_id),
    )?;
    let client = site.pod("a1");
    for family in Family::BOTH {
        let request = Request::new(at_vip(1, family), Proto::Tcp);
        let saw = Saw::of(client, &client.requests(&request, 24, 4));
        check(saw == Saw::expected(&["b1"], "n"), "the endpoint that is left", &saw)?;
    }
    Ok(())
}

/// A little later each time, from before it has begun until well after it is done.
fn killed_at_any_moment(rig: &Rig) -> Result<(), Failed> {
    let mut site = site(rig)?;
    site.start()?;
    let all = site.listing()?.ruleset;
    site.kill();
    let (mut nothing, mut done) = (0, 0);
    for delay in (0..).map(|round| STEP * round) {
        site.node.nft("flush ruleset")?;
        let agent = Running::spawn(&site, &mut site.command())?;
        let moment = Instant::now() + delay;
        until(PATIENCE, "the moment", || Ok(Instant::now() >= moment))?;
        drop(agent);
        let left = site.listing()?.ruleset;
        match (left == Ruleset::default(), left == all) {
            (true, _) => nothing += 1,
            (_, true) => done += 1,
            _ => return Err(format!("half of it, killed after {delay:?}: {left:?}").into()),
        }
        if done == ENOUGH {
            break;
        }
    }
    check(nothing > 0, "killed before it was done", &nothing)?;
    site.start()?;
    check(site.listing()?.ruleset == all, "the next one finds its way", &())
}

fn once_leaves_the_rules(rig: &Rig) -> Result<(), Failed> {
    let mut site = site(rig)?;
    let mut command = site.command();
    command.arg("--once");
    let (code, said) = Running::spawn(&site, &mut command)?.end()?;
    check(code == Some(0), "exit code", &said)?;
    let left = site.listing()?;
    site.start()?;
    check(site.listing()? == left, "an agent finds nothing to do", &())?;
    let answer = site.pod("a1").request(&Request::new(at_vip(1, Family::V6), Proto::Udp));
    check(answer.reply().is_some(), "served", &answer)
}

fn a_second_agent_is_refused(rig: &Rig) -> Result<(), Failed> {
    let mut site = site(rig)?;
    site.start()?;
    let before = site.listing()?;
    let (code, said) = Running::spawn(&site, &mut site.command())?.end()?;
    check(code == Some(3), "exit code", &(code, &said))?;
    check(said.contains("another closeby agent runs in this network namespace"), "why", &said)?;
    check(site.listing()? == before, "it wrote nothing", &())?;
    site.change(&service("web", 1), &["a2"])
}

fn signals_end_it_well_and_the_rules_stay(rig: &Rig) -> Result<(), Failed> {
    let mut site = site(rig)?;
    site.put(&service("web", 1), &["a2"])?;
    site.start()?;
    let changed = site.listing()?.ruleset;
    site.kill();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        site.put(&service("web", 1), &["a2", "b1"])?;
        let agent = Running::start(&site)?;
        // Nobody reads what it says any more; it must not mind.
        site.put(&service("web", 1), &["a2"])?;
        until(PATIENCE, "a change", || Ok(site.listing()?.ruleset == changed))?;
        let before = site.listing()?;
        check(before.ruleset != Ruleset::default(), "there are rules", &())?;
        let pid = Pid::from_raw(i32::try_from(agent.child.id())?);
        kill(pid, signal)?;
        let (code, said) = agent.end()?;
        check(code == Some(0), signal.as_str(), &(code, said))?;
        check(site.listing()? == before, "the rules stay", &())?;
    }
    Ok(())
}

/// In a user namespace of its own it has no rights over the node's network.
fn without_rights_it_says_so(rig: &Rig) -> Result<(), Failed> {
    let site = site(rig)?;
    let agent = site.command();
    let mut command = Command::new("unshare");
    command.arg("--user").arg(agent.get_program()).args(agent.get_args());
    let (code, said) = Running::spawn(&site, &mut command)?.end()?;
    check(code == Some(3), "exit code", &(code, &said))?;
    check(said.contains("CAP_NET_ADMIN"), "what is missing", &said)
}

/// CAP_NET_ADMIN is all it needs.
fn one_right_is_enough(rig: &Rig) -> Result<(), Failed> {
    let site = site(rig)?;
    let agent = site.command();
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all,+net_admin"]);
    command.arg(agent.get_program()).args(agent.get_args()).arg("--once");
    let (code, said) = Running::spawn(&site, &mut command)?.end()?;
    check(code == Some(0), "exit code", &(code, &said))?;
    let answer = site.pod("a1").request(&Request::new(at_vip(1, Family::V4), Proto::Tcp));
    check(answer.reply().is_some(), "served", &answer)
}

/// An agent whose end is looked at; killed with the value.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn spawn(site: &Site<'_>, command: &mut Command) -> Result<Self, Failed> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self { child: site.node.spawn(command)? })
    }

    /// Starts it and waits until it has committed.
    fn start(site: &Site<'_>) -> Result<Self, Failed> {
        let mut running = Self::spawn(site, &mut site.command())?;
        let mut line = String::new();
        let stdout = running.child.stdout.take().ok_or("no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        if line.starts_with("generation ") {
            return Ok(running);
        }
        running.child.kill()?;
        Err(format!("it said {line:?} and ended: {:?}", running.end()).into())
    }

    /// Waits until it has ended by itself: its exit code and its log.
    pub(crate) fn end(mut self) -> Result<(Option<i32>, String), Failed> {
        until(PATIENCE, "its end", || Ok(self.child.try_wait()?.is_some()))?;
        let mut said = String::new();
        self.child.stderr.take().ok_or("no stderr")?.read_to_string(&mut said)?;
        Ok((self.child.wait()?.code(), said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either may fail only because it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
