//! Points: writing, changing, reading by id and in order.

use axum::extract::{Path, State};
use axum::response::Response;
use quiver_api::point::{PointId, Record, Vector, Vectors};
use quiver_api::points::{
    BatchOperation, BatchRequest, CountRequest, DeletePayloadRequest, DeleteVectorsRequest, ParsedUpsert,
    PointVectors, PointsSelector, RetrieveRequest, ScrollRequest, Selector, SetPayloadRequest, UpdateResult,
    UpdateVectorsRequest, WithPayload, WithVector,
};
use quiver_api::print;
use quiver_api::shard_call::ShardWrite;
use quiver_api::shard_key::ShardKeySelector;
use quiver_api::validate::Invalid;
use serde::Serialize;

use super::AppState;
use super::extract::{Body, Options, Started};
use crate::collection::Collection;
use crate::collection::strict::Asked;
use crate::collection::update::{NOTHING, target};
use crate::error::{ApiError, Result};

/// Page of a scroll that names none.
const SCROLL_LIMIT: usize = 10;
const OFFSET_AND_ORDER: &str = "Cannot use an `offset` when using `order_by`. The alternative for paging is to use `order_by.start_from` and a filter to exclude the IDs that you've already seen for the `order_by.start_from` value";

/// Any operation that a body can hold, as a write of the collection; it was validated.
fn write_of(operation: BatchOperation, collection: &Collection) -> Result<ShardWrite> {
    Ok(match operation {
        BatchOperation::Upsert(ParsedUpsert(parsed)) => {
            let upsert = parsed?;
            if upsert.points.is_empty() {
                return Err(ApiError::bad_request(NOTHING));
            }
            collection.node.guardrails.upsert(&collection.name(), upsert.points.len());
            ShardWrite::Upsert {
                points: upsert.points,
                mode: upsert.update_mode,
                condition: upsert.update_filter,
            }
        }
        BatchOperation::Delete(PointsSelector(select)) => ShardWrite::Delete(target(select, NOTHING)?),
        BatchOperation::ClearPayload(PointsSelector(select)) => {
            ShardWrite::ClearPayload(target(select, NOTHING)?)
        }
        BatchOperation::SetPayload(r) => {
            ShardWrite::SetPayload { target: target(r.select, NOTHING)?, payload: r.payload, key: r.key }
        }
        BatchOperation::OverwritePayload(r) => {
            ShardWrite::OverwritePayload { target: target(r.select, NOTHING)?, payload: r.payload }
        }
        BatchOperation::DeletePayload(r) => {
            ShardWrite::DeletePayload { target: target(r.select, NOTHING)?, keys: r.keys }
        }
        BatchOperation::UpdateVectors(r) => {
            ShardWrite::UpdateVectors { points: r.points, condition: r.update_filter }
        }
        BatchOperation::DeleteVectors(r) => {
            let target = target(r.select, "No filter or points provided")?;
            ShardWrite::DeleteVectors { target, names: r.vector }
        }
    })
}

/// The ids or filter of an operation that has them.
fn selector_of(operation: &BatchOperation) -> Option<&Selector> {
    match operation {
        BatchOperation::Upsert(_) | BatchOperation::UpdateVectors(_) => None,
        BatchOperation::Delete(PointsSelector(select))
        | BatchOperation::ClearPayload(PointsSelector(select)) => Some(select),
        BatchOperation::SetPayload(r) | BatchOperation::OverwritePayload(r) => Some(&r.select),
        BatchOperation::DeletePayload(r) => Some(&r.select),
        BatchOperation::DeleteVectors(r) => Some(&r.select),
    }
}

fn shard_key_of(operation: &BatchOperation) -> Option<&ShardKeySelector> {
    match operation {
        BatchOperation::Upsert(ParsedUpsert(parsed)) => parsed.as_ref().ok()?.shard_key.as_ref(),
        BatchOperation::UpdateVectors(r) => r.shard_key.as_ref(),
        other => selector_of(other)?.shard_key.as_ref(),
    }
}

/// Refuses values out of range; `path` is where the operation stands in the body: empty, or it ends in a point.
fn validate(operation: &BatchOperation, path: &str) -> Result<()> {
    let (field, filter) = match operation {
        BatchOperation::Upsert(ParsedUpsert(Err(invalid))) => return Err(invalid.clone().under(path).into()),
        BatchOperation::Upsert(ParsedUpsert(Ok(upsert))) => ("update_filter", upsert.update_filter.as_ref()),
        BatchOperation::UpdateVectors(r) => ("update_filter", r.update_filter.as_ref()),
        other => ("filter", selector_of(other).and_then(|select| select.filter.as_ref())),
    };
    let mut invalid = Invalid::new();
    if let Some(filter) = filter {
        filter.validate(&format!("{path}{field}"), &mut invalid);
    }
    match operation {
        BatchOperation::Upsert(ParsedUpsert(Ok(upsert))) => {
            validate_vectors(upsert.points.iter().map(|p| &p.vector), path)?;
        }
        BatchOperation::UpdateVectors(r) => {
            let empty = |p: &PointVectors| matches!(&p.vector, Vectors::Named(map) if map.is_empty());
            if r.points.is_empty() {
                invalid.add(format!("{path}points"), "must specify points to update");
            } else if let Some(i) = r.points.iter().position(empty) {
                let path = format!("{path}points[{i}].vector");
                invalid.add(path, "must specify vectors to update for point");
            }
            validate_vectors(r.points.iter().map(|p| &p.vector), path)?;
        }
        BatchOperation::DeleteVectors(r) if r.vector.is_empty() => {
            invalid.add(format!("{path}vector"), "must specify vector names to delete");
        }
        _ => {}
    }
    Ok(invalid.done()?)
}

/// Of several points the first that is wrong is told: a body may hold very many.
fn validate_vectors<'a>(all: impl Iterator<Item = &'a Vectors>, path: &str) -> Result<()> {
    for (i, vectors) in all.enumerate() {
        let mut invalid = Invalid::new();
        let mut look_at = |vector: &Vector, field: &str| match vector {
            Vector::Dense(v) if !v.is_empty() => {}
            Vector::Dense(_) => {
                let path = format!("{path}points[{i}].{field}.vector");
                invalid.add(path, "dense vector must not be empty");
            }
            _ => vector.validate(&format!("{path}points[{i}].{field}"), &mut invalid),
        };
        match vectors {
            Vectors::Unnamed(v) => look_at(v, "vector"),
            Vectors::Named(map) => map.values().for_each(|v| look_at(v, "vector.?")),
        }
        invalid.done()?;
    }
    Ok(())
}

/// What an operation of a batch is called in it.
fn name_of(operation: &BatchOperation) -> &'static str {
    match operation {
        BatchOperation::Upsert(_) => "upsert",
        BatchOperation::Delete(_) => "delete",
        BatchOperation::SetPayload(_) => "set_payload",
        BatchOperation::OverwritePayload(_) => "overwrite_payload",
        BatchOperation::DeletePayload(_) => "delete_payload",
        BatchOperation::ClearPayload(_) => "clear_payload",
        BatchOperation::UpdateVectors(_) => "update_vectors",
        BatchOperation::DeleteVectors(_) => "delete_vectors",
    }
}

pub(super) async fn run(
    state: &AppState,
    name: &str,
    options: &Options,
    operation: BatchOperation,
) -> Result<UpdateResult> {
    validate(&operation, "")?;
    run_valid(state, name, options, operation).await
}

async fn run_valid(
    state: &AppState,
    name: &str,
    options: &Options,
    operation: BatchOperation,
) -> Result<UpdateResult> {
    match operation {
        // Both are meant: of the points that pass, and of those that are named.
        BatchOperation::DeleteVectors(mut r) if r.select.filter.is_some() && r.select.points.is_some() => {
            let mut passing = r.clone();
            passing.select.points = None;
            run_one(state, name, options, BatchOperation::DeleteVectors(passing)).await?;
            r.select.filter = None;
            run_one(state, name, options, BatchOperation::DeleteVectors(r)).await
        }
        operation => run_one(state, name, options, operation).await,
    }
}

async fn run_one(
    state: &AppState,
    name: &str,
    options: &Options,
    operation: BatchOperation,
) -> Result<UpdateResult> {
    let collection = state.registry.get(name)?.among_for_write(shard_key_of(&operation))?;
    let (write, deadline) = (write_of(operation, &collection)?, options.deadline(state));
    collection.check_write(options.timeout, deadline, &write).await?;
    collection.update(write, options.wait(), deadline).await
}

macro_rules! write_handler {
    ($name:ident, $body:ty, $variant:ident) => {
        pub async fn $name(
            State(state): State<AppState>,
            Path(name): Path<String>,
            options: Options,
            at: Started,
            Body(body): Body<$body>,
        ) -> Response {
            at.answer(run(&state, &name, &options, BatchOperation::$variant(body)).await)
        }
    };
}

write_handler!(upsert, ParsedUpsert, Upsert);
write_handler!(delete, PointsSelector, Delete);
write_handler!(set_payload, SetPayloadRequest, SetPayload);
write_handler!(overwrite_payload, SetPayloadRequest, OverwritePayload);
write_handler!(delete_payload, DeletePayloadRequest, DeletePayload);
write_handler!(clear_payload, PointsSelector, ClearPayload);
write_handler!(update_vectors, UpdateVectorsRequest, UpdateVectors);
write_handler!(delete_vectors, DeleteVectorsRequest, DeleteVectors);

/// One operation after another, if all are valid; the first that fails is the answer, and what was before it stays.
pub async fn batch(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<BatchRequest>,
) -> Response {
    let result = async {
        for (i, operation) in body.operations.iter().enumerate() {
            validate(operation, &format!("operations[{i}].{}.", name_of(operation)))?;
        }
        state.registry.get(&name)?;
        let mut results = Vec::with_capacity(body.operations.len());
        for operation in body.operations {
            results.push(run_valid(&state, &name, &options, operation).await?);
        }
        Ok(results)
    };
    at.answer(result.await)
}

pub async fn get(
    State(state): State<AppState>,
    Path((name, id)): Path<(String, String)>,
    options: Options,
    at: Started,
) -> Response {
    get_answer(&state, &name, &id, options, at).await
}

pub(super) async fn get_answer(
    state: &AppState,
    name: &str,
    id: &str,
    options: Options,
    at: Started,
) -> Response {
    let result = async {
        let collection = state.registry.get(name)?;
        let id = PointId::from_path(id).map_err(ApiError::wrong_input)?;
        let (payload, vectors) = (WithPayload::Bool(true), WithVector::Bool(true));
        let deadline = options.deadline(state);
        collection.check_read(options.timeout, deadline, || vec![Asked::default()]).await?;
        let found = collection.retrieve(vec![id], payload, vectors, deadline).await?;
        let missing = || ApiError::not_found(format!("Point with id {id} does not exists!"));
        found.into_iter().next().ok_or_else(missing)
    };
    let result: Result<Record> = result.await;
    at.answer_printed(result, print::record)
}

pub async fn retrieve(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<RetrieveRequest>,
) -> Response {
    retrieve_answer(&state, &name, options, at, body).await
}

pub(super) async fn retrieve_answer(
    state: &AppState,
    name: &str,
    options: Options,
    at: Started,
    body: RetrieveRequest,
) -> Response {
    let result = async {
        let collection = state.registry.get(name)?.among(body.shard_key.as_ref(), ApiError::bad_request)?;
        let payload = body.with_payload.unwrap_or(WithPayload::Bool(false));
        let vectors = body.with_vector.unwrap_or(WithVector::Bool(false));
        let deadline = options.deadline(state);
        collection.check_read(options.timeout, deadline, || vec![Asked::default()]).await?;
        collection.retrieve(body.ids, payload, vectors, deadline).await
    };
    at.answer_printed(result.await, |out, points| print::records(out, points))
}

pub async fn scroll(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<ScrollRequest>,
) -> Response {
    scroll_answer(&state, &name, options, at, body).await
}

pub(super) async fn scroll_answer(
    state: &AppState,
    name: &str,
    options: Options,
    at: Started,
    body: ScrollRequest,
) -> Response {
    let result = async {
        let mut invalid = Invalid::new();
        invalid.at_least("scroll_request.limit", body.limit, 1);
        if let Some(filter) = &body.filter {
            filter.validate("scroll_request.filter", &mut invalid);
        }
        invalid.done()?;
        if body.order_by.is_some() && body.offset.is_some() {
            return Err(ApiError::wrong_input(OFFSET_AND_ORDER));
        }
        let collection = state.registry.get(name)?.among(body.shard_key.as_ref(), ApiError::bad_request)?;
        let with = (
            body.with_payload.unwrap_or(WithPayload::Bool(true)),
            body.with_vector.unwrap_or(WithVector::Bool(false)),
        );
        let (limit, deadline) = (body.limit.unwrap_or(SCROLL_LIMIT), options.deadline(state));
        let asked = Asked { limit: Some(limit), filter: body.filter.as_ref(), ..Asked::default() };
        collection.check_read(options.timeout, deadline, || vec![asked]).await?;
        if let Some(order) = body.order_by {
            // Several points may have the value that a page ends with, so no id says where the next one begins.
            let ordered = collection.ordered(order, body.filter, limit, with, deadline).await;
            return ordered.map(|points| (points, None));
        }
        collection.scroll(body.filter, body.offset, limit, with, deadline).await
    };
    at.answer_printed(result.await, |out, (points, next)| {
        out.extend_from_slice(b"{\"points\":");
        print::records(out, points);
        out.extend_from_slice(b",\"next_page_offset\":");
        serde_json::to_writer(&mut *out, next).expect("an id always prints");
        out.push(b'}');
    })
}

pub async fn count(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<CountRequest>,
) -> Response {
    count_answer(&state, &name, options, at, body).await
}

pub(super) async fn count_answer(
    state: &AppState,
    name: &str,
    options: Options,
    at: Started,
    body: CountRequest,
) -> Response {
    #[derive(Serialize)]
    struct Count {
        count: u64,
    }
    let result = async {
        let mut invalid = Invalid::new();
        if let Some(filter) = &body.filter {
            filter.validate("count_request.filter", &mut invalid);
        }
        invalid.done()?;
        let collection = state.registry.get(name)?.among(body.shard_key.as_ref(), ApiError::bad_request)?;
        let deadline = options.deadline(state);
        let asked = Asked { filter: body.filter.as_ref(), exact: body.exact, ..Asked::default() };
        collection.check_read(options.timeout, deadline, || vec![asked]).await?;
        Ok(Count { count: collection.count(body.filter, deadline).await? })
    };
    at.answer(result.await)
}
