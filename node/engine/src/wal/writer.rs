//! Appends batches to the log.
//!
//! A batch is written with one `pwrite` behind a mark and made durable with one `fdatasync`; only then does
//! [`Wal::commit`] return. There is one writer. A sync that failed is never tried again: nobody knows what it left.

use std::path::PathBuf;
use std::sync::Arc;

use super::reader::Place;
use super::record::{self, FILE_HEADER_BYTES, FileHeader, KIND_MARK, MARK_BYTES, Record};
use super::{WalIdentity, WalOptions};
use crate::error::{Error, Result};
use crate::file::{Disk, File};

/// An open log.
pub struct Wal {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) identity: WalIdentity,
    pub(super) options: WalOptions,
    /// Oldest first; the last one is written to.
    pub(super) files: Vec<LogFile>,
    pub(super) open: OpenFile,
    /// The batch under way: room for its mark, then records without checksums.
    batch: Vec<u8>,
    /// (seq, term) of the batch's last record.
    batch_last: (u64, u64),
    poisoned: Option<String>,
}

/// One file of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogFile {
    pub index: u64,
    /// Sequence number of its first record.
    pub first_seq: u64,
}

/// The file that is written to.
pub(super) struct OpenFile {
    pub file: Box<dyn File>,
    pub file_crc: u32,
    /// Where the next batch goes. A mark that is already there is written again, with the same bytes.
    pub end: Place,
    pub marked: bool,
    /// Length of the file, reserved space included.
    pub allocated: u64,
}

impl Wal {
    /// Starts the log of a new copy; its first record will be `first_seq`.
    ///
    /// # Errors
    /// [`Error::BadInput`] if the folder already holds a log: only whoever knows that it was never used may
    /// remove it.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: impl Into<PathBuf>,
        identity: WalIdentity,
        first_seq: u64,
        options: WalOptions,
    ) -> Result<Self> {
        let dir = dir.into();
        disk.create_dir_all(&dir).map_err(Error::io(format!("create the folder {}", dir.display())))?;
        let names = disk.list(&dir).map_err(Error::io(format!("list {}", dir.display())))?;
        if names.iter().any(|name| index_of(name).is_some()) {
            return Err(Error::BadInput(format!("{} already holds a log", dir.display())));
        }
        assert!(first_seq > 0, "sequence numbers start at 1: 0 stands for nothing written yet");
        let header = FileHeader {
            identity,
            index: 1,
            previous: (first_seq - 1, 0),
            previous_end: 0,
            previous_crc: 0,
            synced_end: FILE_HEADER_BYTES,
        };
        let open = start_file(&*disk, &dir, &header, &[], options)?;
        Ok(Self::assemble(disk, dir, identity, options, vec![LogFile { index: 1, first_seq }], open))
    }

    pub(super) fn assemble(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        identity: WalIdentity,
        options: WalOptions,
        files: Vec<LogFile>,
        open: OpenFile,
    ) -> Self {
        let batch_last = open.end.last;
        Self {
            disk,
            dir,
            identity,
            options,
            files,
            open,
            batch: vec![0; MARK_BYTES],
            batch_last,
            poisoned: None,
        }
    }

    /// Adds a record to the batch. Nothing is written before [`Wal::commit`].
    ///
    /// # Errors
    /// [`Error::BadInput`] if the batch would become larger than the options allow: commit it first, or
    /// split the record. [`Error::Poisoned`] after an I/O error.
    ///
    /// # Panics
    /// If the record does not follow the one before it.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        self.check_usable()?;
        assert!(record.kind != KIND_MARK, "this kind is the log's own");
        let (seq, term) = self.batch_last;
        assert!(
            record.seq == seq + 1 && record.term >= term,
            "record ({}, {}) can't follow ({seq}, {term})",
            record.seq,
            record.term
        );
        if !self.has_room(record.body.len()) {
            return Err(Error::BadInput(format!(
                "a write of {} bytes is too large for one batch of the log: send fewer points at once",
                record.body.len()
            )));
        }
        record::push_unchecked(&mut self.batch, record.kind, record.seq, record.term, &record.body);
        self.batch_last = (record.seq, record.term);
        Ok(())
    }

    /// Whether a record with a body of that length still fits into the batch.
    pub fn has_room(&self, body_len: usize) -> bool {
        self.batch.len() + record::padded(body_len) <= self.options.batch_bytes_max
    }

    /// Makes the batch durable; gives the last durable sequence number.
    ///
    /// # Errors
    /// [`Error::NoSpace`]: the batch is dropped, the log is as before, and later batches may succeed. Any
    /// other error: whether the batch will be found after a restart is unknown; it must not be acknowledged,
    /// and everything from now on is [`Error::Poisoned`].
    pub fn commit(&mut self) -> Result<u64> {
        self.check_usable()?;
        if self.batch.len() == MARK_BYTES {
            return Ok(self.open.end.last.0);
        }
        let written = self.write_batch();
        self.batch.truncate(MARK_BYTES);
        if written.is_err() {
            self.batch_last = self.open.end.last;
        }
        written.map(|()| self.open.end.last.0)
    }

    /// Drops the batch under way.
    pub fn discard(&mut self) {
        self.batch.truncate(MARK_BYTES);
        self.batch_last = self.open.end.last;
    }

    /// Notes that everything is durable, if that isn't noted yet. Called when no write came for 100 ms and
    /// when the log is closed: damage to what lies before is then never taken for a torn tail.
    pub fn mark_idle(&mut self) -> Result<()> {
        self.check_usable()?;
        if self.open.marked {
            return Ok(());
        }
        let end = self.open.end;
        let (mark, _) = record::mark(end.offset, end.crc, self.open.file_crc, end.last.0, end.last.1);
        match self.open.file.write_all_at(&mark, end.offset) {
            Ok(()) => self.open.file.sync_data().map_err(|e| self.poison("sync", e))?,
            // The mark is only a help; it comes with the next batch that finds space.
            Err(e) => {
                return self
                    .cut_back("write a mark to", e)
                    .or_else(|e| if e.is_no_space() { Ok(()) } else { Err(e) });
            }
        }
        self.open.marked = true;
        self.open.allocated = self.open.allocated.max(end.offset + MARK_BYTES as u64);
        Ok(())
    }

    /// Removes the files that hold only records below `seq`. The caller has made sure, durably, that nobody
    /// needs them.
    pub fn truncate_before(&mut self, seq: u64) -> Result<()> {
        while self.files.len() > 1 && self.files[1].first_seq <= seq {
            let name = name_of(self.files[0].index);
            self.disk.remove_file(&self.dir.join(&name)).map_err(Error::io(format!("remove {name}")))?;
            self.files.remove(0);
            // One by one, so that a power loss never leaves a gap between files.
            self.disk.sync_dir(&self.dir).map_err(Error::io("sync the folder of the log"))?;
        }
        Ok(())
    }

    /// The last durable sequence number.
    pub fn last_seq(&self) -> u64 {
        self.open.end.last.0
    }

    /// The term of the last durable record.
    pub fn last_term(&self) -> u64 {
        self.open.end.last.1
    }

    /// The first sequence number that is still in the log, or will be its first.
    pub fn first_seq(&self) -> u64 {
        self.files[0].first_seq
    }

    /// How many files the log has.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Why the log stopped accepting writes, if it did.
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    fn check_usable(&self) -> Result<()> {
        match &self.poisoned {
            Some(why) => Err(Error::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    fn write_batch(&mut self) -> Result<()> {
        let need = self.batch.len() as u64;
        let used = self.open.end.offset > FILE_HEADER_BYTES;
        if used && self.open.end.offset + need > self.options.file_bytes {
            self.rotate()?;
        }
        let end = self.open.end;
        if end.offset + need > self.open.allocated {
            self.reserve(end.offset + need)?;
        }
        let (mark, crc) = record::mark(end.offset, end.crc, self.open.file_crc, end.last.0, end.last.1);
        self.batch[..MARK_BYTES].copy_from_slice(&mark);
        let crc = record::chain(&mut self.batch[MARK_BYTES..], crc);
        if let Err(e) = self.open.file.write_all_at(&self.batch, end.offset) {
            return self.cut_back("write to", e);
        }
        self.open.file.sync_data().map_err(|e| self.poison("sync", e))?;
        self.open.end = Place { offset: end.offset + need, crc, last: self.batch_last };
        self.open.marked = false;
        Ok(())
    }

    /// Reserves space for at least `len` bytes in all, a whole step if there is as much.
    fn reserve(&mut self, len: u64) -> Result<()> {
        let step = len.next_multiple_of(self.options.step_bytes).min(self.options.file_bytes).max(len);
        let reserved = match self.open.file.allocate(step) {
            Ok(()) => step,
            Err(_) if step > len => match self.open.file.allocate(len) {
                Ok(()) => len,
                Err(e) => return self.unreserve(e),
            },
            Err(e) => return self.unreserve(e),
        };
        self.open.allocated = reserved;
        Ok(())
    }

    fn unreserve(&mut self, e: std::io::Error) -> Result<()> {
        let error = Error::Io { what: "reserve space for the log".into(), source: e };
        if !error.is_no_space() {
            self.poisoned = Some(error.to_string());
            return Err(error);
        }
        self.open.file.set_len(self.open.allocated).map_err(|e| self.poison("cut", e))?;
        Err(no_space(&error))
    }

    /// A write failed, maybe after a part of it. If the disk is full, the part is cut off again and the log stays
    /// usable; anything else poisons it.
    fn cut_back(&mut self, call: &str, e: std::io::Error) -> Result<()> {
        let error = Error::Io { what: format!("{call} {}", self.name()), source: e };
        if !error.is_no_space() {
            self.poisoned = Some(error.to_string());
            return Err(error);
        }
        // A mark that was there before was written again with the same bytes.
        let mark = if self.open.marked { MARK_BYTES as u64 } else { 0 };
        let keep = self.open.end.offset + mark;
        self.open.file.set_len(keep).map_err(|e| self.poison("cut", e))?;
        self.open.allocated = keep;
        Err(no_space(&error))
    }

    /// Starts the next file. Everything in the present one is durable.
    fn rotate(&mut self) -> Result<()> {
        let end = self.open.end;
        let index = self.files[self.files.len() - 1].index + 1;
        let header = FileHeader {
            identity: self.identity,
            index,
            previous: end.last,
            previous_end: end.offset,
            previous_crc: end.crc,
            synced_end: FILE_HEADER_BYTES,
        };
        match start_file(&*self.disk, &self.dir, &header, &[], self.options) {
            Ok(open) => self.open = open,
            Err(e) if e.is_no_space() => return Err(no_space(&e)),
            Err(e) => {
                self.poisoned = Some(e.to_string());
                return Err(e);
            }
        }
        self.files.push(LogFile { index, first_seq: end.last.0 + 1 });
        Ok(())
    }

    fn name(&self) -> String {
        name_of(self.files[self.files.len() - 1].index)
    }

    fn poison(&mut self, call: &str, e: std::io::Error) -> Error {
        let error = Error::Io { what: format!("{call} {}", self.name()), source: e };
        self.poisoned = Some(error.to_string());
        error
    }
}

/// Writes a file that starts with `records`, already chained to what the header names, under another name, and gives
/// it its own once it is durable: a file of the log is never found half made.
pub(super) fn start_file(
    disk: &dyn Disk,
    dir: &std::path::Path,
    header: &FileHeader,
    records: &[u8],
    options: WalOptions,
) -> Result<OpenFile> {
    let name = name_of(header.index);
    let path = dir.join(&name);
    let temporary = dir.join(format!("{name}.tmp"));
    if disk.exists(&temporary) {
        disk.remove_file(&temporary).map_err(Error::io(format!("remove the leftover {name}.tmp")))?;
    }
    let (head, file_crc) = header.encode();
    let used = FILE_HEADER_BYTES + records.len() as u64;
    let fill = |file: &dyn File| {
        let mut allocated = used.next_multiple_of(options.step_bytes).min(options.file_bytes).max(used);
        if file.allocate(allocated).is_err() {
            file.allocate(used)?;
            allocated = used;
        }
        file.write_all_at(&head, 0)?;
        file.write_all_at(records, FILE_HEADER_BYTES)?;
        file.sync_data()?;
        Ok(allocated)
    };
    let file = disk.create(&temporary).map_err(Error::io(format!("create {name}")))?;
    let renamed = fill(&*file).and_then(|allocated| disk.rename(&temporary, &path).map(|()| allocated));
    let allocated = match renamed {
        Ok(allocated) => allocated,
        Err(e) => {
            // The space it took is needed; a leftover is removed by the next start.
            let _ = disk.remove_file(&temporary);
            return Err(Error::Io { what: format!("start {name}"), source: e });
        }
    };
    if let Err(e) = disk.sync_dir(dir) {
        // The file may or may not be there after a power loss: as bad as a failed sync of its content, even if
        // the system calls it a lack of space.
        return Err(Error::Poisoned(format!("sync the folder of {name}: {e}")));
    }
    let (seq, term) = header.previous;
    let end = Place { offset: used, crc: header.previous_crc, last: (seq, term) };
    Ok(OpenFile { file, file_crc, end, marked: false, allocated })
}

fn no_space(error: &Error) -> Error {
    Error::NoSpace(format!("the disk is full: {error}"))
}

pub(super) fn name_of(index: u64) -> String {
    format!("wal-{index:010}.log")
}

pub(super) fn index_of(name: &str) -> Option<u64> {
    let index = name.strip_prefix("wal-")?.strip_suffix(".log")?.parse().ok()?;
    (name_of(index) == name).then_some(index)
}
