//! A life whose record is lost, late, or not to be kept.

use super::story::{ONE, START, Story, assignment, checked, found, plain, task, with_scratch};
use super::*;

#[test]
fn a_node_that_lost_its_record_goes_on_from_what_the_leader_heard_and_what_it_finds() {
    let heard = Heard { incarnation: Incarnation(4), revision: 19 };
    let life = Life::new(Arc::new(assignment(plain(), None)), vec![], heard, Arc::default(), START);
    let story = Story::over(life).after(Input::Resume { found: vec![found(6, FoundState::Running)] });
    assert!(story.has(&Effect::Remove { incarnation: Incarnation(6) }));
    assert!(story.has(&Effect::Pull { incarnation: Incarnation(7) }));
    assert!(story.life.status().revision > 19);
    let story = story.after(Input::Pulled { incarnation: Incarnation(7) });
    assert!(!story.has(&Effect::Start { incarnation: Incarnation(7) }));
    let story = story.after(Input::Removed { incarnation: Incarnation(6) });
    assert!(story.has(&Effect::Start { incarnation: Incarnation(7) }));
}

#[test]
fn a_record_of_a_later_version_is_refused_and_named() {
    let story = Story::running(checked(), Some(80));
    let bytes = story.record.unwrap().encode().unwrap();
    let later = String::from_utf8(bytes).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    assert!(matches!(Record::decode(later.as_bytes()), Err(crate::RecordError::Version { found: 2 })));
    assert!(matches!(Record::decode(b"{}"), Err(crate::RecordError::Form { .. })));
}

#[test]
fn an_end_that_the_disk_does_not_take_is_told_only_when_it_does() {
    let mut story = Story::running(plain(), None);
    story.feed(Input::Stop);
    story.exit(0);
    story.is(Phase::Stopped);
    let held_back = story.life.status().revision;
    story.feed(Input::NotKept);
    story.is(Phase::Stopping);
    assert!(!story.life.is_over());
    story.feed(Input::Removed { incarnation: ONE });
    story.is(Phase::Stopping);
    story.fire(TimerKind::Remove);
    story.is(Phase::Stopped);
    assert!(story.life.is_over() && story.life.status().revision > held_back);
    let kept = story.effects.iter().position(|effect| matches!(effect, Effect::Persist(_)));
    let told = story.effects.iter().position(|effect| matches!(effect, Effect::Report(_)));
    assert!(kept.is_some() && kept < told, "{:?}", story.effects);
    story.feed(Input::NotKept);
    story.is(Phase::Stopping);
}

#[test]
fn what_is_marked_as_over_stays_over_and_leaves_nothing() {
    for (kind, phase) in [(plain(), Phase::Stopped), (task(), Phase::Stopped), (task(), Phase::Failed)] {
        let story = Story::running(kind, None);
        let record = story.record.clone().unwrap().over(phase);
        let life = Life::restore(record, Arc::default(), story.now);
        // A word from the leader may come before the runtime's.
        let story = Story::over(life).after(Input::Stop).after(Input::Heard(Heard::default()));
        assert!(!story.life.is_over());
        // Also if there is no container: not all that a removal does may have been done.
        let mut story = story.after(Input::Resume { found: vec![] });
        assert_eq!(story.effects, [Effect::Remove { incarnation: ONE }]);
        assert_eq!(story.last_failure().is_some(), phase == Phase::Failed);
        story.feed(Input::Removed { incarnation: ONE });
        story.is(phase);
        assert!(story.life.is_over());
    }
}

#[test]
fn what_is_marked_as_over_is_over_when_its_volumes_are_gone_too() {
    let assignment = with_scratch(assignment(task(), None));
    let life = Life::new(Arc::new(assignment), vec![], Heard::default(), Arc::default(), START);
    let story = Story::over(life).after(Input::Resume { found: vec![] }).run(1);
    let record = story.record.clone().unwrap().over(Phase::Failed);
    let life = Life::restore(record, Arc::default(), story.now);
    let story = Story::over(life).after(Input::Resume { found: vec![] });
    let story = story.after(Input::Removed { incarnation: ONE });
    assert!(story.has(&Effect::Clear) && !story.life.is_over());
    let mut story = story.after(Input::ClearFailed);
    assert!(!story.life.is_over());
    story.fire(TimerKind::Remove);
    assert!(story.has(&Effect::Clear));
    let story = story.after(Input::Cleared);
    story.is(Phase::Failed);
    assert!(story.life.is_over());
}

#[test]
fn what_cant_begin_is_said_once_and_only_of_one_that_nothing_was_said_of() {
    let failure = Failure::Runtime { detail: "nobody answers".to_owned() };
    let unseen = || Input::Unseen { failure: failure.clone() };
    let new = |heard| Life::new(Arc::new(assignment(plain(), None)), vec![], heard, Arc::default(), START);
    let story = Story::over(new(Heard::default())).after(unseen());
    let status = story.life.status().clone();
    assert_eq!((status.phase, status.revision, status.ailment.as_ref()), (Phase::Pending, 1, Some(&failure)));
    assert_eq!(story.effects, [Effect::Report(status)]);
    let story = story.after(unseen());
    assert_eq!(story.effects, []);
    let story = story.after(Input::Resume { found: vec![] });
    story.is(Phase::Pulling);
    assert_eq!((story.life.status().revision, &story.life.status().ailment), (2, &None));
    // What runs: its record may know less of it than the leader, or nothing.
    let told = Story::over(new(Heard { incarnation: ONE, revision: 3 })).after(unseen());
    assert_eq!(told.effects, []);
    let record = Story::running(plain(), None).record.unwrap();
    let restored = Story::over(Life::restore(record, Arc::default(), START)).after(unseen());
    assert_eq!(restored.effects, []);
}

#[test]
fn a_task_whose_record_is_lost_fails_instead_of_running_twice() {
    for ran in [vec![], vec![found(1, FoundState::Running)]] {
        let heard = Heard { incarnation: ONE, revision: 3 };
        let assignment = Arc::new(assignment(task(), None));
        let life = Life::new(assignment, vec![], heard, Arc::default(), START);
        let mut story = Story::over(life).after(Input::Resume { found: ran });
        assert!(story.effects.iter().all(|effect| !matches!(effect, Effect::Pull { .. })));
        story.feed(Input::Removed { incarnation: ONE });
        story.is(Phase::Failed);
        assert!(matches!(story.last_failure(), Some(Failure::Runtime { detail }) if detail.contains("lost")));
    }
}

#[test]
fn a_task_that_may_have_run_is_not_begun_again_and_one_that_has_not_is() {
    let made = || Story::of(task(), None).after(Input::Pulled { incarnation: ONE });
    let launched = || made().after(Input::Made { incarnation: ONE });
    let [Effect::Persist(record), Effect::Launch { incarnation: ONE }] = &launched().effects[..] else {
        panic!("that it may have run must be on disk before it does: {:?}", launched().effects)
    };
    assert!(record.launched);
    for found in [vec![], vec![found(1, FoundState::Created)]] {
        let mut never_ran = made().restarted(Duration::ZERO, found.clone());
        never_ran.feed(Input::Removed { incarnation: ONE });
        never_ran.is(Phase::Pulling);
        let mut gone = launched().restarted(Duration::ZERO, found);
        gone.feed(Input::Removed { incarnation: ONE });
        gone.is(Phase::Failed);
        assert_eq!(gone.last_failure(), Some(Failure::Vanished));
    }
    let runs = launched().restarted(Duration::ZERO, vec![found(1, FoundState::Running)]);
    runs.is(Phase::Running);
    // Called off while it was made: nothing of it runs.
    let story = made().after(Input::Stop).after(Input::Made { incarnation: ONE });
    assert_eq!(story.effects, []);
}

#[test]
fn a_task_of_which_a_later_run_was_heard_ends_and_is_not_begun_again() {
    let later = Input::Heard(Heard { incarnation: Incarnation(4), revision: 9 });
    let mut story = Story::running(task(), None).after(later);
    assert!(story.has(&Effect::Signal { incarnation: ONE }));
    story.exit(0);
    story.is(Phase::Failed);
    assert!(matches!(story.last_failure(), Some(Failure::Runtime { detail }) if detail.contains("lost")));
}

#[test]
fn of_a_record_that_can_not_be_read_a_service_begins_and_a_task_does_not() {
    for (kind, phase) in [(plain(), Phase::Pulling), (task(), Phase::Failed)] {
        let assignment = Arc::new(assignment(kind, None));
        let life = Life::new(assignment, vec![], Heard::default(), Arc::default(), START);
        let life = life.with_unread_record();
        let story = Story::over(life).after(Input::Heard(Heard::default()));
        story.after(Input::Resume { found: vec![] }).is(phase);
    }
}

#[test]
fn numbers_go_on_where_they_were_though_record_and_containers_are_gone() {
    let life =
        Life::new(Arc::new(assignment(plain(), None)), vec![], Heard::default(), Arc::default(), START);
    let heard = Heard { incarnation: Incarnation(4), revision: 9 };
    let story = Story::over(life).after(Input::Heard(heard)).after(Input::Resume { found: vec![] });
    assert!(story.has(&Effect::Pull { incarnation: Incarnation(5) }), "{:?}", story.effects);
    // A container of a run that nobody heard of: its number is used too.
    let life =
        Life::new(Arc::new(assignment(plain(), None)), vec![], Heard::default(), Arc::default(), START);
    let story = Story::over(life)
        .after(Input::Heard(heard))
        .after(Input::Resume { found: vec![found(5, FoundState::Running)] });
    assert!(story.has(&Effect::Pull { incarnation: Incarnation(6) }), "{:?}", story.effects);
}

#[test]
fn numbers_that_a_full_disk_kept_out_of_the_record_are_not_used_again() {
    let heard = Input::Heard(Heard { incarnation: Incarnation(4), revision: 9 });
    let run = || Story::running(plain(), None);
    // Heard before it is known what runs: the run of the record has ended.
    let story = run();
    let life = Life::restore(story.record.clone().unwrap(), Arc::default(), story.now);
    let mut story = Story::over(life).after(heard.clone()).after(Input::Resume { found: vec![] });
    story.is(Phase::Waiting);
    story.fire(TimerKind::Backoff);
    assert_eq!(story.life.status().incarnation, Incarnation(5));
    // While it pulls, waits, or runs under a number that isn't believed.
    let story = Story::of(plain(), None).after(heard.clone());
    assert!(story.has(&Effect::Pull { incarnation: Incarnation(5) }), "{:?}", story.effects);
    let mut story = run();
    story.exit(1);
    story.feed(heard.clone());
    assert_eq!(story.life.status().incarnation, Incarnation(4));
    let mut story = run().after(heard.clone());
    assert!(story.has(&Effect::Signal { incarnation: ONE }));
    story.exit(0);
    assert_eq!((story.life.status().incarnation, story.life.status().failures), (Incarnation(5), 0));
    // And where it ends for good, so that its end is believed.
    let mut story = run().after(heard).after(Input::Stop);
    story.exit(0);
    story.is(Phase::Stopped);
    assert_eq!(story.life.status().incarnation, Incarnation(4));
}

#[test]
fn a_tasks_end_is_to_be_marked_before_its_container_goes() {
    for (kind, code, end) in
        [(task(), 0, Some(Phase::Stopped)), (task(), 1, Some(Phase::Failed)), (plain(), 1, None)]
    {
        let mut story = Story::running(kind, None);
        assert_eq!(story.record.as_ref().and_then(Record::end_to_mark), None);
        story.feed(Input::Ended { incarnation: ONE, exit: Exit::Code(code), clash: None, at: story.now });
        assert_eq!(story.record.as_ref().and_then(Record::end_to_mark), end);
        let kept = story.effects.iter().position(|effect| matches!(effect, Effect::Persist(_)));
        assert!(kept < story.effects.iter().position(|effect| matches!(effect, Effect::Remove { .. })));
    }
}
