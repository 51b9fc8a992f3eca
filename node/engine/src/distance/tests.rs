//! Every kernel against its portable twin.

use proptest::prelude::*;

use super::isa::{IsaKind, LINE_BYTES, available};
use super::portable::Portable;
use super::*;
use crate::quantization::{halves, lines::Lines};

/// All kernels of one set on the same input.
#[derive(Clone, Copy, Debug)]
struct Results {
    floats: [f32; 3],
    codes: [i32; 4],
    pair: i32,
    nibbles: [[i32; 4]; 2],
    nibbles_pair: i32,
    groups: [i16; isa::BLOCK_LINKS],
    set: u32,
    above: u32,
    not_below: usize,
    hadamard: [f32; 16],
}

/// The first 16 values, or zeros.
fn first16(values: &[f32]) -> [f32; 16] {
    std::array::from_fn(|i| values.get(i).copied().unwrap_or(0.0))
}

struct Input<'a> {
    a: &'a [f32],
    b: &'a [f32],
    rows: &'a [Vec<u8>; 4],
    query: &'a [i8],
}

/// The upper and the lower halves of codes, as far as lines come in twos.
fn halves_of(codes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let codes = &codes[..codes.len() / (2 * LINE_BYTES) * 2 * LINE_BYTES];
    let (mut upper, mut lower) = (vec![0; codes.len() / 2], vec![0; codes.len() / 2]);
    halves::split(codes, &mut upper, &mut lower);
    (upper, lower)
}

/// Numbers of four bits of whole lines, and their planes.
fn levels_of(bytes: &[u8]) -> (Vec<u8>, Vec<u64>) {
    let levels: Vec<u8> = bytes.iter().map(|b| b % 16).collect();
    let bit = |plane: usize, word: &[u8]| {
        word.iter().rev().fold(0, |bits, l| bits << 1 | u64::from(l >> plane & 1))
    };
    let planes = (0..isa::PLANES).flat_map(|plane| levels.chunks(64).map(move |word| bit(plane, word)));
    (levels.clone(), planes.collect())
}

#[inline(always)]
unsafe fn all<I: Isa>(input: &Input) -> Results {
    let (a, b, n) = (input.a.as_ptr(), input.b.as_ptr(), input.a.len());
    let aligned = |bytes: &[u8]| {
        let mut lines = Lines::default();
        lines.reset(bytes.len()).iter_mut().zip(bytes).for_each(|(to, from)| *to = *from as i8);
        lines
    };
    let kept = [0, 1, 2, 3].map(|i| aligned(&input.rows[i]));
    let query: Vec<u8> = input.query.iter().map(|&q| q as u8).collect();
    let query = aligned(&query);
    let rows = [0, 1, 2, 3].map(|i| kept[i].as_ptr());
    let pairs = input.query.len() / LINE_BYTES / 2;
    let halves = [0, 1, 2, 3].map(|i| halves_of(&input.rows[i]));
    let halves = halves.map(|(upper, lower)| [aligned(&upper), aligned(&lower)]);
    let half = |h: usize| [0, 1, 2, 3].map(|i: usize| halves[i][h].as_ptr());
    // Entries of tables are below twice of what stands for zero.
    let tables: Vec<u8> = input.rows[2].iter().map(|b| b % 64).collect();
    let tables = aligned(&tables);
    let lines = input.query.len() / LINE_BYTES;
    let (levels, planes) = levels_of(&input.rows[2]);
    let (levels, planes) = (aligned(&levels), planes.as_ptr());
    let mut hadamard = first16(input.a);
    // SAFETY: the lengths are those of the slices; the caller answers for the instruction set.
    unsafe {
        Results {
            floats: [I::dot(a, b, n), I::euclid(a, b, n), I::manhattan(a, b, n)],
            codes: I::codes4(rows, query.as_ptr().cast(), lines),
            pair: I::codes_pair(
                rows[0],
                rows[1],
                input.rows[1].iter().map(|&c| i32::from(c) - 128).sum(),
                lines,
            ),
            nibbles: [0, 1].map(|h| I::nibbles4(half(h), query.as_ptr().cast(), pairs)),
            nibbles_pair: I::nibbles_pair(half(0)[0], half(1)[1], pairs),
            set: I::sum_set(rows[0].cast(), isa::Levels { bytes: levels.as_ptr(), planes }, lines),
            above: I::above(&std::array::from_fn(|i| f32::from(input.query[i])), 3.0),
            not_below: I::not_below(a, n / 8, 1.5),
            groups: I::sum_groups(rows[0], tables.as_ptr(), lines / 4 * 16),
            hadamard: {
                I::hadamard16(&mut hadamard);
                hadamard
            },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn on_avx2(input: &Input) -> Results {
    // SAFETY: the set is enabled here.
    unsafe { all::<isa::Avx2>(input) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn on_avx512(input: &Input) -> Results {
    // SAFETY: the set is enabled here.
    unsafe { all::<isa::Avx512>(input) }
}

fn on(kind: IsaKind, input: &Input) -> Results {
    // SAFETY: `available` lists only sets that this processor has.
    unsafe {
        match kind {
            IsaKind::Portable => all::<Portable>(input),
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx2 => on_avx2(input),
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx512 => on_avx512(input),
            #[cfg(target_arch = "aarch64")]
            IsaKind::Neon => all::<isa::Neon>(input),
        }
    }
}

fn check(input: &Input) {
    let sum = |f: fn(f64, f64) -> f64| -> f64 {
        input.a.iter().zip(input.b).map(|(&x, &y)| f(x.into(), y.into())).sum()
    };
    let expected = [sum(|x, y| x * y), sum(|x, y| (x - y) * (x - y)), sum(|x, y| (x - y).abs())];
    let bound = sum(|x, y| x * x + y * y + x.abs() + y.abs()) * 1e-5 + 1e-6;
    let twin = on(IsaKind::Portable, input);
    let is_set = |i: usize| input.rows[0][i / 8] >> (i % 8) & 1 == 1;
    let levels = (0..input.query.len()).filter(|&i| is_set(i)).map(|i| u32::from(input.rows[2][i] % 16));
    assert_eq!(twin.set, levels.sum::<u32>());
    let values = first16(input.a);
    let signed =
        |i: u32, j: usize| if (i & j as u32).count_ones().is_multiple_of(2) { values[j] } else { -values[j] };
    for (i, &got) in (0..).zip(&twin.hadamard) {
        let expected: f32 = (0..16).map(|j| signed(i, j)).sum();
        assert!((got - expected).abs() <= 1e-3, "transform: {got} for {expected}");
    }
    for kind in available() {
        let got = on(kind, input);
        for (got, expected) in got.floats.iter().zip(expected) {
            assert!((f64::from(*got) - expected).abs() <= bound, "{kind:?}: {got} for {expected}");
        }
        assert_eq!((got.codes, got.pair, got.groups), (twin.codes, twin.pair, twin.groups), "{kind:?}");
        let others = |r: &Results| (r.above, r.not_below, r.set, r.hadamard);
        assert_eq!(others(&got), others(&twin), "{kind:?}");
        assert_eq!((got.nibbles, got.nibbles_pair), (twin.nibbles, twin.nibbles_pair), "{kind:?}");
        if (input.query.len() / LINE_BYTES).is_multiple_of(2) {
            let [upper, lower] = got.nibbles;
            assert_eq!(
                std::array::from_fn(|i| 16 * upper[i] + lower[i]),
                got.codes,
                "{kind:?}: halves of the codes"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_instruction_set_gives_what_the_portable_kernels_give(
        floats in prop::collection::vec((-10f32..10.0, -10f32..10.0), 1..300),
        lines in 1usize..9,
        bytes in prop::collection::vec(any::<u8>(), 5 * 8 * LINE_BYTES),
    ) {
        let (a, b): (Vec<f32>, Vec<f32>) = floats.into_iter().unzip();
        let mut parts = bytes.chunks_exact(8 * LINE_BYTES).map(|p| p[..lines * LINE_BYTES].to_vec());
        let query: Vec<i8> = parts.next().expect("five parts").into_iter().map(|q| if lines < isa::LONG_LINES { (q as i8).max(-127) } else { (q as i8 / 2).max(-63) }).collect();
        let codes = |part: Vec<u8>| part.into_iter().map(|code| code.max(1)).collect();
        let rows = [0; 4].map(|_| codes(parts.next().expect("five parts")));
        check(&Input { a: &a, b: &b, rows: &rows, query: &query });
    }
}

#[test]
fn codes_of_full_range_do_not_saturate() {
    for (code, q) in [(255, -63), (255, 63), (1, 63)] {
        let rows = [0; 4].map(|_| vec![code; 1024 * LINE_BYTES]);
        check(&Input { a: &[1.0], b: &[2.0], rows: &rows, query: &vec![q; 1024 * LINE_BYTES] });
    }
}

#[test]
fn normalize_leaves_unit_and_zero_vectors_alone() {
    let mut v = vec![3.0, 4.0];
    normalize(&mut v);
    assert_eq!(v, [0.6, 0.8]);
    let before = v.clone();
    normalize(&mut v);
    assert_eq!(v, before);
    let mut zero = vec![0.0, 1e-5];
    normalize(&mut zero);
    assert_eq!(zero, [0.0, 1e-5]);
}

#[test]
fn cosine_is_that_of_vectors_of_any_length() {
    let check = |a: [f32; 2], b: [f32; 2], expected: f32| {
        let got = Distance::CosineAsSent.similarity(&a, &b);
        assert!((got - expected).abs() < 1e-6, "{a:?} and {b:?}: {got}");
    };
    check([3.0, 4.0], [6.0, 8.0], 1.0);
    check([2.0, 0.0], [3.0, 3.0], 0.5f32.sqrt());
    check([255.0, 0.0], [0.0, 1.0], 0.0);
    check([0.0, 0.0], [1.0, 0.0], 0.0);
    check([0.0, 0.0], [0.0, 0.0], 0.0);
}

#[test]
fn scan_gives_the_nearest_of_the_allowed() {
    let rows = [0.0, 0.0, 1.0, 0.0, 2.0, 0.0, 3.0, 0.0];
    let mut top = TopK::new(2);
    scan_f32(Distance::Euclid, &[0.0, 0.0], &rows, 10, |offset| offset != 11, &mut top);
    let scores: Vec<_> = top.as_slice().iter().map(|&(s, o)| (o, Distance::Euclid.score(s))).collect();
    assert_eq!(scores, [(10, 0.0), (12, 2.0)]);
}
