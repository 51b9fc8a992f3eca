//! From wire types to the engine's, and back: the only place that knows both.

use std::collections::BTreeMap;
use std::sync::Arc;

use quiver_api::collections as api;
use quiver_api::filter as wire;
use quiver_api::geo::GeoLineString;
use quiver_api::point::{
    OrderValue as WireOrderValue, PointId as WireId, Vector as WireVector, Vectors as WireVectors,
};
use quiver_api::points as points_api;
use quiver_api::query::SearchParams as WireParams;
use quiver_api::shard_call::{ShardOrder, ShardQuery};
use quiver_api::sparse::{
    Datatype as WireDatatype, Modifier as WireModifier, SparseIndexParams, SparseVectorParams,
};
use quiver_engine::config::{
    CollectionConfig, Datatype, Distance, HnswConfig, HnswDiff, Modifier, OptimizerConfig, QuantizationDiff,
    SparseParams, VectorParams,
};
use quiver_engine::filter::expr::Bounds;
use quiver_engine::filter::{
    Condition, FieldCondition, FieldTest, Filter, GeoArea, GeoPoint, MinShould, Slice, datetime,
};
use quiver_engine::json_path::JsonPath;
use quiver_engine::payload_edit::PayloadSelector;
use quiver_engine::query::{
    ContextPair, FeedbackFactors, OrderBy, OrderValue, QuantizationSearch, Query, SearchParams, WithVectors,
};
use quiver_engine::text::{TextMatch, TextTest};
use quiver_engine::{MultiVector, NamedVectors, PointId, SparseVector, Vector};

pub use super::field_index::{field_schema, wire_field_schema};
use super::{document, quantization};
use crate::error::{ApiError, Result};

/// An id for the engine.
pub fn point_id(id: WireId) -> PointId {
    match id {
        WireId::Num(n) => PointId::Num(n),
        WireId::Uuid(u) => PointId::Uuid(u),
    }
}

/// An id for the wire.
pub fn wire_id(id: PointId) -> WireId {
    match id {
        PointId::Num(n) => WireId::Num(n),
        PointId::Uuid(u) => WireId::Uuid(u),
    }
}

/// A payload key.
pub fn path(text: &str) -> Result<JsonPath> {
    JsonPath::parse(text).map_err(ApiError::format)
}

/// One vector.
pub fn vector(v: WireVector) -> Result<Vector> {
    match v {
        WireVector::Dense(v) => Ok(Vector::Dense(v)),
        v @ WireVector::Sparse { .. } => sparse(v).map(Vector::Sparse),
        WireVector::Multi(rows) => Ok(Vector::Multi(MultiVector::new(rows)?)),
        other => dense(&other).map(|v| Vector::Dense(v.to_vec())),
    }
}

/// The numbers of a dense vector.
pub fn dense(v: &WireVector) -> Result<&[f32]> {
    match v {
        WireVector::Dense(v) => Ok(v),
        WireVector::Multi(_) => {
            Err(ApiError::wrong_input("Conversion between multi and regular vectors failed"))
        }
        WireVector::Sparse { .. } => Err(wrong_kind()),
        WireVector::Inference(_) => Err(document::no_model()),
    }
}

/// [`dense`] of a vector that is not needed any more.
pub fn numbers(v: WireVector) -> Result<Vec<f32>> {
    match v {
        WireVector::Dense(v) => Ok(v),
        other => dense(&other).map(<[f32]>::to_vec),
    }
}

/// A sparse vector.
pub fn sparse(v: WireVector) -> Result<SparseVector> {
    match v {
        WireVector::Sparse { indices, values } => Ok(SparseVector::new(indices, values)?),
        WireVector::Dense(_) => Err(wrong_kind()),
        other => dense(&other).and(Err(wrong_kind())),
    }
}

/// A multivector; a single vector is one of one row.
pub fn multi(v: WireVector) -> Result<MultiVector> {
    match v {
        WireVector::Dense(v) => Ok(MultiVector::of_numbers(v.len(), v)?),
        WireVector::Multi(rows) => Ok(MultiVector::new(rows)?),
        other => dense(&other).and(Err(wrong_kind())),
    }
}

/// A dense vector where sparse ones are, or the other way round.
pub fn wrong_kind() -> ApiError {
    ApiError::wrong_input("Conversion between sparse and regular vectors failed")
}

/// One vector for the wire.
pub fn wire_vector(v: Vector) -> WireVector {
    match v {
        Vector::Dense(v) => WireVector::Dense(v),
        Vector::Sparse(v) => {
            let (indices, values) = v.into_parts();
            WireVector::Sparse { indices, values }
        }
        Vector::Multi(v) => WireVector::Multi(v.to_rows()),
    }
}

/// The vectors of a point.
pub fn vectors(v: WireVectors) -> Result<NamedVectors> {
    match v {
        WireVectors::Unnamed(v) => Ok(std::iter::once((String::new(), vector(v)?)).collect()),
        WireVectors::Named(map) => map.into_iter().map(|(name, v)| Ok((name, vector(v)?))).collect(),
    }
}

/// The vectors of a point for the wire; none if none was asked for. `""` alone stands without its name.
pub fn wire_vectors(v: &NamedVectors, asked: &WithVectors) -> Option<WireVectors> {
    if *asked == WithVectors::None {
        return None;
    }
    let wire = |v: &Vector| wire_vector(v.clone());
    match (v.len(), v.get("")) {
        (1, Some(unnamed)) => Some(WireVectors::Unnamed(wire(unnamed))),
        _ => Some(WireVectors::Named(v.iter().map(|(n, v)| (n.to_owned(), wire(v))).collect())),
    }
}

/// Which vectors are answered.
pub fn with_vectors(w: &points_api::WithVector) -> WithVectors {
    match w {
        points_api::WithVector::Bool(false) => WithVectors::None,
        points_api::WithVector::Bool(true) => WithVectors::All,
        points_api::WithVector::Names(names) => WithVectors::Names(names.clone()),
    }
}

/// Which part of the payload is answered; `None`: none of it.
pub fn with_payload(w: &points_api::WithPayload) -> Result<Option<PayloadSelector>> {
    use points_api::WithPayload as W;
    let paths = |keys: &[String]| keys.iter().map(|k| path(k)).collect::<Result<Vec<_>>>();
    Ok(match w {
        W::Bool(false) => None,
        W::Bool(true) => Some(PayloadSelector::All),
        W::Fields(keys) | W::Include { include: keys } => Some(PayloadSelector::Include(paths(keys)?)),
        W::Exclude { exclude } => Some(PayloadSelector::Exclude(paths(exclude)?)),
    })
}

/// Search parameters.
pub fn params(p: &WireParams) -> SearchParams {
    let q = p.quantization.unwrap_or_default();
    SearchParams {
        hnsw_ef: p.hnsw_ef,
        exact: p.exact,
        indexed_only: p.indexed_only,
        quantization: QuantizationSearch {
            ignore: q.ignore,
            rescore: q.rescore,
            oversampling: q.oversampling,
        },
    }
}

/// What points are scored by, `one` making each vector the engine's.
pub fn query<V>(q: ShardQuery, one: impl Fn(WireVector) -> Result<V>) -> Result<Query<V>> {
    let all = |list: Vec<WireVector>| list.into_iter().map(&one).collect::<Result<Vec<_>>>();
    let pairs = |list: Vec<(WireVector, WireVector)>| {
        let pair = |(p, n)| Ok(ContextPair { positive: one(p)?, negative: one(n)? });
        list.into_iter().map(pair).collect::<Result<Vec<_>>>()
    };
    Ok(match q {
        ShardQuery::Nearest(v) => Query::Nearest(one(v)?),
        ShardQuery::BestScore { positives, negatives } => {
            Query::BestScore { positives: all(positives)?, negatives: all(negatives)? }
        }
        ShardQuery::SumScores { positives, negatives } => {
            Query::SumScores { positives: all(positives)?, negatives: all(negatives)? }
        }
        ShardQuery::Discover { target, pairs: p } => {
            Query::Discover { target: one(target)?, pairs: pairs(p)? }
        }
        ShardQuery::Context(p) => Query::Context { pairs: pairs(p)? },
        ShardQuery::Feedback { target, feedback, factors: [a, b, c] } => {
            let feedback = feedback.into_iter().map(|(v, score)| Ok((one(v)?, score)));
            Query::Feedback {
                target: one(target)?,
                feedback: feedback.collect::<Result<_>>()?,
                factors: FeedbackFactors { a, b, c },
            }
        }
    })
}

/// By which values points are put in order.
pub fn order(o: &ShardOrder) -> Result<OrderBy> {
    Ok(OrderBy { key: path(&o.key)?, ascending: o.ascending, from: o.from.map(order_value) })
}

/// A value that points are put in order by.
pub fn order_value(v: WireOrderValue) -> OrderValue {
    match v {
        WireOrderValue::Integer(n) => OrderValue::Integer(n),
        WireOrderValue::Float(n) => OrderValue::Float(n),
    }
}

/// The same for the wire.
pub fn wire_order_value(v: OrderValue) -> WireOrderValue {
    match v {
        OrderValue::Integer(n) => WireOrderValue::Integer(n),
        OrderValue::Float(n) => WireOrderValue::Float(n),
    }
}

/// A filter. How deep it nests was limited when it was read.
pub fn filter(f: wire::Filter) -> Result<Filter> {
    let all = |c: Option<wire::Conditions>| conditions(c.map(|c| c.0).unwrap_or_default());
    let min_should = match f.min_should {
        None => None,
        Some(m) => Some(MinShould { conditions: conditions(m.conditions)?, min_count: m.min_count }),
    };
    Ok(Filter { must: all(f.must)?, should: all(f.should)?, must_not: all(f.must_not)?, min_should })
}

fn conditions(all: Vec<wire::Condition>) -> Result<Vec<Condition>> {
    all.into_iter().map(condition).collect()
}

fn condition(c: wire::Condition) -> Result<Condition> {
    use wire::Condition as W;
    Ok(match c {
        W::Field(field) => Condition::Field(field_condition(*field)?),
        W::IsEmpty { is_empty } => Condition::IsEmpty(path(&is_empty.key)?),
        W::IsNull { is_null } => Condition::IsNull(path(&is_null.key)?),
        W::HasId { has_id } => Condition::HasId(has_id.into_iter().map(point_id).collect()),
        W::HasVector { has_vector } => Condition::HasVector(has_vector),
        W::Slice { slice: wire::Slice { total, index } } => {
            let slice = Slice::new(total.get(), index);
            let refused = || ApiError::bad_request(format!("a slice has no part {index} of {total}"));
            Condition::Slice(slice.ok_or_else(refused)?)
        }
        W::Nested { nested } => Condition::Nested { key: path(&nested.key)?, filter: filter(nested.filter)? },
        W::Filter(f) => Condition::Filter(filter(f)?),
    })
}

fn field_condition(c: wire::FieldCondition) -> Result<FieldCondition> {
    let mut tests = Vec::new();
    tests.extend(areas(&c).map(|area| FieldTest::Geo(Arc::new(area))));
    tests.extend(c.matches.map(match_test));
    if let Some(r) = c.range {
        tests.push(range_test(r)?);
    }
    if let Some(v) = c.values_count {
        tests.push(FieldTest::ValuesCount(Bounds { lt: v.lt, lte: v.lte, gt: v.gt, gte: v.gte }));
    }
    tests.extend(c.is_empty.map(FieldTest::IsEmpty));
    tests.extend(c.is_null.map(FieldTest::IsNull));
    // Filters that test nothing were refused at the door, with the path of the condition.
    Ok(FieldCondition { key: path(&c.key)?, tests })
}

/// The areas that a condition names.
fn areas(c: &wire::FieldCondition) -> impl Iterator<Item = GeoArea> {
    let place = |p: quiver_api::geo::GeoPoint| GeoPoint { lat: p.lat, lon: p.lon };
    let ring = |line: &GeoLineString| line.points.iter().map(|p| place(*p)).collect::<Vec<_>>();
    let rectangle = c
        .geo_bounding_box
        .map(|b| GeoArea::Box { top_left: place(b.top_left), bottom_right: place(b.bottom_right) });
    let circle = c.geo_radius.map(|r| GeoArea::Radius { center: place(r.center), metres: r.radius });
    let polygon = c.geo_polygon.as_ref().map(|p| GeoArea::Polygon {
        exterior: ring(&p.exterior),
        interiors: p.interiors.iter().flatten().map(ring).collect(),
    });
    [rectangle, circle, polygon].into_iter().flatten()
}

fn match_test(m: wire::Match) -> FieldTest {
    use wire::{Match, Scalar, Scalars};
    let text = |text, how| FieldTest::Text(Arc::new(TextTest::new(text, how)));
    match m {
        Match::Value(Scalar::Keyword(s)) => FieldTest::Keyword(s),
        Match::Value(Scalar::Integer(i)) => FieldTest::Integer(i),
        Match::Value(Scalar::Bool(b)) => FieldTest::Bool(b),
        Match::Any(Scalars::Keywords(all)) => FieldTest::AnyKeyword(all),
        Match::Any(Scalars::Integers(all)) => FieldTest::AnyInteger(all),
        Match::Except(Scalars::Keywords(all)) => FieldTest::ExceptKeyword(all),
        Match::Except(Scalars::Integers(all)) => FieldTest::ExceptInteger(all),
        Match::Text(t) => text(t, TextMatch::All),
        Match::TextAny(t) => text(t, TextMatch::Any),
        Match::Phrase(t) => text(t, TextMatch::Phrase),
        Match::Prefix(start) => FieldTest::Prefix(start),
    }
}

fn range_test(r: wire::Range) -> Result<FieldTest> {
    use wire::Bound;
    let bounds = [&r.lt, &r.lte, &r.gt, &r.gte];
    if !bounds.iter().any(|b| matches!(b, Some(Bound::Text(_)))) {
        let n = |b: &Option<Bound>| match b {
            Some(Bound::Number(n)) => Some(*n),
            _ => None,
        };
        return Ok(FieldTest::Range(Bounds { lt: n(&r.lt), lte: n(&r.lte), gt: n(&r.gt), gte: n(&r.gte) }));
    }
    let t = |b: &Option<Bound>| match b {
        None => Ok(None),
        Some(Bound::Text(text)) => {
            datetime::parse_bound(text).map(Some).map_err(|e| ApiError::format(e.to_string()))
        }
        Some(Bound::Number(n)) => Err(ApiError::format(format!(
            "a range mixes a number ({n}) and datetimes: data did not match any variant of untagged enum RangeInterface"
        ))),
    };
    Ok(FieldTest::DatetimeRange(Bounds { lt: t(&r.lt)?, lte: t(&r.lte)?, gt: t(&r.gt)?, gte: t(&r.gte)? }))
}

/// Defaults that the node's settings give to collections.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    pub hnsw: HnswConfig,
    pub optimizers: OptimizerConfig,
    pub on_disk_payload: bool,
}

/// The configuration in force for a collection as it was created.
pub fn collection_config(c: &api::CreateCollection, defaults: &Defaults) -> Result<CollectionConfig> {
    let mut vectors: BTreeMap<String, VectorParams> =
        c.vectors.iter().map(|(name, p)| Ok((name.to_owned(), vector_params(p)?))).collect::<Result<_>>()?;
    for (_, params) in vectors.iter_mut().filter(|(name, _)| c.unquantized_vectors.contains(*name)) {
        params.quantization = Some(QuantizationDiff::Disabled);
    }
    let mut sparse_vectors = BTreeMap::new();
    for (name, params) in c.sparse_vectors.iter().flatten() {
        if name.is_empty() {
            return Err(ApiError::wrong_input("Sparse vector name cannot be empty"));
        }
        if vectors.contains_key(name) {
            return Err(ApiError::wrong_input(format!(
                "Dense and sparse vector names must be unique - duplicate found with '{name}'"
            )));
        }
        sparse_vectors.insert(name.clone(), sparse_params(params));
    }
    Ok(CollectionConfig {
        vectors,
        sparse_vectors,
        hnsw: hnsw_diff(c.hnsw_config.as_ref()).over(defaults.hnsw),
        optimizers: optimizers(c.optimizers_config.as_ref(), defaults.optimizers)?,
        quantization: c.quantization_config.map(quantization::to_engine),
        on_disk_payload: on_disk(c.payload.and_then(|p| p.memory), c.on_disk_payload)
            .unwrap_or(defaults.on_disk_payload),
    })
}

/// A sparse vector's parameters. Where and how exactly its index is kept is not the engine's business: it is a mapped file
/// of whole numbers.
pub fn sparse_params(p: &SparseVectorParams) -> SparseParams {
    SparseParams {
        modifier: match p.modifier {
            Some(WireModifier::Idf) => Modifier::Idf,
            Some(WireModifier::None) | None => Modifier::None,
        },
        full_scan_threshold: p.index.and_then(|i| i.full_scan_threshold),
    }
}

/// The same for the wire.
pub fn wire_sparse_params(p: &SparseParams) -> SparseVectorParams {
    let full_scan_threshold = p.full_scan_threshold;
    SparseVectorParams {
        index: full_scan_threshold
            .map(|_| SparseIndexParams { full_scan_threshold, ..SparseIndexParams::default() }),
        modifier: (p.modifier == Modifier::Idf).then_some(WireModifier::Idf),
    }
}

/// One vector's parameters.
pub fn vector_params(p: &api::VectorParams) -> Result<VectorParams> {
    let datatype = match p.datatype {
        // Kept as it was sent, which is nearer than four bits a number.
        None | Some(WireDatatype::Float32 | WireDatatype::Turbo4) => Datatype::Float32,
        Some(WireDatatype::Float16) => Datatype::Float16,
        Some(WireDatatype::Uint8) => Datatype::Uint8,
    };
    Ok(VectorParams {
        size: p.size,
        distance: match p.distance {
            // Bytes can't say numbers below 1, so they stay as they are.
            api::Distance::Cosine if datatype == Datatype::Uint8 => Distance::CosineAsSent,
            api::Distance::Cosine => Distance::Cosine,
            api::Distance::Dot => Distance::Dot,
            api::Distance::Euclid => Distance::Euclid,
            api::Distance::Manhattan => Distance::Manhattan,
        },
        hnsw: p.hnsw_config.as_ref().map(|h| hnsw_diff(Some(h))),
        quantization: p.quantization_config.map(|q| QuantizationDiff::Set(quantization::to_engine(q))),
        on_disk: on_disk(p.memory, p.on_disk),
        multivector: p.multivector_config.is_some(),
        datatype,
    })
}

/// Whether data is only read from its file; `memory` says it if it is given.
fn on_disk(memory: Option<api::Memory>, on_disk: Option<bool>) -> Option<bool> {
    memory.map(|m| m == api::Memory::Cold).or(on_disk)
}

fn hnsw_diff(d: Option<&api::HnswDiff>) -> HnswDiff {
    let d = d.copied().unwrap_or_default();
    HnswDiff {
        m: d.m,
        ef_construct: d.ef_construct,
        full_scan_threshold_kb: d.full_scan_threshold,
        max_indexing_threads: d.max_indexing_threads,
        on_disk: on_disk(d.memory, d.on_disk),
        payload_m: d.payload_m,
        inline_storage: d.inline_storage,
    }
}

fn optimizers(d: Option<&api::OptimizersDiff>, base: OptimizerConfig) -> Result<OptimizerConfig> {
    let Some(d) = d else { return Ok(base) };
    let threads = match &d.max_optimization_threads {
        None => base.max_optimization_threads,
        Some(v) if v.as_str() == Some("auto") || v.is_null() => None,
        Some(v) => match v.as_u64() {
            Some(n) => Some(usize::try_from(n).unwrap_or(usize::MAX)),
            None => return Err(ApiError::format("max_optimization_threads is a number or \"auto\"")),
        },
    };
    Ok(OptimizerConfig {
        deleted_threshold: d.deleted_threshold.unwrap_or(base.deleted_threshold),
        vacuum_min_vector_number: d.vacuum_min_vector_number.unwrap_or(base.vacuum_min_vector_number),
        default_segment_number: d.default_segment_number.unwrap_or(base.default_segment_number),
        max_segment_size_kb: d.max_segment_size.or(base.max_segment_size_kb),
        memmap_threshold_kb: d.memmap_threshold.or(base.memmap_threshold_kb),
        indexing_threshold_kb: d.indexing_threshold.unwrap_or(base.indexing_threshold_kb),
        flush_interval_sec: d.flush_interval_sec.unwrap_or(base.flush_interval_sec),
        max_optimization_threads: threads,
        prevent_unoptimized: d.prevent_unoptimized.unwrap_or(base.prevent_unoptimized),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_vector_whose_quantization_is_off_does_not_follow_the_collections() {
        let defaults = Defaults {
            hnsw: HnswConfig::default(),
            optimizers: OptimizerConfig::default(),
            on_disk_payload: true,
        };
        let settings: api::CreateCollection = serde_json::from_value(json!({
            "vectors": {"a": {"size": 2, "distance": "Dot"}, "b": {"size": 2, "distance": "Dot"}},
            "quantization_config": {"scalar": {"type": "int8"}},
            "unquantized_vectors": ["b"],
        }))
        .expect("a configuration");
        let config = collection_config(&settings, &defaults).expect("it is served");
        let of = |name: &str| config.quantization_of(&config.vectors[name]);
        assert!(of("a").is_some());
        assert_eq!(of("b"), None);
    }
}
