//! Which shard owns a point: ranges of the 64-bit hash of its id.

use quiver_engine::PointId;
use quiver_engine::shard::Hashes;

/// An inclusive range of hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashRange {
    pub from: u64,
    pub to: u64,
}

impl HashRange {
    /// The range of shard `i` of `n` equal ones; together they cover every hash once.
    pub fn equal(i: u32, n: u32) -> Self {
        let bound = |i: u32| ((u128::from(i) << 64) / u128::from(n)) as u64;
        let to = if i + 1 == n { u64::MAX } else { bound(i + 1) - 1 };
        Self { from: bound(i), to }
    }

    /// What a call is sent for.
    pub fn asked(self) -> Option<Hashes> {
        Some(Hashes { first: self.from, last: self.to })
    }

    /// Whether all of another range is in this one.
    pub fn holds(self, other: HashRange) -> bool {
        self.from <= other.from && other.to <= self.to
    }

    /// Whether a point belongs here.
    pub fn owns(self, id: PointId) -> bool {
        (self.from..=self.to).contains(&id.hash64())
    }
}

/// Sorts what belongs to points into one list for each range, keeping their order. What no range owns is given back.
pub fn group<T>(ranges: &[HashRange], items: Vec<T>, id: impl Fn(&T) -> PointId) -> (Vec<Vec<T>>, Vec<T>) {
    let mut groups: Vec<Vec<T>> = ranges.iter().map(|_| Vec::new()).collect();
    if let ([all], [group]) = (ranges, groups.as_mut_slice())
        && all.from == 0
        && all.to == u64::MAX
    {
        *group = items;
        return (groups, Vec::new());
    }
    let mut homeless = Vec::new();
    for item in items {
        let hash = id(&item).hash64();
        match ranges.iter().position(|r| (r.from..=r.to).contains(&hash)) {
            Some(i) => groups[i].push(item),
            None => homeless.push(item),
        }
    }
    (groups, homeless)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ranges_cover_every_hash_once() {
        for n in [1, 2, 3, 6, 7, 1000] {
            let ranges: Vec<_> = (0..n).map(|i| HashRange::equal(i, n)).collect();
            assert_eq!((ranges[0].from, ranges[n as usize - 1].to), (0, u64::MAX));
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].to + 1, pair[1].from, "{n} shards");
            }
        }
    }

    #[test]
    fn points_spread_evenly() {
        let ranges: Vec<_> = (0..6).map(|i| HashRange::equal(i, 6)).collect();
        let (groups, homeless) = group(&ranges, (0..6000u64).collect(), |n| PointId::Num(*n));
        assert!(homeless.is_empty());
        for points in groups {
            assert!((800..1200).contains(&points.len()), "{} of 6000", points.len());
        }
    }
}
