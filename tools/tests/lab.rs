//! Does the lab itself tell the truth? Every member reaches every other in both families, and
//! each way a packet can end (answered, masqueraded, refused, dropped, unreachable) is told apart,
//! with rules loaded by hand through `nft`.
//!
//! Needs user namespaces, `ip` and `nft`; without them it fails and says what to do.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use closeby_tools::lab::{
    self, Answer, Attach, Cluster, Family, Host, NodeSpec, Proto, Reply, Request, Server, Spec,
};
use libtest_mimic::{Arguments, Failed, Trial};

const PORT: u16 = 8080;
/// A service address nobody has; every node of a test translates it, or does something else.
const VIP: [&str; 2] = ["10.96.0.10", "fd00:10:96::10"];
/// How long silence must last to be called one.
const SILENCE: Duration = Duration::from_millis(60);

fn main() -> ExitCode {
    let role = std::env::args().nth(1).unwrap_or_default();
    if role == "--refused" {
        return report_refusal();
    }
    lab::run(|| match role.as_str() {
        "--victim" => end_of(victim()),
        "--forbid-and-try" => end_of(forbid_and_try()),
        _ => suite(),
    })
}

fn suite() -> ExitCode {
    let started = Instant::now();
    let running = match Running::start() {
        Ok(running) => Arc::new(running),
        Err(error) => {
            eprintln!("{}", error.message().unwrap_or_default());
            return ExitCode::FAILURE;
        }
    };
    println!("cluster and servers: {} ms", started.elapsed().as_millis());
    let trial = |name: &str, test: fn(&Running) -> Result<(), Failed>| {
        let running = Arc::clone(&running);
        Trial::test(name, move || test(&running))
    };
    let trials = vec![
        trial("everyone_reaches_everyone", everyone_reaches_everyone),
        trial("a_stopped_server_refuses", a_stopped_server_refuses),
        trial("the_source_port_can_be_chosen", the_source_port_can_be_chosen),
        trial("a_conversation_goes_on", a_conversation_goes_on),
        trial("an_untranslated_service_is_unreachable", an_untranslated_service_is_unreachable),
        trial("rules_decide_and_are_told_apart", rules_decide_and_are_told_apart),
        trial("hairpin", hairpin),
        trial("outside_enters_by_a_node", outside_enters_by_a_node),
        trial("a_node_has_a_run_of_its_own", a_node_has_a_run_of_its_own),
        Trial::test("kill_9_leaves_nothing", kill_9_leaves_nothing),
        Trial::test("a_refusal_says_what_helps", a_refusal_says_what_helps),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// One cluster for all trials: two attach modes, three zones. Each trial that loads rules uses a
/// service port of its own, so they may run side by side.
struct Running {
    cluster: Cluster,
    _servers: Vec<Server>,
}

impl Running {
    fn start() -> Result<Self, Failed> {
        let spec = Spec::new()
            .node(NodeSpec::new("n1", "zone-a", Attach::Routed).pods(["a1", "a2"]))
            .node(NodeSpec::new("n2", "zone-b", Attach::Bridged).pods(["b1", "b2"]))
            .node(NodeSpec::new("n3", "zone-c", Attach::Routed).pods(["c1", "c2"]));
        let cluster = Cluster::build(&spec)?;
        let hosts = cluster.pods().iter().chain(cluster.nodes()).chain([cluster.outside()]);
        let servers = hosts.map(|host| host.serve(PORT)).collect::<Result<_, _>>()?;
        Ok(Self { cluster, _servers: servers })
    }

    fn everyone(&self) -> impl Iterator<Item = &Host> {
        let cluster = &self.cluster;
        cluster.pods().iter().chain(cluster.nodes()).chain([cluster.outside()])
    }
}

fn everyone_reaches_everyone(running: &Running) -> Result<(), Failed> {
    for client in running.everyone() {
        for server in running.everyone() {
            for (family, proto) in combinations() {
                let to = SocketAddr::new(server.address(family), PORT);
                let answer = client.request(&Request::new(to, proto));
                let told = format!("{} -> {} {family} {proto}", client.name(), server.name());
                let reply = expect_reply(&answer, &told)?;
                let right = (reply.pod.as_str(), reply.node.as_str(), reply.zone.as_str());
                check(right == (server.name(), server.node(), server.zone()), &told, reply)?;
                check(reply.seen_source == reply.sent_from, &told, reply)?;
                // A node talks to its own bridge from the bridge's address, as any host does.
                let own = client.kind() == lab::Kind::Pod || server.node() != client.node();
                let source = reply.sent_from.ip() == client.address(family);
                check(!own || source || server.name() == client.name(), &told, reply)?;
            }
        }
    }
    Ok(())
}

fn a_stopped_server_refuses(running: &Running) -> Result<(), Failed> {
    let server = running.cluster.pod("a1").serve(9000)?;
    let client = running.cluster.pod("c1");
    let addresses = [server.v4(), server.v6()];
    for (stopped, server) in [(false, Some(server)), (true, None)] {
        for (to, proto) in addresses.iter().flat_map(|to| Proto::BOTH.map(|proto| (to, proto))) {
            let answer = client.request(&Request::new(*to, proto));
            let right = if stopped { answer == Answer::Refused } else { answer.reply().is_some() };
            check(right, &format!("{to} {proto}, stopped: {stopped}"), &answer)?;
        }
        drop(server);
    }
    Ok(())
}

fn the_source_port_can_be_chosen(running: &Running) -> Result<(), Failed> {
    let client = running.cluster.pod("b1");
    for (family, proto) in combinations() {
        let to = SocketAddr::new(running.cluster.pod("c1").address(family), PORT);
        // Twice: the port is free again at once.
        for round in 0..2 {
            let answer = client.request(&Request::new(to, proto).source_port(40123));
            let told = format!("{family} {proto} round {round}");
            let reply = expect_reply(&answer, &told)?;
            check(reply.seen_source.port() == 40123, &told, reply)?;
        }
    }
    Ok(())
}

fn a_conversation_goes_on(running: &Running) -> Result<(), Failed> {
    let to = SocketAddr::new(running.cluster.pod("c1").address(Family::V6), PORT);
    let request = Request::new(to, Proto::Tcp);
    let mut conversation = running.cluster.pod("a1").converse(&request).map_err(|e| text(&e))?;
    for round in 0..3 {
        let answer = conversation.ask();
        let reply = expect_reply(&answer, &format!("round {round}"))?;
        check(reply.pod == "c1", "who", reply)?;
    }
    let many = running.cluster.pod("a1").requests(&request, 200, 8);
    check(many.len() == 200, "how many", &many.len())?;
    let datagrams = Request::new(to, Proto::Udp);
    let more = running.cluster.pod("a1").requests(&datagrams, 200, 8);
    let ports = more.iter().filter_map(Answer::reply).map(|reply| reply.seen_source.port());
    let ports = ports.collect::<BTreeSet<_>>().len();
    check(ports == 200, "each datagram from a port of its own", &ports)?;
    many.iter().try_for_each(|answer| expect_reply(answer, "a burst").map(drop))
}

fn an_untranslated_service_is_unreachable(running: &Running) -> Result<(), Failed> {
    let cluster = &running.cluster;
    for client in [cluster.pod("a1"), cluster.pod("b1"), cluster.node("n3"), cluster.outside()] {
        for ((_, proto), vip) in combinations().into_iter().zip(["10.96.9.9", "fd00:10:96::99"]) {
            let request = Request::new(address(vip, 80), proto);
            let answer = client.request(&request);
            check(answer == Answer::Unreachable, &format!("{} {vip}", client.name()), &answer)?;
        }
    }
    Ok(())
}

/// Port 1001 goes to c1, 1002 there with masquerade, 1003 is refused, 1004 dropped.
fn rules_decide_and_are_told_apart(running: &Running) -> Result<(), Failed> {
    let cluster = &running.cluster;
    for node in ["n1", "n2"].map(|name| cluster.node(name)) {
        for family in Family::BOTH {
            let (ip, vip, to) = words(family, cluster.pod("c1"));
            let only = format!("{ip} daddr {vip} meta l4proto {{ tcp, udp }} th dport");
            let dnat = format!("{only} {{ 1001, 1002 }} dnat to {to}");
            load(
                node,
                &format!(
                    "table {ip} decide {{
                 chain pre {{ type nat hook prerouting priority dstnat; {dnat}; }}
                 chain out {{ type nat hook output priority -100; {dnat}; }}
                 chain post {{ type nat hook postrouting priority srcnat;
                   meta l4proto {{ tcp, udp }} ct original proto-dst 1002 ct original {ip} daddr {vip} masquerade; }}
                 chain forward {{ type filter hook forward priority filter; jump end; }}
                 chain output {{ type filter hook output priority filter; jump end; }}
                 chain end {{ {only} 1004 drop; {only} 1003 meta l4proto tcp reject with tcp reset;
                   {only} 1003 reject; }}; }}"
                ),
            )?;
        }
        let local = cluster.pods().iter().filter(|pod| pod.node() == node.name());
        for client in local.chain([node]) {
            for (family, proto) in combinations() {
                let told = format!("{} {family} {proto}", client.name());
                let [plain, masqueraded, refused, dropped] = [1001, 1002, 1003, 1004].map(|port| {
                    let to = address(VIP[usize::from(family == Family::V6)], port);
                    let request = Request::new(to, proto);
                    client.request(&if port == 1004 { request.timeout(SILENCE) } else { request })
                });
                let plain = expect_reply(&plain, &told)?;
                check(plain.pod == "c1" && !plain.masqueraded(), &told, plain)?;
                let seen = expect_reply(&masqueraded, &told)?;
                check(seen.seen_source.ip() == node.address(family), &told, seen)?;
                check(refused == Answer::Refused, &told, &refused)?;
                check(dropped == Answer::TimedOut, &told, &dropped)?;
            }
        }
    }
    Ok(())
}

/// A pod that reaches itself through a service, routed and bridged.
fn hairpin(running: &Running) -> Result<(), Failed> {
    let cluster = &running.cluster;
    for pod in ["c2", "b2"].map(|name| cluster.pod(name)) {
        let node = cluster.node(pod.node());
        for family in Family::BOTH {
            let (ip, vip, to) = words(family, pod);
            let own = pod.address(family);
            load(
                node,
                &format!(
                    "table {ip} hairpin {{
                 chain pre {{ type nat hook prerouting priority dstnat;
                   {ip} daddr {vip} meta l4proto {{ tcp, udp }} th dport 2001 dnat to {to}; }}
                 chain post {{ type nat hook postrouting priority srcnat;
                   ct status dnat {ip} saddr {own} {ip} daddr {own} masquerade; }}; }}"
                ),
            )?;
            for proto in Proto::BOTH {
                let to = address(vip, 2001);
                let answer = pod.request(&Request::new(to, proto));
                let told = format!("{} {family} {proto}", pod.name());
                let reply = expect_reply(&answer, &told)?;
                check(reply.pod == pod.name() && reply.masqueraded(), &told, reply)?;
            }
        }
    }
    Ok(())
}

/// The client outside reaches a service address through the node it was told, and no other.
fn outside_enters_by_a_node(running: &Running) -> Result<(), Failed> {
    let cluster = &running.cluster;
    for node in cluster.nodes() {
        for family in Family::BOTH {
            let (ip, vip, to) = words(family, cluster.pod("b1"));
            let only = format!("{ip} daddr {vip} meta l4proto {{ tcp, udp }} th dport 3001");
            load(
                node,
                &format!(
                    "table {ip} enter {{
                 chain pre {{ type nat hook prerouting priority dstnat; {only} dnat to {to}; }}
                 chain post {{ type nat hook postrouting priority srcnat;
                   meta l4proto {{ tcp, udp }} ct original proto-dst 3001 ct status dnat masquerade; }}; }}"
                ),
            )?;
        }
    }
    for node in cluster.nodes() {
        cluster.enter_by(node)?;
        for (family, proto) in combinations() {
            let to = address(VIP[usize::from(family == Family::V6)], 3001);
            let answer = cluster.outside().request(&Request::new(to, proto));
            let told = format!("by {} {family} {proto}", node.name());
            let reply = expect_reply(&answer, &told)?;
            let by = reply.seen_source.ip();
            // Towards a pod on its own bridge a node masquerades with the bridge's address.
            let own = [node.address(family), node.pod_gateway(family)];
            check(own.contains(&by), &told, reply)?;
        }
    }
    Ok(())
}

fn a_node_has_a_run_of_its_own(running: &Running) -> Result<(), Failed> {
    let see = |node: &str, script: &str| -> Result<String, Failed> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        let child = running.cluster.node(node).spawn(&mut command)?;
        Ok(String::from_utf8_lossy(&child.wait_with_output()?.stdout).into_owned())
    };
    see("n1", "echo n1 > /run/closeby")?;
    let (first, second) = (see("n1", "cat /run/*")?, see("n2", "ls /run")?);
    check(first == "n1\n" && second.is_empty(), "/run", &(first, second))
}

/// The process that asked for the lab is killed; whatever ran inside must end, and with it the
/// last reference to every namespace. A pipe that all of them hold shows it.
fn kill_9_leaves_nothing() -> Result<(), Failed> {
    let mut victim =
        Command::new(std::env::current_exe()?).arg("--victim").stdout(Stdio::piped()).spawn()?;
    let mut output = BufReader::new(victim.stdout.take().ok_or("no stdout")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    check(line == "running\n", "the victim's word", &line)?;
    victim.kill()?;
    victim.wait()?;
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(std::io::copy(&mut output, &mut std::io::sink())));
    match ended.recv_timeout(Duration::from_secs(10)) {
        Ok(end) => end.map(drop).map_err(Failed::from),
        Err(_) => Err("something of the lab is alive 10 s after it was killed".into()),
    }
}

/// A lab with a program on a node that would run for an hour.
fn victim() -> Result<(), Failed> {
    let spec = Spec::new().node(NodeSpec::new("n1", "zone-a", Attach::Routed).pods(["a1"]));
    let cluster = Cluster::build(&spec)?;
    let mut child = cluster.node("n1").spawn(Command::new("sleep").arg("3600"))?;
    println!("running");
    std::io::stdout().flush()?;
    child.wait()?;
    Ok(())
}

fn a_refusal_says_what_helps() -> Result<(), Failed> {
    let output = Command::new(std::env::current_exe()?).arg("--forbid-and-try").output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    check(told.contains("sudo sysctl user.max_user_namespaces="), "the advice", &told)?;
    check(output.status.code() == Some(3), "the exit code", &output.status)
}

/// Forbids user namespaces below this one (nobody else is concerned), then asks for one.
fn forbid_and_try() -> Result<(), Failed> {
    std::fs::write("/proc/sys/user/max_user_namespaces", "0")?;
    let status = Command::new(std::env::current_exe()?).arg("--refused").status()?;
    if status.code() == Some(3) { Err(Failed::without_message()) } else { Ok(()) }
}

fn report_refusal() -> ExitCode {
    match lab::enter() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}

/// 3 is the code of a refusal, handed up through all the copies.
fn end_of(result: Result<(), Failed>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("{}", failed.message().unwrap_or_default());
            ExitCode::from(3)
        }
    }
}

fn load(node: &Host, rules: &str) -> Result<(), Failed> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut nft = node
        .spawn(&mut command)
        .map_err(|error| format!("{error}; this suite needs nft: apt install nftables"))?;
    nft.stdin.take().ok_or("no stdin")?.write_all(rules.as_bytes())?;
    let output = nft.wait_with_output()?;
    check(output.status.success(), rules, &String::from_utf8_lossy(&output.stderr))
}

/// nft's word for a family, the service address and a pod's address and port.
fn words(family: Family, pod: &Host) -> (&'static str, &'static str, SocketAddr) {
    let to = SocketAddr::new(pod.address(family), PORT);
    match family {
        Family::V4 => ("ip", VIP[0], to),
        Family::V6 => ("ip6", VIP[1], to),
    }
}

fn combinations() -> Vec<(Family, Proto)> {
    let both = |family| Proto::BOTH.map(|proto| (family, proto));
    Family::BOTH.into_iter().flat_map(both).collect()
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap_or_else(|_| Ipv4Addr::UNSPECIFIED.into()), port)
}

fn expect_reply<'a>(answer: &'a Answer, told: &str) -> Result<&'a Reply, Failed> {
    answer.reply().ok_or_else(|| format!("{told}: {answer:?}").into())
}

fn check(right: bool, told: &str, seen: &dyn std::fmt::Debug) -> Result<(), Failed> {
    if right { Ok(()) } else { Err(format!("{told}: {seen:?}").into()) }
}

fn text(answer: &Answer) -> Failed {
    format!("{answer:?}").into()
}
