//! Quantized codes of vectors.
