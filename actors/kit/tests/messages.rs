use super::*;

#[tokio::test(start_paused = true)]
async fn an_answer_comes_back() {
    let tree = tree(&Diary::default()).await;
    tree.root().tell(Msg::Note("a")).unwrap();
    assert_eq!(tree.root().ask(secs(1), Msg::Ask).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_question_ends_with_its_deadline() {
    let tree = tree(&Diary::default()).await;
    let asked_at = tokio::time::Instant::now();
    tree.root().tell(Msg::Wait(secs(3600))).unwrap();
    let answer = tree.root().ask(secs(5), Msg::Ask).await;
    assert!(matches!(answer, Err(AskError::Deadline { .. })), "{answer:?}");
    assert_eq!(asked_at.elapsed(), secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_nobody_answers_says_so_at_once() {
    let tree = tree(&Diary::default()).await;
    let root = tree.root();
    let forgotten: fn(&mut State) -> Result<(), Crash> = |state| {
        state.kept.clear();
        Ok(())
    };
    for end in [forgotten, |_| Err(Crash::because("in the middle"))] {
        let asked_at = tokio::time::Instant::now();
        let (answer, ()) =
            tokio::join!(root.ask(secs(5), Msg::Ignore), async { order(&root, move |_, state| end(state)) });
        assert!(matches!(answer, Err(AskError::Dropped { .. })), "{answer:?}");
        assert_eq!(asked_at.elapsed(), ms(0));
    }
}

#[tokio::test(start_paused = true)]
async fn work_is_refused_when_the_mailbox_is_full_but_notices_are_not() {
    let tree = tree(&Diary::default()).await;
    let root = tree.root();
    root.tell(Msg::Wait(secs(1))).unwrap();
    while info(&tree, "root").await.busy_with.is_none() {}
    let admitted = (0..10).filter(|_| root.offer(Msg::Note("x")).is_ok()).count();
    assert_eq!(admitted, Room::MAILBOX_MAX);
    let refused = root.offer(Msg::Note("x")).unwrap_err();
    assert_eq!(refused.to_string(), "actor `root` is busy: 4 messages wait");
    let answer = root.ask(secs(1), Msg::Ask).await;
    assert!(matches!(answer, Err(AskError::Full { waiting: 4, .. })), "{answer:?}");
    root.tell(Msg::Note("urgent")).unwrap();

    until("all is handled", || root.offer(Msg::Note("x")).is_ok()).await;
}

#[tokio::test(start_paused = true)]
async fn messages_are_counted_by_name_and_depth_is_what_waits() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    let root = tree.root();
    for note in ["a", "b"] {
        root.tell(Msg::Note(note)).unwrap();
    }
    root.ask(secs(1), Msg::Ask).await.unwrap();
    let info = info(&tree, "root").await;
    assert_eq!((info.mailbox_depth, info.handled), (0, 3));
    assert_eq!(info.messages, [("ask".to_owned(), 1), ("note".to_owned(), 2)].into());
    assert_eq!(info.observed, json!({ "notes": 2 }));

    root.tell(Msg::Wait(secs(9))).unwrap();
    for note in ["c", "d", "e"] {
        root.tell(Msg::Note(note)).unwrap();
    }
    assert_eq!(super::info(&tree, "root").await.mailbox_depth, 3);
    until("all are handled", || diary.count("e") == 1).await;
    let info = super::info(&tree, "root").await;
    assert_eq!((info.mailbox_depth, info.handled), (0, 7));
    assert_eq!((info.p50_us, info.p99_us), (0, 9_000_000));
}

#[tokio::test(start_paused = true)]
async fn messages_that_a_crash_dropped_are_no_longer_waited_for() {
    let diary = Diary::default();
    let tree = tree(&diary).await;
    order(&tree.root(), |_, _| Err(Crash::because("now")));
    for _ in 0..3 {
        tree.root().tell(Msg::Note("lost")).unwrap();
    }
    until("it is back", || diary.count("start root") == 2).await;
    assert_eq!(tree.root().ask(secs(1), Msg::Ask).await, Ok(0));
    assert_eq!(info(&tree, "root").await.mailbox_depth, 0);
    assert_eq!(diary.count("lost"), 0);
}
