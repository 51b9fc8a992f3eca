//! Searching the multivectors of a segment by their graph.

use super::SegmentMulti;
use crate::bitset::Bitset;
use crate::error::Result;
use crate::hnsw::search::{Allow, Walk, walk};
use crate::hnsw::{Graph, SearchContext, Space};
use crate::query::SearchParams;
use crate::segment::vectors::search::{EF_MIN, mode_and_beam, scored_by_a_walk};

/// What is asked of one segment.
pub struct Asked<'a> {
    /// The rows of the query, one behind the other, as the points' are stored.
    pub query: &'a [f32],
    /// Points that pass, deleted ones not among them; `None` if all do.
    pub allowed: Option<&'a Bitset>,
    pub params: &'a SearchParams,
    /// Points that are wanted.
    pub limit: usize,
}

impl SegmentMulti {
    /// The nearest points, best first, as a walk along the graph finds them. `None` if there is no graph, if comparing all
    /// points that pass costs less, or if the walk found too few.
    pub fn walk(&self, asked: &Asked, ctx: &mut SearchContext) -> Result<Option<Vec<u32>>> {
        let graph = if asked.params.exact { None } else { self.graph()? };
        let Some(graph) = graph else { return Ok(None) };
        let hnsw = &self.rows().spec().hnsw;
        let passing = asked.allowed.map_or(self.present() as usize, |allowed| allowed.count() as usize);
        let ef = asked.params.hnsw_ef.unwrap_or(hnsw.ef_construct.max(EF_MIN));
        let ef = ef.min(passing.max(EF_MIN)).max(asked.limit).max(1);
        let share = passing as f64 / f64::from(self.present().max(1));
        let compared = scored_by_a_walk(ef, self.present(), share);
        let numbers = (f64::from(self.rows().len()) * share) as usize * self.rows().spec().dim;
        let small = hnsw.full_scan_threshold_kb.saturating_mul(1024 / 4);
        if numbers <= small || passing as f64 <= compared || asked.limit == 0 {
            return Ok(None);
        }
        let settled = self.walk_along(graph, asked, (ef, share, passing), ctx)?;
        let found = ctx.found.iter().take(asked.limit).map(|&(_, offset)| offset);
        Ok((settled && ctx.found.len() >= asked.limit.min(passing)).then(|| found.collect()))
    }

    fn walk_along(
        &self,
        graph: &Graph,
        asked: &Asked,
        (ef, share, budget): (usize, f64, usize),
        ctx: &mut SearchContext,
    ) -> Result<bool> {
        let allow = asked.allowed.map_or(Allow::All, |allowed| Allow::Bits(allowed.words()));
        let (mode, beam) = mode_and_beam(allow, ef, share);
        let this = Walk { graph, mode, allow, ef, beam, budget };
        Ok(walk(&this, &Space::Multi { points: self.all()?, query: asked.query }, ctx))
    }
}
