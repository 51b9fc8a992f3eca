//! Snapshots from outside. After an `r` the bytes are a tar; else they choose what a tar is made of, a good one where they are zeros. It is
//! unpacked as its manifest says or refused, and nothing is written outside of the folder, and no more than the archive is long.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use quiver_api::internal::{
    HashRange, SNAPSHOT_FORMAT_VERSION, ShardManifest, SnapshotFile, SnapshotManifest,
};
use quiver_engine::Cancel;
use quiver_engine::file::RealDisk;
use quiver_node::snapshot::archive::{member, unpack};
use quiver_node::snapshot::hash::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tar::EntryType;

use super::filters::Choices;

const CONTENTS: [&[u8]; 3] = [b"123", b"", &[7; 1500]];
const NAMES: [&str; 10] =
    ["a", "segments/1/v.raw", "b", "../b", "/c", ".d", "a/../../e", "a\u{0}", "", "a/b/c/d/e/f/g/h/i"];
const KINDS: [EntryType; 11] = [
    EntryType::Regular,
    EntryType::Symlink,
    EntryType::Link,
    EntryType::Char,
    EntryType::Directory,
    EntryType::GNUSparse,
    EntryType::GNULongName,
    EntryType::GNULongLink,
    EntryType::XHeader,
    EntryType::XGlobalHeader,
    EntryType::Continuous,
];

/// The chosen one in one of eight cases, else the right one.
fn seldom<T>(c: &mut Choices, right: T, other: impl FnOnce(&mut Choices) -> T) -> T {
    if c.next(8) == 7 { other(c) } else { right }
}

fn entry(tar: &mut tar::Builder<Vec<u8>>, c: &mut Choices, name: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(seldom(c, EntryType::Regular, |c| c.of(&KINDS)));
    header.set_size(seldom(c, content.len() as u64, |c| c.of(&[0, 1, 2, 513, u64::MAX, 1 << 40])));
    header.set_mode(0o644);
    let name = seldom(c, name.to_owned(), |c| format!("shards/0/{}", c.of(&NAMES)));
    // Written into the fields themselves: the library refuses hostile names.
    let fits = name.len().min(99);
    header.as_mut_bytes()[..fits].copy_from_slice(&name.as_bytes()[..fits]);
    header.as_mut_bytes()[157..160].copy_from_slice(b"../");
    header.set_cksum();
    tar.append(&header, content).expect("memory takes everything");
}

/// A file as the manifest has it, and what is in it.
fn file(c: &mut Choices) -> (SnapshotFile, &'static [u8]) {
    let (content, name) = (c.of(&CONTENTS), c.of(&NAMES[..3]));
    let name = seldom(c, name, |c| c.of(&NAMES)).to_owned();
    let sha256 = seldom(c, hex(&Sha256::digest(content)), |c| c.of(&["", "0", "zz"]).repeat(64));
    let size_bytes = seldom(c, content.len() as u64, |c| c.of(&[0, 4, 1 << 40, u64::MAX]));
    (SnapshotFile { name, sha256, size_bytes }, content)
}

/// A shard as the manifest has it, and entries of its files.
fn shard(c: &mut Choices, number: u32) -> (ShardManifest, Vec<(String, &'static [u8])>) {
    let number = seldom(c, number, |_| 0);
    let (files, contents): (Vec<_>, Vec<_>) = c.list(3, file).into_iter().unzip();
    let names = files.iter().map(|file| member(number, file));
    let entries = names.zip(contents).collect();
    let range = HashRange::ALL;
    let (engine_version, uploaded_bytes, reused_bytes) = (String::new(), 0, 0);
    let (term, seq, points) = (0, 1, 1);
    let shard = ShardManifest {
        shard: number,
        range,
        term,
        seq,
        points,
        engine_version,
        files,
        uploaded_bytes,
        reused_bytes,
    };
    (shard, entries)
}

fn made(c: &mut Choices) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let count = 1 + c.next(2) as u32;
    let (shards, contents): (Vec<_>, Vec<_>) = (0..count).map(|number| shard(c, number)).unzip();
    let manifest = SnapshotManifest {
        format_version: seldom(c, SNAPSHOT_FORMAT_VERSION, |c| c.of(&[0, 99, u32::MAX])),
        name: "s".into(),
        collection: "docs".into(),
        collection_uid: String::new(),
        created_at: String::new(),
        schema: Value::Null,
        payload_indexes: Vec::new(),
        aliases: Vec::new(),
        shards,
    };
    let mut json = serde_json::to_string(&manifest).expect("a manifest prints");
    json.truncate(seldom(c, usize::MAX, |c| c.next(256)).min(json.len()));
    let first =
        seldom(c, "manifest.json", |c| c.of(&["", "manifest.json/", "./manifest.json", "storage.json"]));
    entry(&mut tar, c, first, json.as_bytes());
    for (name, content) in contents.into_iter().flatten() {
        if seldom(c, true, |_| false) {
            entry(&mut tar, c, &name, content);
        }
    }
    if c.next(8) == 7 {
        entry(&mut tar, c, "more", b"1");
    }
    let mut bytes = tar.into_inner().expect("memory takes everything");
    let cut = seldom(c, 0, |c| c.next(256) * 8);
    bytes.truncate(bytes.len().saturating_sub(cut));
    bytes
}

/// Names below a folder, with the lengths of the files. A panic if anything is neither a file nor a folder.
fn found(folder: &Path, below: &str, files: &mut BTreeMap<String, u64>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let entry = entry.expect("it can be listed");
        let name = format!("{below}{}", entry.file_name().to_str().expect("names are plain"));
        let meta = fs::symlink_metadata(entry.path()).expect("it is there");
        match meta.file_type() {
            kind if kind.is_dir() => found(&entry.path(), &format!("{name}/"), files),
            kind => {
                assert!(kind.is_file(), "{name} is {kind:?}");
                files.insert(name, meta.len());
            }
        }
    }
}

/// Unpacks one archive.
pub fn run(data: &[u8]) {
    let bytes = match data.split_first() {
        Some((b'r', tar)) => tar.to_vec(),
        _ => made(&mut Choices(data)),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("a.snapshot");
    fs::File::create(&archive).and_then(|mut file| file.write_all(&bytes)).expect("written");
    let unpacked = unpack(&RealDisk, &archive, &folder.path().join("out"), &Cancel::new());
    let mut files = BTreeMap::new();
    found(folder.path(), "", &mut files);
    files.remove("a.snapshot");
    if let Ok(manifest) = unpacked {
        let all = manifest.shards.iter().flat_map(|s| s.files.iter().map(|f| (s.shard, f)));
        let named =
            all.map(|(shard, file)| (format!("out/{}", member(shard, file)), file.size_bytes)).collect();
        assert_eq!(files, named);
    }
    assert!(files.keys().all(|name| name.starts_with("out/shards/")), "{files:?}");
    assert!(files.values().sum::<u64>() <= bytes.len() as u64, "{files:?}");
}
