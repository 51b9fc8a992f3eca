//! Slices of the id space: the same for every collection, shard and version, as the protocol defines them.

use crate::point_id::PointId;

/// Ids whose hash leaves `index` when it is divided by `total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    total: u32,
    index: u32,
}

impl Slice {
    /// None unless `index` is below `total`.
    pub fn new(total: u32, index: u32) -> Option<Self> {
        (index < total).then_some(Self { total, index })
    }

    /// Whether an id belongs to it.
    pub fn contains(&self, id: PointId) -> bool {
        let hash = match id {
            PointId::Num(n) => siphash(&[n], 8),
            PointId::Uuid(uuid) => {
                let (high, low) = uuid.as_u64_pair();
                siphash(&[high.swap_bytes(), low.swap_bytes()], 16)
            }
        };
        hash % u64::from(self.total) == u64::from(self.index)
    }

    /// How many of so many points it has, about.
    pub(super) fn share_of(&self, points: u32) -> u32 {
        points / self.total
    }
}

/// SipHash-2-4 (Aumasson, Bernstein 2012) with a key of zeros over whole little-endian words.
fn siphash(words: &[u64], bytes: u64) -> u64 {
    let mut v: [u64; 4] =
        [0x736f_6d65_7073_6575, 0x646f_7261_6e64_6f6d, 0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];
    // Of whole words nothing is left over; the last block has the length alone, in its highest byte.
    for word in words.iter().copied().chain([bytes << 56]) {
        v[3] ^= word;
        round(&mut v);
        round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use uuid::Uuid;

    use super::*;

    /// The standard library has the same hash, under a name that it advises against.
    #[allow(deprecated)]
    fn reference(bytes: &[u8]) -> u64 {
        let mut hasher = std::hash::SipHasher::new();
        hasher.write(bytes);
        hasher.finish()
    }

    #[test]
    fn the_hash_is_the_known_one() {
        for n in [0, 1, 7, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(siphash(&[n], 8), reference(&n.to_le_bytes()));
        }
        let uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        for total in [1, 2, 5, 1000] {
            let index = (reference(uuid.as_bytes()) % u64::from(total)) as u32;
            let holds = |i| Slice::new(total, i).is_some_and(|slice| slice.contains(PointId::Uuid(uuid)));
            assert!((0..total).all(|i| holds(i) == (i == index)));
        }
        assert_eq!((Slice::new(2, 2), Slice::new(0, 0)), (None, None));
    }
}
