//! Looks for what a kube-proxy left: the rim of [`super::leftovers`].
//!
//! Only reads, and needs no program. What cannot be read is passed over: it
//! must not keep an agent from serving.

use std::fs;

use closeby_nft::Family;
use closeby_nft::kernel::ListError;
use closeby_nft::socket::Netlink;
use nix::ifaddrs::getifaddrs;

use super::leftovers::{IPVS_INTERFACE, Traces};

/// The tables of iptables-legacy in use, a line each; absent without the module.
const LEGACY_TABLES: [(Family, &str); 2] =
    [(Family::Ip, "/proc/net/ip_tables_names"), (Family::Ip6, "/proc/net/ip6_tables_names")];
/// What IPVS does; absent without the module.
const IPVS: &str = "/proc/net/ip_vs";

/// What there is to be seen now; with it, why chains are missing, if they are.
#[must_use]
pub fn traces(kernel: &mut Netlink) -> (Traces, Option<ListError>) {
    let (mut chains, mut problem) = (Vec::new(), None);
    for family in Family::BOTH {
        match kernel.chains(family) {
            Ok(found) => chains.extend(found),
            Err(error) => problem = Some(error),
        }
    }
    let mut interfaces = getifaddrs().into_iter().flatten();
    let legacy_tables = LEGACY_TABLES.into_iter().flat_map(|(family, path)| {
        let names = fs::read_to_string(path).unwrap_or_default();
        names.lines().map(|name| (family, name.to_owned())).collect::<Vec<_>>()
    });
    let traces = Traces {
        chains,
        legacy_tables: legacy_tables.collect(),
        has_ipvs_interface: interfaces.any(|found| found.interface_name == IPVS_INTERFACE),
        virtual_servers: virtual_servers(&fs::read_to_string(IPVS).unwrap_or_default()),
    };
    (traces, problem)
}

/// The virtual servers in `/proc/net/ip_vs`: lines that begin with a protocol,
/// or a mark. Below each, indented, are the servers behind it.
fn virtual_servers(text: &str) -> usize {
    let starts = ["TCP ", "UDP ", "SCTP ", "FWM "];
    text.lines().filter(|line| starts.iter().any(|start| line.starts_with(start))).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_servers_are_counted() {
        let text = "IP Virtual Server version 1.2.1 (size=4096)\n\
                    Prot LocalAddress:Port Scheduler Flags\n  \
                      -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
                    TCP  0A600001:01BB rr\n  \
                      -> AC120002:192B      Masq    1      3          0\n\
                    UDP  0A60000A:0035 rr\n";
        assert_eq!(virtual_servers(text), 2);
        assert_eq!(virtual_servers(""), 0);
    }
}
