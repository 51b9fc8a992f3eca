//! How one segment's vectors are searched: which points may be answered, scan or graph, and the last word of the
//! raw vectors on the order.

use super::{SegmentVectors, Target, VectorQuery};
use crate::bitset::ones::{count_ones, list_ones};
use crate::cancel::Cancel;
use crate::config::Distance;
use crate::error::{Error, Result};
use crate::hnsw::inline::InlineLinks;
use crate::hnsw::search::{Allow, Mode, Walk, walk};
use crate::hnsw::search_inline::walk_inline;
use crate::hnsw::search_rescore::{rescore, score_by_codes};
use crate::hnsw::search_scan::{scan, scan_halves};
use crate::hnsw::{Graph, SearchContext, Space};
use crate::quantization::{CodeQuery, ScalarCodes};
use crate::query::Plan;
use crate::segment::Passing;

/// Raw rows of so many numbers are scanned without a look at codes that have no sketches.
const RAW_SCAN_NUMBERS: usize = 256 * 1024;
/// `ef` if neither the request nor the collection asks for more.
pub(in crate::segment) const EF_MIN: usize = 100;
/// Candidates kept while walking through points that don't pass, at most.
const BEAM_MAX: usize = 4096;
/// From this share of passing points on the others are candidates like them.
const THROUGH_MIN: f64 = 0.15;
/// A row met at random costs as much as so many in a row.
const RANDOM_COST: f64 = 3.0;
/// The same for a walk under a filter by the codes beside links, which estimates all neighbours of a point, those that don't pass too.
/// Measured on 116,659 glosses: such a walk takes as long as a scan where 40 % pass.
const RANDOM_COST_INLINE: f64 = 9.0;
/// Deviations by which the codes of two points are never wrong about their order: three of a difference.
const SURE: f32 = 4.2;
/// Estimates beside links are less sure than codes: with so many times the candidates a walk by them finds as much.
const INLINE_WIDER: f64 = 1.5;
/// So many points are compared by the upper halves of codes, more by sketches: these are a third of the bytes, which counts where
/// most come from memory, and take as long to compare.
const HALVES_SCAN_MAX: usize = 16 * 1024;
/// Points scored between two looks at the cancel flag.
const SCAN_BATCH: usize = 16 * 1024;

/// Which points may be answered: a bit for each point of the segment, and their offsets, if they were listed before.
struct Allowed<'a> {
    words: &'a [u64],
    listed: Option<&'a [u32]>,
}

/// What a walk for `ef` results costs among so many points of which this share may be answered: as much as scoring so many at random.
/// Measured on 116,659 glosses; through those that don't pass it takes longer the more they are, by two hops about as long always.
pub(in crate::segment) fn scored_by_a_walk(ef: usize, points: u32, share: f64) -> f64 {
    let depth = f64::from(points.max(2)).log2();
    match share >= THROUGH_MIN {
        true => (ef + 26) as f64 * depth / share.powf(0.84),
        false => (7 * ef + 60) as f64 * depth,
    }
}

/// How points that may not be answered are treated where this share may, and how many candidates are kept.
pub(in crate::segment) fn mode_and_beam(allow: Allow, ef: usize, share: f64) -> (Mode, usize) {
    match allow {
        Allow::All => (Mode::Plain, ef),
        _ if share >= THROUGH_MIN => {
            (Mode::Through, ((ef as f64 * 1.3 / share) as usize).clamp(ef, BEAM_MAX.max(ef)))
        }
        _ => (Mode::TwoHops, ef),
    }
}

/// One search with what it has found out so far.
struct Search<'a> {
    vectors: &'a SegmentVectors,
    query: &'a VectorQuery<'a>,
    codes: Option<&'a ScalarCodes>,
    inline: Option<&'a InlineLinks>,
    /// Candidates that are scored again.
    candidates: usize,
    ef: usize,
    /// Number of points that may be answered.
    passing: usize,
}

impl SegmentVectors {
    /// The best points as (offset, score of the protocol), best first, equal scores by offset. Scores are exact
    /// unless the request says `rescore: false`; with examples they always are, because codes are not looked at.
    pub fn search(
        &self,
        query: &VectorQuery,
        ctx: &mut SearchContext,
        cancel: &Cancel,
    ) -> Result<(Vec<(u32, f32)>, Plan)> {
        cancel.check()?;
        if query.target.dim() != self.spec.dim {
            return Err(Error::Dimension { expected: self.spec.dim, got: query.target.dim() });
        }
        let quantization = &query.params.quantization;
        let hot = self.hot()?;
        let by_rows =
            query.params.exact || quantization.ignore || matches!(query.target, Target::Examples(_));
        let codes = if by_rows { None } else { hot.codes.as_ref() };
        let oversampled =
            (query.k as f64 * quantization.oversampling.unwrap_or(2.0).max(1.0)).ceil() as usize;
        // A request may name any number, and memory is set aside for so many: never for more than there are points.
        let all = self.raw.len() as usize;
        let ef = query.params.hnsw_ef.unwrap_or(self.spec.hnsw.ef_construct.max(EF_MIN));
        let mut search = Search {
            vectors: self,
            query,
            codes,
            inline: None,
            candidates: oversampled.min(all).max(query.k.saturating_add(10)),
            ef: ef.min(all.max(EF_MIN)).max(query.k).max(1),
            passing: self.raw.present().saturating_sub(query.deleted.count()) as usize,
        };
        if query.k == 0 {
            return Ok((Vec::new(), Plan::Scan));
        }
        let graph = if query.params.exact { None } else { hot.graph.as_ref() };
        search.inline = graph.and(codes).and(hot.inline.as_ref());
        let (found, plan) = search.run(graph, ctx, cancel)?;
        let shown = |similarity: f32| match query.target {
            Target::Vector(_) => self.spec.distance.score(similarity),
            Target::Examples(_) => similarity,
        };
        Ok((found.into_iter().map(|(s, offset)| (offset, shown(s))).collect(), plan))
    }
}

impl Search<'_> {
    /// Similarities and offsets, best first.
    fn run(
        &mut self,
        graph: Option<&Graph>,
        ctx: &mut SearchContext,
        cancel: &Cancel,
    ) -> Result<(Vec<(f32, u32)>, Plan)> {
        let mut collected = std::mem::take(&mut ctx.allowed);
        let answer = match self.query.passing {
            Some(passing) => self.run_among(passing, &mut collected, graph, ctx, cancel),
            None => self.run_live(&mut collected, graph, ctx, cancel),
        };
        ctx.allowed = collected;
        answer
    }

    /// [`Self::run`] among those that pass a filter.
    fn run_among(
        &mut self,
        passing: &Passing,
        collected: &mut Vec<u64>,
        graph: Option<&Graph>,
        ctx: &mut SearchContext,
        cancel: &Cancel,
    ) -> Result<(Vec<(f32, u32)>, Plan)> {
        let allowed = self.allowed(passing, collected);
        match self.walk_if_cheaper(graph, Allow::Bits(allowed.words), ctx)? {
            Some(found) => Ok((found, Plan::FilteredGraph)),
            None => Ok((self.scan(&allowed, ctx, cancel)?, Plan::Scan)),
        }
    }

    /// [`Self::run`] without a filter.
    fn run_live(
        &mut self,
        collected: &mut Vec<u64>,
        graph: Option<&Graph>,
        ctx: &mut SearchContext,
        cancel: &Cancel,
    ) -> Result<(Vec<(f32, u32)>, Plan)> {
        let deleted = self.query.deleted;
        let allow = if deleted.count() == 0 { Allow::All } else { Allow::Live(deleted) };
        match self.walk_if_cheaper(graph, allow, ctx)? {
            Some(found) => Ok((found, Plan::Graph)),
            None => {
                let allowed = self.live(collected);
                Ok((self.scan(&allowed, ctx, cancel)?, Plan::Scan))
            }
        }
    }

    /// The answer of a walk; `None` if a scan is cheaper, or the walk found too little.
    fn walk_if_cheaper(
        &self,
        graph: Option<&Graph>,
        allow: Allow,
        ctx: &mut SearchContext,
    ) -> Result<Option<Vec<(f32, u32)>>> {
        match graph {
            Some(graph) if self.graph_is_cheaper() && self.walk(graph, allow, ctx)? => {
                self.settle(ctx).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The points that pass, live, and have this vector.
    fn allowed<'b>(&mut self, passing: &'b Passing, collected: &'b mut Vec<u64>) -> Allowed<'b> {
        let raw = &self.vectors.raw;
        assert_eq!(passing.bits().len(), raw.len(), "a bitmap of this segment");
        if raw.is_whole() && self.query.deleted.count() == 0 {
            self.passing = passing.count() as usize;
            return Allowed { words: passing.bits().words(), listed: passing.listed() };
        }
        let passing = passing.bits().words().iter();
        collected.clear();
        collected.extend(passing.enumerate().map(|(w, passing)| passing & self.live_word(w)));
        self.passing = count_ones(collected);
        Allowed { words: collected, listed: None }
    }

    /// The points that are live and have this vector.
    fn live<'b>(&mut self, collected: &'b mut Vec<u64>) -> Allowed<'b> {
        collected.clear();
        collected.extend((0..(self.vectors.raw.len() as usize).div_ceil(64)).map(|w| self.live_word(w)));
        self.passing = count_ones(collected);
        Allowed { words: collected, listed: None }
    }

    fn live_word(&self, w: usize) -> u64 {
        self.vectors.raw.presence_word(w) & !self.query.deleted.word(w)
    }

    /// Share of the points in the graph that may be answered.
    fn selectivity(&self) -> f64 {
        self.passing as f64 / f64::from(self.vectors.raw.present().max(1))
    }

    /// Compares the points that a scan reads in order with those that a walk reads at random.
    fn graph_is_cheaper(&self) -> bool {
        let small = self.vectors.spec.hnsw.full_scan_threshold_kb.saturating_mul(1024 / 4);
        let share = self.selectivity();
        let scored = scored_by_a_walk(self.ef, self.vectors.raw.present(), share);
        let filtered = self.query.passing.is_some();
        let by_links = self.inline.is_some() && filtered && share >= THROUGH_MIN;
        let cost = if by_links { RANDOM_COST_INLINE } else { RANDOM_COST };
        self.passing.saturating_mul(self.vectors.spec.dim) > small && self.passing as f64 > cost * scored
    }

    /// Walks the graph; false if the walk found too little for its budget, which is what a scan would cost.
    fn walk(&self, graph: &Graph, allow: Allow, ctx: &mut SearchContext) -> Result<bool> {
        let share = self.selectivity();
        let (mode, beam) = mode_and_beam(allow, self.ef, share);
        let budget = (self.passing as f64 / RANDOM_COST) as usize;
        let this = Walk { graph, mode, allow, ef: self.ef, beam, budget };
        let code_query = std::mem::take(&mut ctx.query);
        let mut prepared = code_query;
        if let (Some(links), Some(codes)) = (self.inline.filter(|_| mode != Mode::TwoHops), self.codes) {
            codes.prepare(self.query.target.vector(), &mut prepared);
            prepared.fill_tables();
            let wide = Walk { beam: (beam as f64 * INLINE_WIDER) as usize, ..this };
            let settled = walk_inline(&wide, links, (codes, &prepared), self.candidates, ctx);
            if settled && ctx.found.len() >= self.query.k.min(self.passing) {
                ctx.query = prepared;
                return Ok(true);
            }
        }
        let settled = match self.codes.filter(|codes| codes.is_walked_by_halves()) {
            Some(codes) => {
                codes.prepare(self.query.target.vector(), &mut prepared);
                let settled = walk(&this, &Space::Halves { codes, query: &prepared }, ctx);
                self.score_by_codes(codes, &prepared, &mut ctx.found);
                settled
            }
            None => walk(&this, &self.space(&mut prepared)?, ctx),
        };
        ctx.query = prepared;
        Ok(settled)
    }

    /// Keeps of what a walk by the upper halves of codes has found what may be among the best by whole codes.
    fn score_by_codes(&self, codes: &ScalarCodes, query: &CodeQuery, found: &mut Vec<(f32, u32)>) {
        if let Some(&(last, offset)) = found.get(self.query.k - 1) {
            let least = last - SURE * codes.noise_of_halves(query, offset);
            let near = found.partition_point(|&(score, _)| score >= least);
            let asked =
                if self.query.params.quantization.oversampling.is_some() { self.candidates } else { 0 };
            found.truncate(near.max(asked));
        }
        score_by_codes(codes, query, found);
    }

    fn space<'a>(&'a self, prepared: &'a mut CodeQuery) -> Result<Space<'a>> {
        Ok(match self.codes {
            Some(codes) => {
                codes.prepare_sketch(self.query.target.vector(), prepared);
                match codes.sketches() {
                    Some(_) => Space::Sketched { codes, query: prepared },
                    None => Space::Codes { codes, query: prepared },
                }
            }
            None => {
                let rows = self.vectors.raw.all()?;
                match self.query.target {
                    Target::Vector(query) => Space::Raw { rows, distance: self.distance(), query },
                    Target::Examples(examples) => Space::Examples { rows, examples },
                }
            }
        })
    }

    /// Compares every allowed point with the query: by what codes there are if points are many, else by raw rows.
    fn scan(&self, allowed: &Allowed, ctx: &mut SearchContext, cancel: &Cancel) -> Result<Vec<(f32, u32)>> {
        if let Some(codes) = self.codes.filter(|codes| codes.is_walked_by_halves())
            && self.passing > 2 * self.candidates
            && self.passing <= HALVES_SCAN_MAX
        {
            cancel.check()?;
            self.scan_by_halves(codes, allowed, ctx);
            return self.settle(ctx);
        }
        let by_codes = match self.codes.map(|codes| codes.sketches().is_some()) {
            // Comparing a sketch costs so little that only what would be scored again anyway is better off without.
            Some(true) => self.passing > 2 * self.candidates,
            Some(false) => self.passing * self.vectors.spec.dim > RAW_SCAN_NUMBERS,
            None => false,
        };
        ctx.top.reset(if by_codes { self.kept() } else { self.query.k });
        match by_codes {
            true => self.scan_codes(allowed, ctx, cancel)?,
            false => self.scan_raw(allowed, ctx, cancel)?,
        }
        ctx.found.clear();
        ctx.found.extend_from_slice(ctx.top.as_slice());
        if by_codes { self.settle(ctx) } else { Ok(ctx.found.clone()) }
    }

    fn scan_codes(&self, allowed: &Allowed, ctx: &mut SearchContext, cancel: &Cancel) -> Result<()> {
        let mut prepared = std::mem::take(&mut ctx.query);
        let space = self.space(&mut prepared)?;
        in_batches(allowed, ctx, cancel, |ctx| {
            scan(&space, ctx);
            Ok(())
        })?;
        ctx.query = prepared;
        Ok(())
    }

    /// Leaves in `ctx.found` what may be among the best, by whole codes.
    fn scan_by_halves(&self, codes: &ScalarCodes, allowed: &Allowed, ctx: &mut SearchContext) {
        let mut prepared = std::mem::take(&mut ctx.query);
        codes.prepare(self.query.target.vector(), &mut prepared);
        ctx.gather.clear();
        match allowed.listed {
            Some(listed) => ctx.gather.extend_from_slice(listed),
            None => list_ones(allowed.words, 0, &mut ctx.gather),
        }
        let wanted = self.query.params.quantization.oversampling.map_or(self.query.k, |_| self.candidates);
        scan_halves(codes, &prepared, wanted, SURE, ctx);
        score_by_codes(codes, &prepared, &mut ctx.found);
        ctx.query = prepared;
    }

    /// Leaves the best by raw vectors in `ctx.top`.
    fn scan_raw(&self, allowed: &Allowed, ctx: &mut SearchContext, cancel: &Cancel) -> Result<()> {
        const ROWS: usize = 256;
        let mut rows = Vec::with_capacity(self.passing.min(ROWS));
        in_batches(allowed, ctx, cancel, |ctx| {
            let SearchContext { gather, top, .. } = ctx;
            for offsets in gather.chunks(ROWS) {
                cancel.check()?;
                rows.clear();
                for &offset in offsets {
                    rows.push(self.vectors.raw.row(offset)?);
                }
                match self.query.target {
                    Target::Vector(vector) => {
                        rescore(self.distance(), vector, &rows, &mut |i, s| top.push(s, offsets[i]));
                    }
                    Target::Examples(examples) => {
                        rows.iter().zip(offsets).for_each(|(row, &o)| top.push(examples.score(row), o));
                    }
                }
            }
            Ok(())
        })
    }

    fn distance(&self) -> Distance {
        self.vectors.spec.distance
    }

    /// Whether what was found by codes is put in order by the raw vectors.
    fn rescores(&self) -> bool {
        self.codes.is_some() && self.query.params.quantization.rescore.unwrap_or(true)
    }

    /// How many of those found are of use.
    fn kept(&self) -> usize {
        if self.rescores() { self.candidates } else { self.query.k }
    }

    /// The answer from `ctx.found`.
    fn settle(&self, ctx: &mut SearchContext) -> Result<Vec<(f32, u32)>> {
        let mut best = ctx.found[..ctx.found.len().min(self.kept())].to_vec();
        if let Some(codes) = self.codes.filter(|_| self.query.params.quantization.oversampling.is_none())
            && best.len() > self.query.k
        {
            // What codes place far enough behind the last answer is no answer by its vector either.
            let (last, offset) = best[self.query.k - 1];
            let least = last - SURE * codes.noise(&ctx.query, offset);
            best.truncate(best.partition_point(|&(score, _)| score >= least));
        }
        if self.rescores() {
            let rows = best.iter().map(|&(_, o)| self.vectors.raw.row(o)).collect::<Result<Vec<_>>>()?;
            let on_disk = self.vectors.spec.on_disk;
            if on_disk {
                ctx.faults.begin(&rows);
            }
            rescore(self.distance(), self.query.target.vector(), &rows, &mut |i, s| best[i].0 = s);
            if on_disk {
                ctx.faults.end();
            }
        }
        best.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        best.truncate(self.query.k);
        Ok(best)
    }
}

/// Gives the allowed points to `take`, so many at a time in `ctx.gather`.
fn in_batches(
    allowed: &Allowed,
    ctx: &mut SearchContext,
    cancel: &Cancel,
    mut take: impl FnMut(&mut SearchContext) -> Result<()>,
) -> Result<()> {
    let mut taken = |ctx: &mut SearchContext| {
        take(ctx)?;
        ctx.gather.clear();
        cancel.check()
    };
    ctx.gather.clear();
    match allowed.listed {
        Some(listed) => listed.chunks(SCAN_BATCH).try_for_each(|batch| {
            ctx.gather.extend_from_slice(batch);
            taken(ctx)
        }),
        None => allowed.words.chunks(SCAN_BATCH / 64).enumerate().try_for_each(|(i, batch)| {
            list_ones(batch, (i * SCAN_BATCH) as u32, &mut ctx.gather);
            taken(ctx)
        }),
    }
}
