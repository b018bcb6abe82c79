use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn the_tree_shows_who_is_under_whom() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let middle = child(&tree.root(), "middle", Args::new(&diary), Restart::OnCrash).await;
    for name in ["b", "a"] {
        child(&middle, name, Args::new(&diary), Restart::OnCrash).await;
    }
    let all = tree.introspect().tree().await;
    let paths: Vec<&str> = all.flat().iter().map(|info| info.path.as_str()).collect();
    assert_eq!(paths, ["root", "root/middle", "root/middle/a", "root/middle/b"]);
    assert!(all.flat().iter().all(|info| info.kind == "Room" && info.status == Status::Running));
    let read: ActorInfo = serde_json::from_value(serde_json::to_value(&all).unwrap()).unwrap();
    assert_eq!(read, all);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_actor_is_shown_with_its_message_and_for_how_long() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let stuck = child(&tree.root(), "stuck", Args::new(&diary), Restart::OnCrash).await;
    stuck.tell(Msg::Wait(secs(3600))).unwrap();
    tokio::time::sleep(secs(3)).await;
    for look in 1..=100 {
        let begun = Instant::now();
        let seen = info(&tree, "root/stuck").await;
        assert_eq!(
            seen.observed.as_str().unwrap().split(" for").next(),
            Some("busy with wait"),
            "look {look}"
        );
        let busy = seen.busy_with.unwrap();
        assert_eq!(busy.message, "wait");
        assert!(busy.for_ms >= 3000);
        assert!(begun.elapsed() <= Tempo::default().observe_deadline);
        // Looking leaves no trail of questions behind.
        assert_eq!(seen.mailbox_depth, 0);
    }
    let seen = info(&tree, "root/stuck").await;
    assert_eq!(seen.observed, "busy with wait for 3.2 s", "only the first look waits for an answer");
    assert_eq!(info(&tree, "root").await.observed, json!({ "notes": 0 }));
}

#[tokio::test(start_paused = true)]
async fn a_restart_by_hand_is_no_crash() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let worker = child(&tree.root(), "worker", Args::new(&diary), Restart::OnCrash).await;
    worker.tell(Msg::Note("a")).unwrap();
    let begun = Instant::now();
    for _ in 0..20 {
        worker.tell(Msg::Wait(secs(3600))).unwrap();
        tree.introspect().restart("root/worker").await.unwrap();
        assert_eq!(worker.ask(secs(1), Msg::Ask).await, Ok(0));
    }
    assert!(begun.elapsed() < secs(1), "no backoff");
    let seen = info(&tree, "root/worker").await;
    assert_eq!((seen.restarts, seen.last_error), (20, None));
    assert_eq!((diary.count("start root"), diary.count("stop root/worker")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_root_can_be_restarted_by_hand_too() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    tree.introspect().restart("root").await.unwrap();
    assert_eq!(tree.root().ask(secs(1), Msg::Ask).await, Ok(0));
    assert_eq!(diary.count("start root"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_restart_by_hand_cuts_the_pause_after_a_crash_short() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let worker = child(&tree.root(), "worker", Args::new(&diary), Restart::OnCrash).await;
    for lives in 1..=4 {
        order(&worker, |_, _| Err(Crash::because("ill")));
        until("it went", || worker.tell(Msg::Note("x")).is_err()).await;
        if lives < 4 {
            until("it is back", || worker.tell(Msg::Note("x")).is_ok()).await;
        }
    }
    let begun = Instant::now();
    tree.introspect().restart("root/worker").await.unwrap();
    assert!(worker.ask(secs(1), Msg::Ask).await.is_ok());
    assert!(begun.elapsed() < secs(1), "the pause would be five seconds");
}

#[tokio::test(start_paused = true)]
async fn only_what_exists_can_be_restarted() {
    let tree = tree(&Diary::default()).await;
    let error = tree.introspect().restart("root/nobody").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no actor `root/nobody`");
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_is_stopping_is_not_restarted() {
    let diary = Diary::default();
    let tree = Arc::new(tree(&diary).await);
    let slow = Args { stop_takes: secs(2), ..Args::new(&diary) };
    child(&tree.root(), "slow", slow, Restart::OnCrash).await;
    let held = Arc::clone(&tree);
    let stopping = tokio::spawn(async move { held.stop(secs(10)).await });
    tokio::time::sleep(secs(1)).await;
    assert_eq!(info(&tree, "root/slow").await.status, Status::Stopping);
    let error = tree.introspect().restart("root/slow").await.unwrap_err();
    assert_eq!(error.to_string(), "actor `root/slow` is stopping");
    stopping.await.unwrap().unwrap();
    let error = tree.introspect().restart("root").await.unwrap_err();
    assert_eq!(error.to_string(), "actor `root` is stopping");
}

#[tokio::test(start_paused = true)]
async fn an_actor_can_show_itself_and_those_under_it() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let middle = child(&tree.root(), "middle", Args::new(&diary), Restart::OnCrash).await;
    child(&middle, "leaf", Args::new(&diary), Restart::OnCrash).await;
    let (reply, view) = Reply::channel();
    order(&middle, move |me, _| {
        reply.send(me.introspect());
        Ok(())
    });
    let seen = view.await.unwrap().tree().await;
    let paths: Vec<&str> = seen.flat().iter().map(|info| info.path.as_str()).collect();
    assert_eq!(paths, ["root/middle", "root/middle/leaf"]);
}
