//! What the API server says to all of it: nothing.

use std::path::PathBuf;

use libtest_mimic::Failed;
use serde_json::json;

use super::Trials;
use super::chart::{everything, kustomizations, render_values};
use super::rig::{NAMESPACE, Rig, deploy};

pub(crate) const ALL: Trials = &[
    ("the_api_server_takes_charts", the_api_server_takes_charts),
    ("the_api_server_takes_kustomizations", the_api_server_takes_kustomizations),
    ("helm_installs_and_uninstalls", helm_installs_and_uninstalls),
];

/// Applies a file or a folder (`-f`, `-k`): first to see, then in earnest; and takes it away.
fn apply(rig: &Rig, flag: &str, path: &str) -> Result<(), Failed> {
    let strict = ["apply", "--validate=strict", flag, path];
    rig.kubectl(&[&strict[..], &["--dry-run=server"]].concat())?;
    rig.kubectl(&[&strict[..], &["--server-side", "--dry-run=server"]].concat())?;
    rig.kubectl(&strict)?;
    rig.kubectl(&["delete", flag, path]).map(drop)
}

fn the_api_server_takes_charts(rig: &Rig) -> Result<(), Failed> {
    let monitors = ["podmonitors", "servicemonitors"];
    for name in monitors {
        let file: PathBuf = rig.monitors().join(format!("monitoring.coreos.com_{name}.yaml"));
        rig.kubectl(&["apply", "--server-side", "-f", &file.display().to_string()])?;
        let definition = format!("crd/{name}.monitoring.coreos.com");
        rig.kubectl(&["wait", "--for=condition=Established", &definition])?;
    }
    let cases = [
        json!({ "apiServer": { "host": "10.0.0.10" } }),
        json!({ "cleanup": { "enabled": true } }),
        everything()?,
    ];
    for values in cases {
        let rendered = rig.file("rendered.yaml", &render_values(rig, &values)?)?;
        apply(rig, "-f", &rendered)?;
    }
    Ok(())
}

fn the_api_server_takes_kustomizations(rig: &Rig) -> Result<(), Failed> {
    for name in kustomizations()? {
        apply(rig, "-k", &deploy("kustomize").join(name).display().to_string())?;
    }
    Ok(())
}

fn helm_installs_and_uninstalls(rig: &Rig) -> Result<(), Failed> {
    let chart = deploy("helm/closeby").display().to_string();
    let host = "apiServer.host=10.0.0.10";
    rig.helm(&["install", "closeby", &chart, "--namespace", NAMESPACE, "--set", host])?;
    let longer = "terminationGracePeriodSeconds=20";
    rig.helm(&[
        "upgrade",
        "closeby",
        &chart,
        "--namespace",
        NAMESPACE,
        "--set",
        host,
        "--set",
        longer,
    ])?;
    let changed = rig.object("daemonset", "closeby")?;
    let spec = &changed["spec"]["template"]["spec"];
    super::rig::check(spec["terminationGracePeriodSeconds"] == 20, "changed", spec)?;
    rig.helm(&["uninstall", "closeby", "--namespace", NAMESPACE]).map(drop)
}
