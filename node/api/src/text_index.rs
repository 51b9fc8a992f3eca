//! Options of a text index as they stand in JSON.

use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use crate::validate::Invalid;

/// What makes tokens of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tokenizer {
    Prefix,
    Whitespace,
    Word,
    Multilingual,
}

/// Languages that the protocol has lists of stop words of.
const LANGUAGES: [&str; 30] = [
    "arabic",
    "azerbaijani",
    "basque",
    "bengali",
    "catalan",
    "chinese",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hebrew",
    "hinglish",
    "hungarian",
    "indonesian",
    "italian",
    "japanese",
    "kazakh",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "slovene",
    "spanish",
    "swedish",
    "tajik",
    "turkish",
];

/// Languages that the protocol has Snowball stemmers of.
const STEMMED: [&str; 19] = [
    "arabic",
    "armenian",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
];

/// The name of a language that has a list of stop words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("enum" = LANGUAGES))]
pub struct Language(String);

/// The name of a language that has a stemmer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("enum" = STEMMED))]
pub struct StemmedLanguage(String);

fn known<'de, D: Deserializer<'de>>(d: D, languages: &[&str]) -> Result<String, D::Error> {
    let name = String::deserialize(d)?;
    if languages.contains(&name.as_str()) {
        Ok(name)
    } else {
        Err(de::Error::custom(format!("unknown variant `{name}`")))
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        known(d, &LANGUAGES).map(Language)
    }
}

impl<'de> Deserialize<'de> for StemmedLanguage {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        known(d, &STEMMED).map(StemmedLanguage)
    }
}

impl Language {
    /// None of a name that the protocol does not have.
    pub fn new(name: &str) -> Option<Self> {
        LANGUAGES.contains(&name).then(|| Self(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl StemmedLanguage {
    /// None of a name that the protocol does not have.
    pub fn new(name: &str) -> Option<Self> {
        STEMMED.contains(&name).then(|| Self(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tokens that are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Stopwords {
    Language(Language),
    Set {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        languages: Option<Vec<Language>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        custom: Option<Vec<String>>,
    },
}

/// What is cut off at the end of a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Stemmer {
    Snowball { language: StemmedLanguage },
    None,
}

/// Parameters that only a text index has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TextParams {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<Tokenizer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_token_len: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_token_len: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowercase: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ascii_folding: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phrase_matching: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopwords: Option<Stopwords>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stemmer: Option<Stemmer>,
}

/// Stop words that a client may name, and characters of each.
const CUSTOM_MAX: (usize, usize) = (10_000, 256);

impl TextParams {
    /// Adds what is out of range, below `path`.
    pub fn validate(&self, path: &str, invalid: &mut Invalid) {
        if let (Some(min), Some(max)) = (self.min_token_len, self.max_token_len)
            && min > max
        {
            invalid.add(
                format!("{path}.min_token_len"),
                format!("value {min} invalid, must be from 0 to {max}"),
            );
        }
        let Some(Stopwords::Set { custom: Some(custom), .. }) = &self.stopwords else { return };
        let (words, characters) = CUSTOM_MAX;
        if custom.len() > words || custom.iter().any(|word| word.chars().count() > characters) {
            let text = format!("must be at most {words} words of at most {characters} characters");
            invalid.add(format!("{path}.stopwords.custom"), text);
        }
    }
}
