//! The per-point columns of a sealed segment that are not vectors: the seq of each point's last change, and the
//! payloads as the clients wrote them.
//!
//! Body of `versions`: a u64 for each point. Body of `payload`: the payloads one after another, padding to 8, where
//! each begins and the last one ends (u64 each), then the position of that table and the number of points.

use std::path::Path;

use crate::error::Result;
use crate::file::{Disk, FileEntry, SealedFile, SealedWriter, cast};
use crate::payload::RawPayload;

const VERSIONS: [u8; 8] = *b"versions";
const PAYLOAD: [u8; 8] = *b"payload ";
const TRAILER: u64 = 16;

/// The seq of each point's last change.
#[derive(Clone)]
pub struct Versions(SealedFile);

impl Versions {
    pub fn write(disk: &dyn Disk, path: &Path, versions: impl Iterator<Item = u64>) -> Result<FileEntry> {
        let mut out = SealedWriter::create(disk, path, VERSIONS)?;
        for version in versions {
            out.write(&version.to_le_bytes())?;
        }
        out.finish()
    }

    /// Opens and verifies; afterwards no look-up can fail.
    pub fn open(disk: &dyn Disk, dir: &Path, entry: &FileEntry, points: u32) -> Result<Self> {
        let file = SealedFile::open_entry(disk, dir, entry, VERSIONS)?;
        if file.len() != u64::from(points) * 8 {
            return Err(file.corrupt("its length does not fit the number of points"));
        }
        file.verify_all()?;
        Ok(Self(file))
    }

    #[inline]
    pub fn get(&self, offset: u32) -> u64 {
        cast::as_u64(self.0.bytes())[offset as usize]
    }
}

/// Writes payloads point by point.
pub struct PayloadWriter {
    out: SealedWriter,
    starts: Vec<u64>,
}

impl PayloadWriter {
    pub fn create(disk: &dyn Disk, path: &Path) -> Result<Self> {
        Ok(Self { out: SealedWriter::create(disk, path, PAYLOAD)?, starts: vec![0] })
    }

    /// The payload of the next point; empty for none.
    pub fn push(&mut self, payload: &[u8]) -> Result<()> {
        self.out.write(payload)?;
        self.starts.push(self.out.position());
        Ok(())
    }

    pub fn finish(mut self) -> Result<FileEntry> {
        self.out.align(8)?;
        let table = self.out.position();
        self.out.write(cast::bytes(&self.starts))?;
        self.out.write(&table.to_le_bytes())?;
        self.out.write(&(self.starts.len() as u64 - 1).to_le_bytes())?;
        self.out.finish()
    }
}

/// The payloads of a segment. Blocks are verified as they are read.
#[derive(Clone)]
pub struct Payloads {
    file: SealedFile,
    table: u64,
    points: u32,
}

impl Payloads {
    pub fn open(disk: &dyn Disk, dir: &Path, entry: &FileEntry, points: u32) -> Result<Self> {
        let file = SealedFile::open_entry(disk, dir, entry, PAYLOAD)?;
        let fits = || file.corrupt("its length does not fit the number of points");
        let end = file.len().checked_sub(TRAILER).ok_or_else(fits)?;
        let trailer: &[u64] = cast::numbers(file.checked(end..end + TRAILER)?)?;
        let (table, count) = (trailer[0], trailer[1]);
        if count != u64::from(points) || table.checked_add((count + 1) * 8) != Some(end) {
            return Err(fits());
        }
        Ok(Self { table, points, file })
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file.len()
    }

    /// The bytes of a payload, none if the point has no payload.
    pub fn bytes(&self, offset: u32) -> Result<&[u8]> {
        assert!(offset < self.points, "offset {offset} of {} payloads", self.points);
        let at = self.table + u64::from(offset) * 8;
        let bounds: &[u64] = cast::numbers(self.file.checked(at..at + 16)?)?;
        self.file.checked(bounds[0]..bounds[1])
    }

    pub fn get(&self, offset: u32) -> Result<RawPayload> {
        Ok(RawPayload::from_json_bytes(self.bytes(offset)?))
    }
}
