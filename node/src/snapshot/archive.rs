//! Reading a snapshot's tar: `manifest.json` first, then every file it names, in its order.
//!
//! Unpacking believes nothing: only regular files, only names and lengths that the manifest has, each once, every
//! SHA-256 checked. It writes into a folder that did not exist before and never outside of it.

use std::io::{self as stdio, Read, Write};
use std::path::Path;

use quiver_api::internal::{SNAPSHOT_FORMAT_VERSION, SnapshotFile, SnapshotManifest};
use quiver_engine::Cancel;
use quiver_engine::file::{Disk, File};
use sha2::{Digest, Sha256};

use super::hash::{PIECE_BYTES, hex};
use super::name::SafePath;
use super::store::check_file;
use super::{Result, SnapshotError, io};

pub(super) const MANIFEST: &str = "manifest.json";
const MANIFEST_MAX_BYTES: u64 = 64 << 20;
const FILES_MAX: usize = 100_000;

/// Writes a file from its beginning, hashing what goes through.
pub struct HashedWriter {
    file: Box<dyn File>,
    at: u64,
    buffer: Vec<u8>,
    hasher: Sha256,
}

impl HashedWriter {
    /// A new file; an error if the name is taken.
    pub fn create(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let file = disk.create(path).map_err(io(format!("making {}", path.display())))?;
        Ok(Self { file, at: 0, buffer: Vec::with_capacity(PIECE_BYTES), hasher: Sha256::new() })
    }

    /// Makes what was written durable; gives the digest and the length.
    pub fn finish(mut self) -> stdio::Result<(String, u64)> {
        self.flush()?;
        self.file.sync_data()?;
        Ok((hex(&self.hasher.finalize()), self.at))
    }
}

impl Write for HashedWriter {
    fn write(&mut self, bytes: &[u8]) -> stdio::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> stdio::Result<()> {
        self.file.write_all_at(&self.buffer, self.at)?;
        self.hasher.update(&self.buffer);
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads a file from its beginning.
pub(super) struct Reader {
    file: Box<dyn File>,
    at: u64,
    size: u64,
}

impl Reader {
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let what = || format!("reading {}", path.display());
        let file = disk.open(path).map_err(io(what()))?;
        let size = file.size().map_err(io(what()))?;
        Ok(Self { file, at: 0, size })
    }
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> stdio::Result<usize> {
        let n = usize::try_from(self.size - self.at).map_or(out.len(), |left| left.min(out.len()));
        self.file.read_exact_at(&mut out[..n], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Where a file of a shard is inside the archive.
pub fn member(shard: u32, file: &SnapshotFile) -> String {
    format!("shards/{shard}/{}", file.name)
}

/// Reads an archive into `dir`, which must not exist: `dir/shards/<n>/…`. On an error the caller removes `dir`.
pub fn unpack(disk: &dyn Disk, archive: &Path, dir: &Path, cancel: &Cancel) -> Result<SnapshotManifest> {
    let size_max = disk.size(archive).map_err(io(format!("looking at {}", archive.display())))?;
    let mut tar =
        tar::Archive::new(stdio::BufReader::with_capacity(PIECE_BYTES, Reader::open(disk, archive)?));
    // As they are: names and links in entries of their own are of any length, and none of ours needs one.
    let mut entries = tar.entries().map_err(malformed)?.raw(true);
    let manifest = match entries.next() {
        Some(first) => read_manifest(first.map_err(malformed)?)?,
        None => return Err(SnapshotError::Malformed("the archive is empty".into())),
    };
    check(&manifest, size_max)?;
    disk.create_dir_all(dir).map_err(io(format!("making {}", dir.display())))?;
    for shard in &manifest.shards {
        for file in &shard.files {
            cancel.check()?;
            let name = member(shard.shard, file);
            let entry =
                entries.next().ok_or_else(|| SnapshotError::Malformed(format!("`{name}` is missing")))?;
            unpack_one(disk, entry.map_err(malformed)?, &name, file, dir, cancel)?;
        }
    }
    if let Some(entry) = entries.next() {
        let entry = entry.map_err(malformed)?;
        return Err(unknown_entry(&entry));
    }
    Ok(manifest)
}

/// The manifest of an archive, without unpacking it.
pub fn peek(disk: &dyn Disk, archive: &Path) -> Result<SnapshotManifest> {
    let mut tar = tar::Archive::new(Reader::open(disk, archive)?);
    let first = tar.entries().map_err(malformed)?.next();
    read_manifest(
        first.ok_or_else(|| SnapshotError::Malformed("the archive is empty".into()))?.map_err(malformed)?,
    )
}

pub(super) fn malformed(_: stdio::Error) -> SnapshotError {
    SnapshotError::Malformed("Malformed tar archive, reached unknown entry".into())
}

pub(super) fn unknown_entry(entry: &tar::Entry<'_, impl Read>) -> SnapshotError {
    let name = String::from_utf8_lossy(&entry.path_bytes()).escape_debug().to_string();
    SnapshotError::Malformed(format!("Malformed tar archive, reached unknown entry `{name}`"))
}

fn read_manifest(entry: tar::Entry<'_, impl Read>) -> Result<SnapshotManifest> {
    if entry.path_bytes().as_ref() != MANIFEST.as_bytes()
        || entry.header().entry_type() != tar::EntryType::Regular
    {
        return Err(unknown_entry(&entry));
    }
    let mut json = Vec::new();
    entry.take(MANIFEST_MAX_BYTES).read_to_end(&mut json).map_err(malformed)?;
    parse_manifest(&json)
}

pub(super) fn parse_manifest(json: &[u8]) -> Result<SnapshotManifest> {
    serde_json::from_slice(json)
        .map_err(|e| SnapshotError::Malformed(format!("{MANIFEST} of the snapshot: {e}")))
}

/// What a manifest from outside may say.
pub(super) fn check(manifest: &SnapshotManifest, archive_bytes: u64) -> Result<()> {
    let refuse = |text: String| Err(SnapshotError::Malformed(text));
    if manifest.format_version > SNAPSHOT_FORMAT_VERSION {
        return refuse(format!(
            "the snapshot has format {}, this version reads up to {SNAPSHOT_FORMAT_VERSION}: use a newer one",
            manifest.format_version
        ));
    }
    let files = || manifest.shards.iter().flat_map(|s| &s.files);
    if files().count() > FILES_MAX {
        return refuse(format!("the snapshot has more than {FILES_MAX} files"));
    }
    // Files are not compressed: together they can't be longer than the archive.
    let total = files().try_fold(0u64, |sum, f| sum.checked_add(f.size_bytes));
    if total.is_none_or(|t| t > archive_bytes) {
        return refuse("the archive is shorter than its files".into());
    }
    let mut names = std::collections::BTreeSet::new();
    let mut numbers = std::collections::BTreeSet::new();
    for shard in &manifest.shards {
        if !numbers.insert(shard.shard) {
            return refuse(format!("shard {} is there twice", shard.shard));
        }
        for file in &shard.files {
            check_file(file)?;
            if !names.insert(member(shard.shard, file)) {
                return refuse(format!("`{}` is there twice", file.name));
            }
        }
    }
    Ok(())
}

fn unpack_one(
    disk: &dyn Disk,
    entry: tar::Entry<'_, impl Read>,
    name: &str,
    file: &SnapshotFile,
    dir: &Path,
    cancel: &Cancel,
) -> Result<()> {
    expect(&entry, name)?;
    if entry.size() != file.size_bytes {
        return Err(SnapshotError::Malformed(format!("`{name}` has another length than its manifest says")));
    }
    let path = SafePath::parse(name)?.below(dir);
    let what = || format!("writing {}", path.display());
    let folder = path.parent().expect("a file below a folder has a folder");
    disk.create_dir_all(folder).map_err(io(what()))?;
    let actual = write_out(disk, entry, name, &path, cancel)?;
    if actual != file.sha256 {
        return Err(SnapshotError::Checksum { expected: file.sha256.clone(), actual });
    }
    Ok(())
}

/// Whether an entry is a file of this name.
pub(super) fn expect(entry: &tar::Entry<'_, impl Read>, name: &str) -> Result<()> {
    let is_file = entry.header().entry_type() == tar::EntryType::Regular;
    if is_file && entry.path_bytes().as_ref() == name.as_bytes() { Ok(()) } else { Err(unknown_entry(entry)) }
}

/// Writes the file of an entry, and gives its digest.
pub(super) fn write_out(
    disk: &dyn Disk,
    mut entry: tar::Entry<'_, impl Read>,
    name: &str,
    path: &Path,
    cancel: &Cancel,
) -> Result<String> {
    let what = || format!("writing {}", path.display());
    let expected = entry.size();
    let mut out = HashedWriter::create(disk, path)?;
    let mut piece = vec![0u8; PIECE_BYTES.min(usize::try_from(expected).unwrap_or(PIECE_BYTES)).max(1)];
    loop {
        cancel.check()?;
        let n = entry.read(&mut piece).map_err(malformed)?;
        if n == 0 {
            break;
        }
        out.write_all(&piece[..n]).map_err(io(what()))?;
    }
    let (digest, size) = out.finish().map_err(io(what()))?;
    if size != expected {
        return Err(SnapshotError::Malformed(format!("`{name}` is cut off")));
    }
    Ok(digest)
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
