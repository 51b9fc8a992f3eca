//! The file of an index, format 1 of the kind `PLDINDEX`.
//!
//! Sections that start at multiples of 64 bytes, each an array of little-endian numbers; then a table with
//! start in the body and number of elements of each (`u64`), four facts (type, offsets, points with a value of
//! the type, pairs of point and value) and the number of sections. The sections, in order:
//! - flags, 64 points in a `u64`, none at all standing for zeros: empty, null, count 0, count 1, has a value of
//!   the type, has another value; counts from 2 on as sorted numbers;
//! - keyword and uuid: ends of keys (`u64`), bytes of the sorted keys, points of each key (`u32`), start of each
//!   posting (`u64`), postings (`u32`: offsets ascending, or a bitmap if more than one point in 32 has the key);
//! - integer: sorted integers, sorted other numbers; float; datetime (microseconds): sorted numbers;
//! - bool: flags of true, flags of false;
//! - geo: cells as sorted numbers, then latitude and longitude of each (`f64`), in the order of the cells;
//! - text: tokens as the keys of a keyword index, postings naming documents; the offset of the point of each
//!   document (`u32`, ascending); then, without elements unless phrases can be asked for: where the tokens of each
//!   document end (`u64`), the tokens of the documents by their place among the keys (`u32`).
//!
//! Sorted numbers are two sections: the numbers as order-keeping `u64`, the offset beside each (`u32`).

use super::column::{Column, Flags, SectionReader, SectionWriter};
use super::dictionary::Dictionary;
use super::geo::Places;
use super::presence::Presence;
use super::sorted::{Ordered, Sorted};
use super::text::Texts;
use super::{FieldIndex, Values};
use crate::config::{FieldSchema, FieldType};
use crate::error::Result;
use crate::file::{FileEntry, SealedFile, SealedWriter};

/// The kind of the sealed file of an index.
pub const FILE_KIND: [u8; 8] = *b"PLDINDEX";

/// How the type of an index is written. Never changes.
fn code(kind: FieldType) -> u64 {
    match kind {
        FieldType::Keyword => 1,
        FieldType::Integer => 2,
        FieldType::Float => 3,
        FieldType::Bool => 4,
        FieldType::Datetime => 5,
        FieldType::Uuid => 6,
        FieldType::Geo => 7,
        FieldType::Text => 8,
    }
}

impl FieldIndex {
    /// Writes the index into a sealed file of [`FILE_KIND`].
    ///
    /// # Errors
    /// What the file layer gives.
    pub fn write(&self, file: SealedWriter) -> Result<FileEntry> {
        let mut out = SectionWriter::new(file);
        let presence = &self.presence;
        for flags in
            [&presence.empty, &presence.null, &presence.zero, &presence.one, &self.typed, &self.other]
        {
            out.column(&flags.0)?;
        }
        write_sorted(&mut out, &presence.many)?;
        match &self.values {
            Values::Keyword(keys) | Values::Uuid(keys) => write_dictionary(&mut out, keys)?,
            Values::Integer { integers, rest } => {
                write_sorted(&mut out, integers)?;
                write_sorted(&mut out, rest)?;
            }
            Values::Float(numbers) => write_sorted(&mut out, numbers)?,
            Values::Datetime(times) => write_sorted(&mut out, times)?,
            Values::Bool { yes, no } => {
                out.column(&yes.0)?;
                out.column(&no.0)?;
            }
            Values::Geo(places) => {
                write_sorted(&mut out, &places.cells)?;
                out.column(&places.lats)?;
                out.column(&places.lons)?;
            }
            Values::Text(texts) => {
                write_dictionary(&mut out, &texts.tokens)?;
                out.column(&texts.points)?;
                out.column(&texts.ends)?;
                out.column(&texts.sequence)?;
            }
        }
        let facts = [code(self.schema.kind), u64::from(self.len), u64::from(self.points), self.pairs];
        out.finish(facts)?.finish()
    }

    /// Opens an index that was written for the same schema. Its columns are read when they are used.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] if the file does not hold such an index.
    pub fn open(file: SealedFile, schema: &FieldSchema) -> Result<Self> {
        let mut sections = SectionReader::open(file.clone())?;
        let [kind, len, points, pairs] = sections.facts;
        if kind != code(schema.kind) {
            return Err(file.corrupt("the index is of another type than the schema says"));
        }
        let len = u32::try_from(len).map_err(|_| file.corrupt("the index has too many points"))?;
        let points = u32::try_from(points).map_err(|_| file.corrupt("the index has too many points"))?;
        let [empty, null, zero, one, typed, other] = read_flags::<6>(&mut sections, len, &file)?;
        let many = read_sorted(&mut sections, &file)?;
        let values = match schema.kind {
            FieldType::Keyword => Values::Keyword(read_dictionary(&mut sections, len, &file)?),
            FieldType::Uuid => Values::Uuid(read_dictionary(&mut sections, len, &file)?),
            FieldType::Integer => Values::Integer {
                integers: read_sorted(&mut sections, &file)?,
                rest: read_sorted(&mut sections, &file)?,
            },
            FieldType::Float => Values::Float(read_sorted(&mut sections, &file)?),
            FieldType::Datetime => Values::Datetime(read_sorted(&mut sections, &file)?),
            FieldType::Bool => {
                let [yes, no] = read_flags::<2>(&mut sections, len, &file)?;
                Values::Bool { yes, no }
            }
            FieldType::Geo => {
                let places = Places {
                    cells: read_sorted(&mut sections, &file)?,
                    lats: sections.column()?,
                    lons: sections.column()?,
                };
                if places.lats.len() != places.len() || places.lons.len() != places.len() {
                    return Err(file.corrupt("an index has another number of places than of points"));
                }
                Values::Geo(places)
            }
            FieldType::Text => Values::Text(read_texts(&mut sections, &file)?),
        };
        let presence = Presence { empty, null, zero, one, many };
        Ok(Self { schema: schema.clone(), len, points, pairs, presence, typed, other, values })
    }

    /// Bytes of memory that the index takes, mapped files left out.
    pub fn bytes_in_memory(&self) -> usize {
        let sorted =
            |keys: &Column<u64>, offsets: &Column<u32>| keys.bytes_in_memory() + offsets.bytes_in_memory();
        let presence = &self.presence;
        let flags =
            [&presence.empty, &presence.null, &presence.zero, &presence.one, &self.typed, &self.other];
        let values = match &self.values {
            Values::Keyword(keys) | Values::Uuid(keys) => keys.bytes_in_memory(),
            Values::Integer { integers, rest } => {
                sorted(&integers.keys, &integers.offsets) + sorted(&rest.keys, &rest.offsets)
            }
            Values::Float(numbers) => sorted(&numbers.keys, &numbers.offsets),
            Values::Datetime(times) => sorted(&times.keys, &times.offsets),
            Values::Bool { yes, no } => yes.0.bytes_in_memory() + no.0.bytes_in_memory(),
            Values::Geo(places) => {
                sorted(&places.cells.keys, &places.cells.offsets)
                    + places.lats.bytes_in_memory()
                    + places.lons.bytes_in_memory()
            }
            Values::Text(texts) => texts.bytes_in_memory(),
        };
        let many = sorted(&presence.many.keys, &presence.many.offsets);
        size_of::<Self>() + values + many + flags.iter().map(|flags| flags.0.bytes_in_memory()).sum::<usize>()
    }
}

fn write_dictionary(out: &mut SectionWriter, keys: &Dictionary) -> Result<()> {
    out.column(&keys.ends)?;
    out.column(&keys.bytes)?;
    out.column(&keys.counts)?;
    out.column(&keys.starts)?;
    out.column(&keys.postings)
}

fn write_sorted<T: Ordered>(out: &mut SectionWriter, sorted: &Sorted<T>) -> Result<()> {
    out.column(&sorted.keys)?;
    out.column(&sorted.offsets)
}

fn read_sorted<T: Ordered>(sections: &mut SectionReader, file: &SealedFile) -> Result<Sorted<T>> {
    let (keys, offsets) = (sections.column()?, sections.column()?);
    if keys.len() != offsets.len() {
        return Err(file.corrupt("an index has another number of values than of points"));
    }
    Ok(Sorted::new(keys, offsets))
}

fn read_flags<const N: usize>(
    sections: &mut SectionReader,
    len: u32,
    file: &SealedFile,
) -> Result<[Flags; N]> {
    let mut all = [const { Flags(Column::Owned(Vec::new())) }; N];
    for flags in &mut all {
        let words = sections.column()?;
        if words.len() != 0 && words.len() != (len as usize).div_ceil(64) {
            return Err(file.corrupt("flags of an index are of another number of points"));
        }
        *flags = Flags(words);
    }
    Ok(all)
}

fn read_dictionary(sections: &mut SectionReader, len: u32, file: &SealedFile) -> Result<Dictionary> {
    let keys = Dictionary {
        len,
        ends: sections.column()?,
        bytes: sections.column()?,
        counts: sections.column()?,
        starts: sections.column()?,
        postings: sections.column()?,
    };
    if keys.ends.len() != keys.counts.len() || keys.starts.len() != keys.counts.len() {
        return Err(file.corrupt("an index has another number of keys than of postings"));
    }
    Ok(keys)
}

fn read_texts(sections: &mut SectionReader, file: &SealedFile) -> Result<Texts> {
    // How many documents there are is known behind the postings that name them.
    let mut tokens = read_dictionary(sections, 0, file)?;
    let points = sections.column::<u32>()?;
    tokens.len = u32::try_from(points.len()).map_err(|_| file.corrupt("the index has too many texts"))?;
    let (ends, sequence) = (sections.column::<u64>()?, sections.column()?);
    if ends.len() != 0 && ends.len() != points.len() {
        return Err(file.corrupt("an index has another number of texts than of points"));
    }
    Ok(Texts { tokens, points, ends, sequence })
}
