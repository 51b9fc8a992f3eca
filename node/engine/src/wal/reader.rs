//! Reads the bytes of one file of the log. Pure: what to do about the end is the recovery's business.

use super::record::{FILE_HEADER_BYTES, FileHeader, KIND_MARK, Record, mark_at, record_at};

/// A place between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub offset: u64,
    /// Checksum of the record before.
    pub crc: u32,
    /// (seq, term) of the record before.
    pub last: (u64, u64),
}

/// What one file holds.
pub(super) struct Scan {
    /// All intact records up to the first that isn't, marks left out.
    pub records: Vec<Record>,
    /// Behind the last of them (or behind the last mark).
    pub end: Place,
    /// Everything before is known to be durable: the last mark, or what the header says.
    pub durable: Place,
    /// How many of `records` lie before `durable`.
    pub records_durable: usize,
    /// Whether a mark stands right behind the last record.
    pub marked: bool,
}

/// Reads records from the start of a file up to `limit`, or to the first bad one.
pub(super) fn scan(bytes: &[u8], header: &FileHeader, file_crc: u32, limit: u64) -> Result<Scan, String> {
    let bytes = &bytes[..bytes.len().min(usize::try_from(limit).unwrap_or(usize::MAX))];
    let start = Place { offset: FILE_HEADER_BYTES, crc: header.previous_crc, last: header.previous };
    let mut scan =
        Scan { records: Vec::new(), end: start, durable: start, records_durable: 0, marked: false };
    while let Some(found) = record_at(bytes, scan.end.offset as usize, scan.end.crc, file_crc) {
        let (seq, term) = scan.end.last;
        scan.marked = found.kind == KIND_MARK;
        if scan.marked {
            if (found.seq, found.term) != (seq, term) {
                return Err(format!("the mark at {} does not name the record before it", scan.end.offset));
            }
            scan.durable = scan.end;
            scan.records_durable = scan.records.len();
        } else {
            if found.seq != seq + 1 || found.term < term {
                return Err(format!("record ({}, {}) can't follow ({seq}, {term})", found.seq, found.term));
            }
            let body = found.body.to_vec();
            scan.records.push(Record { seq: found.seq, term: found.term, kind: found.kind, body });
        }
        let last = (found.seq, found.term);
        scan.end = Place { offset: found.next as u64, crc: found.crc, last };
        if scan.end.offset == header.synced_end {
            scan.durable = scan.end;
            scan.records_durable = scan.records.len();
        }
    }
    Ok(scan)
}

/// The first mark at or behind an offset that is intact by itself.
pub(super) fn later_mark(bytes: &[u8], offset: u64, file_crc: u32) -> Option<u64> {
    (offset as usize..bytes.len())
        .step_by(8)
        .find(|&at| mark_at(bytes, at, file_crc).is_some())
        .map(|at| at as u64)
}
