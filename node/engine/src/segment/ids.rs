//! The ids of a sealed segment, sorted: a point's offset is its place among them, so one mapped array serves
//! both directions. Integers come first, then UUIDs, as the protocol orders them.
//!
//! Body (docs/storage-format.md, "Segment"): number of integers, number of UUIDs (u64 each), the integers (u64),
//! padding to 16, the UUIDs (16 bytes, as printed).

use std::path::Path;

use uuid::Uuid;

use crate::error::Result;
use crate::file::{Disk, FileEntry, SealedFile, SealedWriter, cast};
use crate::point_id::PointId;

const KIND: [u8; 8] = *b"ids     ";
const HEAD: u64 = 16;

/// The sorted ids of a segment, mapped.
#[derive(Clone)]
pub struct IdTable {
    file: SealedFile,
    nums: u32,
    uuids: u32,
    uuids_at: usize,
}

impl IdTable {
    /// Writes ids that ascend.
    pub fn write(
        disk: &dyn Disk,
        path: &Path,
        ids: impl Iterator<Item = PointId> + Clone,
    ) -> Result<FileEntry> {
        let mut out = SealedWriter::create(disk, path, KIND)?;
        let nums = ids.clone().filter(|id| matches!(id, PointId::Num(_))).count() as u64;
        let all = ids.clone().count() as u64;
        out.write(&nums.to_le_bytes())?;
        out.write(&(all - nums).to_le_bytes())?;
        let mut last = None;
        for id in ids {
            assert!(last < Some(id), "ids of a segment ascend, each once");
            last = Some(id);
            match id {
                PointId::Num(n) => out.write(&n.to_le_bytes())?,
                PointId::Uuid(u) => {
                    out.align(16)?;
                    out.write(u.as_bytes())?;
                }
            }
        }
        out.finish()
    }

    /// Opens and verifies; afterwards no look-up can fail.
    pub fn open(disk: &dyn Disk, dir: &Path, entry: &FileEntry) -> Result<Self> {
        let file = SealedFile::open_entry(disk, dir, entry, KIND)?;
        file.verify_all()?;
        let head: &[u64] = cast::numbers(file.checked(0..HEAD)?)?;
        let (nums, uuids) = (head[0], head[1]);
        let nums_end = nums.checked_mul(8).and_then(|n| n.checked_add(HEAD));
        let uuids_at = nums_end.map(|n| n.next_multiple_of(16));
        let end =
            if uuids == 0 { nums_end } else { uuids_at.and_then(|a| a.checked_add(uuids.checked_mul(16)?)) };
        let total = nums.checked_add(uuids).filter(|t| *t < u64::from(u32::MAX));
        if total.is_none() || end != Some(file.len()) {
            return Err(file.corrupt("its length does not fit the number of ids"));
        }
        let uuids_at = uuids_at.expect("checked with the end") as usize;
        Ok(Self { nums: nums as u32, uuids: uuids as u32, uuids_at, file })
    }

    /// Number of ids.
    pub fn len(&self) -> u32 {
        self.nums + self.uuids
    }

    fn nums(&self) -> &[u64] {
        cast::as_u64(&self.file.bytes()[HEAD as usize..HEAD as usize + self.nums as usize * 8])
    }

    fn uuid(&self, i: u32) -> [u8; 16] {
        let at = self.uuids_at + i as usize * 16;
        self.file.bytes()[at..at + 16].try_into().expect("sixteen bytes")
    }

    /// The id of an offset.
    pub fn id(&self, offset: u32) -> PointId {
        if offset < self.nums {
            PointId::Num(self.nums()[offset as usize])
        } else {
            PointId::Uuid(Uuid::from_bytes(self.uuid(offset - self.nums)))
        }
    }

    /// The offset of an id.
    pub fn offset_of(&self, id: PointId) -> Option<u32> {
        let at = self.lower_bound(id);
        (at < self.len() && self.id(at) == id).then_some(at)
    }

    /// The first offset whose id is not below `id`.
    pub fn lower_bound(&self, id: PointId) -> u32 {
        match id {
            PointId::Num(n) => self.nums().partition_point(|x| *x < n) as u32,
            PointId::Uuid(u) => {
                let (mut low, mut high) = (0, self.uuids);
                while low < high {
                    let middle = low + (high - low) / 2;
                    if self.uuid(middle) < *u.as_bytes() { low = middle + 1 } else { high = middle }
                }
                self.nums + low
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::RealDisk;

    fn check(ids: &[PointId]) {
        let dir = tempfile::tempdir().expect("a folder");
        let entry = IdTable::write(&RealDisk, &dir.path().join("ids"), ids.iter().copied()).expect("writes");
        let table = IdTable::open(&RealDisk, dir.path(), &entry).expect("opens");
        assert_eq!(table.len() as usize, ids.len());
        for (offset, id) in ids.iter().enumerate() {
            assert_eq!(table.id(offset as u32), *id);
            assert_eq!(table.offset_of(*id), Some(offset as u32));
        }
        for missing in [PointId::Num(4), PointId::Num(u64::MAX), PointId::Uuid(Uuid::from_u128(3))] {
            assert_eq!(table.offset_of(missing), None);
            assert_eq!(table.lower_bound(missing) as usize, ids.partition_point(|id| *id < missing));
        }
    }

    #[test]
    fn offsets_and_ids_lead_to_each_other() {
        let num = PointId::Num;
        let uuid = |n| PointId::Uuid(Uuid::from_u128(n));
        check(&[]);
        check(&[num(1), num(5), num(7)]);
        check(&[uuid(1), uuid(9)]);
        check(&[num(0), num(5), num(7), uuid(0), uuid(1 << 100)]);
    }
}
