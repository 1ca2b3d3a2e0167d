//! Pure modules name no runtime, no I/O, no clock, no chance, no hash order.

use super::Fault;
use super::paths::named;
use super::sources::File;

/// Packages and places (a file or a folder) whose modules are pure.
const PURE: &[(&str, &str)] = &[
    ("agent", "ask"),
    ("agent", "model"),
    ("agent", "compile"),
    ("agent", "render"),
    ("agent", "config/configz"),
    ("agent", "config/conntrack"),
    ("agent", "config/counting"),
    ("agent", "config/duration"),
    ("agent", "config/facts"),
    ("agent", "config/file"),
    ("agent", "config/flags"),
    ("agent", "config/gates"),
    ("agent", "config/keys"),
    ("agent", "config/listen"),
    ("agent", "config/logging"),
    ("agent", "config/mode"),
    ("agent", "config/tree"),
    ("agent", "config/values"),
    ("agent", "count/element"),
    ("agent", "count/ledger"),
    ("agent", "count/totals"),
    ("agent", "watch/api/kinds"),
    ("agent", "watch/api/line"),
    ("agent", "watch/api/listing"),
    ("agent", "watch/api/patience"),
    ("agent", "watch/convert"),
    ("agent", "watch/documents"),
    ("agent", "watch/folder"),
    ("agent", "watch/identity"),
    ("agent", "watch/known"),
    ("agent", "watch/loose"),
    ("agent", "watch/objects"),
    ("agent", "fastpath/route"),
    ("agent", "fastpath/snapshot"),
    ("agent", "host/fullness"),
    ("agent", "host/leftovers"),
    ("agent", "metrics/text"),
    ("agent", "serve/health_check"),
    ("agent", "serve/proxy_health"),
    ("agent", "shadow"),
    ("agent", "sync/desired"),
    ("agent", "sync/machine"),
    ("agent", "sync/own_node"),
    ("agent", "sync/pace"),
    ("agent", "sync/sight"),
    ("agent", "sync/sweeps"),
    ("conntrack", "expected"),
    ("conntrack", "flow"),
    ("conntrack", "judge"),
    ("conntrack", "sweep"),
    ("conntrack", "table"),
    ("conntrack", "wire"),
    ("nft", ""),
];

/// What a pure module may not name, and what to do instead.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "keep async at the rim"),
    ("kube", "take a model::Change"),
    ("k8s_openapi", "take a model::Change"),
    ("tracing", "return a Note; the caller logs"),
    ("arc_swap", "take the value; the caller loads it"),
    ("rand", "take the random number as an argument"),
    ("std::fs", "take the content as an argument"),
    ("std::env", "take the value as an argument"),
    ("std::process", "return a value"),
    ("std::thread", "leave threads to the caller"),
    ("std::net::TcpStream", "leave sockets to the rim"),
    ("std::net::TcpListener", "leave sockets to the rim"),
    ("std::net::UdpSocket", "leave sockets to the rim"),
    ("std::net::ToSocketAddrs", "names are resolved at the rim"),
    ("jiff::Timestamp::now", "take the time as an argument"),
    ("std::time::Instant", "take the time as an argument"),
    ("std::time::SystemTime", "take the time as an argument"),
    ("std::collections::HashMap", "use a BTreeMap: same content, same order"),
    ("std::collections::HashSet", "use a BTreeSet: same content, same order"),
    ("std::collections::hash_map", "use a BTreeMap: same content, same order"),
];

/// The one place in `nft` that talks to the kernel.
const SOCKET: &str = "socket";

/// Every impure name in a pure module.
#[must_use]
pub fn faults(file: &File) -> Vec<Fault> {
    if !is_pure(file) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for name in named(file) {
        if let Some((_, advice)) = IMPURE.iter().find(|(path, _)| name.is_in(path)) {
            let problem = format!("{} in a pure module: {advice}", name.path.join("::"));
            faults.push(file.fault(name.line, problem));
        }
    }
    faults
}

/// Whether a file belongs to a pure module.
#[must_use]
pub fn is_pure(file: &File) -> bool {
    let (package, place) = file.place();
    let in_socket = place == SOCKET || place.starts_with("socket/");
    PURE.iter().any(|(of, pure)| {
        let below = || place.strip_prefix(pure).is_some_and(|rest| rest.starts_with('/'));
        *of == package && (pure.is_empty() || place == *pure || below())
    }) && !(package == "nft" && in_socket)
}

/// What the list names and nobody has: its row can go.
#[must_use]
pub fn stale(files: &[File]) -> Vec<String> {
    let is_there = |package: &str, pure: &str| {
        files.iter().map(File::place).any(|(of, place)| of == package && place.starts_with(pure))
    };
    let gone = PURE.iter().filter(|(package, pure)| !is_there(package, pure));
    gone.map(|(package, pure)| format!("{package}/src/{pure} is said to be pure and is not there"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impure_names_are_found() {
        let cases = [
            ("use std::{fs, net::IpAddr};", "std::fs"),
            ("use std::net::{IpAddr, UdpSocket};", "std::net::UdpSocket"),
            ("fn f() { std::env::var(\"X\"); }", "std::env::var"),
            ("use std::time; fn f() { time::Instant::now(); }", "std::time::Instant"),
            (
                "use std::collections as c; type T = c::HashMap<u8, u8>;",
                "std::collections::HashMap",
            ),
            ("fn f() { println!(\"{:?}\", std::thread::current()); }", "std::thread"),
            ("use tracing::info;", "tracing::info"),
            ("use jiff::Timestamp; fn f() { Timestamp::now(); }", "jiff::Timestamp::now"),
        ];
        for (text, name) in cases {
            for path in ["agent/src/compile/x.rs", "nft/src/x.rs", "agent/src/sync/machine.rs"] {
                let found = faults(&File::new(path, text).unwrap());
                assert!(
                    found.iter().any(|fault| fault.problem.starts_with(name)),
                    "{text:?} in {path}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn pure_names_and_impure_modules_are_not() {
        let cases = [
            (
                "agent/src/compile/x.rs",
                "use std::net::{IpAddr, SocketAddr}; use std::time::Duration;",
            ),
            ("agent/src/sync/run.rs", "use std::time::Instant;"),
            ("nft/src/socket.rs", "use std::fs;"),
            ("agent/src/compile/x.rs", "#[cfg(test)] mod tests { use std::fs; }"),
        ];
        for (path, text) in cases {
            assert_eq!(faults(&File::new(path, text).unwrap()), [], "{text:?} in {path}");
        }
    }
}
