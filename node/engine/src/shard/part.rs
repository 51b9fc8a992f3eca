//! One of the things a view's points lie in, so that reading is written once.

use crate::bitset::Bitset;
use crate::error::Result;
use crate::filter::PointSource;
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::segment::mutable::{ChunkState, Tail};
use crate::segment::sealed::SealedState;
use crate::vector::{MultiRow, SparseRow, Vector};

/// A sealed segment, a chunk or the tail of the mutable part.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    Sealed(&'a SealedState),
    Chunk(&'a ChunkState),
    Tail(&'a Tail),
}

impl<'a> Part<'a> {
    pub fn points(self) -> &'a dyn PointSource {
        match self {
            Part::Sealed(s) => &*s.segment,
            Part::Chunk(c) => &*c.chunk,
            Part::Tail(t) => t,
        }
    }

    pub fn is_live(self, offset: u32) -> bool {
        match self {
            Part::Sealed(s) => !s.deleted.contains(offset),
            Part::Chunk(c) => c.is_live(offset),
            Part::Tail(_) => true,
        }
    }

    /// Whether no point of it was deleted.
    pub fn is_whole(self) -> bool {
        match self {
            Part::Sealed(s) => s.deleted.count() == 0,
            Part::Chunk(c) => c.live() == c.chunk.len(),
            Part::Tail(_) => true,
        }
    }

    pub fn live_bits(self) -> Bitset {
        match self {
            Part::Sealed(s) => s.deleted.live_bits(),
            Part::Chunk(c) => c.live_bits(),
            Part::Tail(t) => Bitset::ones(t.len()),
        }
    }

    /// Whether places are in the order of ids.
    pub fn is_sorted(self) -> bool {
        !matches!(self, Part::Tail(_))
    }

    /// Whether offsets are in the order of ids.
    pub fn is_by_id(self) -> bool {
        match self {
            Part::Sealed(s) => s.segment.is_by_id(),
            Part::Chunk(_) => true,
            Part::Tail(_) => false,
        }
    }

    /// The first place that may hold an id from `id` on.
    pub fn lower_bound(self, id: PointId) -> u32 {
        match self {
            Part::Sealed(s) => s.segment.lower_bound(id),
            Part::Chunk(c) => c.chunk.lower_bound(id),
            Part::Tail(_) => 0,
        }
    }

    /// The offset of a place.
    pub fn offset_at(self, place: u32) -> u32 {
        match self {
            Part::Sealed(s) => s.segment.offset_at(place),
            Part::Chunk(_) | Part::Tail(_) => place,
        }
    }

    pub fn version(self, offset: u32) -> u64 {
        match self {
            Part::Sealed(s) => s.segment.version(offset),
            Part::Chunk(c) => c.chunk.seq(offset),
            Part::Tail(t) => t.rows()[offset as usize].seq,
        }
    }

    pub fn payload(self, offset: u32) -> Result<RawPayload> {
        match self {
            Part::Sealed(s) => s.segment.raw_payload(offset),
            Part::Chunk(c) => Ok(c.chunk.raw_payload(offset).clone()),
            Part::Tail(t) => Ok(t.rows()[offset as usize].payload.clone()),
        }
    }

    pub fn vector(self, offset: u32, name: &str) -> Result<Option<&'a [f32]>> {
        match self {
            Part::Sealed(s) => s.segment.vector(offset, name),
            Part::Chunk(c) => Ok(c.chunk.column(name).and_then(|c| c.get(offset))),
            Part::Tail(t) => Ok(t.rows()[offset as usize].vectors.get(name).and_then(Vector::as_dense)),
        }
    }

    pub fn sparse_vector(self, offset: u32, name: &str) -> Result<Option<SparseRow<'a>>> {
        match self {
            Part::Sealed(s) => s.segment.sparse_vector(offset, name),
            Part::Chunk(c) => Ok(c.chunk.sparse_column(name).and_then(|c| c.get(offset))),
            Part::Tail(t) => {
                let vector = t.rows()[offset as usize].vectors.get(name).and_then(Vector::as_sparse);
                Ok(vector.map(|v| v.row()))
            }
        }
    }

    pub fn multi_vector(self, offset: u32, name: &str) -> Result<Option<MultiRow<'a>>> {
        match self {
            Part::Sealed(s) => s.segment.multi_vector(offset, name),
            Part::Chunk(c) => Ok(c.chunk.multi_column(name).and_then(|c| c.get(offset))),
            Part::Tail(t) => {
                let vector = t.rows()[offset as usize].vectors.get(name).and_then(Vector::as_multi);
                Ok(vector.map(|v| v.row()))
            }
        }
    }
}
