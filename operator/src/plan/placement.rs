//! Which pod gets which shard. Pure.

use std::collections::BTreeMap;

/// For each shard of `missing` a pod out of `pods`: the one that has the fewest so far, and the first of those.
/// What is placed already stays where it is.
pub fn place(placed: &BTreeMap<i32, String>, missing: &[i32], pods: &[String]) -> BTreeMap<i32, String> {
    let mut load: BTreeMap<usize, usize> = (0..pods.len()).map(|p| (p, 0)).collect();
    for pod in placed.values() {
        if let Some(at) = pods.iter().position(|p| p == pod) {
            *load.entry(at).or_default() += 1;
        }
    }
    let mut placement = BTreeMap::new();
    for &shard in missing {
        let Some((&at, _)) = load.iter().min_by_key(|&(at, n)| (*n, *at)) else { return placement };
        *load.entry(at).or_default() += 1;
        placement.insert(shard, pods[at].clone());
    }
    placement
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pods(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("docs-{i}")).collect()
    }

    proptest! {
        #[test]
        fn every_shard_has_a_pod_and_no_pod_has_two_more_than_another(shards in 1i32..257, nodes in 1usize..40) {
            let all: Vec<i32> = (0..shards).collect();
            let placed = place(&BTreeMap::new(), &all, &pods(nodes));
            prop_assert_eq!(placed.len(), all.len());
            let load = |pod: &String| placed.values().filter(|p| *p == pod).count();
            let loads: Vec<usize> = pods(nodes).iter().map(load).collect();
            let (least, most) = (loads.iter().min().expect("a pod"), loads.iter().max().expect("a pod"));
            prop_assert!(most - least <= 1, "{:?}", loads);
        }

        #[test]
        fn an_interrupted_placement_goes_on_as_it_began(shards in 1i32..100, nodes in 1usize..20, cut in 0i32..100) {
            let all: Vec<i32> = (0..shards).collect();
            let whole = place(&BTreeMap::new(), &all, &pods(nodes));
            let cut = cut.min(shards);
            let (first, rest) = all.split_at(usize::try_from(cut).expect("positive"));
            let mut placed = place(&BTreeMap::new(), first, &pods(nodes));
            placed.extend(place(&placed.clone(), rest, &pods(nodes)));
            prop_assert_eq!(placed, whole);
        }
    }
}
