//! Several lists of points become one: by the places of a point in them, or by its scores.

use std::collections::HashMap;

use quiver_api::point::{PointId, ScoredPoint};
use quiver_api::query::Fusion;

use crate::error::{ApiError, Result};

/// What is added to a place, unless the request says otherwise.
const RRF_K: usize = 2;

/// The points of all lists with the sums of what each list gives them, in no order.
pub fn fuse(fusion: &Fusion, lists: Vec<Vec<ScoredPoint>>) -> Result<Vec<ScoredPoint>> {
    let mut sum = Sum::default();
    match fusion {
        Fusion::Rrf { k, weights } => {
            check_weights(weights.as_deref(), lists.len())?;
            let k = k.unwrap_or(RRF_K) as f64;
            for (i, list) in lists.into_iter().enumerate() {
                let weight = weights.as_ref().map_or(1.0, |all| f64::from(all[i]));
                for (rank, point) in list.into_iter().enumerate() {
                    sum.add(point, of_rank(rank, weight, k));
                }
            }
        }
        Fusion::Dbsf => {
            for list in lists {
                let scale = Scale::of(&list);
                for point in list {
                    let score = scale.apply(point.score);
                    sum.add(point, score);
                }
            }
        }
    }
    Ok(sum.points.into_iter().map(|(point, score)| ScoredPoint { score: shown(score), ..point }).collect())
}

/// Refuses weights that are not one for each list.
pub fn check_weights(weights: Option<&[f32]>, lists: usize) -> Result<()> {
    match weights {
        Some(weights) if weights.len() != lists => Err(ApiError::wrong_input(format!(
            "Validation failed: RRF weights length ({}) does not match number of prefetches ({lists})",
            weights.len()
        ))),
        _ => Ok(()),
    }
}

/// JSON has no infinity: the largest number stands for it.
fn shown(score: f64) -> f32 {
    if score.is_nan() { 0.0 } else { (score as f32).clamp(f32::MIN, f32::MAX) }
}

fn of_rank(rank: usize, weight: f64, k: f64) -> f64 {
    if weight <= 0.0 { 0.0 } else { 1.0 / ((rank as f64 + 1.0) / weight + k - 1.0) }
}

/// Points in the order they were first met.
#[derive(Default)]
struct Sum {
    points: Vec<(ScoredPoint, f64)>,
    places: HashMap<PointId, usize>,
}

impl Sum {
    fn add(&mut self, point: ScoredPoint, score: f64) {
        let next = self.points.len();
        match *self.places.entry(point.id).or_insert(next) {
            place if place == next => self.points.push((point, score)),
            place => self.points[place].1 += score,
        }
    }
}

/// Where the scores of a list lie: three deviations around their mean become 0 to 1.
struct Scale {
    low: f64,
    width: f64,
}

impl Scale {
    fn of(list: &[ScoredPoint]) -> Self {
        let count = list.len() as f64;
        let scores = || list.iter().map(|p| f64::from(p.score));
        let mean = scores().sum::<f64>() / count.max(1.0);
        let variance = scores().map(|s| (s - mean) * (s - mean)).sum::<f64>() / (count - 1.0).max(1.0);
        let deviation = variance.sqrt();
        Self { low: mean - 3.0 * deviation, width: 6.0 * deviation }
    }

    fn apply(&self, score: f32) -> f64 {
        // Equal scores say nothing about which point is better.
        if self.width == 0.0 { 0.5 } else { (f64::from(score) - self.low) / self.width }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(points: &[(u64, f32)]) -> Vec<ScoredPoint> {
        let point = |&(id, score): &(u64, f32)| ScoredPoint {
            id: PointId::Num(id),
            version: 0,
            score,
            payload: None,
            vector: None,
            shard_key: None,
            order_value: None,
        };
        points.iter().map(point).collect()
    }

    fn check(fusion: &Fusion, lists: &[&[(u64, f32)]], expected: &[(u64, f32)]) {
        let fused = fuse(fusion, lists.iter().map(|l| list(l)).collect()).expect("fuses");
        let found: Vec<PointId> = fused.iter().map(|p| p.id).collect();
        assert_eq!(found, expected.iter().map(|(id, _)| PointId::Num(*id)).collect::<Vec<_>>());
        for (point, (id, score)) in fused.iter().zip(expected) {
            assert!((point.score - score).abs() < 1e-6, "{id} of {lists:?}: {}, not {score}", point.score);
        }
    }

    #[test]
    fn places_are_summed_up() {
        let rrf = |k, weights: Option<&[f32]>| Fusion::Rrf { k, weights: weights.map(<[f32]>::to_vec) };
        let (a, b): (&[_], &[_]) = (&[(1, 9.0), (2, 8.0), (3, 7.0)], &[(3, 0.1), (1, 0.2)]);
        let half = 1.0 / 2.0;
        check(&rrf(None, None), &[a, b], &[(1, half + 1.0 / 3.0), (2, 1.0 / 3.0), (3, 0.25 + half)]);
        check(&rrf(Some(60), None), &[a], &[(1, 1.0 / 60.0), (2, 1.0 / 61.0), (3, 1.0 / 62.0)]);
        let weighted = rrf(Some(1), Some(&[2.0, 0.0]));
        check(&weighted, &[a, b], &[(1, 2.0), (2, 1.0), (3, 2.0 / 3.0)]);
        check(&rrf(Some(1), Some(&[f32::INFINITY])), &[b], &[(3, f32::MAX), (1, f32::MAX)]);
        check(&rrf(None, None), &[&[], &[]], &[]);
        let refused = fuse(&rrf(None, Some(&[1.0, 2.0])), vec![list(a)]).expect_err("two weights");
        assert_eq!(
            refused.text,
            "Wrong input: Validation failed: RRF weights length (2) does not match number of prefetches (1)"
        );
    }

    #[test]
    fn scores_are_brought_to_one_scale() {
        let (a, b): (&[_], &[_]) = (&[(1, 3.0), (2, 2.0), (3, 1.0)], &[(2, 7.0)]);
        // Deviation 1 around 2: from -1 to 5.
        check(&Fusion::Dbsf, &[a, b], &[(1, 4.0 / 6.0), (2, 0.5 + 0.5), (3, 2.0 / 6.0)]);
        check(&Fusion::Dbsf, &[&[(1, 4.0), (2, 4.0)]], &[(1, 0.5), (2, 0.5)]);
        let far = 0.5 + 1.0 / (6.0 * std::f32::consts::SQRT_2);
        check(&Fusion::Dbsf, &[&[(1, f32::MAX), (2, f32::MIN)]], &[(1, 0.5 + far - 0.5), (2, 1.0 - far)]);
    }
}
