//! Loops of quantization that are compiled for each instruction set.

use crate::distance::isa::{Isa, LINE_BYTES, LONG_LINES, TABLE_ZERO, per_isa};

/// What quantizing a query gives beside its codes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueryScale {
    /// Value of one step.
    pub(crate) step: f32,
    /// Sum of the components.
    pub(crate) sum: f32,
    /// Sum of the codes.
    pub(crate) code_sum: i32,
}

/// Quantizes a query to `i8`, symmetric around zero, as finely as the instruction set can take it. `codes` is at least as long; what is past the query's end
/// stays as it is.
pub(crate) fn quantize_query(query: &[f32], codes: &mut [i8]) -> QueryScale {
    assert!(codes.len() >= query.len(), "codes are padded, never shorter");
    // SAFETY: both pointers are good for `query.len()` values.
    unsafe { quantize_any(query.as_ptr(), codes, query.len()) }
}

per_isa! { unsafe fn quantize_any(query: *const f32, codes: &mut [i8], n: usize) -> QueryScale => quantize_with; }

/// Floats that are worked on side by side. A compiler may not change the order of a sum of floats, so sums are kept for each lane.
pub(super) const LANES: usize = 16;

/// Adding this to a small float leaves its nearest integer in the low bits.
pub(super) const ROUNDING: f32 = 12_582_912.0;

/// The largest magnitude of a component. The bits of positive floats are in the order of the floats, and integers have
/// vector instructions for it.
#[inline(always)]
pub(super) fn largest_magnitude(vector: &[f32]) -> f32 {
    f32::from_bits(vector.iter().fold(0u32, |largest, v| largest.max(v.to_bits() & 0x7fff_ffff)))
}

#[inline(always)]
unsafe fn quantize_with<I: Isa>(query: *const f32, codes: &mut [i8], n: usize) -> QueryScale {
    // SAFETY: the caller says that it is good for `n` values.
    let query = unsafe { std::slice::from_raw_parts(query, n) };
    let largest = largest_magnitude(query);
    let largest_code = if codes.len() >= LONG_LINES * LINE_BYTES { I::QUERY_CODE_MAX } else { 127 };
    let step = (largest / largest_code as f32).max(f32::MIN_POSITIVE);
    let inverse = 1.0 / step;
    let mut code_sum = 0i32;
    for (code, v) in codes.iter_mut().zip(query) {
        let rounded = (v * inverse + ROUNDING).to_bits().wrapping_sub(ROUNDING.to_bits()) as i32;
        *code = rounded as i8;
        code_sum += rounded;
    }
    let mut lanes = [0f32; LANES];
    let parts = query.chunks_exact(LANES);
    let rest: f32 = parts.remainder().iter().sum();
    for part in parts {
        lanes.iter_mut().zip(part).for_each(|(lane, v)| *lane += v);
    }
    QueryScale { step, sum: lanes.iter().sum::<f32>() + rest, code_sum }
}

/// The range and scale of one vector's codes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowScale {
    /// What code 128 stands for.
    pub(crate) mid: f32,
    /// Value of one step.
    pub(crate) step: f32,
    /// Sum of `code - 128`.
    pub(crate) code_sum: i32,
}

/// Integers that are in the order of the floats, and have vector instructions for the least and the greatest.
#[inline(always)]
fn ordered(v: f32) -> i32 {
    let bits = v.to_bits() as i32;
    // Of a negative float all bits but the sign are turned over.
    bits ^ (bits >> 31 & i32::MAX)
}

/// The float of an [`ordered`] integer.
#[inline(always)]
fn from_ordered(n: i32) -> f32 {
    f32::from_bits((n ^ (n >> 31 & i32::MAX)) as u32)
}

/// Quantizes a row to codes from 1 to 255 over its own range.
pub(crate) fn quantize_row(row: &[f32], codes: &mut [u8]) -> RowScale {
    assert!(codes.len() >= row.len(), "codes are padded, never shorter");
    // SAFETY: both pointers are good for `row.len()` values.
    unsafe { quantize_row_any(row.as_ptr(), codes.as_mut_ptr(), row.len()) }
}

per_isa! { unsafe fn quantize_row_any(row: *const f32, codes: *mut u8, n: usize) -> RowScale => quantize_row_with; }

#[inline(always)]
unsafe fn quantize_row_with<I: Isa>(row: *const f32, codes: *mut u8, n: usize) -> RowScale {
    // SAFETY: the caller says that both are good for `n` values, and the codes are nobody else's.
    let (row, codes) =
        unsafe { (std::slice::from_raw_parts(row, n), std::slice::from_raw_parts_mut(codes, n)) };
    let low = from_ordered(row.iter().fold(i32::MAX, |low, &v| low.min(ordered(v))));
    let high = from_ordered(row.iter().fold(i32::MIN, |high, &v| high.max(ordered(v))));
    let step = (high - low) / 254.0;
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    let mut code_sum = 0i32;
    for (code, v) in codes.iter_mut().zip(row) {
        let rounded = ((v - low) * inverse + ROUNDING).to_bits().wrapping_sub(ROUNDING.to_bits()) as i32;
        *code = rounded.clamp(0, 254) as u8 + 1;
        code_sum += i32::from(*code) - 128;
    }
    RowScale { mid: low + 127.0 * step, step, code_sum }
}

/// Sums of each four components of a query with all combinations of signs, as `u8` with [`TABLE_ZERO`] for zero: entry `n` adds
/// component `i` if bit `i` of `n` is set, else takes it off. Gives the value of one step.
pub(crate) fn fill_tables(vector: &[f32], tables: &mut [i8]) -> f32 {
    assert!(vector.len() * 4 == tables.len() && vector.len().is_multiple_of(4));
    // SAFETY: the lengths fit, as checked.
    unsafe { tables_any(vector, tables) }
}

per_isa! { unsafe fn tables_any(vector: &[f32], tables: &mut [i8]) -> f32 => tables_with; }

#[inline(always)]
unsafe fn tables_with<I: Isa>(vector: &[f32], tables: &mut [i8]) -> f32 {
    let (mut largest, mut total) = (0f32, 0f32);
    for four in vector.chunks_exact(4) {
        let sum = four[0].abs() + four[1].abs() + four[2].abs() + four[3].abs();
        total += sum;
        largest = largest.max(sum);
    }
    // No entry leaves 6 bits, whatever is rounded, and no sum of entries 16.
    let step = (largest / f32::from(TABLE_ZERO - 3)).max(total / 28_000.0).max(f32::MIN_POSITIVE);
    let inverse = 1.0 / step;
    for (four, table) in vector.chunks_exact(4).zip(tables.chunks_exact_mut(16)) {
        let rounded = |i: usize| ((four[i] * inverse + ROUNDING).to_bits() as u8) as i8;
        let [a, b, c, d] = [rounded(0), rounded(1), rounded(2), rounded(3)];
        let low = [-a - b, a - b, b - a, a + b];
        let high = [-c - d, c - d, d - c, c + d];
        for h in 0..4 {
            for l in 0..4 {
                table[4 * h + l] = low[l] + high[h] + TABLE_ZERO as i8;
            }
        }
    }
    step
}
