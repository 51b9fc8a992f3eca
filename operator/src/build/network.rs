//! Services and NetworkPolicy.

use quiver_crds::COLLECTION_LABEL;
use quiver_crds::collection::Managed;
use serde_json::{Value, json};

use super::{Kind, Object, PEER_PORT, REST_PORT, names, selector};
use crate::validate::Valid;

fn port(name: &str, number: u16) -> Value {
    json!({ "name": name, "port": number, "targetPort": name, "protocol": "TCP" })
}

/// For clients; any ready pod takes any request.
pub fn client_service(v: &Valid) -> Object {
    let spec = json!({ "spec": { "type": "ClusterIP", "selector": selector(&v.name), "ports": [port("rest", REST_PORT)] } });
    Object::owned(v, Kind::Service, &v.name, spec)
}

/// For peers and the operator: each pod by its name, ready or not.
pub fn headless_service(v: &Valid) -> Object {
    let spec = json!({ "spec": {
        "type": "ClusterIP",
        "clusterIP": "None",
        "publishNotReadyAddresses": true,
        "selector": selector(&v.name),
        "ports": [port("rest", REST_PORT), port("peer", PEER_PORT)],
    } });
    Object::owned(v, Kind::Service, &names::headless(&v.name), spec)
}

/// Anyone reaches the public port; only the collection's own pods and the operator reach the internal one.
pub fn network_policy(v: &Valid) -> Option<Object> {
    if v.spec.security.network_policy == Managed::None {
        return None;
    }
    let spec = json!({ "spec": {
        "podSelector": { "matchLabels": selector(&v.name) },
        "policyTypes": ["Ingress"],
        "ingress": [
            { "ports": [{ "port": "rest", "protocol": "TCP" }] },
            {
                "ports": [{ "port": "peer", "protocol": "TCP" }],
                "from": [
                    { "podSelector": { "matchLabels": { (COLLECTION_LABEL): v.name } } },
                    {
                        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": v.operator_namespace } },
                        "podSelector": { "matchLabels": { "app.kubernetes.io/name": "quiver-operator" } },
                    },
                ],
            },
        ],
    } });
    Some(Object::owned(v, Kind::NetworkPolicy, &v.name, spec))
}
