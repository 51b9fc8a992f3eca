//! Maximal marginal relevance (Carbonell, Goldstein 1998): of the nearest points, those that are not too like each other.

use quiver_api::collections::Distance;

/// How near two vectors are; higher is nearer, whatever the distance is.
fn similarity(a: &[f32], b: &[f32], distance: Distance) -> f32 {
    let pairs = a.iter().zip(b);
    match distance {
        Distance::Cosine | Distance::Dot => pairs.map(|(x, y)| x * y).sum(),
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
pub fn choose(candidates: &[(f32, &[f32])], distance: Distance, diversity: f32, count: usize) -> Vec<usize> {
    let relevant: Vec<f32> = candidates.iter().map(|(score, _)| relevance(*score, distance)).collect();
    let mut likest = vec![f32::NEG_INFINITY; candidates.len()];
    let mut left: Vec<usize> = (0..candidates.len()).collect();
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < count && !left.is_empty() {
        let worth = |i: usize| match chosen.is_empty() {
            true => relevant[i],
            false => (1.0 - diversity) * relevant[i] - diversity * likest[i],
        };
        let best = (0..left.len()).max_by(|a, b| worth(left[*a]).total_cmp(&worth(left[*b])));
        let next = left.swap_remove(best.expect("something is left"));
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
        let query = [1.0, 0.0];
        let vectors = [[0.9, 0.1], [0.9, 0.11], [0.5, -0.9], [0.8, 0.3]];
        let score = |v: &[f32; 2]| similarity(&query, v, Distance::Dot);
        let candidates: Vec<(f32, &[f32])> = vectors.iter().map(|v| (score(v), v.as_slice())).collect();
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
        let vectors = [[3.0f32], [1.0], [1.1]];
        let candidates: Vec<(f32, &[f32])> = vectors.iter().map(|v| (v[0], v.as_slice())).collect();
        for distance in [Distance::Euclid, Distance::Manhattan] {
            assert_eq!(choose(&candidates, distance, 0.0, 9), [1, 2, 0]);
        }
    }
}
