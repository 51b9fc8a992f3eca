//! The bytes of a snapshot's tar in their order: `manifest.json` first, then every file that it names.
//!
//! They are a function of the manifest and the files alone (no times, no owners), so the length is known before anything
//! is read, and the tar can be made anew whenever somebody asks for it. It is never stored.

use std::io::{self as stdio, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quiver_api::internal::SnapshotManifest;
use quiver_engine::Cancel;
use quiver_engine::file::{Disk, File};
use sha2::{Digest, Sha256};

use super::archive::{MANIFEST, member};
use super::hash::{PIECE_BYTES, hex};
use super::name::{SafeName, SafePath};
use super::{Result, SnapshotError, io};

const BLOCK_BYTES: u64 = 512;
/// Two blocks of zeros end a tar.
const END: [u8; 1024] = [0; 1024];

/// What a tar consists of.
pub struct Layout {
    dir: PathBuf,
    parts: Vec<Part>,
    size: u64,
}

enum Part {
    /// Heads of entries, the manifest, padding.
    Bytes(Vec<u8>),
    /// A file below the folder, and its length.
    File(SafePath, u64),
}

impl Part {
    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }
}

impl Layout {
    /// The tar of `manifest`, whose files are below `dir/shards/<n>`. `json` is what the tar has as its manifest.
    pub fn of(manifest: &SnapshotManifest, json: &[u8], dir: &Path) -> Result<Self> {
        let mut layout = Self { dir: dir.to_path_buf(), parts: Vec::new(), size: 0 };
        layout.head(MANIFEST, json.len() as u64)?;
        layout.bytes(json);
        layout.pad(json.len() as u64);
        for shard in &manifest.shards {
            for file in &shard.files {
                let name = member(shard.shard, file);
                layout.head(&name, file.size_bytes)?;
                layout.parts.push(Part::File(SafePath::parse(&name)?, file.size_bytes));
                layout.size += file.size_bytes;
                layout.pad(file.size_bytes);
            }
        }
        layout.bytes(&END);
        Ok(layout)
    }

    /// The tar of a folder of snapshots: `json` first, as `first`, then the tar of each, whose files are below `dir/<name>`.
    pub fn of_several(first: &str, json: &[u8], dir: &Path, inner: Vec<(SafeName, Self)>) -> Result<Self> {
        let mut layout = Self { dir: dir.to_path_buf(), parts: Vec::new(), size: 0 };
        layout.head(first, json.len() as u64)?;
        layout.bytes(json);
        layout.pad(json.len() as u64);
        for (name, tar) in inner {
            layout.head(name.as_str(), tar.size)?;
            for part in tar.parts {
                match part {
                    Part::Bytes(bytes) => layout.bytes(&bytes),
                    Part::File(path, size) => {
                        layout.parts.push(Part::File(SafePath::parse(&format!("{name}/{path}"))?, size));
                        layout.size += size;
                    }
                }
            }
            layout.pad(tar.size);
        }
        layout.bytes(&END);
        Ok(layout)
    }

    /// Length of the tar.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The same for equal tars only, where the manifest has the digests of its files.
    pub fn tag(&self) -> String {
        let mut hasher = Sha256::new();
        for part in &self.parts {
            if let Part::Bytes(bytes) = part {
                hasher.update(bytes);
            }
        }
        hex(&hasher.finalize()[..16])
    }

    /// The whole tar.
    pub fn reader(self, disk: Arc<dyn Disk>) -> Reader {
        let all = 0..self.size;
        self.part(all, disk)
    }

    /// The bytes of the tar in `range`. Nothing outside of it is read.
    pub fn part(self, range: Range<u64>, disk: Arc<dyn Disk>) -> Reader {
        let mut at = 0;
        let mut parts = Vec::new();
        for part in self.parts {
            let (start, end) = (at, at + part.size());
            let within = range.start.clamp(start, end) - start..range.end.clamp(start, end) - start;
            if !within.is_empty() {
                parts.push((part, within));
            }
            at = end;
        }
        Reader { disk, dir: self.dir, parts: parts.into_iter(), open: None }
    }

    fn head(&mut self, name: &str, size: u64) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        // Without content: that is not read before it is sent.
        let mut tar = tar::Builder::new(Vec::new());
        let appended = tar.append_data(&mut header, name, stdio::empty());
        appended.map_err(|e| SnapshotError::BadInput(format!("`{name}` can't be in a tar: {e}")))?;
        let head = std::mem::take(tar.get_mut());
        self.bytes(&head);
        Ok(())
    }

    fn pad(&mut self, content: u64) {
        let zeros = content.next_multiple_of(BLOCK_BYTES) - content;
        self.bytes(&END[..zeros as usize]);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        match self.parts.last_mut() {
            Some(Part::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.parts.push(Part::Bytes(bytes.to_vec())),
        }
    }
}

/// Makes the tar by pieces. A file is opened when its turn comes; one that is gone by then is an error.
pub struct Reader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// What each gives is the range of its bytes.
    parts: std::vec::IntoIter<(Part, Range<u64>)>,
    open: Option<Open>,
}

struct Open {
    file: Box<dyn File>,
    path: PathBuf,
    at: u64,
    end: u64,
}

impl Reader {
    /// The next bytes, about `wanted` of them; `None` after the last ones.
    pub fn piece(&mut self, wanted: usize) -> Result<Option<Vec<u8>>> {
        let mut piece = Vec::new();
        while piece.len() < wanted {
            if let Some(open) = &mut self.open {
                if open.at < open.end {
                    open.read(&mut piece, wanted)?;
                    continue;
                }
                self.open = None;
            }
            match self.parts.next() {
                Some((Part::Bytes(bytes), within)) => {
                    piece.extend_from_slice(&bytes[within.start as usize..within.end as usize]);
                }
                Some((Part::File(name, size), within)) => {
                    self.open = Some(self.open_file(&name, size, within)?)
                }
                None => break,
            }
        }
        Ok((!piece.is_empty()).then_some(piece))
    }

    fn open_file(&self, name: &SafePath, size: u64, within: Range<u64>) -> Result<Open> {
        regular(&self.dir, name, size)?;
        let path = name.below(&self.dir);
        let file = self.disk.open(&path).map_err(io(format!("opening {}", path.display())))?;
        Ok(Open { file, path, at: within.start, end: within.end })
    }

    /// SHA-256 of all that is left.
    pub fn digest(mut self, cancel: &Cancel) -> Result<String> {
        let mut hasher = Sha256::new();
        while let Some(piece) = self.piece(PIECE_BYTES)? {
            cancel.check()?;
            hasher.update(&piece);
        }
        Ok(hex(&hasher.finalize()))
    }

    /// Writes all that is left.
    pub fn write_to(mut self, out: &mut dyn Write) -> Result<()> {
        while let Some(piece) = self.piece(PIECE_BYTES)? {
            out.write_all(&piece).map_err(io("writing the tar"))?;
        }
        Ok(())
    }
}

impl Open {
    fn read(&mut self, piece: &mut Vec<u8>, wanted: usize) -> Result<()> {
        let start = piece.len();
        let room = wanted - start;
        let n = usize::try_from(self.end - self.at).map_or(room, |left| left.min(room));
        piece.resize(start + n, 0);
        let read = self.file.read_exact_at(&mut piece[start..], self.at);
        read.map_err(io(format!("reading {}", self.path.display())))?;
        self.at += n as u64;
        Ok(())
    }
}

/// Refuses what is not a regular file of this length below `dir`: no link may lead out of a snapshot's folder.
pub fn regular(dir: &Path, name: &SafePath, size: u64) -> Result<()> {
    let mut at = dir.to_path_buf();
    let mut parts = name.as_str().split('/').peekable();
    while let Some(part) = parts.next() {
        at.push(part);
        let meta = std::fs::symlink_metadata(&at).map_err(io(format!("looking at {}", at.display())))?;
        let is_last = parts.peek().is_none();
        if (is_last && !meta.is_file()) || (!is_last && !meta.is_dir()) {
            return Err(SnapshotError::Malformed(format!(
                "`{name}` of the snapshot is not a regular file in a folder of its own"
            )));
        }
        if is_last && meta.len() != size {
            return Err(SnapshotError::Malformed(format!(
                "`{name}` has another length than its manifest says"
            )));
        }
    }
    Ok(())
}
