//! Similarities between stored points, and the choice of a point's neighbours.

use super::multi::MultiRows;
use super::search_space::similarity;
use crate::config::Distance;
use crate::distance::isa::{Isa, LINE_BYTES};
use crate::quantization::ScalarCodes;
use crate::quantization::halves::{STEPS, TWICE_LOWEST};

/// What a graph is built on: codes, or raw rows where there are none.
#[derive(Clone, Copy)]
pub(crate) enum Material<'a> {
    Codes { codes: &'a ScalarCodes, sums: &'a [i32], rows: &'a [f32] },
    Raw { rows: &'a [f32], dim: usize, distance: Distance },
    Multi(MultiRows<'a>),
}

impl<'a> Material<'a> {
    /// The raw vector of a point; of a multivector all rows.
    pub(super) fn row(&self, offset: u32) -> &'a [f32] {
        let (rows, dim) = match self {
            Material::Codes { codes, rows, .. } => (rows, codes.dim()),
            Material::Raw { rows, dim, .. } => (rows, *dim),
            Material::Multi(points) => return points.of(offset),
        };
        &rows[offset as usize * dim..][..dim]
    }
}

/// Compares stored points with each other.
pub(super) trait Pairs {
    /// The similarity of two points, the same in both orders.
    ///
    /// # Safety
    /// Both are points of the material; the processor has the instruction set.
    unsafe fn pair<I: Isa>(&self, a: u32, b: u32) -> f32;

    /// Whether a candidate is reached through a chosen one: it is nearer to that one, by `pair`, than to the point whose
    /// neighbours are chosen.
    fn reached(&self, pair: f32, similarity: f32) -> bool {
        pair >= similarity
    }
}

/// A candidate is reached through a chosen one that is so many times nearer to it, in squared distance. At 1.03 rows have a few
/// links more than at 1, which cost a build little and lead walks out of places where they would have ended. The relaxed rule of
/// Vamana (Subramanya et al. 2019) takes far more, and then near ones crowd out the others.
const NEARER: f32 = 1.03;

/// On codes: negative squared distances for Cosine and Euclid, products for Dot.
pub(super) struct CodePairs<'a> {
    codes: &'a [u8],
    scales: &'a [[f32; 2]],
    terms: &'a [f32],
    sums: &'a [i32],
    lines: usize,
    halved: bool,
    width: usize,
    dot: bool,
    mean_squared: f32,
}

impl<'a> CodePairs<'a> {
    pub(super) fn new(codes: &'a ScalarCodes, sums: &'a [i32]) -> Self {
        assert_eq!(sums.len(), codes.len() as usize);
        Self {
            codes: codes.codes().0,
            scales: codes.scales(),
            terms: codes.terms(),
            sums,
            lines: codes.stride() / LINE_BYTES,
            halved: codes.is_halved(),
            width: codes.width(),
            dot: codes.distance() == Distance::Dot,
            mean_squared: crate::distance::dot(codes.mean(), codes.mean()),
        }
    }
}

impl CodePairs<'_> {
    /// The sum of products of what the upper halves of two points stand for, from that of the halves themselves and, for each
    /// point, twice the sum of what its own stand for.
    #[inline(always)]
    fn steps_of(&self, products: i32, twice_a: i32, twice_b: i32) -> f32 {
        // (2·16·a + l)(2·16·b + l) = 4·16²·ab + l·(2·16·a + l) + l·(2·16·b + l) - l², summed.
        let (step, lowest) = (i64::from(2 * STEPS), i64::from(TWICE_LOWEST));
        let mixed = lowest * (i64::from(twice_a) + i64::from(twice_b));
        let squares = lowest * lowest * self.width as i64;
        (step * step * i64::from(products) + mixed - squares) as f32 / 4.0
    }
}

impl Pairs for CodePairs<'_> {
    #[inline(always)]
    fn reached(&self, pair: f32, similarity: f32) -> bool {
        // Products say nothing of distances.
        pair * if self.dot { 1.0 } else { NEARER } >= similarity
    }

    #[inline(always)]
    unsafe fn pair<I: Isa>(&self, a: u32, b: u32) -> f32 {
        let (a, b) = (a as usize, b as usize);
        let lines = if self.halved { self.lines / 2 } else { self.lines };
        // SAFETY: all arrays have an element for each point.
        unsafe {
            let row = |point: usize| self.codes.as_ptr().add(point * lines * LINE_BYTES);
            let (sum_a, sum_b) = (*self.sums.get_unchecked(a), *self.sums.get_unchecked(b));
            let (sum_a, sum_b, steps) = match self.halved {
                true => {
                    let products = I::nibbles_pair(row(a), row(b), lines);
                    (sum_a as f32 / 2.0, sum_b as f32 / 2.0, self.steps_of(products, sum_a, sum_b))
                }
                false => (sum_a as f32, sum_b as f32, I::codes_pair(row(a), row(b), sum_b, lines) as f32),
            };
            let ([mid_a, step_a], [mid_b, step_b]) =
                (*self.scales.get_unchecked(a), *self.scales.get_unchecked(b));
            let mixed = mid_a * (step_b * sum_b) + mid_b * (step_a * sum_a);
            let product = self.width as f32 * (mid_a * mid_b) + mixed + (step_a * step_b) * steps;
            let terms = *self.terms.get_unchecked(a) + *self.terms.get_unchecked(b);
            if self.dot { product + terms + self.mean_squared } else { 2.0 * product - terms }
        }
    }
}

/// On raw rows, by the metric itself.
pub(super) struct RawPairs<'a> {
    pub(super) rows: &'a [f32],
    pub(super) dim: usize,
    pub(super) distance: Distance,
}

impl Pairs for RawPairs<'_> {
    #[inline(always)]
    fn reached(&self, pair: f32, similarity: f32) -> bool {
        match self.distance {
            Distance::Dot => pair >= similarity,
            Distance::Cosine | Distance::CosineAsSent => (1.0 - pair) * NEARER <= 1.0 - similarity,
            Distance::Euclid => pair * NEARER >= similarity,
            Distance::Manhattan => pair * NEARER.sqrt() >= similarity,
        }
    }

    #[inline(always)]
    unsafe fn pair<I: Isa>(&self, a: u32, b: u32) -> f32 {
        // SAFETY: both are rows.
        unsafe {
            let (a, b) = (
                self.rows.as_ptr().add(a as usize * self.dim),
                self.rows.as_ptr().add(b as usize * self.dim),
            );
            similarity::<I>(self.distance, a, b, self.dim)
        }
    }
}

/// Chooses up to `limit` neighbours of `base` from candidates sorted best first: one that is clearly nearer to a chosen one
/// than to `base` is reached through that one. If this leaves fewer than `least`, the best of the others follow.
///
/// Duplicates of `base` are at distance zero from it and would rule out everything else: they get a quarter of the
/// places and rule out nothing, so that a heap of equal points stays connected with the rest.
///
/// # Safety
/// All offsets are points of the material; the processor has the instruction set.
#[inline(always)]
pub(super) unsafe fn select<I: Isa, P: Pairs>(
    pairs: &P,
    base: u32,
    candidates: &[(f32, u32)],
    (limit, least): (usize, usize),
    chosen: &mut Vec<u32>,
) {
    chosen.clear();
    // SAFETY: passed on to the caller.
    unsafe {
        let itself = pairs.pair::<I>(base, base);
        let duplicates_max = (limit / 4).max(1);
        let mut duplicates = 0;
        for &(similarity, offset) in candidates {
            if chosen.len() == limit {
                return;
            }
            if similarity == itself {
                if duplicates < duplicates_max {
                    // Duplicates stay in front, where the loop below does not look.
                    chosen.insert(duplicates, offset);
                    duplicates += 1;
                }
                continue;
            }
            let mut reached = false;
            for &other in &chosen[duplicates..] {
                if pairs.reached(pairs.pair::<I>(other, offset), similarity) {
                    reached = true;
                    break;
                }
            }
            if !reached {
                chosen.push(offset);
            }
        }
    }
    for &(_, offset) in candidates {
        if chosen.len() >= least {
            break;
        }
        if !chosen.contains(&offset) {
            chosen.push(offset);
        }
    }
}
