//! The best points by a sparse query.
//!
//! Postings are added up in blocks of offsets that fit a core's nearest cache (as document-at-a-time engines do, but
//! without a branch for each posting). Once enough points were found, dimensions that can't lift a point among the best
//! by themselves are only looked up for points that others have lifted near enough (MaxScore, Turtle and Flood 1995).

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::{Posting, SparseSource};
use crate::cancel::Cancel;
use crate::distance::Rule;
use crate::error::Result;
use crate::query::Plan;
use crate::vector::{SparseRow, SparseVector};

/// Offsets of a block: 16 KiB of sums.
const BLOCK: usize = 4096;
const BLOCK_WORDS: usize = BLOCK / 64;
/// Rounding that a sum of bounds is given, so that it is never below the sum that it bounds.
const SLACK: f32 = 1e-5;
/// Looking a point up in a posting costs as much as adding up so many postings.
const SEEK_COST: u64 = 16;
/// Comparing a stored value with a query costs as much as adding up so many postings.
const ROW_COST: u64 = 4;
/// Rows compared between two looks at the cancel flag.
const ROWS_PER_CHECK: usize = 4096;

/// What points are compared with.
#[derive(Clone, Copy)]
pub enum SparseTarget<'a> {
    /// Points that share a dimension with it.
    Vector(SparseRow<'a>),
    /// All points that have the vector, by the similarities to several.
    Examples(&'a Rule, &'a [&'a SparseVector]),
}

/// What is asked of the sparse vectors of one name in one place.
pub struct SparseQuery<'a> {
    pub target: SparseTarget<'a>,
    /// Which of 64 points may be answered, word by word.
    pub allowed: &'a dyn Fn(usize) -> u64,
    /// How many may be answered.
    pub passing: u64,
    pub full_scan_threshold: usize,
    pub k: usize,
}

/// Memory of one thread's searches.
#[derive(Default)]
pub struct SparseScratch {
    sums: Vec<f32>,
}

/// A scored point; the greatest is the worst, so that a heap gives it away first.
#[derive(Clone, Copy, PartialEq)]
struct Ranked {
    score: f32,
    offset: u32,
}

impl Eq for Ranked {}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.offset.cmp(&other.offset))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best `k` so far.
struct Kept {
    k: usize,
    heap: BinaryHeap<Ranked>,
}

impl Kept {
    /// A point below this can't enter.
    fn worst(&self) -> f32 {
        match self.heap.peek() {
            Some(worst) if self.heap.len() >= self.k => worst.score,
            _ => f32::NEG_INFINITY,
        }
    }

    fn offer(&mut self, score: f32, offset: u32) {
        let ranked = Ranked { score, offset };
        if self.heap.len() < self.k {
            self.heap.push(ranked);
        } else if self.heap.peek().is_some_and(|worst| ranked < *worst) {
            self.heap.pop();
            self.heap.push(ranked);
        }
    }
}

/// A dimension of the query and how far its posting was read.
struct Term<'a> {
    weight: f32,
    posting: Posting<'a>,
    at: usize,
    /// What it adds to a score at most.
    bound: f32,
}

impl SparseQuery<'_> {
    /// The best points as (offset, score), best first, equal scores by offset.
    pub fn run(
        &self,
        source: &dyn SparseSource,
        scratch: &mut SparseScratch,
        cancel: &Cancel,
    ) -> Result<(Vec<(u32, f32)>, Plan)> {
        cancel.check()?;
        if self.k == 0 || self.passing == 0 {
            return Ok((Vec::new(), Plan::Scan));
        }
        let mut kept = Kept { k: self.k, heap: BinaryHeap::new() };
        let SparseTarget::Vector(query) = self.target else {
            self.scan(source, &mut kept, cancel)?;
            return Ok((sorted(kept), Plan::Scan));
        };
        let terms = terms_of(query, source)?;
        let postings: u64 = terms.iter().map(|t| t.posting.offsets.len() as u64).sum();
        let row = source.entries() / u64::from(source.points()).max(1) + query.indices.len() as u64;
        let is_few = self.passing < self.full_scan_threshold as u64;
        if is_few && self.passing.saturating_mul(row * ROW_COST) < postings {
            self.scan(source, &mut kept, cancel)?;
            return Ok((sorted(kept), Plan::Scan));
        }
        self.add_up(terms, source.points(), &mut kept, scratch, cancel)?;
        // Sums depend on the order of their parts in the last digits: those that are answered never do.
        let mut exact = Vec::with_capacity(kept.heap.len());
        for Ranked { offset, score } in kept.heap {
            let row = source.row(offset)?;
            exact.push(Ranked { offset, score: row.and_then(|row| query.dot(row)).unwrap_or(score) });
        }
        exact.sort_unstable();
        Ok((exact.into_iter().map(|r| (r.offset, r.score)).collect(), Plan::Graph))
    }

    /// Compares every point that may be answered.
    fn scan(&self, source: &dyn SparseSource, kept: &mut Kept, cancel: &Cancel) -> Result<()> {
        let mut rows = 0;
        let mut similarities = Vec::new();
        for word in 0..(source.points() as usize).div_ceil(64) {
            let mut rest = (self.allowed)(word) & source.presence_word(word);
            while rest != 0 {
                let offset = (word * 64) as u32 + rest.trailing_zeros();
                rest &= rest - 1;
                rows += 1;
                if rows % ROWS_PER_CHECK == 0 {
                    cancel.check()?;
                }
                let Some(row) = source.row(offset)? else { continue };
                match self.target.score(row, &mut similarities) {
                    Some(score) => kept.offer(score, offset),
                    None => continue,
                }
            }
        }
        Ok(())
    }

    /// Adds up postings block by block.
    fn add_up(
        &self,
        mut terms: Vec<Term<'_>>,
        len: u32,
        kept: &mut Kept,
        scratch: &mut SparseScratch,
        cancel: &Cancel,
    ) -> Result<()> {
        terms.sort_by(|a, b| a.bound.total_cmp(&b.bound));
        // What the first terms add at most, together.
        let together: Vec<f32> = terms
            .iter()
            .scan(0.0f32, |sum, t| {
                *sum += t.bound;
                Some(*sum + sum.abs() * SLACK)
            })
            .collect();
        let lengths: Vec<u64> = terms.iter().map(|t| t.posting.offsets.len() as u64).collect();
        scratch.sums.resize(BLOCK, 0.0);
        let mut touched = [0u64; BLOCK_WORDS];
        let mut allowed = [0u64; BLOCK_WORDS];
        let words = (len as usize).div_ceil(64);
        for (block, first_word) in (0..words).step_by(BLOCK_WORDS).enumerate() {
            if block % 16 == 0 {
                cancel.check()?;
            }
            let in_block = BLOCK_WORDS.min(words - first_word);
            (0..in_block).for_each(|w| allowed[w] = (self.allowed)(first_word + w));
            let base = (first_word * 64) as u32;
            if allowed[..in_block].iter().all(|w| *w == 0) {
                continue;
            }
            let left_out = together.partition_point(|bound| *bound < kept.worst());
            if left_out == terms.len() {
                break;
            }
            let essential = cheapest(&lengths, left_out);
            for term in &mut terms[essential..] {
                term.add(base, &mut scratch.sums, &mut touched);
            }
            for (w, (touched, allowed)) in touched.iter_mut().zip(&allowed).take(in_block).enumerate() {
                let mut rest = std::mem::take(touched);
                while rest != 0 {
                    let bit = rest.trailing_zeros();
                    rest &= rest - 1;
                    let sum = std::mem::take(&mut scratch.sums[w * 64 + bit as usize]);
                    if allowed >> bit & 1 == 1 {
                        let offset = base + (w * 64) as u32 + bit;
                        settle(offset, sum, &mut terms[..essential], &together, kept);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Term<'_> {
    /// Adds the values of one block to its sums.
    #[inline]
    fn add(&mut self, base: u32, sums: &mut [f32], touched: &mut [u64; BLOCK_WORDS]) {
        let from = self.posting.seek(self.at, base);
        let offsets = &self.posting.offsets[from..];
        let values = &self.posting.values[from..];
        let mut count = 0;
        for (offset, value) in offsets.iter().zip(values) {
            let i = (offset - base) as usize;
            if i >= BLOCK {
                break;
            }
            sums[i] += self.weight * value;
            touched[i / 64] |= 1 << (i % 64);
            count += 1;
        }
        self.at = from + count;
    }

    /// What it adds to the score of a point; points are asked for in ascending order.
    fn look_up(&mut self, offset: u32) -> f32 {
        self.at = self.posting.seek(self.at, offset);
        match self.posting.offsets.get(self.at) {
            Some(found) if *found == offset => self.weight * self.posting.values[self.at],
            _ => 0.0,
        }
    }
}

/// Completes the sum of a point by the dimensions that were left out, and offers it; given up as soon as it can't enter.
fn settle(offset: u32, mut sum: f32, left: &mut [Term<'_>], together: &[f32], kept: &mut Kept) {
    for (i, term) in left.iter_mut().enumerate().rev() {
        if sum + together[i] + sum.abs() * SLACK < kept.worst() {
            return;
        }
        sum += term.look_up(offset);
    }
    kept.offer(sum, offset);
}

/// How many of the first terms, up to `most`, are looked up point by point: as many as make it cheapest together with
/// adding up the others, whose postings are all points that may have to be looked up.
fn cheapest(lengths: &[u64], most: usize) -> usize {
    let mut added: u64 = lengths.iter().sum();
    let (mut best, mut least) = (0, added);
    for count in 1..=most {
        added -= lengths[count - 1];
        let cost = added.saturating_add(added.saturating_mul(count as u64 * SEEK_COST));
        if cost < least {
            (best, least) = (count, cost);
        }
    }
    best
}

fn terms_of<'a>(query: SparseRow<'_>, source: &'a dyn SparseSource) -> Result<Vec<Term<'a>>> {
    let mut terms = Vec::with_capacity(query.indices.len());
    for (dimension, &weight) in query.indices.iter().zip(query.values) {
        if let Some(posting) = source.posting(*dimension)? {
            let bound = (weight * posting.highest).max(weight * posting.lowest).max(0.0);
            terms.push(Term { weight, posting, at: 0, bound });
        }
    }
    Ok(terms)
}

impl SparseTarget<'_> {
    /// The score of a stored vector; `None` if it is no answer. `similarities` is memory for reuse.
    pub fn score(&self, row: SparseRow<'_>, similarities: &mut Vec<f32>) -> Option<f32> {
        match self {
            SparseTarget::Vector(query) => query.dot(row),
            SparseTarget::Examples(rule, examples) => {
                similarities.clear();
                similarities.extend(examples.iter().map(|e| e.row().dot(row).unwrap_or(0.0)));
                Some(rule.combine(similarities.len(), |i| similarities[i]))
            }
        }
    }
}

fn sorted(kept: Kept) -> Vec<(u32, f32)> {
    kept.heap.into_sorted_vec().into_iter().map(|r| (r.offset, r.score)).collect()
}
