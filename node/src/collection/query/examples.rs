//! Queries by examples: ids become the vectors of their points before any shard is asked.

use std::collections::{BTreeMap, HashMap};

use quiver_api::point::{PointId, Vector};
use quiver_api::query::{ContextPair, Example, LookupFrom, Query, RecommendInput, Strategy};
use quiver_api::shard_call::ShardQuery;

use super::{Asking, other};
use crate::collection::{convert, document};
use crate::error::{ApiError, Result};

const NO_POSITIVES: &str = "Positive vectors should not be empty with `average` strategy";

/// The vectors of the points that a query names.
struct Vectors<'a> {
    name: &'a str,
    /// `None`: the point is there and has no such vector.
    found: HashMap<PointId, Option<Vector>>,
}

impl Vectors<'_> {
    /// `None` if the point has no such vector.
    fn find(&self, example: Example) -> Result<Option<Vector>> {
        match example {
            Example::Vector(mut vector) => {
                document::embed_query(&mut vector)?;
                Ok(Some(vector))
            }
            Example::Id(id) => {
                let found = self.found.get(&id);
                found.cloned().ok_or_else(|| ApiError::not_found(format!("No point with id {id} found")))
            }
        }
    }

    fn take(&self, example: Example) -> Result<Vector> {
        self.find(example)?.ok_or_else(|| {
            ApiError::not_found(format!("Vector with name \"{}\" for point not found", self.name))
        })
    }

    /// Of points without the vector nothing is known: they say neither yes nor no.
    fn known(&self, examples: Option<Vec<Example>>) -> Result<Vec<Vector>> {
        examples.unwrap_or_default().into_iter().filter_map(|e| self.find(e).transpose()).collect()
    }

    fn pairs(&self, pairs: Vec<ContextPair>) -> Result<Vec<(Vector, Vector)>> {
        pairs.into_iter().map(|p| Ok((self.take(p.positive)?, self.take(p.negative)?))).collect()
    }
}

impl Asking<'_> {
    /// The query with vectors in the place of ids, and the ids that it named of this collection.
    pub(super) async fn resolved(
        &self,
        query: Query,
        using: &str,
        lookup: Option<LookupFrom>,
    ) -> Result<(ShardQuery, Vec<PointId>)> {
        let ids = named(&query);
        let name = lookup.as_ref().and_then(|l| l.vector.as_deref()).unwrap_or(using);
        let mut vectors = Vectors { name, found: HashMap::new() };
        let mut elsewhere = false;
        if !ids.is_empty() {
            let wanted = ids.clone();
            vectors.found = match &lookup {
                None => self.collection.vectors_of(wanted, name, self.deadline).await?,
                Some(lookup) => {
                    let other = other(self.registry, &lookup.collection)?;
                    let other = other.among(lookup.shard_key.as_ref(), ApiError::bad_request)?;
                    elsewhere = other.name() != self.collection.name();
                    other.vectors_of(wanted, name, self.deadline).await?
                }
            };
        }
        let query = with_vectors(query, &vectors)?;
        Ok((query, if elsewhere { Vec::new() } else { ids }))
    }

    /// The points that a query names and that are not to be found: none if they are those of another collection.
    pub(super) fn excluded(&self, query: &Query, lookup: Option<&LookupFrom>) -> Result<Vec<PointId>> {
        let elsewhere = match lookup {
            Some(lookup) => other(self.registry, &lookup.collection)?.name() != self.collection.name(),
            None => false,
        };
        Ok(if elsewhere { Vec::new() } else { named(query) })
    }
}

/// The ids that a query names.
fn named(query: &Query) -> Vec<PointId> {
    let mut examples: Vec<&Example> = Vec::new();
    match query {
        Query::Id(id) => return vec![*id],
        Query::Diverse(nearest, _) => examples.push(nearest),
        Query::Recommend(r) => examples.extend([&r.positive, &r.negative].into_iter().flatten().flatten()),
        Query::Discover(d) => {
            examples.push(&d.target);
            examples.extend(d.context.iter().flat_map(|p| [&p.positive, &p.negative]));
        }
        Query::Context(pairs) => examples.extend(pairs.iter().flat_map(|p| [&p.positive, &p.negative])),
        Query::Feedback(f) => {
            examples.push(&f.target);
            examples.extend(f.feedback.iter().map(|item| &item.example));
        }
        _ => {}
    }
    let id = |e: &Example| match e {
        Example::Id(id) => Some(*id),
        Example::Vector(_) => None,
    };
    let mut ids: Vec<PointId> = examples.into_iter().filter_map(id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn with_vectors(query: Query, vectors: &Vectors) -> Result<ShardQuery> {
    Ok(match query {
        Query::Vector(vector) => ShardQuery::Nearest(vectors.take(Example::Vector(vector))?),
        Query::Id(id) => ShardQuery::Nearest(vectors.take(Example::Id(id))?),
        Query::Recommend(r) => recommend(r, vectors)?,
        Query::Discover(d) => {
            ShardQuery::Discover { target: vectors.take(d.target)?, pairs: vectors.pairs(d.context)? }
        }
        Query::Context(pairs) => ShardQuery::Context(vectors.pairs(pairs)?),
        Query::Feedback(f) => {
            let naive = f.strategy.naive;
            let feedback = f.feedback.into_iter().map(|item| Ok((vectors.take(item.example)?, item.score)));
            ShardQuery::Feedback {
                target: vectors.take(f.target)?,
                feedback: feedback.collect::<Result<_>>()?,
                factors: [naive.a, naive.b, naive.c],
            }
        }
        Query::Diverse(..) | Query::OrderBy(_) | Query::Fusion(_) | Query::Formula(_) | Query::Sample => {
            return Err(ApiError::internal("a query without examples was looked up"));
        }
    })
}

fn recommend(r: RecommendInput, vectors: &Vectors) -> Result<ShardQuery> {
    let strategy = r.strategy.unwrap_or_default();
    let (positives, negatives) = (vectors.known(r.positive)?, vectors.known(r.negative)?);
    Ok(match strategy {
        Strategy::BestScore => ShardQuery::BestScore { positives, negatives },
        Strategy::SumScores => ShardQuery::SumScores { positives, negatives },
        Strategy::AverageVector => ShardQuery::Nearest(match is_sparse(&positives, &negatives) {
            _ if is_multi(&positives, &negatives) => concatenated(positives, negatives)?,
            true => average_sparse(&positives, &negatives)?,
            false => Vector::Dense(average(&positives, &negatives)?),
        }),
    })
}

fn is_sparse(positives: &[Vector], negatives: &[Vector]) -> bool {
    positives.iter().chain(negatives).any(|v| matches!(v, Vector::Sparse { .. }))
}

fn is_multi(positives: &[Vector], negatives: &[Vector]) -> bool {
    positives.iter().chain(negatives).any(|v| matches!(v, Vector::Multi(_)))
}

/// What stands for the average of multivectors: all rows, those of negatives turned round.
fn concatenated(positives: Vec<Vector>, negatives: Vec<Vector>) -> Result<Vector> {
    if positives.is_empty() {
        return Err(ApiError::wrong_input(NO_POSITIVES));
    }
    let mut rows = Vec::new();
    for vector in positives {
        rows.extend(convert::multi(vector)?.to_rows());
    }
    for vector in negatives {
        let turned = |row: Vec<f32>| row.into_iter().map(|number| -number).collect::<Vec<f32>>();
        rows.extend(convert::multi(vector)?.to_rows().into_iter().map(turned));
    }
    Ok(Vector::Multi(rows))
}

/// [`average`] of sparse vectors: what one of them has not is zero.
fn average_sparse(positives: &[Vector], negatives: &[Vector]) -> Result<Vector> {
    if positives.is_empty() {
        return Err(ApiError::wrong_input(NO_POSITIVES));
    }
    let mut sums: BTreeMap<u32, f32> = BTreeMap::new();
    let mut add = |vectors: &[Vector], factor: f32| {
        for vector in vectors {
            let Vector::Sparse { indices, values } = vector else { return Err(convert::wrong_kind()) };
            for (index, value) in indices.iter().zip(values) {
                *sums.entry(*index).or_default() += value * factor / vectors.len() as f32;
            }
        }
        Ok(())
    };
    add(positives, if negatives.is_empty() { 1.0 } else { 2.0 })?;
    add(negatives, -1.0)?;
    let (indices, values) = sums.into_iter().unzip();
    Ok(Vector::Sparse { indices, values })
}

/// The mean of the positives, moved away from that of the negatives.
fn average(positives: &[Vector], negatives: &[Vector]) -> Result<Vec<f32>> {
    if positives.is_empty() {
        return Err(ApiError::wrong_input(NO_POSITIVES));
    }
    let near = mean(positives)?;
    if negatives.is_empty() {
        return Ok(near);
    }
    let far = mean(negatives)?;
    check_length(near.len(), far.len())?;
    Ok(near.iter().zip(&far).map(|(near, far)| near + near - far).collect())
}

fn mean(vectors: &[Vector]) -> Result<Vec<f32>> {
    let mut sum: Vec<f32> = Vec::new();
    for vector in vectors {
        let numbers = convert::dense(vector)?;
        if sum.is_empty() {
            sum.resize(numbers.len(), 0.0);
        }
        check_length(sum.len(), numbers.len())?;
        sum.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
    }
    sum.iter_mut().for_each(|number| *number /= vectors.len() as f32);
    Ok(sum)
}

fn check_length(expected: usize, got: usize) -> Result<()> {
    if expected == got { Ok(()) } else { Err(quiver_engine::Error::Dimension { expected, got }.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dense(rows: &[[f32; 2]]) -> Vec<Vector> {
        rows.iter().map(|row| Vector::Dense(row.to_vec())).collect()
    }

    #[test]
    fn the_average_lies_beyond_the_positives_as_seen_from_the_negatives() {
        for (positives, negatives, expected) in [
            (dense(&[[1.0, 2.0]]), dense(&[]), [1.0, 2.0]),
            (dense(&[[1.0, 2.0], [3.0, 0.0]]), dense(&[]), [2.0, 1.0]),
            (dense(&[[1.0, 2.0], [3.0, 0.0]]), dense(&[[1.0, 1.0], [0.0, 1.0]]), [3.5, 1.0]),
        ] {
            assert_eq!(average(&positives, &negatives), Ok(expected.to_vec()));
        }
        let empty = average(&[], &dense(&[[1.0, 2.0]])).expect_err("no positives");
        assert_eq!(empty.text, "Wrong input: Positive vectors should not be empty with `average` strategy");
        let longer = average(&dense(&[[1.0, 2.0]]), &[Vector::Dense(vec![1.0])]).expect_err("of two lengths");
        assert_eq!(longer.text, "Wrong input: Vector dimension error: expected dim: 2, got 1");
    }
}
