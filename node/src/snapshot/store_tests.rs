//! Tests of the object store on its in-memory double; a real server is used by the system tests.

#![allow(clippy::disallowed_methods)] // Tests lay out files as somebody else would.

use object_store::memory::InMemory;
use quiver_engine::file::RealDisk;

use super::*;

struct World {
    store: Store,
    client: Arc<InMemory>,
    folder: tempfile::TempDir,
    pool: Pool,
    digests: Arc<Digests>,
}

fn world() -> World {
    let destination = S3Destination {
        bucket: "b".into(),
        prefix: "vectors/docs".into(),
        region: String::new(),
        endpoint: String::new(),
        force_path_style: true,
    };
    let client = Arc::new(InMemory::new());
    World {
        store: Store::with_client(client.clone(), &destination, "0c5c-uid").expect("a destination"),
        client,
        folder: tempfile::tempdir().expect("a folder"),
        pool: Pool::new("t", 2, 64).expect("threads"),
        digests: Arc::default(),
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

impl World {
    fn file(&self, name: &str, content: &[u8]) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
        let _ = std::fs::remove_file(&path);
        let file = disk().create(&path).expect("made");
        file.write_all_at(content, 0).expect("written");
    }

    async fn snapshot(&self, name: &str, files: &[&str]) -> SnapshotManifest {
        let shard = ShardUpload {
            disk: disk(),
            pool: &self.pool,
            digests: self.digests.clone(),
            dir: self.folder.path().to_path_buf(),
            files: files.iter().map(|f| f.to_string()).collect(),
            shard: 0,
            range: HashRange::ALL,
            term: 1,
            seq: 9,
            points: 3,
        };
        let name = SafeName::parse(name).expect("a name");
        let shard = self.store.upload_shard(&name, shard).await.expect("uploaded");
        let manifest = SnapshotManifest {
            format_version: SNAPSHOT_FORMAT_VERSION,
            name: name.to_string(),
            collection: "docs".into(),
            collection_uid: "0c5c-uid".into(),
            created_at: "2026-11-24T00:00:00Z".into(),
            schema: serde_json::json!({}),
            payload_indexes: Vec::new(),
            aliases: Vec::new(),
            shards: vec![shard],
        };
        self.store.put_manifest(&manifest).await.expect("a manifest");
        manifest
    }

    async fn keys(&self) -> Vec<String> {
        let all: Vec<_> = self.client.list(None).try_collect().await.expect("listed");
        all.into_iter().map(|o| o.location.to_string()).collect()
    }

    async fn delete(&self, name: &str, grace: u64) -> DeleteSnapshotAnswer {
        let name = SafeName::parse(name).expect("a name");
        let now = crate::clock::unix().as_secs() as i64 + 1;
        self.store.delete(&name, Duration::from_secs(grace), now).await.expect("deleted")
    }
}

#[tokio::test]
async fn an_unchanged_file_is_never_uploaded_twice() {
    let w = world();
    w.file("seg/a.raw", &[1; 100]);
    w.file("seg/b.raw", &[2; 50]);
    let first = w.snapshot("one", &["seg/a.raw", "seg/b.raw"]).await;
    assert_eq!((first.shards[0].uploaded_bytes, first.shards[0].reused_bytes), (150, 0));
    w.file("seg/b.raw", &[3; 60]);
    let second = w.snapshot("two", &["seg/a.raw", "seg/b.raw"]).await;
    assert_eq!((second.shards[0].uploaded_bytes, second.shards[0].reused_bytes), (60, 100));
    assert_eq!(w.store.list().await.expect("listed"), ["one", "two"]);
    assert!(
        w.keys().await.iter().all(|k| k.starts_with("vectors/docs/0c5c-uid/") && !k.contains("/pending/"))
    );
}

#[tokio::test]
async fn what_is_fetched_is_what_was_uploaded() {
    let w = world();
    let large: Vec<u8> = (0..20_000_000u32).map(|i| (i * 7) as u8).collect();
    w.file("seg/a.raw", &large);
    w.file("empty", &[]);
    let manifest = w.snapshot("one", &["seg/a.raw", "empty"]).await;
    let key = "vectors/docs/0c5c-uid/snapshots/one.json";
    assert_eq!(w.store.fetch_manifest(key).await.expect("read"), manifest);
    let into = w.folder.path().join("restored");
    w.store.download_shard(&manifest.shards[0], disk(), &w.pool, &into).await.expect("fetched");
    assert!(disk().map(&into.join("seg/a.raw")).expect("there")[..] == large[..]);
    assert_eq!(disk().size(&into.join("empty")).expect("there"), 0);
}

#[tokio::test]
async fn a_damaged_object_is_refused() {
    let w = world();
    w.file("a", &[1; 100]);
    let manifest = w.snapshot("one", &["a"]).await;
    let key = w.store.key("objects", &manifest.shards[0].files[0].sha256);
    for wrong in [vec![2u8; 100], vec![1; 99], vec![1; 101]] {
        w.client.put(&key, PutPayload::from(wrong)).await.expect("changed");
        let into = tempfile::tempdir().expect("a folder");
        w.store
            .download_shard(&manifest.shards[0], disk(), &w.pool, into.path())
            .await
            .expect_err("not what was uploaded");
    }
}

#[tokio::test]
async fn a_manifest_is_only_written_when_every_object_is_there() {
    let w = world();
    w.file("a", &[1; 100]);
    let mut manifest = w.snapshot("one", &["a"]).await;
    manifest.name = "two".into();
    manifest.shards[0].files[0].sha256 = hex(&[7; 32]);
    w.store.put_manifest(&manifest).await.expect_err("an object is missing");
    assert_eq!(w.store.list().await.expect("listed"), ["one"]);
}

#[tokio::test]
async fn deleting_keeps_what_others_name() {
    let w = world();
    w.file("shared", &[1; 100]);
    w.file("old", &[2; 30]);
    w.file("new", &[3; 40]);
    w.snapshot("one", &["shared", "old"]).await;
    w.snapshot("two", &["shared", "new"]).await;
    let kept = w.delete("one", 3600).await;
    assert_eq!(kept, DeleteSnapshotAnswer { objects_kept_by_grace: 1, ..DeleteSnapshotAnswer::default() });
    let gone = w.delete("one", 0).await;
    assert_eq!((gone.objects_deleted, gone.bytes_deleted), (1, 30));
    let into = tempfile::tempdir().expect("a folder");
    let two = w.store.fetch_manifest("vectors/docs/0c5c-uid/snapshots/two.json").await.expect("still there");
    w.store.download_shard(&two.shards[0], disk(), &w.pool, into.path()).await.expect("whole");
    w.delete("two", 0).await;
    assert_eq!(w.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn objects_of_a_running_upload_stay() {
    let w = world();
    w.file("a", &[1; 100]);
    let one = w.snapshot("one", &["a"]).await;
    let pending = Pending { objects: vec![one.shards[0].files[0].sha256.clone()] };
    let key = w.store.key("pending", "two-0.json");
    w.store.put_json(&key, &pending, PutMode::Overwrite).await.expect("written");
    assert_eq!(w.delete("one", 0).await.objects_deleted, 0);
    assert_eq!(w.delete("two", 0).await.objects_deleted, 1, "an upload that was given up holds nothing");
}

#[test]
fn names_from_outside_never_leave_the_prefix() {
    let destination = |prefix: &str| S3Destination {
        bucket: "b".into(),
        prefix: prefix.into(),
        region: String::new(),
        endpoint: String::new(),
        force_path_style: true,
    };
    let open =
        |prefix: &str, uid: &str| Store::with_client(Arc::new(InMemory::new()), &destination(prefix), uid);
    assert!(open("a/b", "uid").is_ok());
    assert!(open("", "uid").is_ok());
    assert!(open("a/../b", "uid").is_err());
    assert!(open("a", "../uid").is_err());
    assert!(check_file(&SnapshotFile { name: "../x".into(), sha256: hex(&[0; 32]), size_bytes: 0 }).is_err());
    assert!(check_file(&SnapshotFile { name: "x".into(), sha256: "../../x".into(), size_bytes: 0 }).is_err());
}
