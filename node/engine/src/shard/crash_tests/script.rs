//! What the shard is made to do, and the plain model that says what it must then hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::{DIR, SNAPSHOTS, compare, keyword, open, options};
use crate::cancel::Cancel;
use crate::config::{
    CollectionConfig, Distance, FieldSchema, FieldType, HnswConfig, OptimizerConfig, Quantization,
    VectorParams,
};
use crate::error::Result;
use crate::file::{Disk, SimDisk};
use crate::json_path::JsonPath;
use crate::operation::{Operation, PointWrite, Selection, UpdateMode};
use crate::payload::{PayloadMap, RawPayload};
use crate::point_id::PointId;
use crate::shard::Shard;
use crate::vector::{NamedVectors, Vector};

const DIM: usize = 6;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(super) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }
}

/// A point as it must be read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    pub version: u64,
    pub vectors: NamedVectors,
    pub payload: PayloadMap,
}

/// What a shard must hold after some operation.
#[derive(Clone, Default)]
pub(super) struct Model {
    pub seq: u64,
    pub points: BTreeMap<PointId, Point>,
    pub indexes: BTreeSet<String>,
    pub has_b: bool,
}

impl Model {
    pub fn passing(&self, value: &str) -> Vec<PointId> {
        let passes = |p: &Point| p.payload.get("g").and_then(Value::as_str) == Some(value);
        self.points.iter().filter(|(_, p)| passes(p)).map(|(id, _)| *id).collect()
    }

    /// A value of `v` that about half of the points reach.
    pub fn some_value(&self) -> u64 {
        let mut all: Vec<u64> = self.points.values().filter_map(|p| p.payload.get("v")?.as_u64()).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or(0)
    }

    pub fn above(&self, key: &str, number: u64) -> Vec<PointId> {
        let passes = |p: &Point| p.payload.get(key).and_then(Value::as_u64).is_some_and(|v| v >= number);
        self.points.iter().filter(|(_, p)| passes(p)).map(|(id, _)| *id).collect()
    }

    /// A point that is its own nearest one.
    pub fn some_vector(&self) -> Option<(PointId, Vec<f32>)> {
        let skip = self.seq as usize % self.points.len().max(1);
        let points = self.points.iter().skip(skip).chain(&self.points);
        points.filter_map(|(id, p)| Some((*id, p.vectors.get("")?.as_dense()?.to_vec()))).next()
    }

    fn edit(&mut self, ids: &[PointId], mut change: impl FnMut(&mut Point)) {
        for id in ids {
            if let Some(point) = self.points.get_mut(id) {
                point.version = self.seq;
                change(point);
            }
        }
    }

    fn ids(&self, select: &Selection) -> Vec<PointId> {
        match select {
            Selection::Ids(ids) => ids.clone(),
            Selection::Filter(f) => {
                let value = (0..5).map(|g| format!("g{g}")).find(|g| *f == keyword("g", g));
                self.passing(&value.expect("the script filters in this way only"))
            }
        }
    }

    pub fn apply(&mut self, op: &Operation) {
        self.seq += 1;
        let seq = self.seq;
        match op {
            Operation::Upsert { points, .. } => {
                for p in points {
                    let payload = p.payload.parse().expect("our own payload");
                    let point = Point { version: seq, vectors: p.vectors.clone(), payload };
                    self.points.insert(p.id, point);
                }
            }
            Operation::Delete(select) => {
                let ids = self.ids(select);
                ids.iter().for_each(|id| drop(self.points.remove(id)));
            }
            Operation::UpdateVectors { points, .. } => {
                for (id, vectors) in points {
                    self.edit(&[*id], |p| {
                        vectors.iter().for_each(|(n, v)| p.vectors.insert(n.to_owned(), v.clone()))
                    });
                }
            }
            Operation::DeleteVectors { select, names } => {
                let ids = self.ids(select);
                self.edit(&ids, |p| names.iter().for_each(|n| drop(p.vectors.remove(n))));
            }
            Operation::SetPayload { select, payload, .. } => {
                let (ids, patch) = (self.ids(select), payload.parse().expect("our own payload"));
                self.edit(&ids, |p| p.payload.extend(patch.clone()));
            }
            Operation::OverwritePayload { select, payload } => {
                let (ids, new) = (self.ids(select), payload.parse().expect("our own payload"));
                self.edit(&ids, |p| p.payload = new.clone());
            }
            Operation::DeletePayload { select, keys } => {
                let ids = self.ids(select);
                self.edit(&ids, |p| keys.iter().for_each(|k| drop(p.payload.shift_remove(k.as_str()))));
            }
            Operation::ClearPayload(select) => {
                let ids = self.ids(select);
                self.edit(&ids, |p| p.payload.clear());
            }
            Operation::CreateIndex { field, .. } => drop(self.indexes.insert(field.as_str().to_owned())),
            Operation::DropIndex { field } => drop(self.indexes.remove(field.as_str())),
            // A shard that owns whatever comes isn't split.
            Operation::Freeze { .. } | Operation::Keep(_) => {}
            Operation::CreateVector { .. } => self.has_b = true,
            Operation::CreateSparseVector { .. } => {}
            Operation::DropVector { .. } => {
                self.has_b = false;
                self.points.values_mut().for_each(|p| drop(p.vectors.remove("b")));
            }
        }
    }
}

/// One step of a script.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Write(Operation),
    Flush,
    Optimize,
    Snapshot,
    Restore,
    MarkIdle,
    Reopen,
    Configure(bool),
}

/// Steps, and the model after each write.
pub(super) struct Script {
    pub steps: Vec<Step>,
    pub models: Vec<Model>,
}

impl Script {
    /// The same seed gives the same script.
    pub fn new(seed: u64, len: u64) -> Self {
        let mut maker = Maker { random: Random(seed), unique: seed * 10_000, model: Model::default() };
        let mut script = Self { steps: Vec::new(), models: vec![Model::default()] };
        for i in 0..len {
            let step = match maker.random.below(40) {
                0..=2 => Step::Flush,
                3..=5 => Step::Optimize,
                6 => Step::Snapshot,
                7 => Step::Restore,
                8 => Step::MarkIdle,
                9 => Step::Reopen,
                10 => Step::Configure(maker.random.below(2) == 0),
                // Something to work on comes first.
                _ if i < 12 => Step::Write(maker.upsert(8)),
                n => Step::Write(maker.write(n)),
            };
            if let Step::Write(op) = &step {
                maker.model.apply(op);
                script.models.push(maker.model.clone());
            }
            script.steps.push(step);
        }
        script
    }
}

struct Maker {
    random: Random,
    /// Every value is written once only.
    unique: u64,
    model: Model,
}

impl Maker {
    fn write(&mut self, n: u64) -> Operation {
        match n {
            11..=19 => self.upsert(6),
            20..=22 => Operation::Delete(Selection::Ids(self.ids(4))),
            23 => Operation::Delete(self.select()),
            24..=25 => {
                let ids = self.ids(3);
                Operation::UpdateVectors {
                    points: ids.into_iter().map(|id| (id, self.vectors())).collect(),
                    condition: None,
                }
            }
            26 => Operation::DeleteVectors { select: self.select(), names: vec![self.name()] },
            27..=28 => Operation::SetPayload { select: self.select(), payload: self.payload(), key: None },
            29 => Operation::OverwritePayload { select: self.select(), payload: self.payload() },
            30 => Operation::DeletePayload { select: self.select(), keys: vec![path("g")] },
            31 => Operation::ClearPayload(Selection::Ids(self.ids(2))),
            32..=34 => {
                let (field, kind) = self.field();
                Operation::CreateIndex { field, schema: FieldSchema::plain(kind) }
            }
            35 => Operation::DropIndex { field: self.field().0 },
            36..=38 if !self.model.has_b => {
                Operation::CreateVector { name: "b".into(), params: params(3, Distance::Dot) }
            }
            36 => Operation::DropVector { name: "b".into() },
            _ => self.upsert(12),
        }
    }

    fn upsert(&mut self, most: u64) -> Operation {
        let count = 1 + self.random.below(most);
        let points = (0..count).map(|_| {
            let id = self.id();
            PointWrite { id, vectors: self.vectors(), payload: self.payload() }
        });
        let mut points: Vec<_> = points.collect();
        points.sort_by_key(|p| p.id);
        points.dedup_by_key(|p| p.id);
        Operation::Upsert { points, mode: UpdateMode::Upsert, condition: None }
    }

    fn id(&mut self) -> PointId {
        let n = self.random.below(90);
        if n.is_multiple_of(4) { PointId::Uuid(uuid::Uuid::from_u64_pair(n, 9)) } else { PointId::Num(n) }
    }

    /// Existing ids.
    fn ids(&mut self, most: u64) -> Vec<PointId> {
        let all: Vec<PointId> = self.model.points.keys().copied().collect();
        assert!(!all.is_empty(), "the script starts with upserts");
        let ids: BTreeSet<_> = (0..1 + self.random.below(most))
            .map(|_| all[self.random.below(all.len() as u64) as usize])
            .collect();
        ids.into_iter().collect()
    }

    /// Some points by id, or by a filter that some point passes.
    fn select(&mut self) -> Selection {
        let value = format!("g{}", self.random.below(5));
        let few = self.model.passing(&value).len();
        if few > 0 && few < 8 { Selection::Filter(keyword("g", &value)) } else { Selection::Ids(self.ids(3)) }
    }

    fn name(&mut self) -> String {
        if self.model.has_b && self.random.below(2) == 0 { "b".into() } else { String::new() }
    }

    fn vectors(&mut self) -> NamedVectors {
        self.unique += 1;
        let mut vectors = NamedVectors::unnamed(vector(self.unique, DIM));
        if self.model.has_b && self.random.below(3) > 0 {
            vectors.insert("b".into(), Vector::Dense(vector(self.unique, 3)));
        }
        vectors
    }

    fn payload(&mut self) -> RawPayload {
        self.unique += 1;
        let mut map = PayloadMap::new();
        map.insert("v".into(), self.unique.into());
        map.insert("g".into(), format!("g{}", self.random.below(5)).into());
        if self.random.below(4) == 0 {
            map.insert("text".into(), "x".repeat(self.random.below(300) as usize).into());
        }
        RawPayload::from_map(&map)
    }

    fn field(&mut self) -> (JsonPath, FieldType) {
        match self.random.below(3) {
            0 => (path("v"), FieldType::Integer),
            1 => (path("missing"), FieldType::Float),
            _ => (path("g"), FieldType::Keyword),
        }
    }
}

/// A vector that tells which value it carries.
fn vector(unique: u64, dim: usize) -> Vec<f32> {
    let mut random = Random(unique);
    let mut v: Vec<f32> = (0..dim).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect();
    v[0] = unique as f32 % 8191.0 / 100.0;
    v
}

fn path(text: &str) -> JsonPath {
    JsonPath::parse(text).expect("a path")
}

fn params(size: usize, distance: Distance) -> VectorParams {
    VectorParams::new(size, distance)
}

pub(super) fn config(other: bool) -> CollectionConfig {
    CollectionConfig {
        vectors: [(String::new(), params(DIM, Distance::Euclid))].into(),
        hnsw: HnswConfig { m: if other { 6 } else { 8 }, ef_construct: 40, ..HnswConfig::default() },
        optimizers: OptimizerConfig {
            indexing_threshold_kb: 1,
            vacuum_min_vector_number: 20,
            ..OptimizerConfig::default()
        },
        quantization: other.then_some(Quantization::Scalar { quantile: None, always_ram: None }),
        ..CollectionConfig::default()
    }
}

/// What must be found after the disk's first `calls` calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub calls: u64,
    /// `None` until the shard exists.
    pub acked: Option<u64>,
    pub attempted: u64,
}

/// A finished snapshot.
pub(super) struct Taken {
    pub calls: u64,
    pub dir: PathBuf,
    pub seq: u64,
}

/// A shard that runs a script.
pub(super) struct Run<'a> {
    pub script: &'a Script,
    pub disk: SimDisk,
    pub shard: Option<Shard>,
    pub known: Vec<Known>,
    pub taken: Vec<Taken>,
    pool: rayon::ThreadPool,
    restores: u64,
}

impl<'a> Run<'a> {
    pub fn new(script: &'a Script, disk: SimDisk) -> Self {
        let known = vec![Known { calls: 0, acked: None, attempted: 0 }];
        Self { script, disk, shard: None, known, taken: Vec::new(), pool: super::pool(), restores: 0 }
    }

    pub fn now(&self) -> Known {
        self.known[self.known.len() - 1]
    }

    pub fn note(&mut self, acked: Option<u64>, attempted: u64) {
        self.known.push(Known { calls: self.disk.calls(), acked, attempted });
    }

    pub fn known_at(&self, call: u64) -> Known {
        self.known[self.known.partition_point(|k| k.calls <= call) - 1]
    }

    pub fn create(&mut self) -> Result<()> {
        self.disk
            .create_dir_all(Path::new(SNAPSHOTS))
            .map_err(crate::Error::io("create the folder of snapshots"))?;
        self.note(None, 0);
        self.shard =
            Some(Shard::create(Arc::new(self.disk.clone()), Path::new(DIR), options(), config(false))?);
        self.note(Some(0), 0);
        Ok(())
    }

    pub fn shard(&self) -> &Shard {
        self.shard.as_ref().expect("the shard is open")
    }

    pub fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Write(op) => {
                let seq = self.now().acked.expect("the shard exists") + 1;
                self.note(Some(seq - 1), seq);
                let applied = self.shard().write(op.clone())?;
                assert_eq!(applied.seq, seq, "each operation of the script is one of the log");
                self.note(Some(seq), seq);
                Ok(())
            }
            Step::Flush => self.shard().flush(),
            Step::Optimize => self.shard().optimize(&self.pool, &Cancel::new()).map(|_| ()),
            Step::Snapshot => self.snapshot(),
            Step::Restore => self.restore(),
            Step::MarkIdle => self.shard().mark_idle(),
            Step::Reopen => self.reopen(),
            Step::Configure(other) => self.shard().update_config(config(*other)),
        }
    }

    pub fn reopen(&mut self) -> Result<()> {
        self.shard = None;
        self.shard = Some(open(&self.disk)?);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<()> {
        let dir = Path::new(SNAPSHOTS).join(self.disk.calls().to_string());
        let files = self.shard().snapshot_to(&dir)?;
        let seq = self.now().acked.expect("the shard exists");
        assert_eq!(files.seq, seq);
        self.taken.push(Taken { calls: self.disk.calls(), dir, seq });
        Ok(())
    }

    /// Makes a shard of the last snapshot beside this one, and looks at it.
    fn restore(&mut self) -> Result<()> {
        let Some(last) = self.taken.last() else { return Ok(()) };
        self.restores += 1;
        let dir = PathBuf::from(format!("/data/restored-{}", self.restores));
        let restored = Shard::restore_from(Arc::new(self.disk.clone()), &last.dir, &dir, options())?;
        let same = compare(&restored, &self.script.models[last.seq as usize]);
        assert_eq!(same, Ok(()), "restored from {}", last.dir.display());
        Ok(())
    }
}
