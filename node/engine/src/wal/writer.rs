//! Appends batches to the log.
//!
//! A batch is written with one `pwrite` behind a mark and made durable with one `fdatasync`; only then does
//! [`Wal::commit`] return. There is one writer. A sync that failed is never tried again: nobody knows what it left.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
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
    pub(super) batch_last: (u64, u64),
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
    /// The length that the file has, unless it was cut back.
    pub reserved: u64,
    pub cut: bool,
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
            reserved: options.reserved_after(0),
        };
        let open = start_file(&*disk, &dir, header, &[], 0)?;
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
        if end.offset + MARK_BYTES as u64 > self.open.reserved {
            // No room, and not worth a new file: the next one says the same.
            return Ok(());
        }
        match self.lengthen() {
            Err(e) if e.is_no_space() => return Ok(()),
            other => other?,
        }
        let (mark, _) = record::mark(end.offset, end.crc, self.open.file_crc, end.last.0, end.last.1);
        match self.open.file.write_all_at(&mark, end.offset) {
            Ok(()) => self.open.file.sync_data().map_err(|e| self.poison("sync", e))?,
            // The mark is only a help; the next batch that finds space has another.
            Err(e) => {
                let error = self.cut_back("write a mark to", e);
                return if error.is_no_space() { Ok(()) } else { Err(error) };
            }
        }
        self.open.marked = true;
        Ok(())
    }

    /// Removes the files that hold only records below `seq`. The caller has made sure, durably, that nobody
    /// needs them.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if the folder could not be synced, or the system failed otherwise: nobody knows then which
    /// of the files a power loss brings back, and one behind a gap would pass for damage.
    pub fn truncate_before(&mut self, seq: u64) -> Result<()> {
        while self.files.len() > 1 && self.files[1].first_seq <= seq {
            let name = name_of(self.files[0].index);
            match self.disk.remove_file(&self.dir.join(&name)) {
                Err(e) if is_full(&e) => return Err(no_space(&e)),
                other => other.map_err(|e| self.poison("remove a file before", e))?,
            }
            self.files.remove(0);
            // One by one, so that a power loss never leaves a gap between files.
            self.disk.sync_dir(&self.dir).map_err(|e| self.poison("sync the folder of", e))?;
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

    pub(super) fn check_usable(&self) -> Result<()> {
        match &self.poisoned {
            Some(why) => Err(Error::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    fn write_batch(&mut self) -> Result<()> {
        let need = self.batch.len() as u64;
        if self.open.end.offset + need > self.open.reserved {
            self.rotate(need)?;
        }
        self.lengthen()?;
        let end = self.open.end;
        let (mark, crc) = record::mark(end.offset, end.crc, self.open.file_crc, end.last.0, end.last.1);
        self.batch[..MARK_BYTES].copy_from_slice(&mark);
        let crc = record::chain(&mut self.batch[MARK_BYTES..], crc);
        if let Err(e) = self.open.file.write_all_at(&self.batch, end.offset) {
            return Err(self.cut_back("write to", e));
        }
        self.open.file.sync_data().map_err(|e| self.poison("sync", e))?;
        self.open.end = Place { offset: end.offset + need, crc, last: self.batch_last };
        self.open.marked = false;
        Ok(())
    }

    /// A write failed, maybe after a part of it. If the disk is full (space was reserved, but some file systems
    /// need more to overwrite), the part is cut off again and the log stays usable; anything else poisons it.
    fn cut_back(&mut self, call: &str, e: std::io::Error) -> Error {
        if !is_full(&e) {
            return self.poison(call, e);
        }
        // A mark that was there before was written again with the same bytes.
        let mark = if self.open.marked { MARK_BYTES as u64 } else { 0 };
        self.open.cut = true;
        match self.open.file.set_len(self.open.end.offset + mark) {
            Ok(()) => no_space(&e),
            Err(e) => self.poison("cut", e),
        }
    }

    /// Gives a file that was cut back its length again, durably, before anything is written to it: only a file that
    /// ends right behind a batch may be shorter than its header says.
    fn lengthen(&mut self) -> Result<()> {
        if !self.open.cut {
            return Ok(());
        }
        match self.open.file.set_len(self.open.reserved) {
            Err(e) if is_full(&e) => return Err(no_space(&e)),
            other => other.map_err(|e| self.poison("lengthen", e))?,
        }
        self.open.file.sync_data().map_err(|e| self.poison("sync", e))?;
        self.open.cut = false;
        Ok(())
    }

    /// Starts the next file. Everything in the present one is durable.
    pub(super) fn rotate(&mut self, need: u64) -> Result<()> {
        let end = self.open.end;
        let index = self.files[self.files.len() - 1].index + 1;
        let header = FileHeader {
            identity: self.identity,
            index,
            previous: end.last,
            previous_end: end.offset,
            previous_crc: end.crc,
            synced_end: FILE_HEADER_BYTES,
            reserved: self.options.reserved_after(self.open.reserved),
        };
        match start_file(&*self.disk, &self.dir, header, &[], need) {
            Ok(open) => self.open = open,
            Err(e) if e.is_no_space() => return Err(e),
            Err(e) => {
                self.poisoned = Some(e.to_string());
                return Err(Error::Poisoned(e.to_string()));
            }
        }
        self.files.push(LogFile { index, first_seq: end.last.0 + 1 });
        Ok(())
    }

    fn name(&self) -> String {
        name_of(self.files[self.files.len() - 1].index)
    }

    pub(super) fn poison(&mut self, call: &str, e: std::io::Error) -> Error {
        let why = format!("{call} {}: {e}", self.name());
        self.poisoned = Some(why.clone());
        Error::Poisoned(why)
    }
}

/// Writes a file that starts with `records`, already chained to what the header names, under another name, and
/// gives it its own once it is durable: a file of the log is never found half made. Reserves what the header asks
/// for, or, if the disk is nearly full, just `room` bytes behind the records.
pub(super) fn start_file(
    disk: &dyn Disk,
    dir: &Path,
    mut header: FileHeader,
    records: &[u8],
    room: u64,
) -> Result<OpenFile> {
    let name = name_of(header.index);
    let path = dir.join(&name);
    let temporary = dir.join(format!("{name}.tmp"));
    if disk.exists(&temporary) {
        disk.remove_file(&temporary).map_err(Error::io(format!("remove the leftover {name}.tmp")))?;
    }
    let used = FILE_HEADER_BYTES + records.len() as u64;
    let mut fill = |file: &dyn File| {
        header.reserved = header.reserved.max(used + room);
        match file.allocate(header.reserved) {
            Err(e) if is_full(&e) && header.reserved > used + room => {
                header.reserved = used + room;
                file.set_len(0)?;
                file.allocate(header.reserved)?;
            }
            other => other?,
        }
        let (head, file_crc) = header.encode();
        file.write_all_at(&head, 0)?;
        file.write_all_at(records, FILE_HEADER_BYTES)?;
        file.sync_data()?;
        disk.rename(&temporary, &path)?;
        Ok(file_crc)
    };
    let file = disk.create(&temporary).map_err(Error::io(format!("create {name}")))?;
    let file_crc = match fill(&*file) {
        Ok(file_crc) => file_crc,
        Err(e) => {
            // The space it took is needed; a leftover is removed by the next start.
            let _ = disk.remove_file(&temporary);
            return Err(if is_full(&e) { no_space(&e) } else { Error::io(format!("start {name}"))(e) });
        }
    };
    if let Err(e) = disk.sync_dir(dir) {
        // The file may or may not be there after a power loss: as bad as a failed sync of its content, even if
        // the system calls it a lack of space.
        return Err(Error::Poisoned(format!("sync the folder of {name}: {e}")));
    }
    let end = Place { offset: used, crc: header.previous_crc, last: header.previous };
    Ok(OpenFile { file, file_crc, end, marked: false, reserved: header.reserved, cut: false })
}

fn is_full(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn no_space(e: &std::io::Error) -> Error {
    Error::NoSpace(format!("the disk is full, the write was refused: free some space ({e})"))
}

pub(super) fn name_of(index: u64) -> String {
    format!("wal-{index:010}.log")
}

pub(super) fn index_of(name: &str) -> Option<u64> {
    let index = name.strip_prefix("wal-")?.strip_suffix(".log")?.parse().ok()?;
    (name_of(index) == name).then_some(index)
}
