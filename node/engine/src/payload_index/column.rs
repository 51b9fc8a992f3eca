//! Arrays of an index: in memory while it is built and for chunks of the mutable segment, or a section of a
//! sealed file, whose blocks are verified when they are first read.

use std::ops::Range;

use crate::bitset::Bitset;
use crate::error::Result;
use crate::file::cast::{self, Plain};
use crate::file::{SealedFile, SealedWriter};

/// An array of numbers.
pub(super) enum Column<T> {
    Owned(Vec<T>),
    Mapped { file: SealedFile, start: u64, len: usize },
}

impl<T: Plain> Column<T> {
    pub(super) fn len(&self) -> usize {
        match self {
            Column::Owned(all) => all.len(),
            Column::Mapped { len, .. } => *len,
        }
    }

    /// A part of the array; only its bytes are verified.
    pub(super) fn part(&self, range: Range<usize>) -> Result<&[T]> {
        match self {
            Column::Owned(all) => Ok(&all[range]),
            Column::Mapped { file, len, .. } if range.start > range.end || range.end > *len => {
                Err(file.corrupt("an index names values past its end"))
            }
            Column::Mapped { file, start, .. } => {
                let size = size_of::<T>() as u64;
                let bytes = start + range.start as u64 * size..start + range.end as u64 * size;
                cast::numbers(file.checked(bytes)?)
            }
        }
    }

    /// One number of the array.
    pub(super) fn at(&self, i: usize) -> Result<T> {
        Ok(self.part(i..i + 1)?[0])
    }

    pub(super) fn all(&self) -> Result<&[T]> {
        self.part(0..self.len())
    }

    /// Bytes of memory that it takes, mapped files left out.
    pub(super) fn bytes_in_memory(&self) -> usize {
        match self {
            Column::Owned(all) => all.capacity() * size_of::<T>(),
            Column::Mapped { .. } => 0,
        }
    }
}

/// One bit for each point. No words at all stand for all zeros.
pub(super) struct Flags(pub(super) Column<u64>);

impl Flags {
    pub(super) fn new(bits: &Bitset) -> Self {
        Self(Column::Owned(if bits.none() { Vec::new() } else { bits.words().to_vec() }))
    }

    pub(super) fn add_to(&self, bits: &mut Bitset) -> Result<()> {
        bits.or_words(self.0.all()?);
        Ok(())
    }

    pub(super) fn to_bitset(&self, len: u32) -> Result<Bitset> {
        let mut bits = Bitset::zeros(len);
        self.add_to(&mut bits)?;
        Ok(bits)
    }

    pub(super) fn count(&self) -> Result<u32> {
        Ok(self.0.all()?.iter().map(|word| word.count_ones()).sum())
    }

    pub(super) fn is_all_zero(&self) -> bool {
        self.0.len() == 0
    }
}

/// Sections start at multiples of this.
const SECTION_ALIGN: u64 = 64;

/// Numbers after the table of sections: see [`SectionWriter::finish`].
pub(super) const FACTS: usize = 4;

/// Writes columns one after the other, then a table of where they are.
pub(super) struct SectionWriter {
    file: SealedWriter,
    /// Start in the body and number of elements, for each section.
    table: Vec<u64>,
}

impl SectionWriter {
    pub(super) fn new(file: SealedWriter) -> Self {
        Self { file, table: Vec::new() }
    }

    pub(super) fn column<T: Plain>(&mut self, column: &Column<T>) -> Result<()> {
        self.file.align(SECTION_ALIGN)?;
        self.table.extend([self.file.position(), column.len() as u64]);
        self.file.write(cast::bytes(column.all()?))
    }

    /// The table, `facts` about the index, and the number of sections.
    pub(super) fn finish(mut self, facts: [u64; FACTS]) -> Result<SealedWriter> {
        self.file.align(SECTION_ALIGN)?;
        self.file.write(cast::bytes(&self.table))?;
        self.file.write(cast::bytes(&facts))?;
        self.file.write(&(self.table.len() as u64 / 2).to_le_bytes())?;
        Ok(self.file)
    }
}

/// Finds the columns again, in the order they were written in.
pub(super) struct SectionReader {
    file: SealedFile,
    /// Start and number of elements of the sections left, the first one last.
    left: Vec<(u64, u64)>,
    pub(super) facts: [u64; FACTS],
}

impl SectionReader {
    pub(super) fn open(file: SealedFile) -> Result<Self> {
        const WORD: u64 = 8;
        let damaged = || file.corrupt("the table of sections does not fit the file");
        let facts_start = file.len().checked_sub((FACTS as u64 + 1) * WORD).ok_or_else(damaged)?;
        let tail = cast::numbers::<u64>(file.checked(facts_start..file.len())?)?;
        let sections = tail[FACTS];
        let table_bytes = sections.checked_mul(2 * WORD).ok_or_else(damaged)?;
        let table_start = facts_start.checked_sub(table_bytes).ok_or_else(damaged)?;
        let table = cast::numbers::<u64>(file.checked(table_start..facts_start)?)?;
        let left = table.chunks_exact(2).map(|section| (section[0], section[1])).rev().collect();
        let facts = std::array::from_fn(|i| tail[i]);
        Ok(Self { file, left, facts })
    }

    pub(super) fn column<T: Plain>(&mut self) -> Result<Column<T>> {
        let damaged = || self.file.corrupt("a section of the index is missing or does not fit the file");
        let (start, len) = self.left.pop().ok_or_else(damaged)?;
        let end = len.checked_mul(size_of::<T>() as u64).and_then(|bytes| bytes.checked_add(start));
        if end.is_none_or(|end| end > self.file.len()) || !start.is_multiple_of(SECTION_ALIGN) {
            return Err(damaged());
        }
        Ok(Column::Mapped { file: self.file.clone(), start, len: len as usize })
    }
}
