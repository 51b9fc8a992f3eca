//! Bodies of requests. The first byte says of which; the rest is the body. It is read or refused, never more; what the fast reader
//! takes, serde reads as the same; what is read is validated.

use std::fmt::Debug;

use quiver_api::collections::{CreateCollection, CreateIndex, CreateVector, UpdateCollection};
use quiver_api::fast::FastBody;
use quiver_api::filter::Filter;
use quiver_api::points::{BatchRequest, ParsedUpsert, ScrollRequest, SetPayloadRequest};
use quiver_api::query::{Prefetch, QueryBatchRequest, QueryRequest, SearchBatchRequest, SearchRequest};
use quiver_api::validate::Invalid;
use serde::de::DeserializeOwned;

/// Reads one body.
pub fn run(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    match kind {
        b'u' => fast::<ParsedUpsert>(body),
        b'q' => fast::<QueryRequest>(body),
        b'Q' => fast::<QueryBatchRequest>(body),
        b's' => fast::<SearchRequest>(body),
        b'S' => fast::<SearchBatchRequest>(body),
        b'b' => drop(plain::<BatchRequest>(body)),
        b'o' => drop(plain::<ScrollRequest>(body)),
        b'p' => drop(plain::<SetPayloadRequest>(body)),
        b'v' => drop(plain::<CreateVector>(body)),
        b'f' => filter(body),
        b'g' => prefetch(body),
        b'c' => drop(plain::<CreateCollection>(body).map(|c| (c.validate(), printed(&c)))),
        b'C' => drop(plain::<UpdateCollection>(body).map(|c| c.validate())),
        b'i' => drop(plain::<CreateIndex>(body).map(|c| c.validate())),
        _ => {}
    }
}

fn plain<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

fn fast<T: FastBody + PartialEq + Debug>(body: &[u8]) {
    let Some(read) = T::read(body) else { return drop(plain::<T>(body)) };
    // Debug prints a number that is none as itself, which is not equal to itself.
    let by_serde = serde_json::from_slice::<T>(body).expect("serde reads what the fast reader takes");
    assert_eq!(format!("{read:?}"), format!("{by_serde:?}"));
}

/// What is printed is read as the same again.
fn filter(body: &[u8]) {
    let Some(filter) = plain::<Filter>(body) else { return };
    filter.validate("filter", &mut Invalid::new());
    let text = serde_json::to_string(&filter).expect("a filter prints");
    let again: Filter = serde_json::from_str(&text).expect("what was printed is read");
    assert_eq!(format!("{filter:?}"), format!("{again:?}"), "{text}");
}

fn prefetch(body: &[u8]) {
    if let Some(prefetch) = plain::<Prefetch>(body) {
        prefetch.validate("", &mut Invalid::new());
    }
}

/// A collection's settings are kept as JSON: what a node wrote it must read after its next start.
fn printed(settings: &CreateCollection) {
    let text = serde_json::to_string(settings).expect("settings print");
    let again: CreateCollection = serde_json::from_str(&text).expect("what was printed is read");
    assert_eq!(serde_json::to_string(&again).expect("settings print"), text);
}
