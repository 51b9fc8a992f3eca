//! SHA-256 of files. Files of a snapshot never change, so each is read once in the life of the process.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use parking_lot::Mutex;
use quiver_engine::Cancel;
use quiver_engine::file::Disk;
use sha2::{Digest, Sha256};

use super::{Result, io};

/// Read and hash in pieces of this.
pub const PIECE_BYTES: usize = 4 << 20;
/// Files that are remembered.
const REMEMBERED_MAX: usize = 100_000;

/// What tells a file from every other one on the machine: device, inode, length, time of the last change.
type FileIdentity = (u64, u64, u64, i64, i64);

/// Digests of files that were hashed before.
#[derive(Debug, Default)]
pub struct Digests(Mutex<HashMap<FileIdentity, String>>);

impl Digests {
    /// Hexadecimal digest and length of a file that nobody writes to any more.
    pub fn of(&self, disk: &dyn Disk, path: &Path, cancel: &Cancel) -> Result<(String, u64)> {
        let meta = std::fs::metadata(path).map_err(io(format!("looking at {}", path.display())))?;
        let key = (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
        if let Some(known) = self.0.lock().get(&key) {
            return Ok((known.clone(), meta.len()));
        }
        let digest = file_digest(disk, path, cancel)?;
        let mut all = self.0.lock();
        if all.len() >= REMEMBERED_MAX {
            all.clear();
        }
        all.insert(key, digest.clone());
        Ok((digest, meta.len()))
    }
}

/// Hexadecimal digest of a file.
pub fn file_digest(disk: &dyn Disk, path: &Path, cancel: &Cancel) -> Result<String> {
    let file = disk.open(path).map_err(io(format!("opening {}", path.display())))?;
    let size = file.size().map_err(io(format!("looking at {}", path.display())))?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0u8; PIECE_BYTES];
    let mut at = 0;
    while at < size {
        cancel.check()?;
        let n = usize::try_from(size - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        file.read_exact_at(&mut piece[..n], at).map_err(io(format!("reading {}", path.display())))?;
        hasher.update(&piece[..n]);
        at += n as u64;
    }
    Ok(hex(&hasher.finalize()))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// Whether a text is a SHA-256 in lower-case hexadecimal.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
