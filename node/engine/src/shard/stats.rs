//! What a shard says about itself.

use std::collections::BTreeMap;

use super::Shard;
use super::optimizer::plan;
use crate::filter::PointSource;
use crate::segment::mutable::ChunkState;

/// Whether the optimizer has work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShardStatus {
    /// Nothing to do.
    #[default]
    Green,
    /// Sealing, indexing, merging or about to.
    Yellow,
    /// There is work, and the optimizer is switched off.
    Grey,
    /// Writes are refused after an I/O error, or a file is damaged.
    Red,
}

/// Counts and sizes of a shard at one moment.
#[derive(Clone, Debug, Default)]
pub struct ShardStats {
    /// Points that exist and are seen.
    pub points: u64,
    /// Points that are hidden until they are indexed; nothing where none ever is.
    pub deferred: Option<u64>,
    /// Vectors that exist, by name; in sealed segments deleted ones count until the optimizer removes them.
    pub vectors: BTreeMap<String, u64>,
    /// Vectors, over all names, that lie in segments with a graph.
    pub indexed_vectors: u64,
    /// Sealed segments, and one for the mutable part if it has points.
    pub segments: usize,
    pub bytes_disk: u64,
    /// Of the mutable part, and what sealed segments keep out of their files.
    pub bytes_ram: u64,
    /// Payloads as they are stored; in sealed segments deleted ones count until the optimizer removes them.
    pub payload_bytes: u64,
    pub status: ShardStatus,
    /// Why the last optimization failed.
    pub optimizer_error: Option<String>,
    /// Files of the log.
    pub wal_files: usize,
    /// The last operation that was applied.
    pub last_seq: u64,
    /// The last operation that is in sealed segments.
    pub sealed_seq: u64,
    /// Operations that wait to be written.
    pub queue: usize,
    /// Files that don't hold what was written, and what is wrong with each.
    pub damaged: Vec<String>,
}

/// Counts and sizes of one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentStats {
    /// 0: the mutable part.
    pub id: u64,
    /// Points that exist.
    pub points: u64,
    /// Points whose places are still taken.
    pub deleted: u64,
    /// Over all names, those of deleted points too.
    pub vectors: u64,
    pub indexed_vectors: u64,
    /// Of raw dense vectors; unknown of the mutable part, and then 0.
    pub vector_bytes: u64,
    pub payload_bytes: u64,
    pub bytes_ram: u64,
    pub bytes_disk: u64,
}

impl Shard {
    /// Counts and sizes of every segment that has points, the mutable part last.
    pub fn segment_stats(&self) -> Vec<SegmentStats> {
        let (facts, config) = self.facts();
        let view = self.whole();
        let sealed = view.sealed().iter().map(|s| {
            let meta = s.segment.meta();
            let sparse: u64 = meta.sparse.values().map(|m| u64::from(m.points)).sum();
            let multi: u64 = meta.multi.values().map(|m| u64::from(m.points)).sum();
            let dense: u64 = meta.vectors.values().map(|m| u64::from(m.points)).sum();
            let in_graphs = meta.vectors.values().filter(|m| m.graph).map(|m| u64::from(m.points));
            let deleted = s.deleted.count();
            SegmentStats {
                id: s.segment.id,
                points: u64::from(s.segment.len().saturating_sub(deleted)),
                deleted: u64::from(deleted),
                vectors: dense + sparse + multi,
                indexed_vectors: in_graphs.sum::<u64>() + sparse,
                vector_bytes: s.segment.vector_bytes(),
                payload_bytes: s.segment.payload_bytes_disk(),
                bytes_ram: s.segment.bytes_ram(),
                bytes_disk: s.segment.bytes_disk(),
            }
        });
        let (chunks, tail) = view.mutable();
        let names = config.vectors.keys().chain(config.sparse_vectors.keys());
        let in_chunks =
            |name| chunks.iter().map(|c| u64::from(c.chunk.with_vector(name).count())).sum::<u64>();
        let in_tail = |name| tail.rows().iter().filter(|r| r.vectors.get(name).is_some()).count() as u64;
        let payloads = chunks.iter().map(|c| c.chunk.payload_bytes() as u64).sum::<u64>()
            + tail.rows().iter().map(|r| r.payload.as_bytes().len() as u64).sum::<u64>();
        let mutable = SegmentStats {
            points: facts.mutable_points as u64,
            vectors: names.map(|name| in_chunks(name) + in_tail(name)).sum(),
            payload_bytes: payloads,
            bytes_ram: facts.mutable_bytes as u64,
            ..SegmentStats::default()
        };
        sealed.chain((facts.mutable_points > 0).then_some(mutable)).collect()
    }

    /// Counts and sizes.
    pub fn stats(&self) -> ShardStats {
        let (facts, config) = self.facts();
        let view = self.whole();
        let (poisoned, wal_files, mutable_bytes) = {
            let writer = self.writer.lock();
            let state = &writer.state;
            (writer.poisoned.is_some(), writer.wal.files(), state.mutable_bytes())
        };
        let names = config.vectors.keys().chain(config.sparse_vectors.keys());
        let mut vectors: BTreeMap<String, u64> = names.map(|n| (n.clone(), 0)).collect();
        let mut indexed_vectors = 0;
        for meta in view.sealed().iter().flat_map(|s| s.segment.meta().vectors.iter()) {
            *vectors.entry(meta.0.clone()).or_default() += u64::from(meta.1.points);
            indexed_vectors += if meta.1.graph { u64::from(meta.1.points) } else { 0 };
        }
        // Sealed, sparse vectors always have their index.
        for (name, meta) in view.sealed().iter().flat_map(|s| s.segment.meta().sparse.iter()) {
            *vectors.entry(name.clone()).or_default() += u64::from(meta.points);
            indexed_vectors += u64::from(meta.points);
        }
        for (name, meta) in view.sealed().iter().flat_map(|s| s.segment.meta().multi.iter()) {
            *vectors.entry(name.clone()).or_default() += u64::from(meta.points);
            indexed_vectors += if meta.rows.graph { u64::from(meta.points) } else { 0 };
        }
        let (chunks, tail) = view.mutable();
        for (name, count) in &mut vectors {
            let in_chunk = |c: &ChunkState| u64::from(c.chunk.with_vector(name).count());
            let in_chunks = chunks.iter().map(in_chunk);
            let in_tail = tail.rows().iter().filter(|r| r.vectors.get(name).is_some()).count() as u64;
            *count += in_chunks.sum::<u64>() + in_tail;
        }
        let in_chunks = chunks.iter().map(|c| c.chunk.payload_bytes() as u64).sum::<u64>();
        let in_tail = tail.rows().iter().map(|r| r.payload.as_bytes().len() as u64).sum::<u64>();
        let sealed = view.sealed().iter().map(|s| s.segment.payload_bytes_disk()).sum::<u64>();
        let damaged = self.damage.list();
        let off = config.optimizers.max_optimization_threads == Some(0);
        let mut switched_on = config.optimizers;
        switched_on.max_optimization_threads = None;
        let status = match plan(&facts, &switched_on, true) {
            _ if poisoned || !damaged.is_empty() => ShardStatus::Red,
            None => ShardStatus::Green,
            Some(_) if off => ShardStatus::Grey,
            Some(_) => ShardStatus::Yellow,
        };
        ShardStats {
            points: self.view().points(),
            deferred: config.optimizers.prevent_unoptimized.then(|| self.deferred()),
            vectors,
            indexed_vectors,
            segments: view.sealed().len() + usize::from(!tail.is_empty() || !chunks.is_empty()),
            bytes_disk: view.sealed().iter().map(|s| s.segment.bytes_disk()).sum(),
            bytes_ram: mutable_bytes as u64
                + view.sealed().iter().map(|s| s.segment.bytes_ram()).sum::<u64>(),
            payload_bytes: sealed + in_chunks + in_tail,
            status,
            optimizer_error: self.optimizer_error.lock().clone(),
            wal_files,
            last_seq: view.seq(),
            sealed_seq: view.seq() - facts.unsealed_operations.min(view.seq()),
            queue: self.queue.lock().len(),
            damaged,
        }
    }
}
