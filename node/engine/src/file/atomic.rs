//! Small files that are replaced as a whole: configurations, identities, pointers.
//!
//! A reader finds the old content or the new one, never a mix, and never bytes that were not written: the
//! first line carries the length and the checksum of the rest. The rest is plain text for people to read.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Disk;
use crate::error::{Error, Result};

const MAGIC: &str = "quiver-file 1";
/// Larger than any such file; keeps a damaged length from reserving memory.
const SIZE_MAX: u64 = 64 << 20;

/// Replaces a file: temporary file, `fdatasync`, rename, `fsync` of the folder. Durable when it returns.
pub fn write(disk: &dyn Disk, path: &Path, content: &[u8]) -> Result<()> {
    let what = |call: &str| format!("{call} {}", path.display());
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    if disk.exists(temporary) {
        disk.remove_file(temporary).map_err(Error::io(what("remove the leftover of")))?;
    }
    let mut bytes = format!("{MAGIC} {} {:08x}\n", content.len(), crc32c::crc32c(content)).into_bytes();
    bytes.extend_from_slice(content);
    let file = disk.create(temporary).map_err(Error::io(what("create the successor of")))?;
    file.write_all_at(&bytes, 0).map_err(Error::io(what("write")))?;
    file.sync_data().map_err(Error::io(what("sync")))?;
    disk.rename(temporary, path).map_err(Error::io(what("rename to")))?;
    disk.sync_dir(dir).map_err(Error::io(what("sync the folder of")))
}

/// The content of a file written by [`write`].
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>> {
    let name = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let what = |call: &str| format!("{call} {}", path.display());
    let file = disk.open(path).map_err(Error::io(what("open")))?;
    let size = file.size().map_err(Error::io(what("size of")))?;
    if size > SIZE_MAX {
        return Err(Error::corrupt(name(), format!("{size} bytes are too many for this kind of file")));
    }
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, 0).map_err(Error::io(what("read")))?;
    parse(&bytes).map(<[u8]>::to_vec).ok_or_else(|| {
        Error::corrupt(name(), "the content is not what its checksum says: restore the file or the copy")
    })
}

fn parse(bytes: &[u8]) -> Option<&[u8]> {
    let line_end = bytes.iter().position(|&b| b == b'\n')?;
    let line = std::str::from_utf8(&bytes[..line_end]).ok()?;
    let content = &bytes[line_end + 1..];
    // Compared as text, so that no second spelling of the same line passes.
    let expected = format!("{MAGIC} {} {:08x}", content.len(), crc32c::crc32c(content));
    (line == expected).then_some(content)
}

/// [`write`] of a value as JSON.
pub fn write_json<T: Serialize>(disk: &dyn Disk, path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).expect("our own types always print as JSON");
    text.push(b'\n');
    write(disk, path, &text)
}

/// [`read`] of a value as JSON.
pub fn read_json<T: DeserializeOwned>(disk: &dyn Disk, path: &Path) -> Result<T> {
    let text = read(disk, path)?;
    serde_json::from_slice(&text).map_err(|e| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Error::corrupt(name, format!("intact, but not understood by this version: {e}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::RealDisk;

    #[test]
    fn every_flipped_bit_is_detected() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("config.json");
        write_json(&RealDisk, &path, &vec!["a", "b"]).unwrap();
        write_json(&RealDisk, &path, &vec!["a", "c"]).unwrap();
        assert_eq!(read_json::<Vec<String>>(&RealDisk, &path).unwrap(), ["a", "c"]);
        let file = RealDisk.open(&path).unwrap();
        let mut bytes = vec![0; file.size().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bytes).is_none(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(parse(&bytes[..bytes.len() - 1]).is_none(), "a byte is missing");
    }
}
