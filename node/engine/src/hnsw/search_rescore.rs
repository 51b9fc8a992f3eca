//! Scoring again what walks and scans have found, by what they did not look at.

use super::search_space::{CodeScorer, RawScorer, Scorer};
use crate::config::Distance;
use crate::distance::isa::{Isa, LINE_BYTES, per_isa};
use crate::quantization::{CodeQuery, ScalarCodes};

/// Exact similarities of the query with some rows, in their order; the next rows are asked for while one is compared.
pub(crate) fn rescore(distance: Distance, query: &[f32], rows: &[&[f32]], take: &mut dyn FnMut(usize, f32)) {
    assert!(rows.iter().all(|row| row.len() == query.len()), "rows are as long as the query");
    // SAFETY: checked above.
    unsafe { rescore_any(distance, query, rows, take) }
}

per_isa! {
    unsafe fn rescore_any(
        distance: Distance, query: &[f32], rows: &[&[f32]], take: &mut dyn FnMut(usize, f32),
    ) -> () => rescore_with;
}

#[inline(always)]
unsafe fn rescore_with<I: Isa>(
    distance: Distance,
    query: &[f32],
    rows: &[&[f32]],
    take: &mut dyn FnMut(usize, f32),
) {
    const AHEAD: usize = 4;
    /// From there on the processor sees by itself that a row is read.
    const LINES: usize = 8;
    let ask = |row: &[f32]| {
        for line in row.chunks(LINE_BYTES / 4).take(LINES) {
            I::prefetch(line.as_ptr().cast());
        }
    };
    rows.iter().take(AHEAD).for_each(|row| ask(row));
    for (i, row) in rows.iter().enumerate() {
        if let Some(next) = rows.get(i + AHEAD) {
            ask(next);
        }
        // SAFETY: a slice is a space of one row, as long as the query.
        let score = unsafe { RawScorer::<I>::new(row, distance, query).score(0) };
        take(i, score);
    }
}

/// Scores by whole codes what a walk by their upper halves has found, and puts it in order.
pub(crate) fn score_by_codes(codes: &ScalarCodes, query: &CodeQuery, found: &mut [(f32, u32)]) {
    assert!(found.iter().all(|&(_, offset)| offset < codes.len()), "points of this segment");
    // SAFETY: checked above.
    unsafe { score_found_any(codes, query, found) }
    found.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
}

per_isa! {
    unsafe fn score_found_any(codes: &ScalarCodes, query: &CodeQuery, found: &mut [(f32, u32)]) -> () => score_found_with;
}

#[inline(always)]
unsafe fn score_found_with<I: Isa>(codes: &ScalarCodes, query: &CodeQuery, found: &mut [(f32, u32)]) {
    let scorer = CodeScorer::<I, 0>::new(codes, query);
    found.iter().for_each(|&(_, offset)| scorer.prefetch(offset));
    for four in found.chunks_mut(4) {
        let batch = std::array::from_fn(|k| four[k.min(four.len() - 1)].1);
        // SAFETY: the caller answers for what was found.
        let scores = unsafe { scorer.score4(batch) };
        four.iter_mut().zip(scores).for_each(|(found, score)| found.0 = score);
    }
}
