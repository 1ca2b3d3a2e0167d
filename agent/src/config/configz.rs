//! The configuration in force, as kube-proxy shows it on `/configz`.
//!
//! PURE. The defaults are kube-proxy's of 1.36.3 but for `nftables.minSyncPeriod`:
//! unset, nothing waits. What the file sets goes over them; of
//! `logging.vmodule` nothing is kept, so it is not shown.

use std::net::SocketAddr;

use serde_json::{Value as Json, json};

use super::duration::duration_text;
use super::mode;
use super::values::{Value, Values};

/// kube-proxy's defaults in nftables mode.
const DEFAULTS: &str = include_str!("defaults.json");

/// The configuration that follows from what is set.
pub(super) fn of(
    values: &Values,
    healthz: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
) -> Json {
    let mut shown = defaults();
    for (key, value) in values.set() {
        if let Some(value) = json(value) {
            put(&mut shown, key.path, value);
        }
    }
    if values.get("nftables.syncPeriod") == Some(&Value::DurationNs(0)) {
        // Unset: kube-proxy's default.
        put(&mut shown, "nftables.syncPeriod", json!("30s"));
    }
    if let Some(bind) = values.text("bindAddress") {
        // One of IPv6 has an effect and is no setting.
        put(&mut shown, "bindAddress", json!(bind));
    }
    for (path, at) in [("healthzBindAddress", healthz), ("metricsBindAddress", metrics)] {
        // Nowhere is an empty address.
        put(&mut shown, path, json!(at.map_or_else(String::new, |at| at.to_string())));
    }
    let masquerade_all = mode::masquerade_all(values);
    put(&mut shown, "nftables.masqueradeAll", json!(masquerade_all));
    put(&mut shown, mode::ITS_MASQUERADE_ALL, json!(false));
    put(&mut shown, "mode", json!("nftables"));
    shown
}

/// The configuration where nothing is set.
pub(super) fn defaults() -> Json {
    // A file of ours: a test reads it.
    serde_json::from_str(DEFAULTS).unwrap_or_default()
}

fn json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Text(text) => json!(text),
        Value::Flag(flag) => json!(flag),
        Value::Whole(number) => json!(number),
        Value::Number(number) => json!(number),
        Value::DurationNs(ns) => json!(duration_text(*ns)),
        Value::TextList(list) => list.iter().map(|(text, _)| text.as_str()).collect(),
        Value::Flags(flags) => json!(flags),
        Value::Some | Value::Nothing => return None,
    })
}

fn put(shown: &mut Json, path: &str, value: Json) {
    let place = path.split('.').fold(shown, |within, name| {
        if !within.is_object() {
            *within = json!({});
        }
        &mut within[name]
    });
    *place = value;
}
