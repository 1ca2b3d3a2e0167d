//! The layout of kube-proxy 1.36 in nftables mode, for a cluster of [`Shape`]: one chain and one
//! anonymous map for each Service. Static chains and declarations are those that a kube-proxy
//! 1.36.3 listed.
//!
//! PURE.

use std::fmt::Write as _;

use closeby_tools::clusters::{self, Shape};

/// Services whose anonymous maps a kernel takes without stalling: their number costs quadratically,
/// under a lock that stops every other change of nftables.
pub(crate) const SERVICES_MAX: u32 = 4_000;

/// The table of a cluster as nft text.
pub(crate) fn of(shape: Shape) -> String {
    let mut ips = String::new();
    let mut services = String::new();
    let mut chains = String::new();
    for index in 0..shape.services {
        let addr = clusters::service_addr(shape.family, index);
        let chain = format!("service-{index:08X}-bench/service-{index}/{}/http", shape.proto);
        let _ = write!(ips, "{addr}, ");
        let _ = write!(services, "{addr} . {} . 80 : goto {chain}, ", shape.proto);
        let _ = writeln!(chains, "\tchain {chain} {{\n\t\t{}\n\t}}", pick(shape, index));
    }
    STATIC.replace("CLUSTER_IPS", &ips).replace("SERVICE_IPS", &services).replace("CHAINS", &chains)
}

/// The rule that draws an endpoint.
fn pick(shape: Shape, index: u32) -> String {
    let slice = clusters::slice(shape, index, shape.endpoints);
    let port = slice.ports.first().map_or_else(String::new, |port| port.port.to_string());
    let endpoints: Vec<String> = (0..)
        .zip(&slice.endpoints)
        .map(|(slot, endpoint): (u32, _)| format!("{slot} : {} . {port}", endpoint.addr))
        .collect();
    format!(
        "meta l4proto {} dnat ip to numgen random mod {} map {{ {} }}",
        shape.proto,
        endpoints.len(),
        endpoints.join(", ")
    )
}

const STATIC: &str = "\
table ip kube-proxy {
	set hairpin-connections { type ipv4_addr . ipv4_addr . inet_proto . inet_service; }
	set cluster-ips { type ipv4_addr; elements = { CLUSTER_IPS }; }
	set nodeport-ips { type ipv4_addr; elements = { 192.0.2.1 }; }
	map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
	map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }
	map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
	map service-ips {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { SERVICE_IPS }
	}
	map service-nodeports { type inet_proto . inet_service : verdict; }

	chain filter-prerouting-pre-dnat {
		type filter hook prerouting priority dstnat - 10; policy accept;
		ct state new jump firewall-check
	}
	chain filter-output-pre-dnat {
		type filter hook output priority -110; policy accept;
		ct state new jump firewall-check
	}
	chain filter-input {
		type filter hook input priority filter; policy accept;
		ct state new jump nodeport-endpoints-check
		ct state new jump service-endpoints-check
	}
	chain filter-forward {
		type filter hook forward priority filter; policy accept;
		ct state new jump service-endpoints-check
		ct state new jump cluster-ips-check
	}
	chain filter-output {
		type filter hook output priority filter; policy accept;
		ct state new jump service-endpoints-check
		ct state new jump cluster-ips-check
	}
	chain nat-prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		jump services
	}
	chain nat-output {
		type nat hook output priority -100; policy accept;
		jump services
	}
	chain nat-postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		jump masquerading
	}
	chain nodeport-endpoints-check {
		ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
	}
	chain service-endpoints-check {
		ip daddr . meta l4proto . th dport vmap @no-endpoint-services
	}
	chain firewall-check {
		ip daddr . meta l4proto . th dport vmap @firewall-ips
	}
	chain services {
		ip daddr @cluster-ips ip saddr != 10.128.0.0/9 meta mark set meta mark | 0x00004000
		ip daddr . meta l4proto . th dport vmap @service-ips
		ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
	}
	chain masquerading {
		meta mark & 0x00004000 != 0x00000000 meta mark set meta mark ^ 0x00004000 masquerade fully-random
		ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random
	}
	chain cluster-ips-check {
		ip daddr @cluster-ips reject
		ip daddr 10.96.0.0/12 drop
	}
	chain reject-chain {
		reject
	}
CHAINS}
";
