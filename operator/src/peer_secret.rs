//! The Secret with the certificate of the internal port.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::build::certificate::PeerTls;
use crate::build::{Kind, Object, names};
use crate::validate::Valid;

/// Annotation with the time after which the certificate is no longer valid.
const NOT_AFTER: &str = "quiver.dev/not-after";

/// What the Secret holds; nothing if it isn't there or isn't whole.
pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<Option<PeerTls>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await.with_context(|| format!("reading the Secret {name}"))?;
    Ok(found.and_then(|secret| parse(&secret)))
}

fn parse(secret: &Secret) -> Option<PeerTls> {
    let data: &BTreeMap<_, _> = secret.data.as_ref()?;
    let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
    Some(PeerTls {
        ca_crt: text("ca.crt")?,
        ca_key: text("ca.key")?,
        tls_crt: text("tls.crt")?,
        tls_key: text("tls.key")?,
        not_after: secret.annotations().get(NOT_AFTER)?.parse().ok()?,
    })
}

/// The Secret as it should be.
pub fn object(v: &Valid, tls: &PeerTls) -> Object {
    let rest = json!({
        "metadata": { "annotations": { (NOT_AFTER): tls.not_after.to_string() } },
        "type": "Opaque",
        "stringData": {
            "ca.crt": tls.ca_crt,
            "ca.key": tls.ca_key,
            "tls.crt": tls.tls_crt,
            "tls.key": tls.tls_key,
        },
    });
    Object::owned(v, Kind::Secret, &names::peer_tls(&v.name), rest)
}
