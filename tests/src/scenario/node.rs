//! The `node` section of a scenario: `setting: value` lines.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use closeby::compile::{DetectLocal, Facts, LocalAddresses, MarkBit, NodePortAddresses, Topology};
use closeby_nft::statement::Interfaces;
use closeby_nft::{Family, Name};

use super::Setting;

/// What holds where a scenario says nothing else.
const DEFAULT: &str = "
name: n1
zone: za
families: ip, ip6
addresses: 192.168.0.1, 10.244.1.1, fd00:192::1
pods: source 10.244.1.0/24, fd00:244:1::/64
masqueradeAll: no
nodePortAddresses: all
primary: 192.168.0.1, fd00:192::1
show: changes
";

/// The node of a scenario that says nothing about it.
pub(super) fn default() -> Setting {
    let mut setting = Setting {
        facts: Arc::new(Facts { families: BTreeSet::new(), ..Facts::new("".into()) }),
        addresses: BTreeSet::new(),
        whole_tables: false,
    };
    if let Err(problem) = read_over(&mut setting, DEFAULT) {
        unreachable!("the default is a constant: {problem}");
    }
    setting
}

/// Reads the section; what it does not say is as in the default.
pub(super) fn read(body: &str) -> Result<Setting, String> {
    let mut setting = default();
    read_over(&mut setting, body)?;
    Ok(setting)
}

fn read_over(setting: &mut Setting, body: &str) -> Result<(), String> {
    for line in body.lines().filter(|line| !line.trim().is_empty()) {
        let (key, value) =
            line.split_once(':').ok_or_else(|| format!("{line:?} is no `setting: value`"))?;
        one(setting, key.trim(), value.trim())
            .map_err(|problem| format!("{problem} ({line:?})"))?;
    }
    Ok(())
}

fn one(setting: &mut Setting, key: &str, value: &str) -> Result<(), String> {
    let facts = Arc::make_mut(&mut setting.facts);
    match key {
        "name" => facts.node = value.into(),
        "network" => facts.locality.network = Some(value.into()),
        "region" => facts.locality.region = Some(value.into()),
        "zone" => facts.locality.zone = (value != "none").then(|| value.into()),
        "subzone" => facts.locality.subzone = Some(value.into()),
        "topology" if value == "hints" => facts.topology = Topology::Hints,
        "families" => facts.families = list(value)?.into_iter().map(|Parsed(f)| f).collect(),
        "addresses" => setting.addresses = list(value)?.into_iter().collect(),
        "pods" => facts.detect_local = detect_local(value)?,
        "masqueradeAll" => facts.masquerade_all = value == "yes",
        "dropMartianLoopback" => facts.drop_martian_loopback = value == "yes",
        "masqueradeBit" => {
            let bit = value.parse().ok().and_then(MarkBit::new);
            facts.masquerade_mark = bit.ok_or("is no bit")?;
        }
        "nodePortAddresses" => facts.node_port_addresses = node_port_addresses(value)?,
        "primary" => {
            facts.primary_addresses = list(value)?.into_iter().collect();
            facts.node_addresses.clone_from(&facts.primary_addresses);
        }
        "show" => setting.whole_tables = value == "tables",
        other => return Err(format!("there is no setting {other:?}")),
    }
    Ok(())
}

/// `all`, `none`, or addresses; a family of which there is none serves
/// NodePorts everywhere, as in kube-proxy.
fn node_port_addresses(value: &str) -> Result<NodePortAddresses, String> {
    let these: Vec<IpAddr> = if matches!(value, "all" | "none") { vec![] } else { list(value)? };
    let of = |family| {
        let mine = these.iter().copied().filter(|addr| Family::of(*addr) == family);
        let mine: BTreeSet<IpAddr> = mine.collect();
        let everywhere = mine.is_empty() && value != "none";
        if everywhere { LocalAddresses::All } else { LocalAddresses::These(mine) }
    };
    Ok(NodePortAddresses { ip: of(Family::Ip), ip6: of(Family::Ip6) })
}

/// `unknown`, `source PREFIX, ...`, `interface NAME`, `interface PREFIX*`.
fn detect_local(value: &str) -> Result<DetectLocal, String> {
    let interface = |name: &str| match name.strip_suffix('*') {
        Some(start) => Interfaces::Prefixed(Name::from(start)),
        None => Interfaces::Named(Name::from(name)),
    };
    match value.split_once(' ') {
        None if value == "unknown" => Ok(DetectLocal::Unknown),
        Some(("source", prefixes)) => Ok(DetectLocal::Sources(list(prefixes)?)),
        Some(("interface", name)) => Ok(DetectLocal::Interfaces(interface(name))),
        _ => Err("is no way to tell pods".to_owned()),
    }
}

fn list<T: FromStr<Err: Display>>(value: &str) -> Result<Vec<T>, String> {
    value
        .split(',')
        .map(|item| item.trim().parse().map_err(|problem| format!("{item:?}: {problem}")))
        .collect()
}

/// A family by nft's word.
struct Parsed(Family);

impl FromStr for Parsed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Family::BOTH.into_iter().find(|family| family.to_string() == text);
        known.map(Parsed).ok_or("is no family")
    }
}
