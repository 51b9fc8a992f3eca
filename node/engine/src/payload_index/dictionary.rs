//! Sorted keys of bytes and the points that have each: keyword and uuid indexes; tokens and the documents that have
//! each: text indexes.

use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;

use super::column::Column;
use crate::bitset::Bitset;
use crate::error::{Error, Result};

/// For each key a posting: a sorted list of offsets, or a bitmap where that is smaller.
pub(super) struct Dictionary {
    /// Number of offsets that postings may name.
    pub(super) len: u32,
    /// Where the bytes of each key end; keys are in order.
    pub(super) ends: Column<u64>,
    pub(super) bytes: Column<u8>,
    /// Points of each key.
    pub(super) counts: Column<u32>,
    /// Where the posting of each key starts.
    pub(super) starts: Column<u64>,
    pub(super) postings: Column<u32>,
}

/// The points of one key.
enum Posting<'a> {
    List(&'a [u32]),
    Bitmap(&'a [u32]),
}

/// Bitmaps have 32 bits in a word of the size of an offset.
fn is_bitmap(count: u32, len: u32) -> bool {
    u64::from(count) * 32 > u64::from(len)
}

impl Dictionary {
    /// Number of keys.
    pub(super) fn keys(&self) -> usize {
        self.counts.len()
    }

    pub(super) fn key(&self, i: usize) -> Result<&[u8]> {
        let start = if i == 0 { 0 } else { self.ends.at(i - 1)? };
        let end = self.ends.at(i)?;
        self.bytes.part(start as usize..end as usize)
    }

    /// The place of a key.
    pub(super) fn find(&self, key: &[u8]) -> Result<Option<usize>> {
        let (mut low, mut high) = (0, self.keys());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key(middle)?.cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
            }
        }
        Ok(None)
    }

    /// Bytes of memory that it takes, mapped files left out.
    pub(super) fn bytes_in_memory(&self) -> usize {
        self.ends.bytes_in_memory()
            + self.bytes.bytes_in_memory()
            + self.counts.bytes_in_memory()
            + self.starts.bytes_in_memory()
            + self.postings.bytes_in_memory()
    }

    /// Points that have the key at a place.
    pub(super) fn count(&self, i: usize) -> Result<u32> {
        self.counts.at(i)
    }

    /// Pairs of key and point.
    pub(super) fn pairs(&self) -> Result<u64> {
        self.pairs_of(0..self.keys())
    }

    /// The same for the keys at some places.
    pub(super) fn pairs_of(&self, places: Range<usize>) -> Result<u64> {
        Ok(self.counts.part(places)?.iter().map(|&count| u64::from(count)).sum())
    }

    fn posting(&self, i: usize) -> Result<Posting<'_>> {
        let count = self.count(i)?;
        let start = self.starts.at(i)? as usize;
        let part = |words: u32| self.postings.part(start..start.saturating_add(words as usize));
        if is_bitmap(count, self.len) {
            return Ok(Posting::Bitmap(part(self.len.div_ceil(32))?));
        }
        let offsets = part(count)?;
        if offsets.iter().any(|&offset| offset >= self.len) {
            return Err(Error::corrupt("payload index", "a posting names points that are not there"));
        }
        Ok(Posting::List(offsets))
    }

    /// The places of the keys that begin so.
    pub(super) fn starting_with(&self, start: &[u8]) -> Result<Range<usize>> {
        let first = self.first(|key| key >= start)?;
        Ok(first..self.first(|key| key >= start && !key.starts_with(start))?)
    }

    /// The first place whose key passes; all keys behind one that passes do.
    fn first(&self, passes: impl Fn(&[u8]) -> bool) -> Result<usize> {
        let (mut low, mut high) = (0, self.keys());
        while low < high {
            let middle = low + (high - low) / 2;
            if passes(self.key(middle)?) { high = middle } else { low = middle + 1 }
        }
        Ok(low)
    }

    /// Sets the bits of the points that have the key at a place.
    pub(super) fn add_to(&self, i: usize, bits: &mut Bitset) -> Result<()> {
        match self.posting(i)? {
            Posting::List(offsets) => offsets.iter().for_each(|&offset| bits.set(offset)),
            Posting::Bitmap(words) => bits.or_half_words(words),
        }
        Ok(())
    }

    /// The points that have the key at a place, ascending.
    pub(super) fn points(&self, i: usize) -> Result<Box<dyn Iterator<Item = u32> + '_>> {
        Ok(match self.posting(i)? {
            Posting::List(offsets) => Box::new(offsets.iter().copied()),
            Posting::Bitmap(words) => Box::new(words.iter().zip(0..).flat_map(|(&word, w)| {
                (0..32u32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| w * 32 + bit)
            })),
        })
    }

    /// Points among some that have the key at a place.
    pub(super) fn count_among(&self, i: usize, among: &Bitset) -> Result<u32> {
        Ok(match self.posting(i)? {
            Posting::List(offsets) => offsets.iter().filter(|&&offset| among.get(offset)).count() as u32,
            Posting::Bitmap(words) => {
                let both = |(&word, pair): (&u64, &[u32])| {
                    let wide = u64::from(pair[0]) | pair.get(1).map_or(0, |&high| u64::from(high) << 32);
                    (word & wide).count_ones()
                };
                among.words().iter().zip(words.chunks(2)).map(both).sum()
            }
        })
    }
}

/// Collects keys of points that come in ascending order.
#[derive(Default)]
pub(super) struct DictionaryBuilder {
    ids: HashMap<Box<[u8]>, u32, RandomState>,
    /// By id: the points.
    lists: Vec<Vec<u32>>,
}

impl DictionaryBuilder {
    /// Adds a pair; gives the number that the key has among those that were added.
    pub(super) fn add(&mut self, key: &[u8], offset: u32) -> u32 {
        let id = match self.ids.get(key) {
            Some(&id) => id,
            None => {
                let id = u32::try_from(self.lists.len()).expect("no more keys than values of a segment");
                self.ids.insert(key.into(), id);
                self.lists.push(Vec::new());
                id
            }
        };
        let list = &mut self.lists[id as usize];
        if list.last() != Some(&offset) {
            list.push(offset);
        }
        id
    }

    pub(super) fn finish(self, len: u32) -> Dictionary {
        self.finish_with_places(len).0
    }

    /// The dictionary, and the place in it of each key by its number.
    pub(super) fn finish_with_places(self, len: u32) -> (Dictionary, Vec<u32>) {
        let mut keys: Vec<(Box<[u8]>, u32)> = self.ids.into_iter().collect();
        keys.sort_unstable();
        let (mut ends, mut bytes, mut counts, mut starts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut postings: Vec<u32> = Vec::new();
        let mut places = vec![0; keys.len()];
        for (place, (key, id)) in keys.iter().enumerate() {
            places[*id as usize] = place as u32;
            let list = &self.lists[*id as usize];
            bytes.extend_from_slice(key);
            ends.push(bytes.len() as u64);
            starts.push(postings.len() as u64);
            let count = list.len() as u32;
            counts.push(count);
            if is_bitmap(count, len) {
                let first = postings.len();
                postings.resize(first + len.div_ceil(32) as usize, 0);
                for &offset in list {
                    postings[first + offset as usize / 32] |= 1 << (offset % 32);
                }
            } else {
                postings.extend_from_slice(list);
            }
        }
        let dictionary = Dictionary {
            len,
            ends: Column::Owned(ends),
            bytes: Column::Owned(bytes),
            counts: Column::Owned(counts),
            starts: Column::Owned(starts),
            postings: Column::Owned(postings),
        };
        (dictionary, places)
    }
}
