//! The chart by itself: what it refuses, whether each of its keys counts, and whether the
//! kustomizations are what it says.

use std::fs;
use std::path::Path;

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::Trials;
use super::rig::{NAMESPACE, Rig, check, data, deploy};

pub(crate) const ALL: Trials = &[
    ("the_chart_is_clean", the_chart_is_clean),
    ("what_cannot_work_is_refused", what_cannot_work_is_refused),
    ("every_key_counts", every_key_counts),
    ("kustomizations_are_what_the_chart_says", kustomizations_are_what_the_chart_says),
    ("versions_are_said_once", versions_are_said_once),
];

/// The folders of `deploy/kustomize`.
pub(crate) fn kustomizations() -> Result<Vec<String>, Failed> {
    let mut names = Vec::new();
    for entry in fs::read_dir(deploy("kustomize"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    check(!names.is_empty(), "there are some", &names)?;
    Ok(names)
}

/// What the chart makes of these values.
pub(crate) fn render(rig: &Rig, values: &Path) -> Result<String, Failed> {
    let (chart, values) = (deploy("helm/closeby"), values.display().to_string());
    let chart = chart.display().to_string();
    rig.helm(&["template", "closeby", &chart, "--namespace", NAMESPACE, "--values", &values])
}

/// The same of values that are no file.
pub(crate) fn render_values(rig: &Rig, values: &Value) -> Result<String, Failed> {
    render(rig, Path::new(&rig.file("values.json", &values.to_string())?))
}

pub(crate) fn everything() -> Result<Value, Failed> {
    yaml(&data("everything.yaml"))
}

fn yaml(path: &Path) -> Result<Value, Failed> {
    Ok(serde_saphyr::from_str(&fs::read_to_string(path)?)?)
}

fn the_chart_is_clean(rig: &Rig) -> Result<(), Failed> {
    let chart = deploy("helm/closeby").display().to_string();
    let values = data("everything.yaml").display().to_string();
    rig.helm(&["lint", "--strict", "--quiet", &chart, "--values", &values]).map(drop)
}

fn what_cannot_work_is_refused(rig: &Rig) -> Result<(), Failed> {
    let cases = [
        ("", "apiServer.host is required"),
        ("apiServer.host=kubernetes.default.svc", "apiServer.host is the name of a Service"),
        ("apiServer.host=https://10.0.0.10", "at '/apiServer/host'"),
        ("apiServer.host=a,kubeProxyCleanup.enabled=true", "kubeProxyCleanup.image is required"),
        ("apiServer.host=a,shadow=true,serviceProxyName=b", "neither serviceProxyName nor"),
        ("apiServer.host=a,shadow=true,startupTaint=b", "no startupTaint to remove"),
        ("apiServer.host=a,metrics.podMonitor.enabled=true", "metrics.address is a loopback"),
        ("apiServer.host=a,config.healthzBindAddress=1.2.3.4", "at '/config/healthzBindAddress'"),
        ("apiServer.host=a,metrics.prot=1", "'prot' not allowed"),
    ];
    let chart = deploy("helm/closeby").display().to_string();
    for (values, reason) in cases {
        let said = rig.helm_refuses(&["template", "closeby", &chart, "--set", values])?;
        check(said.contains(reason), reason, &said)?;
    }
    Ok(())
}

/// Keys that count only without others, or together with some.
fn instead(key: &str) -> Value {
    match key {
        "image.digest" => json!({ "image": { "digest": format!("sha256:{}", "0".repeat(64)) } }),
        "shadow" => json!({
            "shadow": true, "serviceProxyName": "", "startupTaint": "", "kubeProxyCleanup": { "enabled": false },
        }),
        "existingConfigMap" => json!({ "existingConfigMap": "other" }),
        "apiServer.configMap" => json!({ "apiServer": { "host": "", "configMap": "other" } }),
        key if key.starts_with("cleanup.") => {
            json!({ "cleanup": { "enabled": true, "pauseImage": "other" } })
        }
        _ => json!({}),
    }
}

/// With each key in turn as it is by default, something else is made.
fn every_key_counts(rig: &Rig) -> Result<(), Failed> {
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(deploy("helm/closeby/values.schema.json"))?)?;
    let defaults = yaml(&deploy("helm/closeby/values.yaml"))?;
    let mut keys = Vec::new();
    collect_keys(&schema, "", &mut keys);
    for key in keys.iter().filter(|key| *key != "global") {
        let pointer = format!("/{}", key.replace('.', "/"));
        check(defaults.pointer(&pointer).is_some(), "values.yaml has", key)?;
        let mut values = everything()?;
        merge(&mut values, &instead(key));
        let with = render_values(rig, &values)?;
        remove(&mut values, key);
        // Without some there is nothing at all.
        let without = render_values(rig, &values);
        check(!matches!(without, Ok(without) if without == with), "it counts", key)?;
    }
    Ok(())
}

/// The keys of a schema that have no keys of ours below.
fn collect_keys(schema: &Value, path: &str, keys: &mut Vec<String>) {
    let fixed = schema["additionalProperties"] == json!(false);
    match schema["properties"].as_object().filter(|_| fixed) {
        Some(properties) => {
            for (name, schema) in properties {
                let dot = if path.is_empty() { "" } else { "." };
                collect_keys(schema, &format!("{path}{dot}{name}"), keys);
            }
        }
        None => keys.push(path.to_owned()),
    }
}

fn merge(values: &mut Value, more: &Value) {
    match (values, more) {
        (Value::Object(values), Value::Object(more)) => {
            for (key, more) in more {
                merge(values.entry(key).or_insert(Value::Null), more);
            }
        }
        (values, more) => *values = more.clone(),
    }
}

fn remove(values: &mut Value, key: &str) {
    let (above, name) = key.rsplit_once('.').unwrap_or(("", key));
    let above =
        if above.is_empty() { String::new() } else { format!("/{}", above.replace('.', "/")) };
    if let Some(Value::Object(fields)) = values.pointer_mut(&above) {
        fields.remove(name);
    }
}

fn kustomizations_are_what_the_chart_says(rig: &Rig) -> Result<(), Failed> {
    for name in kustomizations()? {
        let folder = deploy("kustomize").join(&name);
        let rendered = render(rig, &folder.join("values.yaml"))?;
        let file = folder.join("manifests.yaml");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&file, &rendered)?;
        }
        let why = "not what the chart says; UPDATE=1 cargo test -p closeby-agent --test deploy -- \
                   kustomizations writes it anew";
        check(fs::read_to_string(&file)? == rendered, why, &file)?;
    }
    Ok(())
}

/// One version of the program, one of Rust.
fn versions_are_said_once(_: &Rig) -> Result<(), Failed> {
    let chart = yaml(&deploy("helm/closeby/Chart.yaml"))?;
    for key in ["version", "appVersion"] {
        check(chart[key] == env!("CARGO_PKG_VERSION"), key, &chart)?;
    }
    let rust = fs::read_to_string(deploy("../rust-toolchain.toml"))?;
    let rust = rust.split('"').nth(1).ok_or("rust-toolchain.toml names a version")?;
    let dockerfile = fs::read_to_string(deploy("Dockerfile"))?;
    check(dockerfile.contains(&format!("FROM rust:{rust}-")), "the Dockerfile has", &rust)
}
