//! Scores by the similarities to several vectors: recommend, discover, context, relevance feedback.

use crate::config::{Datatype, Distance};
use crate::distance;
use crate::error::{Error, Result};
use crate::query::{FeedbackFactors, Query};

/// The vectors that points are compared with, and how their similarities become one score.
pub struct Examples {
    distance: Distance,
    dim: usize,
    /// One behind the other, normalised for Cosine.
    rows: Vec<f32>,
    rule: Rule,
}

/// How similarities become a score.
pub enum Rule {
    /// The first so many are positives, the others negatives.
    BestScore { positives: usize },
    /// The sum of all, each times its weight.
    Weighted(Vec<f32>),
    /// The first is the target, then a positive and a negative in turn.
    Discover,
    /// A positive and a negative in turn.
    Context,
}

impl Examples {
    /// The examples of a query; `None` if it has a single vector.
    ///
    /// # Errors
    /// [`Error::Dimension`] if one of them is of another length.
    pub fn of(query: &Query, distance: Distance, dim: usize) -> Result<Option<Self>> {
        let Some((rule, rows)) = Rule::of(query) else { return Ok(None) };
        let mut examples = Self { distance, dim, rows: Vec::new(), rule };
        rows.into_iter().try_for_each(|row| examples.push(row))?;
        Ok(Some(examples))
    }

    fn push(&mut self, row: &[f32]) -> Result<()> {
        if row.len() != self.dim {
            return Err(Error::Dimension { expected: self.dim, got: row.len() });
        }
        let start = self.rows.len();
        self.rows.extend_from_slice(row);
        if self.distance == Distance::Cosine {
            distance::normalize(&mut self.rows[start..]);
        }
        Ok(())
    }

    /// The same, as vectors of a datatype are stored.
    pub fn rounded(mut self, datatype: Datatype) -> Self {
        datatype.round(&mut self.rows);
        self
    }

    /// How long the vectors are.
    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// How similarity is measured.
    pub(crate) fn distance(&self) -> Distance {
        self.distance
    }

    /// The vectors, one behind the other.
    pub(crate) fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// The score of a stored vector.
    pub(crate) fn score(&self, row: &[f32]) -> f32 {
        let example = |i: usize| &self.rows[i * self.dim..(i + 1) * self.dim];
        self.combine(|i| self.distance.similarity(example(i), row))
    }

    /// The score of a point from its similarity to the example of each place.
    #[inline(always)]
    pub(crate) fn combine(&self, similarity: impl Fn(usize) -> f32) -> f32 {
        self.rule.combine(self.rows.len() / self.dim.max(1), similarity)
    }
}

impl Rule {
    /// The rule of a query and the vectors that it compares with, in the rule's order; `None` if it has a single vector.
    pub(crate) fn of<V>(query: &Query<V>) -> Option<(Self, Vec<&V>)> {
        Some(match query {
            Query::Nearest(_) => return None,
            Query::BestScore { positives, negatives } => {
                (Rule::BestScore { positives: positives.len() }, positives.iter().chain(negatives).collect())
            }
            Query::SumScores { positives, negatives } => {
                let negative = negatives.iter().map(|_| -1.0);
                let weights = positives.iter().map(|_| 1.0).chain(negative).collect();
                (Rule::Weighted(weights), positives.iter().chain(negatives).collect())
            }
            Query::Discover { target, pairs } => {
                let pairs = pairs.iter().flat_map(|p| [&p.positive, &p.negative]);
                (Rule::Discover, std::iter::once(target).chain(pairs).collect())
            }
            Query::Context { pairs } => {
                (Rule::Context, pairs.iter().flat_map(|p| [&p.positive, &p.negative]).collect())
            }
            Query::Feedback { target, feedback, factors } => {
                let scores: Vec<f32> = feedback.iter().map(|(_, score)| *score).collect();
                let rows = std::iter::once(target).chain(feedback.iter().map(|(row, _)| row));
                (Rule::Weighted(feedback_weights(&scores, *factors)), rows.collect())
            }
        })
    }

    /// The score of a point from its similarity to each of `count` examples.
    #[inline(always)]
    pub(crate) fn combine(&self, count: usize, similarity: impl Fn(usize) -> f32) -> f32 {
        let score = match self {
            Rule::BestScore { positives } => {
                let best = |places: std::ops::Range<usize>| {
                    places.map(&similarity).fold(f32::NEG_INFINITY, f32::max)
                };
                let (positive, negative) = (best(0..*positives), best(*positives..count));
                if positive > negative { scaled(positive) } else { -scaled(negative) }
            }
            Rule::Weighted(weights) => weights.iter().enumerate().map(|(i, w)| w * similarity(i)).sum(),
            Rule::Discover => {
                let sides = (1..count).step_by(2).map(|i| side(similarity(i), similarity(i + 1)));
                sides.sum::<f32>() + scaled(similarity(0))
            }
            Rule::Context => {
                let excess = |i: usize| (similarity(i) - similarity(i + 1) - f32::EPSILON).min(0.0);
                (0..count).step_by(2).map(|i| sigmoid(excess(i))).sum()
            }
        };
        // The difference of two infinite similarities says nothing: such a point comes last.
        if score.is_nan() { f32::MIN } else { score }
    }
}

/// The weights of the target and of each example, whose differences in pairs sum up to the same.
fn feedback_weights(scores: &[f32], factors: FeedbackFactors) -> Vec<f32> {
    let mut weights = vec![0.0; scores.len() + 1];
    weights[0] = factors.a;
    for (i, better) in scores.iter().enumerate() {
        for (k, worse) in scores.iter().enumerate() {
            let confidence = better - worse;
            if confidence > 0.0 {
                let weight = confidence.powf(factors.b) * factors.c;
                weights[i + 1] += weight;
                weights[k + 1] -= weight;
            }
        }
    }
    weights
}

/// 1 if the positive is nearer, -1 if the negative is.
#[inline(always)]
fn side(positive: f32, negative: f32) -> f32 {
    f32::from(i8::from(positive > negative) - i8::from(positive < negative))
}

/// From -1 to 1, 0 at 0: a sigmoid without a power.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    if x.is_infinite() { x.signum() } else { x / (1.0 + x.abs()) }
}

/// From 0 to 1.
#[inline(always)]
fn scaled(x: f32) -> f32 {
    0.5 * (sigmoid(x) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::ContextPair;

    fn check(query: Query, distance: Distance, row: &[f32], expected: f32) {
        let examples = Examples::of(&query, distance, row.len()).expect("of one length").expect("examples");
        let score = examples.score(row);
        assert!((score - expected).abs() < 1e-6, "{query:?} of {row:?}: {score}, not {expected}");
    }

    fn owned(rows: &[&Vec<f32>]) -> Vec<Vec<f32>> {
        rows.iter().map(|row| (*row).clone()).collect()
    }

    fn best(positives: &[&Vec<f32>], negatives: &[&Vec<f32>]) -> Query {
        Query::BestScore { positives: owned(positives), negatives: owned(negatives) }
    }

    fn sum(positives: &[&Vec<f32>], negatives: &[&Vec<f32>]) -> Query {
        Query::SumScores { positives: owned(positives), negatives: owned(negatives) }
    }

    #[test]
    fn each_kind_has_its_formula() {
        let (a, b) = (vec![1.0, 0.0], vec![0.0, 3.0]);
        let row = [1.0, 1.0];
        check(best(&[&a], &[&b]), Distance::Dot, &row, -0.5 * (3.0 / 4.0 + 1.0));
        check(best(&[&b], &[&a]), Distance::Dot, &row, 0.5 * (3.0 / 4.0 + 1.0));
        check(best(&[], &[&a]), Distance::Dot, &row, -0.5 * (1.0 / 2.0 + 1.0));
        check(best(&[&a], &[]), Distance::Euclid, &row, 0.5 * (-1.0 / 2.0 + 1.0));
        check(sum(&[&a, &b], &[&a]), Distance::Dot, &row, 3.0);
        check(sum(&[&a], &[&b]), Distance::Euclid, &row, -1.0 + 5.0);
        check(sum(&[&a], &[&b]), Distance::Manhattan, &row, -1.0 + 3.0);
        let pairs = vec![ContextPair { positive: a.clone(), negative: b.clone() }];
        let discover = Query::Discover { target: a.clone(), pairs: pairs.clone() };
        check(discover, Distance::Dot, &row, -1.0 + 0.75);
        check(Query::Discover { target: b.clone(), pairs: Vec::new() }, Distance::Cosine, &[0.0, 1.0], 0.75);
        check(Query::Context { pairs: pairs.clone() }, Distance::Dot, &row, -2.0 / 3.0);
        check(Query::Context { pairs }, Distance::Dot, &[4.0, 1.0], 0.0);
    }

    #[test]
    fn feedback_is_what_its_pairs_sum_up_to() {
        let factors = FeedbackFactors { a: 0.5, b: 2.0, c: 0.25 };
        let rows = [vec![1.0, 0.5], vec![-1.0, 2.0], vec![0.0, 1.0], vec![2.0, 2.0]];
        let scores = [0.9f32, 0.1, 0.5, 0.5];
        let (target, row) = (vec![1.0, 1.0], [0.3, -0.7]);
        let similarity = |v: &[f32]| Distance::Dot.similarity(v, &row);
        let mut expected = factors.a * similarity(&target);
        for (p, better) in rows.iter().zip(scores) {
            for (n, worse) in rows.iter().zip(scores).filter(|(_, worse)| better > *worse) {
                expected += (better - worse).powf(factors.b) * factors.c * (similarity(p) - similarity(n));
            }
        }
        let feedback = rows.into_iter().zip(scores).collect();
        check(Query::Feedback { target, feedback, factors }, Distance::Dot, &row, expected);
    }

    #[test]
    fn no_score_is_not_a_number() {
        let huge = vec![f32::MAX, f32::MAX];
        let negatives = vec![huge.clone()];
        check(Query::SumScores { positives: vec![huge.clone()], negatives }, Distance::Dot, &huge, f32::MIN);
        check(Query::Discover { target: huge.clone(), pairs: Vec::new() }, Distance::Dot, &huge, 1.0);
    }

    #[test]
    fn examples_of_another_length_are_refused() {
        let query =
            Query::Context { pairs: vec![ContextPair { positive: vec![1.0], negative: vec![1.0, 2.0] }] };
        let refused = Examples::of(&query, Distance::Dot, 2);
        assert!(matches!(refused, Err(Error::Dimension { expected: 2, got: 1 })));
    }
}
