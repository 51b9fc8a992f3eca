//! The end of the log of a copy that follows: entries that nobody committed are cut off, and entries that another copy
//! lacks are read again.

use super::Wal;
use super::reader::Place;
use super::record::{FILE_HEADER_BYTES, Record, record_at};
use super::recovery::load;
use super::writer::name_of;
use crate::error::{Error, Result};

impl Wal {
    /// Removes all records behind `seq`, durably. The next one has the number behind it, and may be of any term that
    /// isn't lower than that of the record `seq`. The caller has made sure that none of them was applied.
    ///
    /// If the process ends meanwhile, some of the removed records may be there again; none does once this has returned.
    ///
    /// # Errors
    /// [`Error::NoSpace`]: records may be gone from the end, or none; the log stays usable. [`Error::BadInput`] if the log
    /// doesn't reach back to `seq`. Any other error poisons the log.
    pub fn cut_after(&mut self, seq: u64) -> Result<()> {
        self.check_usable()?;
        self.discard();
        if seq >= self.last_seq() {
            return Ok(());
        }
        if seq + 1 < self.first_seq() {
            return Err(Error::BadInput(format!(
                "the log begins at {}, so it can't be cut behind {seq}",
                self.first_seq()
            )));
        }
        let holder = self.files.partition_point(|f| f.first_seq <= seq.max(1)).saturating_sub(1);
        let end = self.place_behind(holder, seq)?;
        let spread = holder + 1 < self.files.len();
        self.remove_files_behind(holder)?;
        // What lies behind the cut in this file would be found by the next start; a file that follows it at the cut says
        // that it counts no more.
        let before = std::mem::replace(&mut self.open.end, end);
        let rotated = self.rotate(0);
        match rotated {
            Err(e) if spread => return Err(self.poison("cut", std::io::Error::other(e))),
            Err(_) => self.open.end = before,
            Ok(()) => {}
        }
        self.batch_last = self.open.end.last;
        rotated
    }

    /// The records from `first` on whose bodies together have at most `bytes_max` bytes, but one at least if there is one.
    ///
    /// # Errors
    /// [`Error::BadInput`] if the log begins later: what is missing is in segments only.
    pub fn read_from(&self, first: u64, bytes_max: usize) -> Result<Vec<Record>> {
        if first < self.first_seq() {
            return Err(Error::BadInput(format!("the log begins at {}, not at {first}", self.first_seq())));
        }
        let mut found = Vec::new();
        let mut bytes = 0;
        let from = self.files.partition_point(|f| f.first_seq <= first).saturating_sub(1);
        for at in from..self.files.len() {
            for record in self.records_of(at)?.into_iter().filter(|r| r.seq >= first) {
                bytes += record.body.len();
                if bytes > bytes_max && !found.is_empty() {
                    return Ok(found);
                }
                found.push(record);
            }
        }
        Ok(found)
    }

    /// One by one from the newest, so that a power loss never leaves a gap.
    fn remove_files_behind(&mut self, holder: usize) -> Result<()> {
        while self.files.len() > holder + 1 {
            let name = name_of(self.files[self.files.len() - 1].index);
            self.disk.remove_file(&self.dir.join(&name)).map_err(|e| self.poison("remove the end of", e))?;
            self.files.pop();
            self.disk.sync_dir(&self.dir).map_err(|e| self.poison("sync the folder of", e))?;
        }
        Ok(())
    }

    /// Where the record after `seq` begins in a file that has `seq`, or begins behind it.
    fn place_behind(&self, at: usize, seq: u64) -> Result<Place> {
        let loaded = load(&*self.disk, &self.dir, self.files[at].index, self.identity)?;
        let header = &loaded.header;
        let mut place = Place { offset: FILE_HEADER_BYTES, crc: header.previous_crc, last: header.previous };
        while place.last.0 < seq {
            let found = record_at(&loaded.bytes, place.offset as usize, place.crc, loaded.file_crc);
            let found = found.ok_or_else(|| loaded.corrupt(format!("damaged at {}", place.offset)))?;
            place = Place { offset: found.next as u64, crc: found.crc, last: (found.seq, found.term) };
        }
        Ok(place)
    }

    /// The records of one file, up to where it ends or the next one goes on.
    fn records_of(&self, at: usize) -> Result<Vec<Record>> {
        let loaded = load(&*self.disk, &self.dir, self.files[at].index, self.identity)?;
        let end = match self.files.get(at + 1) {
            None => self.open.end.offset,
            Some(next) => load(&*self.disk, &self.dir, next.index, self.identity)?.header.previous_end,
        };
        let found = loaded.scan(end, loaded.header.previous)?;
        if found.end.offset != end {
            return Err(loaded.corrupt(format!("damaged at {}", found.end.offset)));
        }
        Ok(found.records)
    }
}
