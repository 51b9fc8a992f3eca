//! Changes of a shard: as asked for ([`Operation`]) and as logged ([`LogOp`]).
//!
//! Only resolved, id-based, idempotent changes are logged (docs/architecture.md, "Log"), so that replaying
//! the log on any copy gives the same points. Filters and conditions are resolved before.

use crate::config::{FieldSchema, SparseParams, VectorParams};
use crate::filter::Filter;
use crate::json_path::JsonPath;
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::shard::Hashes;
use crate::vector::NamedVectors;

/// A whole point as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct PointWrite {
    pub id: PointId,
    pub vectors: NamedVectors,
    pub payload: RawPayload,
}

/// What an upsert does with points that exist or don't.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateMode {
    #[default]
    Upsert,
    /// Existing points stay as they are.
    InsertOnly,
    /// Missing points are not created.
    UpdateOnly,
}

/// Which points an operation touches.
#[derive(Clone, Debug)]
pub enum Selection {
    Ids(Vec<PointId>),
    Filter(Filter),
}

/// A change as a client asks for it, checked against the configuration when it is enqueued.
#[derive(Clone, Debug)]
pub enum Operation {
    /// The same id twice: the last wins. `condition`: existing points that don't match are left alone.
    Upsert {
        points: Vec<PointWrite>,
        mode: UpdateMode,
        condition: Option<Filter>,
    },
    Delete(Selection),
    /// Adds or replaces the vectors given; a missing point is [`crate::Error::PointNotFound`], and the others are written.
    UpdateVectors {
        points: Vec<(PointId, NamedVectors)>,
        condition: Option<Filter>,
    },
    DeleteVectors {
        select: Selection,
        names: Vec<String>,
    },
    /// Merges top-level keys, or at `key`; a null removes.
    SetPayload {
        select: Selection,
        payload: RawPayload,
        key: Option<JsonPath>,
    },
    OverwritePayload {
        select: Selection,
        payload: RawPayload,
    },
    DeletePayload {
        select: Selection,
        keys: Vec<JsonPath>,
    },
    ClearPayload(Selection),
    CreateIndex {
        field: JsonPath,
        schema: FieldSchema,
    },
    DropIndex {
        field: JsonPath,
    },
    CreateVector {
        name: String,
        params: VectorParams,
    },
    CreateSparseVector {
        name: String,
        params: SparseParams,
    },
    DropVector {
        name: String,
    },
    /// No write of the part `give` is taken from here on, so that another shard can be made of it.
    Freeze {
        keep: Hashes,
        give: Hashes,
    },
    /// Another shard has what was frozen: only this part is kept.
    Keep(Hashes),
}

impl PointWrite {
    fn bytes(&self) -> usize {
        size_of::<Self>() + bytes_of(&self.vectors) + self.payload.as_bytes().len()
    }
}

impl Selection {
    fn bytes(&self) -> usize {
        match self {
            Selection::Ids(ids) => size_of_val(ids.as_slice()),
            Selection::Filter(filter) => filter.bytes(),
        }
    }
}

impl Operation {
    /// Which points it touches, of those that edit or delete what is there.
    pub fn selection(&self) -> Option<&Selection> {
        match self {
            Operation::Delete(s)
            | Operation::ClearPayload(s)
            | Operation::DeleteVectors { select: s, .. }
            | Operation::SetPayload { select: s, .. }
            | Operation::OverwritePayload { select: s, .. }
            | Operation::DeletePayload { select: s, .. } => Some(s),
            Operation::Upsert { .. }
            | Operation::UpdateVectors { .. }
            | Operation::CreateIndex { .. }
            | Operation::DropIndex { .. }
            | Operation::CreateVector { .. }
            | Operation::CreateSparseVector { .. }
            | Operation::DropVector { .. }
            | Operation::Freeze { .. }
            | Operation::Keep(_) => None,
        }
    }

    /// Memory it takes, about.
    pub fn bytes(&self) -> usize {
        let asked = |condition: &Option<Filter>| condition.as_ref().map_or(0, Filter::bytes);
        let variable = match self {
            Operation::Upsert { points, condition, .. } => {
                asked(condition) + points.iter().map(PointWrite::bytes).sum::<usize>()
            }
            Operation::UpdateVectors { points, condition } => {
                let one = |(_, v): &(PointId, NamedVectors)| size_of::<PointId>() + bytes_of(v);
                asked(condition) + points.iter().map(one).sum::<usize>()
            }
            Operation::Delete(s) | Operation::ClearPayload(s) => s.bytes(),
            Operation::DeleteVectors { select, .. } | Operation::DeletePayload { select, .. } => {
                select.bytes()
            }
            Operation::SetPayload { select, payload, .. }
            | Operation::OverwritePayload { select, payload } => select.bytes() + payload.as_bytes().len(),
            Operation::CreateIndex { .. }
            | Operation::DropIndex { .. }
            | Operation::CreateVector { .. }
            | Operation::CreateSparseVector { .. }
            | Operation::DropVector { .. }
            | Operation::Freeze { .. }
            | Operation::Keep(_) => 0,
        };
        size_of::<Self>() + variable
    }
}

fn bytes_of(vectors: &NamedVectors) -> usize {
    let one = |(name, v): (&str, &crate::vector::Vector)| name.len() + 48 + v.bytes();
    vectors.iter().map(one).sum()
}

/// A change as the log holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum LogOp {
    /// Keeps a term's first place in the log; changes nothing.
    Noop,
    Upsert(Vec<PointWrite>),
    Delete(Vec<PointId>),
    UpdateVectors(Vec<(PointId, NamedVectors)>),
    DeleteVectors {
        ids: Vec<PointId>,
        names: Vec<String>,
    },
    SetPayload {
        ids: Vec<PointId>,
        payload: RawPayload,
        key: Option<JsonPath>,
    },
    OverwritePayload {
        ids: Vec<PointId>,
        payload: RawPayload,
    },
    DeletePayload {
        ids: Vec<PointId>,
        keys: Vec<JsonPath>,
    },
    ClearPayload {
        ids: Vec<PointId>,
    },
    CreateIndex {
        field: JsonPath,
        schema: FieldSchema,
    },
    DropIndex {
        field: JsonPath,
    },
    CreateVector {
        name: String,
        params: VectorParams,
    },
    CreateSparseVector {
        name: String,
        params: SparseParams,
    },
    DropVector {
        name: String,
    },
    Freeze {
        keep: Hashes,
        give: Hashes,
    },
    Keep(Hashes),
}

/// What a finished write says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The sequence number that the operation got in the shard's log; 0 if nothing had to be changed.
    pub seq: u64,
}
