//! The manifest: which files make up a shard, and what they contain.
//!
//! `CURRENT` names a `MANIFEST-n`, an append-only list of edits that starts with a whole state. Nothing is part of
//! the shard before its edit is durable, and no file is removed before the edit without it is. Recovery
//! tells an edit that was torn by a power loss (never published, dropped) from damage to one that was
//! published (an error). The layout is in docs/storage-format.md, "Manifest".

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bounds::Bounds;
use crate::config::{CollectionConfig, FieldSchema};
use crate::error::{Error, Result};
use crate::file::{Disk, File, FileEntry, atomic};
use crate::wal::WalIdentity;

/// Files from this format on are understood.
const READER: u32 = 1;
/// What this version writes, and the oldest reader that understands it.
const FORMAT: Format = Format { reader_min: 1, writer: 1 };
const FORMAT_FILE: &str = "FORMAT";
const CURRENT_FILE: &str = "CURRENT";
const PREFIX: &str = "MANIFEST-";
const MAGIC: &[u8; 8] = b"QUIVMANI";
const HEADER_BYTES: u64 = 32;
const RECORD_HEADER_BYTES: usize = 16;
const MARK_BYTES: usize = RECORD_HEADER_BYTES + 16;
/// Reserved for edits behind a state, beside the state's own length once more. When it is used up, a new file with
/// just the state follows.
const EDIT_BYTES: u64 = 64 << 10;
/// No manifest is larger; keeps damaged lengths from reserving memory.
const SIZE_MAX: u64 = 1 << 30;

const KIND_STATE: u8 = 1;
const KIND_EDIT: u8 = 2;
const KIND_MARK: u8 = 3;

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Format {
    reader_min: u32,
    writer: u32,
}

/// What a shard consists of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ManifestState {
    pub identity: WalIdentity,
    /// The highest term that was promised.
    pub term: u64,
    /// Everything up to this place of the log is in the segments.
    pub applied_seq: u64,
    /// The term of that place.
    pub applied_term: u64,
    pub next_segment_id: u64,
    /// In the order of their ids.
    pub segments: Vec<SegmentEntry>,
    /// Payload indexes by the text of their path.
    pub indexes: BTreeMap<String, FieldSchema>,
    pub config: CollectionConfig,
    /// What the shard owns, as of that place of the log.
    #[serde(default, skip_serializing_if = "Bounds::is_default")]
    pub bounds: Bounds,
}

/// A sealed segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentEntry {
    pub id: u64,
    /// Points in its files, deleted ones too.
    pub points: u32,
    pub files: Vec<FileEntry>,
    /// Which of its points are deleted; `None`: none is.
    pub deleted: Option<DeletedEntry>,
}

/// A generation of a segment's deletions; a newer one is another file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeletedEntry {
    pub generation: u64,
    pub points: u32,
    pub file: FileEntry,
}

/// A change of the state, published as a whole or not at all. What is `None` or empty stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ManifestEdit {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// (seq, term) up to which the log is in the segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<(u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_segment_id: Option<u64>,
    /// New segments, and new versions of existing ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub put: Vec<SegmentEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indexes: Option<BTreeMap<String, FieldSchema>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<CollectionConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
}

impl ManifestState {
    fn apply(&mut self, edit: ManifestEdit) {
        self.term = self.term.max(edit.term.unwrap_or(0));
        if let Some((seq, term)) = edit.applied {
            assert!(seq >= self.applied_seq, "a manifest never forgets what it contains");
            (self.applied_seq, self.applied_term) = (seq, term);
        }
        if let Some(id) = edit.next_segment_id {
            self.next_segment_id = id;
        }
        self.segments.retain(|s| !edit.remove.contains(&s.id) && edit.put.iter().all(|p| p.id != s.id));
        self.segments.extend(edit.put);
        self.segments.sort_unstable_by_key(|s| s.id);
        if let Some(indexes) = edit.indexes {
            self.indexes = indexes;
        }
        if let Some(config) = edit.config {
            self.config = config;
        }
        if let Some(bounds) = edit.bounds {
            self.bounds = bounds;
        }
    }
}

/// An open manifest. One writer; the shard guards it.
pub struct Manifest {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    state: ManifestState,
    number: u64,
    file: Box<dyn File>,
    /// Where the next record goes, and the checksum of the last one.
    end: u64,
    crc: u32,
    header_crc: u32,
    /// The length that the file has, unless it was cut back.
    reserved: u64,
    cut: bool,
    poisoned: Option<String>,
}

impl Manifest {
    /// Whether a shard was created in this folder. Without it, whatever lies there was never finished.
    pub fn exists(disk: &dyn Disk, dir: &Path) -> bool {
        disk.exists(&dir.join(CURRENT_FILE))
    }

    /// Writes the first manifest of a shard. The shard exists once this returns, and not before.
    pub fn create(disk: Arc<dyn Disk>, dir: &Path, state: ManifestState) -> Result<Self> {
        disk.create_dir_all(dir).map_err(Error::io(format!("create the folder {}", dir.display())))?;
        if Self::exists(&*disk, dir) {
            return Err(Error::BadInput(format!("{} already holds a shard", dir.display())));
        }
        remove_others(&*disk, dir, 0)?;
        atomic::write_json(&*disk, &dir.join(FORMAT_FILE), &FORMAT)?;
        Self::start(disk, dir, state, 1)
    }

    /// Opens the manifest of a shard.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if something that was published can't be read; an I/O error of the kind
    /// `Unsupported` if a newer version wrote it.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self> {
        // A rename may have failed to become durable before the process ended; what is read now must stay.
        disk.sync_dir(dir).map_err(Error::io(format!("sync the folder {}", dir.display())))?;
        check_format(&*disk, dir)?;
        let current = atomic::read(&*disk, &dir.join(CURRENT_FILE))?;
        let name = String::from_utf8_lossy(&current).trim_end().to_owned();
        let number = number_of(&name)
            .ok_or_else(|| Error::corrupt(CURRENT_FILE, format!("`{name}` is no manifest's name")))?;
        let file = disk.open(&dir.join(&name)).map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::corrupt(&name, "CURRENT names it, and it is missing"),
            _ => Error::io(format!("open {name}"))(e),
        })?;
        let bytes = read_all(&*file, &name)?;
        let read = Read::run(&bytes, number).map_err(|what| Error::corrupt(&name, what))?;
        remove_others(&*disk, dir, number)?;
        if !read.clean {
            // The tail was torn, or may be in the page cache only: what counts is first made durable anew.
            let manifest = Self::start(disk.clone(), dir, read.state, number + 1)?;
            remove_others(&*disk, dir, number + 1)?;
            return Ok(manifest);
        }
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            state: read.state,
            number,
            file,
            end: read.end,
            crc: read.crc,
            header_crc: read.header_crc,
            reserved: read.reserved,
            cut: (bytes.len() as u64) < read.reserved,
            poisoned: None,
        })
    }

    /// What is published.
    pub fn state(&self) -> &ManifestState {
        &self.state
    }

    /// Publishes an edit; durable when it returns.
    ///
    /// # Errors
    /// [`Error::NoSpace`]: nothing has changed, and a later edit may succeed. Any other I/O error:
    /// whether the edit is durable is unknown, and every later one is [`Error::Poisoned`].
    pub fn publish(&mut self, edit: ManifestEdit) -> Result<()> {
        if let Some(why) = &self.poisoned {
            return Err(Error::Poisoned(why.clone()));
        }
        let body = serde_json::to_vec(&edit).expect("our own types always print as JSON");
        let mut record = Vec::new();
        let crc = push_record(&mut record, KIND_EDIT, &body, self.crc);
        let len = record.len() as u64;
        if self.end + len + MARK_BYTES as u64 > self.reserved {
            let mut state = self.state.clone();
            state.apply(edit);
            return self.replace(state);
        }
        self.lengthen()?;
        if let Err(e) = self.file.write_all_at(&record, self.end) {
            return Err(self.failed("write", e));
        }
        if let Err(e) = self.file.sync_data() {
            return Err(self.poison("sync", e));
        }
        self.end += len;
        self.crc = crc;
        self.state.apply(edit);
        self.mark();
        Ok(())
    }

    /// Notes behind an edit that it is durable; a damaged edit is then known from a torn one. The note is
    /// not synced: without it the edit is still taken, if it is intact.
    fn mark(&mut self) {
        let (mark, crc) = mark_bytes(self.end, self.crc, self.header_crc);
        match self.file.write_all_at(&mark, self.end) {
            Ok(()) => {
                self.end += mark.len() as u64;
                self.crc = crc;
            }
            // The edit stands; only the next one finds the manifest poisoned.
            Err(e) => drop(self.failed("mark", e)),
        }
    }

    /// Publishes a state by a file of its own.
    fn replace(&mut self, state: ManifestState) -> Result<()> {
        let next = self.number + 1;
        match Self::start(self.disk.clone(), &self.dir, state, next) {
            Ok(fresh) => {
                *self = fresh;
                // A leftover costs space only; the next start tries again.
                let _ = remove_others(&*self.disk, &self.dir, next);
                Ok(())
            }
            Err(e) if e.is_no_space() && self.is_current() => {
                let _ = self.disk.remove_file(&self.dir.join(name_of(next)));
                Err(Error::NoSpace(format!("the disk is full: free some space ({e})")))
            }
            // `CURRENT` may name either file now.
            Err(e) => {
                self.poisoned = Some(e.to_string());
                Err(Error::Poisoned(e.to_string()))
            }
        }
    }

    fn is_current(&self) -> bool {
        let expected = format!("{}\n", name_of(self.number));
        atomic::read(&*self.disk, &self.dir.join(CURRENT_FILE)).is_ok_and(|name| name == expected.as_bytes())
    }

    /// Writes a file with one state and makes it the current one.
    fn start(disk: Arc<dyn Disk>, dir: &Path, state: ManifestState, number: u64) -> Result<Self> {
        let name = name_of(number);
        let path = dir.join(&name);
        if disk.exists(&path) {
            disk.remove_file(&path).map_err(Error::io(format!("remove the leftover {name}")))?;
        }
        let body = serde_json::to_vec(&state).expect("our own types always print as JSON");
        let used = HEADER_BYTES + padded(body.len()) as u64 + MARK_BYTES as u64;
        let mut reserved = (2 * used + EDIT_BYTES).next_multiple_of(4096);
        let file = disk.create(&path).map_err(Error::io(format!("create {name}")))?;
        match file.allocate(reserved).map_err(Error::io(format!("reserve space for {name}"))) {
            Err(e) if e.is_no_space() => {
                // Nearly full: each edit then needs a file of its own, but goes on being published.
                reserved = used;
                file.set_len(0).map_err(Error::io(format!("shorten {name}")))?;
            }
            other => other?,
        }
        let mut bytes = header(number, reserved);
        let header_crc = crc32c::crc32c(&bytes);
        let crc = push_record(&mut bytes, KIND_STATE, &body, header_crc);
        let (mark, crc) = mark_bytes(bytes.len() as u64, crc, header_crc);
        bytes.extend_from_slice(&mark);
        file.write_all_at(&bytes, 0).map_err(Error::io(format!("write {name}")))?;
        file.sync_data().map_err(Error::io(format!("sync {name}")))?;
        disk.sync_dir(dir).map_err(Error::io(format!("sync the folder of {name}")))?;
        atomic::write(&*disk, &dir.join(CURRENT_FILE), format!("{name}\n").as_bytes())?;
        let (dir, end) = (dir.to_owned(), bytes.len() as u64);
        Ok(Self {
            disk,
            dir,
            state,
            number,
            file,
            end,
            crc,
            header_crc,
            reserved,
            cut: false,
            poisoned: None,
        })
    }

    /// A write failed: cut back what may have been written. Only a full disk leaves the manifest usable.
    fn failed(&mut self, call: &str, e: std::io::Error) -> Error {
        if !matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            return self.poison(call, e);
        }
        self.cut = true;
        // Synced, because the caller will remove the files that the edit names: it must not come back.
        match self.file.set_len(self.end).and_then(|()| self.file.sync_data()) {
            Ok(()) => Error::NoSpace(format!("the disk is full: free some space ({e})")),
            Err(e) => self.poison("cut", e),
        }
    }

    /// Gives a file that was cut back its length again, durably, before anything is written to it: only a file
    /// that ends right behind a record may be shorter than its header says.
    fn lengthen(&mut self) -> Result<()> {
        if !self.cut {
            return Ok(());
        }
        if let Err(e) = self.file.set_len(self.reserved) {
            return Err(self.failed("lengthen", e));
        }
        self.file.sync_data().map_err(|e| self.poison("sync", e))?;
        self.cut = false;
        Ok(())
    }

    fn poison(&mut self, call: &str, e: std::io::Error) -> Error {
        let why = format!("{call} {}: {e}", name_of(self.number));
        self.poisoned = Some(why.clone());
        Error::Poisoned(why)
    }
}

/// What a manifest file says.
struct Read {
    state: ManifestState,
    end: u64,
    crc: u32,
    header_crc: u32,
    reserved: u64,
    /// Everything is known to be durable, and nothing lies behind it.
    clean: bool,
}

impl Read {
    fn run(bytes: &[u8], number: u64) -> std::result::Result<Self, String> {
        let head = bytes.get(..HEADER_BYTES as usize).ok_or("shorter than its header")?;
        let reserved = u64::from_le_bytes(head[24..].try_into().expect("the rest is 8 bytes long"));
        if head != header(number, reserved) {
            return Err("the header is not that of this manifest".into());
        }
        let header_crc = crc32c::crc32c(&bytes[..HEADER_BYTES as usize]);
        let (mut at, mut crc) = (HEADER_BYTES as usize, header_crc);
        let mut state: Option<ManifestState> = None;
        let mut clean = false;
        while let Some((kind, body, next, next_crc)) = record_at(bytes, at, crc, header_crc) {
            let not_understood = |e| format!("the record at {at} is intact, but not understood: {e}");
            match (kind, &mut state) {
                (KIND_STATE, None) => state = Some(serde_json::from_slice(body).map_err(not_understood)?),
                (KIND_EDIT, Some(state)) => {
                    let edit: ManifestEdit = serde_json::from_slice(body).map_err(not_understood)?;
                    if edit.applied.is_some_and(|(seq, _)| seq < state.applied_seq) {
                        return Err(format!("the edit at {at} goes back in the log"));
                    }
                    state.apply(edit);
                }
                (KIND_MARK, Some(_)) => {}
                _ => return Err(format!("a record of the kind {kind} can't be at {at}")),
            }
            clean = kind == KIND_MARK;
            (at, crc) = (next, next_crc);
        }
        // The first record was durable before `CURRENT` named the file, so it can't be torn.
        let state = state.ok_or("the state at its start is damaged")?;
        let later_mark = (at..bytes.len()).step_by(8).find(|&y| is_mark(bytes, y, header_crc));
        if let Some(mark) = later_mark {
            return Err(format!("the record at {at} is damaged; the one at {mark} says that it was durable"));
        }
        let len = bytes.len() as u64;
        if len < reserved && len != at as u64 {
            return Err(format!("cut to {len} bytes in the middle of a record, of {reserved}"));
        }
        clean &= bytes[at..].iter().all(|&b| b == 0);
        Ok(Self { state, end: at as u64, crc, header_crc, reserved, clean })
    }
}

/// The intact record at a place: its kind, its body, and where and with which checksum the next one starts.
fn record_at(bytes: &[u8], at: usize, seed: u32, header_crc: u32) -> Option<(u8, &[u8], usize, u32)> {
    let header = bytes.get(at..at + RECORD_HEADER_BYTES)?;
    let len = u32_at(header, 0) as usize;
    let body = bytes.get(at + RECORD_HEADER_BYTES..)?.get(..len)?;
    let next = at + padded(len);
    let kind = header[8];
    if kind == KIND_MARK {
        let (expected, crc) = mark_bytes(at as u64, seed, header_crc);
        return (bytes.get(at..at + MARK_BYTES)? == expected).then_some((kind, body, next, crc));
    }
    let mut expected = Vec::with_capacity(next - at);
    let crc = push_record(&mut expected, kind, body, seed);
    (bytes.get(at..next)? == expected).then_some((kind, body, next, crc))
}

/// A mark carries its own place and the checksum before it, and is seeded by the header: it can be recognised
/// without what lies before it.
fn is_mark(bytes: &[u8], at: usize, header_crc: u32) -> bool {
    let Some(found) = bytes.get(at..at + MARK_BYTES) else { return false };
    found == mark_bytes(at as u64, u32_at(found, RECORD_HEADER_BYTES + 8), header_crc).0
}

fn mark_bytes(at: u64, crc_before: u32, header_crc: u32) -> (Vec<u8>, u32) {
    let mut body = [0; 16];
    body[..8].copy_from_slice(&at.to_le_bytes());
    body[8..12].copy_from_slice(&crc_before.to_le_bytes());
    let mut mark = Vec::with_capacity(MARK_BYTES);
    let crc = push_record(&mut mark, KIND_MARK, &body, header_crc);
    (mark, crc)
}

/// Appends a record: length, checksum, kind, body, zeros up to a multiple of 8. Gives the checksum, which
/// covers all but itself and the zeros, and is seeded by the one before.
fn push_record(bytes: &mut Vec<u8>, kind: u8, body: &[u8], seed: u32) -> u32 {
    let start = bytes.len();
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(body);
    let crc = crc32c::crc32c_append(seed, &bytes[start..start + 4]);
    let crc = crc32c::crc32c_append(crc, &bytes[start + 8..]);
    bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    bytes.resize(start + padded(body.len()), 0);
    crc
}

/// Length of a record with its header, and zeros up to a multiple of 8.
fn padded(body_len: usize) -> usize {
    (RECORD_HEADER_BYTES + body_len).next_multiple_of(8)
}

fn header(number: u64, reserved: u64) -> Vec<u8> {
    let mut header = vec![0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT.writer.to_le_bytes());
    header[16..24].copy_from_slice(&number.to_le_bytes());
    header[24..].copy_from_slice(&reserved.to_le_bytes());
    let crc = crc32c::crc32c(&header);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header
}

fn check_format(disk: &dyn Disk, dir: &Path) -> Result<()> {
    if !disk.exists(&dir.join(FORMAT_FILE)) {
        return Err(Error::corrupt(FORMAT_FILE, "missing, and the folder holds a shard"));
    }
    let format: Format = atomic::read_json(disk, &dir.join(FORMAT_FILE))?;
    if format.reader_min > READER {
        let text = format!(
            "{} was written in format {}, which needs a reader of format {} or newer; this version reads up to \
             {READER}: start the newer version again, or restore a snapshot",
            dir.display(),
            format.writer,
            format.reader_min
        );
        return Err(Error::Io {
            what: FORMAT_FILE.into(),
            source: std::io::Error::new(ErrorKind::Unsupported, text),
        });
    }
    Ok(())
}

fn read_all(file: &dyn File, name: &str) -> Result<Vec<u8>> {
    let size = file.size().map_err(Error::io(format!("size of {name}")))?;
    if size > SIZE_MAX {
        return Err(Error::corrupt(name, format!("{size} bytes are too many for a manifest")));
    }
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, 0).map_err(Error::io(format!("read {name}")))?;
    Ok(bytes)
}

/// Removes manifests that are not, or no longer, current.
fn remove_others(disk: &dyn Disk, dir: &Path, current: u64) -> Result<()> {
    for name in disk.list(dir).map_err(Error::io(format!("list {}", dir.display())))? {
        if number_of(&name).is_some_and(|n| n != current) {
            disk.remove_file(&dir.join(&name)).map_err(Error::io(format!("remove {name}")))?;
        }
    }
    Ok(())
}

fn name_of(number: u64) -> String {
    format!("{PREFIX}{number}")
}

fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix(PREFIX)?.parse().ok()?;
    (name_of(number) == name).then_some(number)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the range is 4 bytes long"))
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "manifest_crash_tests.rs"]
mod crash_tests;
