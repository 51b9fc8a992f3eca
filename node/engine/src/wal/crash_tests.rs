//! Power loss at every call of the log, every call failing, every kind of damage: what was acknowledged is
//! recovered, and nothing that was never attempted is.

use std::path::Path;
use std::sync::Arc;

use super::{Record, Recovered, Wal, WalIdentity, WalOptions};
use crate::error::{Error, Result};
use crate::file::sim::{Cut, Fault};
use crate::file::{Disk, SimDisk};

const OPTIONS: WalOptions = WalOptions { file_bytes: 24 << 10, batch_bytes_max: 1 << 20 };
const DIR: &str = "/shard/wal";

fn identity() -> WalIdentity {
    WalIdentity { collection_uid: [7; 16], copy_id: [9; 16] }
}

/// How often the long loops run.
fn full() -> bool {
    std::env::var_os("QUIVER_FULL").is_some()
}

/// A record that tells its place and which attempt at it it was.
fn record(seq: u64, attempt: u64) -> Record {
    let len = 8 + (seq * 131 + attempt * 17) % 1200;
    let mut body: Vec<u8> = (0..len).map(|i| (i * 7 + seq + attempt) as u8).collect();
    body[..8].copy_from_slice(&attempt.to_le_bytes());
    Record { seq, term: 1 + seq / 40, kind: (seq % 3) as u8, body }
}

/// What may and what must be found after the disk's first `calls` calls.
#[derive(Clone, Copy, Debug)]
struct Known {
    calls: u64,
    /// The manifest says that the segments have everything up to here.
    applied: u64,
    acked: u64,
    attempted: u64,
}

/// Runs the log as a shard would, and notes what it promised when.
struct Run {
    disk: SimDisk,
    wal: Option<Wal>,
    known: Vec<Known>,
    /// For each sequence number the attempts that were made at it.
    attempts: Vec<Vec<u64>>,
    attempt: u64,
}

impl Run {
    fn new(disk: SimDisk) -> Self {
        let known = vec![Known { calls: 0, applied: 0, acked: 0, attempted: 0 }];
        Self { disk, wal: None, known, attempts: vec![Vec::new()], attempt: 0 }
    }

    fn now(&self) -> Known {
        self.known[self.known.len() - 1]
    }

    fn note(&mut self, change: impl FnOnce(&mut Known)) {
        let mut known = Known { calls: self.disk.calls(), ..self.now() };
        change(&mut known);
        self.known.push(known);
    }

    fn create(&mut self) -> Result<()> {
        self.wal = Some(Wal::create(Arc::new(self.disk.clone()), DIR, identity(), 1, OPTIONS)?);
        Ok(())
    }

    fn reopen(&mut self) -> Result<()> {
        self.wal = None;
        let (wal, recovered) = open(&self.disk, self.now().applied)?;
        let last = wal.last_seq();
        self.check(&recovered, self.now(), last, "reopening");
        // What a reader may have seen from now on must never be lost.
        self.note(|k| k.acked = last);
        self.wal = Some(wal);
        Ok(())
    }

    fn write(&mut self, records: u64) -> Result<()> {
        let wal = self.wal.as_mut().expect("the log is open");
        let last = wal.last_seq();
        let known = Known {
            calls: self.disk.calls(),
            attempted: self.known[self.known.len() - 1].attempted.max(last + records),
            ..self.known[self.known.len() - 1]
        };
        self.known.push(known);
        for seq in last + 1..=last + records {
            self.attempt += 1;
            if self.attempts.len() <= seq as usize {
                self.attempts.push(Vec::new());
            }
            self.attempts[seq as usize].push(self.attempt);
            wal.append(&record(seq, self.attempt))?;
        }
        let acked = wal.commit()?;
        assert_eq!(acked, last + records);
        self.note(|k| k.acked = acked);
        Ok(())
    }

    fn truncate(&mut self) -> Result<()> {
        let applied = self.now().acked;
        self.note(|k| k.applied = applied);
        self.wal.as_mut().expect("the log is open").truncate_before(applied)
    }

    /// One step of the script; the same number does the same.
    fn step(&mut self, i: u64) -> Result<()> {
        if self.wal.is_none() {
            return if i == 0 { self.create() } else { self.reopen() };
        }
        match i * 7 % 23 {
            1 | 9 => self.wal.as_mut().expect("the log is open").mark_idle(),
            5 => self.truncate(),
            14 => self.reopen(),
            n => self.write(1 + n % 4),
        }
    }

    /// Acknowledged ⊆ recovered ⊆ attempted, by content.
    fn check(&self, recovered: &Recovered, known: Known, last: u64, what: &str) {
        let first = known.applied + 1;
        assert_eq!(recovered.records.len() as u64, (last + 1).saturating_sub(first), "{what}: {known:?}");
        assert!(last >= known.acked, "{what}: acknowledged up to {}, recovered up to {last}", known.acked);
        assert!(last <= known.attempted, "{what}: {last} was never attempted: {known:?}");
        for (seq, found) in (first..).zip(&recovered.records) {
            let attempt = u64::from_le_bytes(found.body[..8].try_into().expect("8 bytes"));
            assert!(
                self.attempts[seq as usize].contains(&attempt),
                "{what}: ({seq}, {attempt}) was never written"
            );
            assert_eq!(*found, record(seq, attempt), "{what}");
            // Acknowledged is the last attempt, and there is none after it.
            if seq <= known.acked {
                let last_attempt = self.attempts[seq as usize].last();
                assert!(known.calls < self.now().calls || last_attempt == Some(&attempt), "{what}: {seq}");
            }
        }
    }

    fn known_at(&self, call: u64) -> Known {
        let i = self.known.partition_point(|k| k.calls <= call);
        self.known[i - 1]
    }
}

fn open(disk: &SimDisk, applied: u64) -> Result<(Wal, Recovered)> {
    Wal::open(Arc::new(disk.clone()), DIR, identity(), applied, OPTIONS)
}

/// A recorded run without faults.
fn recorded(steps: u64, honest: bool) -> (Run, crate::file::sim::History) {
    let disk = SimDisk::new();
    disk.set_sync(honest);
    disk.record();
    let mut run = Run::new(disk.clone());
    (0..steps).for_each(|i| run.step(i).expect("no fault, no error"));
    let history = disk.history();
    (run, history)
}

/// Recovers one image; gives an error instead of failing so that a test can expect one.
fn recover(run: &Run, image: &SimDisk, known: Known, what: &str) -> std::result::Result<(), String> {
    if known.attempted == 0 {
        return Ok(());
    }
    let (wal, recovered) = open(image, known.applied).map_err(|e| format!("{what}: {e}"))?;
    let last = wal.last_seq();
    if last < known.acked {
        return Err(format!("{what}: {} was acknowledged, {last} recovered", known.acked));
    }
    run.check(&recovered, known, last, what);
    // It goes on, and what it recovered and what it writes next survive the next power loss.
    let mut wal = wal;
    wal.append(&record(last + 1, 0).with_term(wal.last_term())).map_err(|e| e.to_string())?;
    wal.commit().map_err(|e| format!("{what}: {e}"))?;
    let again = image.after_power_loss(Cut::DropAll, 0);
    let (_, twice) = open(&again, known.applied).map_err(|e| format!("{what}, again: {e}"))?;
    if twice.records.len() != recovered.records.len() + 1 || !twice.records.starts_with(&recovered.records) {
        return Err(format!("{what}: what was recovered is lost by the next power loss"));
    }
    Ok(())
}

impl Record {
    fn with_term(self, term: u64) -> Self {
        Self { term, ..self }
    }
}

#[test]
fn no_power_loss_loses_what_was_acknowledged() {
    let (run, history) = recorded(if full() { 600 } else { 200 }, true);
    let seeds = if full() { 60 } else { 12 };
    let mut states = 0;
    history.for_each_crash(|point| {
        let known = run.known_at(point.call as u64);
        for cut in Cut::ALL {
            let seeds = if matches!(cut, Cut::DropAll | Cut::KeepAll) { 1 } else { seeds };
            for seed in 0..seeds {
                let what = format!("call {} of {}, {cut:?}, seed {seed}", point.call, history.len());
                recover(&run, &point.image(cut, seed), known, &what).unwrap_or_else(|e| panic!("{e}"));
                states += 1;
            }
        }
    });
    println!("{states} power losses over {} calls", history.len());
    assert!(states > 3000);
}

#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    let (run, history) = recorded(60, false);
    let mut lost = 0;
    history.for_each_crash(|point| {
        let known = run.known_at(point.call as u64);
        let image = point.image(Cut::Subset, point.call as u64);
        lost += u32::from(recover(&run, &image, known, "no sync").is_err());
    });
    assert!(lost > 50, "only {lost} losses were noticed of {}", history.len());
}

#[test]
fn power_may_go_again_during_recovery() {
    let (run, history) = recorded(60, true);
    let mut states = 0;
    history.for_each_crash(|point| {
        let known = run.known_at(point.call as u64);
        if known.attempted == 0 || !point.call.is_multiple_of(if full() { 1 } else { 4 }) {
            return;
        }
        let image = point.image(Cut::Torn, point.call as u64);
        let again = image.fork();
        again.record();
        let (wal, first) = open(&again, known.applied).expect("recovery");
        assert!(wal.last_seq() >= known.acked);
        again.history().for_each_crash(|second| {
            for (seed, cut) in Cut::ALL.into_iter().enumerate() {
                let what = format!("call {}, then call {} of the recovery, {cut:?}", point.call, second.call);
                let image = second.image(cut, seed as u64 + point.call as u64);
                recover(&run, &image, known, &what).unwrap_or_else(|e| panic!("{e}"));
                states += 1;
            }
        });
        drop(first);
    });
    println!("{states} power losses during recovery");
    assert!(states > 300);
}

#[test]
fn every_failing_call_is_an_error_and_reopening_is_consistent() {
    let steps = if full() { 400 } else { 120 };
    let calls = recorded(steps, true).0.disk.calls();
    let mut runs = 0;
    for fault in [Fault::Io, Fault::NoSpace, Fault::ShortWrite] {
        for for_ever in [false, true] {
            for n in 0..calls {
                let what = format!("{fault:?} at {n}, for ever: {for_ever}");
                failing(steps, n, fault, for_ever, &what);
                runs += 1;
            }
        }
    }
    println!("{runs} runs with a failing call");
}

/// Runs the script with a fault; after an error other than a full disk, as after a restart of the process.
fn failing(steps: u64, n: u64, fault: Fault, for_ever: bool, what: &str) {
    let disk = SimDisk::new();
    let mut run = Run::new(disk.clone());
    disk.fail_at(n, fault, for_ever);
    let mut i = 0;
    while i < steps {
        match run.step(i) {
            Ok(()) => {}
            Err(Error::Corrupt { file, what: why }) if run.now().attempted > 0 => {
                panic!("{what}: {file}: {why}")
            }
            Err(e) if e.is_no_space() && run.wal.is_some() => {
                let wal = run.wal.as_ref().expect("just looked");
                assert!(wal.poisoned().is_none(), "{what}: a full disk poisons nothing: {e}");
            }
            Err(_) if run.now().attempted == 0 => return,
            Err(e) => {
                if let Some(wal) = &mut run.wal {
                    let poisoned = wal.poisoned().is_some();
                    assert!(poisoned || matches!(e, Error::Io { .. }), "{what}: {e}");
                    assert!(!poisoned || wal.commit().is_err(), "{what}: a poisoned log accepts nothing");
                }
                // The process restarts; the page cache, and what it lies about, stays.
                disk.heal();
                run.reopen().unwrap_or_else(|e| panic!("{what}, restarted: {e}"));
            }
        }
        i += 1;
    }
    disk.heal();
    if run.wal.is_none() || run.now().attempted == 0 {
        return;
    }
    for cut in Cut::ALL {
        let image = disk.after_power_loss(cut, n);
        recover(&run, &image, run.now(), what).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn every_failing_read_is_an_error_at_most() {
    let mut run = recorded(60, true).0;
    run.wal = None;
    let applied = run.now().applied;
    let before = run.disk.reads();
    open(&run.disk, applied).expect("no fault");
    for n in 0..run.disk.reads() - before {
        let disk = run.disk.fork();
        disk.fail_read_at(n);
        assert!(matches!(open(&disk, applied), Err(Error::Io { .. })), "read {n}");
        disk.heal();
        open(&disk, applied).expect("nothing was changed by the failed start");
    }
}

#[test]
fn a_full_disk_is_survived_and_used_again_when_there_is_space() {
    let mut most_refused = 0;
    for capacity in (8 << 10..80 << 10).step_by(1 << 10) {
        let disk = SimDisk::new();
        let mut run = Run::new(disk.clone());
        disk.set_capacity(Some(capacity));
        let mut refused = 0;
        for i in 0..80 {
            match run.step(if run.wal.is_none() && run.known.len() == 1 { 0 } else { i }) {
                Ok(()) => {}
                Err(e) => {
                    assert!(e.is_no_space(), "{capacity}: {e}");
                    refused += 1;
                }
            }
        }
        most_refused = most_refused.max(refused);
        disk.set_capacity(None);
        if run.wal.is_none() {
            run.create().expect("space again");
        }
        run.write(3).expect("space again");
        for cut in [Cut::DropAll, Cut::KeepAll] {
            let image = disk.after_power_loss(cut, 0);
            recover(&run, &image, run.now(), "after a full disk")
                .unwrap_or_else(|e| panic!("{capacity}: {e}"));
        }
    }
    assert!(most_refused > 20);
}

#[test]
fn an_unclean_log_opens_on_a_full_disk() {
    let (run, _) = recorded(59, true);
    let disk = run.disk.after_power_loss(Cut::KeepAll, 0);
    disk.set_capacity(Some(disk.used()));
    let (wal, recovered) = open(&disk, run.now().applied).expect("reads go on");
    run.check(&recovered, run.now(), wal.last_seq(), "full");
    let lost = disk.after_power_loss(Cut::DropAll, 0);
    let (wal, recovered) = open(&lost, run.now().applied).expect("again");
    run.check(&recovered, run.now(), wal.last_seq(), "full, then no power");
}

#[test]
fn damage_is_detected_or_harmless() {
    let mut run = recorded(if full() { 200 } else { 70 }, true).0;
    run.wal.as_mut().expect("open").mark_idle().expect("no fault");
    run.wal = None;
    let known = run.now();
    let disk = run.disk.after_power_loss(Cut::DropAll, 0);
    let files = disk.files();
    let (mut detected, mut harmless) = (0, 0);
    let mut judge = |disk: SimDisk, what: String| match open(&disk, known.applied) {
        Err(Error::Corrupt { .. }) => detected += 1,
        Err(e) => panic!("{what}: {e}"),
        Ok((wal, recovered)) => {
            run.check(&recovered, known, wal.last_seq(), &what);
            harmless += 1;
        }
    };
    let flips = if full() { 200_000 } else { 20_000 };
    for n in 0..flips {
        let (path, len) = &files[n % files.len()];
        let bit = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % (len * 8);
        let copy = disk.fork();
        copy.flip(path, bit);
        judge(copy, format!("bit {bit} of {}", path.display()));
    }
    for (path, len) in &files {
        let cut_to = |cut: u64| {
            let copy = disk.fork();
            copy.cut(path, cut);
            copy
        };
        for cut in (0..*len).step_by(97) {
            // The end of the last file is reserved space; whatever is cut before it was acknowledged. Only a cut exactly
            // behind a batch can't be told from that of a full disk: a byte more or less is seen.
            let opened = open(&cut_to(cut), known.applied);
            if opened.is_ok_and(|(wal, _)| wal.last_seq() < known.acked) {
                let seen = |cut| matches!(open(&cut_to(cut), known.applied), Err(Error::Corrupt { .. }));
                assert!(seen(cut - 1) && seen(cut + 1), "{} cut to {cut}", path.display());
            } else {
                judge(cut_to(cut), format!("{} cut to {cut}", path.display()));
            }
        }
    }
    println!("{detected} damages detected, {harmless} harmless");
    assert!(detected > flips / 2);
    assert!(Path::new(DIR).starts_with("/") && disk.exists(Path::new(DIR)));
}
