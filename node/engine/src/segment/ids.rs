//! The ids of a sealed segment, sorted. Integers come first, then UUIDs, as the protocol orders them.
//!
//! A point's offset is its place among them, so one mapped array serves both directions; only a segment whose points
//! lie in the order of their tenants has two tables of places and offsets more.
//!
//! Body (docs/storage-format.md, "Segment"): number of integers, number of UUIDs (u64 each), the integers (u64),
//! padding to 16, the UUIDs (16 bytes, as printed); then, if offsets are no places, the offset of each place and the
//! place of each offset (u32 each).

use std::path::Path;

use uuid::Uuid;

use crate::error::{Error, Result};
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
    /// Where the offset of each place begins; `None` if an offset is a place.
    offsets_at: Option<usize>,
}

impl IdTable {
    /// Writes ids that ascend, and the offset of each if that is another than its place.
    pub fn write(
        disk: &dyn Disk,
        path: &Path,
        ids: impl Iterator<Item = PointId> + Clone,
        offsets: Option<&[u32]>,
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
        if let Some(offsets) = offsets {
            assert_eq!(offsets.len() as u64, all, "an offset for each id");
            let mut places = vec![0u32; offsets.len()];
            offsets.iter().enumerate().for_each(|(place, &offset)| places[offset as usize] = place as u32);
            out.write(cast::bytes(offsets))?;
            out.write(cast::bytes(&places))?;
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
        let (Some(total), Some(end), Some(uuids_at)) = (total, end, uuids_at) else {
            return Err(unfit(&file));
        };
        let offsets_at = match file.len().checked_sub(end) {
            Some(0) => None,
            Some(rest) if rest == total * 8 => Some(end as usize),
            _ => return Err(unfit(&file)),
        };
        let table =
            Self { nums: nums as u32, uuids: uuids as u32, uuids_at: uuids_at as usize, offsets_at, file };
        table.check_offsets()?;
        Ok(table)
    }

    /// That places and offsets lead to each other.
    fn check_offsets(&self) -> Result<()> {
        let Some((offsets, places)) = self.tables() else { return Ok(()) };
        let leads_back =
            |(offset, &place): (usize, &u32)| offsets.get(place as usize) == Some(&(offset as u32));
        match places.iter().enumerate().all(leads_back) {
            true => Ok(()),
            false => Err(self.file.corrupt("places and offsets do not lead to each other")),
        }
    }

    /// The offset of each place and the place of each offset, unless they are the same.
    fn tables(&self) -> Option<(&[u32], &[u32])> {
        let at = self.offsets_at?;
        let both = cast::as_u32(&self.file.bytes()[at..at + self.len() as usize * 8]);
        Some(both.split_at(self.len() as usize))
    }

    /// Whether an offset is a place.
    pub fn is_plain(&self) -> bool {
        self.offsets_at.is_none()
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

    fn id_at(&self, place: u32) -> PointId {
        if place < self.nums {
            PointId::Num(self.nums()[place as usize])
        } else {
            PointId::Uuid(Uuid::from_bytes(self.uuid(place - self.nums)))
        }
    }

    /// The id of an offset.
    pub fn id(&self, offset: u32) -> PointId {
        self.id_at(self.tables().map_or(offset, |(_, places)| places[offset as usize]))
    }

    /// The offset of an id.
    pub fn offset_of(&self, id: PointId) -> Option<u32> {
        let place = self.lower_bound(id);
        (place < self.len() && self.id_at(place) == id).then(|| self.offset_at(place))
    }

    /// The offset of the id at a place among all in their order.
    pub fn offset_at(&self, place: u32) -> u32 {
        self.tables().map_or(place, |(offsets, _)| offsets[place as usize])
    }

    /// The first place whose id is not below `id`.
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

fn unfit(file: &SealedFile) -> Error {
    file.corrupt("its length does not fit the number of ids")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::RealDisk;

    fn open(ids: &[PointId], offsets: Option<&[u32]>) -> Result<IdTable> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ids");
        let entry = IdTable::write(&RealDisk, &path, ids.iter().copied(), offsets).expect("writes");
        IdTable::open(&RealDisk, dir.path(), &entry)
    }

    fn check(ids: &[PointId], offsets: Option<&[u32]>) {
        let table = open(ids, offsets).expect("opens");
        assert_eq!(table.len() as usize, ids.len());
        for (place, id) in ids.iter().enumerate() {
            let offset = offsets.map_or(place as u32, |offsets| offsets[place]);
            assert_eq!(table.id(offset), *id);
            assert_eq!(table.offset_of(*id), Some(offset));
            assert_eq!(table.lower_bound(*id) as usize, place);
            assert_eq!(table.offset_at(place as u32), offset);
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
        check(&[], None);
        check(&[num(1), num(5), num(7)], None);
        check(&[num(1), num(5), num(7)], Some(&[1, 2, 0]));
        check(&[uuid(1), uuid(9)], None);
        check(&[uuid(1), uuid(9)], Some(&[1, 0]));
        check(&[num(0), num(5), num(7), uuid(0), uuid(1 << 100)], None);
        check(&[num(0), num(5), num(7), uuid(0), uuid(1 << 100)], Some(&[3, 1, 4, 0, 2]));
    }

    #[test]
    fn offsets_that_come_twice_are_refused() {
        let twice = open(&[PointId::Num(1), PointId::Num(5)], Some(&[1, 1]));
        assert!(matches!(twice, Err(Error::Corrupt { .. })));
    }
}
