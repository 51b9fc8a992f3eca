//! What a copy remembers beside its data: `replica.json`, replaced as a whole.

use std::path::Path;
use std::sync::Arc;

use quiver_engine::file::{Disk, atomic};
use quiver_replica::Stored;
use quiver_replica::record::{CopyId, Record};
use serde::{Deserialize, Serialize};

/// Its name.
pub const FILE: &str = "replica.json";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    /// As text: numbers of 128 bits are more than most readers of JSON take.
    id: String,
    term: u64,
    record: Option<Record>,
    led: Option<u64>,
}

/// Makes it durable.
pub fn write(disk: &dyn Disk, dir: &Path, stored: &Stored) -> quiver_engine::error::Result<()> {
    let kept = Kept {
        id: format!("{:032x}", stored.id.0),
        term: stored.term,
        record: stored.record.as_deref().cloned(),
        led: stored.led,
    };
    atomic::write_json(disk, &dir.join(FILE), &kept)
}

/// What the copy `id` remembers; that of a new one if there is nothing.
///
/// # Errors
/// It can't be read, or belongs to another copy.
pub fn read(disk: &dyn Disk, dir: &Path, id: CopyId) -> anyhow::Result<Stored> {
    if !disk.exists(&dir.join(FILE)) {
        return Ok(Stored { id, term: 0, record: None, led: None });
    }
    let kept: Kept = atomic::read_json(disk, &dir.join(FILE))?;
    anyhow::ensure!(
        u128::from_str_radix(&kept.id, 16) == Ok(id.0),
        "{} belongs to the copy {}, not to {:032x}",
        dir.join(FILE).display(),
        kept.id.escape_debug(),
        id.0
    );
    Ok(Stored { id, term: kept.term, record: kept.record.map(Arc::new), led: kept.led })
}
