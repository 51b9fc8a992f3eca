//! Similarities by codes against those of the raw vectors.

use proptest::prelude::*;

use super::*;
use crate::config::Distance;
use crate::hnsw::Space;
use crate::hnsw::search_scan::{scan, scan_halves};

/// All similarities of a query with some rows, by codes, in the order of the rows.
fn by_codes(distance: Distance, dim: usize, rows: &[f32], query: &[f32], form: CodeForm) -> Vec<f32> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let len = rows.len() / dim;
    let mut mean = vec![0f32; dim];
    rows.chunks(dim).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += v / len as f32));
    let (codes, sums) = ScalarCodes::encode(distance, dim, rows, mean, form, &pool).expect("memory");
    assert_eq!(sums.len(), len);
    let mut prepared = CodeQuery::default();
    codes.prepare(query, &mut prepared);
    let mut ctx = crate::hnsw::SearchContext::default();
    ctx.gather.extend(0..len as u32);
    ctx.top.reset(len);
    scan(&Space::Codes { codes: &codes, query: &prepared }, &mut ctx);
    let mut all = vec![0f32; len];
    ctx.top.as_slice().iter().for_each(|&(s, offset)| all[offset as usize] = s);
    all
}

fn check(distance: Distance, dim: usize, values: &[f32]) {
    let (query, rows) = values.split_at(dim);
    let scale: f32 = values.iter().map(|v| v * v).sum::<f32>() / (values.len() / dim) as f32;
    for form in [CodeForm::Plain, CodeForm::Rotated, CodeForm::Sketched] {
        let all = by_codes(distance, dim, rows, query, form);
        for (got, row) in all.into_iter().zip(rows.chunks(dim)) {
            let exact = distance.similarity(query, row);
            assert!(
                (got - exact).abs() <= 0.03 * scale + 1e-4,
                "{distance:?} dim {dim} {form:?}: {got} for {exact}, scale {scale}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn codes_give_nearly_the_similarities_of_the_vectors(
        dim in 1usize..400,
        offset in -3f32..3.0,
        values in prop::collection::vec(-1f32..1.0, 400 * 9),
    ) {
        let values: Vec<f32> = values[..dim * 9].iter().map(|v| v + offset).collect();
        for distance in [Distance::Dot, Distance::Euclid, Distance::Cosine] {
            check(distance, dim, &values);
        }
    }
}

#[test]
fn constant_and_zero_vectors_have_codes() {
    for distance in [Distance::Dot, Distance::Euclid] {
        check(distance, 3, &[0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        check(distance, 1, &[2.0, 1.0, 3.0]);
    }
}

/// What a scan finds after a look at the sketches, and by the upper halves, against what it finds by whole codes.
#[test]
fn hardly_anything_that_is_near_is_left_out_by_sketches_and_nothing_by_halves() {
    const DIM: usize = 300;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    for distance in [Distance::Cosine, Distance::Dot, Distance::Euclid] {
        let rows = crate::hnsw::tests::clustered(distance, DIM, 3000, 1);
        let mut mean = vec![0f32; DIM];
        rows.chunks(DIM).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += v / 3000.0));
        let (codes, _) =
            ScalarCodes::encode(distance, DIM, &rows, mean, CodeForm::Sketched, &pool).expect("memory");
        let (mut hits, mut kept, mut prepared) = (0, 0, CodeQuery::default());
        for query in crate::hnsw::tests::clustered(distance, DIM, 50, 99).chunks(DIM) {
            codes.prepare_sketch(query, &mut prepared);
            let all = || {
                let mut ctx = crate::hnsw::SearchContext::default();
                ctx.gather.extend(0..3000);
                ctx.top.reset(10);
                ctx
            };
            let top = |space: &Space| {
                let mut ctx = all();
                scan(space, &mut ctx);
                ctx.top.as_slice().to_vec()
            };
            let by_codes = top(&Space::Codes { codes: &codes, query: &prepared });
            let sketched = top(&Space::Sketched { codes: &codes, query: &prepared });
            hits += sketched.iter().filter(|found| by_codes.contains(found)).count();
            for k in [1, 7, 10] {
                let mut ctx = all();
                scan_halves(&codes, &prepared, k, 4.2, &mut ctx);
                assert!(ctx.found.len() < 1000, "{distance:?}: {} are near", ctx.found.len());
                let is_kept = |best: &&(f32, u32)| ctx.found.iter().any(|found| found.1 == best.1);
                kept += by_codes[..k].iter().filter(is_kept).count();
            }
        }
        assert_eq!(kept, 50 * (1 + 7 + 10), "{distance:?}: by halves");
        assert!(hits >= 490, "{distance:?}: {hits} of 500");
    }
}
