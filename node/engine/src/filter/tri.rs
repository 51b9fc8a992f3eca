//! What is known of a filter without reading payloads: which points surely pass and which possibly do.

use crate::bitset::Bitset;

/// A bitmap, or one of the two that need no memory.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bits {
    None,
    All,
    Some(Bitset),
}

impl Bits {
    pub(super) fn and(self, other: Bits) -> Bits {
        match (self, other) {
            (Bits::None, _) | (_, Bits::None) => Bits::None,
            (Bits::All, bits) | (bits, Bits::All) => bits,
            (Bits::Some(mut a), Bits::Some(b)) => {
                a.and(&b);
                Bits::Some(a)
            }
        }
    }

    pub(super) fn or(self, other: Bits) -> Bits {
        match (self, other) {
            (Bits::All, _) | (_, Bits::All) => Bits::All,
            (Bits::None, bits) | (bits, Bits::None) => bits,
            (Bits::Some(mut a), Bits::Some(b)) => {
                a.or(&b);
                Bits::Some(a)
            }
        }
    }

    fn not(self) -> Bits {
        match self {
            Bits::None => Bits::All,
            Bits::All => Bits::None,
            Bits::Some(mut bits) => {
                bits.not();
                Bits::Some(bits)
            }
        }
    }

    pub(super) fn into_bitset(self, len: u32) -> Bitset {
        match self {
            Bits::None => Bitset::zeros(len),
            Bits::All => Bitset::ones(len),
            Bits::Some(bits) => bits,
        }
    }

    pub(super) fn count(&self, len: u32) -> u32 {
        match self {
            Bits::None => 0,
            Bits::All => len,
            Bits::Some(bits) => bits.count(),
        }
    }
}

/// Every point that is in `sure` passes, no point outside `possible` does.
#[derive(Clone, Debug)]
pub(super) struct Tri {
    pub(super) sure: Bits,
    /// None: the same as `sure`, so that nothing is left to find out.
    pub(super) possible: Option<Bits>,
}

impl Tri {
    pub(super) fn known(bits: Bits) -> Self {
        Self { sure: bits, possible: None }
    }

    /// At most these points pass.
    pub(super) fn at_most(bits: Bits) -> Self {
        Self { sure: Bits::None, possible: Some(bits) }
    }

    pub(super) fn unknown() -> Self {
        Self::at_most(Bits::All)
    }

    pub(super) fn possible(&self) -> &Bits {
        self.possible.as_ref().unwrap_or(&self.sure)
    }

    fn combine(self, other: Tri, with: fn(Bits, Bits) -> Bits) -> Tri {
        let possible = match (self.possible, other.possible) {
            (None, None) => None,
            (Some(a), None) => Some(with(a, other.sure.clone())),
            (None, Some(b)) => Some(with(self.sure.clone(), b)),
            (Some(a), Some(b)) => Some(with(a, b)),
        };
        Tri { sure: with(self.sure, other.sure), possible }
    }

    pub(super) fn and(self, other: Tri) -> Tri {
        self.combine(other, Bits::and)
    }

    pub(super) fn or(self, other: Tri) -> Tri {
        self.combine(other, Bits::or)
    }

    pub(super) fn not(self) -> Tri {
        match self.possible {
            None => Tri::known(self.sure.not()),
            Some(possible) => Tri { sure: possible.not(), possible: Some(self.sure.not()) },
        }
    }
}
