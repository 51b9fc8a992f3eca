//! Texts in the place of vectors: the model `bm25` is computed here, others are served by nobody.

use axum::http::StatusCode;
use quiver_api::document::{Bm25Options, Document, is_bm25};
use quiver_api::point::{Vector, Vectors};
use quiver_api::shard_call::ShardWrite;
use quiver_api::validate::Invalid;
use quiver_engine::text::Bm25;
use serde_json::Value;

use super::{convert, field_index};
use crate::error::{ApiError, Result};

/// Defaults of the model.
const K: f64 = 1.2;
const B: f64 = 0.75;
const AVERAGE_TOKENS: f64 = 256.0;

/// A model that is not here.
pub fn no_model() -> ApiError {
    // The protocol answers 500 here; but the request is wrong, and nothing in the node has failed.
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "InferenceService URL not configured - please provide valid address in config",
    )
    .hint(
        "This node has the model bm25 for texts and no other: compute the vector with yours and send it as a list of numbers",
    )
}

/// The text and the model of an object, if the model is here.
fn read(object: &Value) -> Result<(String, Bm25)> {
    let model = object["model"].as_str().unwrap_or_default();
    if model.is_empty() {
        return Err(Invalid::one("model", "must be at least 1 characters").into());
    }
    if !is_bm25(model) || object.get("text").is_none() {
        return Err(no_model());
    }
    let document: Document = serde_json::from_value(object.clone()).map_err(ApiError::format)?;
    let options = document.options.unwrap_or_default();
    let mut invalid = Invalid::new();
    options.validate("options", &mut invalid);
    invalid.done()?;
    Ok((document.text, model_of(&options)))
}

fn model_of(options: &Bm25Options) -> Bm25 {
    let params = field_index::text_params(&options.text_params());
    let (k, b) = (options.k.unwrap_or(K), options.b.unwrap_or(B));
    Bm25::new(&params, k, b, options.avg_len.unwrap_or(AVERAGE_TOKENS))
}

fn wire(vector: quiver_engine::SparseVector) -> Vector {
    convert::wire_vector(quiver_engine::Vector::Sparse(vector))
}

/// Puts the vector of a text that is looked for in its place.
pub fn embed_query(vector: &mut Vector) -> Result<()> {
    if let Vector::Inference(object) = vector {
        let (text, model) = read(object)?;
        *vector = wire(model.query(&text));
    }
    Ok(())
}

/// Whether a write holds texts.
pub fn has_documents(write: &ShardWrite) -> bool {
    let is_document = |v: &Vector| matches!(v, Vector::Inference(_));
    let any = |vectors: &Vectors| match vectors {
        Vectors::Unnamed(vector) => is_document(vector),
        Vectors::Named(all) => all.values().any(is_document),
    };
    match write {
        ShardWrite::Upsert { points, .. } => points.iter().any(|p| any(&p.vector)),
        ShardWrite::UpdateVectors { points, .. } => points.iter().any(|p| any(&p.vector)),
        _ => false,
    }
}

/// Puts the vectors of texts that are stored in their place. Takes a while: only on a thread of the pool.
pub fn embed_write(mut write: ShardWrite) -> Result<ShardWrite> {
    let one = |vector: &mut Vector| {
        if let Vector::Inference(object) = vector {
            let (text, model) = read(object)?;
            *vector = wire(model.document(&text));
        }
        Ok::<(), ApiError>(())
    };
    let all = |vectors: &mut Vectors| match vectors {
        Vectors::Unnamed(vector) => one(vector),
        Vectors::Named(all) => all.values_mut().try_for_each(one),
    };
    match &mut write {
        ShardWrite::Upsert { points, .. } => points.iter_mut().try_for_each(|p| all(&mut p.vector))?,
        ShardWrite::UpdateVectors { points, .. } => points.iter_mut().try_for_each(|p| all(&mut p.vector))?,
        _ => {}
    }
    Ok(write)
}
