//! The log on the real disk, and what can be said about single files.

use std::path::Path;
use std::sync::Arc;

use super::{Record, Recovered, Wal, WalIdentity, WalOptions};
use crate::error::Error;
use crate::file::{Disk, RealDisk};

const SMALL: WalOptions = WalOptions { file_bytes: 32 << 10, batch_bytes_max: 1 << 20 };

fn identity() -> WalIdentity {
    WalIdentity { collection_uid: [7; 16], copy_id: [9; 16] }
}

fn record(seq: u64) -> Record {
    Record {
        seq,
        term: 1 + seq / 50,
        kind: (seq % 5) as u8,
        body: vec![seq as u8; (seq * 37 % 900) as usize],
    }
}

fn create(dir: &Path) -> Wal {
    Wal::create(Arc::new(RealDisk), dir, identity(), 1, SMALL).expect("a new log")
}

fn open(dir: &Path, applied: u64) -> crate::Result<(Wal, Recovered)> {
    Wal::open(Arc::new(RealDisk), dir, identity(), applied, SMALL)
}

fn write(wal: &mut Wal, count: u64) {
    for _ in 0..count {
        wal.append(&record(wal.last_seq() + 1)).expect("append");
        wal.commit().expect("commit");
    }
}

fn check_records(recovered: &Recovered, first: u64, last: u64) {
    let expected: Vec<Record> = (first..=last).map(record).collect();
    assert_eq!(recovered.records, expected);
}

#[test]
fn what_was_committed_is_recovered_in_order_across_files() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut wal = create(dir.path());
    assert!(Wal::create(Arc::new(RealDisk), dir.path(), identity(), 1, SMALL).is_err());
    for round in 1..=5u64 {
        write(&mut wal, 60);
        if round % 2 == 0 {
            wal.mark_idle().expect("mark");
        }
        drop(wal);
        let (again, recovered) = open(dir.path(), 10).expect("open");
        assert!(!recovered.torn_tail);
        check_records(&recovered, 11, round * 60);
        wal = again;
    }
    assert!(wal.files() > 4);
}

#[test]
fn a_batch_is_committed_or_dropped_as_a_whole() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut wal = create(dir.path());
    (1..=10).for_each(|seq| wal.append(&record(seq)).expect("append"));
    assert_eq!(wal.last_seq(), 0);
    assert_eq!(wal.commit().expect("commit"), 10);
    (11..=20).for_each(|seq| wal.append(&record(seq)).expect("append"));
    wal.discard();
    write(&mut wal, 1);
    check_records(&open(dir.path(), 0).expect("open").1, 1, 11);
}

#[test]
fn files_below_a_sequence_number_go_and_the_rest_stays() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut wal = create(dir.path());
    write(&mut wal, 300);
    let files = wal.files();
    wal.truncate_before(150).expect("truncate");
    assert!(wal.files() < files && wal.first_seq() <= 150 && wal.first_seq() > 50);
    let first = wal.first_seq();
    drop(wal);
    check_records(&open(dir.path(), first - 1).expect("open").1, first, 300);
    let too_old = open(dir.path(), first - 2).err().expect("a gap");
    assert!(too_old.to_string().contains("the segments end at"), "{too_old}");
    let too_new = open(dir.path(), 301).err().expect("the log lost its end");
    assert!(too_new.to_string().contains("the log ends at 300"), "{too_new}");
}

#[test]
fn files_of_another_copy_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    create(dir.path());
    let other = WalIdentity { copy_id: [1; 16], ..identity() };
    let error = Wal::open(Arc::new(RealDisk), dir.path(), other, 0, SMALL).err().expect("refused");
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[test]
fn a_missing_file_is_damage() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    write(&mut create(dir.path()), 300);
    let names = RealDisk.list(dir.path()).expect("list");
    RealDisk.remove_file(&dir.path().join(&names[2])).expect("remove");
    assert!(matches!(open(dir.path(), 0), Err(Error::Corrupt { .. })));
}

#[test]
fn a_clean_reopening_goes_on_in_the_same_file() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut wal = create(dir.path());
    for _ in 0..10 {
        write(&mut wal, 1);
        wal.mark_idle().expect("mark");
        drop(wal);
        wal = open(dir.path(), 0).expect("open").0;
        assert_eq!(wal.files(), 1);
    }
    check_records(&open(dir.path(), 0).expect("open").1, 1, 10);
}

/// Writes 100 records, cuts behind `keep`, writes 30 more of a later term, and reads them before and after a restart.
fn check_cut(keep: u64) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut wal = create(dir.path());
    write(&mut wal, 100);
    wal.mark_idle().expect("mark");
    wal.cut_after(keep).expect("cut");
    assert_eq!(wal.last_seq(), keep.min(100));
    let again = |seq| Record { seq, term: 9, kind: 3, body: vec![seq as u8; 300] };
    let new: Vec<Record> = (keep.min(100) + 1..).take(30).map(again).collect();
    for record in &new {
        wal.append(record).expect("append");
        wal.commit().expect("commit");
    }
    let expected: Vec<Record> = (1..=keep.min(100)).map(record).chain(new).collect();
    assert_eq!(wal.read_from(1, usize::MAX).expect("read"), expected);
    drop(wal);
    let (wal, recovered) = open(dir.path(), 0).expect("open");
    assert_eq!(recovered.records, expected);
    let from = keep.min(100) + 5;
    let read = wal.read_from(from, 1000).expect("read");
    assert_eq!(read, expected[from as usize - 1..from as usize + 2], "300 bytes each, 1000 at most");
    assert_eq!(wal.read_from(wal.last_seq() + 1, 1000).expect("read"), []);
}

#[test]
fn what_is_cut_off_is_gone_and_others_take_its_place() {
    [0, 1, 37, 60, 99, 100, 101].into_iter().for_each(check_cut);
}

#[test]
fn a_log_is_read_from_any_record_and_cut_twice_at_one_place() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut wal = create(dir.path());
    write(&mut wal, 200);
    for first in (1..=200).step_by(13) {
        let expected: Vec<Record> = (first..=200).map(record).collect();
        assert_eq!(wal.read_from(first, usize::MAX).expect("read"), expected);
    }
    for _ in 0..3 {
        wal.cut_after(120).expect("cut");
        write(&mut wal, 7);
    }
    wal.cut_after(120).expect("cut");
    drop(wal);
    check_records(&open(dir.path(), 0).expect("open").1, 1, 120);
    let mut wal = open(dir.path(), 0).expect("open").0;
    wal.truncate_before(60).expect("truncate");
    assert!(matches!(wal.read_from(1, 9), Err(Error::BadInput(_))));
    assert!(matches!(wal.cut_after(1), Err(Error::BadInput(_))));
    write(&mut wal, 3);
    drop(wal);
    assert_eq!(open(dir.path(), 60).expect("open").0.last_seq(), 123);
}
