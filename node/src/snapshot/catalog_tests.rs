//! Tests of the folder of snapshots.

#![allow(clippy::disallowed_methods)] // Tests lay out files as somebody else would.

use quiver_engine::file::RealDisk;
use serde_json::json;

use super::*;

fn catalog() -> (Catalog, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = Catalog::open(Arc::new(RealDisk), folder.path().join("snapshots")).expect("opened");
    (catalog, folder)
}

fn manifest(collection: &str, name: &str) -> SnapshotManifest {
    SnapshotManifest {
        format_version: 1,
        name: name.into(),
        collection: collection.into(),
        collection_uid: String::new(),
        created_at: String::new(),
        schema: json!({}),
        payload_indexes: Vec::new(),
        aliases: Vec::new(),
        shards: Vec::new(),
    }
}

#[test]
fn a_snapshot_is_listed_found_checked_and_removed() {
    let (catalog, _folder) = catalog();
    let scratch = catalog.scratch().expect("a scratch folder");
    let made = catalog.add(&manifest("dé/../x", "a.snapshot"), &scratch, &Cancel::new()).expect("made");
    drop(scratch);
    assert_eq!(catalog.list("dé/../x").expect("listed"), vec![made.clone()]);
    assert_eq!(catalog.list("other").expect("listed"), vec![]);
    let path = catalog.path("dé/../x", "a.snapshot").expect("found");
    catalog.check(&path, made.checksum.as_deref(), &Cancel::new()).expect("right");
    catalog.check(&path, Some(&"0".repeat(64)), &Cancel::new()).expect_err("wrong");
    assert!(catalog.newest_unix("dé/../x").is_some());
    catalog.delete("dé/../x", "a.snapshot").expect("removed");
    assert_eq!(catalog.list("dé/../x").expect("listed"), vec![]);
    assert!(catalog.path("dé/../x", "../../a").is_err());
}

#[test]
fn names_may_be_as_long_as_collections_allow() {
    let (catalog, _folder) = catalog();
    for name in ["x".repeat(255), "ä".repeat(127)] {
        let scratch = catalog.scratch().expect("a scratch folder");
        let made = catalog.add(&manifest(&name, "a.snapshot"), &scratch, &Cancel::new()).expect("made");
        assert_eq!(catalog.list(&name).expect("listed"), vec![made]);
        assert_eq!(catalog.list(&name[2..]).expect("listed"), vec![]);
    }
}

#[test]
fn recovery_reads_nothing_outside_the_snapshots_folder() {
    let (catalog, folder) = catalog();
    let outside = folder.path().join("outside");
    std::fs::File::create(&outside).expect("made");
    let inside = catalog.root().join("inside.snapshot");
    std::fs::File::create(&inside).expect("made");
    std::os::unix::fs::symlink(&outside, catalog.root().join("link")).expect("linked");
    let refused = |location: String| catalog.local(&location).expect_err("refused").to_string();
    assert!(catalog.local(&format!("file://{}", inside.display())).is_ok());
    assert!(catalog.local(&format!("file://localhost{}", inside.display())).is_ok());
    assert!(refused(format!("file://{}", outside.display())).contains("must be inside"));
    assert!(refused(format!("file://{}/link", catalog.root().display())).contains("must be inside"));
    assert!(refused(format!("file://{}/../outside", catalog.root().display())).contains("must be inside"));
    assert!(refused("file://host/etc/passwd".into()).contains("absolute or on localhost"));
    assert!(refused("file:///nowhere".into()).contains("must be inside"));
    assert!(refused(format!("file://{}/none", catalog.root().display())).contains("does not exist"));
    assert!(refused("ftp://x".into()).contains("Invalid snapshot URI"));
}
