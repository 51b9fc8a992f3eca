//! Mapping of files that will never change again.

use std::fs::File;
use std::io;

use super::Mapped;

/// Maps a whole file read-only. An empty file gives no bytes.
pub fn map(file: &File) -> io::Result<Mapped> {
    if file.metadata()?.len() == 0 {
        return Ok(Mapped::new([0u8; 0]));
    }
    // SAFETY: only sealed files are mapped. They are complete and synced before they get their name, and are
    // never written or truncated afterwards, only unlinked, which leaves the mapping valid.
    let map = unsafe { memmap2::Mmap::map(file)? };
    Ok(Mapped::new(map))
}
