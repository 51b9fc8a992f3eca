//! The operating system's file system.
//!
//! It adds nothing to what the calls promise: it never retries a failed sync, never buffers, and leaves
//! the order of calls to its users.

#![allow(clippy::disallowed_methods, reason = "this is the file layer that all others have to use")]

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::{Disk, File, Mapped, mmap};

/// Files of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.as_os_str().is_empty() || dir.is_dir() {
            return Ok(());
        }
        let parent = dir.parent().unwrap_or(Path::new("."));
        self.create_dir_all(parent)?;
        match fs::create_dir(dir) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            Err(e) => return Err(e),
        }
        self.sync_dir(parent)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        fs::File::open(dir)?.sync_all()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn map(&self, path: &Path) -> io::Result<Mapped> {
        mmap::map(&fs::File::open(path)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        let volume = statvfs(path)?;
        // Blocks that only root may use count neither as free nor as part of the volume: a percentage of
        // it then reaches 100 exactly when a write of ours fails.
        let free = volume.f_bavail * volume.f_frsize;
        let used = (volume.f_blocks - volume.f_bfree) * volume.f_frsize;
        Ok((free, used + free))
    }
}

struct RealFile(fs::File);

impl File for RealFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let all = || fallocate(&self.0, FallocateFlags::empty(), 0, len);
        match rustix::io::retry_on_intr(all) {
            Ok(()) => Ok(()),
            // A file system without fallocate: the length is still set, the space is taken as it is written.
            Err(rustix::io::Errno::OPNOTSUPP) if self.size()? < len => self.0.set_len(len),
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_listed_mapped_and_linked() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let deep = dir.path().join("a/b");
        RealDisk.create_dir_all(&deep).unwrap();
        let path = deep.join("x");
        let file = RealDisk.create(&path).unwrap();
        file.allocate(8192).unwrap();
        file.write_all_at(b"hello", 4096).unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.size().unwrap(), 8192);
        assert!(RealDisk.create(&path).is_err(), "the name is taken");
        RealDisk.hard_link(&path, &deep.join("y")).unwrap();
        RealDisk.rename(&path, &deep.join("z")).unwrap();
        RealDisk.sync_dir(&deep).unwrap();
        assert_eq!(RealDisk.list(&deep).unwrap(), ["y", "z"]);
        let mapped = RealDisk.map(&deep.join("z")).unwrap();
        assert_eq!(&mapped[4096..4101], b"hello");
        assert_eq!(mapped.as_ptr().align_offset(64), 0);
        let (free, total) = RealDisk.space(&deep).unwrap();
        assert!(free <= total && total > 0);
        RealDisk.remove_file(&deep.join("y")).unwrap();
        RealDisk.remove_dir_all(&dir.path().join("a")).unwrap();
        assert!(!RealDisk.exists(&deep));
    }

    #[test]
    fn an_empty_file_maps_to_no_bytes() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("empty");
        RealDisk.create(&path).unwrap();
        assert!(RealDisk.map(&path).unwrap().is_empty());
    }
}
