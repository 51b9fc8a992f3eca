//! One process for one data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Held for as long as the process may write to the folder. The system lets go of it when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct DataLock(#[allow(dead_code)] File);

impl DataLock {
    /// Locks the folder, or says who must be stopped first.
    pub fn take(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("making the data folder {}", folder.display()))?;
        let path = folder.join("LOCK");
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("opening {}; the data folder has to be writable", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => bail!(
                "the data folder {} is in use by another process; stop that one, or choose another folder with \
                 --storage-path or QUIVER__STORAGE__STORAGE_PATH",
                folder.display()
            ),
            Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("locking {}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = DataLock::take(folder.path()).expect("free");
        let refused = DataLock::take(folder.path()).expect_err("taken");
        assert!(refused.to_string().contains("is in use by another process; stop that one"));
        drop(held);
        DataLock::take(folder.path()).expect("free again");
    }
}
