//! Loops of quantization that are compiled for each instruction set.

use crate::distance::isa::{Isa, per_isa};

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

/// Quantizes a query to `i8`, symmetric around zero. `codes` is at least as long; what is past the query's end
/// stays as it is.
pub(crate) fn quantize_query(query: &[f32], codes: &mut [i8]) -> QueryScale {
    assert!(codes.len() >= query.len(), "codes are padded, never shorter");
    // SAFETY: both pointers are good for `query.len()` values.
    unsafe { quantize_any(query.as_ptr(), codes.as_mut_ptr(), query.len()) }
}

per_isa! { unsafe fn quantize_any(query: *const f32, codes: *mut i8, n: usize) -> QueryScale => quantize_with; }

/// Adding this to a small float leaves its nearest integer in the low bits.
const ROUNDING: f32 = 12_582_912.0;

#[inline(always)]
unsafe fn quantize_with<I: Isa>(query: *const f32, codes: *mut i8, n: usize) -> QueryScale {
    // SAFETY: the caller says that both are good for `n` values, and the codes are nobody else's.
    let (query, codes) =
        unsafe { (std::slice::from_raw_parts(query, n), std::slice::from_raw_parts_mut(codes, n)) };
    // The bits of positive floats are in the order of the floats, and integers have vector instructions for it.
    let largest = query.iter().fold(0u32, |largest, v| largest.max(v.to_bits() & 0x7fff_ffff));
    let step = (f32::from_bits(largest) / 127.0).max(f32::MIN_POSITIVE);
    let inverse = 1.0 / step;
    let mut code_sum = 0i32;
    for (code, v) in codes.iter_mut().zip(query) {
        let rounded = (v * inverse + ROUNDING).to_bits().wrapping_sub(ROUNDING.to_bits()) as i32;
        *code = rounded as i8;
        code_sum += rounded;
    }
    let mut lanes = [0f32; 16];
    let parts = query.chunks_exact(16);
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

/// Quantizes a row to `u8` over its own range.
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
    let low = row.iter().fold(f32::INFINITY, |low, &v| if v < low { v } else { low });
    let high = row.iter().fold(f32::NEG_INFINITY, |high, &v| if v > high { v } else { high });
    let step = (high - low) / 255.0;
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    let mut code_sum = 0i32;
    for (code, v) in codes.iter_mut().zip(row) {
        let rounded = ((v - low) * inverse + ROUNDING).to_bits().wrapping_sub(ROUNDING.to_bits()) as i32;
        *code = rounded.clamp(0, 255) as u8;
        code_sum += i32::from(*code) - 128;
    }
    RowScale { mid: low + 128.0 * step, step, code_sum }
}
