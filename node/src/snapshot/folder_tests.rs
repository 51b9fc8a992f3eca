//! Tests of folders of links: their tars, and what becomes of hostile ones.

#![allow(clippy::disallowed_methods)] // Tests lay out files as somebody else would.

use std::io as stdio;
use std::os::unix::fs::{MetadataExt, symlink};

use quiver_engine::file::RealDisk;
use sha2::Digest;

use super::super::hash::PIECE_BYTES;
use super::super::testing::{lay_out, manifest};
use super::*;

const FILES: [(&str, &[u8]); 3] = [("segments/1/v.raw", b"12345"), ("segments/1/ids", b""), ("x", b"6")];

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

/// A folder as it is kept, without digests.
fn kept(files: &[(&str, &[u8])]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.snapshot");
    lay_out(&path, files);
    let mut manifest = manifest(files);
    for file in &mut manifest.shards[0].files {
        file.sha256 = UNKNOWN_DIGEST.into();
    }
    Folder::new(&path, manifest).and_then(|f| f.write(&RealDisk)).expect("written");
    (folder, path)
}

fn read(path: &Path) -> Result<Folder> {
    Folder::read(&RealDisk, path)
}

/// The error of a recovery from the folder.
fn refused(path: &Path, given: Option<&str>) -> String {
    let out = tempfile::tempdir().expect("a folder");
    let linked =
        read(path).and_then(|f| f.link_into(&disk(), &out.path().join("out"), given, &Cancel::new()));
    linked.expect_err("hostile").to_string()
}

#[test]
fn the_tar_has_its_length_before_its_digests_and_is_what_tar_reads() {
    let large = vec![7u8; PIECE_BYTES + 1000];
    let long = format!("segments/1/{}", "n".repeat(120));
    let files: [(&str, &[u8]); 3] = [("segments/1/v.raw", &large), (&long, b"x"), ("empty", b"")];
    let (_folder, path) = kept(&files);
    let before = read(&path).expect("kept");
    assert!(!before.is_digested());
    let size = before.layout().expect("laid out").size();
    let mut after = read(&path).expect("kept");
    after.digest(&RealDisk, &Cancel::new()).expect("digested");
    after.write(&RealDisk).expect("written");
    let after = read(&path).expect("kept");
    assert!(after.is_digested() && after.manifest == manifest(&files));
    let mut tar = Vec::new();
    after.layout().and_then(|l| l.reader(disk()).write_to(&mut tar)).expect("packed");
    assert_eq!((tar.len() as u64, after.layout().expect("laid out").size()), (size, size));
    let mut entries = Vec::new();
    for entry in tar::Archive::new(&tar[..]).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let mut content = Vec::new();
        stdio::Read::read_to_end(&mut entry, &mut content).expect("read");
        entries.push((String::from_utf8_lossy(&entry.path_bytes()).into_owned(), content));
    }
    let mut expected = vec![(MANIFEST.to_owned(), serde_json::to_vec(&manifest(&files)).expect("printed"))];
    expected.extend(files.iter().map(|(n, c)| (format!("shards/0/{n}"), c.to_vec())));
    assert!(entries == expected);
    let again = read(&path).and_then(|f| f.checksum(&disk(), &Cancel::new())).expect("hashed");
    assert_eq!(again, super::super::hash::hex(&sha2::Sha256::digest(&tar)));
}

#[test]
fn recovery_links_and_checks_what_is_known() {
    let (folder, path) = kept(&FILES);
    let out = folder.path().join("out");
    let linked = read(&path).and_then(|f| f.link_into(&disk(), &out, None, &Cancel::new())).expect("linked");
    assert_eq!(linked.shards[0].files[0].sha256, UNKNOWN_DIGEST, "nothing had to be read for it");
    let inode = |dir: &Path| std::fs::metadata(dir.join("shards/0/x")).expect("there").ino();
    assert_eq!(inode(&path), inode(&out));
    // Of a folder without digests a checksum is still checked.
    let mut digested = read(&path).expect("kept");
    digested.digest(&RealDisk, &Cancel::new()).expect("digested");
    let checksum = digested.checksum(&disk(), &Cancel::new()).expect("hashed");
    assert!(refused(&path, Some(&"1".repeat(64))).contains(&checksum));
    digested.write(&RealDisk).expect("written");
    for (given, to) in [(None, "two"), (Some(&*checksum), "three")] {
        let out = folder.path().join(to);
        let linked = read(&path).and_then(|f| f.link_into(&disk(), &out, given, &Cancel::new()));
        assert_eq!(linked.expect("linked"), manifest(&FILES));
    }
    assert!(refused(&path, Some(&"1".repeat(64))).contains("Checksum mismatch"));
    std::fs::write(path.join("shards/0/x"), b"7").expect("written");
    assert!(refused(&path, None).contains("Checksum mismatch"), "a file was changed");
}

#[test]
fn nothing_outside_the_folder_is_linked_or_read() {
    let (folder, path) = kept(&FILES);
    let outside = folder.path().join("outside");
    std::fs::create_dir(&outside).expect("made");
    std::fs::write(outside.join("v.raw"), b"12345").expect("written");
    std::fs::write(outside.join("ids"), b"").expect("written");
    let (file, segment) = (path.join("shards/0/segments/1/v.raw"), path.join("shards/0/segments/1"));
    let both = |expected: &str| {
        assert!(refused(&path, None).contains(expected), "recovery");
        let sent = read(&path).and_then(|f| f.layout()).and_then(|l| l.reader(disk()).digest(&Cancel::new()));
        assert!(sent.expect_err("hostile").to_string().contains(expected), "download");
    };
    std::fs::remove_file(&file).expect("removed");
    both("looking at");
    symlink(outside.join("v.raw"), &file).expect("linked");
    both("not a regular file");
    std::fs::remove_dir_all(&segment).expect("removed");
    symlink(&outside, &segment).expect("linked");
    both("not a regular file");
    std::fs::remove_file(&segment).expect("removed");
    lay_out(&path, &[("segments/1/v.raw", b"123456"), ("segments/1/ids", b"")]);
    both("another length");
    for hostile in ["../../../outside/v.raw", "/etc/passwd"] {
        let mut named = manifest(&[(hostile, b"1")]);
        named.shards[0].files[0].size_bytes = 1;
        Folder::new(&path, named).and_then(|f| f.write(&RealDisk)).expect("written");
        both("can't be a name here");
    }
    let mut endless = manifest(&[("a", b"1"), ("b", b"1")]);
    endless.shards[0].files.iter_mut().for_each(|f| f.size_bytes = u64::MAX);
    Folder { path: path.clone(), json: printed(&endless).expect("printed"), manifest: endless }
        .write(&RealDisk)
        .expect("written");
    both("shorter than its files");
    std::fs::rename(path.join(MANIFEST), outside.join(MANIFEST)).expect("moved");
    symlink(outside.join(MANIFEST), path.join(MANIFEST)).expect("linked");
    both("is no snapshot");
}
