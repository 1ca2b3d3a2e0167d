//! The host's addresses, as the kernel announces that they change.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use closeby::host::AddressWatch;
use closeby::model::HostAddresses;

/// More addresses than announcements fit into a socket's buffer.
const MANY: u16 = 2_000;

/// A watch, what would stop it, and that one's other end.
fn watch() -> (AddressWatch, UnixStream, UnixStream) {
    let (stop, stopper) = UnixStream::pair().expect("sockets");
    (AddressWatch::new().expect("a watch"), stop, stopper)
}

fn ip(commands: &str) {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn();
    let ip = ip.as_mut().expect("this suite needs ip: apt install iproute2");
    let mut pipe = ip.stdin.take().expect("a pipe");
    pipe.write_all(commands.as_bytes()).expect("ip reads");
    drop(pipe);
    assert!(ip.wait().expect("ip ends").success(), "{commands}");
}

fn addresses(addresses: &[&str]) -> HostAddresses {
    addresses.iter().map(|addr| addr.parse::<IpAddr>().expect("an address")).collect()
}

pub(crate) fn are_followed() {
    let (mut watch, stop, stopper) = watch();
    assert_eq!(*watch.known(), addresses(&[]));
    let mut follow = |commands: &str, expected: &[&str]| {
        ip(commands);
        assert!(watch.next(&stop).expect("an answer"), "{commands}");
        assert_eq!(*watch.known(), addresses(expected), "{commands}");
    };
    // An interface and both its addresses are one change.
    let both = ["192.0.2.7", "2001:db8::7"];
    follow(
        "link add br0 type bridge\naddr add 192.0.2.7/24 dev br0\naddr add 2001:db8::7/64 dev br0\n",
        &both,
    );
    follow("addr del 192.0.2.7/24 dev br0\n", &both[1..]);
    follow("addr add 192.0.2.7/24 dev br0\n", &both);
    // With a link go its addresses, each announced.
    follow("link del br0\n", &[]);
    drop(stopper);
    assert!(!watch.next(&stop).expect("an answer"), "asked to stop");
}

pub(crate) fn are_read_again_when_announcements_were_lost() {
    let (mut watch, stop, _stopper) = watch();
    let addr =
        |number: u16| IpAddr::from([10, 1, number.to_be_bytes()[0], number.to_be_bytes()[1]]);
    let adds = (0..MANY).map(|number| format!("addr add {}/32 dev lo\n", addr(number)));
    ip(&adds.collect::<String>());
    let sockets = fs::read_to_string("/proc/thread-self/net/netlink").expect("sockets");
    let drops = sockets.lines().skip(1).filter_map(|line| line.split_whitespace().nth(8));
    assert!(drops.clone().any(|drops| drops != "0"), "nothing was lost:\n{sockets}");
    assert!(watch.next(&stop).expect("an answer"));
    assert_eq!(*watch.known(), (0..MANY).map(addr).collect());
    // And it goes on.
    ip("addr del 10.1.0.0/32 dev lo\n");
    assert!(watch.next(&stop).expect("an answer"));
    assert_eq!(*watch.known(), (1..MANY).map(addr).collect());
}
