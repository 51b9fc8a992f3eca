//! Instruction sets: what each must offer, and the macro that compiles one generic function for each of them.
//!
//! A generic function over [`Isa`] and everything it calls is `#[inline(always)]`; `per_isa!` wraps it in one
//! `#[target_feature]` function for each set, into which all of it is inlined. So a whole search loop is compiled
//! for AVX-512, not only the kernel at its bottom, and no call stands between the loop and the kernel.

use std::sync::atomic::{AtomicU8, Ordering};

/// Codes are scored in lines of this many bytes; rows are padded to it.
pub(crate) const LINE_BYTES: usize = 64;

/// Links whose one-bit codes are scored together.
pub(crate) const BLOCK_LINKS: usize = 32;

/// What stands for zero in the tables of [`Isa::sum_groups`], whose entries are below twice of it.
pub(crate) const TABLE_ZERO: u8 = 32;

/// From so many lines on the roundings of a query's components even out, and its codes may be coarser.
pub(crate) const LONG_LINES: usize = 4;

/// Bits of the numbers of [`Levels`].
pub(crate) const PLANES: usize = 4;

/// Numbers of [`PLANES`] bits, in two forms: one a byte, and bit by bit, 64 of them a word, all words of the lowest bits first.
#[derive(Clone, Copy)]
pub(crate) struct Levels {
    pub(crate) bytes: *const u8,
    pub(crate) planes: *const u64,
}

/// The primitives of an instruction set. `f32` pointers need no alignment.
pub(crate) trait Isa {
    /// Largest code of a quantized query for rows of [`LONG_LINES`] and more; [`Isa::codes4`] is exact for queries within
    /// ± this, and for shorter rows within ± 127.
    const QUERY_CODE_MAX: i32 = 127;

    /// Sum of products.
    ///
    /// # Safety
    /// The processor has the instruction set; both pointers are good for `n` values.
    unsafe fn dot(a: *const f32, b: *const f32, n: usize) -> f32;

    /// Sum of squared differences.
    ///
    /// # Safety
    /// As for [`Isa::dot`].
    unsafe fn euclid(a: *const f32, b: *const f32, n: usize) -> f32;

    /// Sum of absolute differences.
    ///
    /// # Safety
    /// As for [`Isa::dot`].
    unsafe fn manhattan(a: *const f32, b: *const f32, n: usize) -> f32;

    /// Sums of products of one `i8` query with four `u8` rows, modulo 2^32.
    ///
    /// # Safety
    /// As for [`Isa::dot`], each pointer being good for `lines × LINE_BYTES` bytes and aligned to
    /// a line.
    unsafe fn codes4(rows: [*const u8; 4], query: *const i8, lines: usize) -> [i32; 4];

    /// Sums of products of one `i8` query with four rows of four-bit codes, exact for queries within ± 127: `lines` lines
    /// of a row, in the layout of a half of [`crate::quantization::halves`], for twice as many of the query.
    ///
    /// # Safety
    /// As for [`Isa::codes4`], the query being good for twice as many bytes.
    unsafe fn nibbles4(rows: [*const u8; 4], query: *const i8, lines: usize) -> [i32; 4];

    /// Sum of products of two rows of four-bit codes, each of `lines` lines.
    ///
    /// # Safety
    /// As for [`Isa::codes4`].
    unsafe fn nibbles_pair(a: *const u8, b: *const u8, lines: usize) -> i32;

    /// Sum of `(a - 128) × (b - 128)` for codes from 1 to 255, modulo 2^32; `sum_b` is the sum of `b - 128`.
    ///
    /// # Safety
    /// As for [`Isa::codes4`].
    unsafe fn codes_pair(a: *const u8, b: *const u8, sum_b: i32, lines: usize) -> i32;

    /// For each of 32 links the sum of what its four-bit codes select from the tables of `groups` groups, less
    /// [`TABLE_ZERO`] for each, modulo 2^16. Each group has 16 bytes in both: of the codes byte `i` holds link `i` in its low half
    /// and link `i + 16` in its high half (fast scan, André, Kermarrec, Le Scouarnec 2015).
    ///
    /// # Safety
    /// As for [`Isa::dot`], both pointers being good for `groups × 16` bytes and aligned to a line; `groups`
    /// is a multiple of 16.
    unsafe fn sum_groups(codes: *const u8, tables: *const u8, groups: usize) -> [i16; BLOCK_LINKS];

    /// Sum of the levels whose bit is set in `words` words.
    ///
    /// # Safety
    /// As for [`Isa::dot`], `bits` being good for `words` words and `levels` for 64 numbers a word.
    #[inline(always)]
    unsafe fn sum_set(bits: *const u64, levels: Levels, words: usize) -> u32 {
        let mut counts = [0u32; PLANES];
        for word in 0..words {
            // SAFETY: the caller's conditions.
            let bits = unsafe { *bits.add(word) };
            for (plane, count) in counts.iter_mut().enumerate() {
                // SAFETY: the caller's conditions.
                let plane = unsafe { *levels.planes.add(plane * words + word) };
                *count += (bits & plane).count_ones();
            }
        }
        counts.iter().rev().fold(0, |sum, count| 2 * sum + count)
    }

    /// A bit for each value that is above `least`.
    ///
    /// # Safety
    /// The processor has the instruction set.
    #[inline(always)]
    unsafe fn above(values: &[f32; BLOCK_LINKS], least: f32) -> u32 {
        values.iter().rev().fold(0, |bits, &v| bits << 1 | u32::from(v > least))
    }

    /// How many of `runs` × 8 values are not below `least`.
    ///
    /// # Safety
    /// As for [`Isa::dot`], `values` being good for `runs × 8` values.
    #[inline(always)]
    unsafe fn not_below(values: *const f32, runs: usize, least: f32) -> usize {
        // SAFETY: the caller says that so many values are there.
        let values = unsafe { std::slice::from_raw_parts(values, runs * 8) };
        values.iter().map(|&v| usize::from(v >= least)).sum()
    }

    /// The Walsh-Hadamard transform of 16 values: value `i` becomes the sum of all, each value `j` taken off where an odd
    /// number of bits is set in both `i` and `j`.
    ///
    /// # Safety
    /// The processor has the instruction set.
    #[inline(always)]
    unsafe fn hadamard16(values: &mut [f32; 16]) {
        for v in values.as_chunks_mut::<8>().0 {
            let a = [
                v[0] + v[1],
                v[0] - v[1],
                v[2] + v[3],
                v[2] - v[3],
                v[4] + v[5],
                v[4] - v[5],
                v[6] + v[7],
                v[6] - v[7],
            ];
            let b = [
                a[0] + a[2],
                a[1] + a[3],
                a[0] - a[2],
                a[1] - a[3],
                a[4] + a[6],
                a[5] + a[7],
                a[4] - a[6],
                a[5] - a[7],
            ];
            for i in 0..4 {
                (v[i], v[i + 4]) = (b[i] + b[i + 4], b[i] - b[i + 4]);
            }
        }
        let (low, high) = values.split_at_mut(8);
        low.iter_mut().zip(high).for_each(|(a, b)| (*a, *b) = (*a + *b, *a - *b));
    }

    /// Asks for the cache line at `p`, which may be any address.
    fn prefetch(p: *const u8);
}

/// The instruction sets that functions are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum IsaKind {
    Portable = 1,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

pub(crate) static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The best set that this processor has.
#[inline(always)]
pub(crate) fn isa() -> IsaKind {
    match CHOSEN.load(Ordering::Relaxed) {
        0 => choose(),
        #[cfg(target_arch = "x86_64")]
        n if n == IsaKind::Avx512 as u8 => IsaKind::Avx512,
        #[cfg(target_arch = "x86_64")]
        n if n == IsaKind::Avx2 as u8 => IsaKind::Avx2,
        #[cfg(target_arch = "aarch64")]
        n if n == IsaKind::Neon as u8 => IsaKind::Neon,
        _ => IsaKind::Portable,
    }
}

#[cold]
fn choose() -> IsaKind {
    let best = *available().last().expect("the portable set is always there");
    CHOSEN.store(best as u8, Ordering::Relaxed);
    best
}

/// All sets that this processor has, the best last.
pub(crate) fn available() -> Vec<IsaKind> {
    let mut all = vec![IsaKind::Portable];
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let avx2 =
            has!("avx2") && has!("fma") && has!("bmi1") && has!("bmi2") && has!("popcnt") && has!("lzcnt");
        if avx2 {
            all.push(IsaKind::Avx2);
        }
        if avx2
            && has!("avx512f")
            && has!("avx512bw")
            && has!("avx512dq")
            && has!("avx512vl")
            && has!("avx512vnni")
        {
            all.push(IsaKind::Avx512);
        }
    }
    #[cfg(target_arch = "aarch64")]
    all.push(IsaKind::Neon);
    all
}

/// `per_isa! { unsafe fn name(args) -> Ret => generic; }` makes `name`, which calls `generic::<I>` compiled for the
/// processor it runs on. `name_on(kind, args)` calls a given one, for tests.
macro_rules! per_isa {
    (unsafe fn $name:ident ( $($arg:ident : $ty:ty),* $(,)? ) -> $ret:ty => $generic:ident;) => {
        /// # Safety
        /// As for the generic function, apart from the instruction set.
        #[inline]
        unsafe fn $name($($arg: $ty),*) -> $ret {
            use $crate::distance::isa::IsaKind;

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,bmi1,bmi2,popcnt,lzcnt")]
            unsafe fn avx512($($arg: $ty),*) -> $ret {
                // SAFETY: this function's own conditions; the instruction set is enabled here.
                unsafe { $generic::<$crate::distance::isa::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt,lzcnt")]
            unsafe fn avx2($($arg: $ty),*) -> $ret {
                // SAFETY: this function's own conditions; the instruction set is enabled here.
                unsafe { $generic::<$crate::distance::isa::Avx2>($($arg),*) }
            }

            match $crate::distance::isa::isa() {
                // SAFETY: `isa` says that the processor has the set.
                #[cfg(target_arch = "x86_64")]
                IsaKind::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: `isa` says that the processor has the set.
                #[cfg(target_arch = "x86_64")]
                IsaKind::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: NEON is part of the base set.
                #[cfg(target_arch = "aarch64")]
                IsaKind::Neon => unsafe { $generic::<$crate::distance::isa::Neon>($($arg),*) },
                // SAFETY: needs no instruction set.
                IsaKind::Portable => unsafe { $generic::<$crate::distance::portable::Portable>($($arg),*) },
            }
        }
    };
}

#[cfg(target_arch = "aarch64")]
pub(crate) use super::neon::Neon;
#[cfg(target_arch = "x86_64")]
pub(crate) use super::x86::{Avx2, Avx512};
pub(crate) use per_isa;
