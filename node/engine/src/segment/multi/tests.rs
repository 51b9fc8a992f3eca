//! Files of multivectors: what was written is what is read, and damage is found.

use std::path::Path;

use super::{MultiColumn, MultiWriter, SegmentMulti};
use crate::cancel::Cancel;
use crate::config::{Distance, HnswConfig};
use crate::error::Error;
use crate::file::{FileEntry, RealDisk};
use crate::segment::vectors::{GraphPlan, VectorSpec, VectorsBuilder};
use crate::vector::MultiVector;

const DIM: usize = 5;

/// Every third point lacks the vector; the others have one to seven rows.
fn vectors() -> Vec<Option<MultiVector>> {
    let vector = |n: u32| {
        let rows = (0..1 + n % 7).map(|r| (0..DIM as u32).map(|d| (n * 100 + r * 10 + d) as f32).collect());
        MultiVector::new(rows.collect()).expect("a multivector")
    };
    (0..300u32).map(|n| (!n.is_multiple_of(3)).then(|| vector(n))).collect()
}

fn check(opened: &SegmentMulti, vectors: &[Option<MultiVector>]) {
    assert_eq!(opened.len() as usize, vectors.len());
    assert_eq!(opened.present() as usize, vectors.iter().flatten().count());
    for (n, vector) in vectors.iter().enumerate() {
        assert_eq!(opened.get(n as u32).expect("reads"), vector.as_ref().map(MultiVector::row));
        assert_eq!(opened.has(n as u32), vector.is_some());
    }
}

/// Writes a multivector for each point, in the files with this prefix.
fn write(dir: &Path, prefix: &str, spec: &VectorSpec, vectors: &[Option<MultiVector>]) -> Vec<FileEntry> {
    let rows: Vec<Vec<f32>> = vectors.iter().flatten().flat_map(MultiVector::to_rows).collect();
    let mut writer = MultiWriter::default();
    vectors.iter().for_each(|v| writer.push(v.as_ref().map_or(0, |v| v.row().count())).expect("few rows"));
    assert_eq!(writer.rows() as usize, rows.len());
    assert_eq!(writer.points() as usize, vectors.iter().flatten().count());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    let (disk, pool, cancel) = (&RealDisk, &pool, &Cancel::new());
    let builder = VectorsBuilder { disk, dir, prefix, spec, codes: false, pool, threads: 1, cancel };
    let mut fill = |row: u32, numbers: &mut [f32]| {
        numbers.copy_from_slice(&rows[row as usize]);
        Ok(true)
    };
    let mut files = builder.write(writer.rows(), &mut fill, GraphPlan::None).expect("writes");
    files.push(writer.write(disk, dir, prefix).expect("writes"));
    files
}

/// Files are damaged past the engine's file layer.
#[allow(clippy::disallowed_methods)]
#[test]
fn columns_and_files_hold_what_they_were_given() {
    let vectors = vectors();
    let rows = || vectors.iter().map(|v| v.as_ref().map(MultiVector::row));
    let column = MultiColumn::new(DIM, rows()).expect("some have one");
    for (n, vector) in vectors.iter().enumerate() {
        assert_eq!(column.get(n as u32), vector.as_ref().map(MultiVector::row));
    }
    assert!(MultiColumn::new(DIM, [None, None].into_iter()).is_none());
    let dir = tempfile::tempdir().expect("a folder");
    let spec = VectorSpec {
        dim: DIM,
        distance: Distance::Dot,
        quantization: None,
        hnsw: HnswConfig::default(),
        on_disk: false,
    };
    let files = write(dir.path(), "m0", &spec, &vectors);
    let open = |spec: &VectorSpec| SegmentMulti::open(&RealDisk, dir.path(), "m0", spec, &files);
    check(&open(&spec).expect("opens"), &vectors);
    assert!(open(&VectorSpec { dim: DIM + 1, ..spec }).is_err());
    for (name, at) in [("m0.multi", 200), ("m0.multi", 1204), ("m0.raw", 200), ("m0.raw", 9000)] {
        let path = dir.path().join(name);
        let whole = std::fs::read(&path).expect("a file");
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).expect("written");
        let read = open(&spec).and_then(|s| (0..300).try_for_each(|n| s.get(n).map(drop)));
        assert!(matches!(read, Err(Error::Corrupt { .. })), "byte {at} of {name}");
        std::fs::write(&path, whole).expect("written");
    }
    let files = write(dir.path(), "m1", &spec, &[None, None, None]);
    let opened = SegmentMulti::open(&RealDisk, dir.path(), "m1", &spec, &files).expect("opens");
    check(&opened, &[None, None, None]);
}
