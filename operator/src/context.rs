//! What every reconcile needs: the client, settings of the installation, what is remembered between two reconciles.
//! Nothing remembered here is needed: a restart forgets it and only does some things again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use parking_lot::Mutex;

use crate::metrics::Metrics;
use crate::node_client::NodeClients;

/// What the operator was installed with.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Image of nodes whose collection doesn't name one.
    pub node_image: String,
    pub operator_namespace: String,
}

impl Defaults {
    /// The image without its tag, and the tag.
    pub fn image_parts(&self) -> (&str, &str) {
        let plain = self.node_image.split_once('@').map_or(self.node_image.as_str(), |(name, _)| name);
        match plain.rsplit_once(':') {
            // A colon before a slash belongs to the registry's port.
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (plain, "latest"),
        }
    }
}

/// What every reconcile needs.
pub struct Context {
    pub client: Client,
    pub defaults: Defaults,
    pub nodes: NodeClients,
    pub metrics: Metrics,
    recorder: Recorder,
    /// By uid of the collection and pod: the process that has a schema, and the schema's digest.
    pushed: Mutex<BTreeMap<(String, String), (String, u64)>>,
    /// How often in a row the reconcile of an object failed.
    failures: Mutex<BTreeMap<String, u32>>,
}

impl Context {
    pub fn new(client: Client, defaults: Defaults, pod: Option<String>) -> Self {
        let reporter = Reporter { controller: "quiver-operator".into(), instance: pod };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            defaults,
            nodes: NodeClients::default(),
            metrics: Metrics::new(),
            pushed: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    /// Digest of the schema that this process of a pod has, if it was pushed since the operator started.
    pub fn pushed(&self, uid: &str, pod: &str, boot: &str) -> Option<u64> {
        let pushed = self.pushed.lock();
        pushed.get(&(uid.to_owned(), pod.to_owned())).filter(|(b, _)| b == boot).map(|(_, digest)| *digest)
    }

    /// Remembers what was pushed.
    pub fn remember_pushed(&self, uid: &str, pod: &str, boot: &str, digest: u64) {
        self.pushed.lock().insert((uid.to_owned(), pod.to_owned()), (boot.to_owned(), digest));
    }

    /// Forgets a collection that is gone.
    pub fn forget(&self, uid: &str) {
        self.pushed.lock().retain(|(of, _), _| of != uid);
        self.nodes.forget(uid);
    }

    /// Counts a failure; gives how many there were in a row.
    pub fn failed(&self, object: &str) -> u32 {
        let mut failures = self.failures.lock();
        let count = failures.entry(object.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// Forgets failures.
    pub fn succeeded(&self, object: &str) {
        self.failures.lock().remove(object);
    }

    /// Says something about an object to people. Not being able to is no reason to stop.
    pub async fn event(&self, about: &ObjectReference, warning: bool, reason: &str, note: String) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.into(),
            note: Some(note.chars().take(1000).collect()),
            action: "Reconcile".into(),
            secondary: None,
        };
        if let Err(e) = self.recorder.publish(&event, about).await {
            tracing::warn!("an event could not be published: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_image_are_found() {
        let check = |image: &str, expected: (&str, &str)| {
            let defaults = Defaults { node_image: image.into(), operator_namespace: String::new() };
            assert_eq!(defaults.image_parts(), expected, "{image}");
        };
        check("ghcr.io/x/quiver-node:0.1.0", ("ghcr.io/x/quiver-node", "0.1.0"));
        check("registry:5000/quiver-node", ("registry:5000/quiver-node", "latest"));
        check("registry:5000/quiver-node:1@sha256:ab", ("registry:5000/quiver-node", "1"));
    }
}
