//! The file layer: the only place that touches files.
//!
//! [`Disk`] has two implementations: the real one, and a simulated one that keeps unsynced and durable
//! bytes apart and can stop, tear, drop or fail at any call.

pub mod atomic;
pub mod cast;
pub(crate) mod faults;
pub mod hugepage;
mod mmap;
mod real;
mod sealed;
pub mod sim;

pub use real::RealDisk;
pub use sealed::{BLOCK_BYTES, FileEntry, SealedFile, SealedWriter};
pub use sim::SimDisk;

use std::io;
use std::path::Path;
use std::sync::Arc;

/// A file system. Paths are absolute or relative to the process; names inside a shard never leave it.
pub trait Disk: Send + Sync + 'static {
    /// Makes a folder and its parents; each new one is durable when this returns.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes what was created, renamed or removed in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names in a folder, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    fn exists(&self, path: &Path) -> bool;
    /// Length of a file in bytes.
    fn size(&self, path: &Path) -> io::Result<u64>;
    /// A new file; an error if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// An existing file, to read and write.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// The bytes of a file that will never change again.
    fn map(&self, path: &Path) -> io::Result<Mapped>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// A second name for a file that will never change again.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// (free bytes, total bytes) of the volume that holds `path`.
    fn space(&self, path: &Path) -> io::Result<(u64, u64)>;
}

/// An open file. Positions are explicit; nothing is buffered.
pub trait File: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `bytes` from `offset`; an error if the file ends before.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    fn size(&self) -> io::Result<u64>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves space up to `len` bytes, extending the file with zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// `fdatasync`. After an error the file is never to be trusted again.
    fn sync_data(&self) -> io::Result<()>;
}

/// The bytes of a sealed file, aligned to at least 64 bytes, shared by all who read it.
#[derive(Clone)]
pub struct Mapped(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl Mapped {
    /// Wraps bytes that stay where they are for as long as the owner lives.
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let all: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(owner);
        Self(all)
    }
}

impl std::ops::Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}
