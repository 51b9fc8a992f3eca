//! Quantization that is changed while a collection is in use: segments are opened anew, or built anew if they lack what
//! the new kind wants.

use std::sync::Arc;

use super::Shard;
use super::tests::options;
use crate::cancel::Cancel;
use crate::config::{
    CollectionConfig, Compression, Distance, Quantization, QuantizationDiff, TurboBits, VectorParams,
};
use crate::file::RealDisk;
use crate::operation::{Operation, PointWrite, UpdateMode};
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::vector::NamedVectors;

const POINTS: usize = 200;
const DIM: usize = 64;

fn config(collection: Option<Quantization>, vector: Option<QuantizationDiff>) -> CollectionConfig {
    let distance = Distance::Euclid;
    let params = VectorParams { quantization: vector, ..VectorParams::new(DIM, distance) };
    CollectionConfig {
        vectors: [(String::new(), params)].into(),
        quantization: collection,
        ..CollectionConfig::default()
    }
}

fn upsert() -> Operation {
    let rows = crate::hnsw::tests::clustered(Distance::Euclid, DIM, POINTS, 1);
    let point = |(n, row): (usize, &[f32])| PointWrite {
        id: PointId::Num(n as u64),
        vectors: NamedVectors::unnamed(row.to_vec()),
        payload: RawPayload::from_json_bytes(b"{}"),
    };
    let points = rows.chunks(DIM).enumerate().map(point).collect();
    Operation::Upsert { points, mode: UpdateMode::Upsert, condition: None }
}

/// Lets the optimizer work; gives the segment's number and the bytes that a point takes in RAM.
fn settle(shard: &Shard) -> (u64, u64) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    shard.optimize(&pool, &Cancel::new()).expect("optimizes");
    let view = shard.view();
    let [only] = view.sealed() else { panic!("{} segments", view.sealed().len()) };
    let mean = DIM as u64 * 4;
    (only.segment.id, (shard.stats().bytes_ram - mean) / POINTS as u64)
}

#[test]
fn a_change_builds_anew_what_lacks_sketches_and_opens_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("s");
    let shard = Shard::create(Arc::new(RealDisk), &dir, options(), config(None, None)).expect("creates");
    shard.write(upsert()).expect("takes points");
    shard.flush().expect("seals");
    let turbo = Quantization::Turbo { bits: Some(TurboBits::Bits4), always_ram: None };
    let product = Quantization::Product { compression: Compression::X4, always_ram: None };
    let (codes, sketches) = (64 + 12, 32 + 12);
    let mut segment = settle(&shard);
    assert_eq!(segment.1, codes);
    for (collection, vector, rebuilt, bytes) in [
        (Some(product), None, false, codes),
        (Some(turbo), None, true, sketches),
        (Some(turbo), Some(QuantizationDiff::Disabled), false, codes + 32),
        (Some(product), Some(QuantizationDiff::Set(turbo)), false, sketches),
        (None, None, false, codes + 32),
    ] {
        shard.update_config(config(collection, vector)).expect("a setting that may change");
        let now = settle(&shard);
        assert_eq!((now.0 != segment.0, now.1), (rebuilt, bytes), "{collection:?} {vector:?}");
        segment = now;
    }
    shard.update_config(config(Some(turbo), None)).expect("a setting that may change");
    drop(shard);
    let shard = Shard::open(Arc::new(RealDisk), &dir, options()).expect("starts again");
    assert_eq!(settle(&shard), (segment.0, sketches));
}
