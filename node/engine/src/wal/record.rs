//! The bytes of records, marks and file headers.
//!
//! A record's checksum is seeded by that of the record before, so that no old bytes can follow a new record
//! by accident. A mark stands at the start of each batch and behind the last one when the log is idle; it
//! says that everything before it is durable. It carries what it needs to be recognised alone.

use super::WalIdentity;

/// Before each body: length, checksum, kind, 7 zeros, sequence number, term.
pub(super) const RECORD_HEADER_BYTES: usize = 32;
pub(super) const MARK_BYTES: usize = RECORD_HEADER_BYTES + 16;
pub(super) const FILE_HEADER_BYTES: u64 = 4096;
/// The kind of marks; all others are the user's.
pub(super) const KIND_MARK: u8 = 0xff;

const MAGIC: &[u8; 8] = b"QUIVRWAL";
const FORMAT: u32 = 1;
const HEADER_CRC_AT: usize = FILE_HEADER_BYTES as usize - 4;

/// One entry of the log. (seq, term) names it for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// One more than the record's before.
    pub seq: u64,
    /// Never lower than the record's before.
    pub term: u64,
    /// What the body is; 255 is the log's own.
    pub kind: u8,
    pub body: Vec<u8>,
}

/// Appends a record without its checksum.
pub(super) fn push_unchecked(bytes: &mut Vec<u8>, kind: u8, seq: u64, term: u64, body: &[u8]) {
    let start = bytes.len();
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&seq.to_le_bytes());
    bytes.extend_from_slice(&term.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes.resize(start + padded(body.len()), 0);
}

/// Length of a record with its header, and zeros up to a multiple of 8.
pub(super) fn padded(body_len: usize) -> usize {
    (RECORD_HEADER_BYTES + body_len).next_multiple_of(8)
}

/// Sets the checksums of a run of records; gives that of the last.
pub(super) fn chain(records: &mut [u8], mut crc: u32) -> u32 {
    let mut at = 0;
    while at < records.len() {
        let end = at + padded(u32_at(records, at) as usize);
        crc = checksum(&records[at..end], crc);
        records[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
    crc
}

fn checksum(record: &[u8], seed: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &record[..4]), &record[8..])
}

/// A mark at an offset of a file, and its checksum.
pub(super) fn mark(offset: u64, crc_before: u32, file_crc: u32, seq: u64, term: u64) -> (Vec<u8>, u32) {
    let mut body = [0; 16];
    body[..8].copy_from_slice(&offset.to_le_bytes());
    body[8..12].copy_from_slice(&crc_before.to_le_bytes());
    let mut bytes = Vec::with_capacity(MARK_BYTES);
    push_unchecked(&mut bytes, KIND_MARK, seq, term, &body);
    let crc = chain(&mut bytes, file_crc);
    (bytes, crc)
}

/// An intact record in a file's bytes.
pub(super) struct Found<'a> {
    pub kind: u8,
    pub seq: u64,
    pub term: u64,
    pub body: &'a [u8],
    pub crc: u32,
    /// Where the next one starts.
    pub next: usize,
}

/// The record at an offset, if it is intact and follows one with the checksum `crc_before`.
pub(super) fn record_at(bytes: &[u8], at: usize, crc_before: u32, file_crc: u32) -> Option<Found<'_>> {
    let header = bytes.get(at..at.checked_add(RECORD_HEADER_BYTES)?)?;
    let len = u32_at(header, 0) as usize;
    let next = at + padded(len);
    let record = bytes.get(at..next)?;
    let kind = record[8];
    if kind == KIND_MARK {
        let alone = mark_at(bytes, at, file_crc)?;
        let follows = u32_at(alone.body, 8) == crc_before;
        return follows.then_some(alone);
    }
    let crc = checksum(record, crc_before);
    (crc == u32_at(record, 4)).then(|| found(record, len, crc, next))
}

/// The mark at an offset, whatever lies before it.
pub(super) fn mark_at(bytes: &[u8], at: usize, file_crc: u32) -> Option<Found<'_>> {
    let record = bytes.get(at..at.checked_add(MARK_BYTES)?)?;
    if record[8] != KIND_MARK || u32_at(record, 0) as usize != MARK_BYTES - RECORD_HEADER_BYTES {
        return None;
    }
    let crc = checksum(record, file_crc);
    let intact = crc == u32_at(record, 4) && u64_at(record, RECORD_HEADER_BYTES) == at as u64;
    intact.then(|| found(record, MARK_BYTES - RECORD_HEADER_BYTES, crc, at + MARK_BYTES))
}

fn found(record: &[u8], len: usize, crc: u32, next: usize) -> Found<'_> {
    Found {
        kind: record[8],
        seq: u64_at(record, 16),
        term: u64_at(record, 24),
        body: &record[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + len],
        crc,
        next,
    }
}

/// The first 4 KiB of each file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub identity: WalIdentity,
    /// 1 for the log's first file, then one more each.
    pub index: u64,
    /// (seq, term) of the record before this file's first.
    pub previous: (u64, u64),
    /// Where the previous file's valid part ends, and the checksum of its last record; what lies behind was
    /// never acknowledged, or is in this file.
    pub previous_end: u64,
    pub previous_crc: u32,
    /// Everything below was durable before the file got its name.
    pub synced_end: u64,
    /// The file's length when it got its name.
    pub reserved: u64,
}

impl FileHeader {
    /// The bytes, and their checksum.
    pub(super) fn encode(&self) -> (Vec<u8>, u32) {
        let mut bytes = Vec::with_capacity(FILE_HEADER_BYTES as usize);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.previous_crc.to_le_bytes());
        bytes.extend_from_slice(&self.identity.collection_uid);
        bytes.extend_from_slice(&self.identity.copy_id);
        for number in
            [self.index, self.previous.0, self.previous.1, self.previous_end, self.synced_end, self.reserved]
        {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.resize(HEADER_CRC_AT, 0);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// The header of a file, and its checksum.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, u32), String> {
        let bytes = bytes.get(..FILE_HEADER_BYTES as usize).ok_or("the file is shorter than its header")?;
        if bytes[..8] != *MAGIC {
            return Err("not a file of a log".into());
        }
        let crc = crc32c::crc32c(&bytes[..HEADER_CRC_AT]);
        if crc != u32_at(bytes, HEADER_CRC_AT) {
            return Err("the header is not what its checksum says".into());
        }
        let format = u32_at(bytes, 8);
        if format != FORMAT {
            return Err(format!("written in format {format}, this version reads format {FORMAT}"));
        }
        let id_at = |at: usize| bytes[at..at + 16].try_into().expect("the range is 16 bytes long");
        let header = Self {
            identity: WalIdentity { collection_uid: id_at(16), copy_id: id_at(32) },
            index: u64_at(bytes, 48),
            previous: (u64_at(bytes, 56), u64_at(bytes, 64)),
            previous_end: u64_at(bytes, 72),
            synced_end: u64_at(bytes, 80),
            reserved: u64_at(bytes, 88),
            previous_crc: u32_at(bytes, 12),
        };
        Ok((header, crc))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the range is 4 bytes long"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the range is 8 bytes long"))
}
