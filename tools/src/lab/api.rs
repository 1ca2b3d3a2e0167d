//! A client of the control plane's API server: objects as JSON, in and out.

use std::fmt;
use std::path::Path;

use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::error::LabError;

/// Who owns the fields that are applied.
const MANAGER: &str = "fieldManager=lab&force=true";

/// One connection of one user. It belongs to the thread that opened it.
pub struct Api {
    runtime: Runtime,
    client: Client,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

impl Api {
    /// Gets ready to ask as this kubeconfig says, from the calling thread's namespace.
    ///
    /// # Errors
    /// Where the file says something impossible.
    pub fn open(kubeconfig: &Path) -> Result<Self, LabError> {
        let failed =
            |error: &dyn fmt::Display| LabError::Plan(format!("{}: {error}", kubeconfig.display()));
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(LabError::io("starting a runtime"))?;
        let read = Kubeconfig::read_from(kubeconfig).map_err(|error| failed(&error))?;
        let options = KubeConfigOptions::default();
        let config = runtime.block_on(Config::from_custom_kubeconfig(read, &options));
        let config = config.map_err(|error| failed(&error))?;
        let client = runtime.block_on(async { Client::try_from(config) });
        Ok(Self { client: client.map_err(|error| failed(&error))?, runtime })
    }

    /// What is at a path.
    ///
    /// # Errors
    /// What the server answers.
    pub fn get(&self, path: &str) -> Result<Value, LabError> {
        self.ask(&Method::GET, path, "application/json", &Value::Null)
    }

    /// Creates an object or changes it, as `kubectl apply --server-side` does.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn apply(&self, object: &Value) -> Result<(), LabError> {
        let path = format!("{}?{MANAGER}", path_of(object));
        self.ask(&Method::PATCH, &path, "application/apply-patch+yaml", object).map(drop)
    }

    /// Sets the status of an object.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn set_status(&self, object: &Value, status: &Value) -> Result<(), LabError> {
        let path = format!("{}/status", path_of(object));
        let patch = json!({ "status": status });
        self.ask(&Method::PATCH, &path, "application/merge-patch+json", &patch).map(drop)
    }

    /// Changes part of an object.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn merge(&self, object: &Value, patch: &Value) -> Result<(), LabError> {
        self.ask(&Method::PATCH, &path_of(object), "application/merge-patch+json", patch).map(drop)
    }

    /// Adds an object below a path.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn create(&self, path: &str, object: &Value) -> Result<(), LabError> {
        self.ask(&Method::POST, path, "application/json", object).map(drop)
    }

    /// Deletes an object, at once if there is no grace period.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn delete(&self, object: &Value, grace_s: Option<u32>) -> Result<(), LabError> {
        let options = json!({ "gracePeriodSeconds": grace_s });
        self.ask(&Method::DELETE, &path_of(object), "application/json", &options).map(drop)
    }

    fn ask(
        &self,
        method: &Method,
        path: &str,
        kind: &str,
        body: &Value,
    ) -> Result<Value, LabError> {
        let failed = |error: &dyn fmt::Display| LabError::Plan(format!("{method} {path}: {error}"));
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = request.body(body).map_err(|error| failed(&error))?;
        let answer = self.runtime.block_on(self.client.request_text(request));
        let answer = answer.map_err(|error| failed(&error))?;
        // The probes answer a word.
        Ok(serde_json::from_str(&answer).unwrap_or(Value::String(answer)))
    }
}

/// Where an object is in the API.
fn path_of(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = word(&object["apiVersion"]);
    let root = if version.contains('/') { "apis" } else { "api" };
    let kinds = word(&object["kind"]).to_lowercase() + "s";
    let (namespace, name) =
        (word(&object["metadata"]["namespace"]), word(&object["metadata"]["name"]));
    match namespace.as_str() {
        "" => format!("/{root}/{version}/{kinds}/{name}"),
        namespace => format!("/{root}/{version}/namespaces/{namespace}/{kinds}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_where_the_api_has_them() {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "namespace": "a", "name": "b" },
        });
        assert_eq!(path_of(&service), "/api/v1/namespaces/a/services/b");
        let cidr = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": { "name": "c" },
        });
        assert_eq!(path_of(&cidr), "/apis/networking.k8s.io/v1/servicecidrs/c");
    }
}
