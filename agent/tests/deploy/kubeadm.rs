//! kubeadm's own DaemonSet becomes ours, and its own again.

use std::fs;

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::Trials;
use super::pod::{Pod, list, text};
use super::rig::{NAMESPACE, Rig, check, data, deploy};

pub(crate) const ALL: Trials = &[
    ("kubeadms_daemon_set_becomes_ours", kubeadms_daemon_set),
    ("shadow_takes_kubeadms_configuration", shadow),
];

const TEMPLATE: &str = "/spec/template/spec";

/// What kubeadm makes, for this API server.
fn kubeadms_objects(rig: &Rig) -> Result<String, Failed> {
    let objects = fs::read_to_string(data("kubeadm.yaml"))?;
    let config = fs::read_to_string(data("../../src/config/tests/kubeadm.yaml"))?;
    let config: Vec<_> = config.lines().map(|line| format!("    {line}")).collect();
    let server = format!("https://{}", rig.plane.address());
    let objects = objects.replace("server: SERVER", &format!("server: {server}"));
    rig.file("kubeadm.yaml", &objects.replace("CONFIG\n", &format!("{}\n", config.join("\n"))))
}

fn kubeadms_daemon_set(rig: &Rig) -> Result<(), Failed> {
    let kubeadm = kubeadms_objects(rig)?;
    rig.kubectl(&["apply", "-f", &kubeadm])?;
    let theirs = rig.object("daemonset", "kube-proxy")?;
    let config = rig.object("configmap", "kube-proxy")?;
    is_rolled_out(rig)?;

    // Its image alone: the program is found by kube-proxy's name, too.
    let image = ["set", "image", "daemonset/kube-proxy", "kube-proxy=closeby:0.1.0"];
    rig.kubectl(&[&["-n", NAMESPACE], &image[..]].concat())?;
    is_rolled_out(rig)?;
    Pod::of(rig, "kube-proxy")?.start("kube-proxy")?;

    for name in ["replace-kube-proxy", "replace-kube-proxy-iptables"] {
        let folder = deploy("kustomize").join(name).display().to_string();
        rig.kubectl(&["replace", "--validate=strict", "-k", &folder])?;
        let ours = rig.object("daemonset", "kube-proxy")?;
        let containers: Vec<_> = list(&ours["spec"]["template"]["spec"]["containers"])
            .map(|c| text(&c["name"]))
            .collect();
        check(containers == ["kube-proxy"], "one container", &containers)?;
        check(rig.object("configmap", "kube-proxy")? == config, "its ConfigMap", &config)?;
        Pod::of(rig, "kube-proxy")?.start("kube-proxy")?;
        is_rolled_out(rig)?;
        let undo = ["-n", NAMESPACE, "rollout", "undo", "daemonset/kube-proxy", "--to-revision=1"];
        if name == "replace-kube-proxy" {
            rig.kubectl(&undo)?;
            let back = rig.object("daemonset", "kube-proxy")?;
            let spec = |object: &Value| object.pointer(TEMPLATE).cloned().unwrap_or(json!(null));
            check(spec(&back) == spec(&theirs), "as it was", &spec(&back))?;
        }
    }
    rig.kubectl(&["delete", "-f", &kubeadm]).map(drop)
}

/// Nobody runs here that it could be compared with.
fn shadow(rig: &Rig) -> Result<(), Failed> {
    let kubeadm = kubeadms_objects(rig)?;
    rig.kubectl(&["apply", "-f", &kubeadm])?;
    let folder = deploy("kustomize/shadow").display().to_string();
    rig.kubectl(&["apply", "-k", &folder])?;
    let pod = Pod::of(rig, "closeby-shadow")?;
    let agent = pod.spawn("closeby-shadow")?;
    rig.until("it waits for kube-proxy's tables", |_| {
        Ok(agent.log_tail().contains("no tables of kube-proxy's nftables mode"))
    })?;
    drop(agent);
    rig.kubectl(&["delete", "-k", &folder])?;
    rig.kubectl(&["delete", "-f", &kubeadm]).map(drop)
}

/// The controller has taken note of the newest template, which is what one goes back to.
fn is_rolled_out(rig: &Rig) -> Result<(), Failed> {
    rig.until("the controller sees the DaemonSet", |rig| {
        let object = rig.object("daemonset", "kube-proxy")?;
        Ok(object["status"]["observedGeneration"] == object["metadata"]["generation"])
    })
}
