//! From a valid collection to the objects that it needs. Pure: the same collection gives the same objects.

pub mod access;
pub mod certificate;
pub mod network;
pub mod pods;
pub mod schema;
pub mod shard;

use quiver_crds::{COLLECTION_LABEL, COLLECTION_UID_LABEL};
use serde_json::{Value, json};

use crate::validate::Valid;

/// Public port of the nodes.
pub const REST_PORT: u16 = 6333;
/// Internal port of the nodes.
pub const PEER_PORT: u16 = 6335;

/// Kinds of objects that the operator makes for a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    ServiceAccount,
    Role,
    RoleBinding,
    Secret,
    Service,
    NetworkPolicy,
    PodDisruptionBudget,
    StatefulSet,
}

impl Kind {
    /// Group, version, kind and plural.
    pub fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Kind::ServiceAccount => ("", "ServiceAccount", "serviceaccounts"),
            Kind::Role => ("rbac.authorization.k8s.io", "Role", "roles"),
            Kind::RoleBinding => ("rbac.authorization.k8s.io", "RoleBinding", "rolebindings"),
            Kind::Secret => ("", "Secret", "secrets"),
            Kind::Service => ("", "Service", "services"),
            Kind::NetworkPolicy => ("networking.k8s.io", "NetworkPolicy", "networkpolicies"),
            Kind::PodDisruptionBudget => ("policy", "PodDisruptionBudget", "poddisruptionbudgets"),
            Kind::StatefulSet => ("apps", "StatefulSet", "statefulsets"),
        }
    }

    /// E.g. `apps/v1`.
    pub fn api_version(self) -> String {
        let (group, ..) = self.names();
        if group.is_empty() { "v1".into() } else { format!("{group}/v1") }
    }
}

/// One object as it should be, ready for server-side apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub kind: Kind,
    pub name: String,
    pub value: Value,
}

impl Object {
    /// An object that the collection owns; `rest` are its fields beside metadata.
    pub fn owned(v: &Valid, kind: Kind, name: &str, rest: Value) -> Self {
        let mut value = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.names().1,
            "metadata": {
                "name": name,
                "namespace": v.namespace,
                "labels": labels(v),
                "ownerReferences": [owner(v)],
            },
        });
        merge(&mut value, rest);
        Self { kind, name: name.into(), value }
    }
}

/// Lays `more` over `base`, objects field by field.
pub fn merge(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, more) => *base = more,
    }
}

/// The collection as owner. Not blocking its deletion: that would need rights on the collection's finalizers.
pub fn owner(v: &Valid) -> Value {
    json!({
        "apiVersion": "quiver.dev/v1alpha1",
        "kind": "VectorCollection",
        "name": v.name,
        "uid": v.uid,
        "controller": true,
    })
}

/// Labels of everything that belongs to a collection.
pub fn labels(v: &Valid) -> Value {
    json!({
        "app.kubernetes.io/name": "quiver-node",
        "app.kubernetes.io/instance": v.name,
        "app.kubernetes.io/part-of": "quiver",
        "app.kubernetes.io/managed-by": "quiver-operator",
        (COLLECTION_LABEL): v.name,
        (COLLECTION_UID_LABEL): v.uid,
    })
}

/// What selects the pods. Can't ever change: a StatefulSet's selector can't.
pub fn selector(name: &str) -> Value {
    json!({ (COLLECTION_LABEL): name })
}

/// Names that derive from the collection's.
pub mod names {
    /// The Service between the pods.
    pub fn headless(collection: &str) -> String {
        format!("{collection}-nodes")
    }

    /// The Secret with the certificate of the internal port.
    pub fn peer_tls(collection: &str) -> String {
        format!("{collection}-peer-tls")
    }

    /// ServiceAccount, Role and RoleBinding of the pods.
    pub fn account(collection: &str) -> String {
        format!("{collection}-nodes")
    }

    /// A pod.
    pub fn pod(collection: &str, ordinal: usize) -> String {
        format!("{collection}-{ordinal}")
    }

    /// A pod's volume claim.
    pub fn claim(pod: &str) -> String {
        format!("data-{pod}")
    }

    /// The name by which peers and the operator reach a pod.
    pub fn host(collection: &str, namespace: &str, pod: &str) -> String {
        format!("{pod}.{}.{namespace}.svc", headless(collection))
    }

    /// Number at the end of a pod's name.
    pub fn ordinal(collection: &str, pod: &str) -> Option<usize> {
        pod.strip_prefix(collection)?.strip_prefix('-')?.parse().ok()
    }
}

/// Whether everything that `wanted` says is in `live`; what the API server added is none of our business.
pub fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .all(|(k, w)| live.get(k).is_some_and(|l| covers(l, w)) || is_empty(w) && !live.contains_key(k)),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(l, w)| covers(l, w))
        }
        (live, wanted) => live == wanted,
    }
}

/// What the API server leaves out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(o) => o.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Bool(b) => !b,
        Value::String(s) => s.is_empty(),
        Value::Number(_) => false,
    }
}
