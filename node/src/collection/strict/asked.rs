//! Reads as strict mode sees them.

use quiver_api::filter::Filter;
use quiver_api::query::{
    Expression, MatrixRequest, Prefetch, Query, QueryGroupsRequest, QueryRequest, SearchParams,
};
use quiver_api::shard_call::ShardSearch;

use super::filter;
use crate::collection::query::LIMIT;
use crate::collection::query::groups::{GROUP_SIZE, GROUPS};
use crate::collection::query::matrix;

/// What one search, prefetch, scroll or count asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Points of the answer.
    pub limit: Option<usize>,
    pub filter: Option<&'a Filter>,
    pub params: Option<&'a SearchParams>,
    /// Asked for by a flag beside the parameters of searches.
    pub exact: bool,
    /// The vector by whose graph the points are found.
    pub scans: Option<&'a str>,
    pub formula: Option<&'a Expression>,
    pub group_by: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// A search, and the offset that is in its limit.
    pub fn search((search, offset): &'a (ShardSearch, usize)) -> Self {
        Self {
            limit: Some(search.limit.saturating_sub(*offset)),
            filter: search.filter.as_ref(),
            params: Some(&search.params),
            scans: Some(&search.using),
            ..Self::default()
        }
    }

    /// The universal query, and all its prefetches.
    pub fn query(r: &'a QueryRequest) -> Vec<Self> {
        let inner = r.prefetch.as_ref().map_or(&[][..], |all| &all.0);
        let first = Self {
            limit: Some(r.limit.unwrap_or(LIMIT)),
            filter: r.filter.as_ref(),
            params: r.params.as_ref(),
            ..Self::by(r.query.as_ref(), r.using.as_deref(), inner)
        };
        let mut all = vec![first];
        Self::add_prefetches(inner, &mut all);
        all
    }

    /// The same in groups.
    pub fn groups(r: &'a QueryGroupsRequest) -> Vec<Self> {
        let inner = r.prefetch.as_ref().map_or(&[][..], |all| &all.0);
        let (groups, size) = (r.limit.unwrap_or(GROUPS), r.group_size.unwrap_or(GROUP_SIZE));
        let first = Self {
            limit: Some(groups.saturating_mul(size)),
            filter: r.filter.as_ref(),
            params: r.params.as_ref(),
            group_by: Some(&r.group_by),
            ..Self::by(r.query.as_ref(), r.using.as_deref(), inner)
        };
        let mut all = vec![first];
        Self::add_prefetches(inner, &mut all);
        all
    }

    /// The drawing of the points, and the search from each of them.
    pub fn matrix(r: &'a MatrixRequest) -> Vec<Self> {
        let filter = r.filter.as_ref();
        let drawn = Self { limit: Some(r.sample.unwrap_or(matrix::SAMPLE)), filter, ..Self::default() };
        let found = Self { limit: Some(r.limit.unwrap_or(matrix::LIMIT)), filter, ..Self::default() };
        vec![drawn, found]
    }

    fn by(query: Option<&'a Query>, using: Option<&'a str>, inner: &[Prefetch]) -> Self {
        let is_search = match query {
            None | Some(Query::OrderBy(_) | Query::Fusion(_) | Query::Formula(_) | Query::Sample) => false,
            // Among what prefetches found, points are compared one by one anyway, and they are few.
            Some(_) => inner.is_empty(),
        };
        let formula = match query {
            Some(Query::Formula(f)) => Some(&f.formula),
            _ => None,
        };
        Self { scans: is_search.then(|| using.unwrap_or_default()), formula, ..Self::default() }
    }

    fn add_prefetches(prefetches: &'a [Prefetch], into: &mut Vec<Self>) {
        for p in prefetches {
            into.push(Self {
                limit: Some(p.limit.unwrap_or(LIMIT)),
                filter: p.filter.as_ref(),
                params: p.params.as_ref(),
                ..Self::by(p.query.as_ref(), p.using.as_deref(), p.prefetches())
            });
            Self::add_prefetches(p.prefetches(), into);
        }
    }

    /// Whether it looks at payload fields that may lack an index.
    pub fn names_fields(&self) -> bool {
        self.filter.is_some() || self.formula.is_some() || self.group_by.is_some()
    }

    /// Tokens of the rate limit.
    pub fn cost(&self) -> usize {
        1 + self.filter.map_or(0, filter::conditions)
    }
}
