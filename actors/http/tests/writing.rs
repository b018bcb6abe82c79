//! Writes: each becomes a command, or is refused in words.

use std::collections::BTreeMap;
use std::time::Duration;

use mill_api::deploys::{Action, Deploy, DeployRequest, DeployState, ServiceOutcome};
use mill_api::plan::{Change, FieldChange};
use mill_api::{Api, ApiError, ClientError, Code};
use mill_drivers::images::PullError;
use mill_fsm::{DeployKind, Rejected};
use mill_model::{DeployId, Failure, ProjectName, Tempo};

use super::room::{Room, digest, hasty};
use super::world::{World, project, service, workload};
use crate::raft::ProposeError;

fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> ApiError {
    match answer.unwrap_err() {
        ClientError::Refused(error) => *error,
        other => panic!("{other}"),
    }
}

fn shop() -> ProjectName {
    "shop".parse().unwrap()
}

fn file(source: &str) -> DeployRequest {
    DeployRequest {
        source: source.to_owned(),
        file: "mill.kdl".to_owned(),
        default_project: shop(),
        images: BTreeMap::new(),
        replace: false,
    }
}

const SHOP: &str = r#"
service "db" { image "r.test/db:1"; cpu 0.1; memory "64M"; }
service "web" { image "r.test/web:1"; replicas 2; cpu 0.1; memory "64M"; depends-on "db"; }
"#;

/// Deploys a file to its end.
async fn deployed(room: &Room, api: &Api, request: &DeployRequest) -> Deploy {
    let begun = api.deploy(request).await.unwrap();
    room.settle();
    let ended = api.deploy_status(begun.id).await.unwrap();
    assert!(ended.state.is_over(), "{ended:?}");
    ended
}

#[tokio::test]
async fn a_file_is_deployed_and_the_same_again_changes_nothing_and_says_so() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    let begun = api.deploy(&file(SHOP)).await.unwrap();
    assert_eq!((begun.id, begun.state, &begun.action), (DeployId(1), DeployState::Running, &Action::Deploy));
    assert_eq!(begun.by.as_deref(), Some("local"));
    room.settle();
    assert_eq!(api.deploy_status(begun.id).await.unwrap().state, DeployState::Succeeded);
    let web = room.act(|world| world.cluster.projects[&shop()].services[&workload("shop/web").name].clone());
    assert!(web.spec.container.image.digest.is_some(), "pinned");

    let again = api.deploy(&file(SHOP)).await.unwrap();
    assert_eq!((again.id, again.state), (begun.id, DeployState::Succeeded));
    assert!(again.services.iter().all(|service| service.outcome == ServiceOutcome::Unchanged));
    assert_eq!(again.services.len(), 2);
    assert_eq!(api.history(&shop()).await.unwrap().len(), 1, "no deploy was begun");
    assert!(api.plan(&file(SHOP)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_plan_says_field_by_field_what_would_change_and_changes_nothing() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    let plan = api.plan(&file(SHOP)).await.unwrap();
    let changes: Vec<_> = plan.services.iter().map(|s| (s.name.as_str(), s.change.clone())).collect();
    let create = |replicas| Change::Create { replicas };
    assert_eq!(changes, [("db", create(1)), ("web", create(2))]);
    assert_eq!(plan.services[1].placements[0].replicas, 2);
    assert_eq!((plan.current, plan.is_refused(), plan.is_empty()), (None, false, false));
    assert!(api.projects().await.unwrap().is_empty(), "nothing was changed");

    deployed(&room, &api, &file(SHOP)).await;
    let changed = SHOP.replace("replicas 2", "replicas 3\n env { A \"1\"; }\n update order=\"stop-first\"");
    let changed = changed.replace(
        "service \"db\" {",
        "service \"new\" { image \"r.test/db:1\"; replicas 0; }\nservice \"db\" { update parallel=2;",
    );
    let plan = api.plan(&file(&changed)).await.unwrap();
    let by_name = |name: &str| plan.services.iter().find(|s| s.name.as_str() == name).unwrap().clone();
    let field = |field: &str, from: Option<&str>, to: Option<&str>| FieldChange {
        field: field.into(),
        from: from.map(Into::into),
        to: to.map(Into::into),
    };
    let web = by_name("web");
    let Change::Change { fields } = &web.change else { panic!("{web:?}") };
    assert!(fields.contains(&field("env A", None, Some("1"))), "{fields:?}");
    assert!(fields.contains(&field("replicas", Some("2"), Some("3"))), "{fields:?}");
    assert!(web.warnings[0].message.contains("up to 1 of its replicas are missing"), "{:?}", web.warnings);
    let settings = vec![field("update parallel", Some("1"), Some("2"))];
    assert_eq!(by_name("db").change, Change::Settings { fields: settings });
    assert_eq!(by_name("new").change, Change::Create { replicas: 0 });

    let gone = SHOP.replace("service \"db\"", "service \"other\"").replace("depends-on \"db\"", "");
    let plan = api.plan(&file(&gone)).await.unwrap();
    let changes: Vec<_> = plan.services.iter().map(|s| (s.name.as_str(), &s.change)).collect();
    assert_eq!(changes[2], ("db", &Change::Remove));
    assert_eq!(plan.current, Some(DeployId(1)));
}

#[tokio::test]
async fn a_plan_shows_what_fits_nowhere_now_and_that_the_file_wins_over_a_scale() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    deployed(&room, &api, &file(SHOP)).await;
    api.scale(&workload("shop/web"), 4).await.unwrap();
    room.settle();
    let plan = api.plan(&file(SHOP)).await.unwrap();
    let web = &plan.services[1];
    assert_eq!(web.change, Change::Scale { from: 4, to: 2 });
    assert_eq!(web.warnings[0].message, "`mill scale` had set 4 replicas; the file's 2 wins");

    let many = SHOP.replace("replicas 2", "replicas 30");
    let plan = api.plan(&file(&many)).await.unwrap();
    let refusal = plan.services[1].refusal.as_ref().unwrap();
    assert!(refusal.reason.starts_with("after "), "{refusal:?}");
    assert_eq!(refusal.nodes[0].node.as_str(), "node-1");
    assert!(refusal.nodes[0].reason.contains("memory free"), "{refusal:?}");
    // It may fit later: that is no reason to refuse the deploy.
    assert_eq!(api.deploy(&file(&many)).await.unwrap().state, DeployState::Running);
}

#[tokio::test]
async fn a_bad_file_is_refused_whole_with_every_complaint_at_its_place() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    for (source, code, count) in [
        ("service \"web\" { replica 2; }", Code::BadConfig, 2),
        ("}", Code::BadConfig, 1),
        ("", Code::BadConfig, 1),
        ("service \"web\" { image \"x\"; memory \"9T\"; }", Code::BadConfig, 1),
        ("service \"web\" { image \"x\"; port 80; route \"a.test\"; }", Code::NotYet, 1),
    ] {
        for error in [refused(api.plan(&file(source)).await), refused(api.deploy(&file(source)).await)] {
            assert_eq!((error.code, error.complaints.len()), (code, count), "{source}: {error:?}");
            let placed = |complaint: &mill_config::Complaint| {
                complaint.file == "mill.kdl" && complaint.place.line > 0 && !complaint.reason.is_empty()
            };
            assert!(error.complaints.iter().all(placed), "{error:?}");
        }
    }
    let mut other = file(SHOP);
    other.images.insert("wbe".parse().unwrap(), "x".parse().unwrap());
    let error = refused(api.deploy(&other).await);
    assert_eq!((error.code, error.hint.as_deref()), (Code::BadRequest, Some("did you mean `web`?")));
    assert!(api.projects().await.unwrap().is_empty(), "nothing was changed");
}

#[tokio::test]
async fn an_image_can_be_given_in_place_of_the_files() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    let mut request = file(SHOP);
    request.images.insert("web".parse().unwrap(), "r.test/web:2".parse().unwrap());
    deployed(&room, &api, &request).await;
    let image = &api.history(&shop()).await.unwrap()[0].images[&"web".parse().unwrap()];
    assert_eq!(image.tag.as_deref(), Some("2"));
    assert!(image.digest.is_some());
}

#[tokio::test]
async fn a_tag_that_moved_is_a_new_version_and_one_that_did_not_is_none() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    room.fake.images.set_tag(&"r.test/web:1".parse().unwrap(), digest('1'));
    deployed(&room, &api, &file(SHOP)).await;
    room.fake.images.set_tag(&"r.test/web:1".parse().unwrap(), digest('2'));
    let plan = api.plan(&file(SHOP)).await.unwrap();
    let Change::Change { fields } = &plan.services[1].change else { panic!("{plan:?}") };
    assert_eq!((fields.len(), fields[0].field.as_str()), (1, "image"));
    assert_eq!(plan.services[0].change, Change::Unchanged);
    assert_eq!(deployed(&room, &api, &file(SHOP)).await.id, DeployId(2));
}

#[tokio::test]
async fn an_image_that_is_nowhere_is_complained_of_at_its_place() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    room.fake.images.lose(&"r.test/web:1".parse().unwrap());
    let error = refused(api.deploy(&file(SHOP)).await);
    assert_eq!((error.code, error.complaints.len()), (Code::NoImage, 1));
    let complaint = &error.complaints[0];
    let place = complaint.place;
    assert_eq!((place.line, place.end - place.start), (3, "\"r.test/web:1\"".len()), "{complaint:?}");
    assert!(complaint.reason.contains("no such image"), "{complaint:?}");
    assert!(error.hint.unwrap().contains("pushed"));
    assert!(api.projects().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_registry_that_can_not_be_asked_does_not_hold_up_what_runs_already() {
    let room = Room::with(World::new(), hasty()).await;
    let api = room.api();
    deployed(&room, &api, &file(SHOP)).await;
    // Every registry is silent for longer than a deploy waits.
    room.fake.images.slow_down(Duration::from_secs(60));
    let again = api.deploy(&file(SHOP)).await.unwrap();
    assert_eq!((again.state, again.warnings.len()), (DeployState::Succeeded, 2));
    assert!(
        again.warnings[1].message.starts_with("web: what r.test/web:1 means now isn't known"),
        "{again:?}"
    );
    let plan = api.plan(&file(SHOP)).await.unwrap();
    assert!(plan.is_empty() && plan.services.iter().all(|service| service.warnings.len() == 1));
    // A new tag can't be known, so it is refused, in time.
    let error = refused(api.deploy(&file(&SHOP.replace("web:1", "web:2"))).await);
    assert_eq!((error.code, error.complaints.len()), (Code::NoImage, 1));
    assert!(error.complaints[0].reason.contains("no answer within 200ms"), "{error:?}");
    // One that says no is believed.
    room.fake.images.slow_down(Duration::ZERO);
    let image = Box::new("r.test/db:1".parse().unwrap());
    room.fake.images.fail_next(PullError::NoSuchImage { image });
    assert_eq!(refused(api.deploy(&file(SHOP)).await).complaints.len(), 1);
}

#[tokio::test]
async fn a_registry_that_is_busy_for_a_moment_is_asked_again_and_one_that_stays_so_is_told_of() {
    let tempo = Tempo { blob_backoff: [Duration::from_millis(2); 3], ..Tempo::default() };
    let room = Room::with(World::new(), tempo).await;
    let api = room.api();
    let busy = || PullError::Registry { url: "http://r.test/v2/web/manifests/1".to_owned(), status: 429 };
    (0..3).for_each(|_| room.fake.images.fail_next(busy()));
    deployed(&room, &api, &file(SHOP)).await;
    (0..100).for_each(|_| room.fake.images.fail_next(busy()));
    let error = refused(api.deploy(&file(&SHOP.replace("web:1", "web:2"))).await);
    assert_eq!((error.code, error.complaints.len()), (Code::NoImage, 1));
    assert!(error.complaints[0].reason.contains("status 429"), "{error:?}");
}

#[tokio::test]
async fn scale_restart_rollback_and_undeploy_are_deploys() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    let web = workload("shop/web");
    deployed(&room, &api, &file(SHOP)).await;
    let before = room.act(|world| world.allocs(&web).len());

    let scaled = api.scale(&web, 3).await.unwrap();
    assert_eq!(scaled.action, Action::Scale { service: web.name.clone(), replicas: 3 });
    room.settle();
    assert_eq!(room.act(|world| world.allocs(&web).len()), before + 1);
    let same = api.scale(&web, 3).await.unwrap();
    assert_eq!((same.id, same.state), (scaled.id, DeployState::Succeeded), "nothing to do");
    assert_eq!(same.action, Action::Scale { service: web.name.clone(), replicas: 3 });

    let restarted = api.restart(&web).await.unwrap();
    assert_eq!(restarted.action, Action::Restart { service: web.name.clone() });
    room.settle();
    assert_eq!(api.deploy_status(restarted.id).await.unwrap().state, DeployState::Succeeded);

    let back = api.rollback(&shop(), None).await.unwrap();
    assert_eq!(back.action, Action::Rollback { to: DeployId(1) });
    room.settle();
    assert_eq!(api.services().await.unwrap().last().unwrap().wanted, 2);
    assert_eq!(
        api.rollback(&shop(), Some(scaled.id)).await.unwrap().action,
        Action::Rollback { to: scaled.id }
    );
    room.settle();

    let gone = api.undeploy(&shop()).await.unwrap();
    room.settle();
    let gone = api.deploy_status(gone.id).await.unwrap();
    assert_eq!((gone.state, &gone.action), (DeployState::Succeeded, &Action::Undeploy));
    assert!(gone.services.iter().all(|service| service.outcome == ServiceOutcome::Removed));
    let again = api.undeploy(&shop()).await.unwrap();
    assert_eq!((again.id, again.state), (gone.id, DeployState::Succeeded));
    assert_eq!(refused(api.rollback(&shop(), Some(gone.id)).await).code, Code::Conflict);
}

#[tokio::test]
async fn a_rollback_goes_to_the_last_that_succeeded_and_is_not_what_runs() {
    let mut world = World::new();
    world.fails = vec![("api:bad".into(), Failure::Exited { code: 1 })];
    let room = Room::new(world).await;
    let api = room.api();
    let version = |tag: &str| file(&SHOP.replace("web:1", &format!("web:{tag}")));
    let back = async || api.rollback(&shop(), None).await.unwrap();
    let first = deployed(&room, &api, &version("1")).await.id;
    let second = deployed(&room, &api, &version("2")).await.id;
    api.undeploy(&shop()).await.unwrap();
    room.settle();
    assert_eq!(back().await.action, Action::Rollback { to: second }, "nothing runs");
    room.settle();
    assert_eq!(back().await.action, Action::Rollback { to: first });
    room.settle();
    // It fails for a service that is new, and leaves the others changed.
    let new = "service \"api\" { image \"r.test/api:bad\"; cpu 0.1; memory \"64M\"; }";
    let failed = deployed(&room, &api, &file(&(SHOP.replace("web:1", "web:3") + new))).await;
    assert_eq!(failed.state, DeployState::Failed);
    assert_eq!(back().await.action, Action::Rollback { to: DeployId(5) }, "what ran before it");
}

#[tokio::test]
async fn what_makes_no_sense_as_things_stand_is_a_conflict_with_a_way_out() {
    let mut world = World::new();
    world.fails = vec![("web:2".into(), Failure::Exited { code: 1 })];
    let room = Room::new(world).await;
    let api = room.api();
    let web = workload("shop/web");
    deployed(&room, &api, &file(SHOP)).await;
    let failed = deployed(&room, &api, &file(&SHOP.replace("web:1", "web:2"))).await;
    assert_eq!(failed.state, DeployState::Failed);
    let error = refused(api.rollback(&shop(), Some(failed.id)).await);
    assert_eq!(
        (error.code, error.reason.as_deref()),
        (Code::Conflict, Some("it ended failed: its config never ran in full"))
    );
    assert_eq!(refused(api.rollback(&shop(), Some(DeployId(99))).await).code, Code::NotFound);
    let error = refused(api.rollback(&shop(), None).await);
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::Conflict, "there is nothing to roll `shop` back to")
    );
    assert_eq!(refused(api.cancel(failed.id).await).code, Code::Conflict);
    assert_eq!(refused(api.scale(&workload("shop/wbe"), 1).await).hint.unwrap(), "did you mean `shop/web`?");

    let third = api.deploy(&file(&SHOP.replace("web:1", "web:3"))).await.unwrap();
    for error in [
        refused(api.scale(&web, 5).await),
        refused(api.restart(&web).await),
        refused(api.rollback(&shop(), None).await),
    ] {
        assert_eq!(error.code, Code::Conflict);
        assert!(error.hint.unwrap().contains(&format!("--cancel {}", third.id)));
    }
    // The state machine has the same rule, for the case that it comes true in between.
    let target = room.act(|world| world.cluster.projects[&shop()].spec());
    let kind = DeployKind::Scale { service: web.name.clone() };
    let late = mill_fsm::Command::BeginDeploy {
        project: shop(),
        kind,
        target: target.into(),
        replace: false,
        by: String::new(),
    };
    assert_eq!(room.act(|world| world.apply(late)), Err(Rejected::DeployUnderWay(third.id)));
    // A second file waits for the first, and a third of them takes their place.
    let waits = api.deploy(&file(&SHOP.replace("web:1", "web:4"))).await.unwrap();
    assert_eq!((waits.state, waits.behind), (DeployState::Queued, Some(third.id)));
    let cancelled = api.cancel(waits.id).await.unwrap();
    assert_eq!(cancelled.state, DeployState::Cancelled);
    let replaces = DeployRequest { replace: true, ..file(&SHOP.replace("web:1", "web:5")) };
    let last = api.deploy(&replaces).await.unwrap();
    room.settle();
    assert_eq!(api.deploy_status(third.id).await.unwrap().state, DeployState::Replaced);
    assert_eq!(api.deploy_status(last.id).await.unwrap().state, DeployState::Succeeded);
}

#[tokio::test]
async fn a_cancelled_deploy_goes_back() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    deployed(&room, &api, &file(SHOP)).await;
    let second = api.deploy(&file(&SHOP.replace("web:1", "web:2"))).await.unwrap();
    room.act(World::step);
    assert_eq!(api.cancel(second.id).await.unwrap().state, DeployState::RollingBack);
    room.settle();
    assert_eq!(api.deploy_status(second.id).await.unwrap().state, DeployState::Cancelled);
}

#[tokio::test]
async fn a_log_that_does_not_answer_is_told_as_it_is() {
    let room = Room::with(World::new(), hasty()).await;
    let api = room.api();
    let target = project("shop", vec![service("web", "web:1", 1)], vec![]);
    room.act(|world| world.deploy(&target));
    for (error, code) in [
        (ProposeError::NotLeader { leader: None }, Code::Unavailable),
        (ProposeError::Overloaded, Code::Overloaded),
        (ProposeError::Uncertain, Code::Deadline),
        (ProposeError::Halted, Code::Unavailable),
        (ProposeError::Rejected(Rejected::TooManyDeploys), Code::Overloaded),
    ] {
        room.refuse(Some(error.clone()));
        assert_eq!(refused(api.scale(&workload("shop/web"), 2).await).code, code, "{error:?}");
    }
    room.refuse(None);
    room.log.stop(Duration::from_secs(1)).await.unwrap();
    assert_eq!(refused(api.scale(&workload("shop/web"), 2).await).code, Code::Unavailable);
    api.status().await.unwrap();
}
