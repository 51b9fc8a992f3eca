//! A sealed segment: files that never change, mapped.
//!
//! Points lie in the order of their ids, or of their tenants ([`super::tenants`]). What the files hold and how they belong together says the segment's `meta`
//! file; a new one is written when a payload index is added or a vector is dropped. The other files stay, but those of
//! the dropped vector.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::columns::{Payloads, Versions};
use super::deleted::Deleted;
use super::filter_cache::FilterCache;
use super::ids::IdTable;
use super::multi::SegmentMulti;
use super::passing::Passing;
use super::sparse::{SegmentSparse, SparseSource};
use super::vectors::{SegmentVectors, VectorSpec};
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, Distance, FieldSchema, HnswConfig, Quantization, VectorParams};
use crate::error::{Error, Result};
use crate::file::{Disk, FileEntry, SealedFile, SealedWriter};
use crate::filter::{self, Filter, PointSource};
use crate::json_path::JsonPath;
use crate::payload::{PayloadMap, RawPayload};
use crate::payload_index::{FieldIndex, FieldIndexBuilder};
use crate::point_id::PointId;
use crate::quantization::ScalarCodes;
use crate::shard::manifest::SegmentEntry;
use crate::vector::{MultiRow, SparseRow, named};

const META: [u8; 8] = *b"segmeta ";
const INDEX: [u8; 8] = *b"PLDINDEX";
const DELETED: [u8; 8] = *b"deleted ";

/// What a segment's files hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    pub vectors: BTreeMap<String, VectorMeta>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sparse: BTreeMap<String, SparseMeta>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub multi: BTreeMap<String, MultiMeta>,
    /// By the text of their path.
    pub indexes: BTreeMap<String, IndexMeta>,
    /// Number that the next file of this segment gets.
    pub next_file: u32,
}

impl Meta {
    /// Everything that may have a graph, by name.
    pub fn dense(&self) -> impl Iterator<Item = (&str, &VectorMeta)> {
        let multi = self.multi.iter().map(|(name, m)| (name.as_str(), &m.rows));
        self.vectors.iter().map(|(name, v)| (name.as_str(), v)).chain(multi)
    }
}

/// How the vectors of one name were built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorMeta {
    /// What the names of its files begin with.
    pub prefix: String,
    pub size: usize,
    pub distance: Distance,
    pub hnsw: HnswConfig,
    pub quantization: Option<Quantization>,
    pub graph: bool,
    /// Points that have it.
    pub points: u32,
}

/// The sparse vectors of one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SparseMeta {
    /// What the names of its files begin with.
    pub prefix: String,
    /// Points that have it, and the values of all of them.
    pub points: u32,
    pub entries: u64,
}

/// The multivectors of one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MultiMeta {
    /// Points that have it.
    pub points: u32,
    /// Its vectors, each by itself, as if they were those of as many points.
    pub rows: VectorMeta,
}

/// A payload index of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexMeta {
    pub schema: FieldSchema,
    pub file: String,
}

/// An open segment. A changed one shares what did not change.
#[derive(Clone)]
pub struct SealedSegment {
    pub id: u64,
    dir: PathBuf,
    files: Vec<FileEntry>,
    meta: Meta,
    /// Whether vectors were dropped that the `meta` file still names.
    stale_meta: bool,
    ids: IdTable,
    versions: Versions,
    payloads: Payloads,
    vectors: BTreeMap<String, Arc<SegmentVectors>>,
    sparse: BTreeMap<String, Arc<SegmentSparse>>,
    multi: BTreeMap<String, Arc<SegmentMulti>>,
    indexes: BTreeMap<JsonPath, Arc<FieldIndex>>,
    /// Shared by what is made of this segment with other indexes or settings: its points stay the same.
    filters: Arc<FilterCache>,
}

impl SealedSegment {
    /// Opens the files that the manifest names.
    pub fn open(
        disk: &dyn Disk,
        segments: &Path,
        entry: &SegmentEntry,
        config: &CollectionConfig,
    ) -> Result<Self> {
        let dir = segments.join(entry.id.to_string());
        let file = |name: &str| {
            entry.files.iter().find(|f| f.name == name).ok_or_else(|| {
                Error::corrupt(
                    format!("segments/{}", entry.id),
                    format!("the manifest names no file `{name}`"),
                )
            })
        };
        let ids = IdTable::open(disk, &dir, file("ids")?)?;
        if ids.len() != entry.points {
            return Err(Error::corrupt(format!("segments/{}/ids", entry.id), "another number of points"));
        }
        let meta_entry = entry.files.iter().find(|f| f.name.starts_with("meta-")).ok_or_else(|| {
            Error::corrupt(format!("segments/{}", entry.id), "the manifest names no meta file")
        })?;
        let meta = read_meta(disk, &dir, meta_entry)?;
        let mut vectors = BTreeMap::new();
        for (name, v) in &meta.vectors {
            if config.vectors.get(name).is_none_or(|p| p.multivector || p.size != v.size) {
                continue;
            }
            let spec = spec_of(config, &config.vectors[name]);
            let opened = SegmentVectors::open(disk, &dir, &v.prefix, &spec, &entry.files)?;
            if opened.len() != entry.points {
                return Err(Error::corrupt(format!("{}.raw", v.prefix), "another number of points"));
            }
            vectors.insert(name.clone(), Arc::new(opened));
        }
        let sparse = open_sparse(disk, &dir, entry, &meta, config)?;
        let multi = open_multi(disk, &dir, (&entry.files, entry.points), &meta, config)?;
        let mut indexes = BTreeMap::new();
        for (key, index) in &meta.indexes {
            let path = JsonPath::parse(key).map_err(|e| Error::corrupt(&meta_entry.name, e))?;
            let sealed = SealedFile::open_entry(disk, &dir, file(&index.file)?, INDEX)?;
            indexes.insert(path, Arc::new(FieldIndex::open(sealed, &index.schema)?));
        }
        Ok(Self {
            id: entry.id,
            versions: Versions::open(disk, &dir, file("versions")?, entry.points)?,
            payloads: Payloads::open(disk, &dir, file("payload")?, entry.points)?,
            files: entry.files.clone(),
            stale_meta: false,
            dir,
            meta,
            ids,
            vectors,
            sparse,
            multi,
            indexes,
            filters: Arc::default(),
        })
    }

    /// The points that pass a filter, deleted ones too. Filters that come again are not evaluated again.
    pub fn passing(&self, filter: &Filter, cancel: &Cancel) -> Result<Arc<Passing>> {
        self.filters.get(filter, || Ok(filter::evaluate(filter, self, cancel)?.passing))
    }

    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Files without deletions.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    pub fn bytes_disk(&self) -> u64 {
        self.files.iter().map(|f| f.size_bytes).sum()
    }

    /// Whether a graph was built with other parameters than the configuration asks for now, or codes without the
    /// sketches that it asks for. Everything else only changes how the files are used.
    pub fn is_outdated(&self, config: &CollectionConfig) -> bool {
        self.meta.dense().any(|(name, built)| {
            let Some(params) = config.vectors.get(name) else { return false };
            let hnsw = config.hnsw_of(params);
            let inline =
                |hnsw: &HnswConfig| hnsw.inline_storage == Some(true) && ScalarCodes::serves(built.distance);
            let differs = hnsw.m != built.hnsw.m
                || hnsw.ef_construct != built.hnsw.ef_construct
                || inline(&hnsw) != inline(&built.hnsw);
            let spec = spec_of(config, params);
            let was = VectorSpec { distance: built.distance, quantization: built.quantization, ..spec };
            (built.graph && differs) || (spec.is_sketched() && !was.is_sketched())
        })
    }

    /// The same segment with its vectors kept and searched as a configuration says.
    pub fn reopen(&self, disk: &dyn Disk, config: &CollectionConfig) -> Result<Self> {
        let mut segment = self.clone();
        for (name, vectors) in &mut segment.vectors {
            let Some(params) = config.vectors.get(name) else { continue };
            let spec = spec_of(config, params);
            *vectors = Arc::new(SegmentVectors::open(
                disk,
                &self.dir,
                &self.meta.vectors[name].prefix,
                &spec,
                &self.files,
            )?);
        }
        segment.multi = open_multi(disk, &self.dir, (&self.files, self.len()), &self.meta, config)?;
        Ok(segment)
    }

    /// Loads what searches need, so that the first one need not.
    pub fn warm(&self) -> Result<()> {
        self.vectors.values().try_for_each(|v| v.warm())?;
        self.multi.values().try_for_each(|m| m.warm())
    }

    /// Bytes held in RAM.
    pub fn bytes_ram(&self) -> u64 {
        let multi = self.multi.values().map(|m| m.ram_bytes()).sum::<u64>();
        multi + self.vectors.values().map(|v| v.ram_bytes()).sum::<u64>()
    }

    /// Whether a vector is above the indexing threshold and has no graph.
    pub fn lacks_graph(&self, config: &CollectionConfig) -> bool {
        self.meta.dense().any(|(name, built)| !built.graph && wants_graph(config, name, built.points))
    }

    /// Bytes of the file of payloads.
    pub fn payload_bytes_disk(&self) -> u64 {
        self.payloads.file_bytes()
    }

    /// Bytes of raw vectors.
    pub fn vector_bytes(&self) -> u64 {
        let dense: u64 = self.meta.dense().map(|(_, v)| u64::from(v.points) * v.size as u64 * 4).sum();
        dense + self.meta.sparse.values().map(|v| v.entries * 8).sum::<u64>()
    }

    pub fn version(&self, offset: u32) -> u64 {
        self.versions.get(offset)
    }

    pub fn raw_payload(&self, offset: u32) -> Result<RawPayload> {
        self.payloads.get(offset)
    }

    pub fn payload_bytes(&self, offset: u32) -> Result<&[u8]> {
        self.payloads.bytes(offset)
    }

    pub fn vectors(&self) -> &BTreeMap<String, Arc<SegmentVectors>> {
        &self.vectors
    }

    /// The vector of one point as it is stored.
    pub fn vector(&self, offset: u32, name: &str) -> Result<Option<&[f32]>> {
        named(&self.vectors, name).map_or(Ok(None), |v| v.raw(offset))
    }

    pub fn sparse(&self) -> &BTreeMap<String, Arc<SegmentSparse>> {
        &self.sparse
    }

    /// The sparse vector of one point as it is stored.
    pub fn sparse_vector(&self, offset: u32, name: &str) -> Result<Option<SparseRow<'_>>> {
        named(&self.sparse, name).map_or(Ok(None), |v| v.get(offset))
    }

    pub fn multi(&self) -> &BTreeMap<String, Arc<SegmentMulti>> {
        &self.multi
    }

    /// The multivector of one point as it is stored.
    pub fn multi_vector(&self, offset: u32, name: &str) -> Result<Option<MultiRow<'_>>> {
        named(&self.multi, name).map_or(Ok(None), |v| v.get(offset))
    }

    /// The first place, in the order of ids, whose id is not below `id`.
    pub fn lower_bound(&self, id: PointId) -> u32 {
        self.ids.lower_bound(id)
    }

    /// Whether offsets follow each other as ids do.
    pub fn is_by_id(&self) -> bool {
        self.ids.is_plain()
    }

    /// The offset of the point at a place in the order of ids.
    pub fn offset_at(&self, place: u32) -> u32 {
        self.ids.offset_at(place)
    }

    /// Whether it has this index, built for this schema.
    pub fn has_index(&self, key: &JsonPath, schema: &FieldSchema) -> bool {
        self.indexes.get(key).is_some_and(|i| i.schema() == schema)
    }

    /// Without the indexes that the shard no longer has, or has with another schema.
    pub fn keep_indexes(&self, wanted: &BTreeMap<JsonPath, FieldSchema>) -> Option<Self> {
        let keeps = |(key, index): (&JsonPath, &Arc<FieldIndex>)| wanted.get(key) == Some(index.schema());
        if self.indexes.iter().all(keeps) {
            return None;
        }
        let mut segment = self.clone();
        segment.indexes.retain(|key, index| wanted.get(key) == Some(index.schema()));
        Some(segment)
    }

    /// Without the vectors of one name.
    pub fn without_vector(&self, name: &str) -> Option<Self> {
        let meta = &self.meta;
        let has = meta.vectors.contains_key(name) || meta.sparse.contains_key(name);
        if !has && !meta.multi.contains_key(name) {
            return None;
        }
        let mut segment = self.clone();
        segment.vectors.remove(name);
        segment.meta.vectors.remove(name);
        segment.sparse.remove(name);
        segment.meta.sparse.remove(name);
        segment.multi.remove(name);
        segment.meta.multi.remove(name);
        segment.stale_meta = true;
        Some(segment)
    }

    /// Whether [`Self::write_meta`] has something to write.
    pub fn has_stale_meta(&self) -> bool {
        self.stale_meta
    }

    /// Builds and writes the indexes that are missing, and a `meta` file that names them. Nothing counts before
    /// the manifest names the new files.
    pub fn add_indexes(&self, disk: &dyn Disk, wanted: &BTreeMap<JsonPath, FieldSchema>) -> Result<Self> {
        let missing: Vec<_> = wanted.iter().filter(|(key, schema)| !self.has_index(key, schema)).collect();
        let mut builders: Vec<_> =
            missing.iter().map(|(key, schema)| FieldIndexBuilder::new(schema, key, self.len())).collect();
        for offset in 0..self.len() {
            let bytes = self.payload_bytes(offset)?;
            if !bytes.is_empty() {
                let map = parse(bytes)?;
                builders.iter_mut().for_each(|b| b.add(offset, &map));
            }
        }
        let mut segment = self.clone();
        for ((key, schema), builder) in missing.into_iter().zip(builders) {
            let name = format!("index-{}", segment.meta.next_file);
            segment.meta.next_file += 1;
            let path = segment.dir.join(&name);
            segment.files.push(write_index(disk, &path, &builder.finish())?);
            if let Some(old) = segment.meta.indexes.get(key.as_str()) {
                let old = old.file.clone();
                segment.files.retain(|f| f.name != old);
            }
            segment
                .meta
                .indexes
                .insert(key.as_str().to_owned(), IndexMeta { schema: schema.clone(), file: name });
            let entry = segment.files.last().expect("just pushed");
            let sealed = SealedFile::open_entry(disk, &segment.dir, entry, INDEX)?;
            segment.indexes.insert(key.clone(), Arc::new(FieldIndex::open(sealed, schema)?));
        }
        segment.write_meta(disk)?;
        Ok(segment)
    }

    /// Writes the next `meta` file in the place of the old one, and names the files of dropped vectors no longer.
    pub fn write_meta(&mut self, disk: &dyn Disk) -> Result<()> {
        let entry = write_meta(disk, &self.dir, &mut self.meta)?;
        let meta = &self.meta;
        let is_known = |prefix: &str| {
            meta.vectors.values().any(|v| v.prefix == prefix)
                || meta.sparse.values().any(|v| v.prefix == prefix)
                || meta.multi.values().any(|v| v.rows.prefix == prefix)
        };
        // Only the files of vectors have a dot in their names, behind the prefix.
        let of_dropped = |f: &FileEntry| f.name.split_once('.').is_some_and(|(prefix, _)| !is_known(prefix));
        self.files.retain(|f| !f.name.starts_with("meta-") && !of_dropped(f));
        self.files.push(entry);
        self.stale_meta = false;
        disk.sync_dir(&self.dir).map_err(Error::io("sync the folder of a segment"))
    }

    /// What the manifest says of it.
    pub fn entry(&self, deleted: Option<crate::shard::manifest::DeletedEntry>) -> SegmentEntry {
        SegmentEntry { id: self.id, points: self.len(), files: self.files.clone(), deleted }
    }

    /// As this is in memory now, with the files that another state of it wrote.
    pub fn with_files_of(&self, written: &SealedSegment) -> Self {
        let (vectors, sparse) = (self.meta.vectors.clone(), self.meta.sparse.clone());
        let meta = Meta { vectors, sparse, multi: self.meta.multi.clone(), ..written.meta.clone() };
        let stale_meta = meta.vectors != written.meta.vectors
            || meta.sparse != written.meta.sparse
            || meta.multi != written.meta.multi;
        let files = written.files.clone();
        Self { files, meta, stale_meta, indexes: written.indexes.clone(), ..self.clone() }
    }
}

/// The sparse vectors that the collection still has.
fn open_sparse(
    disk: &dyn Disk,
    dir: &Path,
    entry: &SegmentEntry,
    meta: &Meta,
    config: &CollectionConfig,
) -> Result<BTreeMap<String, Arc<SegmentSparse>>> {
    let mut sparse = BTreeMap::new();
    for (name, built) in meta.sparse.iter().filter(|(name, _)| config.sparse_vectors.contains_key(*name)) {
        let opened = SegmentSparse::open(disk, dir, &built.prefix, &entry.files)?;
        if opened.points() != entry.points || opened.present() != built.points {
            return Err(Error::corrupt(format!("{}.rows", built.prefix), "another number of points"));
        }
        sparse.insert(name.clone(), Arc::new(opened));
    }
    Ok(sparse)
}

/// The multivectors that the collection still has.
fn open_multi(
    disk: &dyn Disk,
    dir: &Path,
    (files, points): (&[FileEntry], u32),
    meta: &Meta,
    config: &CollectionConfig,
) -> Result<BTreeMap<String, Arc<SegmentMulti>>> {
    let mut multi = BTreeMap::new();
    for (name, built) in &meta.multi {
        let params = config.vectors.get(name).filter(|p| p.multivector && p.size == built.rows.size);
        let Some(params) = params else { continue };
        let prefix = &built.rows.prefix;
        let opened = SegmentMulti::open(disk, dir, prefix, &spec_of(config, params), files)?;
        if opened.len() != points || opened.present() != built.points {
            return Err(Error::corrupt(format!("{prefix}.multi"), "another number of points"));
        }
        multi.insert(name.clone(), Arc::new(opened));
    }
    Ok(multi)
}

/// How the vectors of one name are kept and compared.
pub fn spec_of(config: &CollectionConfig, params: &VectorParams) -> VectorSpec {
    VectorSpec {
        dim: params.size,
        distance: params.distance,
        quantization: config.quantization_of(params),
        hnsw: config.hnsw_of(params),
        on_disk: params.on_disk.unwrap_or(false),
    }
}

/// Whether so many vectors of a name are to have a graph.
pub fn wants_graph(config: &CollectionConfig, name: &str, points: u32) -> bool {
    let Some(params) = config.vectors.get(name) else { return false };
    let threshold = (config.optimizers.indexing_threshold_kb as u64).saturating_mul(1024);
    let bytes = u64::from(points) * params.size as u64 * 4;
    threshold > 0 && bytes > threshold && config.hnsw_of(params).m > 0
}

/// Makes room for a file: one of that name was left by a publication that failed, and is named nowhere.
fn make_room(disk: &dyn Disk, path: &Path) -> Result<()> {
    if disk.exists(path) {
        disk.remove_file(path).map_err(Error::io(format!("remove the leftover {}", path.display())))?;
    }
    Ok(())
}

/// Writes one payload index.
pub fn write_index(disk: &dyn Disk, path: &Path, index: &FieldIndex) -> Result<FileEntry> {
    make_room(disk, path)?;
    index.write(SealedWriter::create(disk, path, INDEX)?)
}

/// Writes a `meta` file into a segment's folder.
pub fn write_meta(disk: &dyn Disk, dir: &Path, meta: &mut Meta) -> Result<FileEntry> {
    let name = format!("meta-{}", meta.next_file);
    meta.next_file += 1;
    make_room(disk, &dir.join(&name))?;
    let mut out = SealedWriter::create(disk, &dir.join(name), META)?;
    out.write(&serde_json::to_vec(meta).expect("our own types always print as JSON"))?;
    out.finish()
}

fn read_meta(disk: &dyn Disk, dir: &Path, entry: &FileEntry) -> Result<Meta> {
    let file = SealedFile::open_entry(disk, dir, entry, META)?;
    file.verify_all()?;
    serde_json::from_slice(file.bytes()).map_err(|e| file.corrupt(e.to_string()))
}

/// Writes a generation of deletions into a segment's folder.
pub fn write_deleted(disk: &dyn Disk, dir: &Path, generation: u64, deleted: &Deleted) -> Result<FileEntry> {
    let path = dir.join(format!("deleted-{generation}"));
    make_room(disk, &path)?;
    let mut out = SealedWriter::create(disk, &path, DELETED)?;
    out.write(&deleted.to_bytes())?;
    let entry = out.finish()?;
    disk.sync_dir(dir).map_err(Error::io("sync the folder of a segment"))?;
    Ok(entry)
}

/// Reads the deletions that the manifest names.
pub fn read_deleted(disk: &dyn Disk, segments: &Path, entry: &SegmentEntry) -> Result<Deleted> {
    let Some(deleted) = &entry.deleted else { return Ok(Deleted::none(entry.points)) };
    let dir = segments.join(entry.id.to_string());
    let file = SealedFile::open_entry(disk, &dir, &deleted.file, DELETED)?;
    file.verify_all()?;
    Deleted::from_bytes(file.bytes(), entry.points, file.name())
}

fn parse(bytes: &[u8]) -> Result<PayloadMap> {
    if bytes.is_empty() {
        return Ok(PayloadMap::new());
    }
    serde_json::from_slice(bytes).map_err(|e| Error::corrupt("payload", e.to_string()))
}

impl PointSource for SealedSegment {
    fn len(&self) -> u32 {
        self.ids.len()
    }

    fn id(&self, offset: u32) -> PointId {
        self.ids.id(offset)
    }

    fn offset_of(&self, id: PointId) -> Option<u32> {
        self.ids.offset_of(id)
    }

    fn payload(&self, offset: u32) -> Result<Cow<'_, PayloadMap>> {
        parse(self.payload_bytes(offset)?).map(Cow::Owned)
    }

    fn has_vector(&self, offset: u32, name: &str) -> bool {
        named(&self.vectors, name).is_some_and(|v| v.has(offset))
            || named(&self.sparse, name).is_some_and(|v| v.has(offset))
            || named(&self.multi, name).is_some_and(|v| v.has(offset))
    }

    fn index(&self, key: &JsonPath) -> Option<&FieldIndex> {
        self.indexes.get(key).map(|i| &**i)
    }
}

/// A segment and which of its points are deleted.
#[derive(Clone)]
pub struct SealedState {
    pub segment: Arc<SealedSegment>,
    pub deleted: Deleted,
    /// How many of them the manifest knows of.
    pub deleted_durable: u32,
}

impl SealedState {
    /// A segment as the manifest has it.
    pub fn published(segment: SealedSegment, deleted: Deleted) -> Self {
        Self { segment: Arc::new(segment), deleted_durable: deleted.count(), deleted }
    }
}
