//! Building a graph: points are inserted in parallel, each into what the others have linked so far.
//!
//! Rows are read without locks (a reader may see half of a change, which costs it a link, not its soundness) and
//! written under one byte of lock each. Levels depend on seed and offset alone.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::build_far::far;
use super::build_link::{link, shrink};
pub(crate) use super::build_select::Material;
use super::build_select::{CodePairs, Pairs, RawPairs};
use super::context::SearchContext;
use super::graph::{Graph, NO_LINK, Shape};
use super::multi::{MultiPairs, MultiScorer};
use super::search::{Links, beam};
use super::search_entry::{climb, upper_beam};
use super::search_space::{CodeScorer, HalvesScorer, RawScorer, Scorer, SketchedScorer};
use crate::cancel::Cancel;
use crate::distance::isa::{Isa, per_isa};
use crate::error::Result;
use crate::file::hugepage::HugeBuffer;

/// What to build.
#[derive(Clone, Copy)]
pub(crate) struct Recipe<'a> {
    pub(crate) material: Material<'a>,
    /// Number of points, with a vector or without.
    pub(crate) len: u32,
    pub(crate) m: usize,
    pub(crate) ef_construct: usize,
    pub(crate) threads: usize,
    pub(crate) seed: u64,
    /// For walks to which a full row costs no more than half of one: rows are filled with what was not chosen.
    pub(crate) whole_rows: bool,
}

/// A graph whose rows are taken over.
#[derive(Clone, Copy)]
pub(crate) struct Old<'a> {
    pub(crate) graph: &'a Graph,
    /// For each of its points the new offset, or [`NO_LINK`].
    pub(crate) new_offsets: &'a [u32],
}

const LEVEL_MAX: u32 = 12;

/// Points inserted by one thread before the others join: into an empty graph all would be inserted at once.
const ALONE: usize = 512;

/// Builds the graph of the points for which `present` says yes.
pub(crate) fn build(
    recipe: &Recipe,
    present: impl Fn(u32) -> bool,
    old: Option<Old>,
    pool: &rayon::ThreadPool,
    cancel: &Cancel,
) -> Result<Graph> {
    assert!(recipe.m >= 1 && recipe.len < 1 << 31);
    let mut levels: Vec<u32> =
        (0..recipe.len).map(|o| if present(o) { recipe.level(o) } else { 0 }).collect();
    let mut taken_over = vec![false; recipe.len as usize];
    for (offset, new) in old.iter().flat_map(Old::pairs) {
        taken_over[new as usize] = true;
        levels[new as usize] = old.map_or(0, |old| old.graph.level(offset));
    }
    let todo: Vec<u32> = (0..recipe.len).filter(|&o| present(o) && !taken_over[o as usize]).collect();
    let mut memory = Memory::new(recipe, &levels)?;
    let far = {
        let growing = memory.growing(recipe);
        if let Some(old) = &old {
            growing.take_over(old, &levels);
        }
        growing.insert_all(&todo, pool, cancel)?;
        growing.reach_all(&present);
        far(&growing)
    };
    cancel.check()?;
    Ok(memory.finish(far))
}

impl Recipe<'_> {
    /// How many of `width` places a choice of neighbours fills at most, and at least.
    pub(super) fn places(&self, width: usize) -> (usize, usize) {
        (width, if self.whole_rows { width } else { width / 2 })
    }

    /// A geometric number, the share of level `l` being `m^-l`.
    fn level(&self, offset: u32) -> u32 {
        let mut z = self.seed.wrapping_add(u64::from(offset) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let uniform = (((z ^ (z >> 31)) >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        ((-uniform.ln() / (self.m.max(2) as f64).ln()) as u32).min(LEVEL_MAX)
    }
}

impl Old<'_> {
    /// (old offset, new offset) of the points that are taken over and in the graph.
    fn pairs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let linked = |old: u32| self.graph.shape.entry == old || !self.graph.row(old).is_empty();
        let all = self.new_offsets.iter().enumerate().map(|(old, &new)| (old as u32, new));
        all.filter(move |&(old, new)| new != NO_LINK && linked(old))
    }
}

/// The arrays of a graph that is being built.
struct Memory {
    links: HugeBuffer,
    upper_start: HugeBuffer,
    upper: HugeBuffer,
    shape: Shape,
    locks: Vec<AtomicU8>,
    /// Level in the high half, point in the low; `u64::MAX` while there is none.
    entry: AtomicU64,
}

const NO_ENTRY: u64 = u64::MAX;

impl Memory {
    fn new(recipe: &Recipe, levels: &[u32]) -> Result<Self> {
        let len = recipe.len as usize;
        let mut links = HugeBuffer::zeroed(len * recipe.m * 2 * 4)?;
        links.fill(0xff);
        let mut upper_start = HugeBuffer::zeroed((len + 1) * 4)?;
        let starts: &mut [u32] = bytemuck::cast_slice_mut(&mut upper_start);
        let mut upper_rows = 0;
        for (start, level) in starts[1..].iter_mut().zip(levels) {
            upper_rows += level;
            *start = upper_rows;
        }
        let mut upper = HugeBuffer::zeroed(upper_rows as usize * recipe.m * 4)?;
        upper.fill(0xff);
        let shape = Shape {
            len: recipe.len,
            m: recipe.m as u32,
            ef_construct: recipe.ef_construct as u32,
            entry: NO_LINK,
            top: 0,
            upper_rows,
            far: f32::NEG_INFINITY,
        };
        let locks = (0..len).map(|_| AtomicU8::new(0)).collect();
        Ok(Self { links, upper_start, upper, shape, locks, entry: AtomicU64::new(NO_ENTRY) })
    }

    fn growing<'a>(&'a mut self, recipe: &'a Recipe<'a>) -> Growing<'a> {
        Growing {
            recipe,
            links: writable(&mut self.links),
            upper_start: bytemuck::cast_slice(&self.upper_start),
            upper: writable(&mut self.upper),
            locks: &self.locks,
            entry: &self.entry,
            raising: Mutex::new(()),
        }
    }

    fn finish(mut self, far: f32) -> Graph {
        self.shape.far = far;
        let entry = self.entry.into_inner();
        if entry != NO_ENTRY {
            self.shape.entry = entry as u32;
            self.shape.top = (entry >> 32) as u32;
        }
        Graph::new(self.shape, self.links, self.upper_start, self.upper)
    }
}

/// Memory of one's own, to be shared by the threads of a build.
fn writable(buffer: &mut HugeBuffer) -> &[AtomicU32] {
    let numbers: &mut [u32] = bytemuck::cast_slice_mut(buffer);
    // SAFETY: the types have one layout, and the exclusive borrow is given up for as long as the result lives.
    unsafe { &*(std::ptr::from_mut(numbers) as *const [AtomicU32]) }
}

/// A graph that is being built, as its threads share it.
pub(super) struct Growing<'a> {
    pub(super) recipe: &'a Recipe<'a>,
    links: &'a [AtomicU32],
    upper_start: &'a [u32],
    upper: &'a [AtomicU32],
    locks: &'a [AtomicU8],
    entry: &'a AtomicU64,
    /// Held by an insertion that will raise the top level.
    raising: Mutex<()>,
}

/// A locked row; unlocked when dropped.
pub(super) struct Locked<'a>(&'a AtomicU8);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

/// Memory of one thread of a build.
#[derive(Default)]
pub(super) struct Scratch {
    ctx: SearchContext,
    pub(super) candidates: Vec<(f32, u32)>,
    pub(super) chosen: Vec<u32>,
    pub(super) shrunk: Vec<u32>,
    pub(super) row: Vec<(f32, u32)>,
}

impl Growing<'_> {
    pub(super) fn level(&self, offset: u32) -> u32 {
        self.upper_start[offset as usize + 1] - self.upper_start[offset as usize]
    }

    /// The row of a point. A link on an upper level leads to points of that level only, so that it is there.
    pub(super) fn row(&self, offset: u32, level: u32) -> &[AtomicU32] {
        let m = self.recipe.m;
        match level {
            0 => &self.links[offset as usize * m * 2..][..m * 2],
            _ => &self.upper[(self.upper_start[offset as usize] + level - 1) as usize * m..][..m],
        }
    }

    pub(super) fn links_of(&self, offset: u32, level: u32) -> impl Iterator<Item = u32> + '_ {
        let links = self.row(offset, level).iter().map(|link| link.load(Ordering::Relaxed));
        links.take_while(|&link| link != NO_LINK)
    }

    pub(super) fn lock(&self, offset: u32) -> Locked<'_> {
        let lock = &self.locks[offset as usize];
        while lock.swap(1, Ordering::Acquire) == 1 {
            std::hint::spin_loop();
        }
        Locked(lock)
    }

    pub(super) fn set_row(&self, offset: u32, level: u32, links: &[u32]) {
        for (i, place) in self.row(offset, level).iter().enumerate() {
            place.store(links.get(i).copied().unwrap_or(NO_LINK), Ordering::Release);
        }
    }

    /// Inserts points; several threads take the next one each until none is left.
    fn insert_all(&self, todo: &[u32], pool: &rayon::ThreadPool, cancel: &Cancel) -> Result<()> {
        let alone = if self.entry.load(Ordering::Acquire) == NO_ENTRY { ALONE.min(todo.len()) } else { 0 };
        let (first, rest) = todo.split_at(alone);
        let work = |points: &[u32], next: &AtomicUsize| {
            let mut scratch = Scratch::default();
            while let Some(&offset) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                if cancel.is_cancelled() {
                    return;
                }
                // SAFETY: every link leads to a point of the material, which has `recipe.len` of them.
                unsafe { insert_any(self, offset, &mut scratch) }
            }
        };
        work(first, &AtomicUsize::new(0));
        let next = AtomicUsize::new(0);
        let threads = self.recipe.threads.clamp(1, pool.current_num_threads());
        pool.scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|_| work(rest, &next));
            }
        });
        cancel.check()
    }

    /// Takes over the rows of an old graph. A row that lost links to dropped points looks for others among their
    /// neighbours.
    fn take_over(&self, old: &Old, levels: &[u32]) {
        let mut entry = None;
        let mut scratch = Scratch::default();
        for (from, new) in old.pairs() {
            let level = levels[new as usize];
            if entry.is_none_or(|(top, _)| level > top) {
                entry = Some((level, new));
            }
            for level in 0..=level {
                let row = |offset: u32| match level {
                    0 => old.graph.row(offset),
                    _ => old.graph.upper_row(offset, level),
                };
                let renamed = |link: &u32| old.new_offsets[*link as usize];
                let mut links: Vec<u32> = row(from).iter().map(renamed).filter(|&n| n != NO_LINK).collect();
                if links.len() < row(from).len() {
                    let lost = row(from).iter().filter(|&link| renamed(link) == NO_LINK);
                    let beyond = lost.flat_map(|&link| row(link)).map(renamed);
                    links.extend(beyond.filter(|&link| link != NO_LINK && link != new));
                    links.sort_unstable();
                    links.dedup();
                    // SAFETY: new offsets are points of the material.
                    unsafe { shrink_any(self, new, level, &links, &mut scratch) }
                } else {
                    self.set_row(new, level, &links);
                }
            }
        }
        if let Some((top, point)) = entry {
            self.entry.store(u64::from(top) << 32 | u64::from(point), Ordering::Release);
        }
    }

    /// Sees to it that every point can be reached on level 0, from the entry.
    fn reach_all(&self, present: impl Fn(u32) -> bool) {
        let entry = self.entry.load(Ordering::Acquire);
        if entry == NO_ENTRY {
            return;
        }
        let mut from = vec![NO_LINK; self.recipe.len as usize];
        self.spread(entry as u32, entry as u32, &mut from);
        let mut scratch = Scratch::default();
        for offset in (0..self.recipe.len).filter(|&o| present(o)) {
            if from[offset as usize] == NO_LINK {
                // SAFETY: every link leads to a point of the material.
                unsafe { near_any(self, offset, &mut scratch) }
                // A walk comes down from upper levels, so it may have met points that are not reached themselves.
                let near = scratch.candidates.iter().map(|&(_, point)| point);
                let mut near: Vec<u32> = near.filter(|&point| from[point as usize] != NO_LINK).collect();
                near.push(entry as u32);
                let point = self.hang_on(offset, &near, &from);
                self.spread(offset, point, &mut from);
            }
        }
    }

    /// Links a point that is not reached from the nearest of `near`, which are, that has a free place; else in the
    /// place of a link by which nothing was reached first. Returns the one that it is linked from.
    fn hang_on(&self, offset: u32, near: &[u32], from: &[u32]) -> u32 {
        let free =
            |point: u32| self.row(point, 0).iter().position(|link| link.load(Ordering::Relaxed) == NO_LINK);
        let spare = |point: u32| {
            let needed = |link: &AtomicU32| from[link.load(Ordering::Relaxed) as usize] == point;
            self.row(point, 0).iter().rposition(|link| !needed(link))
        };
        let find = |place: &dyn Fn(u32) -> Option<usize>| {
            near.iter().find_map(|&point| Some((point, place(point)?)))
        };
        let (point, place) = find(&free).or_else(|| find(&spare)).unwrap_or((near[0], self.recipe.m * 2 - 1));
        self.row(point, 0)[place].store(offset, Ordering::Release);
        point
    }

    /// Notes for all points that are reached from one, itself reached from `first`, from where each was first.
    fn spread(&self, point: u32, first: u32, from: &mut [u32]) {
        let mut stack = vec![point];
        from[point as usize] = first;
        while let Some(point) = stack.pop() {
            for link in self.links_of(point, 0) {
                if from[link as usize] == NO_LINK {
                    from[link as usize] = point;
                    stack.push(link);
                }
            }
        }
    }
}

per_isa! { unsafe fn insert_any(growing: &Growing, offset: u32, scratch: &mut Scratch) -> () => insert_with; }
per_isa! { unsafe fn near_any(growing: &Growing, offset: u32, scratch: &mut Scratch) -> () => near_with; }
per_isa! {
    unsafe fn shrink_any(growing: &Growing, offset: u32, level: u32, links: &[u32], scratch: &mut Scratch) -> ()
        => shrink_with;
}

/// `$body` with a scorer for the point and the pairs of the codes.
macro_rules! with_codes {
    ($codes:ident, $sums:ident, $row:expr, $scratch:ident, $prepare:ident, $kind:ident, |$scorer:ident, $pairs:ident| $body:expr) => {{
        let mut query = std::mem::take(&mut $scratch.ctx.query);
        $codes.$prepare($row, &mut query);
        {
            let $scorer = $kind::<I, 0>::new($codes, &query);
            let $pairs = CodePairs::new($codes, $sums);
            $body
        }
        $scratch.ctx.query = query;
    }};
}

/// `$body` with a scorer for the point and the pairs of the material.
macro_rules! with_material {
    ($growing:ident, $offset:ident, $scratch:ident, |$scorer:ident, $pairs:ident| $body:expr) => {
        let row = $growing.recipe.material.row($offset);
        match $growing.recipe.material {
            Material::Codes { codes, sums, .. } if codes.is_halved() => {
                with_codes!(codes, sums, row, $scratch, prepare_to_build, HalvesScorer, |$scorer, $pairs| {
                    $body
                });
            }
            Material::Codes { codes, sums, .. } if codes.sketches().is_some() => {
                with_codes!(codes, sums, row, $scratch, prepare_sketch, SketchedScorer, |$scorer, $pairs| {
                    $body
                });
            }
            Material::Codes { codes, sums, .. } => {
                with_codes!(codes, sums, row, $scratch, prepare_to_build, CodeScorer, |$scorer, $pairs| {
                    $body
                });
            }
            Material::Raw { rows, dim, distance } => {
                let $scorer = RawScorer::<I>::new(rows, distance, row);
                let $pairs = RawPairs { rows, dim, distance };
                $body
            }
            Material::Multi(points) => {
                let $scorer = MultiScorer::<I>::new(points, points.of($offset));
                let $pairs = MultiPairs(points);
                $body
            }
        }
    };
}

#[inline(always)]
unsafe fn insert_with<I: Isa>(growing: &Growing, offset: u32, scratch: &mut Scratch) {
    // SAFETY: passed on to the caller.
    with_material!(growing, offset, scratch, |scorer, pairs| unsafe {
        insert_in::<I, _, _>(growing, &scorer, &pairs, offset, scratch);
    });
}

/// The points nearest to one that is in the graph, as a walk from the entry finds them.
#[inline(always)]
unsafe fn near_with<I: Isa>(growing: &Growing, offset: u32, scratch: &mut Scratch) {
    // SAFETY: passed on to the caller.
    with_material!(growing, offset, scratch, |scorer, pairs| unsafe {
        let _ = pairs;
        let entry = growing.entry.load(Ordering::Acquire);
        let start = descend(growing, &scorer, entry, 0);
        candidates_on::<I, _>(growing, &scorer, start, 0, scratch);
    });
}

#[inline(always)]
unsafe fn shrink_with<I: Isa>(
    growing: &Growing,
    offset: u32,
    level: u32,
    links: &[u32],
    scratch: &mut Scratch,
) {
    // SAFETY: passed on to the caller.
    with_material!(growing, offset, scratch, |scorer, pairs| unsafe {
        let _ = scorer;
        shrink::<I, _>(growing, &pairs, (offset, level), links, scratch);
    });
}

/// From the entry down to the point on the level above `level` that is nearest.
///
/// # Safety
/// As for [`climb`].
#[inline(always)]
unsafe fn descend<S: Scorer>(growing: &Growing, scorer: &S, entry: u64, level: u32) -> (f32, u32) {
    let point = entry as u32;
    // SAFETY: the entry is a point.
    let mut start = (unsafe { scorer.score4([point; 4]) }[0], point);
    for upper in (level + 1..=(entry >> 32) as u32).rev() {
        // SAFETY: passed on to the caller.
        start = unsafe { climb(scorer, start, |from| growing.links_of(from, upper)) };
    }
    start
}

/// Fills `scratch.candidates` with the nearest on a level.
///
/// # Safety
/// As for [`climb`].
#[inline(always)]
unsafe fn candidates_on<I: Isa, S: Scorer>(
    growing: &Growing,
    scorer: &S,
    start: (f32, u32),
    level: u32,
    scratch: &mut Scratch,
) {
    let Scratch { ctx, candidates, .. } = scratch;
    let ef = growing.recipe.ef_construct;
    ctx.visited.reset(growing.recipe.len);
    ctx.seeds.clear();
    ctx.seeds.push(start);
    // SAFETY: links lead to points; passed on to the caller.
    unsafe {
        if level == 0 {
            let links = Links { rows: growing.links, width: growing.recipe.m * 2 };
            beam::<I, S>(scorer, &links, ef, ctx);
        } else {
            upper_beam::<I, S, _>(scorer, |from| growing.links_of(from, level), ef, ctx);
        }
    }
    candidates.clear();
    candidates.extend(ctx.beam.iter());
}

/// # Safety
/// As for [`climb`].
#[inline(always)]
unsafe fn insert_in<I: Isa, S: Scorer, P: Pairs>(
    growing: &Growing,
    scorer: &S,
    pairs: &P,
    offset: u32,
    scratch: &mut Scratch,
) {
    let level = growing.level(offset);
    let mut entry = growing.entry.load(Ordering::Acquire);
    let raises = |entry: u64| entry == NO_ENTRY || level > (entry >> 32) as u32;
    let raising = raises(entry).then(|| growing.raising.lock());
    if raising.is_some() {
        entry = growing.entry.load(Ordering::Acquire);
    }
    let mine = u64::from(level) << 32 | u64::from(offset);
    if entry == NO_ENTRY {
        growing.entry.store(mine, Ordering::Release);
        return;
    }
    let m = growing.recipe.m;
    // SAFETY: passed on to the caller.
    unsafe {
        let mut start = descend(growing, scorer, entry, level);
        for on in (0..=level.min((entry >> 32) as u32)).rev() {
            candidates_on::<I, S>(growing, scorer, start, on, scratch);
            if let Some(&nearest) = scratch.candidates.first() {
                start = nearest;
            }
            link::<I, P>(growing, pairs, (offset, on), m, scratch);
        }
    }
    if raises(entry) {
        growing.entry.store(mine, Ordering::Release);
    }
}
