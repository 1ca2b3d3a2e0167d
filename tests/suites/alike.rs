//! Clusters that are alike are served alike: what may not matter does not, and
//! what matters does no more than that.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use closeby::compile::{
    DetectLocal, Distances, Facts, LocalAddresses, NodePortAddresses, ServicePlan,
};
use closeby::model::{Asked, Change, Cluster, Dirty, Locality, Slice, Zone};
use closeby_nft::delta::diff;
use closeby_nft::{Family, Prefix};
use closeby_tests::clusters;
use closeby_tests::events::event;
use closeby_tests::made::Made;
use closeby_tests::oracle::{Decision, Probe};
use closeby_tests::property::{cases, same};
use closeby_tests::traced::Traced;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// What was decided, without how far it is from here.
fn chosen(plan: &ServicePlan) -> ServicePlan {
    let mut plan = plan.clone();
    for port in &mut plan.ports {
        for pool in [&mut port.cluster, &mut port.local] {
            pool.distances = Distances::NONE;
        }
    }
    plan
}

proptest! {
    #![proptest_config(cases(200))]

    /// Events that wait together become one generation, and some are told
    /// twice, as after a watch that was interrupted.
    #[test]
    fn it_does_not_matter_how_events_are_bundled(
        facts in clusters::facts(),
        events in vec((event(), any::<bool>(), 1..=2_u8), 1..25),
    ) {
        let facts = Arc::new(facts);
        let (mut single, mut cluster, mut of_single) =
            (Made::nothing(&facts), Cluster::default(), facts.clone());
        let (mut bundled, mut bundle, mut of_bundle) =
            (Made::nothing(&facts), Dirty::default(), facts.clone());
        let mut told = Cluster::default();
        for (event, ends_bundle, times) in events {
            let dirty = event.clone().happens(&mut cluster, &mut of_single);
            single = single.next(&cluster, &of_single, &dirty);
            for _ in 0..times {
                bundle.merge(event.clone().happens(&mut told, &mut of_bundle));
            }
            if ends_bundle {
                bundled = bundled.next(&told, &of_bundle, &bundle);
                bundle = Dirty::default();
                same(&single, &bundled)?;
            }
        }
        same(&single, &bundled.next(&told, &of_bundle, &bundle))?;
    }

    /// Only Services that ask for closeness, or whose every endpoint has a hint, ask for
    /// the zone, and nothing but them is sent to the kernel.
    #[test]
    fn a_zone_matters_to_those_alone_who_ask(
        objects in clusters::objects(),
        facts in clusters::facts(),
        zone in select(vec![None, Some("za"), Some("zb"), Some("zc")]),
    ) {
        let cluster = clusters::cluster(&objects);
        let locality = Locality { zone: zone.map(Zone::from), ..facts.locality.clone() };
        let moved = Facts { locality, ..facts.clone() };
        let before = Made::at_once(&cluster, &Arc::new(facts));
        let after = before.next(&cluster, &Arc::new(moved), &Dirty::default());
        let mut changed = false;
        for (name, plan) in &after.plan.services {
            let known = before.plan.services.get(name).map(|known| chosen(known));
            if known == Some(chosen(plan)) {
                continue;
            }
            changed = true;
            let endpoints = cluster.slices_of(name).flat_map(|slice| &slice.endpoints);
            let hinted = endpoints.filter(|endpoint| endpoint.hints.zones.is_some());
            let asks = cluster.service(name).is_some_and(|service| {
                service.closeness.strict.is_some() || cluster.asked(service) != Asked::Hints
            });
            prop_assert!(asks || hinted.count() > 0, "{name} is decided otherwise");
        }
        let delta = diff(before.ruleset(), after.ruleset());
        prop_assert!(changed || delta.is_empty(), "{delta:?}");
    }

    /// What is wrong with one family's addresses would be seen beside the
    /// other's: a cluster of IPv4 and the same in IPv6.
    #[test]
    fn both_families_are_served_alike(
        objects in clusters::objects(),
        facts in clusters::facts(),
        probes in vec(clusters::probe(), 30),
    ) {
        // The kernel closes ::1 by itself.
        let drop_martian_loopback = false;
        let facts = Facts { families: [Family::Ip].into(), drop_martian_loopback, ..facts };
        let made = |objects: &[Change], facts: Facts| {
            Made::at_once(&clusters::cluster(objects), &Arc::new(facts))
        };
        let four: Vec<Change> = objects.into_iter().filter_map(of_ipv4).collect();
        let six: Vec<Change> = four.iter().cloned().map(in_ipv6).collect();
        let (of_four, of_six) = (made(&four, facts.clone()), made(&six, facts_in_ipv6(facts)));
        let addresses: BTreeSet<IpAddr> =
            clusters::node_addresses().into_iter().filter(IpAddr::is_ipv4).collect();
        let addresses_in_ipv6 = addresses.iter().copied().map(translated).collect();
        let four = Traced::new(of_four.ruleset(), &addresses).weighing(&of_four.plan);
        let six = Traced::new(of_six.ruleset(), &addresses_in_ipv6).weighing(&of_six.plan);
        for probe in probes.into_iter().filter(|probe| probe.destination.is_ipv4()) {
            let expected = four.decision(&probe).map(decision_in_ipv6);
            prop_assert_eq!(six.decision(&probe_in_ipv6(&probe)), expected, "{:?}", probe);
        }
    }

    /// What lost all it claimed to others is as if it were not there.
    #[test]
    fn a_service_that_serves_nothing_leaves_no_trace(
        objects in clusters::objects(),
        facts in clusters::facts(),
    ) {
        let facts = Arc::new(facts);
        let mut cluster = clusters::cluster(&objects);
        let before = Made::at_once(&cluster, &facts);
        let mut dirty = Dirty::default();
        for (name, service) in &before.plan.services {
            let is_served = service.ports.iter().any(|port| !port.served.is_empty());
            if !is_served && service.health.is_none() {
                dirty.merge(cluster.apply(Change::ServiceGone(name.clone())));
            }
        }
        let after = before.next(&cluster, &facts, &dirty);
        prop_assert_eq!(before.ruleset(), after.ruleset(), "without {:?}", dirty.services);
    }
}

/// The part of an object that is of IPv4; nothing if nothing is.
fn of_ipv4(change: Change) -> Option<Change> {
    match change {
        Change::Service(mut service) => {
            service.cluster_ips.retain(IpAddr::is_ipv4);
            service.external_ips.retain(IpAddr::is_ipv4);
            service.load_balancer_ips.retain(IpAddr::is_ipv4);
            service.source_ranges.remove(&Family::Ip6);
            (!service.cluster_ips.is_empty()).then_some(Change::Service(service))
        }
        Change::Slice(slice) => (slice.family == Family::Ip).then_some(Change::Slice(slice)),
        Change::ServiceEntry(mut entry) => {
            entry.service.cluster_ips.retain(IpAddr::is_ipv4);
            entry.slices.retain(|slice| slice.family == Family::Ip);
            (!entry.service.cluster_ips.is_empty()).then_some(Change::ServiceEntry(entry))
        }
        other => Some(other),
    }
}

/// An address's like in the other family; their order stays.
fn translated(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(addr) if addr.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(addr) => {
            let [a, b, c, d] = addr.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            Ipv6Addr::new(0xfd64, 0, 0, 0, 0, 0, high, low).into()
        }
        six => six,
    }
}

/// Of what starts with the same bits, or of everything.
fn translated_prefix(prefix: Prefix) -> Prefix {
    match prefix.len() {
        0 => Prefix::new(Ipv6Addr::UNSPECIFIED.into(), 0).unwrap(),
        len => Prefix::new(translated(prefix.addr()), len + 96).unwrap(),
    }
}

fn is_ipv4(prefix: &Prefix) -> bool {
    prefix.family() == Family::Ip
}

fn in_ipv6(change: Change) -> Change {
    match change {
        Change::Service(mut service) => {
            let lists = [
                &mut service.cluster_ips,
                &mut service.external_ips,
                &mut service.load_balancer_ips,
            ];
            lists.into_iter().flatten().for_each(|addr| *addr = translated(*addr));
            let ranges = service.source_ranges.remove(&Family::Ip);
            let ranges = ranges.map(|some| some.into_iter().map(translated_prefix).collect());
            service.source_ranges.extend(ranges.map(|ranges| (Family::Ip6, ranges)));
            Change::Service(service)
        }
        Change::Slice(slice) => Change::Slice(slice_in_ipv6(slice)),
        Change::ServiceEntry(mut entry) => {
            entry.service.cluster_ips.iter_mut().for_each(|addr| *addr = translated(*addr));
            entry.slices = entry.slices.into_iter().map(slice_in_ipv6).collect();
            Change::ServiceEntry(entry)
        }
        other => other,
    }
}

fn slice_in_ipv6(mut slice: Slice) -> Slice {
    slice.family = Family::Ip6;
    slice.endpoints.iter_mut().for_each(|it| it.addr = translated(it.addr));
    slice
}

fn facts_in_ipv6(facts: Facts) -> Facts {
    let sources = |prefixes: Vec<Prefix>| {
        prefixes.into_iter().filter(is_ipv4).map(translated_prefix).collect()
    };
    let node_ports = match facts.node_port_addresses.ip {
        LocalAddresses::All => LocalAddresses::All,
        LocalAddresses::These(addrs) => {
            LocalAddresses::These(addrs.into_iter().map(translated).collect())
        }
    };
    let cidrs = facts.service_cidrs.into_iter();
    let in_ipv6 = |addrs: BTreeSet<IpAddr>| {
        addrs.into_iter().filter(IpAddr::is_ipv4).map(translated).collect()
    };
    Facts {
        families: [Family::Ip6].into(),
        detect_local: match facts.detect_local {
            DetectLocal::Sources(prefixes) => DetectLocal::Sources(sources(prefixes)),
            other => other,
        },
        node_port_addresses: NodePortAddresses { ip: LocalAddresses::All, ip6: node_ports },
        primary_addresses: in_ipv6(facts.primary_addresses),
        node_addresses: in_ipv6(facts.node_addresses),
        service_cidrs: cidrs.filter(is_ipv4).map(translated_prefix).collect(),
        ..facts
    }
}

fn probe_in_ipv6(probe: &Probe) -> Probe {
    let (source, destination) = (translated(probe.source), translated(probe.destination));
    Probe { source, destination, ..probe.clone() }
}

fn decision_in_ipv6(decision: Decision) -> Decision {
    match decision {
        Decision::To(targets) => {
            let targets = targets.into_iter();
            let in_ipv6 = targets.map(|((addr, port), masked)| ((translated(addr), port), masked));
            Decision::To(in_ipv6.collect())
        }
        other => other,
    }
}
