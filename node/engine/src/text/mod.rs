//! Texts as tokens: what full-text conditions compare, and what a text index keeps.
//!
//! One analyzer serves documents and queries, with an index and without, so that they can't disagree.

mod analyzer;
mod bm25;
mod folding;
mod params;
mod query;
mod stopwords;
#[cfg(test)]
mod tests;

pub use analyzer::Analyzer;
pub use bm25::Bm25;
pub use params::{Stemmer, Stopwords, TextParams, Tokenizer};
pub use query::{TextMatch, TextTest};
