//! What can be asked: build, append, search, open, close, snapshot, memory.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use quiver_engine::Cancel;
use quiver_engine::config::{
    CollectionConfig, Distance, FieldSchema, FieldType, HnswConfig, OptimizerConfig, Quantization,
    VectorParams,
};
use quiver_engine::file::{Disk, RealDisk};
use quiver_engine::filter::{Bounds, Condition, FieldCondition, FieldTest, Filter};
use quiver_engine::json_path::JsonPath;
use quiver_engine::operation::{Operation, PointWrite, UpdateMode};
use quiver_engine::query::{QuantizationSearch, Query, SearchParams, SearchRequest};
use quiver_engine::shard::{Shard, ShardOptions, Watermarks};
use quiver_engine::{NamedVectors, PointId, RawPayload};
use serde_json::{Value, json};

use super::measure::{Watch, memory, thread_cpu};
use super::npy::Matrix;

/// Points of one upsert.
const BATCH: usize = 1000;

/// One open shard and where its points come from.
struct Open {
    shard: Shard,
    vectors: PathBuf,
    payload: Option<PathBuf>,
}

/// All open shards by name.
pub struct Shards {
    pool: rayon::ThreadPool,
    open: HashMap<String, Open>,
}

impl Shards {
    pub fn new() -> Result<Self> {
        Ok(Self { pool: pool(2)?, open: HashMap::new() })
    }

    /// Does what one command says.
    pub fn run(&mut self, command: &Value) -> Result<Value> {
        match text(command, "do")? {
            "build" => self.build(command),
            "append" => self.append(command),
            "search" => self.search(command),
            "memory" => memory(),
            "open" => self.reopen(command),
            "close" => {
                self.open.remove(text(command, "name")?);
                Ok(json!({}))
            }
            "snapshot" => {
                let watch = Watch::start();
                self.named(command)?.shard.snapshot_to(Path::new(text(command, "folder")?))?;
                Ok(json!({"wall_s": watch.read().0}))
            }
            other => bail!("no command {other}"),
        }
    }

    fn named(&self, command: &Value) -> Result<&Open> {
        let name = text(command, "name")?;
        self.open.get(name).with_context(|| format!("no shard {name} is open"))
    }

    fn build(&mut self, command: &Value) -> Result<Value> {
        self.pool = pool(number(command, "threads").unwrap_or(2))?;
        let vectors = PathBuf::from(text(command, "vectors")?);
        let folder = PathBuf::from(text(command, "folder")?);
        let config = config(command, Matrix::open(&vectors)?.columns)?;
        let shard = Shard::create(disk(), &folder, options(), config)?;
        let payload = command["payload"].as_str().map(PathBuf::from);
        let open = Open { shard, vectors, payload };
        let watch = Watch::start();
        let indexes = || command["indexes"].as_array().into_iter().flatten();
        let after = command["indexes_when"].as_str() == Some("after");
        if !after {
            indexes().try_for_each(|index| create_index(&open.shard, index))?;
        }
        open.upsert(rows(command)?)?;
        let upserted = watch.read();
        open.optimize(&self.pool)?;
        if after {
            indexes().try_for_each(|index| create_index(&open.shard, index))?;
            open.optimize(&self.pool)?;
        }
        let answer = built(&open, upserted, watch.read());
        self.open.insert(text(command, "name")?.to_owned(), open);
        answer
    }

    fn append(&mut self, command: &Value) -> Result<Value> {
        let open = self.named(command)?;
        let watch = Watch::start();
        open.upsert(rows(command)?)?;
        let upserted = watch.read();
        open.optimize(&self.pool)?;
        built(open, upserted, watch.read())
    }

    fn reopen(&mut self, command: &Value) -> Result<Value> {
        let watch = Watch::start();
        let shard = Shard::open(disk(), Path::new(text(command, "folder")?), options())?;
        let answer = json!({"wall_s": watch.read().0, "points": shard.view().points()});
        let open = Open { shard, vectors: PathBuf::new(), payload: None };
        self.open.insert(text(command, "name")?.to_owned(), open);
        Ok(answer)
    }

    /// All queries one after the other on this thread, several times; the best pass counts.
    fn search(&self, command: &Value) -> Result<Value> {
        let view = self.named(command)?.shard.view();
        let queries = Matrix::open(Path::new(text(command, "queries")?))?;
        let filters: Vec<Option<Filter>> = match command["filters"].as_array() {
            Some(all) => all.iter().map(filter).collect::<Result<_>>()?,
            None => vec![None],
        };
        let params = SearchParams {
            hnsw_ef: number(command, "ef"),
            exact: command["exact"].as_bool().unwrap_or(false),
            indexed_only: false,
            quantization: QuantizationSearch {
                oversampling: command["oversampling"].as_f64(),
                ..QuantizationSearch::default()
            },
        };
        let request = |i: usize| -> Result<SearchRequest> {
            Ok(SearchRequest {
                using: String::new(),
                query: Query::Nearest(queries.row(i)?),
                filter: filters[command["filter_of"][i].as_u64().unwrap_or(0) as usize].clone(),
                params,
                limit: number(command, "k").unwrap_or(10),
                score_threshold: None,
            })
        };
        let count = number(command, "count").unwrap_or(queries.rows).min(queries.rows);
        let requests: Vec<SearchRequest> = (0..count).map(request).collect::<Result<_>>()?;
        let (mut cpu, mut wall, mut ids) = (f64::INFINITY, f64::INFINITY, Vec::new());
        let mut latencies = Vec::new();
        for _ in 0..number(command, "passes").unwrap_or(3).max(1) {
            let (watch, begun) = (Watch::start(), thread_cpu());
            latencies.clear();
            let mut one = |request: &SearchRequest| {
                let begun = Instant::now();
                let found = view.search(request, &Cancel::new());
                latencies.push(begun.elapsed().as_secs_f64());
                found
            };
            let found = requests.iter().map(&mut one).collect::<Result<Vec<_>, _>>()?;
            cpu = cpu.min(thread_cpu() - begun);
            wall = wall.min(watch.read().0);
            ids = found.into_iter().map(|f| f.hits.into_iter().map(|h| numeric(h.id)).collect()).collect();
        }
        let ids: Vec<Vec<u64>> = ids;
        latencies.sort_by(f64::total_cmp);
        let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied();
        Ok(json!({"cpu_s": cpu, "wall_s": wall, "p50_s": at(0.5), "p99_s": at(0.99), "ids": ids}))
    }
}

impl Open {
    /// Writes rows of the data, the row's number being the id, as a client with large batches would.
    fn upsert(&self, rows: std::ops::Range<usize>) -> Result<()> {
        let matrix = Matrix::open(&self.vectors)?;
        let mut payloads = self.payload.as_ref().map(|path| lines(path, rows.start)).transpose()?;
        ensure!(rows.end <= matrix.rows, "there are {} rows", matrix.rows);
        let mut points = Vec::with_capacity(BATCH);
        for row in rows.clone() {
            let payload = match &mut payloads {
                Some(lines) => RawPayload::from_json_bytes(lines.next().context("a line a row")??.as_bytes()),
                None => RawPayload::empty(),
            };
            let vectors = NamedVectors::unnamed(matrix.row(row)?);
            points.push(PointWrite { id: PointId::Num(row as u64), vectors, payload });
            if points.len() == BATCH || row + 1 == rows.end {
                let points = std::mem::take(&mut points);
                self.shard.write(Operation::Upsert { points, mode: UpdateMode::Upsert, condition: None })?;
            }
        }
        Ok(())
    }

    /// Until there is nothing left to do.
    fn optimize(&self, pool: &rayon::ThreadPool) -> Result<()> {
        while !self.shard.is_settled() {
            self.shard.optimize(pool, &Cancel::new())?;
        }
        Ok(())
    }
}

fn built(open: &Open, upserted: (f64, f64), all: (f64, f64)) -> Result<Value> {
    let stats = open.shard.stats();
    let memory = memory()?;
    Ok(json!({
        "wall_s": all.0, "cpu_s": all.1, "upsert_wall_s": upserted.0, "upsert_cpu_s": upserted.1,
        "optimize_wall_s": all.0 - upserted.0, "optimize_cpu_s": all.1 - upserted.1,
        "segments": stats.segments, "ram_bytes": stats.bytes_ram,
        "anon_bytes": memory["anon_bytes"], "file_bytes": memory["file_bytes"],
    }))
}

fn config(command: &Value, size: usize) -> Result<CollectionConfig> {
    let distance = match text(command, "distance")? {
        "Cosine" => Distance::Cosine,
        "Dot" => Distance::Dot,
        "Euclid" => Distance::Euclid,
        "Manhattan" => Distance::Manhattan,
        other => bail!("no distance {other}"),
    };
    let quantization = match command["quantization"].as_str() {
        None => None,
        Some("scalar") => Some(Quantization::Scalar { quantile: Some(0.99), always_ram: Some(true) }),
        Some(other) => bail!("no quantization {other}"),
    };
    let default = HnswConfig::default();
    let on_disk = command["on_disk"].as_bool();
    let vector = VectorParams { on_disk, ..VectorParams::new(size, distance) };
    Ok(CollectionConfig {
        sparse_vectors: Default::default(),
        vectors: BTreeMap::from([(String::new(), vector)]),
        hnsw: HnswConfig {
            m: number(command, "m").unwrap_or(default.m),
            ef_construct: number(command, "ef_construct").unwrap_or(default.ef_construct),
            inline_storage: command["inline"].as_bool(),
            full_scan_threshold_kb: number(command, "indexing_threshold")
                .unwrap_or(default.full_scan_threshold_kb),
            on_disk: on_disk.unwrap_or(false),
            ..default
        },
        optimizers: match number(command, "indexing_threshold") {
            Some(indexing_threshold_kb) => {
                OptimizerConfig { indexing_threshold_kb, ..OptimizerConfig::default() }
            }
            None => OptimizerConfig::default(),
        },
        quantization,
        on_disk_payload: true,
    })
}

fn create_index(shard: &Shard, index: &Value) -> Result<()> {
    let (Some(field), Some(kind)) = (index[0].as_str(), index[1].as_str()) else {
        bail!("an index is [field, type]")
    };
    let kind: FieldType = match kind {
        "keyword" => FieldType::Keyword,
        "integer" => FieldType::Integer,
        "float" => FieldType::Float,
        "bool" => FieldType::Bool,
        other => bail!("no index of type {other}"),
    };
    shard.write(Operation::CreateIndex { field: path(field)?, schema: FieldSchema::plain(kind) })?;
    Ok(())
}

/// The protocol's filter, as far as benchmarks use it.
fn filter(filter: &Value) -> Result<Option<Filter>> {
    if filter.is_null() {
        return Ok(None);
    }
    let conditions = filter["must"].as_array().context("a filter has `must`")?;
    let condition = |c: &Value| {
        let test = match (&c["match"]["value"], c["range"].as_object()) {
            (Value::String(word), _) => FieldTest::Keyword(word.clone()),
            (Value::Number(n), _) => FieldTest::Integer(n.as_i64().context("an integer")?),
            (_, Some(range)) => {
                let bound = |name: &str| range.get(name).and_then(Value::as_f64);
                let (lt, lte, gt, gte) = (bound("lt"), bound("lte"), bound("gt"), bound("gte"));
                FieldTest::Range(Bounds { lt, lte, gt, gte })
            }
            _ => bail!("no condition: {c}"),
        };
        let field = FieldCondition { key: path(text(c, "key")?)?, tests: vec![test] };
        Ok(Condition::Field(field))
    };
    let must = conditions.iter().map(condition).collect::<Result<_>>()?;
    Ok(Some(Filter { must, ..Filter::default() }))
}

fn path(key: &str) -> Result<JsonPath> {
    JsonPath::parse(key).map_err(|e| anyhow::anyhow!("{e}"))
}

fn lines(path: &Path, skip: usize) -> Result<impl Iterator<Item = std::io::Result<String>>> {
    let file = std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    Ok(BufReader::new(file).lines().skip(skip))
}

fn rows(command: &Value) -> Result<std::ops::Range<usize>> {
    let at = |i: usize| command["rows"][i].as_u64().context("`rows` is [from, to]");
    Ok(at(0)? as usize..at(1)? as usize)
}

fn text<'a>(command: &'a Value, name: &str) -> Result<&'a str> {
    command[name].as_str().with_context(|| format!("`{name}` is a text"))
}

fn number(command: &Value, name: &str) -> Option<usize> {
    command[name].as_u64().map(|n| n as usize)
}

fn numeric(id: PointId) -> u64 {
    match id {
        PointId::Num(n) => n,
        PointId::Uuid(_) => u64::MAX,
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn options() -> ShardOptions {
    // The volume of a benchmark may be nearly full.
    ShardOptions { watermarks: Watermarks::OFF, ..ShardOptions::default() }
}

fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build()?)
}
