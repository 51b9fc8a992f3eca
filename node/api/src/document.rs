//! Texts that the node makes vectors of.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text_index::{Language, StemmedLanguage, Stemmer, Stopwords, TextParams, Tokenizer};
use crate::validate::Invalid;

/// A text, and the model that makes a vector of it.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct Document {
    pub text: String,
    pub model: String,
    #[serde(default)]
    pub options: Option<Bm25Options>,
}

/// Names of the model that the node has itself, in lower case.
const BM25: [&str; 2] = ["bm25", "qdrant/bm25"];
/// The language of texts that name none.
const LANGUAGE: &str = "english";

/// Whether the node has a model of that name itself.
pub fn is_bm25(model: &str) -> bool {
    BM25.contains(&model.to_lowercase().as_str())
}

/// Options of the model `bm25`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Bm25Options {
    pub k: Option<f64>,
    pub b: Option<f64>,
    pub avg_len: Option<f64>,
    pub tokenizer: Option<Tokenizer>,
    pub language: Option<String>,
    pub lowercase: Option<bool>,
    pub ascii_folding: Option<bool>,
    pub stopwords: Option<Stopwords>,
    pub stemmer: Option<Stemmer>,
    pub min_token_len: Option<usize>,
    pub max_token_len: Option<usize>,
}

impl Bm25Options {
    /// How texts are cut: a language gives stop words and stemmer, unless they are given. One that the protocol does not
    /// know gives neither.
    pub fn text_params(&self) -> TextParams {
        let language = self.language.as_deref().unwrap_or(LANGUAGE).to_lowercase();
        let stopwords = || Language::new(&language).map(Stopwords::Language);
        let stemmer = || StemmedLanguage::new(&language).map(|language| Stemmer::Snowball { language });
        TextParams {
            tokenizer: self.tokenizer,
            min_token_len: self.min_token_len,
            max_token_len: self.max_token_len,
            lowercase: self.lowercase,
            ascii_folding: self.ascii_folding,
            phrase_matching: None,
            stopwords: self.stopwords.clone().or_else(stopwords),
            stemmer: self.stemmer.clone().or_else(stemmer),
        }
    }

    /// Adds what is out of range, below `path`.
    pub fn validate(&self, path: &str, invalid: &mut Invalid) {
        self.text_params().validate(path, invalid);
    }
}
