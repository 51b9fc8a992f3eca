//! NEON, which every aarch64 processor has.

use std::arch::aarch64::*;

use super::isa::{Isa, LINE_BYTES};

/// The base set of aarch64.
pub(crate) struct Neon;

/// Four accumulators of four lanes over the bulk, the tail one by one.
macro_rules! neon_sum {
    ($a:ident, $b:ident, $n:ident, |$x:ident, $y:ident, $acc:ident| $step:expr, |$s:ident, $t:ident| $tail:expr) => {{
        let mut sums = [vdupq_n_f32(0.0); 4];
        let mut i = 0;
        while i + 16 <= $n {
            for (k, sum) in sums.iter_mut().enumerate() {
                let ($x, $y) = (vld1q_f32($a.add(i + 4 * k)), vld1q_f32($b.add(i + 4 * k)));
                let $acc = *sum;
                *sum = $step;
            }
            i += 16;
        }
        let mut total = vaddvq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3])));
        while i < $n {
            let ($s, $t) = (*$a.add(i), *$b.add(i));
            total += $tail;
            i += 1;
        }
        total
    }};
}

impl Isa for Neon {
    #[inline(always)]
    unsafe fn dot(a: *const f32, b: *const f32, n: usize) -> f32 {
        // SAFETY: the caller's conditions; no load goes past `n` values.
        unsafe { neon_sum!(a, b, n, |x, y, acc| vfmaq_f32(acc, x, y), |s, t| s * t) }
    }

    #[inline(always)]
    unsafe fn euclid(a: *const f32, b: *const f32, n: usize) -> f32 {
        // SAFETY: the caller's conditions; no load goes past `n` values.
        unsafe {
            neon_sum!(
                a,
                b,
                n,
                |x, y, acc| {
                    let d = vsubq_f32(x, y);
                    vfmaq_f32(acc, d, d)
                },
                |s, t| (s - t) * (s - t)
            )
        }
    }

    #[inline(always)]
    unsafe fn manhattan(a: *const f32, b: *const f32, n: usize) -> f32 {
        // SAFETY: the caller's conditions; no load goes past `n` values.
        unsafe { neon_sum!(a, b, n, |x, y, acc| vaddq_f32(acc, vabdq_f32(x, y)), |s, t| (s - t).abs()) }
    }

    #[inline(always)]
    unsafe fn codes4(rows: [*const u8; 4], query: *const i8, lines: usize) -> [i32; 4] {
        // SAFETY: the caller's conditions; no load goes past `lines` lines.
        unsafe {
            let mut sums = [vdupq_n_s32(0); 4];
            for part in 0..lines * LINE_BYTES / 8 {
                let q = vmovl_s8(vld1_s8(query.add(8 * part)));
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let c = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(row.add(8 * part))));
                    *sum = vmlal_s16(*sum, vget_low_s16(c), vget_low_s16(q));
                    *sum = vmlal_high_s16(*sum, c, q);
                }
            }
            [vaddvq_s32(sums[0]), vaddvq_s32(sums[1]), vaddvq_s32(sums[2]), vaddvq_s32(sums[3])]
        }
    }

    #[inline(always)]
    unsafe fn codes_pair(a: *const u8, b: *const u8, lines: usize) -> i32 {
        // SAFETY: the caller's conditions; no load goes past `lines` lines.
        unsafe {
            let offset = vdupq_n_s16(128);
            let mut sum = vdupq_n_s32(0);
            for part in 0..lines * LINE_BYTES / 8 {
                let x = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(a.add(8 * part))));
                let y = vsubq_s16(vreinterpretq_s16_u16(vmovl_u8(vld1_u8(b.add(8 * part)))), offset);
                sum = vmlal_s16(sum, vget_low_s16(x), vget_low_s16(y));
                sum = vmlal_high_s16(sum, x, y);
            }
            vaddvq_s32(sum)
        }
    }

    #[inline(always)]
    fn prefetch(p: *const u8) {
        // SAFETY: a prefetch reads nothing and may be given any address.
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{p}]", p = in(reg) p, options(nostack, preserves_flags, readonly))
        }
    }
}
