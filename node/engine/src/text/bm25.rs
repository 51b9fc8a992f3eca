//! Texts as sparse vectors whose dot product is the rank function BM25 (Robertson, Zaragoza 2009), but for the inverse
//! document frequencies, which the collection knows.

use std::collections::BTreeMap;

use super::{Analyzer, TextParams};
use crate::vector::SparseVector;

/// Makes vectors of texts.
pub struct Bm25 {
    analyzer: Analyzer,
    k: f64,
    b: f64,
    average_tokens: f64,
}

impl Bm25 {
    /// `k`: how much repetition counts; `b`: how much the length of a text does, from 0 to 1; `average_tokens`: the
    /// length at which it does not.
    pub fn new(params: &TextParams, k: f64, b: f64, average_tokens: f64) -> Self {
        Self { analyzer: Analyzer::new(params), k, b, average_tokens }
    }

    /// A text that is stored: each token by how often it occurs.
    pub fn document(&self, text: &str) -> SparseVector {
        let (mut counts, mut tokens) = (BTreeMap::<u32, f64>::new(), 0.0f64);
        self.analyzer.document(text, &mut |token| {
            *counts.entry(dimension(token)).or_default() += 1.0;
            tokens += 1.0;
        });
        let length = 1.0 - self.b + self.b * tokens / self.average_tokens;
        let weight = |n: f64| {
            let weight = (n * (self.k + 1.0) / (n + self.k * length)) as f32;
            // Parameters that make no sense must not make a vector that can't be stored.
            if weight.is_finite() { weight } else { 0.0 }
        };
        vector(counts.into_iter().map(|(d, n)| (d, weight(n))))
    }

    /// A text that is looked for: each token once.
    pub fn query(&self, text: &str) -> SparseVector {
        let tokens = self.analyzer.query(text);
        let once: BTreeMap<u32, f32> = tokens.iter().map(|token| (dimension(token), 1.0)).collect();
        vector(once.into_iter())
    }
}

fn vector(pairs: impl Iterator<Item = (u32, f32)>) -> SparseVector {
    let (indices, values) = pairs.unzip();
    SparseVector::new(indices, values)
        .expect("dimensions of a map come in order, each once, with finite values")
}

/// The dimension that stands for a token: the protocol takes the hash as a signed number, without its sign.
fn dimension(token: &str) -> u32 {
    murmur3(token.as_bytes()).cast_signed().unsigned_abs()
}

/// MurmurHash3 of 32 bits with seed 0 (Appleby 2008).
fn murmur3(bytes: &[u8]) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mix = |k: u32| k.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let mut hash = 0u32;
    let mut blocks = bytes.chunks_exact(4);
    for block in &mut blocks {
        let word = block.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = (hash ^ mix(word)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let rest = blocks.remainder().iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    hash ^= mix(rest);
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Stemmer, Stopwords};

    fn check(text: &str, document: &[(&str, f32)], query: &[&str]) {
        let params = TextParams {
            stopwords: Some(Stopwords::Language("english".into())),
            stemmer: Some(Stemmer::Snowball("english".into())),
            ..TextParams::default()
        };
        let bm25 = Bm25::new(&params, 1.2, 0.75, 256.0);
        let expected: BTreeMap<u32, f32> = document.iter().map(|(t, v)| (dimension(t), *v)).collect();
        let made = bm25.document(text);
        assert_eq!(made.row().indices, expected.keys().copied().collect::<Vec<_>>(), "{text}");
        for (value, expected) in made.row().values.iter().zip(expected.values()) {
            assert!((value - expected).abs() < 1e-6, "{text}: {value}, not {expected}");
        }
        let mut expected: Vec<u32> = query.iter().map(|t| dimension(t)).collect();
        expected.sort_unstable();
        let made = bm25.query(text);
        assert_eq!(made.row().indices, expected, "{text}");
        assert!(made.row().values.iter().all(|v| *v == 1.0));
    }

    #[test]
    fn tokens_are_weighted_by_how_often_they_occur() {
        let weight = |n: f32, tokens: f32| n * 2.2 / (n + 1.2 * (0.25 + 0.75 * tokens / 256.0));
        check("", &[], &[]);
        check("the of", &[], &[]);
        check("Running the runs", &[("run", weight(2.0, 2.0))], &["run"]);
        check("cats, dogs; cats", &[("cat", weight(2.0, 3.0)), ("dog", weight(1.0, 3.0))], &["cat", "dog"]);
    }

    #[test]
    fn parameters_without_sense_make_vectors_that_can_be_stored() {
        for (k, b, average) in [(-1.0, 0.0, 1.0), (f64::MAX, 1.0, 0.0), (f64::NAN, f64::NAN, -1.0)] {
            let made = Bm25::new(&TextParams::default(), k, b, average).document("a b a");
            assert_eq!(made.row().indices.len(), 2);
        }
    }

    /// Published test vectors of the hash.
    #[test]
    fn the_hash_is_murmur3() {
        for (text, hash) in [
            ("", 0),
            ("test", 0xba6b_d213),
            ("Hello, world!", 0xc036_3e43),
            ("The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
        ] {
            assert_eq!(murmur3(text.as_bytes()), hash, "{text}");
        }
    }
}
