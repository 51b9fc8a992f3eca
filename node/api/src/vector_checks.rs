//! What is refused of a vector before anybody knows which collection it is for.

use crate::point::Vector;
use crate::validate::Invalid;

/// Numbers of all rows of a multivector must be fewer.
pub const MULTI_NUMBERS_MAX: usize = 1 << 20;

impl Vector {
    /// Adds what is wrong with it, below `path`.
    pub fn validate(&self, path: &str, invalid: &mut Invalid) {
        match self {
            Vector::Sparse { indices, values } => sparse(indices, values, path, invalid),
            Vector::Multi(rows) => {
                if let Some(text) = multi(rows) {
                    invalid.add(format!("{path}.data"), text);
                }
            }
            Vector::Dense(_) | Vector::Inference(_) => {}
        }
    }
}

fn sparse(indices: &[u32], values: &[f32], path: &str, invalid: &mut Invalid) {
    if indices.len() != values.len() {
        let text = "Validation error: must be the same length as indices [{}]";
        invalid.add(format!("{path}.values"), text);
    }
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != indices.len() {
        invalid.add(format!("{path}.indices"), "Validation error: must be unique [{}]");
    }
}

fn multi(rows: &[Vec<f32>]) -> Option<String> {
    let Some(first) = rows.first() else { return Some("multi vector must not be empty".into()) };
    if rows.iter().any(Vec::is_empty) {
        return Some("all vectors must be non-empty".into());
    }
    let numbers: usize = rows.iter().map(Vec::len).sum();
    if numbers >= MULTI_NUMBERS_MAX {
        return Some(format!("Total size of all vectors ({numbers}) must be less than {MULTI_NUMBERS_MAX}"));
    }
    let other = rows.iter().find(|row| row.len() != first.len())?;
    Some(format!("all vectors must have the same dimension, found vector with dimension {}", other.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[&[f32]], expected: Option<&str>) {
        let rows: Vec<Vec<f32>> = rows.iter().map(|row| row.to_vec()).collect();
        assert_eq!(multi(&rows).as_deref(), expected, "{} rows", rows.len());
    }

    #[test]
    fn rows_of_a_multivector_have_one_length_and_are_not_too_many() {
        check(&[&[1.0, 2.0], &[3.0, 4.0]], None);
        check(&[], Some("multi vector must not be empty"));
        check(&[&[1.0], &[]], Some("all vectors must be non-empty"));
        let text = "all vectors must have the same dimension, found vector with dimension 2";
        check(&[&[1.0], &[1.0, 2.0]], Some(text));
        let half = vec![0.0; MULTI_NUMBERS_MAX / 2];
        check(
            &[&half, &half[1..], &[0.0]],
            Some("Total size of all vectors (1048576) must be less than 1048576"),
        );
    }
}
