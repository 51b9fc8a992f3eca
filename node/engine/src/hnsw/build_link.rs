//! How a point is linked with its neighbours, and they with it.

use std::sync::atomic::Ordering;

use super::build::{Growing, Scratch};
use super::build_select::{Pairs, select};
use crate::distance::isa::Isa;

/// Links a point with the best of `scratch.candidates`, with up to `width` of them, and them with it.
///
/// # Safety
/// As for [`select`].
#[inline(always)]
pub(super) unsafe fn link<I: Isa, P: Pairs>(
    growing: &Growing,
    pairs: &P,
    (offset, level): (u32, u32),
    width: usize,
    scratch: &mut Scratch,
) {
    // SAFETY: passed on to the caller.
    unsafe {
        // From here on all similarities are those of pairs, so that they can be compared.
        scratch.candidates.retain(|c| c.1 != offset);
        for candidate in scratch.candidates.iter_mut() {
            candidate.0 = pairs.pair::<I>(offset, candidate.1);
        }
        scratch.candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        select::<I, P>(pairs, offset, &scratch.candidates, growing.recipe.places(width), &mut scratch.chosen);
        {
            let _lock = growing.lock(offset);
            growing.set_row(offset, level, &scratch.chosen);
        }
        for i in 0..scratch.chosen.len() {
            connect::<I, P>(growing, pairs, scratch.chosen[i], offset, level, scratch);
        }
    }
}

/// Adds `to` to the links of `from`.
///
/// # Safety
/// As for [`select`].
#[inline(always)]
unsafe fn connect<I: Isa, P: Pairs>(
    growing: &Growing,
    pairs: &P,
    from: u32,
    to: u32,
    level: u32,
    scratch: &mut Scratch,
) {
    let _lock = growing.lock(from);
    let row = growing.row(from, level);
    scratch.shrunk.clear();
    scratch.shrunk.extend(growing.links_of(from, level));
    if scratch.shrunk.contains(&to) {
        return;
    }
    if scratch.shrunk.len() < row.len() {
        row[scratch.shrunk.len()].store(to, Ordering::Release);
        return;
    }
    scratch.shrunk.push(to);
    let links = std::mem::take(&mut scratch.shrunk);
    // `shrink` writes its choice to `chosen`, which the caller is still reading.
    let chosen = std::mem::take(&mut scratch.chosen);
    // SAFETY: passed on to the caller.
    unsafe { shrink::<I, P>(growing, pairs, (from, level), &links, scratch) };
    scratch.shrunk = links;
    scratch.chosen = chosen;
}

/// Makes the best of `links` the row of a point.
///
/// # Safety
/// As for [`select`].
#[inline(always)]
pub(super) unsafe fn shrink<I: Isa, P: Pairs>(
    growing: &Growing,
    pairs: &P,
    (offset, level): (u32, u32),
    links: &[u32],
    scratch: &mut Scratch,
) {
    let Scratch { row, chosen, .. } = scratch;
    let width = growing.row(offset, level).len();
    row.clear();
    // SAFETY: passed on to the caller.
    unsafe {
        for &link in links {
            row.push((pairs.pair::<I>(offset, link), link));
        }
        row.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        select::<I, P>(pairs, offset, row, growing.recipe.places(width), chosen);
    }
    growing.set_row(offset, level, chosen);
}
