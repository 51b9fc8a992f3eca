//! One request on one local shard. The internal port runs the same code for peers.

use quiver_api::point::{RawJson, Record as WireRecord, ScoredPoint};
use quiver_api::points::{UpdateMode as WireMode, WithPayload};
use quiver_api::shard_call::{ShardAnswer, ShardInfo, ShardRead, ShardSearch, ShardWrite, Target};
use quiver_engine::operation::{Operation, PointWrite, Selection, UpdateMode};
use quiver_engine::payload_edit::{self, PayloadSelector};
use quiver_engine::query::{OrderValue, Record, SearchRequest, WithVectors};
use quiver_engine::shard::{Shard, ShardStatus, View};
use quiver_engine::vector::named;
use quiver_engine::{Cancel, MultiVector, RawPayload, SparseVector};

use super::{convert, field_index, sparse};
use crate::error::{ApiError, Result};

/// A change in the engine's words.
pub fn operation(write: ShardWrite) -> Result<Operation> {
    use ShardWrite as W;
    let filter = |f: Option<_>| f.map(convert::filter).transpose();
    let payload = |p: &quiver_api::point::Payload| RawPayload::from_json_bytes(p.as_bytes());
    Ok(match write {
        W::Upsert { points, mode, condition } => {
            let point = |p: quiver_api::point::PointStruct| {
                Ok(PointWrite {
                    id: convert::point_id(p.id),
                    payload: payload(&p.payload),
                    vectors: convert::vectors(p.vector)?,
                })
            };
            let mode = match mode {
                WireMode::Upsert => UpdateMode::Upsert,
                WireMode::InsertOnly => UpdateMode::InsertOnly,
                WireMode::UpdateOnly => UpdateMode::UpdateOnly,
            };
            let points = points.into_iter().map(point).collect::<Result<_>>()?;
            Operation::Upsert { points, mode, condition: filter(condition)? }
        }
        W::Delete(target) => Operation::Delete(selection(target)?),
        W::UpdateVectors { points, condition } => Operation::UpdateVectors {
            points: points
                .into_iter()
                .map(|p| Ok((convert::point_id(p.id), convert::vectors(p.vector)?)))
                .collect::<Result<_>>()?,
            condition: filter(condition)?,
        },
        W::DeleteVectors { target, names } => Operation::DeleteVectors { select: selection(target)?, names },
        W::SetPayload { target, payload: p, key } => Operation::SetPayload {
            select: selection(target)?,
            payload: payload(&p),
            key: key.as_deref().map(convert::path).transpose()?,
        },
        W::OverwritePayload { target, payload: p } => {
            Operation::OverwritePayload { select: selection(target)?, payload: payload(&p) }
        }
        W::DeletePayload { target, keys } => Operation::DeletePayload {
            select: selection(target)?,
            keys: keys.iter().map(|k| convert::path(k)).collect::<Result<_>>()?,
        },
        W::ClearPayload(target) => Operation::ClearPayload(selection(target)?),
        W::CreateIndex { field, schema } => {
            Operation::CreateIndex { field: convert::path(&field)?, schema: convert::field_schema(&schema) }
        }
        W::DropIndex { field } => Operation::DropIndex { field: convert::path(&field)? },
        W::CreateVector { name, params } => {
            Operation::CreateVector { name, params: convert::vector_params(&params)? }
        }
        W::CreateSparseVector { name, params } => {
            Operation::CreateSparseVector { name, params: convert::sparse_params(&params) }
        }
        W::DropVector { name } => Operation::DropVector { name },
    })
}

fn selection(target: Target) -> Result<Selection> {
    Ok(match target {
        Target::Ids(ids) => Selection::Ids(ids.into_iter().map(convert::point_id).collect()),
        Target::Filter(f) => Selection::Filter(convert::filter(f)?),
    })
}

/// Runs a read. Blocks: only on a thread of the pool.
pub fn read(shard: &Shard, call: ShardRead, cancel: &Cancel) -> Result<ShardAnswer> {
    let view = shard.view();
    match call {
        ShardRead::Search(s) => {
            let (points, unindexed) = Search::new(s, &view)?.run(&view, cancel)?;
            Ok(ShardAnswer::Found { points, unindexed })
        }
        ShardRead::SearchBatch(all) => {
            let all = all.into_iter().map(|s| Search::new(s, &view)).collect::<Result<_>>()?;
            let (answers, unindexed) = search_all(&view, all, cancel)?;
            Ok(ShardAnswer::FoundBatch { answers, unindexed })
        }
        ShardRead::Retrieve { ids, payload, vectors } => {
            let ids: Vec<_> = ids.into_iter().map(convert::point_id).collect();
            Ok(ShardAnswer::Records {
                points: records(&view, &ids, &payload, &vectors)?,
                unindexed: Vec::new(),
            })
        }
        ShardRead::Scroll { filter, from, limit, payload, vectors } => {
            let filter = filter.map(convert::filter).transpose()?;
            let (ids, unindexed) =
                view.scroll(filter.as_ref(), from.map(convert::point_id), limit, cancel)?;
            Ok(ShardAnswer::Records { points: records(&view, &ids, &payload, &vectors)?, unindexed })
        }
        ShardRead::Ordered { filter, order, limit, payload, vectors } => {
            let filter = filter.map(convert::filter).transpose()?;
            let order = convert::order(&order)?;
            let (found, unindexed) = view.ordered(&order, filter.as_ref(), limit, cancel)?;
            Ok(ShardAnswer::Records { points: in_order(&view, &found, &payload, &vectors)?, unindexed })
        }
        ShardRead::Sample { filter, seed, limit, payload, vectors } => {
            let filter = filter.map(convert::filter).transpose()?;
            let (ids, unindexed) = view.sample(filter.as_ref(), seed, limit, cancel)?;
            Ok(ShardAnswer::Records { points: records(&view, &ids, &payload, &vectors)?, unindexed })
        }
        ShardRead::Count { filter } => {
            let filter = filter.map(convert::filter).transpose()?;
            let (count, unindexed) = view.count(filter.as_ref(), cancel)?;
            Ok(ShardAnswer::Counted { count, unindexed })
        }
        ShardRead::Facet { key, filter, limit } => {
            let filter = filter.map(convert::filter).transpose()?;
            let limit = limit.unwrap_or(usize::MAX);
            let (facets, unindexed) = view.facets(&convert::path(&key)?, filter.as_ref(), limit, cancel)?;
            Ok(ShardAnswer::Facets {
                hits: facets.into_iter().map(field_index::wire_facet).collect(),
                unindexed,
            })
        }
        ShardRead::SparseCounts(all) => {
            let counted = all.into_iter().map(|count| sparse::count(&view, count, cancel));
            Ok(ShardAnswer::SparseCounts(counted.collect::<Result<_>>()?))
        }
        ShardRead::Info => Ok(ShardAnswer::Info(info(shard, &view))),
    }
}

/// Work up to this is done where the request arrived.
pub const SHORT_NANOSECONDS: u64 = 1_000_000;
/// What fetching a point takes, about: its payload and a vector.
const POINT_NANOSECONDS: u64 = 3_000;

/// Whether a read is over so soon that it is not worth another thread.
pub fn is_short(shard: &Shard, read: &ShardRead) -> bool {
    let points = |n: usize| (n as u64).saturating_mul(POINT_NANOSECONDS) <= SHORT_NANOSECONDS;
    match read {
        ShardRead::Retrieve { ids, .. } => points(ids.len()),
        ShardRead::Scroll { filter: None, limit, .. } => points(*limit),
        ShardRead::Count { filter: None } => true,
        ShardRead::SparseCounts(all) => sparse::is_short(&shard.view(), all),
        ShardRead::Count { filter: Some(f) } => {
            let filter = convert::filter(f.clone());
            filter.is_ok_and(|f| shard.view().filter_nanoseconds(&f) <= SHORT_NANOSECONDS)
        }
        _ => false,
    }
}

/// Several searches of one view, one after another: the answers, and keys that were filtered on without an index.
pub fn search_all(
    view: &View,
    all: Vec<Search>,
    cancel: &Cancel,
) -> Result<(Vec<Vec<ScoredPoint>>, Vec<String>)> {
    let (mut answers, mut unindexed) = (Vec::with_capacity(all.len()), Vec::new());
    for search in all {
        cancel.check()?;
        let (points, mut keys) = search.run(view, cancel)?;
        answers.push(points);
        unindexed.append(&mut keys);
    }
    Ok((answers, unindexed))
}

/// By which kind of vectors.
enum Request {
    Dense(SearchRequest),
    Sparse(SearchRequest<SparseVector>),
    Multi(SearchRequest<MultiVector>),
}

/// A search in the engine's words, and what is shown of the points that it finds.
pub struct Search {
    request: Request,
    selector: Option<PayloadSelector>,
    vectors: WithVectors,
}

impl Search {
    pub fn new(s: ShardSearch, view: &View) -> Result<Self> {
        let filter = s.filter.map(convert::filter).transpose()?;
        let (using, params) = (s.using, convert::params(&s.params));
        let (limit, score_threshold) = (s.limit, s.score_threshold);
        let is_multi = named(&view.config().vectors, &using).is_some_and(|p| p.multivector);
        let request = match named(&view.config().sparse_vectors, &using).is_some() {
            _ if is_multi => {
                let query = convert::query(s.query, convert::multi)?;
                Request::Multi(SearchRequest { using, query, filter, params, limit, score_threshold })
            }
            true => {
                let query = convert::query(s.query, convert::sparse)?;
                Request::Sparse(SearchRequest { using, query, filter, params, limit, score_threshold })
            }
            false => {
                let query = convert::query(s.query, convert::numbers)?;
                Request::Dense(SearchRequest { using, query, filter, params, limit, score_threshold })
            }
        };
        let selector = convert::with_payload(&s.payload)?;
        Ok(Self { request, selector, vectors: convert::with_vectors(&s.vectors) })
    }

    fn shows_points(&self) -> bool {
        self.selector.is_some() || self.vectors != WithVectors::None
    }

    /// What it takes, about.
    pub fn nanoseconds(&self, view: &View) -> u64 {
        let (search, limit) = match &self.request {
            Request::Dense(request) => (view.search_nanoseconds(request), request.limit),
            Request::Sparse(request) => (view.sparse_nanoseconds(request), request.limit),
            Request::Multi(request) => (view.multi_nanoseconds(request), request.limit),
        };
        let shown = if self.shows_points() { limit as u64 } else { 0 };
        search.saturating_add(shown.saturating_mul(POINT_NANOSECONDS))
    }

    fn run(self, view: &View, cancel: &Cancel) -> Result<(Vec<ScoredPoint>, Vec<String>)> {
        let outcome = match &self.request {
            Request::Dense(request) => view.search(request, cancel)?,
            Request::Sparse(request) => view.search_sparse(request, cancel)?,
            Request::Multi(request) => view.search_multi(request, cancel)?,
        };
        let mut records = Vec::new();
        if self.shows_points() {
            let ids: Vec<_> = outcome.hits.iter().map(|h| h.id).collect();
            records = view.retrieve(&ids, self.selector.is_some(), &self.vectors)?;
        }
        // Records come in the order of the hits, and of one view none is missing.
        let mut records = records.into_iter().peekable();
        let points = outcome.hits.iter().map(|hit| {
            let record: Option<Record> = records.next_if(|r| r.id == hit.id);
            Ok(ScoredPoint {
                id: convert::wire_id(hit.id),
                version: hit.version,
                score: printable(hit.score),
                payload: shown_payload(record.as_ref().map(|r| &r.payload), self.selector.as_ref())?,
                vector: record.and_then(|r| convert::wire_vectors(&r.vectors, &self.vectors)),
                shard_key: None,
                order_value: None,
            })
        });
        Ok((points.collect::<Result<_>>()?, outcome.unindexed))
    }
}

/// Products of very large numbers leave the range of 32 bits, and JSON has no infinity: the largest number stands
/// for it, and 0 for what is not a number.
fn printable(score: f32) -> f32 {
    if score.is_nan() { 0.0 } else { score.clamp(f32::MIN, f32::MAX) }
}

fn records(
    view: &View,
    ids: &[quiver_engine::PointId],
    payload: &WithPayload,
    vectors: &quiver_api::points::WithVector,
) -> Result<Vec<WireRecord>> {
    let selector = convert::with_payload(payload)?;
    let vectors = convert::with_vectors(vectors);
    let found = view.retrieve(ids, selector.is_some(), &vectors)?;
    found
        .iter()
        .map(|r| {
            Ok(WireRecord {
                id: convert::wire_id(r.id),
                payload: shown_payload(Some(&r.payload), selector.as_ref())?,
                vector: convert::wire_vectors(&r.vectors, &vectors),
                shard_key: None,
                order_value: None,
            })
        })
        .collect()
}

/// The records of points in the order of their values; of one view none is missing.
fn in_order(
    view: &View,
    found: &[(OrderValue, quiver_engine::PointId)],
    payload: &WithPayload,
    vectors: &quiver_api::points::WithVector,
) -> Result<Vec<WireRecord>> {
    let ids: Vec<_> = found.iter().map(|(_, id)| *id).collect();
    let mut all = records(view, &ids, payload, vectors)?;
    for (record, (value, _)) in all.iter_mut().zip(found) {
        record.order_value = Some(convert::wire_order_value(*value));
    }
    Ok(all)
}

/// The payload as it is answered; the client's own bytes unless a part of it was asked for.
fn shown_payload(raw: Option<&RawPayload>, selector: Option<&PayloadSelector>) -> Result<Option<RawJson>> {
    let Some(selector) = selector else { return Ok(None) };
    let empty = RawPayload::empty();
    let raw = raw.unwrap_or(&empty);
    let text = match selector {
        // The block that it was read from was checked, so it is the JSON that was stored.
        PayloadSelector::All => std::str::from_utf8(raw.as_json()).map_err(ApiError::internal)?.to_owned(),
        part => {
            serde_json::to_string(&payload_edit::project(&raw.parse()?, part)).map_err(ApiError::internal)?
        }
    };
    Ok(Some(RawJson::from_json(text)))
}

pub(super) fn info(shard: &Shard, view: &View) -> ShardInfo {
    let stats = shard.stats();
    let status = match stats.status {
        ShardStatus::Green => "green",
        ShardStatus::Yellow => "yellow",
        ShardStatus::Grey => "grey",
        ShardStatus::Red => "red",
    };
    let schema = view.payload_schema();
    ShardInfo {
        points: stats.points,
        deferred: stats.deferred,
        vectors: stats.vectors,
        indexed_vectors: stats.indexed_vectors,
        // What a shard writes into is a segment too, also before anything is there.
        segments: stats.segments.max(1),
        status: status.into(),
        optimizer_error: stats.optimizer_error,
        queue: stats.queue,
        bytes_disk: stats.bytes_disk,
        bytes_ram: stats.bytes_ram,
        payload_bytes: stats.payload_bytes,
        payload_schema: schema
            .into_iter()
            .map(|(path, schema, points)| (path.to_string(), convert::wire_field_schema(&schema), points))
            .collect(),
        last_seq: stats.last_seq,
        damaged: stats.damaged,
    }
}
