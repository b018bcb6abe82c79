//! Stories of single lives. Random ones are in `properties`.

use std::net::SocketAddr;

use mill_model::ports::MappedPort;
use mill_model::{Ended, limits};

use super::story::{ONE, START, Story, assignment, checked, found, plain, task, with_scratch};
use super::*;
#[test]
fn a_service_without_check_or_port_is_healthy_after_a_second() {
    let mut story = Story::of(plain(), None);
    story.is(Phase::Pulling);
    assert!(story.has(&Effect::Pull { incarnation: ONE }));
    story.feed(Input::Pulled { incarnation: ONE });
    story.is(Phase::Starting);
    let [Effect::Persist(record), Effect::Start { incarnation: ONE }, Effect::Report(_)] = &story.effects[..]
    else {
        panic!("the record must be in front of the start: {:?}", story.effects)
    };
    assert_eq!(record.status.incarnation, ONE);
    story.feed(Input::Started { incarnation: ONE });
    story.is(Phase::Running);
    assert!(story.has(&Effect::Watch { incarnation: ONE }));
    assert_eq!(story.age(), Duration::from_secs(1));
    story.is(Phase::Healthy);
}

#[test]
fn a_crash_loop_waits_1_5_30_60_60_and_is_given_back_at_the_fifth() {
    let mut story = Story::of(plain(), None);
    let mut waits = vec![];
    for n in 1..=6 {
        story = story.run(n);
        story.exit(1);
        story.is(Phase::Waiting);
        let status = story.life.status();
        assert_eq!((status.failures, status.given_back), (n, n >= 5));
        assert_eq!(story.last_failure(), Some(Failure::Exited { code: 1 }));
        waits.push(story.fire(TimerKind::Backoff).as_secs());
        assert!(story.has(&Effect::Pull { incarnation: Incarnation(n + 1) }));
    }
    assert_eq!(waits, [1, 5, 30, 60, 60, 60]);
}

#[test]
fn ten_minutes_of_health_forget_the_failures_and_less_does_not() {
    let mut story = Story::running(plain(), None);
    story.exit(1);
    story.fire(TimerKind::Backoff);
    let mut story = story.run(2);
    story.age();
    let forgive = story.timers[&TimerKind::Forgive];
    assert_eq!(forgive.1, Duration::from_secs(600));
    story.exit(1);
    assert_eq!(story.life.status().failures, 2);
    story.feed(Input::Fired(forgive.0));
    assert_eq!(story.life.status().failures, 2, "an old timer acted");
    story.fire(TimerKind::Backoff);
    let mut story = story.run(3);
    story.age();
    story.fire(TimerKind::Forgive);
    assert_eq!(story.life.status().failures, 0);
    story.exit(1);
    assert_eq!(story.timers[&TimerKind::Backoff].1, Duration::from_secs(1));
}

#[test]
fn checks_hurry_until_the_first_success_and_then_keep_the_interval() {
    let mut story = Story::running(checked(), None);
    for _ in 0..200 {
        assert!(story.effects.iter().any(|effect| matches!(effect, Effect::Check { .. })));
        story.answer(Err("connection refused"));
        story.is(Phase::Running);
        assert_eq!(story.fire(TimerKind::Check), Duration::from_millis(250));
    }
    story.answer(Ok(()));
    story.is(Phase::Healthy);
    assert_eq!(story.fire(TimerKind::Check), Duration::from_secs(10));
}

#[test]
fn what_keeps_it_from_health_is_told_once_when_it_takes_long() {
    let mut story = Story::running(checked(), None);
    let told = |story: &Story| story.life.status().ailment.clone();
    while story.now < START.after(Duration::from_secs(5)) {
        assert_eq!(told(&story), None);
        story.answer(Err("early"));
        story.fire(TimerKind::Check);
    }
    for seen in ["late", "later"] {
        story.answer(Err(seen));
        assert_eq!(told(&story), Some(Failure::Unhealthy { last: "late".into() }));
        let reports = story.effects.iter().any(|effect| matches!(effect, Effect::Report(_)));
        assert_eq!(reports, seen == "late", "{:?}", story.effects);
        story.fire(TimerKind::Check);
    }
    story.answer(Ok(()));
    story.is(Phase::Healthy);
    assert_eq!(told(&story), None);
}

#[test]
fn failures_count_only_after_the_start_period_and_the_last_one_is_the_reason() {
    let mut story = Story::running(checked(), None);
    story.answer(Err("a"));
    story.fire(TimerKind::StartPeriod);
    for (seen, phase) in [("b", Phase::Running), ("c", Phase::Running), ("d", Phase::Stopping)] {
        story.fire(TimerKind::Check);
        story.answer(Err(seen));
        story.is(phase);
    }
    assert!(story.has(&Effect::Signal { incarnation: ONE }));
    story.exit(0);
    story.is(Phase::Waiting);
    assert_eq!(story.last_failure(), Some(Failure::Unhealthy { last: "d".into() }));
}

#[test]
fn an_unhealthy_one_loses_traffic_at_once_and_is_restarted_after_the_drain_unless_it_recovers() {
    let mut story = Story::running(checked(), None);
    story.answer(Ok(()));
    let fail = |story: &mut Story| {
        for phase in [Phase::Healthy, Phase::Healthy, Phase::Unhealthy] {
            story.fire(TimerKind::Check);
            story.answer(Err("500"));
            story.is(phase);
        }
        assert_eq!(story.timers[&TimerKind::Drain].1, Duration::from_secs(7));
    };
    fail(&mut story);
    let drain = story.timers[&TimerKind::Drain].0;
    story.fire(TimerKind::Check);
    story.answer(Ok(()));
    story.is(Phase::Healthy);
    story.feed(Input::Fired(drain));
    story.is(Phase::Healthy);
    fail(&mut story);
    story.fire(TimerKind::Drain);
    story.is(Phase::Stopping);
    story.exit(143);
    assert_eq!(story.last_failure(), Some(Failure::Unhealthy { last: "500".into() }));
    assert_eq!(story.life.status().failures, 1);
}

#[test]
fn what_made_it_unhealthy_is_said_once_within_bounds_and_outlives_the_daemon() {
    let mut story = Story::running(checked(), None);
    story.answer(Ok(()));
    let long = "x".repeat(limits::SEEN_CHARS_MAX * 2);
    for seen in ["a", "b", &long] {
        story.fire(TimerKind::Check);
        story.answer(Err(seen));
    }
    story.is(Phase::Unhealthy);
    let Some(Failure::Unhealthy { last }) = story.life.status().ailment.clone() else { panic!() };
    assert_eq!((last.chars().count(), last.chars().last()), (limits::SEEN_CHARS_MAX, Some('…')));
    story.fire(TimerKind::Check);
    story.answer(Err("something else"));
    assert!(!story.effects.iter().any(|effect| matches!(effect, Effect::Report(_))), "{:?}", story.effects);

    // The next daemon has made no check of its own when its time is up.
    let mut story = story.restarted(Duration::ZERO, vec![found(1, FoundState::Running)]);
    story.is(Phase::Unhealthy);
    story.fire(TimerKind::Drain);
    assert_eq!(story.life.status().ailment, None, "it isn't unhealthy any more, it stops");
    story.exit(143);
    assert_eq!(story.last_failure(), Some(Failure::Unhealthy { last }));
}

#[test]
fn a_slow_answer_delays_the_next_check_and_never_doubles_it() {
    let mut story = Story::running(checked(), None);
    story.fire(TimerKind::Check);
    assert!(!story.effects.iter().any(|effect| matches!(effect, Effect::Check { .. })));
    story.answer(Err("slow"));
    assert!(story.effects.iter().any(|effect| matches!(effect, Effect::Check { .. })));
}

#[test]
fn a_port_that_someone_else_holds_is_named() {
    let clash = || Clash { port: 80, holder: "web-31ab".into() };
    let taken = Some(Failure::PortTaken { port: 80, holder: "web-31ab".into() });
    // Dies of it.
    let mut story = Story::running(plain(), Some(80));
    let at = story.now;
    story.feed(Input::Ended { incarnation: ONE, exit: Exit::Code(1), clash: Some(clash()), at });
    assert_eq!(story.last_failure(), taken);
    // Never listens.
    let mut story = Story::running(plain(), Some(80));
    let failed = || CheckFailure { seen: "refused".into(), clash: Some(clash()) };
    story.feed(Input::Checked { incarnation: ONE, result: Err(failed()) });
    story.is(Phase::Running);
    story.fire(TimerKind::StartPeriod);
    story.fire(TimerKind::Check);
    story.feed(Input::Checked { incarnation: ONE, result: Err(failed()) });
    story.is(Phase::Stopping);
    story.exit(0);
    assert_eq!(story.last_failure(), taken);
    // Was healthy: the port isn't why it died.
    let mut story = Story::running(plain(), Some(80));
    story.answer(Ok(()));
    story.feed(Input::Ended { incarnation: ONE, exit: Exit::Code(1), clash: Some(clash()), at });
    assert_eq!(story.last_failure(), Some(Failure::Exited { code: 1 }));
}

#[test]
fn a_service_with_a_port_is_healthy_when_it_accepts_and_is_not_asked_again() {
    let mut story = Story::running(plain(), Some(80));
    for _ in 0..500 {
        story.answer(Err("refused"));
        story.fire(TimerKind::Check);
    }
    story.is(Phase::Running);
    let check = story.timers[&TimerKind::Check].0;
    story.answer(Ok(()));
    story.is(Phase::Healthy);
    story.feed(Input::Fired(check));
    assert_eq!(story.effects, []);
}

#[test]
fn how_a_container_ends_is_told_apart() {
    let service = |exit| {
        let mut story = Story::running(plain(), None);
        let at = story.now;
        story.feed(Input::Ended { incarnation: ONE, exit, clash: None, at });
        (story.life.phase(), story.last_failure().unwrap())
    };
    for (exit, failure) in [
        (Exit::Code(0), Failure::Exited { code: 0 }),
        (Exit::Code(3), Failure::Exited { code: 3 }),
        (Exit::Signal(11), Failure::Signalled { signal: 11 }),
        (Exit::OutOfMemory, Failure::OutOfMemory),
        (Exit::NodeOutOfMemory, Failure::NodeOutOfMemory),
        (Exit::Vanished, Failure::Vanished),
    ] {
        assert_eq!(service(exit), (Phase::Waiting, failure));
    }
}

#[test]
fn a_task_ends_once_with_its_code() {
    for (code, phase, failure) in
        [(0, Phase::Stopped, None), (2, Phase::Failed, Some(Failure::Exited { code: 2 }))]
    {
        let mut story = Story::running(task(), None);
        story.exit(code);
        story.is(phase);
        assert_eq!(story.last_failure(), failure);
        assert!(story.life.is_over());
    }
    let mut story = Story::of(task(), None);
    let failure = Failure::NoSuchImage { detail: "404".into() };
    story.feed(Input::PullFailed { incarnation: ONE, failure: failure.clone() });
    story.is(Phase::Failed);
    assert_eq!(story.last_failure(), Some(failure));
}

#[test]
fn a_tasks_time_goes_on_while_the_daemon_is_away() {
    let story = Story::running(task(), None);
    let mut story = story.restarted(Duration::from_secs(45), vec![found(1, FoundState::Running)]);
    story.is(Phase::Running);
    assert_eq!(story.fire(TimerKind::Deadline), Duration::from_secs(15));
    story.is(Phase::Stopping);
    assert_eq!(story.fire(TimerKind::Grace), Duration::from_secs(10));
    assert!(story.has(&Effect::Kill { incarnation: ONE }));
    story.exit(137);
    story.is(Phase::Failed);
    assert_eq!(story.last_failure(), Some(Failure::TimedOut));
}

#[test]
fn a_stop_order_wins_in_every_phase() {
    let pulling = Story::of(checked(), None).after(Input::Stop);
    pulling.is(Phase::Stopped);

    let starting = Story::of(checked(), None).after(Input::Pulled { incarnation: ONE }).after(Input::Stop);
    starting.is(Phase::Stopping);
    let mut starting = starting.after(Input::Started { incarnation: ONE });
    assert!(starting.has(&Effect::Signal { incarnation: ONE }));
    starting.exit(0);
    starting.is(Phase::Stopped);

    let not_started = Story::of(checked(), None).after(Input::Pulled { incarnation: ONE }).after(Input::Stop);
    let failure = Failure::Runtime { detail: "no".into() };
    let not_started = not_started.after(Input::StartFailed { incarnation: ONE, failure });
    assert!(not_started.has(&Effect::Remove { incarnation: ONE }));
    let not_started = not_started.after(Input::Removed { incarnation: ONE });
    not_started.is(Phase::Stopped);

    let mut waiting = Story::running(checked(), None);
    waiting.exit(1);
    let waiting = waiting.after(Input::Stop);
    waiting.is(Phase::Stopped);
    assert_eq!(waiting.last_failure(), Some(Failure::Exited { code: 1 }), "why it last ended is kept");

    let mut unhealthy = Story::running(checked(), None);
    unhealthy.fire(TimerKind::StartPeriod);
    for _ in 0..3 {
        unhealthy.answer(Err("500"));
        unhealthy.fire(TimerKind::Check);
    }
    unhealthy.is(Phase::Stopping);
    let mut unhealthy = unhealthy.after(Input::Stop);
    assert!(!unhealthy.has(&Effect::Signal { incarnation: ONE }), "one signal is enough");
    unhealthy.exit(0);
    unhealthy.is(Phase::Stopped);
    assert_eq!(unhealthy.last_failure(), None);
}

#[test]
fn stopping_is_signal_grace_kill_wait_remove() {
    let mut story = Story::running(plain(), None).after(Input::Stop);
    assert!(story.has(&Effect::Signal { incarnation: ONE }));
    assert_eq!(story.fire(TimerKind::Grace), Duration::from_secs(10));
    assert!(story.has(&Effect::Kill { incarnation: ONE }));
    story.fire(TimerKind::Kill);
    assert!(story.has(&Effect::Kill { incarnation: ONE }), "a kill that had no effect is repeated");
    let at = story.now;
    story.feed(Input::Ended { incarnation: ONE, exit: Exit::Signal(9), clash: None, at });
    assert!(story.has(&Effect::Remove { incarnation: ONE }));
    story.is(Phase::Stopping);
    story.feed(Input::RemoveFailed { incarnation: ONE });
    story.is(Phase::Stopping);
    assert_eq!(story.fire(TimerKind::Remove), Duration::from_secs(1));
    assert!(story.has(&Effect::Remove { incarnation: ONE }));
    story.feed(Input::Removed { incarnation: ONE });
    story.is(Phase::Stopped);
    assert_eq!(story.last_failure(), None);
}

#[test]
fn the_next_incarnation_waits_until_nothing_is_left_of_the_last() {
    let mut story = Story::running(plain(), None);
    let at = story.now;
    story.feed(Input::Ended { incarnation: ONE, exit: Exit::Code(1), clash: None, at });
    story.fire(TimerKind::Backoff);
    story.feed(Input::Pulled { incarnation: Incarnation(2) });
    story.is(Phase::Pulling);
    story.feed(Input::Removed { incarnation: ONE });
    assert!(story.has(&Effect::Start { incarnation: Incarnation(2) }));
}

#[test]
fn a_daemon_that_starts_again_takes_each_phase_from_where_it_is() {
    let away = Duration::from_secs(3);
    let pulling = Story::of(plain(), None).restarted(away, vec![]);
    assert!(pulling.has(&Effect::Pull { incarnation: ONE }));

    let starting = || Story::of(plain(), None).after(Input::Pulled { incarnation: ONE });
    let story = starting().restarted(away, vec![found(1, FoundState::Running)]);
    story.is(Phase::Running);
    for state in [vec![], vec![found(1, FoundState::Created)]] {
        let story = starting().restarted(away, state);
        assert!(story.has(&Effect::Remove { incarnation: ONE }));
        assert_eq!((story.life.current(), story.life.status().failures), (Incarnation(2), 0));
    }

    let healthy = || {
        let mut story = Story::running(checked(), None);
        story.answer(Ok(()));
        story
    };
    let story = healthy().restarted(away, vec![found(1, FoundState::Running)]);
    story.is(Phase::Healthy);
    assert!(!story.effects.iter().any(|effect| matches!(effect, Effect::Report(_) | Effect::Persist(_))));
    let story = healthy().restarted(away, vec![]);
    assert_eq!(story.last_failure(), Some(Failure::Vanished));

    let at = START.after(Duration::from_secs(2));
    let ended = FoundState::Ended { exit: Exit::Code(9), at };
    let story = healthy().restarted(away, vec![found(1, ended)]);
    let end = Ended { incarnation: ONE, failure: Some(Failure::Exited { code: 9 }), at, code: Some(9) };
    assert_eq!(story.life.status().last_end, Some(end));
    assert_eq!(story.timers[&TimerKind::Backoff].1, Duration::ZERO, "its pause passed while nobody looked");

    let mut waiting = Story::running(plain(), None);
    waiting.exit(1);
    waiting.fire(TimerKind::Backoff);
    let mut waiting = waiting.run(2);
    waiting.exit(1);
    let story = waiting.restarted(away, vec![found(1, FoundState::Created)]);
    assert_eq!(story.timers[&TimerKind::Backoff].1, Duration::from_secs(2));
    for removed in [ONE, Incarnation(2)] {
        // The last one too, though it isn't found: its removal may have been broken off half way.
        assert!(story.has(&Effect::Remove { incarnation: removed }), "{:?}", story.effects);
    }

    let stopping = healthy().after(Input::Stop).restarted(away, vec![found(1, FoundState::Running)]);
    assert!(!stopping.has(&Effect::Signal { incarnation: ONE }), "it had its signal");
    assert_eq!(stopping.timers[&TimerKind::Grace].1, Duration::from_secs(7));
    let stopped = healthy().after(Input::Stop).restarted(away, vec![]);
    stopped.is(Phase::Stopping);
    stopped.after(Input::Removed { incarnation: ONE }).is(Phase::Stopped);
}

#[test]
fn the_backoff_of_a_predecessor_goes_with_its_successor() {
    let successor = Assignment { failures: 5, ..assignment(plain(), None) };
    let life = Life::new(Arc::new(successor), vec![], Heard::default(), Arc::default(), START);
    let mut story = Story::over(life).after(Input::Resume { found: vec![] });
    story.is(Phase::Waiting);
    assert!(!story.life.status().given_back, "it hasn't been tried here");
    assert_eq!(story.fire(TimerKind::Backoff), Duration::from_secs(60));
    let mut story = story.run(1);
    story.exit(1);
    assert!(story.life.status().given_back);
}

#[test]
fn what_an_alloc_has_for_itself_goes_after_its_last_container_and_before_its_end() {
    let assignment = Arc::new(with_scratch(assignment(plain(), None)));
    let life = Life::new(assignment, vec![], Heard::default(), Arc::default(), START);
    let mut story = Story::over(life).after(Input::Resume { found: vec![] }).run(1);
    story.exit(1);
    story.is(Phase::Waiting);
    assert!(!story.has(&Effect::Clear), "its next container needs it");
    let story = story.after(Input::Stop);
    assert!(story.has(&Effect::Clear));
    story.is(Phase::Stopping);
    let mut story = story.after(Input::ClearFailed);
    story.is(Phase::Stopping);
    story.fire(TimerKind::Remove);
    assert!(story.has(&Effect::Clear));
    // A daemon that starts again in between has both done once more.
    let story = story.restarted(Duration::ZERO, vec![]);
    assert!(story.has(&Effect::Remove { incarnation: ONE }) && !story.has(&Effect::Clear));
    let story = story.after(Input::Removed { incarnation: ONE });
    assert!(story.has(&Effect::Clear));
    story.after(Input::Cleared).is(Phase::Stopped);
}

#[test]
fn one_without_a_check_is_healthy_only_if_it_is_seen_to_run() {
    let mut story = Story::running(plain(), None);
    story.fire(TimerKind::Age);
    story.is(Phase::Running);
    for _ in 0..3 {
        story.answer(Err("the runtime is away"));
        story.is(Phase::Running);
        assert_eq!(story.fire(TimerKind::Age), Duration::from_millis(250));
    }
    story.answer(Ok(()));
    story.is(Phase::Healthy);
}

#[test]
fn one_that_became_well_while_no_daemon_looked_is_kept() {
    let mut story =
        Story::running(checked(), None).after(Input::Checked { incarnation: ONE, result: Ok(()) });
    for _ in 0..3 {
        story.fire(TimerKind::Check);
        story.answer(Err("500"));
    }
    story.is(Phase::Unhealthy);
    let away = Duration::from_secs(3600);
    let mut story = story.restarted(away, vec![found(1, FoundState::Running)]);
    assert_eq!(story.timers[&TimerKind::Drain].1, Duration::from_secs(2), "the check's timeout");
    story.answer(Ok(()));
    story.is(Phase::Healthy);
}

#[test]
fn where_a_program_listens_is_looked_up_once_it_is_healthy_and_forgotten_with_its_run() {
    let assignment = assignment(plain(), Some(6379));
    let declared = assignment.container.ports[0].clone();
    let ports = vec![MappedPort::new(declared, 20_000.try_into().unwrap())];
    let life = Life::new(Arc::new(assignment), ports, Heard::default(), Arc::default(), START);
    let mut story = Story::over(life).after(Input::Resume { found: vec![] }).run(1);
    let seen: SocketAddr = "127.0.0.1:6379".parse().unwrap();
    story.answer(Ok(()));
    assert!(story.has(&Effect::Locate { incarnation: ONE }));
    let found = |incarnation| Input::Located { incarnation, seen: vec![Some(seen)] };
    let story = story.after(found(Incarnation(7))).after(found(ONE));
    assert_eq!(story.life.status().ports[0].seen, Some(seen));
    assert!(story.effects.iter().any(|effect| matches!(effect, Effect::Report(_))));
    let again = story.after(found(ONE));
    assert!(again.effects.is_empty(), "nothing is new: {:?}", again.effects);
    // The daemon may have died before it was seen.
    let mut story = again.restarted(Duration::ZERO, vec![self::found(1, FoundState::Running)]);
    assert!(story.has(&Effect::Locate { incarnation: ONE }));
    story.exit(1);
    story.fire(TimerKind::Backoff);
    assert_eq!(story.life.status().ports[0].seen, None);
}
