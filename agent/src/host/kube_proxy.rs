//! Whether a kube-proxy runs beside us.
//!
//! It is asked: its metrics port answers `/proxyMode`, which nothing else does.
//! The port is in the network namespace that the rules are in, which is what
//! counts; a process by that name would be seen only by an agent that shares
//! the host's processes, and is another program's where kube-proxy is built in
//! (k3s). Who serves its metrics elsewhere, or not at all, is not found.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Where kube-proxy serves its metrics unless told otherwise.
const PORT: u16 = 10249;
/// How long it may take to connect, and to answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// The longest answer that is read.
const ANSWER_MAX: u64 = 4096;
/// Every mode that a kube-proxy may have had.
const MODES: [&str; 4] = ["iptables", "ipvs", "nftables", "userspace"];

/// A kube-proxy that answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a kube-proxy runs in this network namespace: http://{at}/proxyMode answers {mode:?}. Two \
     would undo each other's work. Stop it first: in most clusters it is the DaemonSet kube-proxy"
)]
pub struct Running {
    at: SocketAddr,
    mode: String,
}

impl Running {
    /// The mode that it says it runs in.
    #[must_use]
    pub fn mode(&self) -> &str {
        &self.mode
    }
}

/// The kube-proxy of this network namespace, if one answers. An agent of ours
/// answers as well, so this is for whoever holds the [`super::Lock`] and does
/// not listen yet.
#[must_use]
pub fn running() -> Option<Running> {
    let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    loopback.into_iter().find_map(|addr| {
        let at = SocketAddr::new(addr, PORT);
        let answer = ask(at).ok()?;
        Some(Running { at, mode: mode(&answer)?.to_owned() })
    })
}

fn ask(at: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /proxyMode HTTP/1.0\r\nHost: {at}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

/// The mode in an answer, if it is one of kube-proxy's.
fn mode(answer: &str) -> Option<&str> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_ascii_whitespace().nth(1)?;
    Some(body.trim()).filter(|mode| status == "200" && MODES.contains(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kube_proxy_answers_with_a_mode() {
        let ok = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n";
        assert_eq!(mode(&format!("{ok}nftables")), Some("nftables"));
        assert_eq!(mode(&format!("{ok}iptables\n")), Some("iptables"));
        assert_eq!(mode(&format!("{ok}<html>")), None);
        assert_eq!(mode("HTTP/1.0 404 Not Found\r\n\r\nipvs"), None);
        assert_eq!(mode("SSH-2.0-OpenSSH_9.2\r\n"), None);
        assert_eq!(mode(""), None);
    }
}
