//! What somebody who may write objects must not reach: the log's lines, and the
//! node's settings.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use closeby_tools::lab::{Agent, Answer, Family, Host, LabError, Proto, Request};
use libtest_mimic::Failed;
use serde_json::json;

use super::Trials;
use super::rig::{
    BY_NODE_RANGE, PATIENCE, Rig, SILENCE, Site, check, exposed, ip, service, until, vip,
};

pub(crate) const ALL: Trials = &[
    ("no_name_breaks_the_log", no_name_breaks_the_log),
    ("no_setting_of_the_network_is_changed", no_setting_of_the_network_is_changed),
    ("loopback_is_closed_to_neighbours", loopback_is_closed_to_neighbours),
];

/// What a terminal would obey, and what looks like a line of the log.
const ODD: &str = "we\u{1b}[31mb\r\n2026-01-01T00:00:00Z ERROR all is lost";
const SHOWN: &str = r"we\u{1b}[31mb\r\n2026-01-01T00:00:00Z ERROR all is lost";
const HEALTH_PORT: u16 = 32_001;

/// Notes on what is read, on what is decided and on a health check, all of them
/// about Services of odd names.
fn no_name_breaks_the_log(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let _taken = site.node.serve(HEALTH_PORT)?;
    let backends = [site.pod("a2")];
    let mut first = service(ODD, 1).objects(&backends);
    let spec = &mut first[0]["spec"];
    spec["type"] = json!("LoadBalancer");
    spec["externalTrafficPolicy"] = json!("Local");
    spec["healthCheckNodePort"] = json!(HEALTH_PORT);
    spec["sessionAffinity"] = json!(ODD);
    let mut second = service(&format!("{ODD} too"), 1).objects(&backends);
    let back = vip(1, Family::V4);
    second[1]["endpoints"] = json!([{ "addresses": [back] }]);
    site.folder.write("first", &first)?;
    site.folder.write("second", &second)?;
    site.start()?;
    let read = || fs::read_to_string(site.root.join("agent.log"));
    for told in [
        "spec.sessionAffinity: ",
        "belongs to Service ",
        "is an address of Service ",
        "spec.healthCheckNodePort: cannot listen on ",
    ] {
        let is_told = |line: &str| line.contains(told) && line.contains(SHOWN);
        until(PATIENCE, told, || Ok(read()?.lines().any(is_told)))?;
    }
    let log = read()?;
    let is_odd = |letter: char| letter.is_control() && letter != '\n';
    check(!log.contains(is_odd), "no control character", &log)?;
    check(!log.contains("\n2026-01-01"), "no line of somebody else's", &log)
}

/// CVE-2020-8558 needed `route_localnet`, which kube-proxy used to set.
fn no_setting_of_the_network_is_changed(rig: &Rig) -> Result<(), Failed> {
    let mut site: Site<'_> = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&exposed("web", 1), &["a2", "b1"])?;
    let before = settings(site.node)?;
    check(before.contains_key("all/route_localnet"), "settings are seen", &before)?;
    site.start()?;
    check(settings(site.node)? == before, "settings", &())
}

/// IPv4's settings of all interfaces, and their values.
fn settings(host: &Host) -> Result<BTreeMap<String, String>, Failed> {
    let read = || -> std::io::Result<BTreeMap<String, String>> {
        let mut settings = BTreeMap::new();
        for interface in fs::read_dir("/proc/sys/net/ipv4/conf")? {
            let interface = interface?;
            for setting in fs::read_dir(interface.path())? {
                let setting = setting?;
                let name = [interface.file_name(), setting.file_name()];
                let name = name.map(|name| name.to_string_lossy().into_owned()).join("/");
                settings.insert(name, fs::read_to_string(setting.path())?);
            }
        }
        Ok(settings)
    };
    let told = |error: std::io::Error| LabError::Plan(format!("reading settings: {error}"));
    Ok(host.netns().run(|| read().map_err(told))?)
}

/// Where a server listens on 127.0.0.1 of the node, and where somebody leads to it.
const LOCAL_PORT: u16 = 7_001;
const LED_PORT: u16 = 7_002;
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), LOCAL_PORT);

/// A host that sends what is for 127.0.0.1 to the node, as an attacker would.
struct Neighbour<'a> {
    host: &'a Host,
}

impl<'a> Neighbour<'a> {
    /// `way` is the next hop and the interface.
    fn new(host: &'a Host, way: &str) -> Result<Self, Failed> {
        let neighbour = Self { host };
        ip(host, "addr del 127.0.0.1/8 dev lo")?;
        host.sysctls(&[("ipv4/conf/all/route_localnet", "1")])?;
        ip(host, &format!("route add 127.0.0.1/32 via {way}"))?;
        Ok(neighbour)
    }

    /// How a new connection to a server of the node's loopback ends, if not in one.
    fn connects(&self) -> Option<Answer> {
        let request = Request::new(LOCAL, Proto::Tcp).timeout(SILENCE);
        self.host.converse(&request).err().map(|answer| *answer)
    }
}

impl Drop for Neighbour<'_> {
    fn drop(&mut self) {
        let reset = self.host.sysctls(&[("ipv4/conf/all/route_localnet", "0")]);
        let _ = ip(self.host, "route del 127.0.0.1/32");
        if reset.is_err() || ip(self.host, "addr add 127.0.0.1/8 dev lo").is_err() {
            eprintln!("{} stays hostile: later trials see it", self.host.name());
        }
    }
}

/// The node's loopback, open to those who come from elsewhere.
struct Opened<'a> {
    node: &'a Host,
    _listener: TcpListener,
    datagrams: UdpSocket,
}

impl<'a> Opened<'a> {
    fn new(node: &'a Host) -> Result<Self, Failed> {
        let told = |source| LabError::Io { doing: format!("listening at {LOCAL}"), source };
        let (_listener, datagrams) = node.netns().run(|| {
            let datagrams = UdpSocket::bind(LOCAL).map_err(told)?;
            datagrams.set_nonblocking(true).map_err(told)?;
            Ok((TcpListener::bind(LOCAL).map_err(told)?, datagrams))
        })?;
        let opened = Self { node, _listener, datagrams };
        node.sysctls(&[("ipv4/conf/all/route_localnet", "1")])?;
        Ok(opened)
    }

    /// Whether a host's datagram arrives.
    fn hears(&self, host: &Host) -> Result<bool, Failed> {
        let _ = host.request(&Request::new(LOCAL, Proto::Udp).timeout(SILENCE));
        match self.datagrams.recv(&mut [0; 64]) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        if self.node.sysctls(&[("ipv4/conf/all/route_localnet", "0")]).is_err() {
            eprintln!("route_localnet stays: later trials see it");
        }
    }
}

/// CVE-2020-8558: a neighbour, and a pod, send to 127.0.0.1 of a node where
/// somebody set `route_localnet`. With the option they meet nobody; the node
/// itself does, and whoever is led there by a rule of somebody's.
fn loopback_is_closed_to_neighbours(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&service("web", 1), &["a2"])?;
    let opened = Opened::new(site.node)?;
    let (outside, address) = (rig.cluster.outside(), site.node.address(Family::V4));
    let neighbours = [
        Neighbour::new(outside, &format!("{address} dev eth0"))?,
        Neighbour::new(rig.cluster.pod("a1"), "169.254.1.1 dev eth0 onlink")?,
    ];
    site.start()?;
    for neighbour in &neighbours {
        let name = neighbour.host.name();
        let ended = neighbour.connects();
        check(ended.is_none(), &format!("{name} connects without the option"), &ended)?;
        check(opened.hears(neighbour.host)?, &format!("{name} sends"), &())?;
    }
    site.kill();
    // Another's rule, which leads to loopback on purpose.
    site.node.nft(&format!(
        "table ip others {{ chain led {{ type nat hook prerouting priority dstnat; \
         tcp dport {LED_PORT} dnat to {LOCAL}; }}; }}"
    ))?;
    let log = site.root.join("closed.log");
    let mut command = site.command();
    let mut agent = Agent::start(site.node, command.arg("--drop-martian-loopback"), &log)?;
    let committed = agent.next_generation(PATIENCE)?;
    check(committed.is_some(), "committed", &agent.log_tail())?;
    for neighbour in &neighbours {
        let name = neighbour.host.name();
        let ended = neighbour.connects();
        check(matches!(ended, Some(Answer::TimedOut)), &format!("{name} is dropped"), &ended)?;
        check(!opened.hears(neighbour.host)?, &format!("{name} sends in vain"), &())?;
    }
    check(opened.hears(site.node)?, "the node sends to itself", &())?;
    for (client, to) in [(site.node, LOCAL), (outside, SocketAddr::new(address, LED_PORT))] {
        let ended = client.converse(&Request::new(to, Proto::Tcp)).err();
        check(ended.is_none(), &format!("{} to {to} goes on", client.name()), &ended)?;
    }
    let listed = site.node.nft("list chain ip closeby filter-prerouting-martians")?;
    let rule = "ip daddr 127.0.0.0/8 iifname != \"lo\" ct state new counter packets";
    check(listed.contains(rule), "listed", &listed)?;
    // The flag is not of the file that is followed, and no reason to end.
    fs::write(&site.config, fs::read(&site.config)?)?;
    agent.forget_past();
    site.put(&service("more", 2), &["a2"])?;
    check(agent.next_generation(PATIENCE)?.is_some(), "it goes on", &agent.log_tail())
}
