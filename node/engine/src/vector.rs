//! Vectors as points carry them.

use std::cmp::Ordering;

use crate::error::{Error, Result};

/// One vector of a point. More kinds (multi) join as variants; the log's encoding has room for them.
#[derive(Clone, Debug, PartialEq)]
pub enum Vector {
    /// One `f32` for each dimension.
    Dense(Vec<f32>),
    Sparse(SparseVector),
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
            Vector::Sparse(_) => None,
        }
    }

    /// The sparse dimensions.
    pub fn as_sparse(&self) -> Option<&SparseVector> {
        match self {
            Vector::Dense(_) => None,
            Vector::Sparse(v) => Some(v),
        }
    }

    /// Memory of its numbers.
    pub fn bytes(&self) -> usize {
        match self {
            Vector::Dense(v) => size_of_val(v.as_slice()),
            Vector::Sparse(v) => size_of_val(v.indices.as_slice()) + size_of_val(v.values.as_slice()),
        }
    }
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
        match self.0.binary_search_by(|(n, _)| n.as_str().cmp(&name)) {
            Ok(i) => self.0[i].1 = vector,
            Err(i) => self.0.insert(i, (name, vector)),
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, name: &str) -> Option<Vector> {
        let i = self.0.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
        Some(self.0.remove(i).1)
    }

    /// The one of that name.
    pub fn get(&self, name: &str) -> Option<&Vector> {
        let i = self.0.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
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
