//! A file system in memory that can lose power, fail at any call and fill up.
//!
//! It knows for every file and folder what is durable and what is pending, and is no kinder than POSIX: a
//! name is durable after its folder was synced, data and length after the file was, and whatever is pending may
//! survive a power loss in part and out of order. A [`SimDisk`] runs a program; with [`SimDisk::record`]
//! it also keeps the calls, from which a [`History`] makes the disks that a power loss at any of them can leave.

mod history;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

pub use history::{CrashPoint, Cut, History};
use state::{NodeId, Op, State};

use super::{Disk, File, Mapped};

/// What a call does instead of succeeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `EIO`. A failed sync loses what was pending for ever, as Linux does.
    Io,
    /// `ENOSPC`; a write gets half done.
    NoSpace,
    /// A write gets half done, then `EIO`; other calls just fail.
    ShortWrite,
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Inner>>);

struct Inner {
    state: State,
    /// Calls so far that change something, and those that read.
    calls: u64,
    reads: u64,
    stop_at: Option<u64>,
    fail_at: Option<(u64, Fault, bool)>,
    fail_read_at: Option<u64>,
    capacity: Option<u64>,
    sync: bool,
    journal: Option<(State, Vec<Op>)>,
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::with_state(State::default())
    }

    fn with_state(state: State) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            state,
            calls: 0,
            reads: 0,
            stop_at: None,
            fail_at: None,
            fail_read_at: None,
            capacity: None,
            sync: true,
            journal: None,
        })))
    }

    /// Another disk with the same content, pending and durable, and without its faults.
    pub fn fork(&self) -> Self {
        let inner = self.0.lock();
        let fork = Self::with_state(inner.state.clone());
        fork.0.lock().capacity = inner.capacity;
        fork
    }

    /// Calls so far that change something; each one is a place where power can be lost.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Calls so far that read.
    pub fn reads(&self) -> u64 {
        self.0.lock().reads
    }

    /// From the `n`-th changing call on (the first is 0), everything fails as if the process had died during it.
    pub fn stop_at(&self, n: u64) {
        self.0.lock().stop_at = Some(n);
    }

    /// The `n`-th changing call fails, or, `for_ever`, all from there on.
    pub fn fail_at(&self, n: u64, fault: Fault, for_ever: bool) {
        self.0.lock().fail_at = Some((n, fault, for_ever));
    }

    /// The `n`-th reading call fails with `EIO`.
    pub fn fail_read_at(&self, n: u64) {
        self.0.lock().fail_read_at = Some(n);
    }

    /// No more faults.
    pub fn heal(&self) {
        let mut inner = self.0.lock();
        (inner.stop_at, inner.fail_at, inner.fail_read_at) = (None, None, None);
    }

    /// How many bytes the files may have together.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// Bytes of all files together.
    pub fn used(&self) -> u64 {
        self.0.lock().state.used()
    }

    /// Syncs that only say they did: for tests that must be able to fail.
    pub fn set_sync(&self, honest: bool) {
        self.0.lock().sync = honest;
    }

    /// Keeps all calls from now on.
    pub fn record(&self) {
        let mut inner = self.0.lock();
        inner.journal = Some((inner.state.clone(), Vec::new()));
    }

    /// What was kept since [`SimDisk::record`].
    pub fn history(&self) -> History {
        let mut inner = self.0.lock();
        let sync = inner.sync;
        let (start, ops) = inner.journal.take().unwrap_or_default();
        History::new(start, ops, sync)
    }

    /// What a power loss now can leave.
    pub fn after_power_loss(&self, cut: Cut, seed: u64) -> Self {
        Self::with_state(history::image(&self.0.lock().state, cut, seed))
    }

    /// All files with their lengths, sorted by path.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.0.lock().state.files()
    }

    /// Flips one bit of a file, durably, behind everybody's back.
    pub fn flip(&self, path: &Path, bit: u64) {
        self.0.lock().state.damage(path, |bytes| bytes[(bit / 8) as usize] ^= 1 << (bit % 8));
    }

    /// Cuts a file, durably, behind everybody's back.
    pub fn cut(&self, path: &Path, len: u64) {
        self.0.lock().state.damage(path, |bytes| bytes.truncate(len as usize));
    }

    fn read<T>(&self, get: impl FnOnce(&State) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.0.lock();
        inner.check_alive()?;
        let n = inner.reads;
        inner.reads += 1;
        if inner.fail_read_at == Some(n) {
            return Err(eio());
        }
        get(&inner.state)
    }

    fn change(&self, op: Op) -> io::Result<()> {
        self.0.lock().change(op)
    }
}

impl Inner {
    fn check_alive(&self) -> io::Result<()> {
        match self.stop_at {
            Some(n) if self.calls > n => Err(io::Error::other("the simulated process is dead")),
            _ => Ok(()),
        }
    }

    fn change(&mut self, op: Op) -> io::Result<()> {
        self.check_alive()?;
        let n = self.calls;
        self.calls += 1;
        if self.stop_at == Some(n) {
            // Under way when the power went: maybe done, surely not synced.
            let _ = self.state.apply(&op, false);
            return Err(io::Error::other("the simulated process died"));
        }
        match self.fail_at {
            Some((at, fault, for_ever)) if n == at || for_ever && n > at => self.fail(op, fault),
            _ => self.perform(op),
        }
    }

    fn perform(&mut self, op: Op) -> io::Result<()> {
        let op = match self.capacity {
            Some(capacity) => self.fit(op, capacity)?,
            None => op,
        };
        self.state.apply(&op, self.sync)?;
        if let Some((_, ops)) = &mut self.journal {
            ops.push(op);
        }
        Ok(())
    }

    /// Refuses what does not fit; a write is done as far as it does.
    fn fit(&mut self, op: Op, capacity: u64) -> io::Result<Op> {
        let Some((node, end)) = op.grows_to() else { return Ok(op) };
        let len = self.state.len(node);
        let more = end.saturating_sub(len);
        let free = capacity.saturating_sub(self.state.used());
        if more <= free {
            return Ok(op);
        }
        if let Some(part) = op.part((len + free).saturating_sub(end - op.write_len())) {
            self.state.apply(&part, self.sync)?;
            if let Some((_, ops)) = &mut self.journal {
                ops.push(part);
            }
        }
        Err(enospc())
    }

    fn fail(&mut self, op: Op, fault: Fault) -> io::Result<()> {
        if let Op::SyncData(node) = op {
            self.state.lose_pending(node);
        }
        if fault != Fault::Io
            && let Some(half) = op.part(op.write_len() / 2)
        {
            self.state.apply(&half, self.sync)?;
        }
        Err(if fault == Fault::NoSpace { enospc() } else { eio() })
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if self.0.lock().state.is_dir(dir) {
            return self.0.lock().check_alive();
        }
        self.change(Op::CreateDirAll(dir.into()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(Op::SyncDir(dir.into()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.read(|state| state.list(dir))
    }

    fn exists(&self, path: &Path) -> bool {
        let inner = self.0.lock();
        inner.check_alive().is_ok() && inner.state.find(path).is_ok()
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        self.read(|state| Ok(state.len(state.find_file(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut inner = self.0.lock();
        inner.change(Op::Create(path.into()))?;
        let node = inner.state.find_file(path)?;
        Ok(Box::new(SimFile { disk: self.clone(), node }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let node = self.read(|state| state.find_file(path))?;
        Ok(Box::new(SimFile { disk: self.clone(), node }))
    }

    fn map(&self, path: &Path) -> io::Result<Mapped> {
        let content = self.read(|state| Ok(state.content(state.find_file(path)?)))?;
        Ok(Mapped::new(Aligned::new(&content)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(Op::Rename(from.into(), to.into()))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(Op::HardLink(from.into(), to.into()))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(Op::RemoveFile(path.into()))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.change(Op::RemoveDirAll(dir.into()))
    }

    fn space(&self, _path: &Path) -> io::Result<(u64, u64)> {
        let inner = self.0.lock();
        inner.check_alive()?;
        let total = inner.capacity.unwrap_or(1 << 50);
        Ok((total.saturating_sub(inner.state.used()), total))
    }
}

struct SimFile {
    disk: SimDisk,
    node: NodeId,
}

impl File for SimFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.disk.change(Op::Write { node: self.node, at: offset, bytes: bytes.into() })
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read(|state| {
            let content = state.content(self.node);
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let part = content.get(start..).and_then(|rest| rest.get(..bytes.len()));
            bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.disk.read(|state| Ok(state.len(self.node)))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.change(Op::SetLen(self.node, len))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.change(Op::Allocate(self.node, len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.change(Op::SyncData(self.node))
    }
}

/// Bytes that start at a multiple of 64, as mapped ones do.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new(content: &[u8]) -> Self {
        let mut bytes: Vec<u8> = Vec::with_capacity(content.len() + 64);
        let start = bytes.as_ptr().align_offset(64);
        // The buffer has room for both, so it stays where it is.
        bytes.resize(start, 0);
        bytes.extend_from_slice(content);
        Self { bytes, start, len: content.len() }
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

fn enospc() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}
