//! What others do to our tables is undone, and what is theirs is left alone.

use std::time::Duration;

use closeby_tools::lab::{Family, Proto, Request};
use libtest_mimic::Failed;

use super::Trials;
use super::rig::{BY_NODE_RANGE, Rig, Site, at_vip, check, service, until};

pub(crate) const ALL: Trials = &[
    ("damage_is_repaired_at_once", |rig| damage_is_repaired(rig, BY_NODE_RANGE)),
    ("damage_is_repaired_in_spite_of_min_sync_period", |rig| {
        let settings = format!("{BY_NODE_RANGE}nftables: {{minSyncPeriod: 1h, syncPeriod: 2h}}\n");
        damage_is_repaired(rig, &settings)
    }),
    ("foreign_tables_are_never_touched", foreign_tables_are_never_touched),
];

/// From the end of the damage to the last trace of it.
const PROMISE: Duration = Duration::from_millis(250);

/// What somebody may do by hand, or by a tool that thinks it is alone.
const DAMAGE: [&str; 12] = [
    "flush ruleset",
    "delete table ip closeby",
    "delete table ip6 closeby",
    "delete element ip closeby vips { 10.96.0.1 }",
    "delete element ip6 closeby vips { fd00:10:96::1 }",
    "add element ip closeby vips { 10.96.0.77 }",
    "flush map ip closeby endpoints",
    "flush chain ip6 closeby nat-prerouting",
    "add rule ip closeby services drop",
    "insert rule ip6 closeby filter-forward drop",
    "add chain ip closeby guest",
    "add set ip6 closeby guests { type ipv6_addr; }",
];

fn damage_is_repaired(rig: &Rig, settings: &str) -> Result<(), Failed> {
    let mut site = rig.site("n1", settings)?;
    site.put(&service("web", 1), &["a2", "b1"])?;
    site.start()?;
    let before = site.listing()?.ruleset;
    for damage in DAMAGE {
        site.node.nft(damage)?;
        until(PROMISE, damage, || Ok(site.listing()?.ruleset == before))?;
        served(&site, damage)?;
    }
    Ok(())
}

fn served(site: &Site<'_>, when: &str) -> Result<(), Failed> {
    for family in Family::BOTH {
        let answer = site.pod("a1").request(&Request::new(at_vip(1, family), Proto::Tcp));
        check(answer.reply().is_some(), &format!("after {when}"), &answer)?;
    }
    Ok(())
}

/// A table of somebody else's, with a name that begins as ours does and the
/// same sets in it, through all that an agent does.
fn foreign_tables_are_never_touched(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let theirs = ["inet filter", "ip closeby2", "inet closeby"];
    for table in theirs {
        site.node.nft(&format!(
            "table {table} {{ set vips {{ type ipv4_addr; elements = {{ 10.96.0.1 }}; }}; \
             chain input {{ type filter hook input priority 10; ip saddr @vips counter; }}; }}"
        ))?;
    }
    let see = |site: &Site<'_>| -> Result<Vec<String>, Failed> {
        let list = |table| Ok(site.node.nft(&format!("list table {table}"))?);
        theirs.iter().map(list).collect()
    };
    let before = see(&site)?;
    let web = service("web", 1);
    site.put(&web, &["a2"])?;
    site.start()?;
    site.change(&web, &["a2", "b1"])?;
    let ours = site.listing()?.ruleset;
    site.node.nft("delete table ip closeby")?;
    until(PROMISE, "a repair", || Ok(site.listing()?.ruleset == ours))?;
    site.kill();
    site.start()?;
    site.remove("web")?;
    let after = see(&site)?;
    check(after == before, "theirs", &after)
}
