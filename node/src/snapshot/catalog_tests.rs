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
    let made = catalog.add(manifest("dé/../x", "a.snapshot"), &scratch, &Cancel::new()).expect("made");
    drop(scratch);
    assert_eq!(catalog.list("dé/../x").expect("listed"), vec![made.clone()]);
    assert_eq!(catalog.list("other").expect("listed"), vec![]);
    let found = catalog.find("dé/../x", "a.snapshot").expect("found");
    assert!(matches!(found, Kept::Folder(_)) && made.checksum.is_some());
    assert!(catalog.newest_unix("dé/../x").is_some());
    catalog.delete("dé/../x", "a.snapshot").expect("removed");
    assert_eq!(catalog.list("dé/../x").expect("listed"), vec![]);
    assert!(catalog.find("dé/../x", "../../a").is_err());
}

#[test]
fn names_may_be_as_long_as_collections_allow() {
    let (catalog, _folder) = catalog();
    for name in ["x".repeat(255), "ä".repeat(127)] {
        let scratch = catalog.scratch().expect("a scratch folder");
        let made = catalog.add(manifest(&name, "a.snapshot"), &scratch, &Cancel::new()).expect("made");
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
    let folders = ["folder.snapshot", "folder"].map(|n| catalog.root().join(n));
    folders.iter().for_each(|f| std::fs::create_dir(f).expect("made"));
    std::os::unix::fs::symlink(folder.path(), catalog.root().join("link.snapshot")).expect("linked");
    let refused = |location: String| catalog.local(&location).expect_err("refused").to_string();
    assert!(catalog.local(&format!("file://{}", inside.display())).is_ok());
    assert!(catalog.local(&format!("file://localhost{}", inside.display())).is_ok());
    let kept = catalog.local(&format!("file://{}", folders[0].display())).expect("inside");
    assert!(matches!(kept, Kept::Folder(_)));
    assert!(refused(format!("file://{}", folders[1].display())).contains("must be inside"));
    assert!(refused(format!("file://{}/link.snapshot", catalog.root().display())).contains("must be inside"));
    assert!(refused(format!("file://{}", outside.display())).contains("must be inside"));
    assert!(refused(format!("file://{}/link", catalog.root().display())).contains("must be inside"));
    assert!(refused(format!("file://{}/../outside", catalog.root().display())).contains("must be inside"));
    assert!(refused("file://host/etc/passwd".into()).contains("absolute or on localhost"));
    assert!(refused("file:///nowhere".into()).contains("must be inside"));
    assert!(refused(format!("file://{}/none", catalog.root().display())).contains("does not exist"));
    assert!(refused("ftp://x".into()).contains("Invalid snapshot URI"));
}

#[test]
fn a_tar_of_an_earlier_version_is_a_snapshot_too() {
    let (catalog, _folder) = catalog();
    let folder = catalog.root().join("c-docs");
    std::fs::create_dir(&folder).expect("made");
    let path = folder.join("old.snapshot");
    std::fs::write(&path, b"a tar").expect("written");
    let checksum = file_digest(&RealDisk, &path, &Cancel::new()).expect("hashed");
    std::fs::write(folder.join("old.snapshot.checksum"), &checksum).expect("written");
    let listed = catalog.list("docs").expect("listed");
    assert_eq!((listed[0].name.as_str(), listed[0].size), ("old.snapshot", 5));
    assert_eq!(listed[0].checksum.as_deref(), Some(&*checksum));
    assert!(listed[0].creation_time.is_some() && catalog.newest_unix("docs").is_some());
    assert_eq!(catalog.find("docs", "old.snapshot").expect("found"), Kept::Archive(path.clone()));
    catalog.check(&path, None, &Cancel::new()).expect("as noted");
    catalog.check(&path, Some(&checksum), &Cancel::new()).expect("right");
    catalog.check(&path, Some(&"0".repeat(64)), &Cancel::new()).expect_err("wrong");
    catalog.delete("docs", "old.snapshot").expect("removed");
    assert_eq!(std::fs::read_dir(&folder).expect("listed").count(), 0, "the checksum went with it");
}

#[test]
fn what_is_no_snapshot_hides_no_other_and_can_be_deleted() {
    let (catalog, _folder) = catalog();
    let scratch = catalog.scratch().expect("a scratch folder");
    let made = catalog.add(manifest("docs", "a.snapshot"), &scratch, &Cancel::new()).expect("made");
    std::fs::create_dir(catalog.root().join("c-docs/b.snapshot")).expect("made");
    assert_eq!(catalog.list("docs").expect("listed"), vec![made]);
    catalog.delete("docs", "b.snapshot").expect("removed");
    assert!(catalog.find("docs", "b.snapshot").is_err());
    let tmp = catalog.disk.list(&catalog.root().join("tmp")).expect("listed");
    assert_eq!(tmp, Vec::<String>::new(), "nothing is left of it");
}
