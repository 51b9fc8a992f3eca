//! Single limits, and the protocol's texts when one is exceeded.

use std::collections::BTreeMap;
use std::fmt::Display;

use axum::http::StatusCode;
use quiver_api::collections::{CreateCollection, FieldSchema, FieldType};
use quiver_api::filter::Filter;
use quiver_api::point::Vector;
use quiver_api::query::{Expression, QuantizationSearchParams};
use quiver_api::strict_mode::StrictMode;

use super::asked::Asked;
use super::filter::{self, Need};
use crate::collection::convert;
use crate::error::{ApiError, Result};

type Indexes = BTreeMap<String, FieldSchema>;

/// A number of the request that may not be larger.
pub fn limit<T: PartialOrd + Display>(value: Option<T>, limit: Option<T>, name: &str) -> Result<()> {
    match (value, limit) {
        (Some(value), Some(limit)) if value > limit => Err(ApiError::strict(
            format!("Limit exceeded {value} > {limit} for \"{name}\""),
            format!("Reduce the \"{name}\" parameter to or below {limit}."),
        )),
        _ => Ok(()),
    }
}

/// How many conditions a filter has, and how large they are.
pub fn filter_size(filter: &Filter, limits: &StrictMode) -> Result<()> {
    if let Some(max) = limits.filter_max_conditions {
        let n = filter::conditions(filter);
        if n > max {
            return Err(ApiError::strict(
                format!("Filter condition limit reached ({n} > {max})"),
                "Reduce the amount of conditions of your filter.",
            ));
        }
    }
    if let Some(max) = limits.condition_max_size {
        let n = filter::largest_condition(filter);
        if n > max {
            return Err(ApiError::strict(
                format!("Condition size limit reached ({n} > {max})"),
                "Reduce the size of your condition.",
            ));
        }
    }
    Ok(())
}

/// How well and how fast is searched.
pub fn params(asked: &Asked<'_>, limits: &StrictMode) -> Result<()> {
    let exact = asked.exact || asked.params.is_some_and(|p| p.exact);
    if exact && limits.search_allow_exact == Some(false) {
        return Err(ApiError::strict("Exact search disabled!", "Set exact=false."));
    }
    let Some(params) = asked.params else { return Ok(()) };
    let oversampling = params.quantization.and_then(|q: QuantizationSearchParams| q.oversampling);
    limit(oversampling, limits.search_max_oversampling, "oversampling")?;
    limit(params.hnsw_ef, limits.search_max_hnsw_ef, "hnsw_ef")
}

fn not_indexed(key: &str, need: Need, help: &str) -> ApiError {
    let types = need.types().join(", ");
    let what = format!("Index required but not found for \"{key}\" of one of the following types: [{types}]");
    ApiError::strict(what, help)
}

/// Every key of a filter has an index that serves it.
pub fn filter_indexed(filter: &Filter, indexes: &Indexes) -> Result<()> {
    match filter::unindexed(filter, indexes)? {
        None => Ok(()),
        Some((key, need)) => {
            Err(not_indexed(&key, need, "Create an index for this key or use a different filter."))
        }
    }
}

/// Every key that a read looks at has an index.
pub fn indexed(asked: &Asked<'_>, indexes: &Indexes) -> Result<()> {
    if let Some(filter) = asked.filter {
        filter_indexed(filter, indexes)?;
    }
    if let Some(formula) = asked.formula {
        formula_indexed(formula, indexes)?;
    }
    let Some(key) = asked.group_by else { return Ok(()) };
    const HELP: &str = "Create an index supporting `match` for this key.";
    match indexes.get(&convert::path(key)?.to_string()).map(kind_of) {
        Some(FieldType::Keyword | FieldType::Integer | FieldType::Uuid | FieldType::Bool) => Ok(()),
        Some(kind) => Err(ApiError::strict(format!("Index of type \"{kind:?}\" found for \"{key}\""), HELP)),
        None => Err(ApiError::strict(format!("Index required but not found for \"{key}\""), HELP)),
    }
}

fn kind_of(schema: &FieldSchema) -> FieldType {
    match schema {
        FieldSchema::Type(kind) => *kind,
        FieldSchema::Params(p) => p.kind,
    }
}

fn formula_indexed(formula: &Expression, indexes: &Indexes) -> Result<()> {
    use Expression as E;
    let one = |key: &str, need: Need| {
        let is_served =
            indexes.get(&convert::path(key)?.to_string()).is_some_and(|schema| need.is_served_by(schema));
        let help = "Create an index for this key or use a different formula expression.";
        if is_served { Ok(()) } else { Err(not_indexed(key, need, help)) }
    };
    let all = |list: &[Expression]| list.iter().try_for_each(|e| formula_indexed(e, indexes));
    match formula {
        E::Constant(_) | E::Datetime(_) => Ok(()),
        E::Variable(name) if name.starts_with('$') => Ok(()),
        E::Variable(key) => one(key, Need::Number),
        E::Condition(filter) => filter_indexed(filter, indexes),
        E::GeoDistance { to, .. } => one(to, Need::Geo),
        E::DatetimeKey(key) => one(key, Need::Datetime),
        E::Mult(list) | E::Sum(list) => all(list),
        E::Neg(e) | E::Abs(e) | E::Sqrt(e) | E::Exp(e) | E::Log10(e) | E::Ln(e) => {
            formula_indexed(e, indexes)
        }
        E::Div { left: a, right: b, .. } | E::Pow { base: a, exponent: b } => {
            formula_indexed(a, indexes)?;
            formula_indexed(b, indexes)
        }
        E::Decay { x, target, .. } => {
            formula_indexed(x, indexes)?;
            target.as_ref().map_or(Ok(()), |e| formula_indexed(e, indexes))
        }
    }
}

/// A vector that has no graph would be searched exactly, which is not allowed; among the points of one tenant it may.
pub fn graph(
    using: &str,
    filter: Option<&Filter>,
    settings: &CreateCollection,
    indexes: &Indexes,
) -> Result<()> {
    let Some((_, vector)) = settings.vectors.iter().find(|(name, _)| *name == using) else { return Ok(()) };
    let (own, common) = (vector.hnsw_config.as_ref(), settings.hnsw_config.as_ref());
    let m = own.and_then(|h| h.m).or_else(|| common.and_then(|h| h.m));
    if m != Some(0) {
        return Ok(());
    }
    let label = if using.is_empty() { String::new() } else { format!(" on '{using}'") };
    let is_tenant =
        |schema: &FieldSchema| matches!(schema, FieldSchema::Params(p) if p.is_tenant == Some(true));
    let of_tenant = filter.is_some_and(|f| {
        filter::keys(f).iter().any(|key| {
            convert::path(key).is_ok_and(|path| indexes.get(&path.to_string()).is_some_and(is_tenant))
        })
    });
    if !of_tenant {
        return Err(ApiError::strict(
            format!(
                "Request is forbidden{label} because global vector indexing is disabled (hnsw_config.m = 0)"
            ),
            "Use tenant-specific filter, enable global vector indexing or enable strict mode `search_allow_exact` option",
        ));
    }
    let payload_m = own.and_then(|h| h.payload_m).or_else(|| common.and_then(|h| h.payload_m));
    if payload_m.unwrap_or(0) == 0 {
        return Err(ApiError::strict(
            format!(
                "Request is forbidden{label} because vector indexing is disabled (hnsw_config.m = 0 and hnsw_config.payload_m = 0)"
            ),
            "Enable vector indexing, use a prefetch query with indexed vectors or enable strict mode `search_allow_exact` option",
        ));
    }
    Ok(())
}

/// Bytes of all vectors or payloads.
pub fn size(what: &str, bytes: u64, limit: Option<usize>) -> Result<()> {
    match limit {
        Some(limit) if bytes >= limit as u64 => {
            let megabytes = limit as f32 / (1024.0 * 1024.0);
            let text = format!("Max {what} storage size limit of {megabytes}MB reached!");
            Err(ApiError::bad_request(text))
        }
        _ => Ok(()),
    }
}

/// What the process uses, in percent of what it may use.
pub fn memory(percent: u64, limit: usize) -> Result<()> {
    if percent < limit as u64 {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::INSUFFICIENT_STORAGE,
        format!(
            "Service internal error: resident memory usage is {percent}%, and this collection takes writes below {limit}% \
             (strict mode, max_resident_memory_percent)"
        ),
    )
    .hint("Deletes and reads go on. Delete points, quantize vectors or keep them on disk, or give the node more memory"))
}

/// Rows of a multivector, elements of a sparse vector.
pub fn vector(name: &str, vector: &Vector, limits: &StrictMode) -> Result<()> {
    let text = match vector {
        Vector::Multi(rows) => {
            let limit = limits.multivector_config.as_ref().and_then(|all| all.get(name)?.max_vectors);
            limit.filter(|max| rows.len() > *max).map(|max| {
                let n = rows.len();
                format!("Multivector '{name}' has a limit of {max} vectors, but {n} were provided!")
            })
        }
        Vector::Sparse { indices, .. } => {
            let limit = limits.sparse_config.as_ref().and_then(|all| all.get(name)?.max_length);
            limit.filter(|max| indices.len() > *max).map(|max| {
                let n = indices.len();
                format!("Sparse vector '{name}' has a limit of {max} indices, but {n} were provided!")
            })
        }
        Vector::Dense(_) | Vector::Inference(_) => None,
    };
    text.map_or(Ok(()), |text| Err(ApiError::bad_request(text)))
}
