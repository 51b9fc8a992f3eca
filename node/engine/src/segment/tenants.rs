//! The order of points in a segment of a collection with tenants: those of one tenant together, so that a search
//! filtered by it reads memory in order.
//!
//! Of each point a number is kept, not its tenant's name: the indexes of the sources have the names in order, and are
//! read beside each other. A source without the index, because that is being built at this moment, has no tenants.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::config::FieldSchema;
use crate::error::Result;
use crate::filter::PointSource;
use crate::json_path::JsonPath;
use crate::payload_index::FieldIndex;

/// The rank of a point without a tenant: it comes last.
const NONE: u32 = u32::MAX;

/// For each source the rank of each point's tenant among all tenants.
pub(super) struct Ranks(Vec<Vec<u32>>);

impl Ranks {
    /// By the first index, in the order of their keys, that is one of tenants; `None` if there is no such index.
    /// A point of several tenants lies with the first of them.
    pub(super) fn of<'a>(
        sources: impl Iterator<Item = &'a dyn PointSource>,
        indexes: &BTreeMap<JsonPath, FieldSchema>,
    ) -> Result<Option<Self>> {
        let Some((key, schema)) = indexes.iter().find(|(_, s)| s.keeps_tenants_together()) else {
            return Ok(None);
        };
        let sources: Vec<_> = sources.collect();
        let index = |s: &&'a dyn PointSource| s.index(key).filter(|i| i.schema().kind == schema.kind);
        let indexes: Vec<Option<&FieldIndex>> = sources.iter().map(index).collect();
        let mut ranks: Vec<Vec<u32>> = sources.iter().map(|s| vec![NONE; s.len() as usize]).collect();
        // The next tenant of each source.
        let mut next = BinaryHeap::new();
        for (s, index) in indexes.iter().enumerate() {
            next.extend(named(*index, 0)?.map(|name| Reverse((name, s, 0))));
        }
        let (mut rank, mut last) = (0, None);
        while let Some(Reverse((name, s, place))) = next.pop() {
            rank += u32::from(last.is_some_and(|last| last != name));
            last = Some(name);
            if let Some(index) = indexes[s] {
                for offset in index.points_with(place)? {
                    let known = &mut ranks[s][offset as usize];
                    *known = rank.min(*known);
                }
            }
            next.extend(named(indexes[s], place + 1)?.map(|name| Reverse((name, s, place + 1))));
        }
        Ok(Some(Self(ranks)))
    }

    /// The rank of a point of a source.
    pub(super) fn rank(&self, source: u32, offset: u32) -> u32 {
        self.0[source as usize][offset as usize]
    }
}

fn named(index: Option<&FieldIndex>, place: usize) -> Result<Option<&[u8]>> {
    index.map_or(Ok(None), |index| index.string(place))
}
