//! Slices of sealed files as numbers, and back. All formats are little-endian, as every machine we run on.

use crate::error::{Error, Result};

const _: () =
    assert!(cfg!(target_endian = "little"), "files are mapped as they are: little-endian machines only");

/// Numbers that may be read straight from a mapped file.
pub trait Plain: bytemuck::Pod {}
impl Plain for u8 {}
impl Plain for i8 {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for i64 {}
impl Plain for f32 {}
impl Plain for f64 {}
impl Plain for u128 {}

/// Bytes as numbers. An error if the slice is misaligned or its length does not fit, as in a damaged file.
pub fn numbers<T: Plain>(bytes: &[u8]) -> Result<&[T]> {
    bytemuck::try_cast_slice(bytes)
        .map_err(|e| Error::corrupt("mapped file", format!("section can't be read as numbers: {e}")))
}

/// Numbers as bytes.
pub fn bytes<T: Plain>(numbers: &[T]) -> &[u8] {
    bytemuck::cast_slice(numbers)
}

/// Bytes as `f32`; panics if misaligned, so only for sections that were opened through [`numbers`] before.
pub fn as_f32(bytes: &[u8]) -> &[f32] {
    bytemuck::cast_slice(bytes)
}

/// Bytes as `u32`; panics if misaligned.
pub fn as_u32(bytes: &[u8]) -> &[u32] {
    bytemuck::cast_slice(bytes)
}

/// Bytes as `u64`; panics if misaligned.
pub fn as_u64(bytes: &[u8]) -> &[u64] {
    bytemuck::cast_slice(bytes)
}
