//! From a kube-proxy to us and back: its tables go when ours come, what its
//! other modes left is waited for, and `--cleanup` removes what is ours.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use closeby_nft::Ruleset;
use closeby_tools::lab::{Family, Host, LabError, Proto, Request};
use libtest_mimic::Failed;

use super::Trials;
use super::adoption::Running;
use super::http::{HEALTH, HEALTHZ, UNFIT, expect, local, metric};
use super::load::{all_go_on, conversations, under_load};
use super::rig::{BY_NODE_RANGE, PATIENCE, Rig, Saw, Site, at_vip, check, ip, service, until};

pub(crate) const ALL: Trials = &[
    ("kube_proxys_tables_go_when_ours_come", kube_proxys_tables_go_when_ours_come),
    ("kube_proxys_tables_come_when_ours_go", kube_proxys_tables_come_when_ours_go),
    ("cleanup_removes_what_is_ours", cleanup_removes_what_is_ours),
    ("rules_of_iptables_mode_are_waited_for", rules_of_iptables_mode_are_waited_for),
    ("what_ipvs_mode_left_is_waited_for", what_ipvs_mode_left_is_waited_for),
    ("a_kube_proxy_beside_us_is_refused", a_kube_proxy_beside_us_is_refused),
];

/// kube-proxy's rules for the Service of [`site`], in nftables and in iptables mode.
pub(crate) const NFTABLES_MODE: &str = include_str!("kube-proxy-1.36.nft");
const IPTABLES_MODE: [(&str, &str); 2] = [
    ("iptables", include_str!("kube-proxy.iptables")),
    ("ip6tables", include_str!("kube-proxy.ip6tables")),
];
/// What `kube-proxy --cleanup` takes away of them; the kubelet's chains stay.
const ITS_CHAINS: &str =
    "KUBE-(SVC|SEP|EXT|SERVICES|NODEPORTS|EXTERNAL|FORWARD|POSTROUTING|MARK|PROXY)";
/// From the end of the last leftover to our rules.
const PROMISE: Duration = Duration::from_secs(2);

fn site(rig: &Rig) -> Result<Site<'_>, Failed> {
    let site = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&service("web", 1), &["a2", "b1"])?;
    Ok(site)
}

fn kube_proxys_tables_go_when_ours_come(rig: &Rig) -> Result<(), Failed> {
    let mut site = site(rig)?;
    site.node.nft(NFTABLES_MODE)?;
    let before = site.listing()?;
    check(before.ruleset == Ruleset::default(), "none of ours", &before)?;
    let mut open = conversations(&site)?;
    under_load(rig, || site.start())?;
    let after = site.listing()?;
    check(
        after.gen_id.0 == before.gen_id.0 + 2,
        "ours come, theirs go: two transactions",
        &(before.gen_id, after.gen_id),
    )?;
    let tables = site.node.nft("list tables")?;
    check(tables == "table ip closeby\ntable ip6 closeby\n", "theirs are gone", &tables)?;
    all_go_on(&mut open)?;

    // Somebody brings them back: they go again, and ours stay.
    under_load(rig, || {
        site.node.nft(NFTABLES_MODE)?;
        until(PATIENCE, "gone again", || Ok(site.node.nft("list tables")? == tables))?;
        Ok(())
    })?;
    check(site.listing()?.ruleset == after.ruleset, "ours stay", &())
}

/// It runs again before ours are cleaned up, so what it has made are no leftovers.
fn kube_proxys_tables_come_when_ours_go(rig: &Rig) -> Result<(), Failed> {
    let mut site = site(rig)?;
    site.start()?;
    let mut open = conversations(&site)?;
    let (code, said) = under_load(rig, || {
        site.kill();
        let kube_proxy = KubeProxy::listen(site.node)?;
        site.node.nft(NFTABLES_MODE)?;
        kube_proxy.answers(|| cleanup(&site))
    })?;
    check(code == Some(0), "exit code", &said)?;
    check(said.contains("Its tables are left alone"), "why", &said)?;
    let tables = site.node.nft("list tables")?;
    check(tables == "table ip kube-proxy\ntable ip6 kube-proxy\n", "what is left", &tables)?;
    all_go_on(&mut open)
}

fn cleanup_removes_what_is_ours(rig: &Rig) -> Result<(), Failed> {
    let mut site = site(rig)?;
    site.start()?;
    let (code, said) = cleanup(&site)?;
    check(code == Some(3) && said.contains("another closeby agent runs"), "beside one", &said)?;
    check(site.listing()?.ruleset != Ruleset::default(), "nothing is deleted", &())?;
    site.kill();
    site.node.nft("add table inet theirs; add table ip closeby2; add table inet closeby")?;
    site.node.nft(NFTABLES_MODE)?;
    // The second time there is nothing to do, which is well too.
    for _ in 0..2 {
        let (code, said) = cleanup(&site)?;
        check(code == Some(0), "exit code", &(code, said))?;
        let tables = site.node.nft("list tables")?;
        let theirs = "table inet theirs\ntable ip closeby2\ntable inet closeby\n";
        check(tables == theirs, "what is left", &tables)?;
    }
    Ok(())
}

/// And reported when they come later; and the way back.
fn rules_of_iptables_mode_are_waited_for(rig: &Rig) -> Result<(), Failed> {
    let mut site = site(rig)?;
    restore_iptables(&site)?;
    let mut open = conversations(&site)?;
    expect_refused_once(&site, "iptables chains in table ip nat")?;
    site.launch()?;
    says(&mut site, "nothing is programmed until they are gone")?;
    served(&site)?;
    let listed = site.listing()?;
    check(listed.ruleset == Ruleset::default(), "nothing is programmed", &listed)?;
    // Alive, so that it is not started anew; but nobody follows what load balancers want.
    expect(site.node, local(HEALTHZ), "/livez", HEALTH)?;
    expect(site.node, local(HEALTHZ), "/healthz", UNFIT)?;
    let asked = metric(&site, "kubeproxy_proxy_healthz_total{code=\"503\"} ")?;
    check(asked >= 1.0, "it is counted", &asked)?;

    remove_iptables(&site)?;
    let gone = Instant::now();
    site.next_generation()?;
    check(gone.elapsed() < PROMISE, "programmed after", &gone.elapsed())?;
    expect(site.node, local(HEALTHZ), "/healthz", HEALTH)?;
    let ours = site.listing()?.ruleset;
    all_go_on(&mut open)?;
    under_load(rig, || {
        restore_iptables(&site)?;
        says(&mut site, "a kube-proxy was started beside us")?;
        check(site.listing()?.ruleset == ours, "ours stay", &())?;
        // The next agent keeps them up to date, whatever is beside them.
        site.kill();
        site.start()?;
        site.kill();
        let (code, said) = cleanup(&site)?;
        check(code == Some(0), "exit code", &said)
    })?;
    check(site.listing()?.ruleset == Ruleset::default(), "none of ours", &())?;
    all_go_on(&mut open)?;
    remove_iptables(&site)
}

/// The interface alone, of another kind: this kernel may have no IPVS.
fn what_ipvs_mode_left_is_waited_for(rig: &Rig) -> Result<(), Failed> {
    let mut site = site(rig)?;
    ip(site.node, "link add kube-ipvs0 type bridge")?;
    let waits = waits_for_ipvs(&mut site);
    ip(site.node, "link delete kube-ipvs0")?;
    let gone = Instant::now();
    waits?;
    site.next_generation()?;
    check(gone.elapsed() < PROMISE, "programmed after", &gone.elapsed())
}

fn waits_for_ipvs(site: &mut Site<'_>) -> Result<(), Failed> {
    expect_refused_once(site, "kube-ipvs0")?;
    site.launch()?;
    says(site, "nothing is programmed until they are gone")?;
    check(site.listing()?.ruleset == Ruleset::default(), "nothing is programmed", &())
}

fn a_kube_proxy_beside_us_is_refused(rig: &Rig) -> Result<(), Failed> {
    let mut site = site(rig)?;
    let kube_proxy = KubeProxy::listen(site.node)?;
    let agent = || Running::spawn(&site, &mut site.command())?.end();
    let (code, said) = kube_proxy.answers(agent)?;
    check(code == Some(3), "exit code", &(code, &said))?;
    let why = "a kube-proxy runs in this network namespace: \
               http://127.0.0.1:10249/proxyMode answers \"nftables\"";
    check(said.contains(why), "why", &said)?;
    check(site.listing()?.ruleset == Ruleset::default(), "it wrote nothing", &())?;
    drop(kube_proxy);
    site.start()
}

/// A kube-proxy as far as others can tell: it answers.
pub(crate) struct KubeProxy {
    listener: TcpListener,
}

impl KubeProxy {
    pub(crate) fn listen(node: &Host) -> Result<Self, Failed> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 10249));
        let listener = node.netns().run(|| {
            TcpListener::bind(at)
                .map_err(|source| LabError::Io { doing: format!("listening at {at}"), source })
        })?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// Does this while it answers.
    pub(crate) fn answers<T>(&self, deed: impl FnOnce() -> Result<T, Failed>) -> Result<T, Failed> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let answering = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    self.answer()?;
                }
                Ok::<(), std::io::Error>(())
            });
            let outcome = deed();
            done.store(true, Ordering::Relaxed);
            answering.join().map_err(|_| "the thread that answers panicked")??;
            outcome
        })
    }

    fn answer(&self) -> std::io::Result<()> {
        let mut stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::yield_now();
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(false)?;
        let mut request = [0; 512];
        let len = stream.read(&mut request)?;
        let status =
            if request[..len].starts_with(b"GET /proxyMode ") { "200 OK" } else { "404 Not Found" };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 8\r\n\r\nnftables")
    }
}

/// By both endpoints, whoever does it.
fn served(site: &Site<'_>) -> Result<(), Failed> {
    for family in Family::BOTH {
        let client = site.pod("a1");
        let request = Request::new(at_vip(1, family), Proto::Tcp);
        let saw = Saw::of(client, &client.requests(&request, 24, 4));
        check(saw == Saw::expected(&["a2", "b1"], "n"), "served", &saw)?;
    }
    Ok(())
}

/// Waits until the agent's log says this.
fn says(site: &mut Site<'_>, what: &str) -> Result<(), Failed> {
    let agent = site.agent()?;
    until(PATIENCE, what, || Ok(agent.log_tail().contains(what)))?;
    Ok(())
}

fn cleanup(site: &Site<'_>) -> Result<(Option<i32>, String), Failed> {
    let mut command = Command::new(super::rig::CLOSEBY);
    Running::spawn(site, command.arg("--cleanup"))?.end()
}

/// `--once` does not wait, but says what there is.
fn expect_refused_once(site: &Site<'_>, what: &str) -> Result<(), Failed> {
    let (code, said) = Running::spawn(site, site.command().arg("--once"))?.end()?;
    check(code == Some(3), "exit code", &(code, &said))?;
    check(said.contains(what) && said.contains("kube-proxy --cleanup"), "what is left", &said)
}

pub(crate) fn restore_iptables(site: &Site<'_>) -> Result<(), Failed> {
    for (program, rules) in IPTABLES_MODE {
        shell(site, &format!("{program}-restore --noflush"), rules)?;
    }
    Ok(())
}

fn remove_iptables(site: &Site<'_>) -> Result<(), Failed> {
    for (program, _) in IPTABLES_MODE {
        let script = format!("{program}-save | grep -Ev '{ITS_CHAINS}' | {program}-restore");
        shell(site, &script, "")?;
    }
    Ok(())
}

/// Runs a line of shell on the node.
fn shell(site: &Site<'_>, script: &str, input: &str) -> Result<(), Failed> {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = site.node.spawn(&mut command)?;
    child.stdin.take().ok_or("no stdin")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    check(
        output.status.success(),
        "these trials need the package iptables (tools/test installs it)",
        &(script, said),
    )
}
