//! Whole lives of one alloc.

use mill_drivers::containers::{ExecOutcome, StartError};
use mill_drivers::images::PullError;
use mill_drivers::probes::Answer;
use mill_drivers::sockets::{Listener, Process};
use mill_drivers::volumes::ScratchError;
use mill_model::spec::{VolumeKind, VolumeMount};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_service_is_pulled_started_checked_stopped_and_leaves_nothing() {
    let world = World::new().await;
    world.run(assignment(http())).await;
    world.reach(Phase::Running).await;
    let mapped = world.mapped().await;
    world.listens(1, mapped, Some(Answer::Well));
    let healthy = world.reach(Phase::Healthy).await;
    assert_eq!((healthy.incarnation, healthy.failures), (Incarnation(1), 0));

    let launch = &world.fakes.containers.started()[0];
    assert!(launch.env.contains(&("PORT".to_owned(), mapped.to_string())), "{:?}", launch.env);
    assert_eq!((launch.hostname.as_str(), launch.stdout.as_os_str()), (WEB, "/fifo/out".as_ref()));

    assert_eq!(world.stop().await, Outcome::Accepted);
    let stopped = world.reach(Phase::Stopped).await;
    assert_eq!(failure(&stopped), None);
    assert_eq!(world.fakes.containers.running(), [].into());
    assert_eq!(*world.streams.lock().unwrap(), ["open web-aaaa.1", "ended web-aaaa.1"]);
    let mut phases: Vec<Phase> = world.told().into_iter().map(|(phase, ..)| phase).collect();
    // Stopping is told twice: before and after the program's end.
    phases.dedup();
    let whole =
        [Phase::Pulling, Phase::Starting, Phase::Running, Phase::Healthy, Phase::Stopping, Phase::Stopped];
    assert_eq!(phases, whole);
    until("the actor of what is over has ended", async || {
        world.tree().introspect().tree().await.find(&format!("agent/{WEB}")).is_none()
    })
    .await;

    assert_eq!(world.order(Order::Forget { term: TERM, alloc: id(WEB) }).await, Outcome::Accepted);
    until("its record is gone", async || world.fakes.records.list().await.unwrap().is_empty()).await;
    assert!(world.streams.lock().unwrap().contains(&"forget web-aaaa".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_keeps_its_times_to_the_millisecond() {
    let world = World::new().await;
    world.script(ends(Duration::from_millis(500), 3));
    world.run(without_ports(plain())).await;
    until("it has failed six times", async || world.status().await.failures == 6).await;
    let begins: Vec<u64> = world
        .told()
        .iter()
        .filter(|(phase, ..)| *phase == Phase::Pulling)
        .map(|(.., since)| *since)
        .collect();
    let pauses: Vec<u64> = begins.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Half a second of life, then 1, 5, 30, 60, 60 seconds; a timer may be a millisecond late.
    for (pause, wanted) in pauses.iter().zip([1_500, 5_500, 30_500, 60_500, 60_500]) {
        assert!((wanted..wanted + 5).contains(pause), "{pauses:?}");
    }
    assert_eq!(pauses.len(), 5);
    let status = world.status().await;
    assert!(status.given_back);
    assert_eq!(failure(&status), Some(Failure::Exited { code: 3 }));
    assert_eq!(world.started(), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_health_forget_the_failures() {
    let world = World::new().await;
    world.run(without_ports(plain())).await;
    world.reach(Phase::Healthy).await;
    world.fakes.containers.end(&container(1), 1);
    world.reach(Phase::Waiting).await;
    let healthy = world.reach(Phase::Healthy).await;
    assert_eq!(healthy.failures, 1);
    until("they are forgotten", async || world.status().await.failures == 0).await;
    let lasted = world.fakes.clock_now().since(healthy.since);
    assert!((secs(600)..secs(601)).contains(&lasted), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_task_ends_with_its_code_or_at_its_timeout() {
    for (script, phase, end) in [
        (ends(secs(5), 0), Phase::Stopped, None),
        (ends(secs(5), 4), Phase::Failed, Some(Failure::Exited { code: 4 })),
        (Script { out_of_memory: true, ..ends(secs(5), 137) }, Phase::Failed, Some(Failure::OutOfMemory)),
        (Script { obeys_after: None, ..Script::default() }, Phase::Failed, Some(Failure::TimedOut)),
    ] {
        let world = World::new().await;
        world.script(script);
        world.run(without_ports(task())).await;
        let status = world.reach(phase).await;
        assert_eq!(failure(&status), end);
        assert_eq!(world.started(), [1], "a task is never run twice");
        assert!(world.running().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_ignores_its_stop_signal_is_killed_after_its_grace() {
    let world = World::new().await;
    world.script(Script { obeys_after: None, ..Script::default() });
    world.run(without_ports(plain())).await;
    world.reach(Phase::Healthy).await;
    let told = Instant::now();
    world.stop().await;
    world.reach(Phase::Stopped).await;
    assert!((secs(10)..secs(11)).contains(&told.elapsed()), "{:?}", told.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_pulled_or_started_says_why_and_is_tried_again() {
    let world = World::new().await;
    let image = assignment(plain()).container.image;
    world.fakes.images.lose(&image);
    world.run(without_ports(plain())).await;
    let waiting = world.reach(Phase::Waiting).await;
    assert!(matches!(failure(&waiting), Some(Failure::NoSuchImage { .. })), "{waiting:?}");
    assert!(world.started().is_empty());

    let world = World::new().await;
    let user = StartError::NoSuchUser { user: "bob".into() };
    world.fakes.containers.fail_next_start(user);
    world.run(without_ports(plain())).await;
    let waiting = world.reach(Phase::Waiting).await;
    assert_eq!(failure(&waiting), Some(Failure::NoSuchUser { user: "bob".into() }));
    let healthy = world.reach(Phase::Healthy).await;
    assert_eq!((healthy.incarnation, healthy.failures), (Incarnation(2), 1));
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_stumbles_costs_the_alloc_nothing() {
    let world = World::new().await;
    for status in [503, 429] {
        let url = "https://r.example/v2/".to_owned();
        world.fakes.images.fail_next(PullError::Registry { url, status });
    }
    world.run(without_ports(plain())).await;
    let healthy = world.reach(Phase::Healthy).await;
    assert_eq!((healthy.incarnation, healthy.failures), (Incarnation(1), 0));
    // Pauses of one and five seconds, and the second that makes it healthy.
    assert!(healthy.since >= Timestamp(7_000), "{healthy:?}");
}

#[tokio::test(start_paused = true)]
async fn a_check_by_program_says_what_the_program_said() {
    let world = World::new().await;
    let exec = ExecOutcome { code: 2, output: "connecting\nno response\n\n".into() };
    world.script(Script { exec, ..Script::default() });
    let command = vec![mill_model::Template::text("pg_isready")];
    world.run(without_ports(checked(Probe::Exec { command }))).await;
    let waiting = world.reach(Phase::Waiting).await;
    let last = "`pg_isready` exited with code 2: no response".to_owned();
    assert_eq!(failure(&waiting), Some(Failure::Unhealthy { last }));
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_service_loses_traffic_at_once_and_is_restarted_after_its_drain() {
    let world = World::new().await;
    world.run(assignment(http())).await;
    world.reach(Phase::Running).await;
    let mapped = world.mapped().await;
    world.listens(1, mapped, Some(Answer::Well));
    world.reach(Phase::Healthy).await;
    world.listens(1, mapped, Some(Answer::Ill));
    let unhealthy = world.reach(Phase::Unhealthy).await;
    assert_eq!(world.running(), [1], "requests in hand get their time");
    let stopping = world.hear(Phase::Stopping, 1).await;
    assert_eq!(stopping.since.since(unhealthy.since), secs(7));
    let waiting = world.reach(Phase::Waiting).await;
    let Some(Failure::Unhealthy { last }) = failure(&waiting) else { panic!("{waiting:?}") };
    assert!(last.starts_with("GET /health on 127.0.0.1:") && last.contains("500"), "{last}");
    world.listens(2, mapped, Some(Answer::Well));
    let healthy = world.reach(Phase::Healthy).await;
    assert_eq!((healthy.incarnation, healthy.failures), (Incarnation(2), 1));
}

#[tokio::test(start_paused = true)]
async fn a_program_that_ignores_port_is_checked_where_it_listens() {
    for kind in [plain(), http()] {
        let world = World::new().await;
        world.run(assignment(kind)).await;
        world.reach(Phase::Running).await;
        world.listens(1, 80, Some(Answer::Well));
        let healthy = world.reach(Phase::Healthy).await;
        assert_eq!(healthy.incarnation, Incarnation(1));
        let seen = Some(([127, 0, 0, 1], 80).into());
        until("it is told where", async || world.status().await.ports[0].seen == seen).await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_ones_port_is_never_taken_for_ours_and_its_holder_is_named() {
    let nginx = Process { pid: 77, name: "nginx".to_owned(), container: None };
    let other = "web-bbbb.4".parse().unwrap();
    let replica = Process { pid: 78, name: "nginx".to_owned(), container: Some(other) };
    for (process, holder) in [(nginx, "process `nginx` (pid 77)"), (replica, "web-bbbb")] {
        let taken = Some(Failure::PortTaken { port: 80, holder: holder.to_owned() });
        for script in [Script::default(), ends(Duration::from_millis(40), 1)] {
            let world = World::new().await;
            let (address, process) = ([0, 0, 0, 0].into(), Some(process.clone()));
            world.fakes.sockets.listen(Listener { port: 80, protocol: Protocol::Tcp, address, process });
            // It answers, and well; but it isn't ours.
            world.fakes.probes.answer(([127, 0, 0, 1], 80).into(), Some(Answer::Well));
            world.script(script);
            world.run(assignment(plain())).await;
            let waiting = world.reach(Phase::Waiting).await;
            assert_eq!(failure(&waiting), taken);
            assert!(world.told().iter().all(|(phase, ..)| *phase != Phase::Healthy));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_starts_nothing_and_stops_what_it_is_told() {
    let world = World::new().await;
    world.run(without_ports(plain())).await;
    world.reach(Phase::Healthy).await;
    world.fakes.records.be_full(true);
    world.fakes.containers.end(&container(1), 1);
    world.reach(Phase::Waiting).await;
    until("the next start has failed", async || world.status().await.failures == 2).await;
    let status = world.status().await;
    assert!(matches!(failure(&status), Some(Failure::Runtime { detail }) if detail.contains("record")));
    assert_eq!(world.started(), [1]);
    world.stop().await;
    world.reach(Phase::Stopped).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_is_not_started_where_it_can_not_be_written_down_that_it_may_have_run() {
    let world = World::new().await;
    world.fakes.containers.slow_down(secs(2));
    world.run(without_ports(task())).await;
    world.reach(Phase::Starting).await;
    world.fakes.records.be_full(true);
    let status = world.reach(Phase::Failed).await;
    assert!(matches!(failure(&status), Some(Failure::Runtime { detail }) if detail.contains("record")));
    assert!(world.started().is_empty(), "its container was made, and never ran");
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_volume_outlives_its_containers_and_ends_with_the_alloc() {
    let world = World::new().await;
    let (name, kind) = ("tmp".parse().unwrap(), VolumeKind::Ephemeral { size: None });
    let volume = VolumeMount { name, path: "/tmp".to_owned(), kind, read_only: false };
    let mut assignment = without_ports(plain());
    assignment.container.volumes.push(volume);
    world.run(assignment).await;
    world.reach(Phase::Healthy).await;
    let mount = &world.fakes.containers.started()[0].mounts[0];
    assert_eq!((mount.source.to_str(), mount.path.as_str()), (Some("/fake/web-aaaa/tmp"), "/tmp"));
    world.fakes.containers.end(&container(1), 1);
    world.reach(Phase::Waiting).await;
    assert_eq!(world.fakes.scratch.volumes().len(), 1);
    world.reach(Phase::Healthy).await;
    world.fakes.scratch.fail_next(ScratchError::NotInstalled { program: "umount" });
    world.stop().await;
    world.reach(Phase::Stopped).await;
    assert!(world.fakes.scratch.volumes().is_empty(), "it ended before its volume did");
}

#[tokio::test(start_paused = true)]
async fn an_end_told_on_a_full_disk_is_known_to_the_next_daemon() {
    for (kind, script, phase) in [
        (plain(), Script::default(), Phase::Stopped),
        (task(), ends(secs(5), 0), Phase::Stopped),
        (task(), ends(secs(5), 4), Phase::Failed),
    ] {
        let mut world = World::new().await;
        world.script(script);
        let is_task = matches!(kind, Kind::Task { .. });
        world.run(without_ports(kind)).await;
        let before = world.reach(if is_task { Phase::Running } else { Phase::Healthy }).await;
        world.fakes.records.be_full(true);
        if !is_task {
            world.stop().await;
        }
        let told = world.reach(phase).await;
        world.fakes.records.be_full(false);
        world.restart_daemon(secs(1)).await;
        let after = world.status().await;
        assert_eq!((after.phase, after.incarnation), (phase, told.incarnation));
        assert!(after.revision <= before.revision, "the record was written after all");
        tokio::time::sleep(secs(120)).await;
        assert_eq!((world.started(), world.running()), (vec![1], vec![]), "it was begun again");
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_the_disk_takes_in_no_form_is_told_when_it_does() {
    let world = World::new().await;
    world.run(without_ports(plain())).await;
    world.reach(Phase::Healthy).await;
    world.fakes.records.be_read_only(true);
    world.stop().await;
    until("its container is gone", async || world.running().is_empty()).await;
    tokio::time::sleep(secs(300)).await;
    assert_eq!(world.status().await.phase, Phase::Stopping, "the next daemon would begin it again");
    assert!(world.told().iter().all(|(phase, ..)| *phase != Phase::Stopped));
    world.fakes.records.be_read_only(false);
    world.reach(Phase::Stopped).await;
}
