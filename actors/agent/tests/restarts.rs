//! The daemon, or one actor, dies in each phase of a life; containers never do.

use mill_drivers::probes::Answer;

use super::*;

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Dies {
    Daemon,
    Actor,
}

impl World {
    async fn kill(&mut self, who: Dies) {
        match who {
            Dies::Daemon => self.restart_daemon(Duration::from_millis(300)).await,
            Dies::Actor => self.restart_actor().await,
        }
    }
}

const BOTH: [Dies; 2] = [Dies::Daemon, Dies::Actor];

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_runtime_that_is_away_says_so_and_begins_when_it_is_back() {
    let world = World::new().await;
    world.fakes.containers.break_down();
    world.run(without_ports(plain())).await;
    until("it is said", async || world.heard.lock().unwrap().iter().any(|said| said.ailment.is_some())).await;
    let status = world.heard.lock().unwrap().last().cloned().unwrap();
    assert_eq!((status.phase, status.incarnation), (Phase::Pending, Incarnation(0)));
    assert!(matches!(status.ailment, Some(Failure::Runtime { .. })), "{status:?}");
    world.fakes.containers.repair();
    let healthy = world.reach(Phase::Healthy).await;
    assert_eq!((healthy.ailment, healthy.incarnation), (None, Incarnation(1)));
}

#[tokio::test(start_paused = true)]
async fn a_death_while_pulling_or_starting_ends_in_one_healthy_container() {
    for who in BOTH {
        for phase in [Phase::Pulling, Phase::Starting] {
            let mut world = World::new().await;
            world.fakes.images.slow_down(secs(2));
            world.fakes.containers.slow_down(secs(1));
            world.run(without_ports(plain())).await;
            world.reach(phase).await;
            world.kill(who).await;
            let healthy = world.reach(Phase::Healthy).await;
            assert_eq!(healthy.failures, 0, "{who:?} in {phase}");
            assert_eq!(world.running().len(), 1, "{who:?} in {phase}");
            assert_eq!(world.running(), [healthy.incarnation.0]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_death_while_healthy_is_noticed_by_nobody() {
    for who in BOTH {
        let mut world = World::new().await;
        world.run(assignment(http())).await;
        world.reach(Phase::Running).await;
        let mapped = world.mapped().await;
        world.listens(1, mapped, Some(Answer::Well));
        let before = world.reach(Phase::Healthy).await;
        world.kill(who).await;
        tokio::time::sleep(secs(60)).await;
        let after = world.status().await;
        assert_eq!(after, before, "{who:?}");
        assert_eq!((world.started(), world.running()), (vec![1], vec![1]));
        // And its end is still seen.
        world.fakes.containers.end(&container(1), 9);
        let waiting = world.reach(Phase::Waiting).await;
        assert_eq!((failure(&waiting), waiting.failures), (Some(Failure::Exited { code: 9 }), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_while_the_daemon_is_away_is_told_with_its_own_time() {
    let mut world = World::new().await;
    world.run(without_ports(plain())).await;
    world.reach(Phase::Healthy).await;
    world.fakes.containers.end(&container(1), 7);
    let ended = world.fakes.clock_now();
    world.restart_daemon(Duration::from_millis(300)).await;
    let waiting = world.reach(Phase::Waiting).await;
    assert_eq!((waiting.since, failure(&waiting)), (ended, Some(Failure::Exited { code: 7 })));
    let healthy = world.reach(Phase::Healthy).await;
    assert_eq!((healthy.incarnation, healthy.failures), (Incarnation(2), 1));
}

#[tokio::test(start_paused = true)]
async fn a_death_while_waiting_keeps_count_and_pause() {
    for who in BOTH {
        let mut world = World::new().await;
        world.script(ends(Duration::from_millis(100), 1));
        world.run(without_ports(plain())).await;
        until("it has failed thrice", async || world.status().await.failures == 3).await;
        let waiting = world.reach(Phase::Waiting).await;
        tokio::time::sleep(secs(10)).await;
        world.kill(who).await;
        let begun = world.hear(Phase::Pulling, 4).await;
        assert_eq!((begun.failures, begun.incarnation), (3, Incarnation(4)), "{who:?}");
        let pause = begun.since.since(waiting.since);
        assert!((secs(30)..secs(31)).contains(&pause), "{who:?}: {pause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_death_while_stopping_ends_in_a_stop() {
    for who in BOTH {
        let mut world = World::new().await;
        world.script(Script { obeys_after: None, ..Script::default() });
        world.run(without_ports(plain())).await;
        world.reach(Phase::Healthy).await;
        world.stop().await;
        world.reach(Phase::Stopping).await;
        let told = Instant::now();
        tokio::time::sleep(secs(4)).await;
        world.kill(who).await;
        world.reach(Phase::Stopped).await;
        assert!((secs(10)..secs(11)).contains(&told.elapsed()), "{who:?}: {:?}", told.elapsed());
        assert!(world.running().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_order_wins_in_each_phase_and_over_a_death() {
    for who in BOTH {
        for phase in [Phase::Pulling, Phase::Starting, Phase::Running, Phase::Healthy, Phase::Waiting] {
            let mut world = World::new().await;
            world.fakes.images.slow_down(secs(2));
            world.fakes.containers.slow_down(Duration::from_millis(200));
            if phase == Phase::Waiting {
                world.script(ends(Duration::from_millis(10), 1));
            }
            world.run(without_ports(plain())).await;
            world.reach(phase).await;
            assert_eq!(world.stop().await, Outcome::Accepted);
            if world.status().await.phase != Phase::Stopped {
                world.kill(who).await;
            }
            world.reach(Phase::Stopped).await;
            tokio::time::sleep(secs(120)).await;
            assert!(world.running().is_empty(), "{who:?} in {phase}");
            assert_eq!(world.status().await.phase, Phase::Stopped, "{who:?} in {phase}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tasks_timeout_goes_on_while_the_daemon_is_away() {
    let mut world = World::new().await;
    world.run(without_ports(task())).await;
    let running = world.reach(Phase::Running).await;
    tokio::time::sleep(secs(10)).await;
    world.restart_daemon(secs(30)).await;
    let stopping = world.hear(Phase::Stopping, 1).await;
    let lasted = stopping.since.since(running.since);
    assert!((secs(60)..secs(61)).contains(&lasted), "{lasted:?}");
    assert_eq!(failure(&world.reach(Phase::Failed).await), Some(Failure::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_container_was_being_made_runs_once() {
    for who in BOTH {
        let mut world = World::new().await;
        world.fakes.containers.slow_down(secs(2));
        world.run(without_ports(task())).await;
        world.reach(Phase::Starting).await;
        world.kill(who).await;
        world.reach(Phase::Running).await;
        assert_eq!(world.started(), [2], "{who:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_record_can_not_be_read_is_not_begun_again_though_nobody_heard_of_it() {
    let mut world = World::new().await;
    world.run(without_ports(task())).await;
    world.reach(Phase::Running).await;
    world.fakes.records.be_damaged(true);
    world.restart_daemon(secs(1)).await;
    world.run(without_ports(task())).await;
    let status = world.reach(Phase::Failed).await;
    assert!(matches!(failure(&status), Some(Failure::Runtime { detail }) if detail.contains("lost")));
    assert_eq!((world.started(), world.running()), (vec![1], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_away_is_waited_for() {
    let mut world = World::new().await;
    world.run(without_ports(plain())).await;
    let before = world.reach(Phase::Healthy).await;
    world.fakes.containers.break_down();
    world.restart_daemon(secs(1)).await;
    world.open(TERM).await.unwrap();
    tokio::time::sleep(secs(120)).await;
    assert_eq!(world.status().await, before, "nothing was decided in the dark");
    // An order that comes meanwhile is carried out when it can be.
    assert_eq!(world.stop().await, Outcome::Accepted);
    tokio::time::sleep(secs(5)).await;
    world.fakes.containers.repair();
    world.reach(Phase::Stopped).await;
    assert!(world.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_comes_back_is_told_what_it_missed() {
    let world = World::new().await;
    world.script(Script { obeys_after: None, ..Script::default() });
    world.run(without_ports(plain())).await;
    world.reach(Phase::Healthy).await;
    // Its record knows nothing of the order.
    world.fakes.records.be_full(true);
    assert_eq!(world.stop().await, Outcome::Accepted);
    world.reach(Phase::Stopping).await;
    world.restart_actor().await;
    let stopped = world.reach(Phase::Stopped).await;
    assert!(world.running().is_empty());
    let heard = world.heard.lock().unwrap().clone();
    assert!(heard.windows(2).all(|pair| pair[0].revision < pair[1].revision), "{heard:#?}");
    assert_eq!(heard.last(), Some(&stopped));
}
