use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;

const HERE: &str = "/raft";

/// What every disk does.
fn behaves(disk: &impl Disk, path: &Path) {
    let mut directory = disk.open(path).unwrap();
    assert!(matches!(disk.open(path), Err(DiskError::Locked { .. })));
    assert_eq!(directory.list().unwrap(), Vec::<String>::new());

    directory.create("a").unwrap();
    directory.write("a", 0, b"hello").unwrap();
    directory.write("a", 8, b"you").unwrap();
    directory.write("a", 1, b"a").unwrap();
    assert_eq!(directory.read("a").unwrap(), b"hallo\0\0\0you");
    directory.reserve("a", 4).unwrap();
    assert_eq!(directory.read("a").unwrap().len(), 11, "setting space aside never cuts");
    directory.reserve("a", 20).unwrap();
    assert_eq!(directory.read("a").unwrap(), b"hallo\0\0\0you\0\0\0\0\0\0\0\0\0");
    directory.truncate("a", 5).unwrap();
    directory.sync("a").unwrap();
    assert_eq!(directory.read("a").unwrap(), b"hallo");

    directory.create("b").unwrap();
    directory.write("b", 0, b"other").unwrap();
    directory.rename("b", "a").unwrap();
    directory.sync_directory().unwrap();
    assert_eq!(
        (directory.list().unwrap(), directory.read("a").unwrap()),
        (vec!["a".into()], b"other".to_vec())
    );
    directory.write("a", 0, b"O").unwrap();
    directory.create("a").unwrap();
    assert_eq!(directory.read("a").unwrap(), b"");

    directory.remove("a").unwrap();
    directory.remove("a").unwrap();
    for name in (0..9).map(|number| number.to_string()) {
        directory.create(&name).unwrap();
        directory.write(&name, 0, name.as_bytes()).unwrap();
        directory.sync(&name).unwrap();
    }
    directory.write("0", 1, b"!").unwrap();
    assert_eq!(directory.read("0").unwrap(), b"0!");
    assert_eq!(directory.list().unwrap().len(), 9);
    let missing = directory.write("nowhere", 0, b"x").unwrap_err();
    let DiskError::Failed { action: Action::Write, path: named, .. } = &missing else {
        panic!("{missing:?}")
    };
    assert_eq!(named, &path.join("nowhere"));
    drop(directory);
    drop(disk.open(path).unwrap());
}

#[test]
fn the_real_disk_and_the_fake_one_behave_alike() {
    let place = tempfile::tempdir().unwrap();
    behaves(&RealDisk, &place.path().join("deep/raft"));
    behaves(&FakeDisk::new(1), Path::new(HERE));
}

#[test]
fn a_locked_directory_names_its_holder() {
    let place = tempfile::tempdir().unwrap();
    let held = RealDisk.open(place.path()).unwrap();
    let refused = RealDisk.open(place.path()).unwrap_err();
    let DiskError::Locked { holder, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(*holder, Some(std::process::id()));
    assert!(refused.to_string().ends_with(&format!("in use by process {}", std::process::id())));
    drop(held);
}

#[test]
fn a_full_disk_and_a_read_only_one_are_told_from_a_broken_one() {
    use rustix::io::Errno;
    let sort = |errno: Errno| DiskError::new(Action::Write, "/x", errno.into());
    assert!(matches!(sort(Errno::NOSPC), DiskError::Full { .. }));
    assert!(matches!(sort(Errno::DQUOT), DiskError::Full { .. }));
    assert!(matches!(sort(Errno::ROFS), DiskError::ReadOnly { .. }));
    assert!(matches!(sort(Errno::IO), DiskError::Failed { .. }));
    assert_eq!(sort(Errno::NOSPC).to_string(), "no space left to write /x");
}

fn written(disk: &FakeDisk) -> FakeDirectory {
    let mut directory = disk.open(Path::new(HERE)).unwrap();
    directory.create("a").unwrap();
    directory.write("a", 0, &[1; 2000]).unwrap();
    directory.sync("a").unwrap();
    directory.sync_directory().unwrap();
    directory.write("a", 0, &[2; 3000]).unwrap();
    directory.create("b").unwrap();
    directory
}

fn left(disk: &FakeDisk) -> BTreeMap<String, Vec<u8>> {
    disk.files(&PathBuf::from(HERE))
}

#[test]
fn a_dead_process_loses_nothing_and_a_forgetful_disk_all_that_was_not_synced() {
    let disk = FakeDisk::new(1);
    let directory = written(&disk);
    disk.crash(Crash::Process);
    assert_eq!(left(&disk), BTreeMap::from([("a".into(), vec![2; 3000]), ("b".into(), vec![])]));
    assert!(directory.read("a").is_err(), "the process is dead");

    let disk = FakeDisk::new(1);
    written(&disk);
    disk.crash(Crash::Forgetful);
    assert_eq!(left(&disk), BTreeMap::from([("a".into(), vec![1; 2000])]));
}

#[test]
fn a_torn_disk_keeps_any_sectors_and_replays_from_its_seed() {
    let torn = |seed| {
        let disk = FakeDisk::new(seed);
        written(&disk);
        disk.crash(Crash::Torn);
        left(&disk)
    };
    let mut mixed = 0;
    for seed in 0..50 {
        let files = torn(seed);
        assert_eq!(files, torn(seed), "seed {seed}");
        let a = &files["a"];
        assert!(a.len() == 2000 || a.len() == 3000);
        for sector in a[..1536].chunks(512) {
            assert!(sector == [1; 512] || sector == [2; 512], "seed {seed}: a sector is whole");
        }
        mixed += usize::from(a[..512] != a[512..1024]);
    }
    assert!(mixed > 10, "some are torn: {mixed}");
}

#[test]
fn a_deferred_sync_is_made_up_for_and_a_lying_or_failed_one_is_not() {
    for (syncs, fault, survives) in [
        (Syncs::Honest, None, true),
        (Syncs::Deferred, None, true),
        (Syncs::Lying, None, false),
        (Syncs::Honest, Some(Fault::Broken), false),
    ] {
        let disk = FakeDisk::new(1);
        let mut directory = written(&disk);
        disk.set_syncs(syncs);
        if let Some(fault) = fault {
            disk.fail_at(disk.ops(), fault);
        }
        assert_eq!(directory.sync("a").is_err(), fault.is_some());
        assert_eq!(directory.read("a").unwrap(), [2; 3000], "the page cache has it");
        disk.set_syncs(Syncs::Honest);
        directory.sync("a").unwrap();
        disk.crash(Crash::Forgetful);
        assert_eq!(left(&disk)["a"][..2000] == [2; 2000], survives, "{syncs:?} {fault:?}");
    }
}

#[test]
fn a_full_disk_takes_what_fits_and_works_again_once_there_is_space() {
    let disk = FakeDisk::new(1);
    let mut directory = disk.open(Path::new(HERE)).unwrap();
    directory.create("a").unwrap();
    disk.set_capacity(1000);
    directory.write("a", 0, &[1; 900]).unwrap();
    assert!(directory.write("a", 900, &[2; 900]).unwrap_err().is_full());
    assert_eq!(directory.read("a").unwrap().len(), 1000);
    assert!(directory.reserve("a", 1001).unwrap_err().is_full());
    disk.set_capacity(u64::MAX);
    directory.write("a", 900, &[2; 900]).unwrap();

    disk.set_read_only(true);
    assert!(matches!(directory.write("a", 0, b"x"), Err(DiskError::ReadOnly { .. })));
    assert!(directory.read("a").is_ok());
}

#[test]
fn a_log_on_the_real_disk_reads_back_after_each_batch() {
    use mill_wal::{EntryView, HardState, Limits, Mark, Recovery, Snapshot, Writer, recover};
    let place = tempfile::tempdir().unwrap();
    let limits = Limits { segment_bytes: 1000 };
    let first = Snapshot { mark: Mark { index: 1, term: 1, members: vec![] }, data: b"state".to_vec() };
    let mut writer = Writer::create(1, limits, Some(&first), HardState { term: 1, vote: 1, commit: 1 });
    let mut directory = RealDisk.open(place.path()).unwrap();
    for index in 2..40 {
        while let Some(batch) = writer.batch() {
            batch.ops.iter().for_each(|op| directory.perform(op).unwrap());
            writer.done(batch.number);
        }
        drop(directory);
        directory = RealDisk.open(place.path()).unwrap();
        let Ok(Recovery::Log(log)) = recover(&LogFiles(&directory), limits) else { panic!() };
        assert_eq!((log.snapshot.unwrap().data, log.cut), (b"state".to_vec(), None));
        assert_eq!(log.entries.len() as u64, index - 2);
        writer = log.writer;
        writer.append(&[EntryView { index, term: 1, kind: 0, data: &[7; 100] }]).unwrap();
    }
    assert!(directory.list().unwrap().len() > 4, "several segments");
}
