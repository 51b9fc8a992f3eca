//! `GET /openapi.json`: the document of this API, made of the table of operations and of the schemas that the wire types derive.

mod reports;
mod snapshots;
mod table;
mod telemetry;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use table::{Answer, OPERATIONS, Operation};

/// The document as it is sent. Made when it is asked for the first time: most nodes never are.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

/// Method and path of every operation.
#[cfg(test)]
pub(super) fn operations() -> impl Iterator<Item = (&'static str, &'static str)> {
    OPERATIONS.iter().map(|o| (o.method, o.path))
}

/// The document of all operations, with the schemas that they name.
fn document() -> Value {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let mut paths = Map::new();
    for operation in OPERATIONS.iter().chain(snapshots::OPERATIONS) {
        let at = paths.entry(operation.path).or_insert_with(|| json!({}));
        at[operation.method.to_lowercase()] = described(operation, &mut generator);
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.0.3",
        "info": {"title": "Quiver", "version": crate::PROTOCOL_VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let path = operation.path.split(['{', '}']).skip(1).step_by(2);
    let path =
        path.map(|name| json!({"in": "path", "name": name, "required": true, "schema": path_schema(name)}));
    let query = operation
        .query
        .iter()
        .map(|name| json!({"in": "query", "name": name, "required": false, "schema": query_schema(name)}));
    let mut described = json!({
        "summary": operation.summary,
        "parameters": path.chain(query).collect::<Vec<_>>(),
        "responses": responses(operation, generator),
    });
    if let Some(body) = operation.body {
        let (kind, required) = if matches!(operation.path.rsplit('/').next(), Some("upload")) {
            ("multipart/form-data", false)
        } else {
            ("application/json", true)
        };
        let schema = body(generator);
        described["requestBody"] = json!({"required": required, "content": {kind: {"schema": schema}}});
    }
    described
}

fn responses(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let content = match operation.answer {
        Answer::Text => json!({"text/plain": {"schema": {"type": "string"}}}),
        Answer::File => {
            json!({"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}})
        }
        Answer::Bare(schema) => json!({"application/json": {"schema": schema(generator)}}),
        Answer::Result(schema) => {
            let result = schema(generator);
            let envelope = json!({
                "type": "object",
                "required": ["result", "status", "time"],
                "properties": {"result": result, "status": {"type": "string"}, "time": {"type": "number", "format": "double"}},
            });
            json!({"application/json": {"schema": envelope}})
        }
    };
    let error = json!({
        "type": "object",
        "required": ["status", "time"],
        "properties": {
            "status": {
                "type": "object",
                "required": ["error"],
                "properties": {"error": {"type": "string"}, "hint": {"type": "string"}},
            },
            "time": {"type": "number", "format": "double"},
        },
    });
    json!({
        "200": {"description": "What was asked for.", "content": content},
        "4XX": {"description": "Why it was not done.", "content": {"application/json": {"schema": error}}},
    })
}

fn path_schema(name: &str) -> Value {
    match name {
        "id" => json!({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "format": "uuid"}]}),
        "shard_id" => json!({"type": "integer", "minimum": 0}),
        _ => json!({"type": "string"}),
    }
}

/// The values that [`super::extract::Options`] reads, by their names.
fn query_schema(name: &str) -> Value {
    match name {
        "wait" | "anonymize" | "per_collection" | "force" => json!({"type": "boolean"}),
        "timeout" | "details_level" | "completed_limit" => json!({"type": "integer", "minimum": 0}),
        "ordering" => json!({"type": "string", "enum": ["weak", "medium", "strong"]}),
        "priority" => json!({"type": "string", "enum": super::extract::PRIORITIES}),
        "consistency" => json!({"anyOf": [
            {"type": "integer", "minimum": 1},
            {"type": "string", "enum": ["majority", "quorum", "all"]},
        ]}),
        _ => json!({"type": "string"}),
    }
}
