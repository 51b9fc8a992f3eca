//! Point ids: an unsigned 64-bit integer or a UUID.

use std::fmt;

use uuid::Uuid;

/// The id of a point. The order is the protocol's: all integers, then all UUIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PointId {
    /// An unsigned integer.
    Num(u64),
    /// A UUID, always printed hyphenated in lower case.
    Uuid(Uuid),
}

impl PointId {
    /// The 64-bit hash that decides which shard owns the point. Fixed for ever: changing it would move
    /// points (docs/storage-format.md, "Hash of a point id").
    ///
    /// Integers: the finaliser of SplitMix64 (Steele, Lea, Flood 2014). UUIDs: the finaliser of the high half,
    /// XORed with the low half, finalised again after adding a constant that keeps them apart from integers.
    pub fn hash64(self) -> u64 {
        match self {
            PointId::Num(n) => mix(n),
            PointId::Uuid(u) => {
                let (high, low) = u.as_u64_pair();
                mix((mix(high) ^ low).wrapping_add(0x9e37_79b9_7f4a_7c15))
            }
        }
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl From<u64> for PointId {
    fn from(n: u64) -> Self {
        PointId::Num(n)
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PointId::Num(n) => n.fmt(f),
            PointId::Uuid(u) => u.hyphenated().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_never_changes() {
        assert_eq!(PointId::Num(0).hash64(), 0);
        assert_eq!(PointId::Num(1).hash64(), 0x5692_161d_100b_05e5);
        let u = PointId::Uuid(Uuid::from_u64_pair(1, 2));
        assert_eq!(u.hash64(), mix((0x5692_161d_100b_05e5u64 ^ 2).wrapping_add(0x9e37_79b9_7f4a_7c15)));
    }

    #[test]
    fn integers_come_before_uuids() {
        assert!(PointId::Num(u64::MAX) < PointId::Uuid(Uuid::nil()));
    }
}
