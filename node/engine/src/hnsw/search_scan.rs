//! Comparing a list of points with a query, one by one.

use super::context::SearchContext;
use super::multi::MultiScorer;
use super::search::score_all;
use super::search_space::{
    CodeScorer, ExampleScorer, HalvesScorer, RawScorer, Scorer, SketchedScorer, Space,
};
use crate::distance::TopK;
use crate::distance::isa::{Isa, LINE_BYTES, per_isa};
use crate::quantization::{CodeQuery, ScalarCodes};

/// Scores the points in `ctx.gather` into `ctx.top`. Every offset must be below the space's length.
pub(crate) fn scan(space: &Space, ctx: &mut SearchContext) {
    let len = space.len();
    assert!(ctx.gather.iter().fold(true, |all, &o| all & (o < len)), "points of this segment");
    // SAFETY: checked above.
    unsafe { scan_any(space, ctx) }
}

per_isa! { unsafe fn scan_any(space: &Space, ctx: &mut SearchContext) -> () => scan_with; }

#[inline(always)]
unsafe fn scan_with<I: Isa>(space: &Space, ctx: &mut SearchContext) {
    // SAFETY: passed on to the caller.
    unsafe {
        match *space {
            // Who scans reads rows in order, where whole codes cost little more than their halves.
            Space::Codes { codes, query } | Space::Halves { codes, query } => {
                match codes.stride() / LINE_BYTES {
                    6 => scan_in(&CodeScorer::<I, 6>::new(codes, query), ctx),
                    12 => scan_in(&CodeScorer::<I, 12>::new(codes, query), ctx),
                    _ => scan_in(&CodeScorer::<I, 0>::new(codes, query), ctx),
                }
            }
            Space::Sketched { codes, query } => match query.sketch.words() {
                6 => scan_pruned(&SketchedScorer::<I, 6>::new(codes, query), ctx),
                _ => scan_pruned(&SketchedScorer::<I, 0>::new(codes, query), ctx),
            },
            Space::Raw { rows, distance, query } => {
                scan_in(&RawScorer::<I>::new(rows, distance, query), ctx);
            }
            Space::Examples { rows, examples } => scan_in(&ExampleScorer::<I>::new(rows, examples), ctx),
            Space::Multi { points, query } => scan_in(&MultiScorer::<I>::new(points, query), ctx),
        }
    }
}

/// Rows asked for ahead of the one that is scored.
const AHEAD: usize = 12;

#[inline(always)]
unsafe fn scan_in<S: Scorer>(scorer: &S, ctx: &mut SearchContext) {
    let SearchContext { gather, top, scores, .. } = ctx;
    let count = gather.len();
    scores.resize(count.next_multiple_of(4), 0.0);
    let Some(&last) = gather.last() else { return };
    gather.extend_from_slice(&[last; AHEAD + 4]);
    gather[..AHEAD].iter().for_each(|&offset| scorer.prefetch(offset));
    let mut worst = top.worst();
    let mut i = 0;
    while i < count {
        gather[i + AHEAD..i + AHEAD + 4].iter().for_each(|&offset| scorer.prefetch(offset));
        let batch = [gather[i], gather[i + 1], gather[i + 2], gather[i + 3]];
        // SAFETY: passed on to the caller.
        let four = unsafe { scorer.score4(batch) };
        scores[i..i + 4].copy_from_slice(&four);
        for k in 0..(count - i).min(4) {
            if four[k] > worst {
                top.push(four[k], batch[k]);
                worst = top.worst();
            }
        }
        i += 4;
    }
    gather.truncate(count);
}

/// Scores the points in `ctx.gather` by the upper halves of their codes into `ctx.top`, and adds those to `ctx.found` that may be as
/// good as the last there by whole codes: by `sure` deviations of what halves don't say. What was found before and is not takes leave.
/// Every offset must be below the number of codes.
pub(crate) fn scan_halves(codes: &ScalarCodes, query: &CodeQuery, sure: f32, ctx: &mut SearchContext) {
    assert!(ctx.gather.iter().fold(true, |all, &o| all & (o < codes.len())), "points of this segment");
    // SAFETY: checked above.
    unsafe { halves_any(codes, query, ctx) }
    let SearchContext { gather, top, scores, found, .. } = ctx;
    let least = match top.as_slice().last() {
        Some(&(worst, offset)) if top.is_full() => worst - sure * codes.noise_of_halves(query, offset),
        _ => f32::NEG_INFINITY,
    };
    found.retain(|&(score, _)| score >= least);
    for (&offset, &score) in gather.iter().zip(scores.iter()) {
        if score >= least {
            found.push((score, offset));
        }
    }
}

per_isa! {
    unsafe fn halves_any(codes: &ScalarCodes, query: &CodeQuery, ctx: &mut SearchContext) -> () => halves_with;
}

#[inline(always)]
unsafe fn halves_with<I: Isa>(codes: &ScalarCodes, query: &CodeQuery, ctx: &mut SearchContext) {
    // SAFETY: passed on to the caller.
    unsafe {
        match codes.stride() / LINE_BYTES {
            6 => scan_in(&HalvesScorer::<I, 6>::new(codes, query), ctx),
            _ => scan_in(&HalvesScorer::<I, 0>::new(codes, query), ctx),
        }
    }
}

/// [`scan_in`] in runs, of which what is too far away by its sketch is left out. The most promising of the first run are
/// scored before all others, so that what has to be beaten is high from the beginning.
#[inline(always)]
unsafe fn scan_pruned<I: Isa, const LINES: usize>(
    scorer: &SketchedScorer<I, LINES>,
    ctx: &mut SearchContext,
) {
    const RUN: usize = 512;
    let SearchContext { gather, top, through, bounds, sorted, scores, .. } = ctx;
    let count = gather.len();
    let Some(&last) = gather.last() else { return };
    gather.extend_from_slice(&[last; AHEAD_SKETCHES]);
    // A copy that the loop keeps in registers.
    let sketches = scorer.sketches;
    gather[..AHEAD_SKETCHES].iter().for_each(|&offset| sketches.prefetch(offset));
    let mut start = 0;
    while start < count {
        let end = (start + RUN).min(count);
        bounds.resize(end - start, 0.0);
        let ahead = &gather[start + AHEAD_SKETCHES..end + AHEAD_SKETCHES];
        for ((bound, &offset), &next) in bounds.iter_mut().zip(&gather[start..end]).zip(ahead) {
            sketches.prefetch(next);
            // SAFETY: passed on to the caller.
            *bound = unsafe { sketches.bound(offset) };
        }
        let mut least = top.worst();
        if !top.is_full() && bounds.len() > top.capacity() {
            sorted.clear();
            sorted.extend_from_slice(bounds);
            least = *sorted.select_nth_unstable_by(top.capacity(), |a, b| b.total_cmp(a)).1;
            // SAFETY: passed on to the caller.
            unsafe { score_above(scorer, &gather[start..end], bounds, least, (through, scores), top) };
            // What was scored is not scored again.
            bounds.iter_mut().filter(|bound| **bound > least).for_each(|bound| *bound = f32::NEG_INFINITY);
            least = top.worst();
        }
        // SAFETY: passed on to the caller.
        unsafe { score_above(scorer, &gather[start..end], bounds, least, (through, scores), top) };
        start = end;
    }
    gather.truncate(count);
}

/// Sketches asked for ahead of those that are compared.
const AHEAD_SKETCHES: usize = 24;

/// Scores those of `offsets` whose bound is above `least` into `top`.
///
/// # Safety
/// The offsets are points that `scorer` may score.
#[inline(always)]
unsafe fn score_above<I: Isa, const LINES: usize>(
    scorer: &SketchedScorer<I, LINES>,
    offsets: &[u32],
    bounds: &[f32],
    least: f32,
    (kept, scores): (&mut Vec<u32>, &mut Vec<f32>),
    top: &mut TopK,
) {
    kept.clear();
    for (&offset, &bound) in offsets.iter().zip(bounds) {
        if bound > least {
            scorer.prefetch_codes(offset);
            kept.push(offset);
        }
    }
    // SAFETY: passed on to the caller.
    unsafe { score_all(scorer, kept, scores) };
    for (&offset, &score) in kept.iter().zip(scores.iter()) {
        top.push(score, offset);
    }
}

/// Appends the offsets of the ones in some words, the first of which begins at `base`.
pub(crate) fn list_ones(words: &[u64], base: u32, offsets: &mut Vec<u32>) {
    // SAFETY: plain Rust, compiled for what the processor has.
    unsafe { list_any(words, base, offsets) }
}

per_isa! { unsafe fn list_any(words: &[u64], base: u32, offsets: &mut Vec<u32>) -> () => list_with; }

#[inline(always)]
unsafe fn list_with<I: Isa>(words: &[u64], base: u32, offsets: &mut Vec<u32>) {
    let ones: usize = words.iter().map(|word| word.count_ones() as usize).sum();
    let mut at = offsets.len();
    let end = at + ones;
    offsets.resize(end + AT_ONCE, 0);
    for (i, &word) in words.iter().enumerate() {
        let first = base + i as u32 * 64;
        let mut rest = word;
        // Nobody can guess how many ones a word has: some are written for each word, and those that were not there written over.
        for place in 0..AT_ONCE {
            offsets[at + place] = first.wrapping_add(rest.trailing_zeros());
            rest &= rest.wrapping_sub(1);
        }
        let ones = word.count_ones() as usize;
        for place in AT_ONCE..ones {
            offsets[at + place] = first + rest.trailing_zeros();
            rest &= rest - 1;
        }
        at += ones;
    }
    offsets.truncate(end);
}

/// Ones of a word that are written down without looking whether they are there.
const AT_ONCE: usize = 2;
