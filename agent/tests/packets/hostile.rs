//! What somebody who may write objects must not reach: the log's lines, and the
//! node's settings.

use std::collections::BTreeMap;
use std::fs;

use closeby_tools::lab::{Family, Host, LabError};
use libtest_mimic::Failed;
use serde_json::json;

use super::Trials;
use super::rig::{BY_NODE_RANGE, PATIENCE, Rig, Site, check, exposed, service, until, vip};

pub(crate) const ALL: Trials = &[
    ("no_name_breaks_the_log", no_name_breaks_the_log),
    ("no_setting_of_the_network_is_changed", no_setting_of_the_network_is_changed),
];

/// What a terminal would obey, and what looks like a line of the log.
const ODD: &str = "we\u{1b}[31mb\r\n2026-01-01T00:00:00Z ERROR all is lost";
const SHOWN: &str = r"we\u{1b}[31mb\r\n2026-01-01T00:00:00Z ERROR all is lost";
const HEALTH_PORT: u16 = 32_001;

/// Notes on what is read, on what is decided and on a health check, all of them
/// about Services of odd names.
fn no_name_breaks_the_log(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let _taken = site.node.serve(HEALTH_PORT)?;
    let backends = [site.pod("a2")];
    let mut first = service(ODD, 1).objects(&backends);
    let spec = &mut first[0]["spec"];
    spec["type"] = json!("LoadBalancer");
    spec["externalTrafficPolicy"] = json!("Local");
    spec["healthCheckNodePort"] = json!(HEALTH_PORT);
    spec["sessionAffinity"] = json!(ODD);
    let mut second = service(&format!("{ODD} too"), 1).objects(&backends);
    let back = vip(1, Family::V4);
    second[1]["endpoints"] = json!([{ "addresses": [back] }]);
    site.folder.write("first", &first)?;
    site.folder.write("second", &second)?;
    site.start()?;
    let read = || fs::read_to_string(site.root.join("agent.log"));
    for told in [
        "spec.sessionAffinity: ",
        "belongs to Service ",
        "is an address of Service ",
        "spec.healthCheckNodePort: cannot listen on ",
    ] {
        let is_told = |line: &str| line.contains(told) && line.contains(SHOWN);
        until(PATIENCE, told, || Ok(read()?.lines().any(is_told)))?;
    }
    let log = read()?;
    let is_odd = |letter: char| letter.is_control() && letter != '\n';
    check(!log.contains(is_odd), "no control character", &log)?;
    check(!log.contains("\n2026-01-01"), "no line of somebody else's", &log)
}

/// CVE-2020-8558 needed `route_localnet`, which kube-proxy used to set.
fn no_setting_of_the_network_is_changed(rig: &Rig) -> Result<(), Failed> {
    let mut site: Site<'_> = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&exposed("web", 1), &["a2", "b1"])?;
    let before = settings(site.node)?;
    check(before.contains_key("all/route_localnet"), "settings are seen", &before)?;
    site.start()?;
    check(settings(site.node)? == before, "settings", &())
}

/// IPv4's settings of all interfaces, and their values.
fn settings(host: &Host) -> Result<BTreeMap<String, String>, Failed> {
    let read = || -> std::io::Result<BTreeMap<String, String>> {
        let mut settings = BTreeMap::new();
        for interface in fs::read_dir("/proc/sys/net/ipv4/conf")? {
            let interface = interface?;
            for setting in fs::read_dir(interface.path())? {
                let setting = setting?;
                let name = [interface.file_name(), setting.file_name()];
                let name = name.map(|name| name.to_string_lossy().into_owned()).join("/");
                settings.insert(name, fs::read_to_string(setting.path())?);
            }
        }
        Ok(settings)
    };
    let told = |error: std::io::Error| LabError::Plan(format!("reading settings: {error}"));
    Ok(host.netns().run(|| read().map_err(told))?)
}
