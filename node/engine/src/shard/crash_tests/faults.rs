//! Every call failing in every way, and a full disk.

use std::path::Path;

use super::script::{Run, Script, Step};
use super::{compare, full, open};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::file::sim::{Cut, Fault};
use crate::file::{Disk, SimDisk};
use crate::operation::{Operation, PointWrite, Selection, UpdateMode};
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::shard::Shard;
use crate::vector::NamedVectors;

/// What became of a step.
enum Became {
    Done,
    /// Refused; the shard goes on.
    Refused,
    /// The shard is to be opened again.
    Stopped,
}

/// Does a step and looks at the shard whatever became of it: the view is the model's state before or after it.
fn step(run: &mut Run<'_>, step: &Step, what: &str) -> Became {
    let before = run.now().acked.expect("the shard exists");
    let result = run.step(step);
    let after = run.now().attempted;
    let Some(shard) = &run.shard else {
        let error = result.expect_err("reopening failed");
        assert!(!matches!(error, Error::Corrupt { .. }), "{what}, {step:?}: {error}");
        return Became::Stopped;
    };
    let seq = shard.view().seq();
    assert!((before..=after).contains(&seq), "{what}, {step:?}: shows {seq}, not {before}..={after}");
    compare(shard, &run.script.models[seq as usize]).unwrap_or_else(|e| panic!("{what}, {step:?}: {e}"));
    match result {
        Ok(()) => Became::Done,
        Err(e) => judge(run, &e, seq, before, what),
    }
}

fn judge(run: &mut Run<'_>, e: &Error, seq: u64, before: u64, what: &str) -> Became {
    assert!(!matches!(e, Error::Corrupt { .. }), "{what}: a failing call is no damage: {e}");
    let poisoned = run.shard().poisoned().is_some();
    if e.is_no_space() {
        assert!(!poisoned, "{what}: a full disk stops nothing: {e}");
    }
    if seq > before {
        // Durable and visible, and yet an error (an index that could not be built): it counts.
        run.note(Some(seq), seq);
    }
    if poisoned { Became::Stopped } else { Became::Refused }
}

/// Runs a script with one fault. After an error the rest is done as after a restart.
fn run_with(script: &Script, n: u64, fault: Fault, for_ever: bool) {
    let what = format!("{fault:?} at {n}, for ever: {for_ever}");
    let disk = SimDisk::new();
    disk.fail_at(n, fault, for_ever);
    let mut run = Run::new(script, disk.clone());
    if run.create().is_err() {
        return;
    }
    for s in &script.steps {
        let writes = u64::from(matches!(s, Step::Write(_)));
        let target = run.now().acked.expect("the shard exists") + writes;
        let mut attempts = 0;
        loop {
            match step(&mut run, s, &what) {
                Became::Done => {}
                Became::Refused => disk.heal(),
                Became::Stopped => restart(&mut run, &what),
            }
            // A write that was refused is asked for again, so that the model goes on.
            if run.now().acked >= Some(target) {
                break;
            }
            attempts += 1;
            assert!(attempts < 3, "{what}: {s:?} fails again and again");
        }
    }
    let end = run.now();
    for cut in [Cut::DropAll, Cut::KeepAll, Cut::Torn] {
        let image = disk.after_power_loss(cut, n);
        let shard = open(&image).unwrap_or_else(|e| panic!("{what}, then {cut:?}: {e}"));
        let seq = shard.view().seq();
        assert_eq!(Some(seq), end.acked, "{what}, then {cut:?}");
        compare(&shard, &script.models[seq as usize]).unwrap_or_else(|e| panic!("{what}, then {cut:?}: {e}"));
    }
}

/// The process starts again. The page cache, and what it lies about, stays.
fn restart(run: &mut Run<'_>, what: &str) {
    run.disk.heal();
    run.reopen().unwrap_or_else(|e| panic!("{what}, started again: {e}"));
    let (seq, known) = (run.shard().view().seq(), run.now());
    assert!(seq >= known.acked.expect("it exists") && seq <= known.attempted, "{what}: {seq}, {known:?}");
    compare(run.shard(), &run.script.models[seq as usize])
        .unwrap_or_else(|e| panic!("{what}, started again: {e}"));
    run.note(Some(seq), seq);
}

#[test]
fn every_failing_call_is_an_error_or_a_clean_stop() {
    let script = Script::new(11, if full() { 90 } else { 60 });
    let disk = SimDisk::new();
    let mut run = Run::new(&script, disk.clone());
    run.create().expect("no fault");
    script.steps.iter().for_each(|s| run.step(s).expect("no fault"));
    drop(run);
    let (calls, mut runs) = (disk.calls(), 0);
    for n in 0..calls {
        let all =
            [Fault::Io, Fault::NoSpace, Fault::ShortWrite].into_iter().flat_map(|f| [(f, false), (f, true)]);
        for (i, (fault, for_ever)) in all.enumerate() {
            if full() || n % 3 == i as u64 % 3 {
                run_with(&script, n, fault, for_ever);
                runs += 1;
            }
        }
    }
    println!("{runs} runs of {calls} calls, one failing");
}

#[test]
fn a_failing_read_stops_a_start_and_harms_nothing() {
    let script = Script::new(5, 70);
    let mut run = Run::new(&script, SimDisk::new());
    run.create().expect("no fault");
    script.steps.iter().for_each(|s| run.step(s).expect("no fault"));
    run.shard = None;
    let disk = run.disk.fork();
    open(&disk).expect("no fault");
    for n in 0..disk.reads() {
        let copy = run.disk.fork();
        copy.fail_read_at(n);
        let error = open(&copy).err().unwrap_or_else(|| panic!("read {n} failed and nobody noticed"));
        assert!(!matches!(error, Error::Corrupt { .. }), "read {n}: {error}");
        copy.heal();
        let shard = open(&copy).expect("nothing was harmed");
        compare(&shard, script.models.last().expect("one")).unwrap_or_else(|e| panic!("read {n}: {e}"));
    }
}

fn upsert(shard: &Shard, from: u64) -> Result<()> {
    let points = (from..from + 20).map(|n| PointWrite {
        id: PointId::Num(n),
        vectors: NamedVectors::unnamed((0..6).map(|i| (n * 7 + i) as f32).collect()),
        payload: RawPayload::from_json_bytes(format!("{{\"v\":{n}}}").as_bytes()),
    });
    let op = Operation::Upsert { points: points.collect(), mode: UpdateMode::Upsert, condition: None };
    shard.write(op).map(|_| ())
}

#[test]
fn a_full_disk_refuses_writes_keeps_reading_and_recovers_by_itself() {
    let script = Script::new(1, 0);
    let disk = SimDisk::new();
    disk.set_capacity(Some(1 << 20));
    let mut run = Run::new(&script, disk.clone());
    run.create().expect("there is space");
    let shard = run.shard.take().expect("just created");
    let pool = super::pool();
    let mut written = 0;
    let refused = loop {
        match upsert(&shard, written) {
            Ok(()) => written += 20,
            Err(e) => break e,
        }
        // Fails for lack of space before the writes do, and costs nothing then.
        if written % 400 == 0 {
            let _ = shard.flush();
        }
    };
    assert!(matches!(refused, Error::NoSpace(_)), "{refused}");
    let read = |expected: u64| {
        assert_eq!(shard.view().points(), expected);
        let ids = shard.view().scroll(None, None, usize::MAX, &Cancel::new()).expect("reads go on").0;
        assert_eq!(ids.len() as u64, expected);
    };
    read(written);
    let half = (0..written / 2).map(PointId::Num).collect();
    shard
        .write(Operation::Delete(Selection::Ids(half)))
        .expect("deletions are taken while upserts are refused");
    read(written - written / 2);
    assert!(matches!(upsert(&shard, written), Err(Error::NoSpace(_))), "still full");
    // The space that the deletions free is found by the optimizer alone.
    for _ in 0..5 {
        shard.optimize(&pool, &Cancel::new()).expect("there is room for a smaller segment");
        shard.flush().expect("and for the deletions");
    }
    upsert(&shard, written).expect("space was freed");
    read(written - written / 2 + 20);
    drop(shard);
    let again = open(&disk.after_power_loss(Cut::DropAll, 0)).expect("nothing was harmed");
    assert_eq!(again.view().points(), written - written / 2 + 20);
}

#[test]
fn a_disk_without_a_byte_left_stops_nothing_for_good() {
    let script = Script::new(17, 70);
    for room in (0..400 << 10).step_by(if full() { 1 << 10 } else { 16 << 10 }) {
        let disk = SimDisk::new();
        let mut run = Run::new(&script, disk.clone());
        run.create().expect("no limit yet");
        disk.set_capacity(Some(disk.used() + room));
        let (mut refused, what) = (0, format!("{room} bytes of room"));
        for s in &script.steps {
            match step(&mut run, s, &what) {
                Became::Done => {}
                Became::Stopped => restart(&mut run, &what),
                Became::Refused => refused += 1,
            }
            if run.now().acked != Some(run.now().attempted) {
                // As after a clean-up of the volume; the same write is taken now.
                disk.set_capacity(None);
                assert!(
                    matches!(step(&mut run, s, &what), Became::Done),
                    "{what}: space again, and still refused"
                );
                disk.set_capacity(Some(disk.used() + room));
            }
        }
        assert!(room > 0 || refused > 0);
        let image = disk.after_power_loss(Cut::DropAll, room);
        let shard = open(&image).unwrap_or_else(|e| panic!("{what}: {e}"));
        compare(&shard, script.models.last().expect("one")).unwrap_or_else(|e| panic!("{what}: {e}"));
    }
}

/// Prepares a shard, then flushes it with the n-th call of that failing, for every n: `check` gets the shard and the
/// error, if the flush ended with one.
fn fail_flushes(
    fault: Fault,
    prepare: impl Fn(&Shard) -> Result<()>,
    mut check: impl FnMut(&SimDisk, &Shard, Option<Error>),
) {
    let script = Script::new(1, 0);
    let mut run = Run::new(&script, SimDisk::new());
    run.create().expect("no fault");
    run.shard = None;
    let prepared = || {
        let disk = run.disk.fork();
        let shard = open(&disk).expect("no fault");
        prepare(&shard).expect("no fault");
        (disk, shard)
    };
    let (disk, shard) = prepared();
    let before = disk.calls();
    shard.flush().expect("no fault");
    for n in 0..disk.calls() - before {
        let (disk, shard) = prepared();
        disk.fail_at(disk.calls() + n, fault, false);
        let error = shard.flush().err();
        disk.heal();
        check(&disk, &shard, error);
        let points = shard.view().points();
        drop(shard);
        assert_eq!(open(&disk).expect("nothing was harmed").view().points(), points, "call {n}");
    }
}

fn names(disk: &SimDisk, folder: &str) -> Vec<String> {
    disk.list(&Path::new(super::DIR).join(folder)).expect("lists")
}

#[test]
fn a_segment_that_could_not_be_published_leaves_the_disk_at_once() {
    let prepare = |shard: &Shard| {
        (0..3).try_for_each(|i| upsert(shard, i * 20))?;
        shard.flush()?;
        // A deletion to be noted beside the new segment.
        shard.write(Operation::Delete(Selection::Ids(vec![PointId::Num(3)])))?;
        upsert(shard, 100)
    };
    let mut failed = 0;
    fail_flushes(Fault::NoSpace, prepare, |disk, shard, error| {
        if shard.poisoned().is_none() && shard.stats().sealed_seq < shard.view().seq() {
            failed += 1;
            assert_eq!(names(disk, "segments"), ["0"], "{error:?}");
        }
    });
    assert!(failed > 20, "{failed} calls failed");
}

#[test]
fn a_log_whose_old_files_could_not_be_removed_for_good_takes_no_more() {
    let mut stopped = 0;
    let prepare = |shard: &Shard| (0..60).try_for_each(|i| upsert(shard, i * 20));
    let mut most = 0;
    fail_flushes(Fault::Io, prepare, |disk, shard, error| {
        let files = names(disk, "wal").len();
        most = most.max(files);
        if (2..most).contains(&files) {
            stopped += 1;
            assert!(error.is_some() && shard.poisoned().is_some(), "{files} of {most} files, {error:?}");
            upsert(shard, 9000).expect_err("it takes no more");
        }
    });
    assert!(stopped > 3, "{stopped} calls failed after a file was gone");
}
