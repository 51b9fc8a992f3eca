//! AVX2 and AVX-512 with VNNI.
//!
//! Every function is `#[inline(always)]` into a caller that enables the instruction set (see [`super::isa`]).

use std::arch::x86_64::*;

use super::isa::{BLOCK_LINKS, Isa, LINE_BYTES, LONG_LINES, Levels, TABLE_ZERO};

/// AVX2 with FMA.
pub(crate) struct Avx2;

/// AVX-512 F, BW, DQ, VL and VNNI.
pub(crate) struct Avx512;

#[inline(always)]
fn fetch(p: *const u8) {
    // SAFETY: a prefetch reads nothing and may be given any address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
}

/// The sum of the lanes of each.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn added(sums: [__m256i; 4]) -> [i32; 4] {
    // SAFETY: passed on to the caller.
    unsafe {
        let low = _mm256_hadd_epi32(sums[0], sums[1]);
        let high = _mm256_hadd_epi32(sums[2], sums[3]);
        let all = _mm256_hadd_epi32(low, high);
        let all = _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
        std::mem::transmute::<__m128i, [i32; 4]>(all)
    }
}

/// The sum of all lanes, modulo 2^32.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn total(sums: __m256i) -> i32 {
    // SAFETY: passed on to the caller.
    unsafe {
        let all = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        std::mem::transmute::<__m128i, [i32; 4]>(all).into_iter().fold(0, i32::wrapping_add)
    }
}

/// [`added`] of 512 bits each.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn added_512([a, b, c, d]: [__m512i; 4]) -> [i32; 4] {
    // SAFETY: passed on to the caller.
    unsafe {
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        let all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        let half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
        let all = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
        std::mem::transmute::<__m128i, [i32; 4]>(all)
    }
}

/// Four accumulators of eight lanes over the bulk, the tail one by one.
macro_rules! avx2_sum {
    ($a:ident, $b:ident, $n:ident, |$x:ident, $y:ident, $acc:ident| $step:expr, |$s:ident, $t:ident| $tail:expr) => {{
        let mut sums = [_mm256_setzero_ps(); 4];
        let mut i = 0;
        while i + 32 <= $n {
            for (k, sum) in sums.iter_mut().enumerate() {
                let ($x, $y) = (_mm256_loadu_ps($a.add(i + 8 * k)), _mm256_loadu_ps($b.add(i + 8 * k)));
                let $acc = *sum;
                *sum = $step;
            }
            i += 32;
        }
        while i + 8 <= $n {
            let ($x, $y) = (_mm256_loadu_ps($a.add(i)), _mm256_loadu_ps($b.add(i)));
            let $acc = sums[0];
            sums[0] = $step;
            i += 8;
        }
        let all = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
        let half = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all));
        let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
        let mut total = _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)));
        while i < $n {
            let ($s, $t) = (*$a.add(i), *$b.add(i));
            total += $tail;
            i += 1;
        }
        total
    }};
}

/// Four accumulators of sixteen lanes; the tail by a masked load.
macro_rules! avx512_sum {
    ($a:ident, $b:ident, $n:ident, |$x:ident, $y:ident, $acc:ident| $step:expr) => {{
        let mut sums = [_mm512_setzero_ps(); 4];
        let mut i = 0;
        while i + 64 <= $n {
            for (k, sum) in sums.iter_mut().enumerate() {
                let ($x, $y) = (_mm512_loadu_ps($a.add(i + 16 * k)), _mm512_loadu_ps($b.add(i + 16 * k)));
                let $acc = *sum;
                *sum = $step;
            }
            i += 64;
        }
        while i < $n {
            let mask = if $n - i >= 16 { !0u16 } else { (1u16 << ($n - i)) - 1 };
            let ($x, $y) = (_mm512_maskz_loadu_ps(mask, $a.add(i)), _mm512_maskz_loadu_ps(mask, $b.add(i)));
            let $acc = sums[0];
            sums[0] = $step;
            i += 16;
        }
        _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])))
    }};
}

impl Isa for Avx2 {
    const QUERY_CODE_MAX: i32 = 63;

    #[inline(always)]
    unsafe fn dot(a: *const f32, b: *const f32, n: usize) -> f32 {
        // SAFETY: the caller's conditions; no load goes past `n` values.
        unsafe { avx2_sum!(a, b, n, |x, y, acc| _mm256_fmadd_ps(x, y, acc), |s, t| s * t) }
    }

    #[inline(always)]
    unsafe fn euclid(a: *const f32, b: *const f32, n: usize) -> f32 {
        // SAFETY: the caller's conditions; no load goes past `n` values.
        unsafe {
            avx2_sum!(
                a,
                b,
                n,
                |x, y, acc| {
                    let d = _mm256_sub_ps(x, y);
                    _mm256_fmadd_ps(d, d, acc)
                },
                |s, t| (s - t) * (s - t)
            )
        }
    }

    #[inline(always)]
    unsafe fn manhattan(a: *const f32, b: *const f32, n: usize) -> f32 {
        // SAFETY: the caller's conditions; no load goes past `n` values.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            avx2_sum!(
                a,
                b,
                n,
                |x, y, acc| _mm256_add_ps(acc, _mm256_andnot_ps(sign, _mm256_sub_ps(x, y))),
                |s, t| (s - t).abs()
            )
        }
    }

    #[inline(always)]
    unsafe fn codes4(rows: [*const u8; 4], query: *const i8, lines: usize) -> [i32; 4] {
        // SAFETY: the caller's conditions; no load goes past `lines` lines.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            let mut sums = [_mm256_setzero_si256(); 4];
            if lines < LONG_LINES {
                // Codes of full range would saturate `maddubs`: both sides are widened to 16 bits.
                for part in 0..lines * LINE_BYTES / 16 {
                    let q = _mm256_cvtepi8_epi16(_mm_load_si128(query.add(16 * part).cast()));
                    for (sum, row) in sums.iter_mut().zip(rows) {
                        let c = _mm256_cvtepu8_epi16(_mm_load_si128(row.add(16 * part).cast()));
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(c, q));
                    }
                }
                return added(sums);
            }
            // Two products of a code and a query code, 2 × 255 × 63, fit into 16 bits: `maddubs` never saturates.
            for part in 0..lines * LINE_BYTES / 32 {
                let q = _mm256_load_si256(query.add(32 * part).cast());
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let c = _mm256_load_si256(row.add(32 * part).cast());
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(c, q), ones));
                }
            }
            added(sums)
        }
    }

    #[inline(always)]
    unsafe fn codes_pair(a: *const u8, b: *const u8, _: i32, lines: usize) -> i32 {
        // SAFETY: the caller's conditions; no load goes past `lines` lines.
        unsafe {
            let (flip, ones) = (_mm256_set1_epi8(-128), _mm256_set1_epi16(1));
            let mut sums = [_mm256_setzero_si256(); 2];
            for part in 0..lines * LINE_BYTES / 64 {
                for (k, sum) in sums.iter_mut().enumerate() {
                    let at = 64 * part + 32 * k;
                    let x = _mm256_xor_si256(_mm256_load_si256(a.add(at).cast()), flip);
                    let y = _mm256_xor_si256(_mm256_load_si256(b.add(at).cast()), flip);
                    // |x| × (y with the sign of x): both within ±127, so that two products fit into 16 bits.
                    let products = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(y, x));
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
                }
            }
            total(_mm256_add_epi32(sums[0], sums[1]))
        }
    }

    #[inline(always)]
    unsafe fn nibbles4(rows: [*const u8; 4], query: *const i8, lines: usize) -> [i32; 4] {
        // SAFETY: the caller's conditions; no load goes past `lines` lines, or twice as many of the query.
        unsafe {
            let (low, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
            let mut sums = [_mm256_setzero_si256(); 4];
            for part in 0..lines * LINE_BYTES / 32 {
                let (line, within) = (part / 2, 32 * (part % 2));
                let first = query.add(2 * line * LINE_BYTES + within);
                let (p, q) =
                    (_mm256_load_si256(first.cast()), _mm256_load_si256(first.add(LINE_BYTES).cast()));
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let codes = _mm256_load_si256(row.add(32 * part).cast());
                    let c = _mm256_and_si256(codes, low);
                    let d = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), low);
                    // Four products of at most 15 × 127 fit into 16 bits.
                    let products = _mm256_add_epi16(_mm256_maddubs_epi16(c, p), _mm256_maddubs_epi16(d, q));
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
                }
            }
            added(sums)
        }
    }

    #[inline(always)]
    unsafe fn nibbles_pair(a: *const u8, b: *const u8, lines: usize) -> i32 {
        // SAFETY: the caller's conditions; no load goes past `lines` lines.
        unsafe {
            let (low, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
            let mut sum = _mm256_setzero_si256();
            for part in 0..lines * LINE_BYTES / 32 {
                let (a, b) =
                    (_mm256_load_si256(a.add(32 * part).cast()), _mm256_load_si256(b.add(32 * part).cast()));
                let near = _mm256_maddubs_epi16(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
                let (a, b) = (_mm256_srli_epi16::<4>(a), _mm256_srli_epi16::<4>(b));
                let far = _mm256_maddubs_epi16(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
                // Four products of at most 15 × 15 fit into 16 bits.
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_add_epi16(near, far), ones));
            }
            total(sum)
        }
    }

    #[inline(always)]
    unsafe fn sum_groups(codes: *const u8, tables: *const u8, groups: usize) -> [i16; BLOCK_LINKS] {
        // SAFETY: the caller's conditions; two groups are 32 bytes of both, and four entries of tables fit into a byte.
        unsafe {
            let low = _mm256_set1_epi8(15);
            // Of each half all bytes as 16-bit numbers, and the odd bytes alone.
            let (mut all, mut odd) = ([_mm256_setzero_si256(); 2], [_mm256_setzero_si256(); 2]);
            for part in 0..groups / 8 {
                let mut sums = [_mm256_setzero_si256(); 2];
                for i in 0..4 {
                    let at = 32 * (4 * part + i);
                    let c = _mm256_load_si256(codes.add(at).cast());
                    let table = _mm256_load_si256(tables.add(at).cast());
                    let halves = [_mm256_and_si256(c, low), _mm256_and_si256(_mm256_srli_epi16::<4>(c), low)];
                    for k in 0..2 {
                        sums[k] = _mm256_add_epi8(sums[k], _mm256_shuffle_epi8(table, halves[k]));
                    }
                }
                for k in 0..2 {
                    all[k] = _mm256_add_epi16(all[k], sums[k]);
                    odd[k] = _mm256_add_epi16(odd[k], _mm256_srli_epi16::<8>(sums[k]));
                }
            }
            let offset = _mm_set1_epi16((groups as u16).wrapping_mul(TABLE_ZERO.into()) as i16);
            let mut out = [0i16; BLOCK_LINKS];
            for k in 0..2 {
                let even = _mm256_sub_epi16(all[k], _mm256_slli_epi16::<8>(odd[k]));
                let fold = |v| _mm_add_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
                let (even, odd) = (_mm_sub_epi16(fold(even), offset), _mm_sub_epi16(fold(odd[k]), offset));
                let at: *mut i16 = out.as_mut_ptr().add(16 * k);
                _mm_storeu_si128(at.cast(), _mm_unpacklo_epi16(even, odd));
                _mm_storeu_si128(at.add(8).cast(), _mm_unpackhi_epi16(even, odd));
            }
            out
        }
    }

    #[inline(always)]
    unsafe fn above(values: &[f32; BLOCK_LINKS], least: f32) -> u32 {
        // SAFETY: 32 values are four registers.
        unsafe {
            let least = _mm256_set1_ps(least);
            (0..4).fold(0, |bits, i| {
                let v = _mm256_loadu_ps(values.as_ptr().add(8 * i));
                bits | (_mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(v, least)) as u32) << (8 * i)
            })
        }
    }

    #[inline(always)]
    unsafe fn not_below(values: *const f32, runs: usize, least: f32) -> usize {
        // SAFETY: the caller's conditions; a run is one register.
        unsafe {
            let least = _mm256_set1_ps(least);
            let mut count = 0;
            for run in 0..runs {
                let v = _mm256_loadu_ps(values.add(8 * run));
                count += (_mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(v, least)) as u32).count_ones();
            }
            count as usize
        }
    }

    #[inline(always)]
    fn prefetch(p: *const u8) {
        fetch(p);
    }
}

impl Isa for Avx512 {
    #[inline(always)]
    unsafe fn dot(a: *const f32, b: *const f32, n: usize) -> f32 {
        // SAFETY: the caller's conditions; the last load is masked to `n` values.
        unsafe { avx512_sum!(a, b, n, |x, y, acc| _mm512_fmadd_ps(x, y, acc)) }
    }

    #[inline(always)]
    unsafe fn euclid(a: *const f32, b: *const f32, n: usize) -> f32 {
        // SAFETY: the caller's conditions; the last load is masked to `n` values.
        unsafe {
            avx512_sum!(a, b, n, |x, y, acc| {
                let d = _mm512_sub_ps(x, y);
                _mm512_fmadd_ps(d, d, acc)
            })
        }
    }

    #[inline(always)]
    unsafe fn manhattan(a: *const f32, b: *const f32, n: usize) -> f32 {
        // SAFETY: the caller's conditions; the last load is masked to `n` values.
        unsafe { avx512_sum!(a, b, n, |x, y, acc| _mm512_add_ps(acc, _mm512_abs_ps(_mm512_sub_ps(x, y)))) }
    }

    #[inline(always)]
    unsafe fn codes4(rows: [*const u8; 4], query: *const i8, lines: usize) -> [i32; 4] {
        // SAFETY: the caller's conditions; no load goes past `lines` lines.
        unsafe {
            let mut sums = [_mm512_setzero_si512(); 4];
            for line in 0..lines {
                let at = line * LINE_BYTES;
                let q = _mm512_load_si512(query.add(at).cast());
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_load_si512(row.add(at).cast()), q);
                }
            }
            added_512(sums)
        }
    }

    #[inline(always)]
    unsafe fn codes_pair(a: *const u8, b: *const u8, sum_b: i32, lines: usize) -> i32 {
        // SAFETY: the caller's conditions; no load goes past `lines` lines.
        unsafe {
            let flip = _mm512_set1_epi8(-128);
            let mut sum = _mm512_setzero_si512();
            for line in 0..lines {
                let at = line * LINE_BYTES;
                let x = _mm512_load_si512(a.add(at).cast());
                let y = _mm512_xor_si512(_mm512_load_si512(b.add(at).cast()), flip);
                sum = _mm512_dpbusd_epi32(sum, x, y);
            }
            _mm512_reduce_add_epi32(sum).wrapping_sub(sum_b.wrapping_mul(128))
        }
    }

    #[inline(always)]
    unsafe fn nibbles4(rows: [*const u8; 4], query: *const i8, lines: usize) -> [i32; 4] {
        // SAFETY: the caller's conditions; no load goes past `lines` lines, or twice as many of the query.
        unsafe {
            let low = _mm512_set1_epi8(15);
            let mut sums = [_mm512_setzero_si512(); 4];
            for line in 0..lines {
                let at = line * LINE_BYTES;
                let p = _mm512_load_si512(query.add(2 * at).cast());
                let q = _mm512_load_si512(query.add(2 * at + LINE_BYTES).cast());
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let codes = _mm512_load_si512(row.add(at).cast());
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_and_si512(codes, low), p);
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_and_si512(_mm512_srli_epi16::<4>(codes), low), q);
                }
            }
            added_512(sums)
        }
    }

    #[inline(always)]
    unsafe fn nibbles_pair(a: *const u8, b: *const u8, lines: usize) -> i32 {
        // SAFETY: the caller's conditions; no load goes past `lines` lines.
        unsafe {
            let low = _mm512_set1_epi8(15);
            let mut sums = [_mm512_setzero_si512(); 2];
            for line in 0..lines {
                let at = line * LINE_BYTES;
                let (a, b) = (_mm512_load_si512(a.add(at).cast()), _mm512_load_si512(b.add(at).cast()));
                sums[0] = _mm512_dpbusd_epi32(sums[0], _mm512_and_si512(a, low), _mm512_and_si512(b, low));
                let (a, b) = (_mm512_srli_epi16::<4>(a), _mm512_srli_epi16::<4>(b));
                sums[1] = _mm512_dpbusd_epi32(sums[1], _mm512_and_si512(a, low), _mm512_and_si512(b, low));
            }
            _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]))
        }
    }

    #[inline(always)]
    unsafe fn sum_groups(codes: *const u8, tables: *const u8, groups: usize) -> [i16; BLOCK_LINKS] {
        // SAFETY: the caller's conditions; four groups are 64 bytes of both, and four entries of tables fit into a byte.
        unsafe {
            let low = _mm512_set1_epi8(15);
            // Of each half all bytes as 16-bit numbers, and the odd bytes alone.
            let (mut all, mut odd) = ([_mm512_setzero_si512(); 2], [_mm512_setzero_si512(); 2]);
            for part in 0..groups / 16 {
                let mut sums = [_mm512_setzero_si512(); 2];
                for i in 0..4 {
                    let at = 64 * (4 * part + i);
                    let c = _mm512_load_si512(codes.add(at).cast());
                    let table = _mm512_load_si512(tables.add(at).cast());
                    let halves = [_mm512_and_si512(c, low), _mm512_and_si512(_mm512_srli_epi16::<4>(c), low)];
                    for k in 0..2 {
                        sums[k] = _mm512_add_epi8(sums[k], _mm512_shuffle_epi8(table, halves[k]));
                    }
                }
                for k in 0..2 {
                    all[k] = _mm512_add_epi16(all[k], sums[k]);
                    odd[k] = _mm512_add_epi16(odd[k], _mm512_srli_epi16::<8>(sums[k]));
                }
            }
            let offset = _mm_set1_epi16((groups as u16).wrapping_mul(TABLE_ZERO.into()) as i16);
            let mut out = [0i16; BLOCK_LINKS];
            for k in 0..2 {
                let even = _mm512_sub_epi16(all[k], _mm512_slli_epi16::<8>(odd[k]));
                let fold = |v: __m512i| {
                    let v = _mm256_add_epi16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64::<1>(v));
                    _mm_add_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v))
                };
                let (even, odd) = (_mm_sub_epi16(fold(even), offset), _mm_sub_epi16(fold(odd[k]), offset));
                let at: *mut i16 = out.as_mut_ptr().add(16 * k);
                _mm_storeu_si128(at.cast(), _mm_unpacklo_epi16(even, odd));
                _mm_storeu_si128(at.add(8).cast(), _mm_unpackhi_epi16(even, odd));
            }
            out
        }
    }

    #[inline(always)]
    unsafe fn sum_set(bits: *const u64, levels: Levels, words: usize) -> u32 {
        // SAFETY: the caller's conditions; 64 levels are one register.
        unsafe {
            let (mut sums, ones) = (_mm512_setzero_si512(), _mm512_set1_epi8(1));
            for word in 0..words {
                let set = _mm512_maskz_loadu_epi8(*bits.add(word), levels.bytes.add(64 * word).cast());
                sums = _mm512_dpbusd_epi32(sums, set, ones);
            }
            _mm512_reduce_add_epi32(sums) as u32
        }
    }

    #[inline(always)]
    unsafe fn above(values: &[f32; BLOCK_LINKS], least: f32) -> u32 {
        // SAFETY: 32 values are two registers.
        unsafe {
            let (low, high) = (_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(values.as_ptr().add(16)));
            let least = _mm512_set1_ps(least);
            let above = |v| u32::from(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(v, least));
            above(low) | above(high) << 16
        }
    }

    #[inline(always)]
    unsafe fn not_below(values: *const f32, runs: usize, least: f32) -> usize {
        // SAFETY: passed on to the caller; a run is one register of AVX2, which every processor with this set has.
        unsafe { Avx2::not_below(values, runs, least) }
    }

    #[inline(always)]
    unsafe fn hadamard16(values: &mut [f32; 16]) {
        // SAFETY: 16 values are one register. Each step adds to what is so many places away, or takes off: the products are exact.
        unsafe {
            let signs = |negative| {
                let one = _mm512_set1_ps(1.0);
                _mm512_mask_sub_ps(one, negative, _mm512_setzero_ps(), one)
            };
            let v = _mm512_loadu_ps(values.as_ptr());
            let v = _mm512_fmadd_ps(v, signs(0xaaaa), _mm512_permute_ps::<0b10_11_00_01>(v));
            let v = _mm512_fmadd_ps(v, signs(0xcccc), _mm512_permute_ps::<0b01_00_11_10>(v));
            let v = _mm512_fmadd_ps(v, signs(0xf0f0), _mm512_shuffle_f32x4::<0b10_11_00_01>(v, v));
            let v = _mm512_fmadd_ps(v, signs(0xff00), _mm512_shuffle_f32x4::<0b01_00_11_10>(v, v));
            _mm512_storeu_ps(values.as_mut_ptr(), v);
        }
    }

    #[inline(always)]
    fn prefetch(p: *const u8) {
        fetch(p);
    }
}
