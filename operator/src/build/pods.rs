//! The StatefulSet: one pod and one volume for each node.

use quiver_crds::collection::{DeletionPolicy, TopologySpread};
use quiver_crds::{COLLECTION_LABEL, COLLECTION_UID_LABEL};
use serde_json::{Value, json};

use super::{Kind, Object, PEER_PORT, REST_PORT, labels, merge, names, selector};
use crate::validate::Valid;

/// Where the certificate of the internal port is mounted.
const PEER_TLS_DIR: &str = "/etc/quiver/peer";
/// Where the certificate of the public port is mounted.
const TLS_DIR: &str = "/etc/quiver/tls";
/// User and group of the process: `nonroot` in the images.
const USER: i64 = 65532;

/// The StatefulSet with so many pods. `claim_templates` are those of the one that is there, which never change.
pub fn stateful_set(v: &Valid, replicas: i32, claim_templates: Option<&Value>) -> Object {
    let when_deleted = match v.spec.deletion_policy {
        DeletionPolicy::Retain => "Retain",
        DeletionPolicy::Delete => "Delete",
    };
    let spec = json!({ "spec": {
        "replicas": replicas,
        "serviceName": names::headless(&v.name),
        "podManagementPolicy": "Parallel",
        "updateStrategy": { "type": "OnDelete" },
        "persistentVolumeClaimRetentionPolicy": { "whenDeleted": when_deleted, "whenScaled": "Retain" },
        "revisionHistoryLimit": 3,
        "selector": { "matchLabels": selector(&v.name) },
        "template": template(v),
        "volumeClaimTemplates": claim_templates.cloned().unwrap_or_else(|| json!([claim_template(v)])),
    } });
    Object::owned(v, Kind::StatefulSet, &v.name, spec)
}

fn claim_template(v: &Valid) -> Value {
    let storage = &v.spec.storage;
    let mut template = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "data",
            "labels": { (COLLECTION_LABEL): v.name, (COLLECTION_UID_LABEL): v.uid },
        },
        "spec": {
            "accessModes": [storage.access_mode],
            "resources": { "requests": { "storage": storage.size } },
        },
    });
    if let Some(class) = &storage.storage_class_name {
        template["spec"]["storageClassName"] = json!(class);
    }
    template
}

fn template(v: &Valid) -> Value {
    let scheduling = &v.spec.scheduling;
    let pull_secrets: Vec<Value> =
        v.spec.image.pull_secrets.iter().map(|s| json!({ "name": s.name })).collect();
    let mut spec = json!({
        "serviceAccountName": names::account(&v.name),
        "automountServiceAccountToken": true,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container(v)],
        "volumes": volumes(v),
        "topologySpreadConstraints": spread(v),
        "affinity": affinity(v),
    });
    let mut set = |key: &str, value: Value| spec[key] = value;
    if !pull_secrets.is_empty() {
        set("imagePullSecrets", json!(pull_secrets));
    }
    if !scheduling.node_selector.is_empty() {
        set("nodeSelector", json!(scheduling.node_selector));
    }
    if !scheduling.tolerations.is_empty() {
        set("tolerations", json!(scheduling.tolerations));
    }
    if let Some(class) = &scheduling.priority_class_name {
        set("priorityClassName", json!(class));
    }
    let mut metadata = json!({ "labels": labels(v) });
    if !v.secrets_version.is_empty() {
        merge(&mut metadata, json!({ "annotations": { "quiver.dev/secrets": v.secrets_version } }));
    }
    json!({ "metadata": metadata, "spec": spec })
}

/// Pods keep away from each other where they can; they start even where they can't.
fn spread(v: &Valid) -> Value {
    let over = |key: &str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": selector(&v.name) },
        })
    };
    match v.spec.scheduling.topology_spread {
        TopologySpread::Host => json!([over("kubernetes.io/hostname")]),
        TopologySpread::Zone => json!([over("topology.kubernetes.io/zone"), over("kubernetes.io/hostname")]),
        TopologySpread::None => json!([]),
    }
}

fn affinity(v: &Valid) -> Value {
    if let Some(affinity) = &v.spec.scheduling.affinity {
        return json!(affinity);
    }
    if v.spec.scheduling.topology_spread == TopologySpread::None {
        return json!({});
    }
    json!({ "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 100,
        "podAffinityTerm": {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": { "matchLabels": selector(&v.name) },
        },
    }] } })
}

fn container(v: &Valid) -> Value {
    let scheme = if v.spec.security.tls.is_some() { "HTTPS" } else { "HTTP" };
    let probe = |path: &str, period: i32, failures: i32| {
        json!({
            "httpGet": { "path": path, "port": "rest", "scheme": scheme },
            "periodSeconds": period,
            "timeoutSeconds": 5,
            "failureThreshold": failures,
        })
    };
    let mut mounts = vec![
        json!({ "name": "data", "mountPath": "/data" }),
        json!({ "name": "tmp", "mountPath": "/tmp" }),
        json!({ "name": "peer-tls", "mountPath": PEER_TLS_DIR, "readOnly": true }),
    ];
    if v.spec.security.tls.is_some() {
        mounts.push(json!({ "name": "tls", "mountPath": TLS_DIR, "readOnly": true }));
    }
    json!({
        "name": "node",
        "image": v.image,
        "imagePullPolicy": v.pull_policy,
        "env": environment(v),
        "ports": [
            { "name": "rest", "containerPort": REST_PORT, "protocol": "TCP" },
            { "name": "peer", "containerPort": PEER_PORT, "protocol": "TCP" },
        ],
        "readinessProbe": probe("/readyz", 2, 3),
        // Generous: a process that replays a long log answers, and one that hangs has a minute.
        "livenessProbe": probe("/livez", 10, 6),
        "startupProbe": probe("/livez", 2, 60),
        "resources": v.spec.resources,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": mounts,
    })
}

fn environment(v: &Valid) -> Value {
    let plain = |name: &str, value: &str| json!({ "name": name, "value": value });
    let secret = |name: &str, secret: &str, key: &str| json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": secret, "key": key } } });
    let field =
        |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let mut env = vec![
        plain("QUIVER__SERVICE__HOST", "0.0.0.0"),
        plain("QUIVER__SERVICE__HTTP_PORT", &REST_PORT.to_string()),
        plain("QUIVER__STORAGE__STORAGE_PATH", "/data/storage"),
        plain("QUIVER__STORAGE__SNAPSHOTS_PATH", "/data/snapshots"),
        plain("QUIVER__CLUSTER__ENABLED", "true"),
        plain("QUIVER__CLUSTER__COLLECTION", &v.name),
        plain("QUIVER__CLUSTER__COLLECTION_UID", &v.uid),
        field("QUIVER__CLUSTER__POD", "metadata.name"),
        field("QUIVER__CLUSTER__NAMESPACE", "metadata.namespace"),
        plain("QUIVER__CLUSTER__SERVICE", &names::headless(&v.name)),
        plain("QUIVER__CLUSTER__P2P_PORT", &PEER_PORT.to_string()),
        plain("QUIVER__CLUSTER__TLS_DIR", PEER_TLS_DIR),
    ];
    let security = &v.spec.security;
    if let Some(key) = &security.api_key_secret_ref {
        env.push(secret("QUIVER__SERVICE__API_KEY", &key.name, &key.key));
    }
    if let Some(key) = &security.read_only_api_key_secret_ref {
        env.push(secret("QUIVER__SERVICE__READ_ONLY_API_KEY", &key.name, &key.key));
    }
    if security.tls.is_some() {
        env.push(plain("QUIVER__SERVICE__ENABLE_TLS", "true"));
        env.push(plain("QUIVER__TLS__CERT", &format!("{TLS_DIR}/tls.crt")));
        env.push(plain("QUIVER__TLS__KEY", &format!("{TLS_DIR}/tls.key")));
    }
    if let Some(name) = &v.s3_secret {
        env.push(secret("AWS_ACCESS_KEY_ID", name, "access-key-id"));
        env.push(secret("AWS_SECRET_ACCESS_KEY", name, "secret-access-key"));
    }
    env.extend(v.spec.settings.iter().map(|s| plain(&s.name, &s.value)));
    json!(env)
}

fn volumes(v: &Valid) -> Value {
    let items: Vec<Value> = ["ca.crt", "tls.crt", "tls.key"].map(|k| json!({ "key": k, "path": k })).to_vec();
    let mut volumes = vec![
        json!({ "name": "tmp", "emptyDir": {} }),
        // Never the authority's key.
        json!({ "name": "peer-tls", "secret": {
            "secretName": names::peer_tls(&v.name), "defaultMode": 0o440, "items": items } }),
    ];
    if let Some(tls) = &v.spec.security.tls {
        volumes.push(
            json!({ "name": "tls", "secret": { "secretName": tls.secret_name, "defaultMode": 0o440 } }),
        );
    }
    json!(volumes)
}
