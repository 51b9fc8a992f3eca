//! From a text to tokens: cut, lower-cased, folded, stop words left out, stemmed, too short and too long ones
//! left out; in this order.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use unicode_segmentation::UnicodeSegmentation;
use waken_snowball::Algorithm;

use super::folding::fold;
use super::params::{Stemmer, Stopwords, TextParams, Tokenizer};
use super::stopwords;

/// Longer words are no words of a language, and are kept as they are.
const STEMMED_BYTES_MAX: usize = 256;

/// Characters of the longest beginning of a word that is kept: all beginnings of a word together are as long as the
/// square of its length.
const PREFIX_MAX: usize = 256;

/// Cuts texts as its parameters say.
pub struct Analyzer {
    params: TextParams,
    lists: Vec<&'static HashSet<&'static str>>,
    custom: HashSet<String>,
    stemmer: Option<Algorithm>,
}

/// Equal parameters cut equally, and only they are shown: a filter's text stands for it in caches.
impl fmt::Debug for Analyzer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.params.fmt(f)
    }
}

impl PartialEq for Analyzer {
    fn eq(&self, other: &Self) -> bool {
        self.params == other.params
    }
}

impl Analyzer {
    pub fn new(params: &TextParams) -> Self {
        let (languages, custom) = match &params.stopwords {
            None => (&[][..], &[][..]),
            Some(Stopwords::Language(name)) => (std::slice::from_ref(name), &[][..]),
            Some(Stopwords::Set { languages, custom }) => {
                (languages.as_deref().unwrap_or_default(), custom.as_deref().unwrap_or_default())
            }
        };
        let lower = params.lowercase != Some(false);
        let custom = custom.iter().map(|word| if lower { word.to_lowercase() } else { word.clone() });
        Self {
            lists: languages.iter().filter_map(|name| stopwords::list(name)).collect(),
            custom: custom.collect(),
            stemmer: match &params.stemmer {
                Some(Stemmer::Snowball(language)) => Algorithm::from_str(language),
                Some(Stemmer::None) | None => None,
            },
            params: params.clone(),
        }
    }

    pub fn params(&self) -> &TextParams {
        &self.params
    }

    /// Calls `each` with the tokens of a stored text, in order.
    pub fn document(&self, text: &str, each: &mut dyn FnMut(&str)) {
        self.words(text, &mut |word| match self.params.tokenizer.unwrap_or_default() {
            Tokenizer::Prefix => {
                if let Some(word) = self.normalized(word) {
                    self.prefixes(&word, each);
                }
            }
            _ => self.token(word, each),
        });
    }

    /// The tokens of a text that is looked for, in order.
    pub fn query(&self, text: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        self.words(text, &mut |word| match self.params.tokenizer.unwrap_or_default() {
            Tokenizer::Prefix => {
                let Some(word) = self.normalized(word) else { return };
                let mut longest = None;
                self.prefixes(&word, &mut |prefix| longest = Some(prefix.to_owned()));
                tokens.extend(longest);
            }
            _ => self.token(word, &mut |token| tokens.push(token.to_owned())),
        });
        tokens
    }

    /// The pieces of a text before anything is done to them.
    fn words(&self, text: &str, each: &mut dyn FnMut(&str)) {
        match self.params.tokenizer.unwrap_or_default() {
            Tokenizer::Whitespace => text.split_whitespace().for_each(each),
            Tokenizer::Multilingual => text.unicode_words().for_each(each),
            Tokenizer::Word | Tokenizer::Prefix => {
                text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).for_each(each);
            }
        }
    }

    fn token(&self, word: &str, each: &mut dyn FnMut(&str)) {
        if let Some(token) = self.normalized(word)
            && self.fits(&token)
        {
            each(&token);
        }
    }

    /// The word as it is kept, whatever its length; none for a stop word.
    fn normalized<'a>(&self, word: &'a str) -> Option<Cow<'a, str>> {
        let lower = self.params.lowercase != Some(false);
        // Most words are in lower case already, and need no memory of their own.
        let is_lower = word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let word = if lower && !is_lower { Cow::Owned(word.to_lowercase()) } else { Cow::Borrowed(word) };
        if self.is_stopword(&word) {
            return None;
        }
        let word = match self.params.ascii_folding {
            Some(true) if !word.is_ascii() => Cow::Owned(fold(&word)),
            _ => word,
        };
        if self.is_stopword(&word) || word.is_empty() {
            return None;
        }
        Some(match self.stemmer {
            Some(algorithm) if word.len() <= STEMMED_BYTES_MAX => {
                Cow::Owned(waken_snowball::stem(algorithm, &word).into_owned())
            }
            _ => word,
        })
    }

    fn is_stopword(&self, word: &str) -> bool {
        self.custom.contains(word) || self.lists.iter().any(|list| list.contains(word))
    }

    fn fits(&self, token: &str) -> bool {
        let len = token.chars().count();
        self.params.min_token_len.is_none_or(|min| len >= min)
            && self.params.max_token_len.is_none_or(|max| len <= max)
    }

    /// The beginnings of a word that are long enough and not too long, the longest one last.
    fn prefixes(&self, word: &str, each: &mut dyn FnMut(&str)) {
        let min = self.params.min_token_len.unwrap_or(1).max(1);
        let max = self.params.max_token_len.unwrap_or(PREFIX_MAX).min(PREFIX_MAX);
        let ends = word.char_indices().map(|(start, c)| start + c.len_utf8());
        for (_, end) in ends.enumerate().skip(min - 1).take_while(|(i, _)| *i < max) {
            each(&word[..end]);
        }
    }
}
