//! Images that come before the allocs that need them: in a deploy's progress, in what a service waits for, and as the
//! reason why a deploy turned back.

use mill_api::client::Follow;
use mill_api::progress::{Outcome, Progress, Step};
use mill_control::fetch::{Fetch, FetchState, Fetched};
use mill_drivers::images::{Layer, Progress as Pull};
use mill_fsm::DeployKind;
use mill_model::spec::UpdateOrder;
use mill_model::{DeployId, Failure, ImageRef, NodeName, ServiceSpec};
use mill_scheduler::Failing;

use super::room::Room;
use super::streaming::{next, rest, said};
use super::world::{World, after, project, service, workload};
use crate::http::Moment;

fn node() -> NodeName {
    "node-1".parse().unwrap()
}

fn stop_first(image: &str) -> ServiceSpec {
    let mut service = service("web", image, 1);
    service.update.order = UpdateOrder::StopFirst;
    service
}

/// `web:1` runs, and a deploy of `web:2` waits for its image, stop-first.
async fn waiting(state: FetchState) -> (Room, DeployId) {
    let mut world = World::new();
    world.deploy(&project("shop", vec![stop_first("web:1")], vec![]));
    world.fetched = vec![("web:2".to_owned(), state)];
    let id = world.begin(&project("shop", vec![stop_first("web:2")], vec![]), DeployKind::Deploy);
    let room = Room::new(world).await;
    room.settle();
    (room, id)
}

/// A node that shall fetch `image` for `deploy`; while it does, some of its bytes are there.
fn fetching(image: &str, deploy: DeployId, state: FetchState, bytes_done: Option<u64>) -> Moment {
    let image: ImageRef = image.parse().unwrap();
    let layer = |bytes_done| Layer {
        digest: super::room::digest('d'),
        bytes_done,
        bytes_total: 100,
        unpacked: false,
    };
    let pull = bytes_done.map(|done| Pull { layers: vec![layer(done)], trouble: None });
    let fetched = Fetched::from([(image.clone(), Fetch { deploy, state })]);
    Moment {
        pulls: pull.map(|pull| (image.untagged(), pull)).into_iter().collect(),
        ahead: [(node(), fetched)].into(),
        ..Moment::default()
    }
}

fn refused() -> Failure {
    Failure::PullFailed { detail: "refused".to_owned() }
}

async fn next_of_image(stream: &mut Follow<Progress>) -> Step {
    loop {
        let step = next(stream).await.unwrap().step;
        if matches!(step, Step::Pulling { .. } | Step::Pulled { .. }) {
            return step;
        }
    }
}

fn pulling(step: &Step) -> (u64, Option<&str>) {
    let Step::Pulling { node: on, pulling } = step else { panic!("{step:?}") };
    assert_eq!(*on, node());
    (pulling.bytes_done, pulling.trouble.as_deref())
}

#[tokio::test]
async fn an_image_on_its_way_before_its_alloc_is_told_with_its_trouble_and_its_end() {
    let (room, id) = waiting(FetchState::UnderWay).await;
    let mut stream = room.api().progress(id).await.unwrap();
    room.fake.knows(fetching("web:2", id, FetchState::UnderWay, Some(10)));
    assert_eq!(pulling(&next_of_image(&mut stream).await), (10, None));
    let status = room.api().status().await.unwrap();
    let problem = status.services[0].problem.clone().unwrap();
    assert_eq!(problem, "its image is being fetched on node-1: 10 B of 100 B");

    let failing = FetchState::Failing(Failing { failures: 2, last: refused() });
    room.fake.knows(fetching("web:2", id, failing.clone(), None));
    let trouble = refused().to_string();
    assert_eq!(pulling(&next_of_image(&mut stream).await), (10, Some(trouble.as_str())), "what came stays");
    let why = room.api().why(&workload("shop/web")).await.unwrap();
    assert_eq!(why.reasons[0].what, format!("its image doesn't come to node-1: {trouble}, 2 times in a row"));
    assert!(why.reasons[0].hint.as_ref().unwrap().contains("registry"));

    room.fake.knows(fetching("web:2", id, failing, Some(20)));
    assert_eq!(pulling(&next_of_image(&mut stream).await), (20, None));
    room.fake.knows(fetching("web:2", id, FetchState::Here, None));
    assert_eq!(next_of_image(&mut stream).await, Step::Pulled { node: node(), bytes: Some(100) });
    assert_eq!(room.api().why(&workload("shop/web")).await.unwrap().reasons, []);
    room.act(|world| world.fetched.clear());
    room.settle();
    let words = said(&rest(stream).await);
    assert!(!words.iter().any(|word| word.contains("pull")), "once: {words:?}");
}

#[tokio::test]
async fn a_deploy_that_turned_back_for_its_image_names_the_node_the_reason_and_what_to_do() {
    let missing = Failure::NoSuchImage { detail: "web:2".to_owned() };
    let (room, id) = waiting(FetchState::Failing(Failing { failures: 1, last: missing })).await;
    let told = rest(room.api().progress(id).await.unwrap()).await;
    let reason = "node-1: no such image: web:2";
    let turned = Step::RollingBack { reason: reason.to_owned() };
    assert!(told.iter().any(|progress| progress.step == turned), "{told:#?}");
    assert!(!said(&told).iter().any(|word| word.contains("stop")), "nothing was stopped: {told:#?}");
    let Step::Finished { outcome: Outcome::Failed { services }, .. } = &told.last().unwrap().step else {
        panic!("{told:#?}")
    };
    assert_eq!(services[0].reason, reason);
    let hint = services[0].hint.clone().unwrap();
    assert!(hint.contains("name and tag"), "{hint}");

    let api = room.api();
    let why = api.why(&workload("shop/web")).await.unwrap();
    assert_eq!(why.reasons[0].what, format!("deploy #{id} was rolled back: {reason}"));
    assert_eq!(why.reasons[0].hint.as_ref(), Some(&hint));
    let events = api.events(None).await.unwrap();
    assert!(events.iter().any(|event| event.message.ends_with(reason)), "{events:#?}");
    let history = api.history(&"shop".parse().unwrap()).await.unwrap();
    assert!(format!("{history:?}").contains(reason), "{history:#?}");
}

#[tokio::test]
async fn an_image_is_told_of_while_its_service_waits_for_others() {
    let mut world = World::new();
    let services = vec![service("db", "db:1", 1), after("db", service("web", "web:1", 1))];
    let id = world.begin(&project("shop", services, vec![]), DeployKind::Deploy);
    world.decide();
    let room = Room::new(world).await;
    let mut stream = room.api().progress(id).await.unwrap();
    room.fake.knows(fetching("web:1", id, FetchState::UnderWay, Some(30)));
    let mut told = next(&mut stream).await.unwrap();
    while !matches!(told.step, Step::Pulling { .. }) {
        told = next(&mut stream).await.unwrap();
    }
    assert_eq!(told.service, Some("web".parse().unwrap()));
    let why = room.api().why(&workload("shop/web")).await.unwrap();
    let reasons: Vec<&str> = why.reasons.iter().map(|reason| reason.what.as_str()).collect();
    let waits = format!("deploy #{id} waits for `db` before it begins with it");
    assert_eq!(reasons, [waits.as_str(), "its image is being fetched on node-1: 30 B of 100 B"]);
}
