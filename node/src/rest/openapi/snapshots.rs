//! The operations on snapshots of shards and of the whole storage.

use quiver_api::collections::SnapshotDescription;

use super::table::{Answer, Operation, Upload, of, operation};
use crate::rest::snapshots::Recover;

pub(super) const OPERATIONS: &[Operation] = &[
    operation(
        "GET",
        "/collections/{collection_name}/shards/{shard_id}/snapshot",
        "The data of a shard as a tar that is kept nowhere.",
        &[],
        None,
        Answer::File,
    ),
    operation(
        "GET",
        "/collections/{collection_name}/shards/{shard_id}/snapshots",
        "Snapshots of a shard.",
        &[],
        None,
        Answer::Result(of::<Vec<SnapshotDescription>>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/shards/{shard_id}/snapshots",
        "Make a snapshot of a shard.",
        &["wait"],
        None,
        Answer::Result(of::<SnapshotDescription>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/shards/{shard_id}/snapshots/upload",
        "Recover a shard from the snapshot in the body.",
        &["wait", "priority", "checksum"],
        Some(of::<Upload>),
        Answer::Result(of::<bool>),
    ),
    operation(
        "PUT",
        "/collections/{collection_name}/shards/{shard_id}/snapshots/recover",
        "Recover a shard from a snapshot that lies elsewhere.",
        &["wait"],
        Some(of::<Recover>),
        Answer::Result(of::<bool>),
    ),
    operation(
        "GET",
        "/collections/{collection_name}/shards/{shard_id}/snapshots/{snapshot_name}",
        "A snapshot of a shard as a tar.",
        &[],
        None,
        Answer::File,
    ),
    operation(
        "DELETE",
        "/collections/{collection_name}/shards/{shard_id}/snapshots/{snapshot_name}",
        "Delete a snapshot of a shard.",
        &["wait"],
        None,
        Answer::Result(of::<bool>),
    ),
    operation(
        "GET",
        "/snapshots",
        "Snapshots of the whole storage.",
        &[],
        None,
        Answer::Result(of::<Vec<SnapshotDescription>>),
    ),
    operation(
        "POST",
        "/snapshots",
        "Make a snapshot of the whole storage.",
        &["wait"],
        None,
        Answer::Result(of::<SnapshotDescription>),
    ),
    operation(
        "GET",
        "/snapshots/{snapshot_name}",
        "A snapshot of the whole storage as a tar.",
        &[],
        None,
        Answer::File,
    ),
    operation(
        "DELETE",
        "/snapshots/{snapshot_name}",
        "Delete a snapshot of the whole storage.",
        &["wait"],
        None,
        Answer::Result(of::<bool>),
    ),
];
