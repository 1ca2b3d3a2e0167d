//! From another release of ours to this one, older or newer: whatever it left in
//! our tables, nobody loses a connection, and the tables are this release's in
//! the end.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use closeby_nft::Ruleset;
use closeby_tools::lab::manifests::Service;
use closeby_tools::lab::{Family, Host, Proto, Request};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::Trials;
use super::load::{all_go_on, conversations, under_load};
use super::rig::{BY_NODE_RANGE, Rig, Site, at_balancer, at_vip, check, exposed, service};

pub(crate) const ALL: Trials = &[
    ("what_an_older_release_left_is_adopted", what_an_older_release_left_is_adopted),
    ("what_a_newer_release_left_is_undone", what_a_newer_release_left_is_undone),
];

/// What `nft list ruleset` showed on the node of [`site`] with that release.
/// These are never made anew: a release whose tables differ adds its own.
const LEFT: [(&str, &str); 1] = [("2026-11", include_str!("tables-2026-11.nft"))];

/// What an agent of today knows nothing of, in tables of ours: `FAMILY` is each
/// family in turn.
const NEWER: &str = r#"
table FAMILY closeby {
    counter seen { comment "an object" }
    set parked { typeof FAMILY daddr; flags timeout; timeout 1h; }
    map newer-ways { typeof FAMILY daddr . meta l4proto . th dport : verdict; }
    chain newer-way { counter comment "counted and passed on"; }
    chain newer-hook {
        type filter hook forward priority 5; policy accept;
        counter name seen comment "with an object"
    }
}
insert rule FAMILY closeby services jump newer-way comment "a jump in front"
add rule FAMILY closeby services FAMILY daddr . meta l4proto . th dport vmap @newer-ways
add element FAMILY closeby newer-ways { ADDRESS . tcp . 80 : goto newer-way }
add element FAMILY closeby parked { ADDRESS timeout 30m }
add element FAMILY closeby vips { UNKNOWN }
add element FAMILY closeby classes { UNKNOWN . tcp . 80 comment "of an unknown port" : 1:1 }
"#;

/// What nft shows of the object. Nobody asks for it any more and it does nothing:
/// it stays (B-250).
const OBJECT: &str = "\tcounter seen {\n\t\tcomment \"an object\"\n\t}\n\n";

/// Everything that tables can hold: node ports, load balancers with source
/// ranges, external addresses, policies, session affinity, nobody.
fn site(rig: &Rig) -> Result<Site<'_>, Failed> {
    let site = rig.site("n1", BY_NODE_RANGE)?;
    let range = |family| match family {
        Family::V4 => format!("{}/31", rig.cluster.outside().address(family)),
        Family::V6 => format!("{}/127", rig.cluster.outside().address(family)),
    };
    let closed = exposed("closed", 3);
    let closed = Service { source_ranges: Family::BOTH.map(range).to_vec(), ..closed };
    let local = exposed("local", 4);
    let local = Service { internal_local: true, external_local: true, ..local };
    site.put(&service("web", 1), &["a2", "b1"])?;
    site.put(&closed, &["a2", "b1", "c1"])?;
    site.put(&local, &["a2", "b1"])?;
    site.put(&exposed("nobody", 5), &[])?;
    site.folder.write("sticky", &sticky(&site))?;
    Ok(site)
}

fn sticky(site: &Site<'_>) -> Vec<Value> {
    let pods: Vec<&Host> = ["a2", "b1", "c1"].map(|pod| site.pod(pod)).to_vec();
    let mut objects = exposed("sticky", 2).objects(&pods);
    objects[0]["spec"]["sessionAffinity"] = json!("ClientIP");
    objects
}

fn what_an_older_release_left_is_adopted(rig: &Rig) -> Result<(), Failed> {
    for (release, tables) in LEFT {
        taken_from(rig, tables).map_err(|failed| format!("{release}: {failed:?}"))?;
    }
    Ok(())
}

fn what_a_newer_release_left_is_undone(rig: &Rig) -> Result<(), Failed> {
    let (_, tables) = LEFT[LEFT.len() - 1];
    let newer = [("ip", "10.96.0.1", "10.96.0.99"), ("ip6", "fd00:10:96::1", "fd00:10:96::99")]
        .map(|(family, address, unknown)| {
            NEWER.replace("FAMILY", family).replace("ADDRESS", address).replace("UNKNOWN", unknown)
        });
    taken_from(rig, &format!("{tables}{}", newer.concat()))
}

/// An agent finds these tables, under load.
fn taken_from(rig: &Rig, tables: &str) -> Result<(), Failed> {
    let mut site = site(rig)?;
    site.start()?;
    let ours = (site.listing()?.ruleset, text(&site)?);
    site.kill();
    site.node.nft("flush ruleset")?;
    load(&site, tables)?;
    served(&site, "by what was left")?;
    let mut open = conversations(&site)?;
    under_load(rig, || site.start())?;
    all_go_on(&mut open)?;
    served(&site, "by this release")?;
    let now: (Ruleset, String) = (site.listing()?.ruleset, text(&site)?.replace(OBJECT, ""));
    check(now.0 == ours.0, "the tables are this release's", &now.0)?;
    check(blocks(&now.1) == blocks(&ours.1), "and so nft shows them", &now.1)
}

/// The sets and chains of a text, each with its table: what was made anew comes last.
fn blocks(text: &str) -> BTreeSet<(&str, Vec<&str>)> {
    let (mut table, mut block, mut blocks) = ("", Vec::new(), BTreeSet::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line {
            "}" => {}
            "\t}" => _ = blocks.insert((table, std::mem::take(&mut block))),
            _ if line.starts_with("table ") => table = line,
            _ => block.push(line),
        }
    }
    blocks
}

/// The tables as nft shows them, without elements and counts: comments and
/// whatever else our own reading passes over.
fn text(site: &Site<'_>) -> Result<String, Failed> {
    let mut command = Command::new("nft");
    command.args(["--stateless", "--terse", "list", "ruleset"]).stdout(Stdio::piped());
    let output = site.node.spawn(&mut command)?.wait_with_output()?;
    check(output.status.success(), "nft list ruleset", &output.status)?;
    Ok(String::from_utf8(output.stdout)?)
}

/// Loads tables as text.
fn load(site: &Site<'_>, tables: &str) -> Result<(), Failed> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = site.node.spawn(&mut command)?;
    child.stdin.take().ok_or("no stdin")?.write_all(tables.as_bytes())?;
    let output = child.wait_with_output()?;
    check(output.status.success(), "nft -f", &String::from_utf8_lossy(&output.stderr))
}

/// Everybody who may, at Services of each kind.
fn served(site: &Site<'_>, by: &str) -> Result<(), Failed> {
    for family in Family::BOTH {
        for (client, to) in [
            (site.pod("a1"), at_vip(2, family)),
            (site.outside(), at_balancer(3, family)),
            (site.outside(), at_balancer(4, family)),
        ] {
            let answer = client.request(&Request::new(to, Proto::Tcp));
            check(answer.reply().is_some(), &format!("{} -> {to}, {by}", client.name()), &answer)?;
        }
    }
    Ok(())
}
