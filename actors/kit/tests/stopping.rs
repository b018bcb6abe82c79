use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_tree_stops_children_first() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let slow = Args { stop_takes: secs(1), ..Args::new(&diary) };
    let middle = child(&tree.root(), "middle", Args::new(&diary), Restart::OnCrash).await;
    child(&middle, "leaf", slow, Restart::Always).await;
    tree.stop(secs(10)).await.unwrap();
    assert_eq!(
        diary.read().into_iter().filter(|line| !line.starts_with("start")).collect::<Vec<_>>(),
        [
            "stop root/middle/leaf",
            "drop root/middle/leaf",
            "stop root/middle",
            "drop root/middle",
            "stop root",
            "drop root"
        ]
    );
    assert_eq!(tree.ended().await, Ended::Stopped);
    assert!(tree.root().tell(Msg::Note("x")).is_err());
    assert!(middle.tell(Msg::Note("x")).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_child_can_talk_to_its_parent_while_it_stops() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let slow = Args { stop_takes: secs(1), ..Args::new(&diary) };
    child(&tree.root(), "slow", slow, Restart::OnCrash).await;
    let stopping = tree.stop(secs(10));
    let root = tree.root();
    let talk = async move {
        tokio::time::sleep(ms(500)).await;
        root.ask(secs(1), Msg::Ask).await
    };
    let (stopped, talked) = tokio::join!(stopping, talk);
    assert_eq!((stopped.is_ok(), talked), (true, Ok(0)));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_stop_in_time_is_killed_and_its_parent_still_stops_in_order() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let stuck = child(&tree.root(), "stuck", Args::new(&diary), Restart::OnCrash).await;
    stuck.tell(Msg::Wait(secs(3600))).unwrap();
    let begun = Instant::now();
    tree.stop(secs(10)).await.unwrap();
    assert!(begun.elapsed() <= secs(9), "{:?}", begun.elapsed());
    assert_eq!((diary.count("stop root/stuck"), diary.count("drop root/stuck")), (0, 1));
    assert_eq!(diary.count("stop root"), 1);
}

#[test]
fn what_holds_a_thread_is_named_when_the_deadline_has_passed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let release = Arc::new(AtomicBool::new(false));
    runtime.block_on(async {
        let tree = tree(&Diary::default()).await;
        let worker = child(&tree.root(), "worker", Args::new(&Diary::default()), Restart::OnCrash).await;
        let (held, (reply, holds)) = (Arc::clone(&release), Reply::channel());
        order(&worker, move |_, _| {
            reply.send(());
            while !held.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            Ok(())
        });
        holds.await.unwrap();
        let error = tree.stop(ms(100)).await.unwrap_err();
        assert_eq!(error.to_string(), "did not stop within 100ms: root/worker");
        release.store(true, Ordering::SeqCst);
        assert_eq!(tree.ended().await, Ended::Stopped);
    });
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_a_tree_that_stopped_or_was_dropped() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for in_order in [true, false] {
        let diary = Diary::default();
        let tree = tree(&diary).await;
        let middle = child(&tree.root(), "middle", Args::new(&diary), Restart::Always).await;
        let leaf = child(&middle, "leaf", Args::new(&diary), Restart::Forever).await;
        for who in [&middle, &leaf] {
            order(who, |me, state| {
                state.kept.push(Box::new(me.after(secs(9), Msg::Note("ding"))));
                state.kept.push(Box::new(me.task("t", std::future::pending::<()>(), |_| Msg::Note("x"))));
                Ok(())
            });
        }
        leaf.ask(secs(1), Msg::Ask).await.unwrap();
        match in_order {
            true => tree.stop(secs(1)).await.unwrap(),
            false => drop(tree),
        }
        until("no task is left", || tasks() == before).await;
        let dropped = diary.read().iter().filter(|line| line.starts_with("drop")).count();
        assert_eq!(dropped, 3, "{:?}", diary.read());
    }
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_stops_itself_handles_no_more_and_takes_its_children_along() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let middle = child(&tree.root(), "middle", Args::new(&diary), Restart::OnCrash).await;
    let leaf = child(&middle, "leaf", Args::new(&diary), Restart::OnCrash).await;
    let inner = diary.clone();
    order(&middle, move |me, _| {
        me.stop();
        let late = me.child::<Room>("late", Args::new(&inner), Restart::Never).unwrap_err();
        assert!(matches!(late, ChildError::Stopping { .. }));
        Ok(())
    });
    middle.tell(Msg::Note("too late")).unwrap();
    until("it is gone", || diary.count("drop root/middle") == 1).await;
    let lines = diary.read();
    assert_eq!((diary.count("too late"), diary.count("stop root/middle/leaf")), (0, 1));
    let leaf_stopped = lines.iter().position(|line| line == "stop root/middle/leaf").unwrap();
    assert!(leaf_stopped < lines.iter().position(|line| line == "stop root/middle").unwrap());
    until("it is forgotten", || leaf.tell(Msg::Note("x")).is_err() && middle.tell(Msg::Note("x")).is_err())
        .await;
    assert_eq!(tree.introspect().tree().await.children, []);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_given_once() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let first = child(&tree.root(), "worker", Args::new(&diary), Restart::OnCrash).await;
    let (reply, second) = Reply::channel();
    let inner = diary.clone();
    order(&tree.root(), move |me, _| {
        reply.send(me.child::<Room>("worker", Args::new(&inner), Restart::OnCrash).map(|_| ()));
        Ok(())
    });
    let error = second.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "actor `root/worker` exists already");
    first.tell(Msg::Note("still here")).unwrap();
    until("the first goes on", || diary.count("still here") == 1).await;
    assert_eq!(diary.count("start root/worker"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_childs_namesake_starts_when_it_has_ended() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let slow = Args { stop_takes: secs(2), ..Args::new(&diary) };
    let old = child(&tree.root(), "worker", slow, Restart::Always).await;
    let (reply, made) = Reply::channel();
    let inner = diary.clone();
    order(&tree.root(), move |me, _| {
        me.drop_child("worker");
        me.drop_child("worker");
        assert!(!me.has_child("worker"));
        reply.send(me.child::<Room>("worker", Args::new(&inner), Restart::OnCrash)?);
        assert!(me.has_child("worker"));
        Ok(())
    });
    let new = made.await.unwrap();
    until("the new one takes messages", || new.tell(Msg::Note("hello")).is_ok()).await;
    until("and handles them", || diary.count("hello") == 1).await;
    let lines: Vec<String> = diary.read().into_iter().filter(|line| line.contains("worker")).collect();
    assert_eq!(lines, ["start root/worker", "stop root/worker", "drop root/worker", "start root/worker"]);
    assert!(old.tell(Msg::Note("x")).is_err(), "the old address is not the namesake's");
}

#[tokio::test(start_paused = true)]
async fn a_child_dropped_while_it_waits_for_its_restart_stays_away() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let worker = child(&tree.root(), "worker", Args::new(&diary), Restart::Always).await;
    order(&worker, |_, _| Err(Crash::because("ill")));
    until("it went", || worker.tell(Msg::Note("x")).is_err()).await;
    order(&tree.root(), |me, _| {
        me.drop_child("worker");
        Ok(())
    });
    tokio::time::sleep(secs(60)).await;
    assert_eq!(diary.count("start root/worker"), 1);
    assert_eq!(tree.introspect().tree().await.children, []);
}

#[tokio::test(start_paused = true)]
async fn a_child_dropped_before_its_predecessor_has_ended_never_starts() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let slow = Args { stop_takes: secs(2), ..Args::new(&diary) };
    child(&tree.root(), "worker", slow, Restart::Always).await;
    let inner = diary.clone();
    order(&tree.root(), move |me, _| {
        me.drop_child("worker");
        me.child::<Room>("worker", Args::new(&inner), Restart::OnCrash)?;
        me.drop_child("worker");
        let third = me.child::<Room>("worker", Args::new(&inner), Restart::OnCrash)?;
        assert!(third.tell(Msg::Note("early")).is_err());
        Ok(())
    });
    tokio::time::sleep(secs(60)).await;
    let lines: Vec<String> = diary.read().into_iter().filter(|line| line.contains("worker")).collect();
    assert_eq!(lines, ["start root/worker", "stop root/worker", "drop root/worker", "start root/worker"]);
}
