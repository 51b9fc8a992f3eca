//! Bodies of the log's records. The first byte is the kind of the operation. Any bytes give an operation or an error; an operation is
//! written as bytes that give the same one again.

use quiver_engine::operation_codec::{decode, encode};

/// Reads one record.
pub fn run(data: &[u8]) {
    let Some((&kind, body)) = data.split_first() else { return };
    let Ok(operation) = decode(kind, body) else { return };
    let (kind, bytes) = encode(&operation);
    let again = decode(kind, &bytes).expect("what was written is read");
    assert_eq!(encode(&again), (kind, bytes));
}
