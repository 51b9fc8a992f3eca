//! Reads the log after a start.
//!
//! What a power loss can leave is a batch that was never acknowledged, whole or in parts, at the very end:
//! it is cut. Anything else is damage and an error, because behind it may lie what was acknowledged. After a
//! start that wasn't clean, the records behind the last mark may be in the page cache only; they are
//! written again, and synced, before they count.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reader::{Place, Scan, later_mark, scan};
use super::record::{self, FILE_HEADER_BYTES, FileHeader, MARK_BYTES, Record};
use super::writer::{LogFile, OpenFile, Wal, index_of, name_of, start_file};
use super::{WalIdentity, WalOptions};
use crate::error::{Error, Result};
use crate::file::{Disk, File};

/// What the log holds.
#[derive(Debug)]
pub struct Recovered {
    /// In order, without gaps; all durable.
    pub records: Vec<Record>,
    /// Whether bytes of an unfinished batch were cut off.
    pub torn_tail: bool,
}

/// One file as it was read.
pub(super) struct Loaded {
    name: String,
    file: Box<dyn File>,
    pub bytes: Vec<u8>,
    pub header: FileHeader,
    pub file_crc: u32,
}

impl Wal {
    /// Opens the log of a copy and gives the records behind `applied_seq`, which is what the manifest says is
    /// in the segments.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if anything but an unfinished batch at the end is missing or damaged: the copy must not be
    /// used for writes.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: impl Into<PathBuf>,
        identity: WalIdentity,
        applied_seq: u64,
        options: WalOptions,
    ) -> Result<(Self, Recovered)> {
        let dir = dir.into();
        // A rename may have failed to become durable before the process ended; what is read now must stay.
        disk.sync_dir(&dir).map_err(Error::io(format!("sync the folder {}", dir.display())))?;
        let indexes = indexes(&*disk, &dir)?;
        let mut files = Vec::new();
        let mut records = Vec::new();
        let mut loaded = load(&*disk, &dir, indexes[0], identity)?;
        let mut last = loaded.header.previous;
        if last.0 > applied_seq {
            let first = last.0 + 1;
            return Err(
                loaded.corrupt(format!("the log starts at {first}, the segments end at {applied_seq}"))
            );
        }
        for &index in &indexes[1..] {
            let next = load(&*disk, &dir, index, identity)?;
            let scan = loaded.scan(next.header.previous_end, last)?;
            let joint = Place {
                offset: next.header.previous_end,
                crc: next.header.previous_crc,
                last: next.header.previous,
            };
            if scan.end != joint {
                let what = format!("damaged at {}: the next file follows {}", scan.end.offset, joint.offset);
                return Err(loaded.corrupt(what));
            }
            files.push(loaded.entry());
            last = scan.end.last;
            records.extend(scan.records.into_iter().filter(|r| r.seq > applied_seq));
            loaded = next;
        }
        let scan = loaded.scan(u64::MAX, last)?;
        let torn_tail = check_end(&loaded, &scan)?;
        if scan.end.last.0 < applied_seq {
            let what = format!("the log ends at {}, the segments at {applied_seq}", scan.end.last.0);
            return Err(loaded.corrupt(what));
        }
        files.push(loaded.entry());
        let open = if torn_tail || scan.records_durable < scan.records.len() {
            let reserved = options.reserved_after(loaded.header.reserved);
            continue_anew(&*disk, &dir, loaded, &scan, &mut files, reserved)?
        } else {
            loaded.into_open(scan.durable, scan.marked)
        };
        records.extend(scan.records.into_iter().filter(|r| r.seq > applied_seq));
        Ok((Self::assemble(disk, dir, identity, options, files, open), Recovered { records, torn_tail }))
    }
}

impl Loaded {
    pub fn corrupt(&self, what: impl Into<String>) -> Error {
        Error::corrupt(&self.name, what)
    }

    fn entry(&self) -> LogFile {
        LogFile { index: self.header.index, first_seq: self.header.previous.0 + 1 }
    }

    pub fn scan(&self, limit: u64, previous: (u64, u64)) -> Result<Scan> {
        if self.header.previous != previous {
            return Err(self.corrupt("the header does not follow the file before"));
        }
        scan(&self.bytes, &self.header, self.file_crc, limit).map_err(|what| self.corrupt(what))
    }

    /// Goes on writing at `end`; a mark that is there is written again with the next batch.
    fn into_open(self, end: Place, marked: bool) -> OpenFile {
        let reserved = self.header.reserved;
        let cut = (self.bytes.len() as u64) < reserved;
        OpenFile { file: self.file, file_crc: self.file_crc, end, marked, reserved, cut }
    }
}

/// The numbers of the log's files, ascending and without a gap.
fn indexes(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>> {
    let mut indexes = Vec::new();
    for name in disk.list(dir).map_err(Error::io(format!("list {}", dir.display())))? {
        if let Some(index) = index_of(&name) {
            indexes.push(index);
        } else if name.starts_with("wal-") && name.ends_with(".tmp") {
            disk.remove_file(&dir.join(&name)).map_err(Error::io(format!("remove the leftover {name}")))?;
        }
    }
    indexes.sort_unstable();
    if indexes.is_empty() {
        return Err(Error::corrupt("wal", "the log has no files"));
    }
    if let Some(gap) = indexes.windows(2).find(|w| w[1] != w[0] + 1) {
        return Err(Error::corrupt(name_of(gap[0] + 1), "this file of the log is missing"));
    }
    Ok(indexes)
}

pub(super) fn load(disk: &dyn Disk, dir: &Path, index: u64, identity: WalIdentity) -> Result<Loaded> {
    let name = name_of(index);
    let file = disk.open(&dir.join(&name)).map_err(Error::io(format!("open {name}")))?;
    let size = file.size().map_err(Error::io(format!("size of {name}")))?;
    let size = usize::try_from(size).map_err(|_| Error::corrupt(&name, "too long for this machine"))?;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, 0).map_err(Error::io(format!("read {name}")))?;
    let (header, file_crc) = FileHeader::decode(&bytes).map_err(|what| Error::corrupt(&name, what))?;
    if header.index != index {
        return Err(Error::corrupt(&name, format!("this is the log's file number {}", header.index)));
    }
    if header.identity != identity {
        return Err(Error::corrupt(
            &name,
            "this file belongs to another shard or to another copy of this one",
        ));
    }
    Ok(Loaded { name, file, bytes, header, file_crc })
}

/// Whether something unfinished lies behind the last intact record of the last file; an error if that record was
/// followed by others that were durable.
fn check_end(loaded: &Loaded, scan: &Scan) -> Result<bool> {
    let at = scan.end.offset;
    if at < loaded.header.synced_end {
        return Err(loaded.corrupt(format!("damaged at {at}, in what was durable before the file was used")));
    }
    let len = loaded.bytes.len() as u64;
    // A full disk may have cut the file behind its last batch; nothing else ever makes it shorter.
    if len < loaded.header.reserved && len != at {
        let what = format!("cut to {len} bytes in the middle of a record, of {}", loaded.header.reserved);
        return Err(loaded.corrupt(what));
    }
    // Mostly there are zeros to the end, and no mark can be among them.
    if loaded.bytes.get(at as usize..).is_none_or(is_zeros) {
        return Ok(false);
    }
    if let Some(mark) = later_mark(&loaded.bytes, at, loaded.file_crc) {
        return Err(loaded.corrupt(format!("damaged at {at}: the mark at {mark} says that it was durable")));
    }
    Ok(true)
}

/// In blocks without a branch for each byte, which the compiler makes vector instructions of.
fn is_zeros(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|block| block.iter().fold(0, |all, b| all | b) == 0)
}

/// Writes what lies behind the last durable place into a file of its own, or, if the disk is too full for that,
/// again where it is.
fn continue_anew(
    disk: &dyn Disk,
    dir: &Path,
    loaded: Loaded,
    scan: &Scan,
    files: &mut Vec<LogFile>,
    reserved: u64,
) -> Result<OpenFile> {
    let from = scan.durable;
    let tail = &scan.records[scan.records_durable..];
    let mut bytes = Vec::new();
    for r in tail {
        record::push_unchecked(&mut bytes, r.kind, r.seq, r.term, &r.body);
    }
    let crc = record::chain(&mut bytes, from.crc);
    let index = loaded.header.index + 1;
    let header = FileHeader {
        identity: loaded.header.identity,
        index,
        previous: from.last,
        previous_end: from.offset,
        previous_crc: from.crc,
        synced_end: FILE_HEADER_BYTES + bytes.len() as u64,
        reserved,
    };
    match start_file(disk, dir, header, &bytes, 0) {
        Ok(mut open) => {
            open.end = Place { crc, last: scan.end.last, ..open.end };
            files.push(LogFile { index, first_seq: from.last.0 + 1 });
            Ok(open)
        }
        Err(e) if e.is_no_space() => {
            rewrite_in_place(&loaded, scan)?;
            Ok(loaded.into_open(scan.end, false))
        }
        Err(e) => Err(e),
    }
}

/// The same bytes once more, then zeros, then a sync: takes no space that the file does not have.
fn rewrite_in_place(loaded: &Loaded, scan: &Scan) -> Result<()> {
    let (from, to) = (scan.durable.offset as usize, scan.end.offset as usize);
    let mut bytes = loaded.bytes[from..].to_vec();
    bytes[to - from..].fill(0);
    let what = |call: &str| format!("{call} the end of {} again", loaded.name);
    loaded.file.write_all_at(&bytes, from as u64).map_err(Error::io(what("write")))?;
    loaded.file.sync_data().map_err(Error::io(what("sync")))
}

const _: () = assert!(MARK_BYTES.is_multiple_of(8), "marks are searched in steps of 8");
