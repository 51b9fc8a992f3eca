//! Quantized codes of vectors: small enough to be read by the thousand, exact enough to find the candidates that
//! the raw vectors then put in order.

pub(crate) mod halves;
pub(crate) mod kernels;
pub(crate) mod lines;
pub(crate) mod rotation;
pub mod scalar;
pub(crate) mod sketch;
#[cfg(test)]
mod tests;

pub use scalar::{CodeForm, CodeQuery, CodesInRam, ScalarCodes};
