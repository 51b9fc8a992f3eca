//! Files of sparse vectors: what was written is what is read, and damage is found.

use super::{SegmentSparse, SparseBuilder, SparseColumn, SparseSource};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::file::RealDisk;
use crate::vector::SparseVector;

/// Every third point lacks the vector, every fifth has an empty one; more entries than are sorted at once.
fn vectors() -> Vec<Option<SparseVector>> {
    let vector = |n: u32| {
        let count = if n.is_multiple_of(5) { 0 } else { 3 + n % 17 };
        let indices: Vec<u32> = (0..count).map(|i| i * i * 1000 + n % 3).collect();
        let values = indices.iter().map(|i| (*i as f32) - 500.0).collect();
        SparseVector::new(indices, values).expect("a vector")
    };
    (0..700u32).map(|n| (!n.is_multiple_of(3)).then(|| vector(n))).collect()
}

fn check(source: &dyn SparseSource, vectors: &[Option<SparseVector>]) {
    assert_eq!(source.points() as usize, vectors.len());
    let all = || vectors.iter().enumerate().filter_map(|(n, v)| Some((n as u32, v.as_ref()?.row())));
    assert_eq!(source.entries(), all().map(|(_, row)| row.indices.len() as u64).sum::<u64>());
    for (n, vector) in vectors.iter().enumerate() {
        let row = source.row(n as u32).expect("reads");
        assert_eq!(row, vector.as_ref().map(SparseVector::row));
        assert_eq!(source.presence_word(n / 64) >> (n % 64) & 1 == 1, vector.is_some());
    }
    for dimension in [0, 1, 2, 1000, 4001, 9002, 77, u32::MAX] {
        let expected: Vec<(u32, f32)> = all()
            .filter_map(|(n, row)| Some((n, row.values[row.indices.binary_search(&dimension).ok()?])))
            .collect();
        let Some(posting) = source.posting(dimension).expect("reads") else {
            assert!(expected.is_empty());
            continue;
        };
        let found: Vec<(u32, f32)> =
            posting.offsets.iter().copied().zip(posting.values.iter().copied()).collect();
        assert_eq!(found, expected);
        assert!(found.iter().all(|(_, v)| (posting.lowest..=posting.highest).contains(v)));
        for offset in 0..700 {
            let place = posting.seek(0, offset);
            assert_eq!(place, posting.offsets.partition_point(|o| *o < offset));
            assert_eq!(posting.seek(place / 2, offset), place);
        }
    }
}

/// Files are damaged past the engine's file layer.
#[allow(clippy::disallowed_methods)]
#[test]
fn columns_and_files_hold_what_they_were_given() {
    let vectors = vectors();
    let rows = || vectors.iter().map(|v| v.as_ref().map(SparseVector::row));
    check(&SparseColumn::new(rows()).expect("some have one"), &vectors);
    assert!(SparseColumn::new([None, None].into_iter()).is_none());
    let dir = tempfile::tempdir().expect("a folder");
    let cancel = Cancel::new();
    let builder = SparseBuilder { disk: &RealDisk, dir: dir.path(), prefix: "s0", cancel: &cancel };
    let row = |n: u32| Ok(vectors[n as usize].as_ref().map(SparseVector::row));
    let written = builder.write(vectors.len() as u32, &row).expect("writes");
    let opened = SegmentSparse::open(&RealDisk, dir.path(), "s0", &written.files).expect("opens");
    check(&opened, &vectors);
    assert_eq!(opened.present(), written.points);
    for file in ["s0.rows", "s0.postings"] {
        let path = dir.path().join(file);
        let whole = std::fs::read(&path).expect("a file");
        let mut damaged = whole.clone();
        damaged[4096 + 200] ^= 1;
        std::fs::write(&path, damaged).expect("written");
        let opened = SegmentSparse::open(&RealDisk, dir.path(), "s0", &written.files);
        let read = opened.and_then(|s| {
            (0..700).try_for_each(|n| s.row(n).map(drop))?;
            (0..5000).try_for_each(|d| s.posting(d).map(drop))
        });
        assert!(matches!(read, Err(Error::Corrupt { .. })), "{file}");
        std::fs::write(&path, whole).expect("written");
    }
    let builder = SparseBuilder { prefix: "s1", ..builder };
    let none = builder.write(3, &|_| Ok(None)).expect("writes");
    let opened = SegmentSparse::open(&RealDisk, dir.path(), "s1", &none.files).expect("opens");
    check(&opened, &[None, None, None]);
}
