//! NEON, which every aarch64 processor has.

use std::arch::aarch64::*;

use super::isa::{BLOCK_LINKS, Isa, LINE_BYTES, TABLE_ZERO};

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
    unsafe fn codes_pair(a: *const u8, b: *const u8, _: i32, lines: usize) -> i32 {
        // SAFETY: the caller's conditions; no load goes past `lines` lines.
        unsafe {
            let flip = vdupq_n_u8(128);
            let mut sum = vdupq_n_s32(0);
            for part in 0..lines * LINE_BYTES / 16 {
                let x = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(a.add(16 * part)), flip));
                let y = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(b.add(16 * part)), flip));
                sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
                sum = vpadalq_s16(sum, vmull_high_s8(x, y));
            }
            vaddvq_s32(sum)
        }
    }

    #[inline(always)]
    unsafe fn nibbles4(rows: [*const u8; 4], query: *const i8, lines: usize) -> [i32; 4] {
        // SAFETY: the caller's conditions; no load goes past `lines` lines, or twice as many of the query.
        unsafe {
            let low = vdupq_n_u8(15);
            let mut sums = [vdupq_n_s32(0); 4];
            for part in 0..lines * LINE_BYTES / 16 {
                let (line, within) = (part / 4, 16 * (part % 4));
                let first = query.add(2 * line * LINE_BYTES + within);
                let (p, q) = (vld1q_s8(first), vld1q_s8(first.add(LINE_BYTES)));
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let codes = vld1q_u8(row.add(16 * part));
                    let c = vreinterpretq_s8_u8(vandq_u8(codes, low));
                    let d = vreinterpretq_s8_u8(vshrq_n_u8::<4>(codes));
                    *sum = vpadalq_s16(*sum, vmull_s8(vget_low_s8(c), vget_low_s8(p)));
                    *sum = vpadalq_s16(*sum, vmull_high_s8(c, p));
                    *sum = vpadalq_s16(*sum, vmull_s8(vget_low_s8(d), vget_low_s8(q)));
                    *sum = vpadalq_s16(*sum, vmull_high_s8(d, q));
                }
            }
            [vaddvq_s32(sums[0]), vaddvq_s32(sums[1]), vaddvq_s32(sums[2]), vaddvq_s32(sums[3])]
        }
    }

    #[inline(always)]
    unsafe fn nibbles_pair(a: *const u8, b: *const u8, lines: usize) -> i32 {
        // SAFETY: the caller's conditions; no load goes past `lines` lines.
        unsafe {
            let low = vdupq_n_u8(15);
            let mut sum = vdupq_n_u32(0);
            for part in 0..lines * LINE_BYTES / 16 {
                let (a, b) = (vld1q_u8(a.add(16 * part)), vld1q_u8(b.add(16 * part)));
                let (x, y) = (vandq_u8(a, low), vandq_u8(b, low));
                // Two products of at most 15 × 15 fit into 16 bits.
                let near =
                    vmlal_u8(vmull_u8(vget_low_u8(x), vget_low_u8(y)), vget_high_u8(x), vget_high_u8(y));
                let (x, y) = (vshrq_n_u8::<4>(a), vshrq_n_u8::<4>(b));
                let far =
                    vmlal_u8(vmull_u8(vget_low_u8(x), vget_low_u8(y)), vget_high_u8(x), vget_high_u8(y));
                sum = vpadalq_u16(sum, vaddq_u16(near, far));
            }
            vaddvq_u32(sum) as i32
        }
    }

    #[inline(always)]
    unsafe fn sum_groups(codes: *const u8, tables: *const u8, groups: usize) -> [i16; BLOCK_LINKS] {
        // SAFETY: the caller's conditions; every group has 16 bytes in both.
        unsafe {
            let low = vdupq_n_u8(15);
            let mut sums = [vdupq_n_u16(0); 4];
            for group in 0..groups {
                let codes = vld1q_u8(codes.add(16 * group));
                let table = vld1q_u8(tables.add(16 * group));
                let near = vqtbl1q_u8(table, vandq_u8(codes, low));
                let far = vqtbl1q_u8(table, vshrq_n_u8::<4>(codes));
                sums[0] = vaddw_u8(sums[0], vget_low_u8(near));
                sums[1] = vaddw_high_u8(sums[1], near);
                sums[2] = vaddw_u8(sums[2], vget_low_u8(far));
                sums[3] = vaddw_high_u8(sums[3], far);
            }
            let offset = vdupq_n_u16((groups as u16).wrapping_mul(TABLE_ZERO.into()));
            let mut out = [0i16; BLOCK_LINKS];
            for (i, sum) in sums.into_iter().enumerate() {
                vst1q_s16(out.as_mut_ptr().add(8 * i), vreinterpretq_s16_u16(vsubq_u16(sum, offset)));
            }
            out
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
