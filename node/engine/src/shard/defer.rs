//! Points that are hidden until they are indexed, where the collection asks for it (`prevent_unoptimized`).
//!
//! So many points of no finished segment are visible as make a scan that is still quick: the oldest ones. What comes after them is
//! in the log and in the segments like everything else, and hidden from readers only, until the optimizer has put it into a graph.
//! A point that was visible stays visible: with its new state if it lay among the visible unfinished ones, else with its old one,
//! whose row is still in its segment.
//!
//! Nothing of this is on disk. After a start the oldest points are visible again; old states of points that were sealed since are not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::read::View;
use super::scrub::Damage;
use super::state::{Found, State};
use crate::config::CollectionConfig;
use crate::filter::PointSource;
use crate::point_id::PointId;
use crate::segment::Deleted;
use crate::segment::mutable::{ChunkState, Row};
use crate::segment::sealed::SealedState;

/// Rows that a multivector is taken to have, because the number of points has to be known before they come.
const MULTIVECTOR_ROWS: usize = 16;

/// A point's age: the operation that changed it last, then its id.
type Age = (u64, PointId);

/// Which points are hidden.
#[derive(Default)]
pub struct Deferral {
    /// What is younger is hidden; `None`: nothing is.
    cut: Option<Age>,
    /// The segments and the number of visible points that the cut was made for.
    made_for: (Vec<u64>, usize),
    /// Hidden offsets of unfinished segments as of the cut.
    in_sealed: BTreeMap<u64, Deleted>,
    /// Points that were changed while they were visible among the unfinished ones.
    kept: HashSet<PointId, FixedState>,
    /// Where the old state of a changed point is, in a finished segment: its id and the offset.
    replaced: HashMap<PointId, (u64, u32), FixedState>,
    hidden: u64,
}

/// How many points may be visible before they are indexed; `None`: all.
fn visible_points(config: &CollectionConfig) -> Option<usize> {
    let optimizers = &config.optimizers;
    let (threshold, cap) = (optimizers.indexing_threshold_kb, optimizers.max_segment_size_kb);
    if !optimizers.prevent_unoptimized || threshold == 0 {
        return None;
    }
    let kb = cap.filter(|cap| *cap > 0).map_or(threshold, |cap| threshold.min(cap));
    let of_one = |p: &crate::config::VectorParams| {
        let rows = if p.multivector { MULTIVECTOR_ROWS } else { 1 };
        (kb.saturating_mul(1024) / (p.size * 4 * rows)).max(1)
    };
    config.vectors.values().filter(|p| config.hnsw_of(p).m > 0).map(of_one).min()
}

impl Deferral {
    fn hides(&self, age: Age) -> bool {
        self.cut.is_some_and(|cut| age > cut) && !self.kept.contains(&age.1)
    }

    /// Points that are hidden now.
    pub fn hidden(&self) -> u64 {
        self.hidden
    }

    /// Forgets a point that is deleted.
    pub fn forget(&mut self, id: PointId) {
        self.kept.remove(&id);
        self.replaced.remove(&id);
    }
}

impl State {
    /// Notes how a point that is about to be changed is seen, so that it is not lost from sight.
    pub(super) fn before_change(&mut self, id: PointId, found: Option<Found>) {
        if !self.config.optimizers.prevent_unoptimized {
            return;
        }
        let Some(found) = found else { return };
        if let Found::Sealed(i, offset) = found
            && !self.sealed[i].segment.lacks_graph(&self.config)
        {
            self.deferral.replaced.insert(id, (self.sealed[i].segment.id, offset));
        } else if self.deferral.cut.is_some() && !self.deferral.hides((self.seq_of(found), id)) {
            self.deferral.kept.insert(id);
        }
    }

    /// What readers see of `whole`, which is the state as it is now.
    pub fn shown(&mut self, whole: Arc<View>, damage: &Damage) -> Arc<View> {
        let Some(limit) = visible_points(&self.config) else {
            self.deferral = Deferral::default();
            return whole;
        };
        let unfinished: Vec<bool> = self.sealed.iter().map(|s| s.segment.lacks_graph(&self.config)).collect();
        let in_sealed = |(s, _): &(&SealedState, &bool)| s.deleted.live() as usize;
        let total = self.mutable_points()
            + self
                .sealed
                .iter()
                .zip(&unfinished)
                .filter(|(_, u)| **u)
                .map(|pair| in_sealed(&pair))
                .sum::<usize>();
        if total <= limit {
            let ids: HashSet<u64> = self.sealed.iter().map(|s| s.segment.id).collect();
            let replaced = std::mem::take(&mut self.deferral.replaced);
            let replaced = replaced.into_iter().filter(|(_, (segment, _))| ids.contains(segment)).collect();
            self.deferral = Deferral { replaced, ..Deferral::default() };
            return whole;
        }
        let made_for = (self.sealed.iter().map(|s| s.segment.id).collect::<Vec<_>>(), limit);
        if self.deferral.cut.is_none() || self.deferral.made_for != made_for {
            self.cut(&unfinished, limit);
            self.deferral.made_for = made_for;
        }
        Arc::new(self.without_hidden(damage))
    }

    /// Draws the line between the oldest unfinished points and the rest.
    fn cut(&mut self, unfinished: &[bool], limit: usize) {
        let mut ages: Vec<Age> = Vec::new();
        let mut kept = 0;
        let mut add = |age: Age| match self.deferral.kept.contains(&age.1) {
            true => kept += 1,
            false => ages.push(age),
        };
        for (state, _) in self.sealed.iter().zip(unfinished).filter(|(_, u)| **u) {
            live(state).for_each(|offset| add((state.segment.version(offset), state.segment.id(offset))));
        }
        let (chunks, tail) = self.mutable();
        for chunk in chunks {
            let live = (0..chunk.chunk.len()).filter(|o| chunk.is_live(*o));
            live.for_each(|o| add((chunk.chunk.seq(o), chunk.chunk.id(o))));
        }
        tail.rows().iter().for_each(|r| add((r.seq, r.id)));
        let visible = limit.saturating_sub(kept).min(ages.len());
        let cut = match visible {
            0 => (0, PointId::Num(0)),
            n => *ages.select_nth_unstable(n - 1).1,
        };
        self.deferral.cut = Some(cut);
        let hidden = |state: &SealedState| {
            let mut hidden = Deleted::none(state.segment.len());
            for offset in live(state) {
                if self.deferral.hides((state.segment.version(offset), state.segment.id(offset))) {
                    hidden.insert(offset);
                }
            }
            (state.segment.id, hidden)
        };
        self.deferral.in_sealed =
            self.sealed.iter().zip(unfinished).filter(|(_, u)| **u).map(|(s, _)| hidden(s)).collect();
    }

    /// The state without what is hidden, and with what hidden points were before.
    fn without_hidden(&mut self, damage: &Damage) -> View {
        let mut hidden = 0;
        let mut sealed = self.sealed.clone();
        for state in &mut sealed {
            for offset in self.deferral.in_sealed.get(&state.segment.id).iter().flat_map(|h| h.iter()) {
                hidden += u64::from(state.deleted.insert(offset));
            }
        }
        let (chunks, tail) = self.mutable();
        let mut shown_chunks: Vec<ChunkState> = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let mut shown = chunk.clone();
            for offset in (0..chunk.chunk.len()).filter(|o| chunk.is_live(*o)) {
                if self.deferral.hides((chunk.chunk.seq(offset), chunk.chunk.id(offset))) {
                    shown.kill(offset);
                    hidden += 1;
                }
            }
            shown_chunks.push(shown);
        }
        let tail_shown = tail.only(|row: &Row| !self.deferral.hides((row.seq, row.id)));
        hidden += u64::from(tail.len() - tail_shown.len());
        for (id, (segment, offset)) in &self.deferral.replaced {
            let is_hidden = self.find(*id).is_some_and(|found| match found {
                Found::Sealed(i, now) => {
                    self.deferral.in_sealed.get(&self.sealed[i].segment.id).is_some_and(|h| h.contains(now))
                }
                Found::Mutable(_) => self.deferral.hides((self.seq_of(found), *id)),
            });
            if is_hidden && let Some(state) = sealed.iter_mut().find(|s| s.segment.id == *segment) {
                state.deleted.remove(*offset);
            }
        }
        self.deferral.hidden = hidden;
        sealed.retain(|s| s.deleted.live() > 0);
        shown_chunks.retain(|c| c.live() > 0);
        self.view_of(sealed, shown_chunks, tail_shown, damage)
    }
}

fn live(state: &SealedState) -> impl Iterator<Item = u32> + '_ {
    (0..state.segment.len()).filter(|offset| !state.deleted.contains(*offset))
}
