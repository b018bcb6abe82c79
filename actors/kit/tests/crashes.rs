use std::sync::atomic::{AtomicU32, Ordering};

use mill_model::limits::ACTOR_CRASHES_MAX;
use tokio::time::Instant;

use super::*;

/// Moments at which a room started, since `begun`.
async fn crash_and_note_starts(deed: fn() -> Result<(), Crash>) -> Vec<Duration> {
    let diary = Diary::default();
    let begun = Instant::now();
    let starts: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let noted = Arc::clone(&starts);
    let tree = tree(&diary).await;
    let args = Args::begins(&diary, move |_| {
        noted.lock().unwrap().push(begun.elapsed());
        Ok(())
    });
    let worker = child(&tree.root(), "worker", args, Restart::Forever).await;
    for lives in 1..=5 {
        order(&worker, move |_, _| deed());
        until("it is back", || starts.lock().unwrap().len() == lives + 1).await;
    }
    let starts = starts.lock().unwrap();
    starts.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect()
}

#[tokio::test(start_paused = true)]
async fn crashes_and_panics_restart_an_actor_after_growing_delays() {
    for deed in [(|| Err(Crash::because("ill"))) as fn() -> Result<(), Crash>, || panic!("on purpose")] {
        let pauses = crash_and_note_starts(deed).await;
        let slack = ms(3);
        for (pause, wanted) in pauses.iter().zip([ms(50), ms(250), secs(1), secs(5), secs(5)]) {
            assert!(*pause >= wanted && *pause <= wanted + slack, "{pauses:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_ordered_panic_is_a_crash_like_any_other() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let worker = child(&tree.root(), "worker", Args::new(&diary), Restart::OnCrash).await;
    worker.tell(Msg::Note("a")).unwrap();
    let begun = Instant::now();
    tree.introspect().panic("root/worker").unwrap();
    until("it is back", || diary.count("start root/worker") == 2).await;
    assert!(begun.elapsed() >= ms(50), "after a pause");
    assert_eq!(worker.ask(secs(1), Msg::Ask).await, Ok(0), "with nothing of the life before");
    let seen = info(&tree, "root/worker").await;
    assert_eq!((seen.restarts, seen.last_error.unwrap().text.as_str()), (1, "panicked: ordered to"));
    assert!(diary.count("start root") == 1 && diary.count("stop root/worker") == 0);
    let refused = tree.introspect().panic("root/nobody").unwrap_err();
    assert_eq!(refused.to_string(), "there is no actor `root/nobody`");
}

#[tokio::test(start_paused = true)]
async fn what_went_wrong_is_kept_with_its_sources() {
    let tree = tree(&Diary::default()).await;
    let worker = child(&tree.root(), "worker", Args::new(&Diary::default()), Restart::OnCrash).await;
    let parse = "x".parse::<u8>().map(|_| ());
    order(&worker, move |_, _| Ok(parse?));
    until("it went", || worker.tell(Msg::Note("x")).is_err()).await;
    let seen = info(&tree, "root/worker").await;
    assert_eq!((seen.status, seen.observed), (Status::Restarting, Value::Null));
    until("it is back", || worker.tell(Msg::Note("x")).is_ok()).await;
    assert_eq!(info(&tree, "root/worker").await.last_error.unwrap().text, "invalid digit found in string");
    order(&worker, |_, _| panic!("number {}", 7));
    until("it went", || worker.tell(Msg::Note("x")).is_err()).await;
    let seen = info(&tree, "root/worker").await;
    assert_eq!(seen.last_error.unwrap().text, "panicked: number 7");
    assert_eq!(seen.restarts, 1);
}

#[tokio::test(start_paused = true)]
async fn an_address_refuses_between_two_lives_and_works_after() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let worker = child(&tree.root(), "worker", Args::new(&diary), Restart::OnCrash).await;
    order(&worker, |_, _| Err(Crash::because("ill")));
    until("it refuses", || worker.tell(Msg::Note("never")).is_err()).await;
    let refused = worker.tell(Msg::Note("never")).unwrap_err();
    assert_eq!(refused.to_string(), "actor `root/worker` is restarting or gone");
    assert!(matches!(worker.offer(Msg::Note("never")), Err(Refused::Unreachable(_))));
    assert!(matches!(worker.ask(secs(1), Msg::Ask).await, Err(AskError::Unreachable(_))));
    until("it takes", || worker.tell(Msg::Note("again")).is_ok()).await;
    until("it handles", || diary.count("again") == 1).await;
    assert_eq!(diary.count("never"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_tried_again() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let failures = Arc::new(AtomicU32::new(0));
    let left = Arc::clone(&failures);
    let args = Args::begins(&diary, move |_| match left.fetch_add(1, Ordering::SeqCst) {
        0 => Err(Crash::because("not yet")),
        1 => panic!("not yet either"),
        _ => Ok(()),
    });
    let (reply, made) = Reply::channel();
    order(&tree.root(), move |me, _| {
        reply.send(me.child::<Room>("worker", args, Restart::OnCrash)?);
        Ok(())
    });
    let worker = made.await.unwrap();
    until("the third start succeeds", || failures.load(Ordering::SeqCst) == 3).await;
    assert_eq!(worker.ask(secs(1), Msg::Ask).await, Ok(0));
    assert_eq!(info(&tree, "root/worker").await.restarts, 2);
    assert_eq!(diary.count("start root"), 1);
}

#[tokio::test(start_paused = true)]
async fn messages_sent_while_an_actor_starts_wait_for_it() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let args = Args { start_takes: secs(3), ..Args::new(&diary) };
    order(&tree.root(), move |me, _| {
        let worker = me.child::<Room>("worker", args, Restart::OnCrash)?;
        worker.tell(Msg::Note("early"))?;
        Ok(())
    });
    until("it is seen", || diary.count("start root/worker") == 1).await;
    let seen = info(&tree, "root/worker").await;
    assert_eq!((seen.status, seen.mailbox_depth), (Status::Starting, 1));
    assert_eq!(seen.busy_with.unwrap().message, "start");
    until("it is handled", || diary.count("early") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn too_many_crashes_crash_the_parent_which_starts_afresh() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let sick = Args::begins(&diary, |_| Err(Crash::because("no disk")));
    let middle = {
        let sick = sick.clone();
        Args::begins(&diary, move |me| {
            me.child::<Room>("sick", sick.clone(), Restart::OnCrash)?;
            Ok(())
        })
    };
    child(&tree.root(), "middle", middle, Restart::OnCrash).await;
    until("the middle starts again", || diary.count("start root/middle") == 2).await;
    let lines = diary.read();
    let again = lines.iter().rposition(|line| line == "start root/middle").unwrap();
    let tries = lines[..again].iter().filter(|line| *line == "start root/middle/sick").count();
    assert_eq!(tries, usize::try_from(ACTOR_CRASHES_MAX).unwrap() + 1);
    let seen = info(&tree, "root/middle").await;
    assert_eq!(seen.last_error.unwrap().text, "child `sick` keeps crashing: no disk");
    assert_eq!(diary.count("start root"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_root_that_gives_up_ends_its_tree() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let crasher = tree.root();
    let crash_on = tokio::spawn(async move {
        loop {
            let _ = crasher.tell(Msg::Do(Box::new(|_, _| Err(Crash::because("ill")))));
            tokio::time::sleep(ms(10)).await;
        }
    });
    assert_eq!(tree.ended().await, Ended::GaveUp { error: "ill".into() });
    crash_on.abort();
    assert_eq!(diary.count("start root"), usize::try_from(ACTOR_CRASHES_MAX).unwrap() + 1);
    assert_eq!(info(&tree, "root").await.status, Status::Stopped);
}

#[tokio::test(start_paused = true)]
async fn crashes_long_apart_are_forgiven_and_forever_means_it() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let calm = child(&tree.root(), "calm", Args::new(&diary), Restart::OnCrash).await;
    let stubborn = child(&tree.root(), "stubborn", Args::new(&diary), Restart::Forever).await;
    for _ in 0..20 {
        order(&calm, |_, _| Err(Crash::because("ill")));
        tokio::time::sleep(Tempo::default().actor_forgiven_after).await;
        assert_eq!(calm.ask(secs(1), Msg::Ask).await, Ok(0));
    }
    for _ in 0..20 {
        order(&stubborn, |_, _| Err(Crash::because("ill")));
        until("it went", || stubborn.tell(Msg::Note("x")).is_err()).await;
        until("it is back", || stubborn.tell(Msg::Note("x")).is_ok()).await;
    }
    assert_eq!(diary.count("start root"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_worlds_failures_use_up_no_budget_and_an_actors_own_do_beside_them() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let worker = child(&tree.root(), "worker", Args::new(&diary), Restart::OnCrash).await;
    let crash = async |crash: fn() -> Crash| {
        order(&worker, move |_, _| Err(crash()));
        until("it went", || worker.tell(Msg::Note("x")).is_err()).await;
    };
    let back = async || until("it is back", || worker.tell(Msg::Note("x")).is_ok()).await;
    for _ in 0..20 {
        crash(|| Crash::from_outside(std::io::Error::from(std::io::ErrorKind::StorageFull))).await;
        back().await;
    }
    assert_eq!(info(&tree, "root/worker").await.last_error.unwrap().text, "no storage space");
    for _ in 0..ACTOR_CRASHES_MAX {
        crash(|| Crash::because("ill")).await;
        back().await;
    }
    assert_eq!(diary.count("start root"), 1);
    crash(|| Crash::because("ill")).await;
    until("its parent starts afresh", || diary.count("start root") == 2).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_in_order_restarts_only_those_that_must_always_run() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    for (name, restart) in
        [("always", Restart::Always), ("on-crash", Restart::OnCrash), ("never", Restart::Never)]
    {
        let worker = child(&tree.root(), name, Args::new(&diary), restart).await;
        order(&worker, |me, _| {
            me.stop();
            Ok(())
        });
    }
    until("one is back", || diary.count("start root/always") == 2).await;
    tokio::time::sleep(secs(60)).await;
    let all = tree.introspect().tree().await;
    let left: Vec<&str> = all.children.iter().map(|info| info.path.as_str()).collect();
    assert_eq!(left, ["root/always"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_restarted_is_forgotten_when_it_crashes() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let worker = child(&tree.root(), "worker", Args::new(&diary), Restart::Never).await;
    order(&worker, |_, _| Err(Crash::because("ill")));
    until("it went", || worker.tell(Msg::Note("x")).is_err()).await;
    tokio::time::sleep(secs(60)).await;
    assert_eq!(tree.introspect().tree().await.children, []);
    assert_eq!((diary.count("start root/worker"), diary.count("start root")), (1, 1));
    child(&tree.root(), "worker", Args::new(&diary), Restart::Never).await;
}

#[tokio::test(start_paused = true)]
async fn a_parents_crash_ends_its_children_before_it_starts_again_and_addresses_live_on() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let (reply, kept) = Reply::channel();
    let reply = Mutex::new(Some(reply));
    let inner = diary.clone();
    let middle = Args::begins(&diary, move |me| {
        let leaf = me.child::<Room>("leaf", Args::new(&inner), Restart::OnCrash)?;
        if let Some(reply) = reply.lock().unwrap().take() {
            reply.send(leaf);
        }
        Ok(())
    });
    let middle = child(&tree.root(), "middle", middle, Restart::OnCrash).await;
    let leaf = kept.await.unwrap();
    leaf.tell(Msg::Note("first")).unwrap();
    until("the first note", || diary.count("first") == 1).await;
    order(&middle, |_, _| Err(Crash::because("ill")));
    until("the leaf is back", || diary.count("start root/middle/leaf") == 2).await;
    leaf.tell(Msg::Note("second")).unwrap();
    until("the second note", || diary.count("second") == 1).await;
    let diary = diary.read();
    let place = |line: &str, from_end: bool| {
        let mut places = diary.iter().enumerate().filter(|(_, written)| *written == line);
        let place = if from_end { places.next_back() } else { places.next() };
        place.map(|(place, _)| place).unwrap()
    };
    assert!(place("drop root/middle/leaf", false) < place("start root/middle", true), "{diary:?}");
    assert!(place("drop root/middle", false) < place("start root/middle", true), "{diary:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tree_whose_first_start_fails_says_why_and_leaves_nothing() {
    let diary = Diary::default();
    let inner = diary.clone();
    let args = Args::begins(&diary, move |me| {
        me.child::<Room>("early", Args::new(&inner), Restart::OnCrash)?;
        Err(Crash::because("no permission"))
    });
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let error = Tree::start::<Room>("root", args, Arc::new(Tempo::default())).await.map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "failed to start `root`");
    assert_eq!(error.source.to_string(), "no permission");
    assert_eq!(diary.count("start root"), 1);
    until("nothing runs", || tasks() == before).await;
}
