//! Anonymous memory on huge pages for what a search reads at random: codes and links.
//!
//! Random reads of rows of some hundred bytes are 1.7 times faster from huge pages, and file mappings don't get
//! them. The kernel gives them on request (`MADV_HUGEPAGE`) where it has any; where not, this is plain memory.

use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use super::sealed::SealedFile;
use crate::distance::isa::LINE_BYTES;
use crate::error::{Error, Result};

const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Zeroed memory, aligned to a page at least.
pub struct HugeBuffer {
    map: NonNull<u8>,
    map_len: usize,
    /// Where the aligned part begins.
    start: usize,
    len: usize,
}

// SAFETY: the memory belongs to this value alone, like a boxed slice's.
unsafe impl Send for HugeBuffer {}
// SAFETY: shared references only read.
unsafe impl Sync for HugeBuffer {}

impl HugeBuffer {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Result<Self> {
        let huge = len >= HUGE_PAGE_BYTES;
        let map_len = if huge { len.next_multiple_of(HUGE_PAGE_BYTES) + HUGE_PAGE_BYTES } else { len.max(1) };
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping at an address of the kernel's choice touches nobody's memory.
        let map = unsafe { mmap_anonymous(std::ptr::null_mut(), map_len, protection, MapFlags::PRIVATE) }
            .map_err(|e| Error::io(format!("allocate {len} bytes for vectors"))(e.into()))?;
        let start = if huge { (map as usize).next_multiple_of(HUGE_PAGE_BYTES) - map as usize } else { 0 };
        if huge {
            // A kernel without huge pages refuses; the memory works all the same.
            // SAFETY: the range lies in the mapping just made, and the advice changes no content.
            let _ = unsafe { madvise(map.byte_add(start), map_len - HUGE_PAGE_BYTES, Advice::LinuxHugepage) };
        }
        let map = NonNull::new(map.cast()).expect("the kernel maps nothing at address zero");
        Ok(Self { map, map_len, start, len })
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Result<Self> {
        let mut copy = Self::zeroed(bytes.len())?;
        copy.copy_from_slice(bytes);
        Ok(copy)
    }
}

impl Deref for HugeBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start + len` bytes are mapped, initialised by the kernel, and live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(self.start), self.len) }
    }
}

impl DerefMut for HugeBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_ptr().add(self.start), self.len) }
    }
}

impl Drop for HugeBuffer {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrows from it any more.
        let unmapped = unsafe { munmap(self.map.as_ptr().cast(), self.map_len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Part of a sealed file, in RAM or mapped; verified either way.
pub enum Section {
    Ram(HugeBuffer),
    Mapped(SealedFile, Range<usize>),
}

impl Section {
    /// Verifies a range of the body and copies it if it is to be in RAM. Either way a range that begins at a multiple of
    /// a line of the body begins at one in memory, as kernels want it.
    pub fn load(file: &SealedFile, range: Range<u64>, ram: bool) -> Result<Self> {
        let bytes = file.checked(range.clone())?;
        // Maps begin at a page, but for those of simulated disks.
        let aligned = (bytes.as_ptr() as usize).is_multiple_of(LINE_BYTES);
        Ok(match ram || !aligned {
            true => Section::Ram(HugeBuffer::copy_of(bytes)?),
            false => Section::Mapped(file.clone(), range.start as usize..range.end as usize),
        })
    }

    /// Bytes held in RAM.
    pub fn ram_bytes(&self) -> u64 {
        match self {
            Section::Ram(buffer) => buffer.len() as u64,
            Section::Mapped(..) => 0,
        }
    }
}

impl Deref for Section {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Section::Ram(buffer) => buffer,
            Section::Mapped(file, range) => &file.bytes()[range.clone()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(len: usize) {
        let mut buffer = HugeBuffer::zeroed(len).expect("memory");
        assert_eq!(buffer.len(), len);
        assert_eq!(buffer.as_ptr() as usize % 4096, 0);
        assert!(buffer.iter().all(|&b| b == 0));
        buffer.fill(7);
        assert_eq!(&*HugeBuffer::copy_of(&buffer).expect("memory"), &*buffer);
    }

    #[test]
    fn memory_is_zeroed_aligned_and_writable_to_its_end() {
        for len in [0, 1, 4096, HUGE_PAGE_BYTES - 1, HUGE_PAGE_BYTES, 3 * HUGE_PAGE_BYTES + 5] {
            check(len);
        }
    }
}
