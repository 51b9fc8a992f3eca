//! The kernels in plain Rust: for processors without a better set, and the oracle of the tests.

use super::isa::{BLOCK_LINKS, Isa, LINE_BYTES, TABLE_ZERO};

/// No instruction set beyond the target's base.
pub(crate) struct Portable;

/// Sums kept apart, so that the compiler may use vector registers of the base set.
const LANES: usize = 8;

#[inline(always)]
unsafe fn sum(a: *const f32, b: *const f32, n: usize, f: impl Fn(f32, f32) -> f32) -> f32 {
    // SAFETY: the caller of each kernel says that both are good for `n` values.
    let (a, b) = unsafe { (std::slice::from_raw_parts(a, n), std::slice::from_raw_parts(b, n)) };
    let mut lanes = [0f32; LANES];
    let (a_parts, b_parts) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_parts.remainder().iter().zip(b_parts.remainder()).map(|(&x, &y)| f(x, y)).sum();
    for (x, y) in a_parts.zip(b_parts) {
        for (lane, (&x, &y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane += f(x, y);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

impl Isa for Portable {
    #[inline(always)]
    unsafe fn dot(a: *const f32, b: *const f32, n: usize) -> f32 {
        // SAFETY: passed on to the caller.
        unsafe { sum(a, b, n, |x, y| x * y) }
    }

    #[inline(always)]
    unsafe fn euclid(a: *const f32, b: *const f32, n: usize) -> f32 {
        // SAFETY: passed on to the caller.
        unsafe { sum(a, b, n, |x, y| (x - y) * (x - y)) }
    }

    #[inline(always)]
    unsafe fn manhattan(a: *const f32, b: *const f32, n: usize) -> f32 {
        // SAFETY: passed on to the caller.
        unsafe { sum(a, b, n, |x, y| (x - y).abs()) }
    }

    #[inline(always)]
    unsafe fn codes4(rows: [*const u8; 4], query: *const i8, lines: usize) -> [i32; 4] {
        let n = lines * LINE_BYTES;
        let mut sums = [0i32; 4];
        // SAFETY: the caller says that all are good for `n` bytes.
        let query = unsafe { std::slice::from_raw_parts(query, n) };
        for (sum, row) in sums.iter_mut().zip(rows) {
            // SAFETY: as above.
            let row = unsafe { std::slice::from_raw_parts(row, n) };
            for (&c, &q) in row.iter().zip(query) {
                *sum = sum.wrapping_add(i32::from(c) * i32::from(q));
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn codes_pair(a: *const u8, b: *const u8, _: i32, lines: usize) -> i32 {
        let n = lines * LINE_BYTES;
        // SAFETY: the caller says that both are good for `n` bytes.
        let (a, b) = unsafe { (std::slice::from_raw_parts(a, n), std::slice::from_raw_parts(b, n)) };
        let centred = |code: u8| i32::from(code) - 128;
        a.iter().zip(b).fold(0i32, |sum, (&a, &b)| sum.wrapping_add(centred(a) * centred(b)))
    }

    #[inline(always)]
    unsafe fn nibbles4(rows: [*const u8; 4], query: *const i8, lines: usize) -> [i32; 4] {
        // SAFETY: the caller says that it is good for so many bytes.
        let query = unsafe { std::slice::from_raw_parts(query, 2 * lines * LINE_BYTES) };
        rows.map(|row| {
            // SAFETY: as above.
            let row = unsafe { std::slice::from_raw_parts(row, lines * LINE_BYTES) };
            let mut sum = 0i32;
            for (row, query) in row.chunks_exact(LINE_BYTES).zip(query.chunks_exact(2 * LINE_BYTES)) {
                let (first, second) = query.split_at(LINE_BYTES);
                for i in 0..LINE_BYTES {
                    let products = i32::from(row[i] & 15) * i32::from(first[i])
                        + i32::from(row[i] >> 4) * i32::from(second[i]);
                    sum = sum.wrapping_add(products);
                }
            }
            sum
        })
    }

    #[inline(always)]
    unsafe fn nibbles_pair(a: *const u8, b: *const u8, lines: usize) -> i32 {
        let n = lines * LINE_BYTES;
        // SAFETY: the caller says that both are good for `n` bytes.
        let (a, b) = unsafe { (std::slice::from_raw_parts(a, n), std::slice::from_raw_parts(b, n)) };
        let product = |(&a, &b): (&u8, &u8)| {
            i32::from(a & 15) * i32::from(b & 15) + i32::from(a >> 4) * i32::from(b >> 4)
        };
        a.iter().zip(b).map(product).sum()
    }

    #[inline(always)]
    unsafe fn sum_groups(codes: *const u8, tables: *const u8, groups: usize) -> [i16; BLOCK_LINKS] {
        // SAFETY: the caller says that both are good for `groups × 16` bytes.
        let (codes, tables) = unsafe {
            (std::slice::from_raw_parts(codes, groups * 16), std::slice::from_raw_parts(tables, groups * 16))
        };
        let mut sums = [0i16; BLOCK_LINKS];
        for (codes, table) in codes.chunks_exact(16).zip(tables.chunks_exact(16)) {
            for (i, code) in codes.iter().enumerate() {
                let value = |code: u8| i16::from(table[usize::from(code)]) - i16::from(TABLE_ZERO);
                sums[i] = sums[i].wrapping_add(value(code & 15));
                sums[i + 16] = sums[i + 16].wrapping_add(value(code >> 4));
            }
        }
        sums
    }

    #[inline(always)]
    fn prefetch(_: *const u8) {}
}
