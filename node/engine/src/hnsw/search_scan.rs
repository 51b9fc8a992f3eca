//! Comparing a list of points with a query, one by one.

use super::context::SearchContext;
use super::multi::MultiScorer;
use super::search::score_all;
use super::search_space::{
    CodeScorer, ExampleScorer, HalvesScorer, RawScorer, Scorer, SketchedScorer, Space,
};
use super::search_visited::push_if;
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
const AHEAD: usize = 48;

#[inline(always)]
unsafe fn scan_in<S: Scorer>(scorer: &S, ctx: &mut SearchContext) {
    const RUN: usize = 512;
    let SearchContext { gather, top, scores, .. } = ctx;
    let count = gather.len();
    let Some(&last) = gather.last() else { return };
    gather.extend_from_slice(&[last; BEYOND]);
    gather[..AHEAD].iter().for_each(|&offset| scorer.prefetch(offset));
    let mut worst = top.worst();
    for start in (0..count).step_by(RUN) {
        let end = (start + RUN).min(count);
        // SAFETY: passed on to the caller.
        unsafe { score_run(scorer, &gather[start..end + BEYOND], scores) };
        for (&offset, &score) in gather[start..end].iter().zip(scores.iter()) {
            if score > worst {
                top.push(score, offset);
                worst = top.worst();
            }
        }
    }
    gather.truncate(count);
}

/// Points behind a run that [`score_run`] reads: it asks for rows ahead, and scores four at a time.
const BEYOND: usize = AHEAD + 4;

/// Leaves in `scores` the scores of all points in `gather` but the last [`BEYOND`].
///
/// # Safety
/// All of `gather` are points that `scorer` may score.
#[inline(always)]
unsafe fn score_run<S: Scorer>(scorer: &S, gather: &[u32], scores: &mut Vec<f32>) {
    let count = gather.len() - BEYOND;
    scores.resize(count.next_multiple_of(4), 0.0);
    for i in (0..count).step_by(4) {
        // SAFETY: so many are there, and a place for each score.
        unsafe {
            let points = gather.as_ptr().add(i);
            let ahead = *points.add(AHEAD).cast::<[u32; 4]>();
            ahead.iter().for_each(|&offset| scorer.prefetch(offset));
            *scores.as_mut_ptr().add(i).cast::<[f32; 4]>() = scorer.score4(*points.cast::<[u32; 4]>());
        }
    }
    scores.truncate(count);
}

/// Leaves in `ctx.found` those in `ctx.gather` that may be among the best `k` by whole codes, with their scores by the upper halves:
/// those of which halves say so, and those that are behind by less than `sure` deviations of what halves don't say. Every
/// offset must be below the number of codes.
pub(crate) fn scan_halves(
    codes: &ScalarCodes,
    query: &CodeQuery,
    k: usize,
    sure: f32,
    ctx: &mut SearchContext,
) {
    assert!(ctx.gather.iter().fold(true, |all, &o| all & (o < codes.len())), "points of this segment");
    // SAFETY: checked above.
    let enough = unsafe { halves_any(codes, query, k, ctx) };
    keep_from(enough, ctx);
    if ctx.found.len() >= k {
        let (_, &mut (worst, offset), _) =
            ctx.found.select_nth_unstable_by(k - 1, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        keep_from(worst - sure * codes.noise_of_halves(query, offset), ctx);
    }
}

per_isa! {
    unsafe fn halves_any(codes: &ScalarCodes, query: &CodeQuery, k: usize, ctx: &mut SearchContext) -> f32
        => halves_with;
}

/// Scores into `ctx.scores`; gives a score that `k` have, and few more.
#[inline(always)]
unsafe fn halves_with<I: Isa>(
    codes: &ScalarCodes,
    query: &CodeQuery,
    k: usize,
    ctx: &mut SearchContext,
) -> f32 {
    let SearchContext { gather, scores, sorted, .. } = ctx;
    let count = gather.len();
    let Some(&last) = gather.last() else { return f32::NEG_INFINITY };
    gather.extend_from_slice(&[last; BEYOND]);
    // SAFETY: passed on to the caller.
    unsafe {
        match codes.stride() / LINE_BYTES {
            6 => score_run(&HalvesScorer::<I, 6>::new(codes, query), gather, scores),
            _ => score_run(&HalvesScorer::<I, 0>::new(codes, query), gather, scores),
        }
    }
    gather.truncate(count);
    enough(scores, k, sorted)
}

/// A score that at least `k` have, if there are so many, and few more. `best` is memory that is used for it.
#[inline(always)]
fn enough(scores: &[f32], k: usize, best: &mut Vec<f32>) -> f32 {
    // The best of every so many are scores of different points: `k` of them are as good as the one that is in place `k` among these.
    let lanes = (2 * k).next_multiple_of(BLOCK);
    best.clear();
    best.resize(lanes, f32::NEG_INFINITY);
    for scores in scores.chunks(lanes) {
        for (best, &score) in best.iter_mut().zip(scores) {
            *best = if score > *best { score } else { *best };
        }
    }
    *best.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
}

/// Scores that are looked at together.
const BLOCK: usize = 16;

/// Leaves in `ctx.found` those of `ctx.gather` whose scores in `ctx.scores` are at least so good.
fn keep_from(least: f32, ctx: &mut SearchContext) {
    // SAFETY: plain Rust, compiled for what the processor has.
    unsafe { keep_any(least, ctx) }
}

per_isa! { unsafe fn keep_any(least: f32, ctx: &mut SearchContext) -> () => keep_with; }

#[inline(always)]
unsafe fn keep_with<I: Isa>(least: f32, ctx: &mut SearchContext) {
    let SearchContext { gather, scores, found, .. } = ctx;
    found.clear();
    // Most blocks have none, which a look at all of one at once says; where some are, nobody can guess which.
    for (offsets, scores) in gather.chunks(BLOCK).zip(scores.chunks(BLOCK)) {
        if scores.iter().fold(false, |any, &score| any | (score >= least)) {
            found.reserve(BLOCK);
            for (&offset, &score) in offsets.iter().zip(scores) {
                // SAFETY: there is room for a block.
                unsafe { push_if(found, (score, offset), score >= least) };
            }
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
