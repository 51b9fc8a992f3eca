//! Power loss at every file call of a run.

use std::path::Path;
use std::sync::Arc;

use super::script::{Known, Model, Run, Script, config};
use super::{DIR, compare, full, open, options};
use crate::file::sim::{CrashPoint, Cut, History};
use crate::file::{Disk, SimDisk};
use crate::operation::{Operation, PointWrite, Selection, UpdateMode};
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::shard::Shard;
use crate::shard::manifest::Manifest;
use crate::vector::NamedVectors;

type Judged = std::result::Result<(), String>;

/// Runs a script without faults, and keeps its calls.
fn record<'a>(script: &'a Script, honest: bool) -> (Run<'a>, History) {
    let disk = SimDisk::new();
    disk.set_sync(honest);
    disk.record();
    let mut run = Run::new(script, disk.clone());
    run.create().expect("no fault, no error");
    for (i, step) in script.steps.iter().enumerate() {
        run.step(step).unwrap_or_else(|e| panic!("step {i}, {step:?}: {e}"));
    }
    assert_eq!(compare(run.shard(), script.models.last().expect("at least the empty one")), Ok(()));
    (run, disk.history())
}

/// Opens what a power loss left and compares it with the model.
fn recover(run: &Run<'_>, image: &SimDisk, known: Known) -> std::result::Result<u64, String> {
    if known.acked.is_none() && !Manifest::exists(image, Path::new(DIR)) {
        let shard = Shard::create(Arc::new(image.clone()), Path::new(DIR), options(), config(false));
        return shard.map(|_| 0).map_err(|e| format!("leftovers of a creation are in the way: {e}"));
    }
    let shard = open(image).map_err(|e| e.to_string())?;
    let seq = shard.view().seq();
    if seq < known.acked.unwrap_or(0) || seq > known.attempted {
        return Err(format!("recovered up to {seq}: {known:?}"));
    }
    compare(&shard, &run.script.models[seq as usize])?;
    Ok(seq)
}

/// What was recovered, and what is written next, survive the next power loss.
fn go_on(run: &Run<'_>, image: &SimDisk, seq: u64, flush: bool) -> Judged {
    let told = |e: crate::Error| format!("going on: {e}");
    let shard = open(image).map_err(told)?;
    let mut model: Model = run.script.models[seq as usize].clone();
    let id = PointId::Num(1_000_000);
    let point =
        PointWrite { id, vectors: NamedVectors::new(), payload: RawPayload::from_json_bytes(b"{\"v\":1}") };
    let ops = [
        Operation::Upsert { points: vec![point], mode: UpdateMode::Upsert, condition: None },
        Operation::Delete(Selection::Ids(model.points.keys().take(2).copied().collect())),
    ];
    for op in ops {
        shard.write(op.clone()).map_err(told)?;
        model.apply(&op);
    }
    if flush {
        shard.flush().map_err(told)?;
    }
    // Not dropped before: a power loss takes the process with it.
    let again = image.after_power_loss(Cut::DropAll, 0);
    let shard = open(&again).map_err(|e| format!("after the next power loss: {e}"))?;
    compare(&shard, &model).map_err(|e| format!("after the next power loss: {e}"))
}

/// A snapshot whose last file is there is whole.
fn check_snapshots(run: &Run<'_>, image: &SimDisk, call: u64) -> Judged {
    for (i, taken) in run.taken.iter().enumerate() {
        let finished = taken.calls <= call;
        if !image.exists(&taken.dir.join("snapshot.json")) {
            if finished {
                return Err(format!("{} is gone", taken.dir.display()));
            }
            continue;
        }
        let dir = Path::new("/data").join(format!("again-{i}"));
        let shard = Shard::restore_from(Arc::new(image.clone()), &taken.dir, &dir, options())
            .map_err(|e| format!("{}: {e}", taken.dir.display()))?;
        compare(&shard, &run.script.models[taken.seq as usize])?;
    }
    Ok(())
}

/// All images of one moment.
fn crash(run: &Run<'_>, point: &CrashPoint<'_>, seeds: u64, states: &mut u64) {
    let call = point.call as u64;
    let known = run.known_at(call);
    for cut in Cut::ALL {
        let seeds = if matches!(cut, Cut::DropAll | Cut::KeepAll) { 1 } else { seeds };
        for i in 0..seeds {
            let seed = call * 31 + i;
            let image = point.image(cut, seed);
            let judged = recover(run, &image, known).and_then(|seq| match (call + i) % 8 {
                0 if known.acked.is_some() => go_on(run, &image, seq, call % 16 < 8),
                3 => check_snapshots(run, &image, call),
                _ => Ok(()),
            });
            *states += 1;
            if let Err(e) = judged {
                panic!("call {call}, {cut:?}, seed {seed}: {e}; {known:?}");
            }
        }
    }
}

#[test]
fn no_power_loss_loses_what_was_acknowledged() {
    let (scripts, seeds) = if full() { (10, 3) } else { (6, 2) };
    let (mut states, mut calls) = (0, 0);
    for seed in 1..=scripts {
        let script = Script::new(seed, 110);
        let (run, history) = record(&script, true);
        calls += history.len();
        history.for_each_crash(|point| crash(&run, &point, seeds, &mut states));
    }
    println!("{states} power losses over {calls} calls of {scripts} scripts");
    assert!(states >= 50_000, "only {states} crash states");
}

#[test]
fn power_may_go_again_during_recovery() {
    let script = Script::new(99, 80);
    let (run, history) = record(&script, true);
    let mut states = 0;
    history.for_each_crash(|point| {
        let known = run.known_at(point.call as u64);
        if known.acked.is_none() || !point.call.is_multiple_of(if full() { 3 } else { 37 }) {
            return;
        }
        let image = point.image(Cut::Torn, point.call as u64);
        image.record();
        let first = open(&image).expect("recovery").view().seq();
        image.history().for_each_crash(|second| {
            for cut in Cut::ALL {
                let again = second.image(cut, point.call as u64);
                let judged = recover(&run, &again, Known { acked: known.acked, ..known });
                let what = format!("call {}, then {} of the recovery, {cut:?}", point.call, second.call);
                let seq = judged.unwrap_or_else(|e| panic!("{what}: {e}"));
                assert!(seq <= first, "{what}");
                states += 1;
            }
        });
    });
    println!("{states} power losses during recovery");
    assert!(states > 300);
}

#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    let script = Script::new(7, 60);
    let (run, history) = record(&script, false);
    let (mut lost, mut states) = (0, 0);
    history.for_each_crash(|point| {
        let known = run.known_at(point.call as u64);
        for cut in [Cut::DropAll, Cut::Subset] {
            let image = point.image(cut, point.call as u64);
            let judged =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| recover(&run, &image, known)));
            states += 1;
            lost += u32::from(!matches!(judged, Ok(Ok(_))));
        }
    });
    println!("{lost} losses noticed in {states} power losses without syncs");
    assert!(lost > states / 2, "only {lost} losses were noticed in {states} states");
}
