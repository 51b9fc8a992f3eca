//! Vectors as points carry them.

/// One vector of a point. More kinds (sparse, multi) join as variants; the log's encoding has room for them.
#[derive(Clone, Debug, PartialEq)]
pub enum Vector {
    /// One `f32` for each dimension.
    Dense(Vec<f32>),
}

impl Vector {
    /// The dense components.
    pub fn as_dense(&self) -> Option<&[f32]> {
        match self {
            Vector::Dense(v) => Some(v),
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
