//! Walking a graph and scanning rows, each loop compiled as a whole for every instruction set.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::context::SearchContext;
use super::graph::{Graph, NO_LINK};
use super::multi::MultiScorer;
use super::search_beam::Beam;
use super::search_entry::{begin, enter};
use super::search_space::{
    CodeScorer, ExampleScorer, HalvesScorer, RawScorer, Scorer, SketchedScorer, Space,
};
use super::search_visited::{Visited, push_if};
use crate::distance::isa::{BLOCK_LINKS, Isa, LINE_BYTES, per_isa};
use crate::segment::Deleted;

/// Which points may be answered. All of them are walked through.
#[derive(Clone, Copy)]
pub(crate) enum Allow<'a> {
    All,
    Live(&'a Deleted),
    /// One bit for each point.
    Bits(&'a [u64]),
}

impl Allow<'_> {
    #[inline(always)]
    pub(crate) fn allows(&self, offset: u32) -> bool {
        match self {
            Allow::All => true,
            Allow::Live(deleted) => !deleted.contains(offset),
            Allow::Bits(words) => words[offset as usize / 64] >> (offset % 64) & 1 == 1,
        }
    }
}

/// How points that don't pass are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Every point passes.
    Plain,
    /// They are candidates, but not results: for filters that let many pass.
    Through,
    /// They are not scored; their neighbours are taken in their place: for filters that let few pass.
    TwoHops,
}

/// One walk.
#[derive(Clone, Copy)]
pub(crate) struct Walk<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) mode: Mode,
    pub(crate) allow: Allow<'a>,
    /// Results that end the search once nothing better is left to follow.
    pub(crate) ef: usize,
    /// Candidates kept; at least `ef`.
    pub(crate) beam: usize,
    /// Points that may be scored.
    pub(crate) budget: usize,
}

/// Walks from the graph's entry; what may be answered is in `ctx.found` afterwards. False: the budget did not suffice.
pub(crate) fn walk(walk: &Walk, space: &Space, ctx: &mut SearchContext) -> bool {
    assert_eq!(space.len(), walk.graph.shape.len, "graph and vectors are of one segment");
    ctx.found.clear();
    if walk.graph.shape.entry == NO_LINK {
        return true;
    }
    // SAFETY: the graph's links lead to points of its length, as `Graph` checks, and the space has as many.
    unsafe { walk_any(walk, space, ctx) }
}

per_isa! { unsafe fn walk_any(walk: &Walk, space: &Space, ctx: &mut SearchContext) -> bool => walk_with; }

#[inline(always)]
unsafe fn walk_with<I: Isa>(walk: &Walk, space: &Space, ctx: &mut SearchContext) -> bool {
    // SAFETY: passed on to the caller.
    unsafe {
        match *space {
            Space::Codes { codes, query } => match codes.stride() / LINE_BYTES {
                2 => walk_in::<I, _>(walk, &CodeScorer::<I, 2>::new(codes, query), ctx),
                6 => walk_in::<I, _>(walk, &CodeScorer::<I, 6>::new(codes, query), ctx),
                12 => walk_in::<I, _>(walk, &CodeScorer::<I, 12>::new(codes, query), ctx),
                _ => walk_in::<I, _>(walk, &CodeScorer::<I, 0>::new(codes, query), ctx),
            },
            Space::Halves { codes, query } => match codes.stride() / LINE_BYTES {
                6 => walk_in::<I, _>(walk, &HalvesScorer::<I, 6>::new(codes, query), ctx),
                24 => walk_in::<I, _>(walk, &HalvesScorer::<I, 24>::new(codes, query), ctx),
                _ => walk_in::<I, _>(walk, &HalvesScorer::<I, 0>::new(codes, query), ctx),
            },
            Space::Sketched { codes, query } => match query.sketch.words() {
                // As many as lines of codes, 64 components being a line of codes and a word of signs.
                6 => walk_in::<I, _>(walk, &SketchedScorer::<I, 6>::new(codes, query), ctx),
                _ => walk_in::<I, _>(walk, &SketchedScorer::<I, 0>::new(codes, query), ctx),
            },
            Space::Raw { rows, distance, query } => {
                walk_in::<I, _>(walk, &RawScorer::<I>::new(rows, distance, query), ctx)
            }
            Space::Examples { rows, examples } => {
                walk_in::<I, _>(walk, &ExampleScorer::<I>::new(rows, examples), ctx)
            }
            Space::Multi { points, query } => {
                walk_in::<I, _>(walk, &MultiScorer::<I>::new(points, query), ctx)
            }
        }
    }
}

#[inline(always)]
unsafe fn walk_in<I: Isa, S: Scorer>(walk: &Walk, scorer: &S, ctx: &mut SearchContext) -> bool {
    let graph = walk.graph;
    // SAFETY: links lead to points; passed on to the caller.
    unsafe {
        enter::<I, S>(graph, scorer, walk.ef / SEEDED_SHARE, ctx);
        let links = Links { rows: atomics(graph.links()), width: graph.shape.m as usize * 2 };
        ctx.visited.reset(graph.shape.len);
        match walk.mode {
            Mode::Plain => {
                beam::<I, S>(scorer, &links, walk.beam, ctx);
                ctx.found.extend(ctx.beam.iter());
                true
            }
            Mode::Through => through::<I, S>(walk, scorer, &links, ctx),
            Mode::TwoHops => two_hops::<I, S>(walk, scorer, &links, ctx),
        }
    }
}

/// Links as walks read them: others may be writing while a graph is built.
pub(super) struct Links<'a> {
    pub(super) rows: &'a [AtomicU32],
    pub(super) width: usize,
}

impl Links<'_> {
    /// # Safety
    /// The offset is that of a point.
    #[inline(always)]
    unsafe fn row(&self, offset: u32) -> impl Iterator<Item = u32> + '_ {
        // SAFETY: there is a row of `width` for each point.
        let row = unsafe {
            self.rows.get_unchecked(offset as usize * self.width..(offset as usize + 1) * self.width)
        };
        row.iter().map(|link| link.load(Relaxed)).take_while(|&link| link != NO_LINK)
    }

    #[inline(always)]
    fn prefetch<I: Isa>(&self, offset: u32) {
        let row: *const u8 = self.rows.as_ptr().wrapping_add(offset as usize * self.width).cast();
        for line in 0..(self.width * 4).div_ceil(LINE_BYTES).min(4) {
            I::prefetch(row.wrapping_add(line * LINE_BYTES));
        }
    }

    /// Asks for the rows of those that are to be followed next.
    #[inline(always)]
    fn prefetch_ahead<I: Isa>(&self, beam: &Beam) {
        for next in beam.ahead(AHEAD_LINKS) {
            self.prefetch::<I>(next);
        }
    }
}

/// Numbers that nobody writes any more as a walk over a growing graph reads them.
fn atomics(numbers: &[u32]) -> &[AtomicU32] {
    // SAFETY: the types have one layout, and relaxed loads of words work on read-only memory too.
    unsafe { &*(std::ptr::from_ref(numbers) as *const [AtomicU32]) }
}

/// A walk that begins from several points has one of them for so many results.
const SEEDED_SHARE: usize = 4;
/// Candidates whose links are asked for while those of another are followed.
const AHEAD_LINKS: usize = 2;

/// Scores what was gathered, four at a time; `scores` has the similarity of each afterwards, and of none negative infinity up to the
/// next whole block of [`BLOCK_LINKS`].
///
/// What a walk does with them stands in its own loop: the compiler doesn't inline every closure, and one that it leaves out
/// is not compiled for the instruction set.
///
/// # Safety
/// All gathered offsets are points that `scorer` may score.
#[inline(always)]
pub(super) unsafe fn score_all<S: Scorer>(scorer: &S, gathered: &mut Vec<u32>, scores: &mut Vec<f32>) {
    let count = gathered.len();
    scores.resize(count.next_multiple_of(BLOCK_LINKS), 0.0);
    let Some(&last) = gathered.last() else { return };
    gathered.extend_from_slice(&[last; 3]);
    for i in (0..count).step_by(4) {
        // SAFETY: three more than `count` are there, and a place for each score.
        unsafe {
            let batch = *gathered.as_ptr().add(i).cast::<[u32; 4]>();
            *scores.as_mut_ptr().add(i).cast::<[f32; 4]>() = scorer.score4(batch);
        }
    }
    gathered.truncate(count);
    scores[count..].fill(f32::NEG_INFINITY);
}

/// Puts those links of a point into `gather` that the walk has not met, and asks for what will be read of them first.
///
/// # Safety
/// As for [`beam`]; `from` is a point.
#[inline(always)]
unsafe fn gather_links<S: Scorer>(
    scorer: &S,
    links: &Links,
    from: u32,
    visited: &mut Visited,
    gather: &mut Vec<u32>,
) {
    visited.expect(links.width);
    gather.reserve(links.width);
    // SAFETY: passed on to the caller; there is room for a row.
    unsafe {
        for link in links.row(from) {
            // What was met before is near at hand: asking for it again costs less than a wrong guess.
            scorer.prefetch(link);
            push_if(gather, link, visited.meet(link));
        }
    }
}

/// The walk without a filter, from `ctx.seeds`: the `capacity` best points met are in `ctx.beam` afterwards.
///
/// What is gathered at a hop is scored only after the next hop's points were gathered, so that memory has the time of a hop to
/// bring it. The next point to be followed is thus chosen without what the last one would have added: hardly any walk is
/// longer for it, as nearly all that is in the beam gets followed in the end.
///
/// # Safety
/// `ctx.seeds` and all links are points that `scorer` may score; `ctx.visited` is reset for them.
#[inline(always)]
pub(super) unsafe fn beam<I: Isa, S: Scorer>(
    scorer: &S,
    links: &Links,
    capacity: usize,
    ctx: &mut SearchContext,
) {
    let SearchContext { visited, beam, gather, late, scores, seeds, .. } = ctx;
    beam.reset(capacity);
    begin(seeds, beam, visited);
    late.clear();
    loop {
        let next = beam.next();
        if next.is_none() && late.is_empty() {
            break;
        }
        gather.clear();
        // SAFETY: links lead to points.
        unsafe {
            if let Some((_, from)) = next {
                links.prefetch_ahead::<I>(beam);
                gather_links(scorer, links, from, visited, gather);
            }
            take_in::<I, S>(scorer, links, late, beam, scores);
        }
        std::mem::swap(gather, late);
    }
}

/// Scores what was gathered into the beam.
///
/// # Safety
/// As for [`beam`].
#[inline(always)]
unsafe fn take_in<I: Isa, S: Scorer>(
    scorer: &S,
    links: &Links,
    gathered: &mut Vec<u32>,
    beam: &mut Beam,
    scores: &mut Vec<f32>,
) {
    let mut worst = beam.worst();
    // SAFETY: passed on to the caller.
    unsafe {
        scorer.prune(gathered, worst);
        score_all(scorer, gathered, scores);
        for (block, scores) in scores.as_chunks::<BLOCK_LINKS>().0.iter().enumerate() {
            let mut above = I::above(scores, worst);
            while above != 0 {
                let i = above.trailing_zeros() as usize;
                let offset = *gathered.get_unchecked(block * BLOCK_LINKS + i);
                if beam.insert::<I>(scores[i], offset) {
                    links.prefetch::<I>(offset);
                }
                worst = beam.worst();
                above &= (above - 1) & I::above(scores, worst);
            }
        }
    }
}

/// The walk over all points of which only those allowed become results.
///
/// # Safety
/// As for [`beam`].
#[inline(always)]
unsafe fn through<I: Isa, S: Scorer>(
    walk: &Walk,
    scorer: &S,
    links: &Links,
    ctx: &mut SearchContext,
) -> bool {
    let SearchContext { visited, beam, gather, late, scores, top, found, seeds, .. } = ctx;
    top.reset(walk.ef);
    beam.reset(walk.beam);
    begin(seeds, beam, visited);
    seeds.iter().filter(|seed| walk.allow.allows(seed.1)).for_each(|&(score, seed)| top.push(score, seed));
    late.clear();
    let mut scored = 0;
    loop {
        let next = beam.next().filter(|&(score, _)| !top.is_full() || score > top.worst());
        if next.is_none() && late.is_empty() {
            break;
        }
        gather.clear();
        // SAFETY: links lead to points.
        unsafe {
            if let Some((_, from)) = next {
                links.prefetch_ahead::<I>(beam);
                gather_links(scorer, links, from, visited, gather);
            }
            scored += late.len();
            scorer.prune(late, top.worst());
            score_all(scorer, late, scores);
            for (&offset, &score) in late.iter().zip(scores.iter()) {
                // Others neither are results nor lead to any.
                if score > top.worst() {
                    if walk.allow.allows(offset) {
                        top.push(score, offset);
                    }
                    if score > beam.worst() && beam.insert::<I>(score, offset) {
                        links.prefetch::<I>(offset);
                    }
                }
            }
        }
        if scored > walk.budget {
            return false;
        }
        std::mem::swap(gather, late);
    }
    found.extend_from_slice(top.as_slice());
    // Fewer: the filter passes little in the query's neighbourhood, whatever it passes elsewhere.
    top.is_full()
}

/// Points taken from beyond neighbours that don't pass, at most, for each point followed.
const SECOND_HOP_MAX: usize = 128;

/// The walk over allowed points only, which are reached through one that is not.
///
/// # Safety
/// As for [`beam`].
#[inline(always)]
unsafe fn two_hops<I: Isa, S: Scorer>(
    walk: &Walk,
    scorer: &S,
    links: &Links,
    ctx: &mut SearchContext,
) -> bool {
    let SearchContext { visited, beam, gather, late, scores, through, found, seeds, .. } = ctx;
    beam.reset(walk.beam);
    begin(seeds, beam, visited);
    late.clear();
    let mut scored = 0;
    loop {
        let next = beam.next();
        if next.is_none() && late.is_empty() {
            break;
        }
        gather.clear();
        // SAFETY: links lead to points.
        unsafe {
            if let Some((_, from)) = next {
                links.prefetch_ahead::<I>(beam);
                through.clear();
                for link in links.row(from) {
                    if visited.mark(link) {
                        if walk.allow.allows(link) {
                            scorer.prefetch(link);
                            gather.push(link);
                        } else {
                            links.prefetch::<I>(link);
                            through.push(link);
                        }
                    }
                }
                scored += through.len() / 2;
            }
            scored += late.len();
            take_in::<I, S>(scorer, links, late, beam, scores);
            if next.is_some() {
                gather_beyond(walk, scorer, links, visited, (through, gather));
            }
        }
        if scored > walk.budget {
            return false;
        }
        std::mem::swap(gather, late);
    }
    // Only where the walk began may be points that are not allowed.
    found.extend(beam.iter().filter(|&(_, offset)| walk.allow.allows(offset)));
    // A walk that died out early has met a graph that is torn by the filter.
    found.len() >= walk.ef
}

/// Gathers those links of points that don't pass that do.
///
/// # Safety
/// As for [`beam`]; `through` holds points.
#[inline(always)]
unsafe fn gather_beyond<S: Scorer>(
    walk: &Walk,
    scorer: &S,
    links: &Links,
    visited: &mut Visited,
    (through, gather): (&[u32], &mut Vec<u32>),
) {
    for &middle in through {
        if gather.len() >= SECOND_HOP_MAX {
            break;
        }
        // SAFETY: passed on to the caller.
        for link in unsafe { links.row(middle) } {
            if walk.allow.allows(link) && visited.mark(link) {
                scorer.prefetch(link);
                gather.push(link);
            }
        }
    }
}
