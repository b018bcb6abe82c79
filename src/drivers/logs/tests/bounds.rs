use super::*;

const SMALL: Bounds = Bounds { segment: 4096, segments: 3, files: 32 };

#[tokio::test]
async fn a_stream_takes_three_segments_over_all_its_runs_and_keeps_the_newest_output() {
    let rig = Rig::bounded(SMALL);
    let mut printed = vec![];
    for incarnation in 1..=4 {
        let mut out = Running::begin(&rig, incarnation, Stream::Stdout).await;
        for line in 0..120 {
            rig.at(u64::from(incarnation) * 1000 + line);
            let text = format!("run {incarnation} line {line} {}", "x".repeat(20));
            out.print(&format!("{text}\n")).await;
            printed.push(text);
            let total: u64 = rig.files().iter().map(|(_, bytes)| bytes).sum();
            assert!(total <= SMALL.segment * SMALL.segments, "{:?}", rig.files());
        }
    }
    let lines = rig.all().await;
    let kept = texts(&lines);
    assert!(kept.len() > 80, "{}", kept.len());
    // The first may have lost its beginning with the segment before.
    assert_eq!(kept[1..], printed[printed.len() + 1 - kept.len()..]);
}

#[tokio::test]
async fn readers_are_told_up_to_when_output_was_removed() {
    let rig = Rig::bounded(SMALL);
    let mut out = Running::begin(&rig, 1, Stream::Stdout).await;
    let mut removed = None;
    for line in 1..=400 {
        rig.at(line);
        out.print(&format!("line {line} {}\n", "x".repeat(20))).await;
        let lines = rig.logs().read(&alloc(), Query::default()).await.unwrap();
        let now = lines.removed_until(None);
        assert!(now >= removed && lines.removed_until(Some(Stream::Stderr)).is_none());
        removed = now;
        let first = lines.collect().await.unwrap().remove(0).at;
        // A line that was cut in two has its beginning in what was removed.
        let next = removed.map_or(1, |until| until.0 + 1);
        assert!((next - 1..=next).contains(&first.0), "{removed:?} {first:?}");
        assert_eq!(removed.is_none(), first == Timestamp(1), "{line}");
    }
    assert!(removed.is_some());
}

#[tokio::test]
async fn many_short_runs_leave_no_more_than_so_many_files() {
    let rig = Rig::bounded(Bounds { files: 5, ..SMALL });
    for incarnation in 1..=20 {
        let mut out = Running::begin(&rig, incarnation, Stream::Stdout).await;
        out.print(&format!("run {incarnation}\n")).await;
    }
    assert_eq!(rig.files().len(), 2 * 5, "{:?}", rig.files());
    assert_eq!(texts(&rig.all().await), ["run 16", "run 17", "run 18", "run 19", "run 20"]);
}

#[tokio::test]
async fn a_run_that_prints_nothing_leaves_no_file() {
    let rig = Rig::new();
    let mut out = Running::begin(&rig, 1, Stream::Stdout).await;
    assert_eq!(out.capture.drain().await.unwrap(), Moved::default());
    assert_eq!(rig.files(), []);
}

/// A small file system of its own.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        rustix::mount::mount(
            "mill-test",
            directory.path(),
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            options.as_c_str(),
        )
        .expect("this test needs root, to mount a small file system");
        Self { directory }
    }
}

impl SmallDisk {
    /// Fills it; the file that does is in the way.
    fn fill(&self) -> PathBuf {
        let ballast = self.directory.path().join("ballast");
        let mut filling = std::fs::File::create(&ballast).unwrap();
        while filling.write_all(&[0; 4096]).is_ok() {}
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.directory.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn a_full_disk_drops_output_and_says_so_but_never_blocks() {
    let rig = Rig::new();
    let disk = SmallDisk::mount(128 << 10);
    let logs = rig.logs().elsewhere(disk.directory.path());
    let name = name(1, Stream::Stdout);
    let _held = logs.hold(&name).await.unwrap();
    let fifo = logs.fifo(&name);
    let mut writer = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    let mut capture = logs.capture(&name, &fifo).await.unwrap();
    let mut print = |text: &[u8]| writer.write_all(text).unwrap();

    print(b"before\n");
    capture.drain().await.unwrap();
    let ballast = disk.fill();
    // What still fits into the log's last page is kept.
    let mut moved = Moved::default();
    for _ in 0..20 {
        print(&[b"lost ".repeat(1000), b"\n".to_vec()].concat());
        let step = capture.drain().await.unwrap();
        moved = Moved { kept: moved.kept + step.kept, dropped: moved.dropped + step.dropped };
    }
    assert_eq!(moved.kept + moved.dropped, 20 * 5001);
    assert!(moved.dropped > 90_000, "{moved:?}");
    let gap = |lines: &[Line]| lines.iter().find_map(|line| line.dropped);
    let full: Vec<Line> = logs.read(&alloc(), Query::default()).await.unwrap().collect().await.unwrap();
    assert_eq!(gap(&full), Some(moved.dropped), "shown while the disk is full");

    // The capture is killed meanwhile: the count survives.
    drop(capture);
    let mut capture = logs.capture(&name, &fifo).await.unwrap();
    std::fs::remove_file(&ballast).unwrap();
    print(b"\nafter\n");
    capture.drain().await.unwrap();
    let lines: Vec<Line> = logs.read(&alloc(), Query::default()).await.unwrap().collect().await.unwrap();
    assert_eq!((texts(&lines)[0], *texts(&lines).last().unwrap()), ("before", "after"));
    let gaps: Vec<u64> = lines.iter().filter_map(|line| line.dropped).collect();
    assert_eq!(gaps, [moved.dropped]);
    let said = lines.iter().find(|line| line.dropped.is_some()).unwrap();
    assert!(said.text.contains("bytes were dropped here"), "{}", said.text);
}

#[tokio::test]
async fn a_container_that_starts_on_a_full_disk_does_not_block_either() {
    let rig = Rig::new();
    let disk = SmallDisk::mount(64 << 10);
    let logs = rig.logs().elsewhere(disk.directory.path());
    let name = name(1, Stream::Stdout);
    let _held = logs.hold(&name).await.unwrap();
    let fifo = logs.fifo(&name);
    let mut capture = logs.capture(&name, &fifo).await.unwrap();
    let ballast = disk.fill();
    let mut writer = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    writer.write_all(b"lost\n").unwrap();
    assert_eq!(capture.drain().await.unwrap(), Moved { kept: 0, dropped: 5 });
    std::fs::remove_file(&ballast).unwrap();
    writer.write_all(b"kept\n").unwrap();
    assert_eq!(capture.drain().await.unwrap(), Moved { kept: 5, dropped: 0 });
    let lines: Vec<Line> = logs.read(&alloc(), Query::default()).await.unwrap().collect().await.unwrap();
    assert_eq!(lines.iter().map(|line| line.dropped).collect::<Vec<_>>(), [Some(5), None]);
}
