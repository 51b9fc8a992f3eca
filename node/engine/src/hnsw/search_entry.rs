//! Where a walk begins on its level: from the graph's entry down through the levels above.
//!
//! One point is enough for most queries. One that is far from everything, farther than points of the graph are from each other,
//! finds all of them about as far, and following the best link ends in any cluster, which then fills the beam. Such a query goes
//! down a second time by a beam, and its walk begins from several points.

use super::context::SearchContext;
use super::graph::Graph;
use super::search::score_all;
use super::search_beam::Beam;
use super::search_space::Scorer;
use super::search_visited::Visited;
use crate::distance::isa::Isa;

/// The point of the level above `level` that is nearest, as far as following the best link finds it.
///
/// # Safety
/// All points of the graph, which has an entry, are points that `scorer` may score.
#[inline(always)]
pub(super) unsafe fn climb_from_entry<I: Isa, S: Scorer>(
    graph: &Graph,
    scorer: &S,
    level: u32,
) -> (f32, u32) {
    let entry = graph.shape.entry;
    // SAFETY: the entry is a point, and so is every link; passed on to the caller.
    unsafe {
        let mut start = (scorer.score1(entry), entry);
        for upper in (level + 1..=graph.shape.top).rev() {
            start = climb(scorer, start, |offset| asked::<I>(graph, graph.upper_row(offset, upper)));
        }
        start
    }
}

/// Fills `ctx.seeds` with the point of level 1 that is nearest, or with up to `width` of them if the query is far from it; best first.
///
/// # Safety
/// As for [`climb_from_entry`].
#[inline(always)]
pub(super) unsafe fn enter<I: Isa, S: Scorer>(
    graph: &Graph,
    scorer: &S,
    width: usize,
    ctx: &mut SearchContext,
) {
    // SAFETY: the entry is a point, and so is every link; passed on to the caller.
    unsafe {
        let nearest = climb_from_entry::<I, S>(graph, scorer, 0);
        let is_far = S::BY_METRIC && nearest.0 < graph.shape.far;
        ctx.seeds.clear();
        if !is_far || width < 2 || graph.shape.top == 0 {
            ctx.seeds.push(nearest);
            return;
        }
        let entry = graph.shape.entry;
        ctx.seeds.push((scorer.score1(entry), entry));
        for level in (1..=graph.shape.top).rev() {
            ctx.visited.reset(graph.shape.len);
            let row = |offset| asked::<I>(graph, graph.upper_row(offset, level));
            upper_beam::<I, S, _>(scorer, row, width, ctx);
            ctx.seeds.clear();
            ctx.seeds.extend(ctx.beam.iter());
        }
    }
}

/// Links of an upper level; where their own rows begin is asked for.
#[inline(always)]
fn asked<'a, I: Isa>(graph: &'a Graph, row: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
    let starts = graph.upper_start().as_ptr();
    row.iter().map(move |&link| {
        I::prefetch(starts.wrapping_add(link as usize).cast());
        link
    })
}

/// The walk on an upper level, from `ctx.seeds`: the `capacity` best points met are in `ctx.beam` afterwards.
///
/// # Safety
/// `ctx.seeds` and all links are points that `scorer` may score; `ctx.visited` is reset for them.
#[inline(always)]
pub(super) unsafe fn upper_beam<I: Isa, S: Scorer, R: Iterator<Item = u32>>(
    scorer: &S,
    row: impl Fn(u32) -> R,
    capacity: usize,
    ctx: &mut SearchContext,
) {
    let SearchContext { visited, beam, gather, scores, seeds, .. } = ctx;
    beam.reset(capacity);
    begin(seeds, beam, visited);
    while let Some((_, from)) = beam.next() {
        gather.clear();
        for link in row(from) {
            if visited.mark(link) {
                scorer.prefetch(link);
                gather.push(link);
            }
        }
        // SAFETY: links lead to points; passed on to the caller.
        unsafe { score_all(scorer, gather, scores) };
        for (&offset, &score) in gather.iter().zip(scores.iter()) {
            if score > beam.worst() {
                // SAFETY: passed on to the caller.
                unsafe { beam.insert::<I>(score, offset) };
            }
        }
    }
}

/// Puts the points from which a walk begins into its beam, which is empty.
#[inline(always)]
pub(super) fn begin(seeds: &[(f32, u32)], beam: &mut Beam, visited: &mut Visited) {
    seeds.iter().for_each(|seed| _ = visited.mark(seed.1));
    beam.begin(seeds);
}

/// Follows the best link until none is better.
///
/// # Safety
/// `start` and all links are points that `scorer` may score.
#[inline(always)]
pub(super) unsafe fn climb<S: Scorer, R: Iterator<Item = u32>>(
    scorer: &S,
    mut best: (f32, u32),
    row: impl Fn(u32) -> R,
) -> (f32, u32) {
    loop {
        let from = best.1;
        let mut batch = [from; 4];
        let mut filled = 0;
        let mut links = row(from).inspect(|&link| scorer.prefetch(link));
        loop {
            let link = links.next();
            if let Some(link) = link {
                batch[filled] = link;
                filled += 1;
            }
            if filled == 4 || (link.is_none() && filled > 0) {
                // SAFETY: what is not filled is still a point.
                let scores = unsafe { scorer.score4(batch) };
                for (&offset, &score) in batch[..filled].iter().zip(&scores) {
                    if score > best.0 {
                        best = (score, offset);
                    }
                }
                filled = 0;
            }
            if link.is_none() {
                break;
            }
        }
        if best.1 == from {
            return best;
        }
    }
}
