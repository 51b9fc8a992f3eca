//! Sealed files: written once, checksummed block by block, mapped for reading.
//!
//! Layout (docs/storage-format.md, "Sealed file"): a 4 KiB header, the body, padding to 8 bytes, a table with the
//! crc32c of each 64 KiB block of the body, a footer. Header, table and footer are verified when the file is opened,
//! each block of the body at its first use.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::{Disk, File, Mapped};
use crate::error::{Error, Result};

const MAGIC: [u8; 8] = *b"QUIVERSF";
const FORMAT: u32 = 1;
/// Bytes before the body; a page, so that the mapped body is aligned.
pub const HEADER_BYTES: u64 = 4096;
/// Bytes covered by one checksum.
pub const BLOCK_BYTES: u64 = 64 * 1024;
const FOOTER_BYTES: u64 = 32;
const BUFFER_BYTES: usize = 1 << 20;

/// A sealed file as a manifest names it. `crc32c` is that of the block table, and so covers every byte of the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Name inside its folder.
    pub name: String,
    pub size_bytes: u64,
    pub crc32c: u32,
}

impl FileEntry {
    /// The entry of `<prefix>.<extension>` among those of a manifest.
    pub fn find<'a>(files: &'a [FileEntry], prefix: &str, extension: &str) -> Option<&'a FileEntry> {
        let name = format!("{prefix}.{extension}");
        files.iter().find(|file| file.name == name)
    }

    /// The same, of a file that has to be there.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it isn't listed.
    pub fn require<'a>(files: &'a [FileEntry], prefix: &str, extension: &str) -> Result<&'a FileEntry> {
        Self::find(files, prefix, extension)
            .ok_or_else(|| Error::corrupt(format!("{prefix}.{extension}"), "not in the manifest"))
    }
}

/// Writes one sealed file. Dropped before `finish`, it leaves a file that no reader accepts.
pub struct SealedWriter {
    file: Box<dyn File>,
    name: String,
    kind: [u8; 8],
    buffer: Vec<u8>,
    written: u64,
    table: Vec<u8>,
    block_crc: u32,
}

impl SealedWriter {
    /// A new file; `kind` says what it holds and is checked when it is opened.
    pub fn create(disk: &dyn Disk, path: &Path, kind: [u8; 8]) -> Result<Self> {
        let file = disk.create(path).map_err(Error::io(format!("create {}", path.display())))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            file,
            name,
            kind,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            written: 0,
            table: Vec::new(),
            block_crc: 0,
        })
    }

    /// Appends to the body.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let to_block_end = BLOCK_BYTES - self.position() % BLOCK_BYTES;
            let take = bytes.len().min(to_block_end as usize);
            let (now, rest) = bytes.split_at(take);
            self.block_crc = crc32c::crc32c_append(self.block_crc, now);
            self.buffer.extend_from_slice(now);
            if take as u64 == to_block_end {
                self.end_block();
            }
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush()?;
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Pads the body with zeros to a multiple of `to`.
    pub fn align(&mut self, to: u64) -> Result<()> {
        let missing = self.position().next_multiple_of(to) - self.position();
        self.write(&vec![0; missing as usize])
    }

    /// Bytes of the body so far.
    pub fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Writes table, footer and header, and makes the content durable. The caller syncs the folder.
    pub fn finish(mut self) -> Result<FileEntry> {
        let body = self.position();
        if !body.is_multiple_of(BLOCK_BYTES) {
            self.end_block();
        }
        self.buffer.resize(self.buffer.len() + (body.next_multiple_of(8) - body) as usize, 0);
        let table_crc = crc32c::crc32c(&self.table);
        let table = std::mem::take(&mut self.table);
        self.buffer.extend_from_slice(&table);
        let mut footer = [0u8; FOOTER_BYTES as usize];
        footer[0..8].copy_from_slice(&body.to_le_bytes());
        footer[8..12].copy_from_slice(&table_crc.to_le_bytes());
        footer[16..24].copy_from_slice(&MAGIC);
        let crc = crc32c::crc32c(&footer[0..24]);
        footer[24..28].copy_from_slice(&crc.to_le_bytes());
        self.buffer.extend_from_slice(&footer);
        self.flush()?;
        self.put(&header(self.kind), 0)?;
        self.file.sync_data().map_err(Error::io(format!("sync {}", self.name)))?;
        Ok(FileEntry { name: self.name, size_bytes: HEADER_BYTES + self.written, crc32c: table_crc })
    }

    fn end_block(&mut self) {
        self.table.extend_from_slice(&self.block_crc.to_le_bytes());
        self.block_crc = 0;
    }

    fn flush(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        self.put(&buffer, HEADER_BYTES + self.written)?;
        self.written += buffer.len() as u64;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn put(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(Error::io(format!("write {}", self.name)))
    }
}

fn header(kind: [u8; 8]) -> Vec<u8> {
    let mut header = vec![0u8; HEADER_BYTES as usize];
    header[0..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&kind);
    header[16..20].copy_from_slice(&FORMAT.to_le_bytes());
    let crc = crc32c::crc32c(&header[0..HEADER_BYTES as usize - 4]);
    let end = HEADER_BYTES as usize - 4;
    header[end..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// A sealed file, open. Clones share the mapping and what has been verified of it.
#[derive(Clone)]
pub struct SealedFile(Arc<Open>);

struct Open {
    name: String,
    map: Mapped,
    body: Range<usize>,
    table: Range<usize>,
    /// One bit a block.
    verified: Box<[AtomicU64]>,
}

impl SealedFile {
    /// Opens and checks header, footer and block table; the body's blocks are checked as they are used.
    pub fn open(disk: &dyn Disk, path: &Path, kind: [u8; 8]) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let map = disk.map(path).map_err(Error::io(format!("open {}", path.display())))?;
        let damaged = |what: &str| Error::corrupt(name.clone(), what);
        let size = map.len() as u64;
        if size < HEADER_BYTES + FOOTER_BYTES {
            return Err(damaged("shorter than a header and a footer"));
        }
        let head = &map[..HEADER_BYTES as usize];
        if head[0..8] != MAGIC {
            return Err(damaged("not a sealed file"));
        }
        let format = le_u32(&head[16..20]);
        if format > FORMAT {
            return Err(damaged(&format!(
                "format {format}, this version reads up to {FORMAT}: use a newer one"
            )));
        }
        if head != header(kind) {
            return Err(damaged("header is damaged, or the file is of another kind or format"));
        }
        let footer = &map[(size - FOOTER_BYTES) as usize..];
        if le_u32(&footer[24..28]) != crc32c::crc32c(&footer[0..24]) || footer[28..32] != [0; 4] {
            return Err(damaged("footer is damaged"));
        }
        let body = u64::from_le_bytes(footer[0..8].try_into().expect("eight bytes"));
        let blocks = body.div_ceil(BLOCK_BYTES);
        let padded = body.checked_next_multiple_of(8).unwrap_or(u64::MAX);
        let expected = padded.checked_add(HEADER_BYTES + blocks * 4 + FOOTER_BYTES);
        if expected != Some(size) {
            return Err(damaged("length does not fit the footer"));
        }
        let table = (HEADER_BYTES + padded) as usize..(size - FOOTER_BYTES) as usize;
        if crc32c::crc32c(&map[table.clone()]) != le_u32(&footer[8..12]) {
            return Err(damaged("block table is damaged"));
        }
        let body = HEADER_BYTES as usize..(HEADER_BYTES + body) as usize;
        let verified = (0..blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self(Arc::new(Open { name, map, body, table, verified })))
    }

    /// [`Self::open`] of a file that a manifest names: its length and checksum must be the manifest's.
    pub fn open_entry(disk: &dyn Disk, dir: &Path, entry: &FileEntry, kind: [u8; 8]) -> Result<Self> {
        let file = Self::open(disk, &dir.join(&entry.name), kind).map_err(|e| match e {
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Error::corrupt(&entry.name, "missing, and the manifest names it")
            }
            e => e,
        })?;
        if file.entry() != *entry {
            return Err(file.corrupt("intact, but not the file that the manifest names"));
        }
        Ok(file)
    }

    /// [`Self::open_entry`] of a file of whatever kind, for whoever only wants to know whether it is intact.
    pub fn open_any(disk: &dyn Disk, dir: &Path, entry: &FileEntry) -> Result<Self> {
        let path = dir.join(&entry.name);
        let map = disk.map(&path).map_err(Error::io(format!("open {}", path.display())))?;
        let kind: Option<[u8; 8]> = map.get(8..16).and_then(|k| k.try_into().ok());
        let kind = kind.ok_or_else(|| Error::corrupt(&entry.name, "shorter than a header"))?;
        drop(map);
        Self::open_entry(disk, dir, entry, kind)
    }

    /// An [`Error::Corrupt`] of this file, for whoever understands its body.
    pub fn corrupt(&self, what: impl Into<String>) -> Error {
        Error::corrupt(self.0.name.clone(), what)
    }

    /// The entry that a manifest should have for this file.
    pub fn entry(&self) -> FileEntry {
        FileEntry {
            name: self.0.name.clone(),
            size_bytes: self.0.map.len() as u64,
            crc32c: crc32c::crc32c(&self.0.map[self.0.table.clone()]),
        }
    }

    /// Bytes of the body.
    pub fn len(&self) -> u64 {
        self.0.body.len() as u64
    }

    /// Whether the body has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.body.is_empty()
    }

    /// Checks the whole body; what was checked before is not read again.
    pub fn verify_all(&self) -> Result<()> {
        self.checked(0..self.len()).map(|_| ())
    }

    /// A range of the body whose blocks have been checked, now or before.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a block is damaged or the range lies outside the body.
    pub fn checked(&self, range: Range<u64>) -> Result<&[u8]> {
        if range.start > range.end || range.end > self.len() {
            return Err(Error::corrupt(self.0.name.clone(), "a range outside the body is named"));
        }
        if range.start < range.end {
            for block in range.start / BLOCK_BYTES..=(range.end - 1) / BLOCK_BYTES {
                self.check_block(block as usize)?;
            }
        }
        Ok(&self.bytes()[range.start as usize..range.end as usize])
    }

    /// The body. Only what [`Self::checked`] or [`Self::verify_all`] has passed may be believed.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.0.map[self.0.body.clone()]
    }

    /// The file's name, for messages.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    #[inline]
    fn check_block(&self, block: usize) -> Result<()> {
        let bit = 1u64 << (block % 64);
        if self.0.verified[block / 64].load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        self.verify_block(block)?;
        self.0.verified[block / 64].fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }

    #[cold]
    fn verify_block(&self, block: usize) -> Result<()> {
        let start = block * BLOCK_BYTES as usize;
        let end = (start + BLOCK_BYTES as usize).min(self.0.body.len());
        let stored = le_u32(&self.0.map[self.0.table.clone()][block * 4..block * 4 + 4]);
        if crc32c::crc32c(&self.bytes()[start..end]) != stored {
            return Err(Error::corrupt(
                self.0.name.clone(),
                format!("block {block} does not match its checksum"),
            ));
        }
        Ok(())
    }
}

fn le_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::RealDisk;

    const KIND: [u8; 8] = *b"TESTBODY";

    fn body_of(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    fn check(len: usize) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("f");
        let mut w = SealedWriter::create(&RealDisk, &path, KIND).expect("create");
        for part in body_of(len).chunks(1000) {
            w.write(part).expect("write");
        }
        let entry = w.finish().expect("finish");
        let f = SealedFile::open(&RealDisk, &path, KIND).expect("open");
        assert_eq!(f.entry(), entry);
        f.verify_all().expect("verify");
        assert_eq!(f.bytes(), body_of(len));
        assert_eq!(f.bytes().as_ptr().align_offset(64), 0);
        assert!(SealedFile::open(&RealDisk, &path, *b"OTHERKND").is_err());
    }

    #[test]
    fn what_was_written_is_read_back() {
        for len in [0, 1, 7, 65_535, 65_536, 65_537, 3_000_000] {
            check(len);
        }
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_detected_or_harmless() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("f");
        let mut w = SealedWriter::create(&RealDisk, &path, KIND).expect("create");
        w.write(&body_of(70_001)).expect("write");
        w.finish().expect("finish");
        let file = RealDisk.open(&path).expect("open");
        let size = file.size().expect("size");
        let read = || {
            let f = SealedFile::open(&RealDisk, &path, KIND)?;
            f.verify_all()?;
            Ok(f.bytes().to_vec())
        };
        for at in (0..size).filter(|at| at % 13 == 0 || *at < 64 || size - at < 64) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).expect("read");
            file.write_all_at(&[byte[0] ^ (1 << (at % 8))], at).expect("flip");
            match read() {
                Err(Error::Corrupt { .. }) => {}
                Err(e) => panic!("byte {at}: {e}"),
                // Only the padding between body and table is nobody's.
                Ok(body) => assert!(
                    body == body_of(70_001) && (HEADER_BYTES + 70_001..HEADER_BYTES + 70_008).contains(&at)
                ),
            }
            file.write_all_at(&byte, at).expect("flip back");
        }
        read().expect("intact again");
        for len in [size - 1, size - 32, size / 2, 4096, 100, 0] {
            file.set_len(len).expect("cut");
            assert!(matches!(read(), Err(Error::Corrupt { .. })), "cut to {len}");
        }
    }
}
