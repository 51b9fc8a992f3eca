//! How the texts of a field are cut into tokens, as it was asked for.

use serde::{Deserialize, Serialize};

/// What makes tokens of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tokenizer {
    /// The beginnings of each word.
    Prefix,
    Whitespace,
    /// Runs of letters and digits.
    #[default]
    Word,
    /// Words as Unicode bounds them (UAX #29); scripts without spaces character by character.
    Multilingual,
}

/// Tokens that are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stopwords {
    /// A language's list, by its English name in lower case.
    Language(String),
    Set {
        languages: Option<Vec<String>>,
        custom: Option<Vec<String>>,
    },
}

/// What is cut off at the end of a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stemmer {
    /// Nothing, said on purpose.
    None,
    /// By the Snowball algorithm of a language, named in English in lower case.
    Snowball(String),
}

/// Options of a text index; absent ones have the protocol's defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextParams {
    pub tokenizer: Option<Tokenizer>,
    /// In characters, as the next.
    pub min_token_len: Option<usize>,
    pub max_token_len: Option<usize>,
    /// Absent: yes.
    pub lowercase: Option<bool>,
    /// Absent: no; the same for the next.
    pub ascii_folding: Option<bool>,
    pub phrase_matching: Option<bool>,
    pub stopwords: Option<Stopwords>,
    pub stemmer: Option<Stemmer>,
}

impl TextParams {
    /// How texts are read where no text index says how: words in lower case, phrases allowed.
    pub fn unindexed() -> Self {
        Self { phrase_matching: Some(true), ..Self::default() }
    }

    /// Whether the order of tokens is asked for.
    pub fn has_phrases(&self) -> bool {
        self.phrase_matching == Some(true)
    }
}
