//! Bytes in whole cache lines, aligned to them, so that kernels load without a split.

use crate::distance::isa::LINE_BYTES;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE_BYTES]);

/// A buffer of whole lines that is used again.
#[derive(Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    /// `bytes` zero bytes, signed; `bytes` is a multiple of a line.
    pub(crate) fn reset(&mut self, bytes: usize) -> &mut [i8] {
        assert!(bytes.is_multiple_of(LINE_BYTES));
        self.0.clear();
        self.0.resize(bytes / LINE_BYTES, Line([0; LINE_BYTES]));
        let lines: *mut Line = self.0.as_mut_ptr();
        // SAFETY: the lines are `bytes` initialised bytes, borrowed from `self`.
        unsafe { std::slice::from_raw_parts_mut(lines.cast(), bytes) }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len() * LINE_BYTES
    }

    /// Aligned to a line.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }
}
