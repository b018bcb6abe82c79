use super::*;

#[tokio::test(start_paused = true)]
async fn a_timer_fires_once_and_in_time() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    order(&tree.root(), |me, state| {
        state.kept.push(Box::new(me.after(secs(5), Msg::Note("ding"))));
        Ok(())
    });
    tokio::time::sleep(ms(4_999)).await;
    assert_eq!(diary.count("ding"), 0);
    tokio::time::sleep(ms(2)).await;
    assert_eq!(diary.count("ding"), 1);
    tokio::time::sleep(secs(60)).await;
    assert_eq!(diary.count("ding"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_timer_never_fires() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    order(&tree.root(), |me, _| {
        me.after(secs(5), Msg::Note("ding")).cancel();
        drop(me.after(secs(5), Msg::Note("ding")));
        Ok(())
    });
    tokio::time::sleep(secs(60)).await;
    assert_eq!(diary.count("ding"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_fired_into_a_busy_mailbox_can_still_be_cancelled() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    order(&tree.root(), |me, state| {
        state.kept.push(Box::new(me.after(secs(5), Msg::Note("ding"))));
        Ok(())
    });
    tree.root().tell(Msg::Wait(secs(10))).unwrap();
    order(&tree.root(), |_, state| {
        state.kept.clear();
        Ok(())
    });
    tokio::time::sleep(secs(9)).await;
    // The order to forget it, and the timer's message.
    assert_eq!(info(&tree, "root").await.mailbox_depth, 2);
    tokio::time::sleep(secs(60)).await;
    assert_eq!(diary.count("ding"), 0);
    let seen = info(&tree, "root").await;
    assert_eq!((seen.mailbox_depth, seen.tasks), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn no_timer_outlives_its_life() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    order(&tree.root(), |me, state| {
        state.kept.push(Box::new(me.after(secs(5), Msg::Note("ding"))));
        Ok(())
    });
    order(&tree.root(), |_, _| Err(Crash::because("ill")));
    tokio::time::sleep(secs(60)).await;
    assert_eq!(tree.root().ask(secs(1), Msg::Ask).await, Ok(0));
    assert_eq!((diary.count("start root"), diary.count("ding")), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_tasks_result_reaches_its_actor() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    order(&tree.root(), |me, state| {
        let work = async {
            tokio::time::sleep(secs(1)).await;
            42
        };
        let done = |result| Msg::Note(if result == Ok(42) { "42" } else { "wrong" });
        state.kept.push(Box::new(me.task("count", work, done)));
        Ok(())
    });
    until("it is done", || diary.count("42") == 1).await;
    assert_eq!(diary.count("wrong"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_task_reaches_its_actor_as_such() {
    let tree = tree(&Diary::default()).await;
    let (reply, panicked) = Reply::channel();
    order(&tree.root(), move |me, state| {
        let done = |result: Result<(), TaskPanicked>| {
            Msg::Do(Box::new(move |_, _| {
                reply.send(result);
                Ok(())
            }))
        };
        state.kept.push(Box::new(me.task("pull", async { panic!("layer {}", 3) }, done)));
        Ok(())
    });
    let panicked = panicked.await.unwrap().unwrap_err();
    assert_eq!(panicked.to_string(), "task `pull` panicked: layer 3");
    assert_eq!(info(&tree, "root").await.restarts, 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_result_can_not_be_told_crashes_its_actor() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    order(&tree.root(), |me, state| {
        state.kept.push(Box::new(me.task("odd", async {}, |_| panic!("no message"))));
        Ok(())
    });
    until("it is back", || diary.count("start root") == 2).await;
    assert_eq!(info(&tree, "root").await.last_error.unwrap().text, "panicked: no message");
}

/// Writes when it is dropped, so also when its task is aborted.
struct Guard(Diary);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.write("task gone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_is_aborted_with_its_handle_and_with_its_actor() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let begin = |keep: bool| {
        let guard = Guard(diary.clone());
        order(&tree.root(), move |me, state| {
            let endless = async move {
                let _guard = guard;
                std::future::pending::<()>().await;
            };
            let task = me.task("endless", endless, |_| Msg::Note("ended"));
            if keep {
                state.kept.push(Box::new(task));
            }
            Ok(())
        });
    };
    begin(false);
    until("the dropped one is gone", || diary.count("task gone") == 1).await;
    begin(true);
    tokio::time::sleep(secs(60)).await;
    assert_eq!((diary.count("task gone"), info(&tree, "root").await.tasks), (1, 1));
    order(&tree.root(), |_, _| Err(Crash::because("ill")));
    until("it is back", || diary.count("start root") == 2).await;
    assert_eq!((diary.count("task gone"), diary.count("ended")), (2, 0));
    let lines = diary.read();
    let gone = lines.iter().rposition(|line| line == "task gone").unwrap();
    assert!(gone < lines.iter().rposition(|line| line == "start root").unwrap(), "{lines:?}");
}
