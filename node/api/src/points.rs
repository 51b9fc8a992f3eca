//! Requests that write and read points.

use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use crate::filter::Filter;
use crate::point::{Payload, PointId, PointStruct, Vector, Vectors};
use crate::query::OrderBy;
use crate::shard_key::ShardKeySelector;
use crate::validate::Invalid;

/// Body of an upsert.
#[derive(Clone, Debug, PartialEq)]
pub struct UpsertRequest {
    pub points: Vec<PointStruct>,
    pub shard_key: Option<ShardKeySelector>,
    pub update_filter: Option<Filter>,
    pub update_mode: UpdateMode,
}

/// What an upsert does with points that exist or don't.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateMode {
    #[default]
    Upsert,
    InsertOnly,
    UpdateOnly,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct UpsertBody {
    points: Option<Vec<PointStruct>>,
    batch: Option<Batch>,
    shard_key: Option<ShardKeySelector>,
    update_filter: Option<Filter>,
    update_mode: Option<UpdateMode>,
}

/// The columnar form.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Batch {
    ids: Vec<PointId>,
    vectors: BatchVectors,
    payloads: Option<Vec<Payload>>,
}

pub(crate) enum BatchVectors {
    Unnamed(Vec<Vector>),
    Named(Vec<(String, Vec<Vector>)>),
}

impl<'de> Deserialize<'de> for BatchVectors {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> de::Visitor<'de> for V {
            type Value = BatchVectors;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of vectors, or a map from names to such lists")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<BatchVectors, A::Error> {
                let mut all = Vec::new();
                while let Some(v) = seq.next_element()? {
                    all.push(v);
                }
                Ok(BatchVectors::Unnamed(all))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<BatchVectors, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(BatchVectors::Named(all))
            }
        }
        d.deserialize_any(V)
    }
}

impl Batch {
    fn into_points(self) -> Result<Vec<PointStruct>, String> {
        let n = self.ids.len();
        let differ =
            |what: &str, got: usize| format!("batch: number of ids and {what} must be equal ({n} != {got})");
        let payloads = self.payloads.unwrap_or_else(|| vec![Payload::default(); n]);
        if payloads.len() != n {
            return Err(differ("payloads", payloads.len()));
        }
        let vectors: Vec<Vectors> = match self.vectors {
            BatchVectors::Unnamed(all) if all.len() != n => return Err(differ("vectors", all.len())),
            BatchVectors::Unnamed(all) => all.into_iter().map(Vectors::Unnamed).collect(),
            BatchVectors::Named(columns) => {
                let mut rows = vec![std::collections::BTreeMap::new(); n];
                for (name, column) in columns {
                    if column.len() != n {
                        return Err(differ("vectors", column.len()));
                    }
                    for (row, vector) in rows.iter_mut().zip(column) {
                        row.insert(name.clone(), vector);
                    }
                }
                rows.into_iter().map(Vectors::Named).collect()
            }
        };
        let all = self.ids.into_iter().zip(vectors).zip(payloads);
        Ok(all.map(|((id, vector), payload)| PointStruct { id, vector, payload }).collect())
    }
}

impl UpsertRequest {
    /// Reads a body; the inner error is a validation error, the outer one a format error.
    fn from_body(body: UpsertBody) -> Result<Result<Self, Invalid>, &'static str> {
        let points = match (body.points, body.batch) {
            (Some(points), _) => points,
            (None, Some(batch)) => match batch.into_points() {
                Ok(points) => points,
                Err(text) => return Ok(Err(Invalid::text("batch", text))),
            },
            (None, None) => return Err("Invalid PointInsertOperations format"),
        };
        Ok(Ok(Self {
            points,
            shard_key: body.shard_key,
            update_filter: body.update_filter,
            update_mode: body.update_mode.unwrap_or_default(),
        }))
    }
}

/// An upsert as it was parsed: a mismatch of the columnar form is found then, and told as a validation error.
#[derive(Debug, PartialEq)]
pub struct ParsedUpsert(pub Result<UpsertRequest, Invalid>);

impl<'de> Deserialize<'de> for ParsedUpsert {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        UpsertRequest::from_body(UpsertBody::deserialize(d)?).map(ParsedUpsert).map_err(de::Error::custom)
    }
}

/// Ids or a filter, as many operations take them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Selector {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<Vec<PointId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_key: Option<ShardKeySelector>,
}

/// Body of `points/delete` and `points/payload/clear`: one of ids and filter has to be there.
#[derive(Clone, Debug)]
pub struct PointsSelector(pub Selector);

impl<'de> Deserialize<'de> for PointsSelector {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let selector = Selector::deserialize(d)?;
        if selector.points.is_none() && selector.filter.is_none() {
            return Err(de::Error::custom("data did not match any variant of untagged enum PointsSelector"));
        }
        Ok(Self(selector))
    }
}

/// Body of `points/vectors` PUT.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct UpdateVectorsRequest {
    pub points: Vec<PointVectors>,
    pub shard_key: Option<ShardKeySelector>,
    pub update_filter: Option<Filter>,
}

/// Vectors for one point.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PointVectors {
    pub id: PointId,
    #[serde(alias = "vectors")]
    pub vector: Vectors,
}

/// Body of `points/vectors/delete`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct DeleteVectorsRequest {
    #[serde(flatten)]
    pub select: Selector,
    #[serde(alias = "vectors")]
    pub vector: Vec<String>,
}

/// Body of set and overwrite payload.
#[derive(Clone, Debug)]
pub struct SetPayloadRequest {
    pub payload: Payload,
    pub select: Selector,
    pub key: Option<String>,
}

const NO_TARGET: &str = "Either list of point ids or filter must be provided";

#[derive(Deserialize, JsonSchema)]
pub(crate) struct SetPayloadBody {
    #[serde(deserialize_with = "not_null")]
    payload: Payload,
    points: Option<Vec<PointId>>,
    filter: Option<Filter>,
    shard_key: Option<ShardKeySelector>,
    key: Option<String>,
}

/// To set nothing is no way to clear a payload.
fn not_null<'de, D: Deserializer<'de>>(d: D) -> Result<Payload, D::Error> {
    let read: Option<Payload> = Option::deserialize(d)?;
    read.ok_or_else(|| de::Error::custom("invalid type: null, expected a map"))
}

impl<'de> Deserialize<'de> for SetPayloadRequest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let b = SetPayloadBody::deserialize(d)?;
        if b.points.is_none() && b.filter.is_none() {
            return Err(de::Error::custom(NO_TARGET));
        }
        let select = Selector { points: b.points, filter: b.filter, shard_key: b.shard_key };
        Ok(Self { payload: b.payload, select, key: b.key })
    }
}

/// Body of delete payload.
#[derive(Clone, Debug)]
pub struct DeletePayloadRequest {
    pub keys: Vec<String>,
    pub select: Selector,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct DeletePayloadBody {
    keys: Vec<String>,
    points: Option<Vec<PointId>>,
    filter: Option<Filter>,
    shard_key: Option<ShardKeySelector>,
}

impl<'de> Deserialize<'de> for DeletePayloadRequest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let b = DeletePayloadBody::deserialize(d)?;
        if b.points.is_none() && b.filter.is_none() {
            return Err(de::Error::custom(NO_TARGET));
        }
        Ok(Self {
            keys: b.keys,
            select: Selector { points: b.points, filter: b.filter, shard_key: b.shard_key },
        })
    }
}

/// One operation of `points/batch`.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchOperation {
    Upsert(ParsedUpsert),
    Delete(PointsSelector),
    SetPayload(SetPayloadRequest),
    OverwritePayload(SetPayloadRequest),
    DeletePayload(DeletePayloadRequest),
    ClearPayload(PointsSelector),
    UpdateVectors(UpdateVectorsRequest),
    DeleteVectors(DeleteVectorsRequest),
}

/// What an item of a batch may name. Of several the first in this order is done.
#[derive(Deserialize)]
struct NamedOperations {
    upsert: Option<ParsedUpsert>,
    delete: Option<PointsSelector>,
    set_payload: Option<SetPayloadRequest>,
    overwrite_payload: Option<SetPayloadRequest>,
    delete_payload: Option<DeletePayloadRequest>,
    clear_payload: Option<PointsSelector>,
    update_vectors: Option<UpdateVectorsRequest>,
    delete_vectors: Option<DeleteVectorsRequest>,
}

impl<'de> Deserialize<'de> for BatchOperation {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let named = NamedOperations::deserialize(d)?;
        let found = named.upsert.map(Self::Upsert);
        let found = found.or_else(|| named.delete.map(Self::Delete));
        let found = found.or_else(|| named.set_payload.map(Self::SetPayload));
        let found = found.or_else(|| named.overwrite_payload.map(Self::OverwritePayload));
        let found = found.or_else(|| named.delete_payload.map(Self::DeletePayload));
        let found = found.or_else(|| named.clear_payload.map(Self::ClearPayload));
        let found = found.or_else(|| named.update_vectors.map(Self::UpdateVectors));
        let found = found.or_else(|| named.delete_vectors.map(Self::DeleteVectors));
        let unknown = "data did not match any variant of untagged enum UpdateOperation";
        found.ok_or_else(|| de::Error::custom(unknown))
    }
}

/// Body of `points/batch`.
#[derive(Deserialize, JsonSchema)]
pub struct BatchRequest {
    pub operations: Vec<BatchOperation>,
}

/// Whether, or which part of, the payload is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "data did not match any variant of untagged enum WithPayloadInterface"
)]
pub enum WithPayload {
    Bool(bool),
    Fields(Vec<String>),
    Include { include: Vec<String> },
    Exclude { exclude: Vec<String> },
}

/// Whether, or which, vectors are answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum WithVector {
    Bool(bool),
    Names(Vec<String>),
}

/// Body of retrieve.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct RetrieveRequest {
    pub ids: Vec<PointId>,
    pub with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    pub shard_key: Option<ShardKeySelector>,
}

/// Body of scroll.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct ScrollRequest {
    pub offset: Option<PointId>,
    pub limit: Option<usize>,
    pub filter: Option<Filter>,
    pub with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    pub order_by: Option<OrderBy>,
    pub shard_key: Option<ShardKeySelector>,
}

/// Body of count.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct CountRequest {
    pub filter: Option<Filter>,
    #[serde(default = "exactly")]
    pub exact: bool,
    pub shard_key: Option<ShardKeySelector>,
}

fn exactly() -> bool {
    true
}

/// What became of a write.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UpdateResult {
    pub operation_id: u64,
    pub status: UpdateStatus,
}

/// `acknowledged`: durable; `completed`: applied as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateStatus {
    Acknowledged,
    Completed,
    WaitTimeout,
}
