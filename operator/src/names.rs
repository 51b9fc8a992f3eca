//! Names, ports and labels of what the operator makes: one place, so that nothing is spelled twice.

use std::collections::BTreeMap;

use quiver_crds::{COLLECTION_LABEL, COLLECTION_UID_LABEL};

/// REST.
pub const REST_PORT: i32 = 6333;
/// Peers and operator, mutual TLS.
pub const P2P_PORT: i32 = 6335;
/// Who applies.
pub const FIELD_MANAGER: &str = "quiver-operator";
/// Name of the node's container.
pub const CONTAINER: &str = "node";
/// Name of the volume claim template.
pub const VOLUME: &str = "data";
/// Removes the objects of a snapshot before the VectorSnapshot goes.
pub const SNAPSHOT_FINALIZER: &str = "quiver.dev/snapshot-objects";
/// Where the pods find the certificate of the internal port.
pub const PEER_TLS_DIR: &str = "/etc/quiver/peer-tls";

/// The headless Service that gives each pod its name.
pub fn headless(collection: &str) -> String {
    format!("{collection}-nodes")
}

/// The Secret with the certificates of the internal port.
pub fn peer_secret(collection: &str) -> String {
    format!("{collection}-peer-tls")
}

/// ServiceAccount, Role and RoleBinding of the pods.
pub fn node_account(collection: &str) -> String {
    format!("{collection}-node")
}

/// Name of a pod.
pub fn pod(collection: &str, ordinal: i32) -> String {
    format!("{collection}-{ordinal}")
}

/// Name of a shard's record.
pub fn shard(collection: &str, number: i32) -> String {
    format!("{collection}-{number}")
}

/// Ordinal of a pod of that collection.
pub fn ordinal(collection: &str, pod: &str) -> Option<i32> {
    pod.strip_prefix(collection)?.strip_prefix('-')?.parse().ok()
}

/// Host name of a pod, as its certificate has it.
pub fn host(collection: &str, namespace: &str, pod: &str) -> String {
    format!("{pod}.{}.{namespace}.svc", headless(collection))
}

/// What selects the pods of a collection.
pub fn selector(collection: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name".to_owned(), "quiver-node".to_owned()),
        (COLLECTION_LABEL.to_owned(), collection.to_owned()),
    ]
    .into()
}

/// Labels of everything that belongs to a collection.
pub fn labels(collection: &str, uid: &str) -> BTreeMap<String, String> {
    let mut labels = selector(collection);
    labels.insert("app.kubernetes.io/part-of".into(), "quiver".into());
    labels.insert("app.kubernetes.io/managed-by".into(), "quiver-operator".into());
    labels.insert("app.kubernetes.io/instance".into(), collection.to_owned());
    labels.insert(COLLECTION_UID_LABEL.into(), uid.to_owned());
    labels
}
