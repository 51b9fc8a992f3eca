//! A message between two copies as bytes: what the protocol says as JSON, then the entries as they lie in the log.
//!
//! ```text
//! u32 version | u32 length of the JSON | JSON | entry … | u32 CRC-32C of all before
//! entry: u32 length of the body | u8 kind | u64 seq | u64 term | body          numbers are little-endian
//! ```

use quiver_engine::wal::Record;
use quiver_replica::message::{Envelope, Message};

const VERSION: u32 = 1;
const ENTRY_HEADER: usize = 4 + 1 + 8 + 8;

/// The bytes of a message.
pub fn encode(envelope: &Envelope, entries: &[Record]) -> Vec<u8> {
    let json = serde_json::to_vec(envelope).expect("a message always prints");
    let bodies: usize = entries.iter().map(|e| ENTRY_HEADER + e.body.len()).sum();
    let mut bytes = Vec::with_capacity(12 + json.len() + bodies);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(length(json.len()));
    bytes.extend(json);
    for entry in entries {
        bytes.extend(length(entry.body.len()));
        bytes.push(entry.kind);
        bytes.extend(entry.seq.to_le_bytes());
        bytes.extend(entry.term.to_le_bytes());
        bytes.extend(&entry.body);
    }
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// Reads a message. An `Append` comes with exactly the entries that it names, and nothing else comes with any.
///
/// # Errors
/// A sentence that says what is wrong; nothing of such a message is used.
pub fn decode(bytes: &[u8]) -> Result<(Envelope, Vec<Record>), String> {
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or("the message is too short")?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err("the message is not what its checksum says".into());
    }
    let mut rest = body;
    let version = u32::from_le_bytes(take(&mut rest)?);
    if version != VERSION {
        return Err(format!("the message has version {version}, this node speaks version {VERSION}"));
    }
    let json = take_slice(&mut rest)?;
    let envelope: Envelope = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_le_bytes(take(&mut rest)?) as usize;
        let [kind] = take(&mut rest)?;
        let (seq, term) = (u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
        let (body, after) = rest.split_at_checked(len).ok_or("an entry is cut off")?;
        entries.push(Record { seq, term, kind, body: body.to_vec() });
        rest = after;
    }
    check(&envelope.message, &entries)?;
    Ok((envelope, entries))
}

/// Whether the entries are those that the message is about, of the terms that it says.
fn check(message: &Message, entries: &[Record]) -> Result<(), String> {
    let Message::Append(append) = message else {
        return if entries.is_empty() {
            Ok(())
        } else {
            Err("entries came with a message that has none".into())
        };
    };
    let named = append.last.saturating_sub(append.previous.seq);
    if entries.len() as u64 != named {
        return Err(format!("{} entries came instead of {named}", entries.len()));
    }
    for (seq, entry) in (append.previous.seq + 1..).zip(entries) {
        let run = append.runs[..append.runs.partition_point(|r| r.first <= seq)].last();
        if entry.seq != seq || run.map(|r| r.term) != Some(entry.term) || entry.kind == u8::MAX {
            return Err(format!("entry {seq} is not the one that the message names"));
        }
    }
    Ok(())
}

fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("batches of the log are smaller").to_le_bytes()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, after) = rest.split_first_chunk::<N>().ok_or("the message is cut off")?;
    *rest = after;
    Ok(*head)
}

fn take_slice<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let len = u32::from_le_bytes(take(rest)?) as usize;
    let (head, after) = rest.split_at_checked(len).ok_or("the message is cut off")?;
    *rest = after;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use quiver_replica::log::{Position, Run};
    use quiver_replica::message::Append;
    use quiver_replica::record::CopyId;

    use super::*;

    fn append(entries: u64) -> (Envelope, Vec<Record>) {
        let entry =
            |seq| Record { seq, term: 3 + seq / 12, kind: 1, body: vec![seq as u8; seq as usize * 3] };
        let entries: Vec<Record> = (10..10 + entries).map(entry).collect();
        let runs = match entries.len() {
            0 => vec![],
            n if n < 3 => vec![Run { first: 10, term: 3 }],
            _ => vec![Run { first: 10, term: 3 }, Run { first: 12, term: 4 }],
        };
        let append = Append {
            term: 4,
            session: 2,
            config_version: 7,
            previous: Position { seq: 9, term: 3 },
            runs,
            last: 9 + entries.len() as u64,
            commit: 8,
            current: true,
            asked: 123,
        };
        (Envelope { from: CopyId(1), to: CopyId(u128::MAX), message: Message::Append(append) }, entries)
    }

    /// The message comes through, and none of its damaged forms does.
    fn check(envelope: &Envelope, entries: &[Record]) {
        let bytes = encode(envelope, entries);
        assert_eq!(decode(&bytes), Ok((envelope.clone(), entries.to_vec())));
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut to {cut}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(decode(&flipped).is_err(), "a bit of byte {at}");
        }
    }

    #[test]
    fn messages_come_through_whole_or_not_at_all() {
        for count in [0, 1, 2, 5] {
            let (envelope, entries) = append(count);
            check(&envelope, &entries);
        }
        let open = Message::Open { term: 3, session: 1 };
        check(&Envelope { from: CopyId(1), to: CopyId(2), message: open }, &[]);
    }

    #[test]
    fn entries_that_the_message_does_not_name_are_refused() {
        let (envelope, entries) = append(5);
        let mut other_term = entries.clone();
        other_term[2].term = 3;
        let mut own_kind = entries.clone();
        own_kind[0].kind = u8::MAX;
        for wrong in [&entries[1..], &entries[..4], &other_term, &own_kind] {
            assert!(decode(&encode(&envelope, wrong)).is_err());
        }
        let open = Message::Open { term: 3, session: 1 };
        assert!(decode(&encode(&Envelope { message: open, ..envelope }, &entries)).is_err());
    }
}
