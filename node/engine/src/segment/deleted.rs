//! Which points of a segment are deleted: pages of 64 Ki bits, shared between states until written.
//!
//! Cloning copies one pointer for each 65,536 points, so every published state has its own; a page that
//! has no deletion is not there at all.

use std::sync::Arc;

use crate::bitset::Bitset;
use crate::error::{Error, Result};

const PAGE_WORDS: usize = 1024;
const PAGE_BITS: u32 = PAGE_WORDS as u32 * 64;

type Page = [u64; PAGE_WORDS];

/// The deleted offsets of a segment of `len` points.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deleted {
    pages: Vec<Option<Arc<Page>>>,
    len: u32,
    count: u32,
}

impl Deleted {
    /// Nothing deleted.
    pub fn none(len: u32) -> Self {
        Self { pages: vec![None; len.div_ceil(PAGE_BITS) as usize], len, count: 0 }
    }

    /// Number of points in the segment, deleted or not.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the segment has no points at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many are deleted.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many are left.
    pub fn live(&self) -> u32 {
        self.len - self.count
    }

    /// Whether the point at `offset` is deleted.
    #[inline]
    pub fn contains(&self, offset: u32) -> bool {
        debug_assert!(offset < self.len);
        match &self.pages[(offset / PAGE_BITS) as usize] {
            None => false,
            Some(page) => page[(offset % PAGE_BITS) as usize / 64] >> (offset % 64) & 1 == 1,
        }
    }

    /// Deletes; false if it already was.
    pub fn insert(&mut self, offset: u32) -> bool {
        assert!(offset < self.len, "offset {offset} in a segment of {} points", self.len);
        let slot = &mut self.pages[(offset / PAGE_BITS) as usize];
        let page = Arc::make_mut(slot.get_or_insert_with(|| Arc::new([0; PAGE_WORDS])));
        let word = &mut page[(offset % PAGE_BITS) as usize / 64];
        let bit = 1u64 << (offset % 64);
        let fresh = *word & bit == 0;
        *word |= bit;
        self.count += u32::from(fresh);
        fresh
    }

    /// Takes a deletion back; nothing happens to a point that is there.
    pub fn remove(&mut self, offset: u32) {
        if self.contains(offset)
            && let Some(page) = &mut self.pages[(offset / PAGE_BITS) as usize]
        {
            Arc::make_mut(page)[(offset % PAGE_BITS) as usize / 64] &= !(1 << (offset % 64));
            self.count -= 1;
        }
    }

    /// The 64 deletion bits from offset `64 × word` on.
    #[inline]
    pub fn word(&self, word: usize) -> u64 {
        match self.pages.get(word / PAGE_WORDS) {
            Some(Some(page)) => page[word % PAGE_WORDS],
            _ => 0,
        }
    }

    /// The points that are not deleted.
    pub fn live_bits(&self) -> Bitset {
        let mut live = Bitset::ones(self.len);
        self.remove_from(&mut live);
        live
    }

    /// Clears the bits of deleted points.
    pub fn remove_from(&self, bits: &mut Bitset) {
        if self.count > 0 {
            self.iter().for_each(|offset| bits.unset(offset));
        }
    }

    /// Deleted offsets, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.since(None)
    }

    /// Offsets deleted here and not in `before`, an older state of the same segment, ascending.
    pub fn since<'a>(&'a self, before: Option<&'a Deleted>) -> impl Iterator<Item = u32> + 'a {
        let pages = self.pages.iter().enumerate().filter_map(move |(p, page)| {
            let page = page.as_ref()?;
            let old = before.and_then(|b| b.pages[p].as_ref());
            (!old.is_some_and(|o| Arc::ptr_eq(o, page))).then_some((p, page, old))
        });
        pages.flat_map(|(p, page, old)| {
            (0..PAGE_WORDS).flat_map(move |w| {
                let mut word = page[w] & !old.map_or(0, |o| o[w]);
                std::iter::from_fn(move || {
                    if word == 0 {
                        return None;
                    }
                    let bit = word.trailing_zeros();
                    word &= word - 1;
                    Some(p as u32 * PAGE_BITS + w as u32 * 64 + bit)
                })
            })
        })
    }

    /// As the body of a deletion file: the number of points, then the bits.
    pub fn to_bytes(&self) -> Vec<u8> {
        let words = (self.len as usize).div_ceil(64);
        let mut out = Vec::with_capacity(8 + words * 8);
        out.extend_from_slice(&u64::from(self.len).to_le_bytes());
        (0..words).for_each(|w| out.extend_from_slice(&self.word(w).to_le_bytes()));
        out
    }

    /// Reads the body of a deletion file of a segment of `len` points.
    pub fn from_bytes(bytes: &[u8], len: u32, file: &str) -> Result<Self> {
        let words = (len as usize).div_ceil(64);
        if bytes.len() != 8 + words * 8 || bytes[..8] != u64::from(len).to_le_bytes() {
            return Err(Error::corrupt(file, "not the deletions of a segment of this size"));
        }
        let mut deleted = Self::none(len);
        for (w, bytes) in bytes[8..].chunks_exact(8).enumerate() {
            let word = u64::from_le_bytes(bytes.try_into().expect("chunks of eight bytes"));
            if word == 0 {
                continue;
            }
            if word.checked_shr((len - w as u32 * 64).min(64)).is_some_and(|past| past != 0) {
                return Err(Error::corrupt(file, "deletes points past the end of the segment"));
            }
            let slot = &mut deleted.pages[w / PAGE_WORDS];
            Arc::make_mut(slot.get_or_insert_with(|| Arc::new([0; PAGE_WORDS])))[w % PAGE_WORDS] = word;
            deleted.count += word.count_ones();
        }
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_states_keep_what_they_had() {
        let mut now = Deleted::none(200_000);
        assert!(now.insert(5) && now.insert(70_000) && !now.insert(5));
        let before = now.clone();
        assert!(now.insert(70_001) && now.insert(199_999));
        assert_eq!((before.count(), now.count(), now.live()), (2, 4, 199_996));
        assert!(!before.contains(70_001) && now.contains(70_001));
        assert_eq!(now.since(Some(&before)).collect::<Vec<_>>(), [70_001, 199_999]);
        assert_eq!(now.iter().collect::<Vec<_>>(), [5, 70_000, 70_001, 199_999]);
        assert_eq!(now.live_bits().count(), 199_996);
    }

    #[test]
    fn bytes_come_back_and_wrong_ones_are_refused() {
        let mut d = Deleted::none(100);
        d.insert(0);
        d.insert(99);
        let bytes = d.to_bytes();
        assert_eq!(Deleted::from_bytes(&bytes, 100, "f").expect("reads"), d);
        Deleted::from_bytes(&bytes, 101, "f").expect_err("another size");
        let mut past = bytes.clone();
        *past.last_mut().expect("not empty") |= 0x80;
        Deleted::from_bytes(&past, 100, "f").expect_err("a bit past the end");
        Deleted::from_bytes(&bytes[..8], 100, "f").expect_err("cut");
    }
}
