//! What a leader says, and what is cleared away.

use super::*;

/// A daemon after a restart: an alloc's container runs, and its record is lost.
async fn forgetful() -> World {
    let mut world = World::new().await;
    world.run(without_ports(plain())).await;
    world.reach(Phase::Healthy).await;
    world.fakes.records.forget(&id(WEB));
    world.restart_daemon(secs(1)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn leftovers_go_only_after_the_leader_has_said_all() {
    let world = forgetful().await;
    let inventory = world.open(TERM).await.unwrap();
    assert!(inventory.allocs.is_empty());
    tokio::time::sleep(secs(300)).await;
    assert_eq!(world.running(), [1], "it was killed on the strength of a stale state");
    world.ask(|reply| Msg::CaughtUp { term: TERM, reply }).await.unwrap();
    until("it is cleared away", async || world.running().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn leftovers_that_take_longer_than_until_the_next_look_are_removed_all_the_same() {
    let world = forgetful().await;
    world.open(TERM).await.unwrap();
    // Looking and removing: together more than the minute between two looks.
    world.fakes.containers.slow_down(secs(40));
    world.ask(|reply| Msg::CaughtUp { term: TERM, reply }).await.unwrap();
    until("it is cleared away", async || world.running().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn an_alloc_whose_record_was_lost_is_begun_anew_without_ever_running_twice() {
    let world = forgetful().await;
    world.open(TERM).await.unwrap();
    let heard = Heard { incarnation: Incarnation(1), revision: 40 };
    let assignment = Arc::new(without_ports(plain()));
    assert_eq!(world.order(Order::Run { term: TERM, assignment, heard }).await, Outcome::Accepted);
    let healthy = world.reach(Phase::Healthy).await;
    assert_eq!(healthy.incarnation, Incarnation(2));
    assert!(healthy.revision > 40);
    assert_eq!(world.running(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_leader_is_refused_at_every_door() {
    let world = World::new().await;
    world.open(Term(5)).await.unwrap();
    let refusal = Refusal::StaleTerm { given: TERM, seen: Term(5) };
    assert_eq!(world.open(TERM).await, Err(refusal.clone()));
    assert_eq!(world.ask(|reply| Msg::CaughtUp { term: TERM, reply }).await, Err(refusal.clone()));
    assert_eq!(world.stop().await, Outcome::Refused(refusal));
}

#[tokio::test(start_paused = true)]
async fn statuses_are_sent_again_until_a_leader_acknowledges_them() {
    let world = World::new().await;
    let heard = Arc::new(Mutex::new(vec![]));
    let noted = Arc::clone(&heard);
    let news = Outlet::new(move |news| {
        if let News::Statuses(batch) = news {
            noted.lock().unwrap().push(batch);
        }
        Ok(())
    });
    world.ask(|reply| Msg::Open { term: TERM, news, reply }).await.unwrap();
    world.run(without_ports(plain())).await;
    world.reach(Phase::Healthy).await;
    until("it was sent three times", async || heard.lock().unwrap().len() == 3).await;
    let batches = heard.lock().unwrap().clone();
    assert!(batches.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    assert_eq!(batches[0].statuses[0].phase, Phase::Pulling, "the first goes out at once");
    assert_eq!(batches[2].statuses.len(), 1);
    assert_eq!(batches[2].statuses[0].phase, Phase::Healthy, "the latest replaces what came before");
    world.tree().root().tell(Msg::Acknowledged { sequence: batches[2].sequence }).unwrap();
    tokio::time::sleep(secs(60)).await;
    assert_eq!(heard.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_image_is_kept_for_an_hour_after_its_last_use() {
    let world = World::new().await;
    world.ask(|reply| Msg::CaughtUp { term: TERM, reply }).await.unwrap();
    world.run(without_ports(plain())).await;
    world.reach(Phase::Healthy).await;
    tokio::time::sleep(secs(2 * 3600)).await;
    assert_eq!(world.fakes.images_stored().await, 1, "an image in use was removed");
    world.stop().await;
    world.reach(Phase::Stopped).await;
    let unused = Instant::now();
    until("the image is gone", async || world.fakes.images_stored().await == 0).await;
    let kept = unused.elapsed();
    assert!((secs(3600 - 61)..secs(3600 + 122)).contains(&kept), "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn what_has_output_is_told_at_times_and_soon_after_a_look_that_failed() {
    let world = World::new().await;
    world.run(without_ports(plain())).await;
    world.reach(Phase::Healthy).await;
    world.ask(|reply| Msg::CaughtUp { term: TERM, reply }).await.unwrap();
    let told = || world.compared.lock().unwrap().last().copied();
    until("it is told after catching up", async || told() == Some(true)).await;
    world.stop().await;
    world.reach(Phase::Stopped).await;
    world.fakes.containers.break_down();
    tokio::time::sleep(secs(61)).await;
    assert_eq!(told(), Some(true), "nobody knows which containers there are");
    world.fakes.containers.repair();
    let repaired = Instant::now();
    until("it is told again", async || told() == Some(false)).await;
    assert!(repaired.elapsed() < secs(10), "{:?}", repaired.elapsed());
}

#[tokio::test(start_paused = true)]
async fn two_replicas_share_one_pull_and_no_port() {
    let world = World::new().await;
    world.fakes.images.slow_down(secs(3));
    let second = Assignment { alloc: id("web-bbbb"), index: 1, ..assignment(plain()) };
    world.run(assignment(plain())).await;
    world.run(second).await;
    until("both run", async || world.running().len() == 2).await;
    assert_eq!(world.fakes.images.pulls(), 1);
    let ports: Vec<u16> =
        world.ask(Msg::List).await.iter().map(|status| status.ports[0].mapped.get()).collect();
    assert_ne!(ports[0], ports[1]);
}
