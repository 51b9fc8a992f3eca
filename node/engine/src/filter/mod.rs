//! Filters: what may be asked ([`expr`]), what it means for one point ([`matches()`]), and how the bitmap of
//! passing points of a segment is made ([`evaluate()`]). Deleted points are the caller's business.

use std::borrow::Cow;

use crate::bitset::Bitset;
use crate::error::Result;
use crate::json_path::JsonPath;
use crate::payload::PayloadMap;
use crate::payload_index::FieldIndex;
use crate::point_id::PointId;

mod bind;
pub mod datetime;
mod estimate;
mod evaluate;
pub mod expr;
#[cfg(test)]
mod field_tests;
pub mod geo;
mod matches;
mod slice;
#[cfg(test)]
mod tests;
mod tri;

pub use bind::bind;
pub use datetime::parse_datetime;
pub use estimate::{Cardinality, estimate};
pub use evaluate::{Evaluated, evaluate, evaluate_among, unindexed};
pub use expr::{Bounds, Condition, FieldCondition, FieldTest, Filter, MinShould};
pub use geo::{GeoArea, GeoPoint};
pub use matches::matches;
pub(crate) use matches::{count_of, is_null_value};
pub use slice::Slice;

/// Points that a filter can be asked of: a sealed segment, or a chunk of the mutable one.
pub trait PointSource {
    /// Number of offsets, deleted points included.
    fn len(&self) -> u32;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn id(&self, offset: u32) -> PointId;
    fn offset_of(&self, id: PointId) -> Option<u32>;
    fn payload(&self, offset: u32) -> Result<Cow<'_, PayloadMap>>;
    fn has_vector(&self, offset: u32, name: &str) -> bool;
    /// The points that have the vector of that name.
    fn with_vector(&self, name: &str) -> Bitset {
        (0..self.len()).map(|offset| self.has_vector(offset, name)).collect()
    }
    /// The index over exactly these offsets, if the key has one here.
    fn index(&self, key: &JsonPath) -> Option<&FieldIndex>;
}
