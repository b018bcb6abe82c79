use mill_model::limits::LOG_LINE_BYTES_MAX;

use super::*;

/// Both streams over two runs and several segments; every line's text is the moment it was printed.
async fn sample(rig: &Rig) -> Vec<String> {
    let mut moments = vec![];
    for incarnation in 1..=2_u32 {
        let mut out = Running::begin(rig, incarnation, Stream::Stdout).await;
        let mut err = Running::begin(rig, incarnation, Stream::Stderr).await;
        for line in 0..150 {
            let moment = u64::from(incarnation) * 1000 + line;
            rig.at(moment);
            let stream = if line % 3 == 0 { &mut err } else { &mut out };
            stream.print(&format!("{moment}\n")).await;
            moments.push(moment.to_string());
        }
    }
    moments
}

#[tokio::test]
async fn streams_and_runs_are_merged_by_time() {
    let rig = Rig::bounded(Bounds { segment: 2048, segments: 100, files: 100 });
    let wanted = sample(&rig).await;
    assert!(rig.files().len() > 8, "several segments: {:?}", rig.files());
    assert_eq!(texts(&rig.all().await), wanted);
}

#[tokio::test]
async fn a_tail_is_exact() {
    let rig = Rig::bounded(Bounds { segment: 2048, segments: 100, files: 100 });
    let wanted = sample(&rig).await;
    for tail in [0, 1, 2, 3, 7, 49, 99, 100, 149, 150, 151, 299, 300, 301, 10_000] {
        let lines = rig.read(Query { tail: Some(tail), ..Query::default() }).await;
        let from = wanted.len().saturating_sub(tail);
        assert_eq!(texts(&lines), wanted[from..], "tail {tail}");
    }
}

#[tokio::test]
async fn lines_since_a_moment_begin_there() {
    let rig = Rig::bounded(Bounds { segment: 2048, segments: 100, files: 100 });
    let wanted = sample(&rig).await;
    for since in [0, 1000, 1001, 1077, 1149, 1150, 2000, 2149, 2150, 9999] {
        let since_then: Vec<&String> =
            wanted.iter().filter(|moment| moment.parse::<u64>().unwrap() >= since).collect();
        for tail in [None, Some(20)] {
            let query = Query { since: Some(Timestamp(since)), tail, ..Query::default() };
            let lines = rig.read(query).await;
            let from = since_then.len().saturating_sub(tail.unwrap_or(usize::MAX));
            assert_eq!(texts(&lines), since_then[from..], "since {since}, tail {tail:?}");
        }
    }
}

#[tokio::test]
async fn one_run_can_be_read_alone() {
    let rig = Rig::new();
    let wanted = sample(&rig).await;
    for (run, range) in [(1, 0..150), (2, 150..300), (3, 0..0)] {
        let lines = rig.read(Query { runs: Runs::Only(Incarnation(run)), ..Query::default() }).await;
        assert_eq!(texts(&lines), wanted[range]);
    }
}

#[tokio::test]
async fn a_line_without_its_end_is_shown_and_ends_with_its_run() {
    let rig = Rig::new();
    let mut first = Running::begin(&rig, 1, Stream::Stdout).await;
    first.print("whole\npanicked at").await;
    assert_eq!(texts(&rig.all().await), ["whole", "panicked at"]);
    let mut second = Running::begin(&rig, 2, Stream::Stdout).await;
    second.print("hello\n\n").await;
    assert_eq!(texts(&rig.all().await), ["whole", "panicked at", "hello", ""]);
    for (tail, wanted) in [(1, &[""][..]), (2, &["hello", ""]), (3, &["panicked at", "hello", ""])] {
        let lines = rig.read(Query { tail: Some(tail), ..Query::default() }).await;
        assert_eq!(texts(&lines), wanted);
    }
}

#[tokio::test]
async fn a_line_keeps_the_time_of_its_beginning() {
    let rig = Rig::new();
    let mut out = Running::begin(&rig, 1, Stream::Stdout).await;
    for (at, text) in [(10, "be"), (20, "gin"), (30, "ning\nnext\n")] {
        rig.at(at);
        out.print(text).await;
    }
    let lines = rig.all().await;
    assert_eq!(texts(&lines), ["beginning", "next"]);
    assert_eq!((lines[0].at, lines[1].at), (Timestamp(10), Timestamp(30)));
}

#[tokio::test]
async fn a_long_line_comes_in_pieces_of_whole_characters() {
    let max = LOG_LINE_BYTES_MAX;
    for (printed, pieces) in [
        ("x".repeat(max), vec![max]),
        ("x".repeat(max + 1), vec![max, 1]),
        ("x".repeat(2 * max), vec![max, max]),
        (format!("x{}", "é".repeat(max)), vec![max - 1, max, 2]),
        ("𝄞".repeat(max / 4 + 1), vec![max, 4]),
    ] {
        let rig = Rig::new();
        let mut out = Running::begin(&rig, 1, Stream::Stdout).await;
        out.print(&format!("{printed}\nnext\n")).await;
        let lines = rig.all().await;
        let lengths: Vec<usize> = lines.iter().map(|line| line.text.len()).collect();
        assert_eq!(lengths, [pieces, vec![4]].concat());
        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<String>(), format!("{printed}next"));
    }
}

#[tokio::test]
async fn what_is_no_utf_8_is_replaced() {
    let rig = Rig::new();
    let mut out = Running::begin(&rig, 1, Stream::Stdout).await;
    out.writer.write_all(b"caf\xe9\n\xff\xfe\n").unwrap();
    out.capture.drain().await.unwrap();
    assert_eq!(texts(&rig.all().await), ["caf\u{fffd}", "\u{fffd}\u{fffd}"]);
}

#[tokio::test]
async fn a_follower_sees_lines_as_they_come_over_rotation_and_runs() {
    let rig = Rig::bounded(Bounds { segment: 1024, segments: 3, files: 32 });
    let logs = rig.logs();
    let mut lines = logs.read(&alloc(), Query { follow: true, ..Query::default() }).await.unwrap();
    let mut count = 0;
    for incarnation in 1..=3 {
        let mut out = Running::begin(&rig, incarnation, Stream::Stdout).await;
        for _ in 0..100 {
            count += 1;
            rig.at(count);
            out.print(&format!("line {count}\n")).await;
            let line = next(&mut lines).await;
            assert_eq!(line.text, format!("line {count}"));
            assert_eq!(line.incarnation, Incarnation(incarnation));
        }
    }
    assert!(rig.files().iter().all(|(name, _)| !name.starts_with("stdout.1.0")), "{:?}", rig.files());
}

#[tokio::test]
async fn a_follower_begins_with_the_tail_and_sees_a_prompt() {
    let rig = Rig::new();
    let mut out = Running::begin(&rig, 1, Stream::Stdout).await;
    out.print("old\nrecent\n").await;
    let query = Query { tail: Some(1), follow: true, ..Query::default() };
    let mut lines = rig.logs().read(&alloc(), query).await.unwrap();
    assert_eq!(next(&mut lines).await.text, "recent");
    out.print("password: ").await;
    assert_eq!(next(&mut lines).await.text, "password: ");
    out.print("denied\n").await;
    assert_eq!(next(&mut lines).await.text, "denied");
}

#[tokio::test]
async fn a_follower_of_nothing_since_long_sees_what_comes() {
    let rig = Rig::new();
    let mut out = Running::begin(&rig, 1, Stream::Stdout).await;
    rig.at(10);
    out.print("old\n").await;
    let query = Query { since: Some(Timestamp(4_000_000_000_000)), follow: true, ..Query::default() };
    let mut lines = rig.logs().read(&alloc(), query).await.unwrap();
    rig.at(4_000_000_000_001);
    // Bytes that are seen before their record have the file's time, which this clock is ahead of: those are skipped.
    let line = loop {
        out.print("new\n").await;
        if let Ok(line) = tokio::time::timeout(Duration::from_millis(50), lines.next()).await {
            break line;
        }
    };
    assert_eq!(line.unwrap().unwrap().text, "new");
}

#[tokio::test]
async fn a_reader_that_left_leaves_no_task_behind() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let rig = Rig::new();
    let mut out = Running::begin(&rig, 1, Stream::Stdout).await;
    out.print(&"x\n".repeat(10_000)).await;
    let before = tasks();
    for follow in [true, false] {
        let mut lines = rig.logs().read(&alloc(), Query { follow, ..Query::default() }).await.unwrap();
        next(&mut lines).await;
        drop(lines);
        until("its task is gone", || tasks() == before).await;
    }
}

#[tokio::test]
async fn an_alloc_without_a_log_has_no_lines() {
    assert_eq!(Rig::new().all().await, []);
}

#[tokio::test]
async fn the_fake_keeps_to_the_same_rules() {
    let logs = FakeLogs::default();
    let name = name(1, Stream::Stdout);
    logs.write(&name, "nobody holds the pipe\n");
    let held = logs.hold(&name).await.unwrap();
    logs.set_now(Timestamp(7));
    logs.write(&name, "one\ntwo\n");
    let fifo = logs.fifo(&name);
    let mut capture = logs.capture(&name, &fifo).await.unwrap();
    assert!(matches!(logs.capture(&name, &fifo).await, Err(LogError::Taken { .. })));
    assert_eq!(capture.pump().await.unwrap().kept, 8);
    let query = Query { tail: Some(1), follow: true, ..Query::default() };
    let mut lines = logs.read(&alloc(), query).await.unwrap();
    assert_eq!(next(&mut lines).await.text, "two");
    logs.fill(true);
    logs.write(&name, "three\n");
    assert_eq!(capture.drain().await.unwrap().dropped, 6);
    assert_eq!(next(&mut lines).await.dropped, Some(6));
    logs.fail(true);
    assert!(capture.drain().await.is_err());
    drop((held, capture));
    assert_eq!((logs.held(), logs.captured()), (vec![], vec![]));
}
