//! Environment of the node's container: how a pod learns what it belongs to.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, SecretKeySelector};
use quiver_crds::s3::CredentialsType;

use crate::names::{self, P2P_PORT, PEER_TLS_DIR, REST_PORT};
use crate::validate::Valid;

/// Where the volume is mounted.
pub const DATA_DIR: &str = "/data";
/// Where the certificate of the REST port is mounted.
pub const REST_TLS_DIR: &str = "/etc/quiver/tls";

fn plain(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.into(), value: Some(value.into()), ..EnvVar::default() }
}

fn from_field(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector { api_version: Some("v1".into()), field_path: path.into() };
    EnvVar {
        name: name.into(),
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
        ..EnvVar::default()
    }
}

fn from_secret(name: &str, secret: &str, key: &str) -> EnvVar {
    let secret = SecretKeySelector { name: secret.into(), key: key.into(), optional: None };
    EnvVar {
        name: name.into(),
        value_from: Some(EnvVarSource { secret_key_ref: Some(secret), ..EnvVarSource::default() }),
        ..EnvVar::default()
    }
}

/// All variables: the operator's own, then keys, then what the spec adds.
pub fn env(valid: &Valid) -> Vec<EnvVar> {
    let spec = &valid.spec;
    let mut env = vec![
        plain("QUIVER__SERVICE__HOST", "0.0.0.0"),
        plain("QUIVER__SERVICE__HTTP_PORT", REST_PORT.to_string()),
        plain("QUIVER__STORAGE__STORAGE_PATH", format!("{DATA_DIR}/storage")),
        plain("QUIVER__STORAGE__SNAPSHOTS_PATH", format!("{DATA_DIR}/snapshots")),
        plain("QUIVER__CLUSTER__ENABLED", "true"),
        plain("QUIVER__CLUSTER__COLLECTION", &valid.name),
        plain("QUIVER__CLUSTER__COLLECTION_UID", &valid.uid),
        from_field("QUIVER__CLUSTER__POD", "metadata.name"),
        from_field("QUIVER__CLUSTER__NAMESPACE", "metadata.namespace"),
        plain("QUIVER__CLUSTER__SERVICE", names::headless(&valid.name)),
        plain("QUIVER__CLUSTER__P2P_PORT", P2P_PORT.to_string()),
        plain("QUIVER__CLUSTER__TLS_DIR", PEER_TLS_DIR),
    ];
    if spec.security.tls.is_some() {
        env.push(plain("QUIVER__SERVICE__ENABLE_TLS", "true"));
        env.push(plain("QUIVER__TLS__CERT", format!("{REST_TLS_DIR}/tls.crt")));
        env.push(plain("QUIVER__TLS__KEY", format!("{REST_TLS_DIR}/tls.key")));
    }
    if let Some(key) = &spec.security.api_key_secret_ref {
        env.push(from_secret("QUIVER__SERVICE__API_KEY", &key.name, &key.key));
    }
    if let Some(key) = &spec.security.read_only_api_key_secret_ref {
        env.push(from_secret("QUIVER__SERVICE__READ_ONLY_API_KEY", &key.name, &key.key));
    }
    let credentials = valid.credentials.as_ref().filter(|c| c.kind == CredentialsType::Secret);
    if let Some(secret) = credentials.and_then(|c| c.secret_ref.as_ref()) {
        env.push(from_secret("AWS_ACCESS_KEY_ID", &secret.name, "access-key-id"));
        env.push(from_secret("AWS_SECRET_ACCESS_KEY", &secret.name, "secret-access-key"));
    }
    env.extend(spec.settings.iter().map(|s| plain(&s.name, &s.value)));
    env
}
