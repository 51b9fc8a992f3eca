//! A full-text condition: what is looked for, cut as the field's texts are.

use std::sync::Arc;

use super::{Analyzer, TextParams};

/// How tokens have to be found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextMatch {
    All,
    Any,
    /// All of them, one behind the other.
    Phrase,
}

/// A text that is looked for in each of a field's strings. Nothing is found by a text without tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct TextTest {
    text: String,
    how: TextMatch,
    analyzer: Arc<Analyzer>,
    /// In the text's order; each once unless they are a phrase.
    tokens: Vec<String>,
}

impl TextTest {
    /// As it is asked of a field without a text index.
    pub fn new(text: String, how: TextMatch) -> Self {
        Self::with(text, how, &TextParams::unindexed())
    }

    fn with(text: String, how: TextMatch, params: &TextParams) -> Self {
        let analyzer = Arc::new(Analyzer::new(params));
        let mut tokens = analyzer.query(&text);
        match how {
            TextMatch::Phrase if !params.has_phrases() => tokens.clear(),
            TextMatch::Phrase => {}
            TextMatch::All | TextMatch::Any => {
                tokens.sort_unstable();
                tokens.dedup();
            }
        }
        Self { text, how, analyzer, tokens }
    }

    /// The same of a field whose texts are cut by these parameters; none if it is that already.
    pub(crate) fn bound_to(&self, params: &TextParams) -> Option<Self> {
        (self.analyzer.params() != params).then(|| Self::with(self.text.clone(), self.how, params))
    }

    pub fn params(&self) -> &TextParams {
        self.analyzer.params()
    }

    pub fn how(&self) -> TextMatch {
        self.how
    }

    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Memory it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.text.len()
            + self.tokens.iter().map(|t| size_of::<String>() + t.len()).sum::<usize>()
    }

    /// Whether one string passes.
    pub fn passes(&self, text: &str) -> bool {
        if self.tokens.is_empty() {
            return false;
        }
        match self.how {
            TextMatch::Phrase => {
                let mut document = Vec::new();
                self.analyzer.document(text, &mut |token| document.push(token.to_owned()));
                document.windows(self.tokens.len()).any(|window| window == self.tokens)
            }
            TextMatch::Any => {
                let mut found = false;
                self.analyzer.document(text, &mut |token| found |= self.place(token).is_some());
                found
            }
            TextMatch::All => {
                let mut found = vec![false; self.tokens.len()];
                self.analyzer.document(text, &mut |token| {
                    if let Some(place) = self.place(token) {
                        found[place] = true;
                    }
                });
                found.iter().all(|found| *found)
            }
        }
    }

    /// Where a token is among those that are looked for, which are sorted.
    fn place(&self, token: &str) -> Option<usize> {
        self.tokens.binary_search_by(|wanted| wanted.as_str().cmp(token)).ok()
    }
}
