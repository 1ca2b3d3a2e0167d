//! The taint that keeps pods off a node until it serves (`--remove-startup-taint`): it is removed
//! from this node's Node once the kernel has a generation, and whenever the Node comes with it again.
//!
//! The list of taints is replaced by a patch that first says what the list is: who changed it
//! meanwhile is not overruled, but read again.

use std::rc::Rc;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::Told;
use super::failure::Failure;
use super::kinds::Watched as _;
use super::link::{Link, chance};
use super::patience::Patience;
use crate::model::NodeName;
use crate::watch::objects::Node;

/// The longest wait after a failure.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often it is tried again where it is not allowed: rights may be given meanwhile.
const FORBIDDEN_EVERY: Duration = Duration::from_secs(60);

/// Removes taints of this key for ever, from when the agent serves.
pub(super) async fn remove(link: Rc<Link>, node: NodeName, key: Option<String>, serves: &Notify) {
    let Some(key) = key else { return };
    serves.notified().await;
    let (start, mut patience) = (Instant::now(), Patience::default());
    let mut is_told = false;
    loop {
        match remove_once(&link, &node, &key).await {
            Ok(is_removed) => {
                is_told = false;
                if is_removed {
                    let node = node.as_str();
                    link.tell(Told::News(format!("removed the taint {key} from Node {node}")));
                }
                link.tainted.notified().await;
            }
            Err(Failure::Forbidden { message, .. }) => {
                if !is_told {
                    link.tell(Told::Trouble(format!(
                        "the taint {key} stays on Node {}, for it is not allowed to remove it: \
                         {message}; give this agent's user or ServiceAccount a ClusterRole with \
                         the verb patch on nodes (the chart does with startupTaint), or remove the \
                         taint by hand",
                        node.as_str()
                    )));
                }
                is_told = true;
                let _ = timeout(FORBIDDEN_EVERY, link.tainted.notified()).await;
            }
            // Told of by who follows the Node; or somebody else changed the taints.
            Err(_) => sleep(patience.wait(start.elapsed(), RETRY_MAX, chance())).await,
        }
    }
}

/// Whether there was one. No Node has none.
async fn remove_once(link: &Link, node: &NodeName, key: &str) -> Result<bool, Failure> {
    // To get one object takes another right.
    let path = format!("{}?fieldSelector=metadata.name%3D{}", Node::PATH, node.as_str());
    let list = link.ask("list", Method::GET, &path, "application/json", String::new()).await?;
    let Some(patch) = patch(list.pointer("/items/0/spec/taints"), key) else { return Ok(false) };
    let path = format!("{}/{}", Node::PATH, node.as_str());
    let kind = "application/json-patch+json";
    link.ask("patch", Method::PATCH, &path, kind, patch.to_string()).await.map(|_| true)
}

/// What takes taints of this key off a list, if it has any.
fn patch(taints: Option<&Value>, key: &str) -> Option<Value> {
    let taints = taints?.as_array()?;
    let rest: Vec<_> = taints.iter().filter(|taint| taint["key"] != key).collect();
    let path = "/spec/taints";
    (rest.len() < taints.len()).then(|| {
        json!([
            { "op": "test", "path": path, "value": taints },
            { "op": "replace", "path": path, "value": rest },
        ])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_others_stay() {
        let taint = |key: &str, effect: &str| json!({ "key": key, "effect": effect });
        let (ours, too) = (taint("ours", "NoSchedule"), taint("ours", "NoExecute"));
        let other = taint("other", "NoSchedule");
        let all = json!([ours, other, too]);
        let patch_of = |taints: &Value| patch(Some(taints), "ours");
        let expected = json!([
            { "op": "test", "path": "/spec/taints", "value": all },
            { "op": "replace", "path": "/spec/taints", "value": [other] },
        ]);
        assert_eq!(patch_of(&all), Some(expected));
        for nothing in [json!([other]), json!([]), json!(null), json!("x"), json!([null])] {
            assert_eq!(patch_of(&nothing), None, "{nothing}");
        }
        assert_eq!(patch(None, "ours"), None);
    }
}
