//! Maximal marginal relevance (Carbonell, Goldstein 1998): of the nearest points, those that are not too like each other.

use quiver_api::collections::Distance;
use quiver_api::point::{ScoredPoint, Vector, Vectors};
use quiver_api::points::WithVector;
use quiver_api::query::{MMR_CANDIDATES_MAX, Mmr};
use quiver_api::shard_call::{ShardQuery, ShardSearch};
use quiver_engine::vector::SparseRow;

use super::Asking;
use crate::error::Result;

impl Asking<'_> {
    /// The nearest points that are unlike each other. The offset is applied to what was chosen, not to the candidates.
    pub(super) async fn diverse(
        &self,
        mut search: ShardSearch,
        mmr: Mmr,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<ScoredPoint>> {
        let distance = self.collection.distance(&search.using)?;
        let (using, shown) = (search.using.clone(), search.vectors.clone());
        search.vectors = match &shown {
            WithVector::Bool(true) => WithVector::Bool(true),
            WithVector::Bool(false) => WithVector::Names(vec![using.clone()]),
            WithVector::Names(names) => WithVector::Names(names.iter().chain([&using]).cloned().collect()),
        };
        // Candidates are found by IDF, but how near they are to the query is measured as between them: without.
        let sparse = match &search.query {
            ShardQuery::Nearest(Vector::Sparse { indices, values }) => Some(in_order(indices, values)),
            _ => None,
        };
        search.limit = mmr.candidates_limit.unwrap_or(limit).min(MMR_CANDIDATES_MAX);
        if search.limit == 0 {
            return Ok(Vec::new());
        }
        let found = self.collection.search(vec![(search, 0)], self.deadline).await?.pop().unwrap_or_default();
        let (diversity, count) = (mmr.diversity.unwrap_or(0.5), limit.saturating_add(offset));
        let work = move |_: &_| {
            let candidates: Vec<(f32, &Vector)> = found
                .iter()
                .filter_map(|p| Some((p.score, vector_of(p, &using)?)))
                .map(|(score, v)| (sparse.as_ref().map_or(score, |q| similarity(q, v, distance)), v))
                .collect();
            let chosen = choose(&candidates, distance, diversity, count);
            let mut found: Vec<Option<ScoredPoint>> = found.into_iter().map(Some).collect();
            chosen.into_iter().skip(offset).filter_map(|i| found[i].take()).map(|p| only(p, &shown)).collect()
        };
        Ok(self.collection.node.pools.search.run("Search", self.deadline, work).await?)
    }
}

/// A sparse vector of a query, with its indices as ascending as those of stored ones.
fn in_order(indices: &[u32], values: &[f32]) -> Vector {
    let mut pairs: Vec<(u32, f32)> = indices.iter().copied().zip(values.iter().copied()).collect();
    pairs.sort_unstable_by_key(|(index, _)| *index);
    let (indices, values) = pairs.into_iter().unzip();
    Vector::Sparse { indices, values }
}

/// The vector that was searched by; every point that was found has it.
fn vector_of<'a>(point: &'a ScoredPoint, using: &str) -> Option<&'a Vector> {
    match point.vector.as_ref()? {
        Vectors::Unnamed(v) => Some(v),
        Vectors::Named(map) => map.get(using),
    }
}

/// Leaves only the vectors that were asked for.
fn only(mut point: ScoredPoint, shown: &WithVector) -> ScoredPoint {
    point.vector = match (point.vector, shown) {
        (_, WithVector::Bool(false)) => None,
        (Some(Vectors::Named(mut map)), WithVector::Names(names)) => {
            map.retain(|name, _| names.contains(name));
            Some(Vectors::Named(map))
        }
        (vector, _) => vector,
    };
    point
}

/// How near two vectors are; higher is nearer, whatever the distance is.
fn similarity(a: &Vector, b: &Vector, distance: Distance) -> f32 {
    match (a, b) {
        (Vector::Dense(a), Vector::Dense(b)) => dense(a, b, distance),
        (Vector::Sparse { indices: i, values: v }, Vector::Sparse { indices: k, values: w }) => {
            let (a, b) = (SparseRow { indices: i, values: v }, SparseRow { indices: k, values: w });
            a.dot(b).unwrap_or(0.0)
        }
        (Vector::Multi(a), Vector::Multi(b)) => {
            let best = |one: &Vec<f32>| {
                b.iter().map(|other| dense(one, other, distance)).fold(f32::NEG_INFINITY, f32::max)
            };
            a.iter().map(best).sum()
        }
        _ => 0.0,
    }
}

fn dense(a: &[f32], b: &[f32], distance: Distance) -> f32 {
    let pairs = a.iter().zip(b);
    match distance {
        // Bytes are answered as they are, with a length of their own.
        Distance::Cosine => quiver_engine::config::Distance::CosineAsSent.similarity(a, b),
        Distance::Dot => pairs.map(|(x, y)| x * y).sum(),
        Distance::Euclid => -pairs.map(|(x, y)| (x - y) * (x - y)).sum::<f32>(),
        Distance::Manhattan => -pairs.map(|(x, y)| (x - y).abs()).sum::<f32>(),
    }
}

/// A score as the protocol shows it, turned so that higher is nearer and scaled as [`similarity`] is.
fn relevance(score: f32, distance: Distance) -> f32 {
    match distance {
        Distance::Cosine | Distance::Dot => score,
        Distance::Euclid => -(score * score),
        Distance::Manhattan => -score,
    }
}

/// Places of up to `count` candidates in the order they are chosen: each time the one with the highest
/// `(1 − diversity) · relevance − diversity · similarity to the likest one chosen before`.
pub fn choose(candidates: &[(f32, &Vector)], distance: Distance, diversity: f32, count: usize) -> Vec<usize> {
    let relevant: Vec<f32> = candidates.iter().map(|(score, _)| relevance(*score, distance)).collect();
    let mut likest = vec![f32::NEG_INFINITY; candidates.len()];
    let mut left: Vec<usize> = (0..candidates.len()).collect();
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < count && !left.is_empty() {
        // The zero makes no difference of −0 and 0, which tie.
        let worth = |i: usize| match chosen.is_empty() {
            true => relevant[i] + 0.0,
            false => (1.0 - diversity) * relevant[i] - diversity * likest[i] + 0.0,
        };
        let best = (0..left.len()).max_by(|a, b| worth(left[*a]).total_cmp(&worth(left[*b])));
        let next = left.swap_remove(best.unwrap_or_default());
        chosen.push(next);
        for i in &left {
            likest[*i] = likest[*i].max(similarity(candidates[*i].1, candidates[next].1, distance));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(diversity: f32, expected: &[usize]) {
        let query = Vector::Dense(vec![1.0, 0.0]);
        let vectors = [[0.9, 0.1], [0.9, 0.11], [0.5, -0.9], [0.8, 0.3]].map(|v| Vector::Dense(v.to_vec()));
        let score = |v: &Vector| similarity(&query, v, Distance::Dot);
        let candidates: Vec<(f32, &Vector)> = vectors.iter().map(|v| (score(v), v)).collect();
        assert_eq!(choose(&candidates, Distance::Dot, diversity, 3), expected, "diversity {diversity}");
    }

    #[test]
    fn diversity_leaves_out_what_is_like_the_others() {
        check(0.0, &[1, 0, 3]);
        check(0.5, &[1, 2, 0]);
        check(0.7, &[1, 2, 3]);
    }

    #[test]
    fn distances_are_lower_for_nearer_points() {
        let vectors = [3.0f32, 1.0, 1.1].map(|x| (x, Vector::Dense(vec![x])));
        let candidates: Vec<(f32, &Vector)> = vectors.iter().map(|(x, v)| (*x, v)).collect();
        for distance in [Distance::Euclid, Distance::Manhattan] {
            assert_eq!(choose(&candidates, distance, 0.0, 9), [1, 2, 0]);
        }
    }
}
