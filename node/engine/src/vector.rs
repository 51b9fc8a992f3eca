//! Vectors as points carry them.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::config::Distance;
use crate::error::{Error, Result};

/// One vector of a point.
#[derive(Clone, Debug, PartialEq)]
pub enum Vector {
    /// One `f32` for each dimension.
    Dense(Vec<f32>),
    Sparse(SparseVector),
    Multi(MultiVector),
}

/// Numbers of all rows of a multivector must be fewer.
pub const MULTI_NUMBERS_MAX: usize = 1 << 20;

/// Several vectors of one length, at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiVector {
    dim: usize,
    /// One vector behind the other.
    numbers: Vec<f32>,
}

impl MultiVector {
    /// # Errors
    /// [`Error::BadInput`] if there is none, one is empty or of another length, or there are too many numbers.
    pub fn new(rows: Vec<Vec<f32>>) -> Result<Self> {
        let dim = rows.first().map_or(0, Vec::len);
        if let Some(other) = rows.iter().find(|row| row.len() != dim) {
            return Err(Error::BadInput(format!(
                "all vectors must have the same dimension, found vector with dimension {}",
                other.len()
            )));
        }
        Self::of_numbers(dim, rows.concat())
    }

    /// Rows of `dim` numbers, one behind the other.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_numbers(dim: usize, numbers: Vec<f32>) -> Result<Self> {
        if numbers.is_empty() {
            return Err(Error::BadInput("multi vector must not be empty".into()));
        }
        if dim == 0 || !numbers.len().is_multiple_of(dim) {
            return Err(Error::BadInput(format!(
                "{} numbers are no vectors of {dim} dimensions",
                numbers.len()
            )));
        }
        if numbers.len() >= MULTI_NUMBERS_MAX {
            return Err(Error::BadInput(format!(
                "Total size of all vectors ({}) must be less than {MULTI_NUMBERS_MAX}",
                numbers.len()
            )));
        }
        Ok(Self { dim, numbers })
    }

    /// All of it, to be read.
    pub fn row(&self) -> MultiRow<'_> {
        MultiRow { dim: self.dim, numbers: &self.numbers }
    }

    /// Each vector by itself.
    pub fn to_rows(&self) -> Vec<Vec<f32>> {
        self.row().vectors().map(<[f32]>::to_vec).collect()
    }

    /// Each vector, to be changed in place.
    pub fn vectors_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.numbers.chunks_exact_mut(self.dim)
    }
}

/// A multivector where it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MultiRow<'a> {
    /// At least 1.
    pub dim: usize,
    /// One vector behind the other.
    pub numbers: &'a [f32],
}

impl<'a> MultiRow<'a> {
    /// How many vectors there are.
    pub fn count(self) -> usize {
        self.numbers.len() / self.dim
    }

    /// Each of them.
    pub fn vectors(self) -> impl Iterator<Item = &'a [f32]> {
        self.numbers.chunks_exact(self.dim)
    }

    /// MaxSim: the sum over the vectors of this one of the similarity to the most similar vector of the other. Panics if
    /// their dimensions differ.
    pub fn max_similarity(self, other: MultiRow<'_>, distance: Distance) -> f32 {
        let best = |one: &[f32]| {
            other.vectors().map(|v| distance.similarity(one, v)).fold(f32::NEG_INFINITY, f32::max)
        };
        self.vectors().map(best).sum()
    }

    /// A copy of its own.
    pub fn to_vector(self) -> MultiVector {
        MultiVector { dim: self.dim, numbers: self.numbers.to_vec() }
    }
}

/// The dimensions of a vector that are not zero, in ascending order, each once, and their values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseVector {
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl SparseVector {
    /// Puts dimensions in order.
    ///
    /// # Errors
    /// [`Error::BadInput`] if there are not as many values as indices, an index comes twice, or a value is not finite.
    pub fn new(indices: Vec<u32>, values: Vec<f32>) -> Result<Self> {
        if indices.len() != values.len() {
            return Err(Error::BadInput("a sparse vector has as many values as indices".into()));
        }
        if !values.iter().all(|v| v.is_finite()) {
            return Err(Error::BadInput("the values of a sparse vector are finite numbers".into()));
        }
        let (mut indices, mut values) = (indices, values);
        if !indices.is_sorted() {
            let mut pairs: Vec<(u32, f32)> = indices.into_iter().zip(values).collect();
            pairs.sort_unstable_by_key(|(index, _)| *index);
            (indices, values) = pairs.into_iter().unzip();
        }
        if indices.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::BadInput("the indices of a sparse vector are unique".into()));
        }
        Ok(Self { indices, values })
    }

    /// All of it, to be read.
    pub fn row(&self) -> SparseRow<'_> {
        SparseRow { indices: &self.indices, values: &self.values }
    }

    /// Indices and values.
    pub fn into_parts(self) -> (Vec<u32>, Vec<f32>) {
        (self.indices, self.values)
    }
}

/// A sparse vector where it is stored: as many values as indices, these ascending.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SparseRow<'a> {
    pub indices: &'a [u32],
    pub values: &'a [f32],
}

impl SparseRow<'_> {
    /// The sum of the products over common dimensions; `None` if there is no common one.
    pub fn dot(self, other: SparseRow<'_>) -> Option<f32> {
        let (mut i, mut k, mut common, mut sum) = (0, 0, false, 0.0f32);
        while i < self.indices.len() && k < other.indices.len() {
            match self.indices[i].cmp(&other.indices[k]) {
                Ordering::Less => i += 1,
                Ordering::Greater => k += 1,
                Ordering::Equal => {
                    sum += self.values[i] * other.values[k];
                    common = true;
                    i += 1;
                    k += 1;
                }
            }
        }
        common.then_some(sum)
    }

    /// A copy of its own.
    pub fn to_vector(self) -> SparseVector {
        SparseVector { indices: self.indices.to_vec(), values: self.values.to_vec() }
    }
}

impl Vector {
    /// The dense components.
    pub fn as_dense(&self) -> Option<&[f32]> {
        match self {
            Vector::Dense(v) => Some(v),
            Vector::Sparse(_) | Vector::Multi(_) => None,
        }
    }

    /// The sparse dimensions.
    pub fn as_sparse(&self) -> Option<&SparseVector> {
        match self {
            Vector::Dense(_) | Vector::Multi(_) => None,
            Vector::Sparse(v) => Some(v),
        }
    }

    /// The vectors of a multivector.
    pub fn as_multi(&self) -> Option<&MultiVector> {
        match self {
            Vector::Dense(_) | Vector::Sparse(_) => None,
            Vector::Multi(v) => Some(v),
        }
    }

    /// Memory of its numbers.
    pub fn bytes(&self) -> usize {
        match self {
            Vector::Dense(v) => size_of_val(v.as_slice()),
            Vector::Sparse(v) => size_of_val(v.indices.as_slice()) + size_of_val(v.values.as_slice()),
            Vector::Multi(v) => size_of_val(v.numbers.as_slice()),
        }
    }
}

/// The order of names, without a comparison of what an empty one has: glibc compares with masks of AVX-512, and a masked load from
/// where no memory is, as an empty `String` has it, takes 130 ns (measured with glibc 2.36 on Zen 5). Nearly all names are empty.
fn by_name(a: &str, b: &str) -> Ordering {
    match a.is_empty() || b.is_empty() {
        true => a.len().cmp(&b.len()),
        false => a.cmp(b),
    }
}

/// What a map has under the name of a vector, with the care of [`by_name`] for the unnamed one.
pub fn named<'a, T>(map: &'a BTreeMap<String, T>, name: &str) -> Option<&'a T> {
    if !name.is_empty() {
        return map.get(name);
    }
    // It is before all others.
    map.first_key_value().filter(|(first, _)| first.is_empty()).map(|(_, value)| value)
}

/// The vectors of one point by name, `""` being the unnamed one. Few, so a list: sorted by name, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamedVectors(Vec<(String, Vector)>);

impl NamedVectors {
    /// No vector.
    pub fn new() -> Self {
        Self::default()
    }

    /// The unnamed vector alone.
    pub fn unnamed(v: Vec<f32>) -> Self {
        Self(vec![(String::new(), Vector::Dense(v))])
    }

    /// Adds or replaces one.
    pub fn insert(&mut self, name: String, vector: Vector) {
        match self.0.binary_search_by(|(n, _)| by_name(n, &name)) {
            Ok(i) => self.0[i].1 = vector,
            Err(i) => self.0.insert(i, (name, vector)),
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, name: &str) -> Option<Vector> {
        let i = self.0.binary_search_by(|(n, _)| by_name(n, name)).ok()?;
        Some(self.0.remove(i).1)
    }

    /// The one of that name.
    pub fn get(&self, name: &str) -> Option<&Vector> {
        let i = self.0.binary_search_by(|(n, _)| by_name(n, name)).ok()?;
        Some(&self.0[i].1)
    }

    /// All of them in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Vector)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v))
    }

    /// All of them, to be changed in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Vector)> {
        self.0.iter_mut().map(|(n, v)| (n.as_str(), v))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Vector)> for NamedVectors {
    fn from_iter<T: IntoIterator<Item = (String, Vector)>>(iter: T) -> Self {
        let mut all = Self::new();
        for (name, vector) in iter {
            all.insert(name, vector);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_found_by_name_and_the_unnamed_one_too() {
        let check = |names: &[&str], wanted: &str| {
            let map: BTreeMap<String, &str> = names.iter().map(|n| ((*n).to_owned(), *n)).collect();
            let vectors: NamedVectors =
                names.iter().map(|n| ((*n).to_owned(), Vector::Dense(vec![n.len() as f32]))).collect();
            let expected = names.iter().find(|n| **n == wanted);
            assert_eq!(named(&map, wanted), expected, "{wanted:?} in {names:?}");
            let found = vectors.get(wanted).and_then(Vector::as_dense);
            assert_eq!(found, expected.map(|n| vec![n.len() as f32]).as_deref(), "{wanted:?} in {names:?}");
            assert!(vectors.iter().map(|(n, _)| n).is_sorted());
        };
        for wanted in ["", "a", "b", "none"] {
            check(&[], wanted);
            check(&[""], wanted);
            check(&["b", "a"], wanted);
            check(&["b", "", "a"], wanted);
        }
    }
}
