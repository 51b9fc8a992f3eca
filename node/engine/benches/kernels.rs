//! Every kernel on every instruction set that this processor has: a group for each case, a function for each set.
//!
//! All data stays in the first-level cache or near it, so that instructions are compared and not memory.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use quiver_engine::distance::bench::{Block, Points, choose, count_ones, quantize_row, rotation, sets};
use quiver_engine::distance::{dot, euclid, manhattan};

const DIMS: [usize; 3] = [128, 384, 1536];
/// Dimensions of vectors that are rotated and sketched.
const LONG: [usize; 2] = [384, 1536];
/// Points that are scored in one turn.
const POINTS: usize = 16;
/// A bit for each of 65,536 points.
const WORDS: usize = 1024;

/// Compares two vectors of one length.
type Kernel = fn(&[f32], &[f32]) -> f32;

/// Components between -1 and 1, the same in each run.
fn vector(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// One case. What `run` prepares, it prepares for the set that is measured.
fn case(c: &mut Criterion, name: String, run: impl Fn(&mut Bencher)) {
    let mut group = c.benchmark_group(name);
    for set in sets() {
        choose(set);
        group.bench_function(set, &run);
    }
    group.finish();
}

fn floats(c: &mut Criterion) {
    let all: [(&str, Kernel); 3] = [("dot", dot), ("euclid", euclid), ("manhattan", manhattan)];
    for (name, kernel) in all {
        for dim in DIMS {
            let (x, y) = (vector(dim, 1), vector(dim, 2));
            case(c, format!("{name} {dim}"), |b| b.iter(|| kernel(black_box(&x), black_box(&y))));
        }
    }
}

fn codes(c: &mut Criterion) {
    for dim in DIMS {
        let (rows, query) = (vector(dim * POINTS, 1), vector(dim, 2));
        case(c, format!("codes {dim}, {POINTS} points"), |b| {
            let points = Points::new(&rows, &query);
            let mut out = [[0; 4]; POINTS / 4];
            b.iter(|| black_box(&points).sums(black_box(&mut out)));
        });
    }
    for dim in DIMS {
        let row = vector(dim, 1);
        case(c, format!("quantize a row {dim}"), |b| {
            let mut out = vec![0; dim];
            b.iter(|| quantize_row(black_box(&row), black_box(&mut out)));
        });
    }
}

fn bits(c: &mut Criterion) {
    for dim in LONG {
        let (rows, query) = (vector(dim * POINTS, 1), vector(dim, 2));
        case(c, format!("sketch bounds {dim}, {POINTS} points"), |b| {
            let points = Points::new(&rows, &query);
            let mut out = [0.0; POINTS];
            b.iter(|| black_box(&points).bounds(black_box(&mut out)));
        });
    }
    for dim in LONG {
        let codes: Vec<u8> = vector(dim * 4, 1).into_iter().map(|v| v.to_bits() as u8).collect();
        case(c, format!("fast-scan block {dim}"), |b| {
            let block = Block::new(&codes, &vector(dim, 2));
            b.iter(|| black_box(&block).sums());
        });
    }
    let words: Vec<u64> = vector(WORDS, 1).into_iter().map(|v| u64::from(v.to_bits()) << 16).collect();
    case(c, format!("count bits {WORDS} words"), |b| b.iter(|| count_ones(black_box(&words))));
}

fn rotations(c: &mut Criterion) {
    for dim in LONG {
        case(c, format!("rotation {dim}"), |b| {
            let rotate = rotation(dim);
            // Turned again and again: lengths stay.
            let mut turned = vector(dim, 1);
            b.iter(|| rotate(black_box(&mut turned)));
        });
    }
}

criterion_group! {
    name = kernels;
    config = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = floats, codes, bits, rotations
}
criterion_main!(kernels);
