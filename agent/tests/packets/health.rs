//! Health checks of Services, asked as a load balancer asks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use closeby_tools::lab::{Family, Host, Proto, Request};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::Trials;
use super::rig::{BY_NODE_RANGE, PATIENCE, Rig, Saw, Site, at_node, check, service, until};

pub(crate) const ALL: Trials = &[
    ("health_checks_follow_the_local_endpoints", health_checks_follow_the_local_endpoints),
    ("health_checks_are_back_after_a_restart", health_checks_are_back_after_a_restart),
    ("a_taken_health_port_costs_no_other", a_taken_health_port_costs_no_other),
    ("slow_and_many_clients_do_no_harm", slow_and_many_clients_do_no_harm),
];

/// Until an answer is the new one.
const PROMISE: Duration = Duration::from_secs(1);
/// More connections than the agent keeps.
const MANY: usize = 300;

/// A load balancer's Service of the rig with its health port, which follows
/// its number, and these pods behind it.
fn balanced(site: &Site<'_>, name: &str, number: u8, pods: &[&str]) -> Vec<Value> {
    let pods: Vec<&Host> = pods.iter().map(|pod| site.pod(pod)).collect();
    let mut objects = service(name, number).objects(&pods);
    let spec = &mut objects[0]["spec"];
    spec["type"] = json!("LoadBalancer");
    spec["externalTrafficPolicy"] = json!("Local");
    spec["healthCheckNodePort"] = json!(port(number));
    objects
}

fn port(number: u8) -> u16 {
    32_000 + u16::from(number)
}

fn at(site: &Site<'_>, number: u8, family: Family) -> SocketAddr {
    SocketAddr::new(site.node.address(family), port(number))
}

/// Sends this and returns all that comes back.
pub(crate) fn say(
    client: &Host,
    to: SocketAddr,
    words: &str,
) -> Result<io::Result<String>, Failed> {
    let talk = || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(words.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    Ok(client.netns().run(|| Ok(talk()))?)
}

/// The status line and what is told of endpoints, or how it failed.
fn ask(client: &Host, to: SocketAddr) -> Result<String, Failed> {
    let answer = match say(client, to, "GET / HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n")? {
        Ok(answer) => answer,
        Err(error) => return Ok(format!("{:?}", error.kind())),
    };
    let weight =
        answer.lines().find_map(|line| line.strip_prefix("X-Load-Balancing-Endpoint-Weight: "));
    let status = answer.lines().next().unwrap_or_default();
    Ok(format!("{status}, {}", weight.unwrap_or("no weight")))
}

fn expect(site: &Site<'_>, number: u8, expected: &str) -> Result<(), Failed> {
    for family in Family::BOTH {
        let to = at(site, number, family);
        for client in [site.outside(), site.pod("a1"), site.node] {
            let mut saw = String::new();
            let outcome = until(PROMISE, expected, || {
                saw = ask(client, to)?;
                Ok(saw == expected)
            });
            outcome.map_err(|_| format!("{} -> {to}: {expected:?}, saw {saw:?}", client.name()))?;
        }
    }
    Ok(())
}

const HERE: &str = "HTTP/1.1 200 OK, 1";
const NONE_HERE: &str = "HTTP/1.1 503 Service Unavailable, 0";
const CLOSED: &str = "ConnectionRefused";

fn health_checks_follow_the_local_endpoints(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.folder.write("web", &balanced(&site, "web", 1, &["a2", "b1"]))?;
    site.start()?;
    expect(&site, 1, HERE)?;
    as_kube_proxy_words_it(&site)?;
    site.write_and_wait("web", &balanced(&site, "web", 1, &["b1"]))?;
    expect(&site, 1, NONE_HERE)?;
    site.write_and_wait("web", &balanced(&site, "web", 1, &["a1", "a2"]))?;
    expect(&site, 1, "HTTP/1.1 200 OK, 2")?;
    // The last one here drains: it still serves, and is not told of.
    let mut draining = balanced(&site, "web", 1, &["a2"]);
    for slice in &mut draining[1..] {
        let conditions = json!({ "ready": false, "serving": true, "terminating": true });
        slice["endpoints"][0]["conditions"] = conditions;
    }
    site.write_and_wait("web", &draining)?;
    expect(&site, 1, NONE_HERE)?;
    for family in Family::BOTH {
        let request = Request::new(at_node(site.node, 1, family), Proto::Tcp);
        let saw = Saw::of(site.outside(), &[site.outside().request(&request)]);
        check(saw == Saw::expected(&["a2"], "n"), "the node port", &saw)?;
    }
    // Under policy Cluster there is nothing to ask for.
    let mut cluster = balanced(&site, "web", 1, &["a2"]);
    cluster[0]["spec"]["externalTrafficPolicy"] = json!("Cluster");
    site.write_and_wait("web", &cluster)?;
    expect(&site, 1, CLOSED)?;
    site.write_and_wait("web", &balanced(&site, "web", 1, &["a2"]))?;
    expect(&site, 1, HERE)?;
    site.remove("web")?;
    expect(&site, 1, CLOSED)
}

/// Any method and path; status line, headers and body.
fn as_kube_proxy_words_it(site: &Site<'_>) -> Result<(), Failed> {
    let body = "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"web\"\n\t},\n\
                \t\"localEndpoints\": 1,\n\t\"serviceProxyHealthy\": true\n}";
    let expected = [
        &format!("Content-Length: {}", body.len()),
        "Content-Type: application/json",
        "HTTP/1.1 200 OK",
        "X-Content-Type-Options: nosniff",
        "X-Load-Balancing-Endpoint-Weight: 1",
    ];
    for (method, path) in
        [("GET", "/"), ("GET", "/healthz?x=1"), ("POST", "/any/where"), ("HEAD", "/")]
    {
        let words = format!("{method} {path} HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n");
        let answer = say(site.outside(), at(site, 1, Family::V4), &words)??;
        let (head, told) = answer.split_once("\r\n\r\n").ok_or("no head")?;
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        lines.sort_unstable();
        lines.retain(|line| *line != "Connection: close");
        let date = lines.iter().position(|line| line.starts_with("Date: ")).ok_or("no date")?;
        lines.remove(date);
        check(lines == expected, "the head", &head)?;
        check(told == if method == "HEAD" { "" } else { body }, "the body", &told)?;
    }
    Ok(())
}

/// Here on all addresses, where the families must not take each other's port.
fn health_checks_are_back_after_a_restart(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", &format!("{BY_NODE_RANGE}nodePortAddresses: [all]\n"))?;
    site.folder.write("web", &balanced(&site, "web", 1, &["a2"]))?;
    for _ in 0..3 {
        site.start()?;
        // Counted from the first generation, which is there at once.
        expect(&site, 1, HERE)?;
        let _lingers = linger(&site, at(&site, 1, Family::V4), 1)?;
        site.kill();
        check(ask(site.outside(), at(&site, 1, Family::V4))? == CLOSED, "it is gone", &())?;
    }
    Ok(())
}

fn a_taken_health_port_costs_no_other(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let taken = site.node.serve(port(1))?;
    site.folder.write("first", &balanced(&site, "first", 1, &["a2"]))?;
    site.folder.write("second", &balanced(&site, "second", 2, &["a2"]))?;
    site.start()?;
    expect(&site, 2, HERE)?;
    let told = "Service default/first: spec.healthCheckNodePort: cannot listen on";
    until(PATIENCE, "a note", || Ok(site.agent()?.log_tail().contains(told)))?;
    site.write_and_wait("second", &balanced(&site, "second", 2, &["b1"]))?;
    expect(&site, 2, NONE_HERE)?;
    drop(taken);
    let to = at(&site, 1, Family::V6);
    until(PATIENCE, "the port is free", || Ok(ask(site.outside(), to)? == HERE))?;
    expect(&site, 1, HERE)
}

/// Connections that say half a word each.
pub(crate) fn linger(
    site: &Site<'_>,
    to: SocketAddr,
    count: usize,
) -> Result<Vec<TcpStream>, Failed> {
    let open = || -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.write_all(b"GET / HT")?;
        Ok(stream)
    };
    let opened = site.outside().netns().run(|| Ok((0..count).map(|_| open()).collect()))?;
    Ok::<io::Result<_>, Failed>(opened)?.map_err(Failed::from)
}

fn slow_and_many_clients_do_no_harm(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.folder.write("web", &balanced(&site, "web", 1, &["a2"]))?;
    site.start()?;
    expect(&site, 1, HERE)?;
    let mut lingers = linger(&site, at(&site, 1, Family::V4), MANY)?;
    expect(&site, 1, HERE)?;
    // The first to come was the first to go.
    lingers[0].set_read_timeout(Some(PATIENCE))?;
    let ended = lingers[0].read(&mut [0; 16]);
    let is_ended = match &ended {
        Ok(count) => *count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    };
    check(is_ended, "the oldest is ended", &ended)?;
    let long = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(20_000));
    let refused = say(site.outside(), at(&site, 1, Family::V4), &long)?;
    let is_refused = match &refused {
        Ok(answer) => answer.starts_with("HTTP/1.1 431 "),
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    };
    check(is_refused, "a long head", &refused)?;
    // Several requests at once are answered one after the other.
    let twice =
        "GET / HTTP/1.1\r\nHost: n1\r\n\r\nGET / HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n";
    let both = say(site.outside(), at(&site, 1, Family::V4), twice)??;
    check(both.matches("HTTP/1.1 200 OK").count() == 2, "pipelined", &both)?;
    // And the rules go on to be followed.
    site.write_and_wait("web", &balanced(&site, "web", 1, &["b1"]))?;
    expect(&site, 1, NONE_HERE)
}
