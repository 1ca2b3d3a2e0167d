//! What a kube-proxy in iptables or IPVS mode left on this host.
//!
//! PURE: a function of what can be seen without the programs iptables and
//! ipvsadm. Its rules and ours would both translate, so ours wait until they
//! are gone; what may be somebody else's never holds anything back.
//!
//! - **iptables-nft**: chains by name in the tables that it makes. Only chains
//!   count that kube-proxy alone makes, that translate or refuse, and that every
//!   `kube-proxy --cleanup` removes (`pkg/proxy/iptables/cleanup.go`). The
//!   kubelet makes `KUBE-KUBELET-CANARY` and `KUBE-IPTABLES-HINT`, older ones
//!   `KUBE-FIREWALL`, `KUBE-MARK-DROP`, `KUBE-MARK-MASQ` and `KUBE-POSTROUTING`
//!   too (KEP-3178).
//! - **IPVS**: the interface `kube-ipvs0`, which has every service address and
//!   makes it the host's own. Virtual servers without it may be somebody
//!   else's, and are never asked: our translation comes before them.
//! - **iptables-legacy**: the kernel tells which tables are in use, not what
//!   they hold. So that is a doubt at most.

use std::collections::BTreeMap;
use std::fmt;

use closeby_nft::{Family, Name, TableId};

/// The interface of kube-proxy's IPVS mode.
pub const IPVS_INTERFACE: &str = "kube-ipvs0";
/// The tables that iptables makes and kube-proxy writes to.
const TABLES: [&str; 3] = ["nat", "filter", "mangle"];
/// Chains that only kube-proxy makes.
const CHAINS: [&str; 3] = ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES"];
/// How the names of its chains for Services and endpoints begin; the last one
/// in releases before 1.24.
const CHAIN_STARTS: [&str; 6] =
    ["KUBE-SVC-", "KUBE-SEP-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-XLB-"];

/// What can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// The chains of nf_tables, those of iptables-nft among them.
    pub chains: Vec<(TableId, Name)>,
    /// The tables of iptables-legacy that are in use.
    pub legacy_tables: Vec<(Family, String)>,
    /// Whether there is a [`IPVS_INTERFACE`].
    pub has_ipvs_interface: bool,
    /// The virtual servers of IPVS.
    pub virtual_servers: usize,
}

/// Something that a kube-proxy left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// Chains in a table of iptables-nft.
    Chains {
        /// The table.
        table: TableId,
        /// How many.
        count: usize,
        /// The first by name.
        example: Name,
    },
    /// The interface of the IPVS mode.
    Ipvs {
        /// Virtual servers of IPVS, its own and perhaps others'.
        virtual_servers: usize,
    },
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chains { table, count: 1, example } => {
                write!(f, "the iptables chain {example} in table {table}")
            }
            Self::Chains { table, count, example } => {
                write!(f, "{count} iptables chains in table {table} ({example} is one)")
            }
            Self::Ipvs { virtual_servers } => {
                write!(f, "the interface {IPVS_INTERFACE} and {virtual_servers} servers of IPVS")
            }
        }
    }
}

/// What is left, in a fixed order.
#[must_use]
pub fn leftovers(traces: &Traces) -> Vec<Leftover> {
    let mut chains: BTreeMap<&TableId, (usize, &Name)> = BTreeMap::new();
    for (table, chain) in &traces.chains {
        if TABLES.contains(&table.name.as_str()) && is_kube_proxys(chain.as_str()) {
            let (count, example) = chains.entry(table).or_insert((0, chain));
            *count += 1;
            *example = (*example).min(chain);
        }
    }
    let chains = chains.into_iter().map(|(table, (count, example))| Leftover::Chains {
        table: table.clone(),
        count,
        example: example.clone(),
    });
    let ipvs = traces
        .has_ipvs_interface
        .then_some(Leftover::Ipvs { virtual_servers: traces.virtual_servers });
    chains.chain(ipvs).collect()
}

/// What cannot be told from here, and how to find out; nothing if it does not
/// matter.
#[must_use]
pub fn doubt(traces: &Traces) -> Option<String> {
    let nat = traces.legacy_tables.iter().filter(|(_, name)| name == "nat");
    let programs = nat.map(|(family, _)| match family {
        Family::Ip => "iptables-legacy-save -t nat",
        Family::Ip6 => "ip6tables-legacy-save -t nat",
    });
    let programs: Vec<&str> = programs.collect();
    (!programs.is_empty()).then(|| {
        format!(
            "iptables-legacy has a nat table here, and what it holds cannot be seen without its \
             program. If `{}` shows chains named KUBE-SVC-..., a kube-proxy left them: remove \
             them with `kube-proxy --cleanup`",
            programs.join("` or `")
        )
    })
}

fn is_kube_proxys(chain: &str) -> bool {
    CHAINS.contains(&chain) || CHAIN_STARTS.iter().any(|start| chain.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chains(listed: &[&str]) -> Traces {
        let parse = |line: &&str| {
            let words: Vec<&str> = line.split(' ').collect();
            let family = if words[0] == "ip" { Family::Ip } else { Family::Ip6 };
            (TableId { family, name: Name::from(words[1]) }, Name::from(words[2]))
        };
        Traces { chains: listed.iter().map(parse).collect(), ..Traces::default() }
    }

    fn told(traces: &Traces) -> Vec<String> {
        leftovers(traces).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn chains_that_only_kube_proxy_makes_are_left() {
        let seen = chains(&[
            "ip nat PREROUTING",
            "ip nat KUBE-SVC-NPX46M4PTMTKRN6Y",
            "ip nat KUBE-SERVICES",
            "ip nat KUBE-SEP-A",
            "ip6 filter KUBE-EXTERNAL-SERVICES",
        ]);
        assert_eq!(
            told(&seen),
            [
                "3 iptables chains in table ip nat (KUBE-SEP-A is one)",
                "the iptables chain KUBE-EXTERNAL-SERVICES in table ip6 filter",
            ]
        );
    }

    #[test]
    fn chains_of_the_kubelet_and_of_others_are_not() {
        let seen = chains(&[
            "ip mangle KUBE-KUBELET-CANARY",
            "ip mangle KUBE-IPTABLES-HINT",
            "ip mangle KUBE-PROXY-CANARY",
            "ip filter KUBE-FIREWALL",
            "ip filter KUBE-FORWARD",
            "ip nat KUBE-MARK-DROP",
            "ip nat KUBE-MARK-MASQ",
            "ip nat KUBE-POSTROUTING",
            "ip nat KUBE-ROUTER-SERVICES",
            "ip nat CNI-KUBE-SVC-",
            "ip kube-proxy services",
            "ip mine KUBE-SERVICES",
        ]);
        assert_eq!(told(&seen), [""; 0]);
    }

    #[test]
    fn the_interface_tells_ipvs() {
        let traces = Traces { virtual_servers: 12, ..Traces::default() };
        assert_eq!(told(&traces), [""; 0], "somebody else's");
        let traces = Traces { has_ipvs_interface: true, ..traces };
        assert_eq!(told(&traces), ["the interface kube-ipvs0 and 12 servers of IPVS"]);
    }

    #[test]
    fn legacy_tables_are_a_doubt() {
        let in_use = |names: &[(Family, &str)]| Traces {
            legacy_tables: names.iter().map(|(family, name)| (*family, (*name).into())).collect(),
            ..Traces::default()
        };
        assert_eq!(doubt(&in_use(&[(Family::Ip, "filter")])), None);
        let traces = in_use(&[(Family::Ip, "nat"), (Family::Ip6, "nat")]);
        assert_eq!(told(&traces), [""; 0]);
        let doubt = doubt(&traces).unwrap();
        assert!(
            doubt.contains(
                "If `iptables-legacy-save -t nat` or `ip6tables-legacy-save -t nat` shows"
            )
        );
    }
}
