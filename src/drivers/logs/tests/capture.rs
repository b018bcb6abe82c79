use super::*;

#[tokio::test]
async fn what_a_container_prints_is_read_back_with_its_time() {
    let rig = Rig::new();
    let mut out = Running::begin(&rig, 1, Stream::Stdout).await;
    rig.at(10);
    assert_eq!(out.print("one\ntwo\n").await, Moved { kept: 8, dropped: 0 });
    rig.at(20);
    out.print("three\n").await;
    let lines = rig.all().await;
    let seen: Vec<(u64, &str)> = lines.iter().map(|line| (line.at.0, line.text.as_str())).collect();
    assert_eq!(seen, [(10, "one"), (10, "two"), (20, "three")]);
    assert!(lines.iter().all(|line| line.alloc == alloc() && line.stream == Stream::Stdout));
    assert_eq!(
        std::fs::read(layout::directory(rig.directory.path(), &alloc()).join("stdout.1.0.log")).unwrap(),
        b"one\ntwo\nthree\n"
    );
}

#[tokio::test]
async fn a_pump_waits_for_output() {
    let rig = Rig::new();
    let Running { mut writer, mut capture, _held, .. } = Running::begin(&rig, 1, Stream::Stdout).await;
    for text in ["a\n", "b\n", "c\n"] {
        let (moved, ()) = tokio::join!(capture.pump(), async {
            tokio::task::yield_now().await;
            writer.write_all(text.as_bytes()).unwrap();
        });
        assert_eq!(moved.unwrap(), Moved { kept: 2, dropped: 0 });
    }
    assert_eq!(texts(&rig.all().await), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_pump_that_is_given_up_at_any_moment_loses_nothing() {
    let rig = Rig::new();
    let Running { mut writer, mut capture, _held, .. } = Running::begin(&rig, 1, Stream::Stdout).await;
    for line in 0..500 {
        writer.write_all(format!("{line}\n").as_bytes()).unwrap();
        let given_up = async {
            for _ in 0..line % 7 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            moved = capture.pump() => drop(moved.unwrap()),
            () = given_up => {}
        }
    }
    capture.drain().await.unwrap();
    let wanted: Vec<String> = (0..500).map(|line| line.to_string()).collect();
    assert_eq!(texts(&rig.all().await), wanted);
}

#[tokio::test]
async fn pipes_that_were_not_drained_are_found_again() {
    let rig = Rig::new();
    assert_eq!(rig.logs().pipes().await.unwrap(), []);
    let mut out = Running::begin(&rig, 12, Stream::Stdout).await;
    let err = Running::begin(&rig, 12, Stream::Stderr).await;
    out.print("x\n").await;
    std::fs::write(rig.directory.path().join("odd"), "").unwrap();
    assert_eq!(rig.logs().pipes().await.unwrap(), [out.name.clone(), err.name]);
    rig.logs().release(&out.name).await.unwrap();
    assert_eq!(rig.logs().pipes().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_restart_goes_on_where_the_capture_was_killed() {
    let rig = Rig::new();
    let mut out = Running::begin(&rig, 1, Stream::Stdout).await;
    out.print("one\ntw").await;
    out.writer.write_all(b"o\nthree\n").unwrap();
    let mut out = out.restart(&rig).await;
    out.print("four\n").await;
    assert_eq!(texts(&rig.all().await), ["one", "two", "three", "four"]);
    assert_eq!(rig.files().len(), 2, "one log and its index: {:?}", rig.files());
}

#[tokio::test]
async fn bytes_that_the_index_missed_get_the_time_of_the_restart() {
    let rig = Rig::new();
    let mut out = Running::begin(&rig, 1, Stream::Stdout).await;
    rig.at(10);
    out.print("one\n").await;
    rig.at(20);
    out.print("two\n").await;
    // Killed after the splice and in the middle of the record.
    let index = layout::directory(rig.directory.path(), &alloc()).join("stdout.1.0.index");
    let index = std::fs::OpenOptions::new().write(true).open(index).unwrap();
    index.set_len(64 + 32 + 7).unwrap();
    let by_file_time = rig.all().await;
    assert_eq!(texts(&by_file_time), ["one", "two"]);
    assert!(by_file_time[1].at > Timestamp(1_000_000), "the file's own time until then");
    rig.at(99);
    let mut out = out.restart(&rig).await;
    rig.at(100);
    out.print("three\n").await;
    let times: Vec<u64> = rig.all().await.iter().map(|line| line.at.0).collect();
    assert_eq!(times, [10, 99, 100]);
}

#[tokio::test]
async fn a_lost_index_loses_times_and_no_output() {
    let rig = Rig::new();
    let mut out = Running::begin(&rig, 1, Stream::Stdout).await;
    out.print("one\n").await;
    let index = layout::directory(rig.directory.path(), &alloc()).join("stdout.1.0.index");
    std::fs::write(&index, "garbage").unwrap();
    rig.at(5);
    let mut out = out.restart(&rig).await;
    out.print("two\n").await;
    assert_eq!(texts(&rig.all().await), ["one", "two"]);
}

#[tokio::test]
async fn a_held_pipe_keeps_output_while_nobody_captures_it() {
    let rig = Rig::new();
    let logs = rig.logs();
    let name = name(1, Stream::Stderr);
    let held = logs.hold(&name).await.unwrap();
    let again = logs.hold(&name).await.unwrap();
    let fifo = logs.fifo(&name);
    let mut writer = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    writer.write_all(b"last words\n").unwrap();
    drop(writer);
    drop(again);
    let mut capture = logs.capture(&name, &fifo).await.unwrap();
    drop(held);
    assert_eq!(capture.drain().await.unwrap().kept, 11);
    assert_eq!(texts(&rig.all().await), ["last words"]);
}

#[tokio::test]
async fn a_container_can_print_a_quarter_megabyte_while_nobody_reads() {
    let rig = Rig::new();
    let logs = rig.logs();
    let name = name(1, Stream::Stdout);
    let _held = logs.hold(&name).await.unwrap();
    let fifo = logs.fifo(&name);
    let fifo = pipe::open_pipe(&fifo).unwrap();
    let mut printed = 0;
    while let Ok(written) = rustix::io::write(&fifo, &[b'x'; 4096]) {
        printed += written;
    }
    assert_eq!(printed, 256 << 10);
}

#[tokio::test]
async fn two_captures_never_share_a_pipe() {
    let rig = Rig::new();
    let out = Running::begin(&rig, 1, Stream::Stdout).await;
    let logs = rig.logs();
    let second = logs.capture(&out.name, &logs.fifo(&out.name)).await.map(|_| ());
    assert!(matches!(second, Err(LogError::Taken { .. })), "{second:?}");
    out.restart(&rig).await;
}

#[tokio::test]
async fn only_a_pipe_is_captured() {
    let rig = Rig::new();
    let logs = rig.logs();
    let name = name(1, Stream::Stdout);
    let path = rig.directory.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let refused = logs.capture(&name, &path).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.to_string(), format!("{} is no pipe", path.display()));
    std::fs::remove_file(&path).unwrap();
    let refused = logs.capture(&name, &path).await.map(|_| ());
    assert!(matches!(refused, Err(LogError::Open { .. })), "{refused:?}");
}

#[tokio::test]
async fn without_splice_output_is_copied() {
    let rig = Rig::new();
    let Running { mut writer, _held, capture, .. } = Running::begin(&rig, 1, Stream::Stdout).await;
    let mut capture = capture.without_splice();
    let text = "a line of output\n".repeat(60_000);
    let length = u64::try_from(text.len()).unwrap();
    let printing = tokio::task::spawn_blocking(move || writer.write_all(text.as_bytes()).unwrap());
    let mut kept = 0;
    while kept < length {
        kept += capture.pump().await.unwrap().kept;
    }
    printing.await.unwrap();
    assert_eq!((kept, rig.all().await.len()), (length, 60_000));
}

#[tokio::test]
async fn nothing_is_left_when_an_alloc_is_removed() {
    let rig = Rig::new();
    let mut out = Running::begin(&rig, 1, Stream::Stdout).await;
    out.print("x\n").await;
    let logs = rig.logs();
    logs.release(&out.name).await.unwrap();
    logs.release(&out.name).await.unwrap();
    assert!(!logs.fifo(&out.name).exists());
    logs.remove(&alloc()).await.unwrap();
    logs.remove(&alloc()).await.unwrap();
    assert_eq!(rig.all().await, []);
    assert!(!layout::directory(rig.directory.path(), &alloc()).exists());
}
