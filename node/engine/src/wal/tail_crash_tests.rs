//! Power loss, and every call failing, in a log whose end is cut off again and again: what stays is recovered, and what
//! was cut never comes back once the cut has returned.

use std::sync::Arc;

use super::{Record, Wal, WalIdentity, WalOptions};
use crate::error::Result;
use crate::file::SimDisk;
use crate::file::sim::{Cut, Fault};

const OPTIONS: WalOptions = WalOptions { file_bytes: 8 << 10, batch_bytes_max: 1 << 20 };
const DIR: &str = "/shard/wal";

fn identity() -> WalIdentity {
    WalIdentity { collection_uid: [7; 16], copy_id: [9; 16] }
}

fn open(disk: &SimDisk) -> Result<(Wal, Vec<Record>)> {
    let (wal, recovered) = Wal::open(Arc::new(disk.clone()), DIR, identity(), 0, OPTIONS)?;
    Ok((wal, recovered.records))
}

/// What must and what may be found from a call of the disk on.
#[derive(Clone)]
struct Known {
    calls: u64,
    floor: Vec<Record>,
    /// What may follow the floor, from its beginning.
    beyond: Vec<Record>,
    /// In the middle of a cut an end that was cut off before may show once more: nothing takes its place yet.
    cutting: bool,
}

struct Run {
    disk: SimDisk,
    wal: Wal,
    log: Vec<Record>,
    known: Vec<Known>,
}

impl Run {
    fn new(disk: SimDisk) -> Result<Self> {
        let wal = Wal::create(Arc::new(disk.clone()), DIR, identity(), 1, OPTIONS)?;
        let known =
            vec![Known { calls: disk.calls(), floor: Vec::new(), beyond: Vec::new(), cutting: false }];
        Ok(Self { disk, wal, log: Vec::new(), known })
    }

    fn note(&mut self, floor: usize, beyond: Vec<Record>, cutting: bool) {
        let floor = self.log[..floor].to_vec();
        self.known.push(Known { calls: self.disk.calls(), floor, beyond, cutting });
    }

    /// The same number does the same. Terms go up with every cut, as they do where logs disagree.
    fn step(&mut self, i: u64) -> Result<()> {
        let len = self.log.len();
        match i * 7 % 11 {
            3 => self.wal.mark_idle(),
            1 | 6 if len > 0 => {
                let keep = len.saturating_sub((i % 23) as usize);
                self.note(keep, self.log[keep..].to_vec(), true);
                self.wal.cut_after(keep as u64)?;
                self.log.truncate(keep);
                self.note(keep, Vec::new(), false);
                Ok(())
            }
            n => {
                let first = len as u64 + 1;
                let body = |seq: u64| vec![(seq + i) as u8; ((seq * 131 + i * 17) % 700) as usize];
                let record = |seq| Record { seq, term: 1 + i, kind: 1, body: body(seq) };
                let new: Vec<Record> = (first..first + 1 + n % 5).map(record).collect();
                self.note(len, new.clone(), false);
                for record in &new {
                    self.wal.append(record)?;
                }
                self.wal.commit()?;
                self.log.extend(new);
                self.note(self.log.len(), Vec::new(), false);
                Ok(())
            }
        }
    }

    fn known_at(&self, call: u64) -> &Known {
        &self.known[self.known.partition_point(|k| k.calls <= call).max(1) - 1]
    }
}

/// Opens what a crash left.
fn check(image: &SimDisk, known: &Known, what: &str) {
    let (wal, found) = open(image).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(found.starts_with(&known.floor), "{what}: {} of {} are there", found.len(), known.floor.len());
    let rest = &found[known.floor.len()..];
    let allowed = known.cutting || known.beyond.starts_with(rest);
    assert!(allowed, "{what}: {} records came back", rest.len());
    drop(wal);
    let (again, twice) =
        open(&image.after_power_loss(Cut::DropAll, 0)).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(found, twice, "{what}: a second loss of power changes what was read");
    drop(again);
}

fn steps() -> u64 {
    if std::env::var_os("QUIVER_FULL").is_some() { 400 } else { 120 }
}

#[test]
fn no_power_loss_brings_back_what_was_cut_or_loses_what_was_kept() {
    let disk = SimDisk::new();
    disk.record();
    let mut run = Run::new(disk.clone()).expect("no fault, no error");
    let begun = disk.calls();
    (0..steps()).for_each(|i| run.step(i).expect("no fault, no error"));
    let mut states = 0;
    let history = disk.history();
    history.for_each_crash(|point| {
        if (point.call as u64) < begun {
            return;
        }
        for cut in Cut::ALL {
            for seed in 0..if matches!(cut, Cut::DropAll | Cut::KeepAll) { 1 } else { 4 } {
                let what = format!("call {} of {}, {cut:?}, seed {seed}", point.call, history.len());
                check(&point.image(cut, seed), run.known_at(point.call as u64), &what);
                states += 1;
            }
        }
    });
    println!("{states} power losses");
    assert!(states > 3000, "{states}");
}

#[test]
fn a_cut_that_fails_leaves_what_was_to_stay() {
    let mut quiet = Run::new(SimDisk::new()).expect("no fault, no error");
    (0..60).for_each(|i| quiet.step(i).expect("no fault, no error"));
    let mut failed = 0;
    for fault in [Fault::Io, Fault::NoSpace, Fault::ShortWrite] {
        for call in 20..quiet.disk.calls() {
            let disk = SimDisk::new();
            let mut run = Run::new(disk.clone()).expect("no fault, no error");
            disk.fail_at(call, fault, false);
            let Some(at) = (0..60).find(|&i| run.step(i).is_err()) else { continue };
            failed += 1;
            let floor = run.known[run.known.len() - 1].floor.clone();
            if run.wal.poisoned().is_none() {
                // A full disk: the log goes on, with what it says that it has.
                assert!(run.wal.last_seq() as usize >= floor.len(), "{fault:?} at {call}, step {at}");
                let read = run.wal.read_from(1, usize::MAX).expect("read");
                assert!(read.starts_with(&floor), "{fault:?} at {call}, step {at}");
            }
            drop(run);
            disk.heal();
            let found = open(&disk).unwrap_or_else(|e| panic!("{fault:?} at {call}, step {at}: {e}")).1;
            assert!(found.starts_with(&floor), "{fault:?} at {call}, step {at}");
        }
    }
    assert!(failed > 200, "{failed}");
}
