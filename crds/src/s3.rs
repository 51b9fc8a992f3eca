//! Where snapshots are kept. Credentials are only ever named, never held.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where snapshots go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// A bucket of S3 or of a store that speaks its protocol.
    pub s3: S3,
}

/// A bucket and the way into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.prefix == '' || (!self.prefix.startsWith('/') && !self.prefix.endsWith('/'))")
        .message("s3.prefix is a path inside the bucket: write it without a slash at its start or end, e.g. vectors/docs"),
    validation = Rule::new("self.endpoint == '' || self.endpoint.startsWith('http://') || self.endpoint.startsWith('https://')")
        .message("s3.endpoint must be a URL such as https://minio.example:9000, or empty for AWS")
)]
pub struct S3 {
    #[schemars(length(min = 3, max = 63))]
    pub bucket: String,
    /// Path inside the bucket.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub prefix: String,
    #[serde(default)]
    #[schemars(length(max = 40))]
    pub region: String,
    /// URL of a store that isn't AWS.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub endpoint: String,
    /// Address the bucket as endpoint/bucket instead of bucket.endpoint; MinIO wants it.
    #[serde(default)]
    pub force_path_style: bool,
    #[serde(default)]
    pub credentials: Credentials,
}

/// How the nodes prove who they are to the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'Secret') == has(self.secretRef)")
        .message("credentials of type Secret need secretRef, and those of type WorkloadIdentity must not have it")
)]
pub struct Credentials {
    #[serde(default, rename = "type")]
    pub kind: CredentialsType,
    /// A Secret of the same namespace with the keys access-key-id and secret-access-key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// Kinds of credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CredentialsType {
    /// Keys from a Secret.
    Secret,
    /// From the pods' ServiceAccount (see spec.serviceAccount.annotations).
    #[default]
    WorkloadIdentity,
}

/// Names a Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One key of a Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A bucket without credentials: what a shard record carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Location {
    #[schemars(length(min = 3, max = 63))]
    pub bucket: String,
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub prefix: String,
    #[serde(default)]
    #[schemars(length(max = 40))]
    pub region: String,
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub endpoint: String,
    #[serde(default)]
    pub force_path_style: bool,
}

impl From<&S3> for S3Location {
    fn from(s3: &S3) -> Self {
        Self {
            bucket: s3.bucket.clone(),
            prefix: s3.prefix.clone(),
            region: s3.region.clone(),
            endpoint: s3.endpoint.clone(),
            force_path_style: s3.force_path_style,
        }
    }
}
