//! Beside kube-proxy's rules, programming nothing: `--shadow` says what differs.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use closeby_nft::Ruleset;
use closeby_tools::lab::manifests::Service;
use libtest_mimic::Failed;

use super::Trials;
use super::http::{get, local};
use super::rig::{BY_NODE_RANGE, PATIENCE, Rig, Site, check, exposed, service, until};
use super::takeover::NFTABLES_MODE;

pub(crate) const ALL: Trials = &[
    ("shadow_finds_nothing_where_nothing_differs", shadow_finds_nothing_where_nothing_differs),
    ("shadow_names_what_differs", shadow_names_what_differs),
    ("shadow_reads_source_ranges", shadow_reads_source_ranges),
    ("shadow_follows", shadow_follows),
    ("shadow_says_when_there_is_nothing_to_compare", shadow_says_when_there_is_nothing_to_compare),
];

/// Where metrics are served when asked for: on none of kube-proxy's ports.
const METRICS: u16 = 19_249;

/// With kube-proxy's rules for the Service `web`, number 1, with the pods a2 and b1.
fn site(rig: &Rig) -> Result<Site<'_>, Failed> {
    let site = rig.site("n1", BY_NODE_RANGE)?;
    site.node.nft(NFTABLES_MODE)?;
    site.put(&service("web", 1), &["a2", "b1"])?;
    Ok(site)
}

fn shadow_finds_nothing_where_nothing_differs(rig: &Rig) -> Result<(), Failed> {
    let site = site(rig)?;
    let before = site.listing()?;
    let said = once(&site, 0)?;
    // Two protocols and families, each at the ClusterIP and the node port; four clients each, and
    // node ports of IPv4 also at the address by which pods know the node, which serves none.
    let equal =
        "compared 8 frontends, 40 connections, with kube-proxy: 0 differences, 0 expected\n";
    check(said == equal, "what it said", &said)?;
    check(site.listing()? == before, "it wrote nothing", &before.gen_id)
}

fn shadow_names_what_differs(rig: &Rig) -> Result<(), Failed> {
    let site = site(rig)?;
    let tell = |what: &str, expected: &str| {
        let said = once(&site, 1)?;
        check(said.contains(expected), what, &said)
    };
    let web = service("web", 1);

    site.put(&web, &["a1", "a2", "b1"])?;
    tell(
        "an endpoint that they lack",
        "differs in endpoints: 10.96.0.1:80/tcp of default/web:tcp/tcp from a pod (10.244.1.254): \
         ours to 10.244.1.2:8080, 10.244.1.3:8080, 10.244.2.2:8080; \
         kube-proxy's to 10.244.1.3:8080, 10.244.2.2:8080\n",
    )?;
    site.put(&Service { external_local: true, ..web.clone() }, &["a2", "b1"])?;
    tell("a policy", "differs in endpoints: nodePort 30001/tcp (ip) at 172.18.0.11 of")?;
    site.put(&web, &["a2", "b1"])?;

    site.put(&service("new", 2), &[])?;
    let said = once(&site, 1)?;
    check(
        said.contains("differs in verdict: 10.96.0.2:80/udp of default/new:udp/udp from outside")
            && said.contains("ours refused by ICMP; kube-proxy's dropped"),
        "a Service that they lack",
        &said,
    )?;
    std::fs::remove_file(site.folder.path().join("new.yaml"))?;

    site.node.nft("flush set ip kube-proxy hairpin-connections")?;
    tell(
        "their masquerading",
        "differs in masquerade: 10.96.0.1:80/tcp of default/web:tcp/tcp from an endpoint of it (10.244.1.3)",
    )?;
    site.node.nft("insert rule ip6 kube-proxy services meta length > 9000 accept")?;
    tell("a rule that nobody reads", "differs in unread: [fd00:10:96::1]:80/tcp of")?;
    std::fs::remove_file(site.folder.path().join("web.yaml"))?;
    tell(
        "a Service of theirs that we lack",
        "differs in verdict: 10.96.0.1:80/tcp of default/web/tcp/tcp from the node (172.18.0.11)",
    )
}

/// Ranges are an anonymous set of intervals in kube-proxy's rules.
fn shadow_reads_source_ranges(rig: &Rig) -> Result<(), Failed> {
    let site = rig.site("n1", BY_NODE_RANGE)?;
    site.node.nft(NFTABLES_MODE)?;
    site.node.nft(&balancer("10.9.0.0/16, 192.0.2.0/25"))?;
    let ranges = |first: &str| {
        let ranges = [first, "192.0.2.0/25", "fd00:9::/32"].map(str::to_owned).to_vec();
        site.put(&Service { source_ranges: ranges, ..exposed("web", 1) }, &["a2", "b1"])
    };
    ranges("10.9.0.0/16")?;
    let said = once(&site, 0)?;
    check(said.contains(" 0 differences"), "the same ranges", &said)?;
    ranges("10.8.0.0/15")?;
    let said = once(&site, 1)?;
    let expected = "differs in verdict: 203.0.113.1:80/udp of default/web:udp/udp from a source \
                    range (10.8.0.0)";
    check(said.contains(expected) && said.contains("kube-proxy's dropped"), "a wider one", &said)
}

/// What kube-proxy has besides for a load balancer and an external address of `web`.
fn balancer(ranges_ip: &str) -> String {
    let mut script = String::new();
    for (proto, hash) in [("tcp", "747KVBFX"), ("udp", "OSWNS3JV")] {
        let families = [
            ("ip", ["203.0.113.1", "198.51.100.1"], ranges_ip),
            ("ip6", ["fd00:203:0:113::1", "fd00:198:51:100::1"], "fd00:9::/32"),
        ];
        for (family, [balancer, external], ranges) in families {
            let name = format!("{hash}-default/web/{proto}/{proto}");
            let table = format!("{family} kube-proxy");
            for addr in [balancer, external] {
                script += &format!(
                    "add element {table} service-ips {{ {addr} . {proto} . 80 : goto external-{name} }};"
                );
            }
            script += &format!(
                "add chain {table} firewall-{name};\
                 add rule {table} firewall-{name} {family} saddr != {{ {ranges} }} drop;\
                 add element {table} firewall-ips {{ {balancer} . {proto} . 80 : goto firewall-{name} }};"
            );
        }
    }
    script
}

/// What differs is told when it lasts, and that it is over; `kill` ends it.
fn shadow_follows(rig: &Rig) -> Result<(), Failed> {
    let site = site(rig)?;
    let shadow = Shadow::start(&site)?;
    shadow.says("compared 8 frontends, 40 connections, with kube-proxy: 0 differences")?;
    site.node.nft("delete element ip kube-proxy service-ips { 10.96.0.1 . tcp . 80 }")?;
    shadow.says(
        "differs in verdict: 10.96.0.1:80/tcp of default/web:tcp/tcp from a pod (10.244.1.254): \
         ours to 10.244.1.3:8080, 10.244.2.2:8080; kube-proxy's refused by ICMP",
    )?;
    shadow
        .says("compared 8 frontends, 40 connections, with kube-proxy: 4 differences (verdict 4)")?;
    let (_, metrics) = get(site.node, local(METRICS), "/metrics")?;
    let four = "closeby_shadow_differences{kind=\"verdict\"} 4\n";
    check(metrics.contains(four), "metrics", &metrics)?;
    for port in [10_249, 10_256] {
        let (answer, _) = get(site.node, local(port), "/metrics")?;
        check(answer == "ConnectionRefused", "a port of kube-proxy's", &(port, answer))?;
    }
    site.node.nft(
        "add element ip kube-proxy service-ips \
         { 10.96.0.1 . tcp . 80 : goto service-747KVBFX-default/web/tcp/tcp }",
    )?;
    shadow.says("compared 8 frontends, 40 connections, with kube-proxy: 0 differences")?;
    // And when we change.
    site.put(&service("web", 1), &["a2"])?;
    shadow.says("differs in endpoints: 10.96.0.1:80/tcp")?;
    let tables = site.node.nft("list tables")?;
    check(tables == "table ip kube-proxy\ntable ip6 kube-proxy\n", "no table of ours", &tables)
}

fn shadow_says_when_there_is_nothing_to_compare(rig: &Rig) -> Result<(), Failed> {
    let site = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&service("web", 1), &["a2", "b1"])?;
    let (_, log) = end(&site, 3)?;
    check(log.contains("there are no tables of kube-proxy's nftables mode"), "none", &log)?;
    site.node.nft("add table ip nat; add chain ip nat KUBE-SERVICES")?;
    let (_, log) = end(&site, 3)?;
    check(log.contains("there are rules of another mode of kube-proxy"), "another mode", &log)?;
    check(site.listing()?.ruleset == Ruleset::default(), "it wrote nothing", &())
}

/// A comparison with this exit code: what it wrote to standard output.
fn once(site: &Site<'_>, code: i32) -> Result<String, Failed> {
    Ok(end(site, code)?.0)
}

fn end(site: &Site<'_>, code: i32) -> Result<(String, String), Failed> {
    let mut command = site.command();
    command.args(["--shadow", "--once"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = site.node.spawn(&mut command)?;
    until(PATIENCE, "its end", || Ok(child.try_wait()?.is_some()))?;
    let (mut said, mut log) = (String::new(), String::new());
    child.stdout.take().ok_or("no stdout")?.read_to_string(&mut said)?;
    child.stderr.take().ok_or("no stderr")?.read_to_string(&mut log)?;
    let ended = child.wait()?.code();
    check(ended == Some(code), "exit code", &(ended, &said, &log))?;
    Ok((said, log))
}

/// One that goes on; killed with the value.
struct Shadow {
    child: Child,
    lines: Receiver<String>,
}

impl Shadow {
    fn start(site: &Site<'_>) -> Result<Self, Failed> {
        let mut command = site.command();
        command.args(["--shadow", "--shadow-metrics", &local(METRICS).to_string()]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = site.node.spawn(&mut command)?;
        let said = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let (sender, lines) = mpsc::channel();
        // It ends with the agent's output.
        thread::spawn(move || {
            said.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Ok(Self { child, lines })
    }

    /// Reads on until a line begins so.
    fn says(&self, start: &str) -> Result<(), Failed> {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.starts_with(start) => return Ok(()),
                Ok(line) => seen.push(line),
                Err(error) => return Err(format!("{error}: no {start:?} in {seen:?}").into()),
            }
        }
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        // Either may fail only because it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
