//! How far images are: in a deploy's progress, and of the allocs that wait for them. What allocs use.

use std::pin::pin;
use std::sync::Arc;

use mill_api::inspect::Inspected;
use mill_api::nodes::Usage;
use mill_api::progress::{Progress, Step};
use mill_drivers::images::{Layer, Progress as Pull};
use mill_fsm::DeployKind;
use mill_model::{Bytes, Ended, Failure, Incarnation, Millicores, Phase};

use super::room::Room;
use super::streaming::{next, rest, said};
use super::world::{World, project, service, workload};
use crate::http::Moment;

/// A node that fetches `web:1`: of two layers one is here, and so many bytes of the other.
fn fetching(done: u64, trouble: Option<&str>) -> Moment {
    let digest = super::room::digest('d');
    let here = Layer { digest: digest.clone(), bytes_done: 40, bytes_total: 40, unpacked: true };
    let coming = Layer { digest, bytes_done: done, bytes_total: 60, unpacked: false };
    let progress = Pull { layers: vec![here, coming], trouble: trouble.map(str::to_owned) };
    let image = "web:1".parse::<mill_model::ImageRef>().unwrap().untagged();
    Moment { pulls: [(image, progress)].into(), ..Moment::default() }
}

fn is_pulling(world: &mut World) -> bool {
    let allocs = world.allocs(&workload("shop/web"));
    allocs.first().is_some_and(|alloc| alloc.status.phase == Phase::Pulling)
}

/// What is said of a pull: bytes done and all, layers, trouble.
fn pull_of(progress: &Progress) -> (u64, u64, usize, Option<&str>) {
    let Step::Pulling { pulling, .. } = &progress.step else { panic!("{progress:?}") };
    (pulling.bytes_done, pulling.bytes_total, pulling.layers.len(), pulling.trouble.as_deref())
}

#[tokio::test]
async fn a_pull_is_told_while_it_is_watched_and_shown_of_its_alloc() {
    let mut world = World::new();
    let id = world.begin(&project("shop", vec![service("web", "web:1", 1)], vec![]), DeployKind::Deploy);
    let room = Room::new(world).await;
    room.fake.knows(fetching(10, None));
    let mut stream = room.api().progress(id).await.unwrap();
    next(&mut stream).await.unwrap();
    while !room.act(is_pulling) {
        room.act(World::step);
    }
    assert_eq!(pull_of(&next(&mut stream).await.unwrap()), (50, 100, 2, None));
    room.fake.knows(fetching(20, Some("refused")));
    assert_eq!(pull_of(&next(&mut stream).await.unwrap()), (60, 100, 2, Some("refused")));

    let allocs = room.api().allocs(&Default::default()).await.unwrap();
    let pulling = allocs[0].pulling.as_ref().unwrap();
    assert_eq!((pulling.percent(), pulling.layers[0].unpacked), (Some(60), true));
    let status = room.api().status().await.unwrap();
    let problem = status.services[0].problem.clone().unwrap();
    assert!(problem.ends_with("is being fetched: 60 B of 100 B, trying again: refused"), "{problem}");

    room.fake.knows(Moment::default());
    room.settle();
    let words = said(&rest(stream).await);
    assert_eq!(words.iter().filter(|word| *word == "web pulled").count(), 1, "{words:?}");
    assert_eq!(room.api().allocs(&Default::default()).await.unwrap()[0].pulling, None);
}

#[tokio::test]
async fn a_pull_is_told_of_at_most_four_times_a_second_whatever_else_happens() {
    let mut world = World::new();
    let id = world.begin(&project("shop", vec![service("web", "web:1", 1)], vec![]), DeployKind::Deploy);
    let room = Room::new(world).await;
    while !room.act(is_pulling) {
        room.act(World::step);
    }
    let mut stream = room.api().progress(id).await.unwrap();
    next(&mut stream).await.unwrap();
    let begun = std::time::Instant::now();
    let (mut told, mut done) = (0, 0);
    // The state changes and bytes come all the while.
    while told < 5 {
        let mut progress = pin!(next(&mut stream));
        let progress = loop {
            done += 1;
            room.fake.knows(fetching(done, None));
            room.act(|_| ());
            tokio::select! {
                progress = &mut progress => break progress.unwrap(),
                () = tokio::task::yield_now() => {}
            }
        };
        pull_of(&progress);
        told += 1;
    }
    assert!(begun.elapsed() >= 4 * room.tempo.pull_shown_every, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_pull_that_failed_is_not_told_as_one_that_came() {
    let mut world = World::new();
    world.fails = vec![("web".to_owned(), Failure::PullFailed { detail: "refused".to_owned() })];
    let id = world.begin(&project("shop", vec![service("web", "web:1", 1)], vec![]), DeployKind::Deploy);
    let room = Room::new(world).await;
    room.fake.knows(fetching(10, None));
    while !room.act(is_pulling) {
        room.act(World::step);
    }
    let mut stream = room.api().progress(id).await.unwrap();
    while !matches!(next(&mut stream).await.unwrap().step, Step::Pulling { .. }) {}
    room.fake.knows(Moment::default());
    let alloc = room.act(|world| world.allocs(&workload("shop/web"))[0].id.clone());
    let failed = Failure::PullFailed { detail: "refused".to_owned() };
    room.act(|world| {
        let at = world.now;
        world.report(&alloc, |status| {
            status.phase = Phase::Waiting;
            status.failures = 1;
            status.last_end =
                Some(Ended { incarnation: Incarnation(1), failure: Some(failed), at, code: None });
        });
    });
    room.settle();
    let words = said(&rest(stream).await);
    assert!(!words.contains(&"web pulled".to_owned()), "{words:?}");
}

#[tokio::test]
async fn what_allocs_use_is_shown_of_them_their_service_and_their_node() {
    let mut world = World::new();
    world.deploy(&project("shop", vec![service("db", "db:1", 1), service("web", "web:1", 2)], vec![]));
    let room = Room::new(world).await;
    let web = room.act(|world| world.allocs(&workload("shop/web")));
    let name = |index: usize, run: u32| format!("{}.{run}", web[index].id).parse().unwrap();
    let uses = |cpu, memory| Usage { cpu: Millicores(cpu), memory: Bytes(memory) };
    // What an earlier run of it used isn't what it uses.
    let used = [(name(0, 1), uses(100, 10)), (name(1, 1), uses(20, 5)), (name(0, 7), uses(1000, 1000))];
    room.fake.knows(Moment { used: Arc::new(used.into()), ..Moment::default() });
    let api = room.api();
    let shown: Vec<_> = api.allocs(&Default::default()).await.unwrap();
    let shown: Vec<_> = shown.iter().map(|alloc| (alloc.workload.to_string(), alloc.used)).collect();
    let web_uses = |used| ("shop/web".to_owned(), Some(used));
    assert_eq!(shown, [("shop/db".to_owned(), None), web_uses(uses(100, 10)), web_uses(uses(20, 5))]);
    let status = api.status().await.unwrap();
    let services: Vec<_> = status.services.iter().map(|service| service.used).collect();
    assert_eq!(services, [None, Some(uses(120, 15))]);
    assert_eq!(status.nodes[0].used, Some(uses(120, 15)));
    let Inspected::Alloc { alloc, .. } = api.inspect(web[1].id.as_str()).await.unwrap() else { panic!() };
    assert_eq!(alloc.used, Some(uses(20, 5)));

    // One that has ended uses nothing, whatever was last seen of it.
    room.act(|world| world.report(&web[1].id, |status| status.phase = Phase::Waiting));
    assert_eq!(api.nodes().await.unwrap()[0].used, Some(uses(100, 10)));
}

#[tokio::test]
async fn what_a_check_saw_is_told_with_the_alloc_that_it_made_unhealthy() {
    let mut world = World::new();
    let target = project("shop", vec![service("web", "web:1", 1)], vec![]);
    world.deploy(&target);
    let alloc = world.allocs(&workload("shop/web"))[0].id.clone();
    let saw = "GET /health on 10.0.0.1:20001 answered 503 Service Unavailable";
    let room = Room::new(world).await;
    let id = room.act(|world| {
        world.begin(&project("shop", vec![service("web", "web:2", 1)], vec![]), DeployKind::Deploy)
    });
    room.act(|world| while world.decide() {});
    let mut stream = room.api().progress(id).await.unwrap();
    room.act(|world| {
        world.report(&alloc, |status| {
            status.phase = Phase::Unhealthy;
            status.ailment = Some(Failure::Unhealthy { last: saw.to_owned() });
        });
    });
    loop {
        if let Step::Unhealthy { last } = next(&mut stream).await.unwrap().step {
            assert_eq!(last, saw);
            break;
        }
    }
    let why = room.api().why(&workload("shop/web")).await.unwrap();
    assert_eq!(why.reasons[0].what, format!("{alloc} is unhealthy: {saw}"));
    let events = room.api().events(None).await.unwrap();
    let message = format!("{alloc} is unhealthy: {saw}");
    assert!(events.iter().any(|event| event.message == message), "{events:#?}");
}

#[tokio::test]
async fn what_keeps_an_alloc_from_health_is_told_while_it_runs() {
    let mut world = World::new();
    let id = world.begin(&project("shop", vec![service("web", "web:1", 1)], vec![]), DeployKind::Deploy);
    while world.decide() {}
    let alloc = world.allocs(&workload("shop/web"))[0].id.clone();
    let saw = "nothing listens on port 20001";
    let room = Room::new(world).await;
    let mut stream = room.api().progress(id).await.unwrap();
    room.act(|world| {
        world.report(&alloc, |status| {
            status.phase = Phase::Running;
            status.incarnation = Incarnation(1);
        });
    });
    room.act(|world| {
        world.report(&alloc, |status| {
            status.ailment = Some(Failure::Unhealthy { last: saw.to_owned() });
        });
    });
    loop {
        if let Step::NotYetHealthy { last, attempt, .. } = next(&mut stream).await.unwrap().step {
            assert_eq!((last.as_str(), attempt), (saw, 1));
            break;
        }
    }
    let why = room.api().why(&workload("shop/web")).await.unwrap();
    let said: Vec<&str> = why.reasons.iter().map(|reason| reason.what.as_str()).collect();
    assert_eq!(said, [format!("{alloc} isn't healthy yet: {saw}")]);
    let events = room.api().events(None).await.unwrap();
    let message = format!("{alloc} is running, not healthy yet: {saw}");
    assert!(events.iter().any(|event| event.message == message), "{events:#?}");
}
