//! SCTP: first packets, caught where the endpoint would get them.

use std::net::SocketAddr;

use closeby_tools::lab::{Arrived, Family, Landed, sctp};
use libtest_mimic::Failed;
use serde_json::json;

use super::Trials;
use super::rig::{
    BY_NODE_RANGE, PATIENCE, PORT, Rig, Saw, TARGET, at_node, at_vip, check, node_port, service,
};

pub(crate) const ALL: Trials = &[("sctp_goes_through", sctp_goes_through)];

/// From a pod to an endpoint elsewhere: by the ClusterIP its source is kept, by
/// the node port it is replaced. The checksum covers the ports and must be right.
fn sctp_goes_through(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let (client, server) = (rig.cluster.pod("a1"), rig.cluster.pod("b1"));
    let mut objects = service("signals", 1).objects(&[server]);
    objects[0]["spec"]["ports"] = json!([{ "name": "sctp", "protocol": "SCTP", "port": PORT,
        "targetPort": TARGET, "nodePort": node_port(1) }]);
    for slice in &mut objects[1..] {
        slice["ports"] = json!([{ "name": "sctp", "protocol": "SCTP", "port": TARGET }]);
    }
    site.folder.write("signals", &objects)?;
    site.start()?;
    for family in Family::BOTH {
        let [own, node] = [client, site.node].map(|host| host.address(family));
        let ways = [(at_vip(1, family), own, "n"), (at_node(site.node, 1, family), node, "m")];
        for (to, source, how) in ways {
            let landed = sctp(client, to, &[server], PATIENCE)?;
            let Landed::At(Arrived { from, to: at, is_whole, .. }) = landed else {
                return Err(format!("{to}: {landed:?}").into());
            };
            let seen = (from.ip(), at, is_whole);
            let expected = (source, SocketAddr::new(server.address(family), TARGET), true);
            check(seen == expected, &format!("{to}, expected {expected:?}"), &seen)?;
            let explained = site.explained(client, to, "sctp")?;
            check(
                explained == Saw::expected(&["b1"], how),
                &format!("{to} explained"),
                &explained,
            )?;
        }
    }
    Ok(())
}
