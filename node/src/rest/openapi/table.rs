//! Every operation of the public port but the dashboard's pages. That it agrees with the routes is tested from outside, by
//! asking a node for each path with each method.
#![allow(dead_code)] // Answers that are printed where they are made have a type only here.

use quiver_api::cluster_operations::ClusterOperation;
use quiver_api::collections::*;
use quiver_api::facet::{FacetRequest, FacetResponse};
use quiver_api::point::{PointId, Record, ScoredPoint};
use quiver_api::points::*;
use quiver_api::query::*;
use quiver_api::quotas::{QuotaConfig, QuotaStatus};
use quiver_api::shard_key::{CreateShardKey, DropShardKey};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::reports::{
    ClusterStatus, CollectionClusterInfo, CollectionInfo, IssuesReport, OptimizationsResponse,
    ShardKeysResponse,
};
use super::telemetry::{DistributedTelemetryData, TelemetryData};
use crate::rest::snapshots::Recover;

pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One method of one path, as the document shows it.
pub(super) struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    pub summary: &'static str,
    /// Names of its query parameters.
    pub query: &'static [&'static str],
    pub body: Option<SchemaOf>,
    pub answer: Answer,
}

/// What is answered when all is well.
pub(super) enum Answer {
    Text,
    File,
    /// JSON without an envelope.
    Bare(SchemaOf),
    /// The `result` of the envelope.
    Result(SchemaOf),
}

pub(super) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// This document, whose form a specification of its own has.
fn openapi(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "title": "OpenApi"})
}

#[derive(JsonSchema)]
struct VersionInfo {
    title: String,
    version: String,
    commit: Option<String>,
}

#[derive(JsonSchema)]
struct CollectionName {
    name: String,
}

#[derive(JsonSchema)]
struct Collections {
    collections: Vec<CollectionName>,
}

#[derive(JsonSchema)]
struct Aliases {
    aliases: Vec<AliasDescription>,
}

#[derive(JsonSchema)]
struct Existence {
    exists: bool,
}

#[derive(JsonSchema)]
struct Count {
    count: u64,
}

#[derive(JsonSchema)]
struct Points {
    points: Vec<ScoredPoint>,
}

#[derive(JsonSchema)]
struct Page {
    points: Vec<Record>,
    next_page_offset: Option<PointId>,
}

/// A tar as a file of a form.
#[derive(JsonSchema)]
pub(super) struct Upload {
    snapshot: String,
}

const TIMEOUT: &[&str] = &["timeout"];
const READ: &[&str] = &["consistency", "timeout"];
const WRITE: &[&str] = &["wait", "ordering", "timeout"];

pub(super) const fn operation(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
    body: Option<SchemaOf>,
    answer: Answer,
) -> Operation {
    Operation { method, path, summary, query, body, answer }
}

pub(super) const OPERATIONS: &[Operation] = &[
    operation("GET", "/", "Title and version.", &[], None, Answer::Bare(of::<VersionInfo>)),
    operation("GET", "/openapi.json", "This document.", &[], None, Answer::Bare(openapi)),
    operation("GET", "/healthz", "Whether the process runs.", &[], None, Answer::Text),
    operation("GET", "/livez", "Whether the process runs.", &[], None, Answer::Text),
    operation("GET", "/readyz", "Whether all shards can be asked.", &[], None, Answer::Text),
    operation(
        "GET",
        "/telemetry",
        "What the node has done.",
        &["anonymize", "details_level", "per_collection", "timeout"],
        None,
        Answer::Result(of::<TelemetryData>),
    ),
    operation(
        "GET",
        "/metrics",
        "Numbers for Prometheus.",
        &["anonymize", "per_collection", "timeout"],
        None,
        Answer::Text,
    ),
    operation("GET", "/issues", "What could be better.", &[], None, Answer::Result(of::<IssuesReport>)),
    operation("DELETE", "/issues", "Forget what was reported.", &[], None, Answer::Result(of::<bool>)),
    operation(
        "GET",
        "/cluster",
        "The state of the cluster of the original, which is always disabled here.",
        &[],
        None,
        Answer::Result(of::<ClusterStatus>),
    ),
    operation(
        "GET",
        "/cluster/telemetry",
        "Shards and nodes of a node set.",
        &["details_level", "timeout"],
        None,
        Answer::Result(of::<DistributedTelemetryData>),
    ),
    operation(
        "GET",
        "/quotas",
        "How much may be filled, and is.",
        &[],
        None,
        Answer::Result(of::<QuotaStatus>),
    ),
    operation(
        "PUT",
        "/quotas",
        "Sets how much may be filled.",
        &["wait"],
        Some(of::<QuotaConfig>),
        Answer::Result(of::<bool>),
    ),
    operation("POST", "/cluster/recover", "Always refused.", &[], None, Answer::Result(of::<bool>)),
    operation(
        "DELETE",
        "/cluster/peer/{peer_id}",
        "Always refused.",
        &["timeout", "force"],
        None,
        Answer::Result(of::<bool>),
    ),
    operation("GET", "/collections", "All collections.", &[], None, Answer::Result(of::<Collections>)),
    operation(
        "POST",
        "/collections/aliases",
        "Change aliases, all of them or none.",
        TIMEOUT,
        Some(of::<ChangeAliases>),
        Answer::Result(of::<bool>),
    ),
    operation("GET", "/aliases", "All aliases.", &[], None, Answer::Result(of::<Aliases>)),
    operation(
        "GET",
        "/collections/{collection_name}",
        "What a collection is and holds.",
        &[],
        None,
        Answer::Result(of::<CollectionInfo>),
    ),
    operation(
        "PUT",
        "/collections/{collection_name}",
        "Create a collection.",
        TIMEOUT,
        Some(of::<CreateCollection>),
        Answer::Result(of::<bool>),
    ),
    operation(
        "PATCH",
        "/collections/{collection_name}",
        "Change the settings of a collection.",
        TIMEOUT,
        Some(of::<UpdateCollection>),
        Answer::Result(of::<bool>),
    ),
    operation(
        "DELETE",
        "/collections/{collection_name}",
        "Delete a collection.",
        TIMEOUT,
        None,
        Answer::Result(of::<bool>),
    ),
    operation(
        "GET",
        "/collections/{collection_name}/exists",
        "Whether a collection exists.",
        &[],
        None,
        Answer::Result(of::<Existence>),
    ),
    operation(
        "GET",
        "/collections/{collection_name}/aliases",
        "Aliases of a collection.",
        &[],
        None,
        Answer::Result(of::<Aliases>),
    ),
    operation(
        "GET",
        "/collections/{collection_name}/cluster",
        "Shards of a collection, and where they are.",
        &[],
        None,
        Answer::Result(of::<CollectionClusterInfo>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/cluster",
        "Always refused: shards are placed by the operator.",
        &["timeout"],
        Some(of::<ClusterOperation>),
        Answer::Result(of::<bool>),
    ),
    operation(
        "GET",
        "/collections/{collection_name}/optimizations",
        "What the optimizer does and has done.",
        &["with", "completed_limit"],
        None,
        Answer::Result(of::<OptimizationsResponse>),
    ),
    operation(
        "GET",
        "/collections/{collection_name}/shards",
        "Shard keys.",
        &[],
        None,
        Answer::Result(of::<ShardKeysResponse>),
    ),
    operation(
        "PUT",
        "/collections/{collection_name}/shards",
        "Create a shard key.",
        TIMEOUT,
        Some(of::<CreateShardKey>),
        Answer::Result(of::<bool>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/shards/delete",
        "Drop a shard key and all its points.",
        TIMEOUT,
        Some(of::<DropShardKey>),
        Answer::Result(of::<bool>),
    ),
    operation(
        "PUT",
        "/collections/{collection_name}/index",
        "Create a payload index.",
        WRITE,
        Some(of::<CreateIndex>),
        Answer::Result(of::<UpdateResult>),
    ),
    operation(
        "DELETE",
        "/collections/{collection_name}/index/{field_name}",
        "Drop a payload index.",
        WRITE,
        None,
        Answer::Result(of::<UpdateResult>),
    ),
    operation(
        "PUT",
        "/collections/{collection_name}/vectors/{vector_name}",
        "Add a named vector.",
        WRITE,
        Some(of::<CreateVector>),
        Answer::Result(of::<UpdateResult>),
    ),
    operation(
        "DELETE",
        "/collections/{collection_name}/vectors/{vector_name}",
        "Drop a named vector.",
        WRITE,
        None,
        Answer::Result(of::<UpdateResult>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/facet",
        "Count points by the values of a key.",
        READ,
        Some(of::<FacetRequest>),
        Answer::Result(of::<FacetResponse>),
    ),
    operation(
        "PUT",
        "/collections/{collection_name}/points",
        "Insert or replace points.",
        WRITE,
        Some(of::<ParsedUpsert>),
        Answer::Result(of::<UpdateResult>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points",
        "Points by their ids.",
        READ,
        Some(of::<RetrieveRequest>),
        Answer::Result(of::<Vec<Record>>),
    ),
    operation(
        "GET",
        "/collections/{collection_name}/points/{id}",
        "One point by its id.",
        &["consistency"],
        None,
        Answer::Result(of::<Record>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/delete",
        "Delete points.",
        WRITE,
        Some(of::<PointsSelector>),
        Answer::Result(of::<UpdateResult>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/scroll",
        "Points page by page.",
        READ,
        Some(of::<ScrollRequest>),
        Answer::Result(of::<Page>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/count",
        "Count points.",
        READ,
        Some(of::<CountRequest>),
        Answer::Result(of::<Count>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/batch",
        "Several writes, in order.",
        WRITE,
        Some(of::<BatchRequest>),
        Answer::Result(of::<Vec<UpdateResult>>),
    ),
    operation(
        "PUT",
        "/collections/{collection_name}/points/vectors",
        "Replace vectors of points.",
        WRITE,
        Some(of::<UpdateVectorsRequest>),
        Answer::Result(of::<UpdateResult>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/vectors/delete",
        "Delete vectors of points.",
        WRITE,
        Some(of::<DeleteVectorsRequest>),
        Answer::Result(of::<UpdateResult>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/payload",
        "Set keys of payloads.",
        WRITE,
        Some(of::<SetPayloadRequest>),
        Answer::Result(of::<UpdateResult>),
    ),
    operation(
        "PUT",
        "/collections/{collection_name}/points/payload",
        "Replace payloads.",
        WRITE,
        Some(of::<SetPayloadRequest>),
        Answer::Result(of::<UpdateResult>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/payload/delete",
        "Delete keys of payloads.",
        WRITE,
        Some(of::<DeletePayloadRequest>),
        Answer::Result(of::<UpdateResult>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/payload/clear",
        "Delete payloads.",
        WRITE,
        Some(of::<PointsSelector>),
        Answer::Result(of::<UpdateResult>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/search",
        "Points nearest to a vector.",
        READ,
        Some(of::<SearchRequest>),
        Answer::Result(of::<Vec<ScoredPoint>>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/search/batch",
        "Several searches.",
        READ,
        Some(of::<SearchBatchRequest>),
        Answer::Result(of::<Vec<Vec<ScoredPoint>>>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/query",
        "The universal query.",
        READ,
        Some(of::<QueryRequest>),
        Answer::Result(of::<Points>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/query/batch",
        "Several universal queries.",
        READ,
        Some(of::<QueryBatchRequest>),
        Answer::Result(of::<Vec<Points>>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/query/groups",
        "The universal query, its answer in groups.",
        READ,
        Some(of::<QueryGroupsRequest>),
        Answer::Result(of::<GroupsResult>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/search/groups",
        "Points nearest to a vector, in groups.",
        READ,
        Some(of::<SearchGroupsRequest>),
        Answer::Result(of::<GroupsResult>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/search/matrix/pairs",
        "Distances of points to each other, as pairs.",
        READ,
        Some(of::<MatrixRequest>),
        Answer::Result(of::<MatrixPairs>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/search/matrix/offsets",
        "Distances of points to each other, by places in a list of ids.",
        READ,
        Some(of::<MatrixRequest>),
        Answer::Result(of::<MatrixOffsets>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/recommend",
        "Points like some and unlike others.",
        READ,
        Some(of::<RecommendRequest>),
        Answer::Result(of::<Vec<ScoredPoint>>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/recommend/batch",
        "Several recommendations.",
        READ,
        Some(of::<RecommendBatchRequest>),
        Answer::Result(of::<Vec<Vec<ScoredPoint>>>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/recommend/groups",
        "Points like some and unlike others, in groups.",
        READ,
        Some(of::<RecommendGroupsRequest>),
        Answer::Result(of::<GroupsResult>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/discover",
        "Points near a target, within a context.",
        READ,
        Some(of::<DiscoverRequest>),
        Answer::Result(of::<Vec<ScoredPoint>>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/points/discover/batch",
        "Several discoveries.",
        READ,
        Some(of::<DiscoverBatchRequest>),
        Answer::Result(of::<Vec<Vec<ScoredPoint>>>),
    ),
    operation(
        "GET",
        "/collections/{collection_name}/snapshots",
        "Snapshots of a collection.",
        &[],
        None,
        Answer::Result(of::<Vec<SnapshotDescription>>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/snapshots",
        "Make a snapshot.",
        &["wait"],
        None,
        Answer::Result(of::<SnapshotDescription>),
    ),
    operation(
        "POST",
        "/collections/{collection_name}/snapshots/upload",
        "Recover from the snapshot in the body.",
        &["wait", "priority", "checksum"],
        Some(of::<Upload>),
        Answer::Result(of::<bool>),
    ),
    operation(
        "PUT",
        "/collections/{collection_name}/snapshots/recover",
        "Recover from a snapshot that lies elsewhere.",
        &["wait"],
        Some(of::<Recover>),
        Answer::Result(of::<bool>),
    ),
    operation(
        "GET",
        "/collections/{collection_name}/snapshots/{snapshot_name}",
        "A snapshot as a tar.",
        &[],
        None,
        Answer::File,
    ),
    operation(
        "DELETE",
        "/collections/{collection_name}/snapshots/{snapshot_name}",
        "Delete a snapshot.",
        &["wait"],
        None,
        Answer::Result(of::<bool>),
    ),
];
