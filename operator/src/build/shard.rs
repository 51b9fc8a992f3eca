//! The record of a shard that nobody has led yet.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use quiver_api::internal::HashRange as Range;
use quiver_crds::shard::{Copy, HashRange, Restore, VectorShard, VectorShardSpec};

use super::{labels, owner};
use crate::validate::Valid;

/// Name of a shard's record.
pub fn name(collection: &str, shard: i32) -> String {
    format!("{collection}-{shard}")
}

/// A record with one copy in sync, minted here, that may be created empty (or from the snapshot) because nobody has
/// led it: `primaryBoot` is empty.
pub fn genesis(v: &Valid, shard: i32, pod: &str, copy_id: String) -> VectorShard {
    let part = |n: i32| u32::try_from(n).expect("the API server refuses negative numbers of shards");
    let range = Range::part(part(shard), part(v.spec.shards));
    let spec = VectorShardSpec {
        collection: v.name.clone(),
        collection_uid: v.uid.clone(),
        shard,
        term: 1,
        config_version: 1,
        range: HashRange::new(range.first, range.last),
        primary: copy_id.clone(),
        primary_boot: String::new(),
        copies: vec![Copy { id: copy_id, pod: pod.into(), in_sync: true, purpose: None }],
        restore: v
            .restore
            .as_ref()
            .map(|r| Restore { s3: (&r.s3).into(), manifest_key: r.manifest_key.clone() }),
        accept_data_loss_at_term: None,
    };
    let mut object = VectorShard::new(&name(&v.name, shard), spec);
    let owner: OwnerReference = serde_json::from_value(owner(v)).expect("an owner reference as built here");
    object.metadata = ObjectMeta {
        namespace: Some(v.namespace.clone()),
        labels: Some(serde_json::from_value(labels(v)).expect("labels are strings")),
        owner_references: Some(vec![owner]),
        ..object.metadata
    };
    object
}
