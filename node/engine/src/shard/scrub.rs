//! Sealed files are read again now and then, because a disk may lose what was once written well: a file that nobody
//! reads for months would be found damaged on the day when it is the only copy left.
//!
//! What is found stays noted, by whoever meets it, until a whole pass no longer finds it. A damaged file is never
//! answered from; the rest of the shard goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::SEGMENTS;
use super::Shard;
use super::snapshot::files_of;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::file::{BLOCK_BYTES, FileEntry, SealedFile};

/// Damaged files that are named; one says as much as a thousand.
const NAMED_MAX: usize = 100;

/// Damaged files and what is wrong with each. Clones are the same list.
#[derive(Clone, Default)]
pub struct Damage(Arc<Mutex<BTreeMap<String, String>>>);

impl Damage {
    /// Notes an error, if it says that a file is damaged.
    pub fn note(&self, error: &Error) {
        if let Error::Corrupt { file, what } = error {
            let mut all = self.0.lock();
            if all.len() < NAMED_MAX {
                all.insert(file.clone(), what.clone());
            }
        }
    }

    /// A sentence for each file.
    pub fn list(&self) -> Vec<String> {
        self.0.lock().iter().map(|(file, what)| format!("{file}: {what}")).collect()
    }
}

/// A pass over all sealed files.
#[derive(Default)]
pub struct Scrub {
    /// Segment and file, the next one last; empty between two passes.
    todo: Vec<(u64, FileEntry)>,
    /// The file that is being read, and its next block.
    reading: Option<(SealedFile, u64)>,
    found: BTreeMap<String, String>,
}

impl Shard {
    /// A sentence for each damaged file that is known of.
    pub fn damage(&self) -> Vec<String> {
        self.damage.list()
    }

    /// Reads about so many bytes of sealed files, going on where the last call ended, and compares them with their
    /// checksums. True: that was the end of a pass. What is in the page cache is read from there. The caller sets
    /// the pace; a call while another one runs does nothing.
    pub fn scrub(&self, bytes: u64, cancel: &Cancel) -> Result<bool> {
        let Some(mut scrub) = self.scrub.try_lock() else { return Ok(false) };
        if scrub.todo.is_empty() {
            // Whoever changes the segments is not waited for.
            let Some(keeper) = self.keeper.try_lock() else { return Ok(false) };
            for entry in &keeper.manifest.state().segments {
                scrub.todo.extend(files_of(entry).map(|file| (entry.id, file.clone())));
            }
        }
        let mut blocks = bytes.div_ceil(BLOCK_BYTES);
        while let Some((segment, entry)) = scrub.todo.last().cloned() {
            if blocks == 0 {
                return Ok(false);
            }
            cancel.check()?;
            let damage = match self.read_on(&mut scrub, segment, &entry, &mut blocks) {
                Ok(false) => continue,
                Ok(true) => None,
                Err(Error::Corrupt { what, .. }) => Some(what),
                Err(e) => Some(e.to_string()),
            };
            // A file that is named no more is gone because a merge took its place.
            if let Some(what) = damage.filter(|_| self.names(segment, &entry)) {
                let file = format!("{SEGMENTS}/{segment}/{}", entry.name);
                self.damage.note(&Error::corrupt(&file, &what));
                scrub.found.insert(file, what);
            }
            scrub.reading = None;
            scrub.todo.pop();
        }
        *self.damage.0.lock() = std::mem::take(&mut scrub.found);
        Ok(true)
    }

    /// True at the end of the file.
    fn read_on(&self, scrub: &mut Scrub, segment: u64, entry: &FileEntry, blocks: &mut u64) -> Result<bool> {
        let (file, next) = match &mut scrub.reading {
            Some(reading) => reading,
            none => {
                // Opened anew: what was verified in the past says nothing.
                let dir = self.segments_dir().join(segment.to_string());
                none.insert((SealedFile::open_any(&*self.disk, &dir, entry)?, 0))
            }
        };
        let all = file.len().div_ceil(BLOCK_BYTES);
        let end = all.min(*next + *blocks);
        file.checked(*next * BLOCK_BYTES..file.len().min(end * BLOCK_BYTES))?;
        // A file takes one block at least, or a thousand small ones would cost nothing.
        *blocks = blocks.saturating_sub((end - *next).max(1));
        *next = end;
        Ok(end == all)
    }

    /// Whether the manifest still names a file.
    fn names(&self, segment: u64, file: &FileEntry) -> bool {
        let keeper = self.keeper.lock();
        let entry = keeper.manifest.state().segments.iter().find(|e| e.id == segment);
        entry.is_some_and(|e| files_of(e).any(|f| f == file))
    }
}
