//! Tests of what is made after a snapshot: digests, checksums, and downloads that don't wait for them.

#![allow(clippy::disallowed_methods)] // Tests lay out files as somebody else would.

use quiver_api::internal::SnapshotManifest;
use sha2::{Digest, Sha256};

use super::super::catalog::{Description, Kept};
use super::super::folder::UNKNOWN_DIGEST;
use super::super::hash::hex;
use super::super::testing::{WatchedDisk, lay_out, manifest};
use super::*;

const LARGE: usize = 3 << 20;

struct World {
    disk: WatchedDisk,
    catalog: Catalog,
    pool: Pool,
    _folder: tempfile::TempDir,
}

fn world() -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = WatchedDisk::default();
    let catalog = Catalog::open(Arc::new(disk.clone()), folder.path().join("snapshots")).expect("opened");
    World { disk, catalog, pool: Pool::new("t", 2, 64).expect("threads"), _folder: folder }
}

impl World {
    /// A snapshot of a file of so many bytes and a small one behind it.
    fn made(&self, bytes: usize) -> (Description, PathBuf, SnapshotManifest) {
        let content = vec![3u8; bytes];
        let files: [(&str, &[u8]); 2] = [("segments/1/v0.raw", &content), ("snapshot.json", b"{}")];
        let scratch = self.catalog.scratch().expect("a scratch folder");
        lay_out(scratch.path(), &files);
        let full = SnapshotManifest { name: "a.snapshot".into(), ..manifest(&files) };
        let mut unknown = full.clone();
        unknown.shards[0].files.iter_mut().for_each(|f| f.sha256 = UNKNOWN_DIGEST.into());
        let made = self.catalog.add(unknown, &scratch, &Cancel::new()).expect("made");
        let Kept::Folder(path) = self.catalog.find("docs", "a.snapshot").expect("there") else {
            panic!("it is a folder")
        };
        (made, path, full)
    }

    fn listed(&self) -> Vec<Description> {
        self.catalog.list("docs").expect("listed")
    }

    async fn download(&self, path: &Path) -> Result<Vec<u8>> {
        let layout = self.catalog.tar(&self.pool, path, forever()).await?;
        let (size, mut tar) = (layout.size(), Vec::new());
        layout.reader(self.catalog.disk.clone()).write_to(&mut tar)?;
        assert_eq!(tar.len() as u64, size);
        Ok(tar)
    }
}

fn sha256(bytes: &[u8]) -> Option<String> {
    Some(hex(&Sha256::digest(bytes)))
}

#[tokio::test]
async fn a_small_snapshot_has_its_checksum_at_once() {
    let world = world();
    let (made, path, _) = world.made(1 << 10);
    assert_eq!(world.listed(), vec![made.clone()]);
    let tar = world.download(&path).await.expect("sent");
    assert_eq!((made.checksum, made.size), (sha256(&tar), tar.len() as u64));
}

#[tokio::test]
async fn nothing_is_read_to_make_a_large_snapshot_and_its_checksum_comes_later() {
    let world = world();
    let (made, path, full) = world.made(LARGE);
    assert_eq!((world.disk.bytes_read(), made.checksum.clone()), (0, None));
    assert_eq!(world.listed(), vec![made.clone()]);
    assert_eq!(world.disk.bytes_read(), 0, "nor to list it");
    world.catalog.finish(&world.pool).await.expect("finished");
    let listed = world.listed().remove(0);
    assert_eq!((listed.size, &listed.creation_time), (made.size, &made.creation_time));
    let read = world.disk.bytes_read();
    world.catalog.finish(&world.pool).await.expect("nothing to do");
    let tar = world.download(&path).await.expect("sent");
    assert_eq!(world.disk.bytes_read() - read, (LARGE + 2) as u64, "digests are not made twice");
    assert_eq!((listed.checksum, listed.size), (sha256(&tar), tar.len() as u64));
    let (archive, out) = (world.catalog.root().join("downloaded"), world.catalog.root().join("out"));
    std::fs::write(&archive, &tar).expect("written");
    let unpacked = super::super::archive::unpack(&world.disk, &archive, &out, &Cancel::new());
    assert_eq!(unpacked.expect("unpacked"), full);
}

#[tokio::test]
async fn a_download_does_not_wait_for_the_background() {
    let world = world();
    let (made, path, _) = world.made(LARGE);
    let tar = world.download(&path).await.expect("sent");
    assert_eq!(world.listed(), vec![made], "the checksum itself is the background's");
    // The process ended before it; another life of it finds what is missing.
    let catalog = Catalog::open(Arc::new(world.disk.clone()), world.catalog.root().to_path_buf());
    catalog.expect("opened").finish(&world.pool).await.expect("finished");
    assert_eq!(world.listed()[0].checksum, sha256(&tar));
}

#[tokio::test]
async fn a_node_makes_missing_checksums_until_it_stops() {
    let world = world();
    let node = Node::new(Default::default(), Default::default()).expect("a node");
    let running = tokio::spawn(run(world.catalog.clone(), node.clone()));
    world.made(LARGE);
    while world.listed()[0].checksum.is_none() {
        tokio::task::yield_now().await;
    }
    node.shutdown.begin();
    running.await.expect("stopped");
}

#[tokio::test]
async fn a_snapshot_that_is_deleted_while_it_is_read_leaves_nothing() {
    let world = world();
    for download in [false, true] {
        let (_, path, _) = world.made(LARGE);
        let catalog = world.catalog.clone();
        world.disk.at_first_read(move || catalog.delete("docs", "a.snapshot").expect("deleted"));
        if download {
            let error = world.download(&path).await.expect_err("deleted");
            assert_eq!(error.to_string(), "Snapshot a.snapshot not found");
        } else {
            world.catalog.finish(&world.pool).await.expect("nothing is wrong with that");
        }
        assert_eq!(std::fs::read_dir(world.catalog.root().join("c-docs")).expect("listed").count(), 0);
        assert_eq!(std::fs::read_dir(world.catalog.root().join("tmp")).expect("listed").count(), 0);
    }
}

#[tokio::test]
async fn what_is_noted_of_a_deleted_snapshot_does_not_reach_its_successor() {
    let world = world();
    let (_, path, _) = world.made(LARGE);
    let catalog = world.catalog.clone();
    let again = world.catalog.scratch().expect("a scratch folder");
    world.disk.at_first_read(move || {
        catalog.delete("docs", "a.snapshot").expect("deleted");
        let successor = SnapshotManifest { name: "a.snapshot".into(), ..manifest(&[]) };
        catalog.add(successor, &again, &Cancel::new()).expect("made");
    });
    world.catalog.digested(&path, &Cancel::new()).map(drop).expect_err("another one is there");
    let size = world.listed()[0].size;
    assert_eq!(world.download(&path).await.expect("the successor").len() as u64, size);
    assert!(size < 10_000);
}

#[tokio::test]
async fn a_download_of_a_snapshot_that_goes_ends_with_an_error() {
    let world = world();
    let (_, path, _) = world.made(LARGE);
    let layout = world.catalog.tar(&world.pool, &path, forever()).await.expect("a tar");
    let mut tar = layout.reader(world.catalog.disk.clone());
    tar.piece(1 << 20).expect("read").expect("a piece");
    world.catalog.delete("docs", "a.snapshot").expect("deleted");
    let failed = std::iter::from_fn(|| tar.piece(1 << 20).transpose()).find(Result::is_err);
    let error = failed.expect("no end that looks like one").expect_err("a file is gone");
    assert!(error.to_string().contains("looking at"), "{error}");
}
