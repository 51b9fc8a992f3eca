//! The simulated disk itself: what is durable after which call, and what a power loss may leave.

use std::collections::BTreeSet;

use super::*;

fn p(path: &str) -> &Path {
    Path::new(path)
}

fn content(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    disk.map(p(path)).ok().map(|m| m.to_vec())
}

#[test]
fn what_was_not_synced_is_lost_and_what_was_is_not() {
    let disk = SimDisk::new();
    disk.create_dir_all(p("/d")).unwrap();
    let file = disk.create(p("/d/a")).unwrap();
    file.write_all_at(b"one", 0).unwrap();
    let lost = |disk: &SimDisk| disk.after_power_loss(Cut::DropAll, 0);
    assert_eq!(content(&lost(&disk), "/d/a"), None, "neither name nor data");
    file.sync_data().unwrap();
    assert_eq!(content(&lost(&disk), "/d/a"), None, "data, but no name");
    disk.sync_dir(p("/d")).unwrap();
    file.write_all_at(b"two", 0).unwrap();
    assert_eq!(content(&lost(&disk), "/d/a").unwrap(), b"one");
    disk.rename(p("/d/a"), p("/d/b")).unwrap();
    assert_eq!(content(&disk, "/d/b").unwrap(), b"two");
    assert_eq!(content(&lost(&disk), "/d/b"), None);
    assert_eq!(content(&disk.after_power_loss(Cut::KeepAll, 0), "/d/b").unwrap(), b"two");
    disk.remove_dir_all(p("/d")).unwrap();
    assert_eq!(content(&lost(&disk), "/d/a").unwrap(), b"one");
    assert!(!disk.exists(p("/d")));
}

#[test]
fn images_differ_by_seed_and_repeat_by_seed() {
    let disk = SimDisk::new();
    let file = disk.create(p("/a")).unwrap();
    disk.sync_dir(p("/")).unwrap();
    file.write_all_at(&[1; 5000], 0).unwrap();
    file.write_all_at(&[2; 5000], 3000).unwrap();
    for cut in [Cut::Prefix, Cut::Subset, Cut::Torn] {
        let all: BTreeSet<_> = (0..64).map(|seed| content(&disk.after_power_loss(cut, seed), "/a")).collect();
        let again: BTreeSet<_> =
            (0..64).map(|seed| content(&disk.after_power_loss(cut, seed), "/a")).collect();
        assert!(all.len() > 2, "{cut:?}");
        assert_eq!(all, again);
    }
}

#[test]
fn a_history_has_every_moment() {
    let disk = SimDisk::new();
    disk.record();
    let file = disk.create(p("/a")).unwrap();
    for i in 0..10u8 {
        file.write_all_at(&[i], u64::from(i)).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(p("/")).unwrap();
    }
    let mut lengths = Vec::new();
    disk.history().for_each_crash(|point| {
        lengths.push(content(&point.image(Cut::DropAll, 1), "/a").map(|c| c.len()));
    });
    assert_eq!(lengths.len(), 32);
    assert!(lengths.is_sorted() && lengths[3].is_none() && lengths[31] == Some(10));
}

#[test]
fn a_dead_process_does_nothing_more() {
    let disk = SimDisk::new();
    let file = disk.create(p("/a")).unwrap();
    disk.stop_at(2);
    file.write_all_at(b"x", 0).unwrap();
    assert!(file.sync_data().is_err());
    assert!(file.write_all_at(b"y", 0).is_err() && disk.map(p("/a")).is_err() && !disk.exists(p("/a")));
    assert_eq!(disk.calls(), 3);
}

#[test]
fn a_failed_sync_loses_its_data_for_ever() {
    let disk = SimDisk::new();
    let file = disk.create(p("/a")).unwrap();
    disk.sync_dir(p("/")).unwrap();
    file.write_all_at(b"lost", 0).unwrap();
    disk.fail_at(disk.calls(), Fault::Io, false);
    assert!(file.sync_data().is_err());
    file.sync_data().expect("Linux says so, once the error was reported");
    assert_eq!(content(&disk, "/a").unwrap(), b"lost", "the page cache still has it");
    assert_eq!(content(&disk.after_power_loss(Cut::KeepAll, 0), "/a").unwrap(), b"");
    file.write_all_at(b"kept", 4).unwrap();
    file.sync_data().unwrap();
    assert_eq!(content(&disk.after_power_loss(Cut::DropAll, 0), "/a").unwrap(), b"\0\0\0\0kept");
}

#[test]
fn a_full_disk_takes_what_fits() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(100));
    let file = disk.create(p("/a")).unwrap();
    file.allocate(80).unwrap();
    let e = file.write_all_at(&[1; 50], 70).unwrap_err();
    assert_eq!(e.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.used(), 100);
    assert_eq!(disk.space(p("/")).unwrap(), (0, 100));
    assert!(file.allocate(101).is_err());
    file.set_len(10).unwrap();
    file.write_all_at(&[1; 50], 0).unwrap();
    disk.hard_link(p("/a"), p("/b")).unwrap();
    assert_eq!(disk.used(), 50, "a second name takes no space");
    disk.remove_file(p("/a")).unwrap();
    assert_eq!(disk.used(), 50);
}
