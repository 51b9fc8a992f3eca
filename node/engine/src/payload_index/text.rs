//! Tokens and the texts that have them. Each string of a point is a text of its own, so that what is found in one
//! string of a list is not put together with another.

use super::column::Column;
use super::dictionary::{Dictionary, DictionaryBuilder};
use crate::bitset::Bitset;
use crate::error::{Error, Result};
use crate::text::{Analyzer, TextMatch, TextParams, TextTest};

/// Documents are numbered in the order of their points.
pub(super) struct Texts {
    /// Postings name documents.
    pub(super) tokens: Dictionary,
    /// The point of each document, ascending.
    pub(super) points: Column<u32>,
    /// Where the tokens of each document end in `sequence`; nothing unless phrases can be asked for.
    pub(super) ends: Column<u64>,
    /// The tokens of the documents in their order, by their places in the dictionary.
    pub(super) sequence: Column<u32>,
}

impl Texts {
    /// Number of documents.
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// Sets the bits of the points that have a text that passes.
    pub(super) fn add_passing(&self, test: &TextTest, bits: &mut Bitset) -> Result<()> {
        let documents = match test.how() {
            TextMatch::Any => self.with_any(test)?,
            TextMatch::All => self.with_all(&self.sorted_places(test)?)?,
            TextMatch::Phrase => self.with_phrase(test)?,
        };
        let points = self.points.all()?;
        for document in documents.iter() {
            match points.get(document as usize) {
                Some(&point) if point < bits.len() => bits.set(point),
                _ => return Err(Error::corrupt("payload index", "a text names a point that is not there")),
            }
        }
        Ok(())
    }

    /// At most so many documents pass.
    pub(super) fn count_at_most(&self, test: &TextTest) -> Result<u64> {
        let mut counts = Vec::with_capacity(test.tokens().len());
        for token in test.tokens() {
            counts.push(match self.tokens.find(token.as_bytes())? {
                Some(place) => u64::from(self.tokens.count(place)?),
                None => 0,
            });
        }
        Ok(match test.how() {
            TextMatch::Any => counts.iter().sum(),
            TextMatch::All | TextMatch::Phrase => counts.into_iter().min().unwrap_or(0),
        })
    }

    /// The places of all tokens that are looked for; nothing if a text can't have all of them.
    fn places(&self, test: &TextTest) -> Result<Vec<usize>> {
        let mut places = Vec::with_capacity(test.tokens().len());
        for token in test.tokens() {
            match self.tokens.find(token.as_bytes())? {
                Some(place) => places.push(place),
                None => return Ok(Vec::new()),
            }
        }
        Ok(places)
    }

    /// The same, each once, the rarest first.
    fn sorted_places(&self, test: &TextTest) -> Result<Vec<usize>> {
        let mut counted = Vec::new();
        for place in self.places(test)? {
            counted.push((self.tokens.count(place)?, place));
        }
        counted.sort_unstable();
        counted.dedup();
        Ok(counted.into_iter().map(|(_, place)| place).collect())
    }

    fn with_any(&self, test: &TextTest) -> Result<Bitset> {
        let mut found = Bitset::zeros(self.tokens.len);
        for token in test.tokens() {
            if let Some(place) = self.tokens.find(token.as_bytes())? {
                self.tokens.add_to(place, &mut found)?;
            }
        }
        Ok(found)
    }

    fn with_all(&self, places: &[usize]) -> Result<Bitset> {
        let mut found = Bitset::zeros(self.tokens.len);
        let Some((rarest, others)) = places.split_first() else { return Ok(found) };
        self.tokens.add_to(*rarest, &mut found)?;
        for place in others {
            if found.none() {
                break;
            }
            let mut with = Bitset::zeros(self.tokens.len);
            self.tokens.add_to(*place, &mut with)?;
            found.and(&with);
        }
        Ok(found)
    }

    fn with_phrase(&self, test: &TextTest) -> Result<Bitset> {
        let mut found = Bitset::zeros(self.tokens.len);
        let phrase: Vec<u32> = self.places(test)?.into_iter().map(|place| place as u32).collect();
        if phrase.is_empty() {
            return Ok(found);
        }
        let candidates = self.with_all(&self.sorted_places(test)?)?;
        for document in candidates.iter() {
            if self.document(document)?.windows(phrase.len()).any(|window| window == phrase) {
                found.set(document);
            }
        }
        Ok(found)
    }

    /// The tokens of a document.
    fn document(&self, document: u32) -> Result<&[u32]> {
        let document = document as usize;
        if document >= self.ends.len() {
            return Err(Error::corrupt("payload index", "the order of tokens is missing"));
        }
        let start = if document == 0 { 0 } else { self.ends.at(document - 1)? };
        let end = self.ends.at(document)?;
        self.sequence.part(start as usize..end as usize)
    }

    /// Bytes of memory that it takes, mapped files left out.
    pub(super) fn bytes_in_memory(&self) -> usize {
        self.tokens.bytes_in_memory()
            + self.points.bytes_in_memory()
            + self.ends.bytes_in_memory()
            + self.sequence.bytes_in_memory()
    }
}

/// Collects texts of points that come in ascending order.
pub(super) struct TextsBuilder {
    analyzer: Analyzer,
    tokens: DictionaryBuilder,
    points: Vec<u32>,
    ends: Vec<u64>,
    /// By the numbers that the dictionary's builder gives.
    sequence: Vec<u32>,
}

impl TextsBuilder {
    pub(super) fn new(params: &TextParams) -> Self {
        Self {
            analyzer: Analyzer::new(params),
            tokens: DictionaryBuilder::default(),
            points: Vec::new(),
            ends: Vec::new(),
            sequence: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, text: &str, point: u32) {
        let document = u32::try_from(self.points.len()).expect("no more texts than values of a segment");
        let has_phrases = self.analyzer.params().has_phrases();
        let (tokens, sequence) = (&mut self.tokens, &mut self.sequence);
        self.analyzer.document(text, &mut |token| {
            let number = tokens.add(token.as_bytes(), document);
            if has_phrases {
                sequence.push(number);
            }
        });
        self.points.push(point);
        if has_phrases {
            self.ends.push(self.sequence.len() as u64);
        }
    }

    pub(super) fn finish(self) -> Texts {
        let (tokens, places) = self.tokens.finish_with_places(self.points.len() as u32);
        Texts {
            tokens,
            points: Column::Owned(self.points),
            ends: Column::Owned(self.ends),
            sequence: Column::Owned(
                self.sequence.into_iter().map(|number| places[number as usize]).collect(),
            ),
        }
    }
}
