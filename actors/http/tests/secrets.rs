//! Secrets over the API: set, listed, used by deploys, rolled, deleted; and never said.

use std::collections::BTreeMap;

use mill_api::deploys::{Action, DeployRequest, DeployState};
use mill_api::plan::{Change, FieldChange};
use mill_api::secrets::SecretUse;
use mill_api::{Api, ApiError, ClientError, Code};
use mill_fsm::DeployKind;
use mill_model::{DeployId, Hidden, Pin, ProjectName, SecretId};

use super::room::Room;
use super::world::{World, project, service, workload};

fn id(text: &str) -> SecretId {
    text.parse().unwrap()
}

fn shop() -> ProjectName {
    "shop".parse().unwrap()
}

async fn set(api: &Api, secret: &str, value: &str) -> u32 {
    let set = api.set_secret(&id(secret), Hidden::new(value.as_bytes().to_vec())).await.unwrap();
    assert_eq!(set.secret.secret, id(secret));
    set.secret.version
}

async fn get(api: &Api, secret: &str, version: Option<u32>) -> Vec<u8> {
    api.secret_value(&id(secret), version).await.unwrap().bytes().expose().clone()
}

fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> ApiError {
    match answer.unwrap_err() {
        ClientError::Refused(error) => *error,
        other => panic!("{other}"),
    }
}

const SHOP: &str = r#"
service "web" { image "r.test/web:1"; cpu 0.1; memory "64M"; env { KEY "${secret(key)}"; } }
service "db" { image "r.test/db:1"; cpu 0.1; memory "64M"; secret "cert" path="/run/cert"; }
service "plain" { image "r.test/web:1"; cpu 0.1; memory "64M"; }
"#;

fn file(source: &str) -> DeployRequest {
    DeployRequest {
        source: source.to_owned(),
        file: "mill.kdl".to_owned(),
        default_project: shop(),
        images: BTreeMap::new(),
        replace: false,
    }
}

async fn deploy(room: &Room, source: &str) -> DeployId {
    let begun = room.api().deploy(&file(source)).await.unwrap();
    room.settle();
    assert_eq!(room.api().deploy_status(begun.id).await.unwrap().state, DeployState::Succeeded);
    begun.id
}

fn pins(room: &Room, name: &str) -> Vec<String> {
    let name = workload(&format!("shop/{name}")).name;
    let service = room.act(|world| world.cluster.projects[&shop()].services[&name].clone());
    service.spec.container.pins.iter().map(Pin::to_string).collect()
}

#[tokio::test]
async fn a_value_comes_back_by_one_route_and_is_nowhere_else() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    assert!(api.secrets().await.unwrap().is_empty());
    assert_eq!(set(&api, "shop/key", "hunter2").await, 1);
    assert_eq!(set(&api, "shop/key", "hunter3").await, 2);
    assert_eq!(set(&api, "key", "hunter4").await, 1);
    let bytes = Hidden::new(vec![0xFF, 0, 7]);
    api.set_secret(&id("cert"), bytes).await.unwrap();
    assert_eq!(get(&api, "shop/key", None).await, b"hunter3");
    assert_eq!(get(&api, "shop/key", Some(1)).await, b"hunter2");
    assert_eq!(get(&api, "key", None).await, b"hunter4");
    assert_eq!(get(&api, "cert", None).await, [0xFF, 0, 7]);

    let secrets = api.secrets().await.unwrap();
    let names: Vec<String> = secrets.iter().map(|s| format!("{} v{}", s.secret, s.version)).collect();
    assert_eq!(names, ["cert v1", "key v1", "shop/key v2"]);
    assert_eq!(secrets[0].by.as_deref(), Some("local"));
    deploy(&room, SHOP).await;
    let said = format!(
        "{secrets:?} {:?} {:?} {:?} {:?}",
        api.secret_history(&id("shop/key")).await.unwrap(),
        api.events(None).await.unwrap(),
        api.inspect("web").await.unwrap(),
        api.history(&shop()).await.unwrap(),
    );
    assert!(!said.contains("hunter"), "{said}");
    let state = room.act(|world| world.cluster.to_snapshot());
    assert!(!state.windows(6).any(|bytes| bytes == b"hunter"), "the state holds it sealed");
}

#[tokio::test]
async fn what_is_no_value_or_names_nothing_is_refused_without_repeating_it() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    let set =
        async |secret: &str, value: Vec<u8>| refused(api.set_secret(&id(secret), Hidden::new(value)).await);
    assert_eq!(set("key", vec![]).await.code, Code::BadRequest);
    assert_eq!(set("key", vec![7; (64 << 10) + 1]).await.code, Code::TooLarge);
    assert_eq!(refused(api.secret_value(&id("key"), None).await).code, Code::NotFound);
    self::set(&api, "shop/key", "hunter2").await;
    let error = refused(api.secret_value(&id("key"), None).await);
    assert!(error.hint.unwrap().contains("`shop/key`"));
    assert_eq!(refused(api.secret_value(&id("shop/key"), Some(2)).await).code, Code::NotFound);
    assert_eq!(refused(api.secret_history(&id("blog/key")).await).code, Code::NotFound);
    assert_eq!(refused(api.roll_secret(&id("blog/key")).await).code, Code::NotFound);
    assert_eq!(refused(api.delete_secret(&id("blog/key")).await).code, Code::NotFound);

    room.fake.seal.lose_key(true);
    let error = refused(api.set_secret(&id("key"), Hidden::new(b"hunter2".to_vec())).await);
    assert!(error.reason.as_ref().unwrap().contains("cluster key"), "{error:?}");
    let error = refused(api.secret_value(&id("shop/key"), None).await);
    assert!(error.reason.as_ref().unwrap().contains("cluster key"), "{error:?}");
}

#[tokio::test]
async fn a_newline_that_was_hardly_meant_is_pointed_out() {
    let room = Room::new(World::new()).await;
    for (value, warned) in [("hunter2\n", true), ("hunter2", false), ("a\nb\n", false), ("\n", false)] {
        let value = Hidden::new(value.as_bytes().to_vec());
        let set = room.api().set_secret(&id("key"), value).await.unwrap();
        assert_eq!(!set.warnings.is_empty(), warned);
    }
}

#[tokio::test]
async fn a_config_that_names_an_unknown_secret_is_refused_with_its_place() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    set(&api, "blog/key", "another project's").await;
    set(&api, "shop/cert", "x").await;
    for answer in [api.plan(&file(SHOP)).await.map(drop), api.deploy(&file(SHOP)).await.map(drop)] {
        let error = refused(answer);
        assert_eq!(error.code, Code::BadConfig);
        let said: Vec<&str> = error.complaints.iter().map(|complaint| complaint.message.as_str()).collect();
        assert_eq!(said, ["there is no secret `key`"]);
        assert_eq!(error.complaints[0].place.line, 2);
    }
    assert!(api.projects().await.unwrap().is_empty());
}

#[tokio::test]
async fn setting_changes_nothing_that_runs_and_the_next_deploy_brings_it() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    set(&api, "key", "shared").await;
    set(&api, "cert", "x").await;
    let first = deploy(&room, SHOP).await;
    assert_eq!((pins(&room, "web"), pins(&room, "db")), (vec!["key v1".into()], vec!["cert v1".into()]));
    let allocs = |room: &Room| room.act(|world| world.allocs(&workload("shop/web")));
    let before = allocs(&room);

    set(&api, "key", "rotated").await;
    room.settle();
    assert_eq!(allocs(&room), before);
    let scaled = api.scale(&workload("shop/web"), 2).await.unwrap();
    room.settle();
    assert_eq!(pins(&room, "web"), ["key v1"], "a scale isn't a deploy of the file");
    assert_eq!(api.deploy_status(scaled.id).await.unwrap().state, DeployState::Succeeded);

    let plan = api.plan(&file(SHOP)).await.unwrap();
    let web = plan.services.iter().find(|service| service.name.as_str() == "web").unwrap();
    let Change::Change { fields } = &web.change else { panic!("{web:?}") };
    let field = |from: &str, to: &str| FieldChange {
        field: "secret(key)".into(),
        from: Some(from.into()),
        to: Some(to.into()),
    };
    assert!(fields.contains(&field("key v1", "key v2")), "{fields:?}");
    let second = deploy(&room, SHOP).await;
    assert_eq!(pins(&room, "web"), ["key v2"]);
    assert!(api.plan(&file(SHOP)).await.unwrap().is_empty());

    // A project's own goes before the shared one.
    set(&api, "shop/key", "own").await;
    deploy(&room, SHOP).await;
    assert_eq!(pins(&room, "web"), ["shop/key v1"]);

    // A rollback brings back what ran then.
    api.rollback(&shop(), Some(first)).await.unwrap();
    room.settle();
    assert_eq!(pins(&room, "web"), ["key v1"]);
    let history = api.secret_history(&id("key")).await.unwrap();
    assert_eq!(history.versions.iter().map(|v| v.version).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(history.versions[0].deploys, [second]);
    assert_eq!(history.versions[1].used_by, [workload("shop/web")]);
}

#[tokio::test]
async fn a_roll_brings_one_secret_to_those_who_use_it_and_to_nobody_else() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    set(&api, "key", "one").await;
    set(&api, "cert", "one").await;
    deploy(&room, SHOP).await;
    let allocs = |name: &str| room.act(|world| world.allocs(&workload(name)));
    let (db, plain) = (allocs("shop/db"), allocs("shop/plain"));
    set(&api, "cert", "two").await;
    let done = api.set_secret(&id("key"), Hidden::new(b"two".to_vec())).await.unwrap();
    assert_eq!(done.secret.used_by, [SecretUse { workload: workload("shop/web"), version: Some(1) }]);

    let rolled = api.roll_secret(&id("key")).await.unwrap();
    assert!(rolled.refused.is_empty());
    assert_eq!(rolled.deploys[0].action, Action::Roll { secret: id("key") });
    // Another one meanwhile is refused in words: what this one leads to isn't known yet.
    let again = api.roll_secret(&id("key")).await.unwrap();
    assert!(again.deploys.is_empty() && again.refused[0].message.contains("under way"), "{again:?}");
    room.settle();
    assert_eq!((pins(&room, "web"), pins(&room, "db")), (vec!["key v2".into()], vec!["cert v1".into()]));
    assert_eq!((allocs("shop/db"), allocs("shop/plain")), (db, plain));
    assert!(api.secret_history(&id("key")).await.unwrap().versions[1].used_by.is_empty());

    let again = api.roll_secret(&id("key")).await.unwrap();
    assert!(again.deploys.is_empty() && again.refused.is_empty(), "{again:?}");
    let entry = &api.history(&shop()).await.unwrap()[0];
    assert_eq!(entry.action, Action::Roll { secret: id("key") });
}

#[tokio::test]
async fn a_used_secret_is_kept_and_who_uses_it_is_named() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    set(&api, "key", "one").await;
    set(&api, "cert", "one").await;
    let first = deploy(&room, SHOP).await;
    let error = refused(api.delete_secret(&id("key")).await);
    assert_eq!(error.code, Code::Conflict);
    assert!(error.reason.as_ref().unwrap().contains("`shop/web`") && error.hint.is_some(), "{error:?}");

    deploy(&room, &SHOP.replace("env { KEY \"${secret(key)}\"; }", "")).await;
    let deleted = api.delete_secret(&id("key")).await.unwrap();
    assert_eq!((deleted.secret, deleted.version), (id("key"), 1));
    assert_eq!(refused(api.secret_value(&id("key"), None).await).code, Code::NotFound);
    let error = refused(api.rollback(&shop(), Some(first)).await);
    assert!(error.message.contains("`key v1` is no more") && error.hint.is_some(), "{error:?}");
}

#[tokio::test]
async fn a_body_that_is_no_request_is_refused_without_being_repeated() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let room = Room::new(World::new()).await;
    for body in [r#"{"value":"hunter2"}"#, r#"{"value":{"text":"hunter2"},"hunter2":1}"#, r#""hunter2"#] {
        let mut stream = tokio::net::UnixStream::connect(room.socket()).await.unwrap();
        let head = format!(
            "PUT /v1/secrets/key HTTP/1.1\r\nHost: mill\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400") && !answer.contains("hunter2"), "{answer}");
    }
}

#[tokio::test]
async fn a_project_without_secrets_is_none_of_their_business() {
    let room = Room::new(World::new()).await;
    let api = room.api();
    room.act(|world| {
        let target = project("blog", vec![service("web", "web:1", 1)], vec![]);
        let deploy = world.begin(&target, DeployKind::Deploy);
        world.settle();
        deploy
    });
    set(&api, "key", "one").await;
    assert!(api.secrets().await.unwrap()[0].used_by.is_empty());
    let rolled = api.roll_secret(&id("key")).await.unwrap();
    assert!(rolled.deploys.is_empty() && rolled.refused.is_empty());
}
