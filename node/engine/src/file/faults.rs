//! Reading ahead where mapped rows have to come from the disk.
//!
//! Rows met at random in a mapping are fetched one page fault after the other. While that happens, what will be read is
//! named to the kernel first, so that the disk reads all of it at the same time; while everything is in memory, this
//! costs a search one look at a counter.

use rustix::mm::{Advice, madvise};

const PAGE_BYTES: usize = 4096;
/// Batches that are read ahead after one that had to wait for the disk.
const BATCHES: u32 = 64;

/// Whether the rows that this thread reads are in memory.
#[derive(Default)]
pub(crate) struct Faults {
    /// Batches that are still to be read ahead.
    cold: u32,
    before: i64,
}

impl Faults {
    /// Begins a batch of reads.
    pub(crate) fn begin(&mut self, rows: &[&[f32]]) {
        self.before = waited();
        if self.cold > 0 {
            self.cold -= 1;
            rows.iter().for_each(|row| read_ahead(bytemuck::cast_slice(row)));
        }
    }

    /// Ends it.
    pub(crate) fn end(&mut self) {
        if waited() != self.before {
            self.cold = BATCHES;
        }
    }
}

/// Page faults of this thread that had to wait for the disk.
fn waited() -> i64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the structure is the call's to fill; zeros are a valid one should it fail.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    usage.ru_majflt
}

fn read_ahead(bytes: &[u8]) {
    let start = bytes.as_ptr() as usize / PAGE_BYTES * PAGE_BYTES;
    let end = bytes.as_ptr() as usize + bytes.len();
    // An error is a kernel that won't; the rows are read all the same.
    // SAFETY: the pages belong to a mapping that is borrowed, and the advice changes no content.
    let _ = unsafe { madvise(start as *mut _, end - start, Advice::WillNeed) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_ahead_is_what_was_there() {
        let rows: Vec<f32> = (0..10_000).map(|i| i as f32).collect();
        let parts: Vec<&[f32]> = rows.chunks(100).collect();
        let mut faults = Faults { cold: 1, before: 0 };
        faults.begin(&parts);
        faults.end();
        assert!(rows.iter().enumerate().all(|(i, &v)| v == i as f32));
    }
}
