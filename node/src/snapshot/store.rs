//! Snapshots in an object store: content-addressed, manifest last.
//!
//! ```text
//! <prefix>/<collection uid>/objects/<sha256>          a file of a shard; written once, shared by snapshots
//! <prefix>/<collection uid>/pending/<snapshot>-<shard>.json   objects that a running upload relies on
//! <prefix>/<collection uid>/snapshots/<snapshot>.json  the manifest; a snapshot exists when this does
//! ```
//! An object is removed only if no manifest and no pending file names it and it is older than a grace time.
//! Which snapshots go is the operator's decision alone; this file only carries it out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{
    ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig, WriteMultipart,
};
use quiver_api::internal::{
    DeleteSnapshotAnswer, HashRange, PutManifestAnswer, S3Destination, SNAPSHOT_FORMAT_VERSION,
    ShardManifest, SnapshotFile, SnapshotManifest,
};
use quiver_engine::file::Disk;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hash::{Digests, PIECE_BYTES, hex, is_digest};
use super::name::{SafeName, SafePath};
use super::{Result, SnapshotError, io};
use crate::pool::{Deadline, Pool};

/// Files that are sent or fetched at a time.
const PARALLEL: usize = 4;
/// Files up to this go in one request.
const SINGLE_PUT_BYTES: u64 = 8 << 20;
/// Options that trust whom the machine trusts. An image without certificates of its own trusts the public authorities,
/// for without any no client can be made, not even one that speaks plain HTTP.
fn authorities() -> Result<ClientOptions> {
    if !rustls_native_certs::load_native_certs().certs.is_empty() {
        return Ok(ClientOptions::new());
    }
    let mut options = ClientOptions::new().with_no_system_certificates(true);
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let certificate = object_store::Certificate::from_der(root)
            .map_err(|e| SnapshotError::Store(format!("a public authority: {e}")))?;
        options = options.with_root_certificate(certificate);
    }
    Ok(options)
}

/// A manifest or pending file is never larger.
const JSON_MAX_BYTES: u64 = 256 << 20;
/// A pending file older than this is of an upload that died.
const PENDING_FOR: Duration = Duration::from_secs(24 * 3600);
/// Longest time for the files of one shard.
const SHARD_TIME: Duration = Duration::from_secs(6 * 3600);

/// The snapshots of one collection in an object store.
#[derive(Clone)]
pub struct Store {
    client: Arc<dyn ObjectStore>,
    bucket: String,
    root: String,
}

/// What is needed to upload a shard.
pub struct ShardUpload<'a> {
    pub disk: Arc<dyn Disk>,
    pub pool: &'a Pool,
    pub digests: Arc<Digests>,
    /// Folder that the shard's files were linked into.
    pub dir: std::path::PathBuf,
    /// Names of the files below it.
    pub files: Vec<String>,
    pub shard: u32,
    pub range: HashRange,
    pub term: i64,
    pub seq: u64,
    pub points: u64,
}

#[derive(Serialize, Deserialize)]
struct Pending {
    objects: Vec<String>,
}

impl Store {
    /// Opens a destination with the credentials that the process was given (`AWS_…` in the environment, or the
    /// identity of the pod).
    pub fn open(destination: &S3Destination, collection_uid: &str) -> Result<Self> {
        let mut s3 = AmazonS3Builder::from_env()
            .with_bucket_name(&destination.bucket)
            .with_virtual_hosted_style_request(!destination.force_path_style)
            .with_retry(RetryConfig { retry_timeout: Duration::from_secs(60), ..RetryConfig::default() })
            .with_client_options(
                authorities()?
                    .with_connect_timeout(Duration::from_secs(10))
                    .with_timeout(Duration::from_secs(300))
                    .with_allow_http(destination.endpoint.starts_with("http://")),
            );
        if !destination.region.is_empty() {
            s3 = s3.with_region(&destination.region);
        }
        if !destination.endpoint.is_empty() {
            s3 = s3.with_endpoint(&destination.endpoint);
        }
        let client = s3
            .build()
            .map_err(|e| SnapshotError::BadInput(format!("this destination can't be used: {e}")))?;
        Self::with_client(Arc::new(client), destination, collection_uid)
    }

    fn with_client(
        client: Arc<dyn ObjectStore>,
        destination: &S3Destination,
        collection_uid: &str,
    ) -> Result<Self> {
        let uid = SafeName::parse(collection_uid)?;
        let root = match destination.prefix.trim_matches('/') {
            "" => uid.to_string(),
            prefix => format!("{}/{uid}", SafePath::parse(prefix)?),
        };
        Ok(Self { client, bucket: destination.bucket.clone(), root })
    }

    /// The store that holds the snapshot of a manifest key, whatever collection it is of.
    pub fn of_manifest(destination: &S3Destination, manifest_key: &str) -> Result<Self> {
        let root = manifest_key.rsplit_once("/snapshots/").map(|(root, _)| root);
        let root =
            root.ok_or_else(|| SnapshotError::BadInput(format!("`{manifest_key}` is no key of a manifest")))?;
        let store = Self::open(destination, "any")?;
        Ok(Self { root: SafePath::parse(root)?.to_string(), ..store })
    }

    fn key(&self, folder: &str, name: &str) -> Key {
        Key::from(format!("{}/{folder}/{name}", self.root))
    }

    /// An error with the bucket in it, so that people find the wrong setting.
    fn error(&self, doing: &str) -> impl FnOnce(object_store::Error) -> SnapshotError {
        let what = format!("{doing} in bucket `{}`", self.bucket);
        move |e| match e {
            object_store::Error::NotFound { .. } => SnapshotError::NotFound(format!("{what}: not there")),
            e => SnapshotError::Store(format!("{what}: {}", said(&e.to_string()))),
        }
    }

    /// Uploads what the store doesn't have yet.
    pub async fn upload_shard(&self, snapshot: &SafeName, shard: ShardUpload<'_>) -> Result<ShardManifest> {
        let files = self.hashed(&shard).await?;
        let pending = Pending { objects: files.iter().map(|f| f.sha256.clone()).collect() };
        let pending_key = self.key("pending", &format!("{snapshot}-{}.json", shard.shard));
        self.put_json(&pending_key, &pending, PutMode::Overwrite).await?;
        // Two files with the same content are one object.
        let distinct: BTreeMap<String, SnapshotFile> =
            files.iter().map(|f| (f.sha256.clone(), f.clone())).collect();
        // Owned items: a stream over borrowed ones can't be sent between threads by today's compiler.
        let sent: Vec<u64> = futures::stream::iter(distinct.into_values())
            .map(|file| self.upload_file(&shard, file))
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await?;
        let uploaded_bytes: u64 = sent.iter().sum();
        let total: u64 = files.iter().map(|f| f.size_bytes).sum();
        Ok(ShardManifest {
            shard: shard.shard,
            range: shard.range,
            term: shard.term,
            seq: shard.seq,
            points: shard.points,
            engine_version: crate::VERSION.into(),
            files,
            uploaded_bytes,
            reused_bytes: total - uploaded_bytes,
        })
    }

    async fn hashed(&self, shard: &ShardUpload<'_>) -> Result<Vec<SnapshotFile>> {
        let (disk, dir, digests) = (shard.disk.clone(), shard.dir.clone(), shard.digests.clone());
        let names = shard.files.clone();
        shard
            .pool
            .run("Snapshot", Deadline::after(SHARD_TIME), move |cancel| {
                let one = |name: String| {
                    let path = SafePath::parse(&name)?.below(&dir);
                    let (sha256, size_bytes) = digests.of(&*disk, &path, cancel)?;
                    Ok(SnapshotFile { name, sha256, size_bytes })
                };
                names.into_iter().map(one).collect::<Result<Vec<_>>>()
            })
            .await?
    }

    /// Bytes that were sent: none if the object was there.
    async fn upload_file(&self, shard: &ShardUpload<'_>, file: SnapshotFile) -> Result<u64> {
        let key = self.key("objects", &file.sha256);
        match self.client.head(&key).await {
            Ok(there) if there.size == file.size_bytes => return Ok(0),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(self.error("looking for an object")(e)),
        }
        let path = SafePath::parse(&file.name)?.below(&shard.dir);
        if file.size_bytes <= SINGLE_PUT_BYTES {
            let piece = read_piece(shard, path, 0, file.size_bytes as usize).await?;
            let put = self.client.put(&key, PutPayload::from_bytes(piece));
            put.await.map_err(self.error("writing an object"))?;
            return Ok(file.size_bytes);
        }
        let upload = self.client.put_multipart(&key).await.map_err(self.error("writing an object"))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, SINGLE_PUT_BYTES as usize);
        let mut at = 0;
        while at < file.size_bytes {
            let n = (file.size_bytes - at).min(PIECE_BYTES as u64);
            let piece = match read_piece(shard, path.clone(), at, n as usize).await {
                Ok(piece) => piece,
                Err(e) => {
                    let _ = upload.abort().await;
                    return Err(e);
                }
            };
            upload.wait_for_capacity(PARALLEL).await.map_err(self.error("writing an object"))?;
            upload.put(piece);
            at += n;
        }
        upload.finish().await.map_err(self.error("writing an object"))?;
        Ok(file.size_bytes)
    }

    /// Checks that every object is there, writes the manifest, forgets the pending files. Doing it again is fine.
    pub async fn put_manifest(&self, manifest: &SnapshotManifest) -> Result<PutManifestAnswer> {
        let name = SafeName::parse(&manifest.name)?;
        let mut objects = BTreeMap::new();
        for file in manifest.shards.iter().flat_map(|s| &s.files) {
            check_file(file)?;
            objects.insert(file.sha256.clone(), file.size_bytes);
        }
        let size_bytes = objects.values().sum();
        futures::stream::iter(objects)
            .map(|(sha256, size)| async move {
                let there = self.client.head(&self.key("objects", &sha256)).await;
                let there = there.map_err(self.error("looking for an object of the snapshot"))?;
                if there.size != size {
                    return Err(SnapshotError::Store(format!(
                        "object {sha256} has {} bytes, not {size}",
                        there.size
                    )));
                }
                Ok(())
            })
            .buffer_unordered(PARALLEL * 4)
            .try_collect::<()>()
            .await?;
        let key = self.key("snapshots", &format!("{name}.json"));
        match self.put_json(&key, manifest, PutMode::Create).await {
            // An earlier answer was lost on its way; what is there is a whole snapshot.
            Ok(()) | Err(SnapshotError::BadInput(_)) => {}
            Err(e) => return Err(e),
        }
        for shard in &manifest.shards {
            let pending = self.key("pending", &format!("{name}-{}.json", shard.shard));
            if let Err(e) = self.client.delete(&pending).await
                && !matches!(e, object_store::Error::NotFound { .. })
            {
                tracing::warn!("{pending} stays until the next deletion: {e}");
            }
        }
        Ok(PutManifestAnswer { manifest_key: key.to_string(), size_bytes })
    }

    /// Reads a manifest by its key and checks that it is one.
    pub async fn fetch_manifest(&self, key: &str) -> Result<SnapshotManifest> {
        let parsed =
            Key::parse(key).map_err(|e| SnapshotError::BadInput(format!("manifest key `{key}`: {e}")))?;
        let manifest: SnapshotManifest = self.get_json(&parsed).await?;
        if manifest.format_version > SNAPSHOT_FORMAT_VERSION {
            return Err(SnapshotError::Malformed(format!(
                "the snapshot has format {}, this version reads up to {SNAPSHOT_FORMAT_VERSION}: use a newer one",
                manifest.format_version
            )));
        }
        manifest.shards.iter().flat_map(|s| &s.files).try_for_each(check_file)?;
        Ok(manifest)
    }

    /// Fetches the files of a shard into a folder; each is checked while it arrives.
    pub async fn download_shard(
        &self,
        shard: &ShardManifest,
        disk: Arc<dyn Disk>,
        pool: &Pool,
        into: &Path,
    ) -> Result<()> {
        futures::stream::iter(shard.files.clone())
            .map(|file| self.download_file(file, disk.clone(), pool, into))
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await
    }

    async fn download_file(
        &self,
        file: SnapshotFile,
        disk: Arc<dyn Disk>,
        pool: &Pool,
        into: &Path,
    ) -> Result<()> {
        check_file(&file)?;
        let path = SafePath::parse(&file.name)?.below(into);
        let object = self.client.get(&self.key("objects", &file.sha256)).await;
        let mut pieces = object.map_err(self.error("reading an object"))?.into_stream();
        let deadline = Deadline::after(SHARD_TIME);
        let made = path.clone();
        let mut out = pool
            .run("Restore", deadline, move |_| {
                let what = || format!("writing {}", made.display());
                if let Some(folder) = made.parent() {
                    disk.create_dir_all(folder).map_err(io(what()))?;
                }
                let out = disk.create(&made).map_err(io(what()))?;
                Ok::<_, SnapshotError>((out, Sha256::new(), 0u64))
            })
            .await??;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(self.error("reading an object"))?;
            let (path, expected) = (path.clone(), file.size_bytes);
            out = pool
                .run("Restore", deadline, move |_| {
                    let (file, mut hasher, at) = out;
                    if at + piece.len() as u64 > expected {
                        return Err(SnapshotError::Malformed(format!(
                            "{} is longer than it may be",
                            path.display()
                        )));
                    }
                    file.write_all_at(&piece, at).map_err(io(format!("writing {}", path.display())))?;
                    hasher.update(&piece);
                    Ok((file, hasher, at + piece.len() as u64))
                })
                .await??;
        }
        let expected = file.clone();
        pool.run("Restore", deadline, move |_| {
            let (file, hasher, size) = out;
            let actual = hex(&hasher.finalize());
            if size != expected.size_bytes || actual != expected.sha256 {
                return Err(SnapshotError::Checksum { expected: expected.sha256, actual });
            }
            file.sync_data().map_err(io(format!("syncing {}", path.display())))
        })
        .await?
    }

    /// Names of the snapshots, sorted.
    pub async fn list(&self) -> Result<Vec<String>> {
        let keys = self.list_folder("snapshots").await?;
        Ok(keys
            .into_iter()
            .filter_map(|(name, _, _)| name.strip_suffix(".json").map(str::to_string))
            .collect())
    }

    /// Removes a snapshot, then every object that nothing names and that is older than `grace`. `now_unix` is the
    /// wall clock: ages are judged by the store's own times, so both clocks have to be roughly right.
    pub async fn delete(
        &self,
        snapshot: &SafeName,
        grace: Duration,
        now_unix: i64,
    ) -> Result<DeleteSnapshotAnswer> {
        let key = self.key("snapshots", &format!("{snapshot}.json"));
        match self.client.delete(&key).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(self.error("removing a manifest")(e)),
        }
        let age = |modified: i64| Duration::from_secs(u64::try_from(now_unix - modified).unwrap_or(0));
        for (name, _, modified) in self.list_folder("pending").await? {
            // The snapshot that is going, and uploads that died, rely on nothing any more.
            if name.starts_with(&format!("{snapshot}-")) || age(modified) > PENDING_FOR {
                let _ = self.client.delete(&self.key("pending", &name)).await;
            }
        }
        let objects = self.list_folder("objects").await?;
        // Read after the objects were listed: an object that an upload found and named since then is kept.
        let named = self.named_objects().await?;
        let mut answer = DeleteSnapshotAnswer::default();
        for (name, size, modified) in objects {
            if named.contains(&name) {
                continue;
            }
            if age(modified) < grace {
                answer.objects_kept_by_grace += 1;
                continue;
            }
            self.client
                .delete(&self.key("objects", &name))
                .await
                .map_err(self.error("removing an object"))?;
            answer.objects_deleted += 1;
            answer.bytes_deleted += size;
        }
        Ok(answer)
    }

    /// Digests that manifests and pending files name. One that can't be read stops everything: guessing loses data.
    async fn named_objects(&self) -> Result<BTreeSet<String>> {
        let mut named = BTreeSet::new();
        for (name, _, _) in self.list_folder("snapshots").await? {
            let manifest: SnapshotManifest = self.get_json(&self.key("snapshots", &name)).await?;
            named.extend(manifest.shards.into_iter().flat_map(|s| s.files).map(|f| f.sha256));
        }
        for (name, _, _) in self.list_folder("pending").await? {
            match self.get_json::<Pending>(&self.key("pending", &name)).await {
                Ok(pending) => named.extend(pending.objects),
                // It became a manifest or was removed in between; a manifest is read by the next deletion too,
                // but objects of this one could go now, so look again.
                Err(SnapshotError::NotFound(_)) => return Box::pin(self.named_objects()).await,
                Err(e) => return Err(e),
            }
        }
        Ok(named)
    }

    /// (name, size, unix seconds of the last change) of what lies in a folder.
    async fn list_folder(&self, folder: &str) -> Result<Vec<(String, u64, i64)>> {
        let prefix = Key::from(format!("{}/{folder}", self.root));
        let all: Vec<_> =
            self.client.list(Some(&prefix)).try_collect().await.map_err(self.error("listing"))?;
        let mut names: Vec<_> = all
            .into_iter()
            .filter_map(|o| Some((o.location.filename()?.to_string(), o.size, o.last_modified.timestamp())))
            .collect();
        names.sort();
        Ok(names)
    }

    async fn put_json<T: Serialize>(&self, key: &Key, value: &T, mode: PutMode) -> Result<()> {
        let body = serde_json::to_vec(value).map_err(|e| SnapshotError::BadInput(e.to_string()))?;
        let options = PutOptions { mode, ..PutOptions::default() };
        match self.client.put_opts(key, PutPayload::from(body), options).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => {
                Err(SnapshotError::BadInput(format!("{key} exists already")))
            }
            Err(e) => Err(self.error("writing")(e)),
        }
    }

    async fn get_json<T: for<'de> Deserialize<'de>>(&self, key: &Key) -> Result<T> {
        let object = self.client.get(key).await.map_err(self.error(&format!("reading {key}")))?;
        if object.meta.size > JSON_MAX_BYTES {
            return Err(SnapshotError::Malformed(format!("{key} is too large to be what it should be")));
        }
        let bytes = object.bytes().await.map_err(self.error(&format!("reading {key}")))?;
        serde_json::from_slice(&bytes).map_err(|e| SnapshotError::Malformed(format!("{key}: {e}")))
    }
}

/// The store's own words, if its error has them in XML; else the error.
fn said(error: &str) -> &str {
    let inner = error.split_once("<Message>").and_then(|(_, rest)| rest.split_once("</Message>"));
    inner.map_or(error, |(message, _)| message)
}

/// A file as a manifest names it is a place below a folder, and its digest is a digest.
pub(super) fn check_file(file: &SnapshotFile) -> Result<()> {
    SafePath::parse(&file.name)?;
    if !is_digest(&file.sha256) {
        return Err(SnapshotError::Malformed(format!("`{}` is not a SHA-256", file.sha256.escape_debug())));
    }
    Ok(())
}

async fn read_piece(shard: &ShardUpload<'_>, path: std::path::PathBuf, at: u64, n: usize) -> Result<Bytes> {
    let disk = shard.disk.clone();
    let read = move |_: &quiver_engine::Cancel| {
        let what = || format!("reading {}", path.display());
        let mut piece = vec![0u8; n];
        let file = disk.open(&path).map_err(io(what()))?;
        file.read_exact_at(&mut piece, at).map_err(io(what()))?;
        Ok::<_, SnapshotError>(Bytes::from(piece))
    };
    shard.pool.run("Snapshot", Deadline::after(SHARD_TIME), read).await?
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
