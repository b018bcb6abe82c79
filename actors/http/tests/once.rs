//! A write with an idempotency key is done once.

use mill_api::deploys::Deploy;
use mill_api::secrets::Rolled;
use mill_api::tasks::{Task, TaskState};
use mill_api::{ApiError, Code};
use mill_fsm::Command;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::room::Room;
use super::world::{World, project, service};

/// Status, head and body of an answer.
async fn ask(room: &Room, method: &str, path: &str, key: &str, body: &str) -> (u16, String, String) {
    let mut stream = UnixStream::connect(room.socket()).await.unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nidempotency-key: {key}\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

fn refused(body: &str) -> ApiError {
    serde_json::from_str(body).unwrap()
}

async fn shop() -> Room {
    let mut world = World::new();
    world.deploy(&project("shop", vec![service("web", "web:1", 1)], vec![]));
    Room::new(world).await
}

const RESTART: &str = "/v1/projects/shop/services/web/restart";
const SCALE: &str = "/v1/projects/shop/services/web/scale";

#[tokio::test]
async fn a_repeated_deploy_is_one_deploy_even_when_it_has_ended_since() {
    let room = shop().await;
    let (status, _, first) = ask(&room, "POST", RESTART, "a", "{}").await;
    let begun: Deploy = serde_json::from_str(&first).unwrap();
    assert_eq!(status, 200, "{first}");
    let (status, head, again) = ask(&room, "POST", RESTART, "a", "{}").await;
    assert_eq!((status, again), (200, first), "while it is under way");
    assert!(head.contains("idempotency-replayed: true"), "{head}");
    room.settle();
    let (_, _, later) = ask(&room, "POST", RESTART, "a", "{}").await;
    let later: Deploy = serde_json::from_str(&later).unwrap();
    assert_eq!((later.id, later.state.is_over()), (begun.id, true));
    let (_, _, other) = ask(&room, "POST", RESTART, "b", "{}").await;
    let other: Deploy = serde_json::from_str(&other).unwrap();
    assert_ne!(other.id, begun.id, "another key is another request");
}

#[tokio::test]
async fn a_repeated_spawn_is_one_task_and_so_is_its_end() {
    let room = shop().await;
    let request = json!({ "image": "import:1" }).to_string();
    let (status, _, first) = ask(&room, "POST", "/v1/tasks", "a", &request).await;
    assert_eq!(status, 200, "{first}");
    let spawned: Task = serde_json::from_str(&first).unwrap();
    let (status, head, again) = ask(&room, "POST", "/v1/tasks", "a", &request).await;
    assert_eq!((status, again), (200, first));
    assert!(head.contains("idempotency-replayed: true"), "{head}");
    let kill = format!("/v1/tasks/{}/kill", spawned.id);
    let (status, _, killed) = ask(&room, "POST", &kill, "b", "{}").await;
    let killed: Task = serde_json::from_str(&killed).unwrap();
    assert_eq!((status, killed.id, killed.state), (200, spawned.id.clone(), TaskState::Killed));
    let (status, head, _) = ask(&room, "POST", &kill, "b", "{}").await;
    assert!(status == 200 && head.contains("idempotency-replayed: true"), "{head}");
    let (_, _, later) = ask(&room, "POST", "/v1/tasks", "a", &request).await;
    let later: Task = serde_json::from_str(&later).unwrap();
    assert_eq!((&later.id, later.state), (&spawned.id, TaskState::Killed), "it is told as it is now");
    let (_, _, other) = ask(&room, "POST", "/v1/tasks", "c", &request).await;
    assert_ne!(
        serde_json::from_str::<Task>(&other).unwrap().id,
        spawned.id,
        "another key is another request"
    );
    let audit = room.api().audit(None).await.unwrap();
    let made: Vec<&str> = audit.iter().filter_map(|record| record.made.as_deref()).collect();
    assert_eq!(made.len(), 3, "what was only told again isn't written down again: {made:?}");
    assert_eq!(made[0], format!("task {}", spawned.id));
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let room = shop().await;
    let (status, ..) = ask(&room, "POST", SCALE, "a", &json!({ "replicas": 2 }).to_string()).await;
    assert_eq!(status, 200);
    for (path, body) in [(SCALE, json!({ "replicas": 3 })), (RESTART, json!({ "replicas": 2 }))] {
        let (status, _, text) = ask(&room, "POST", path, "a", &body.to_string()).await;
        assert_eq!((status, refused(&text).code), (409, Code::Conflict), "{text}");
        assert!(refused(&text).message.contains("idempotency key"), "{text}");
    }
    for bad in ["x".repeat(129), "a b".to_owned()] {
        let (status, _, text) = ask(&room, "POST", RESTART, &bad, "{}").await;
        assert_eq!((status, refused(&text).code), (400, Code::BadRequest), "{text}");
    }
}

#[tokio::test]
async fn what_is_gone_by_then_is_told_as_it_was() {
    let room = shop().await;
    let value = json!({ "value": { "text": "correct horse" } }).to_string();
    let (status, _, set) = ask(&room, "PUT", "/v1/secrets/key", "a", &value).await;
    assert_eq!(status, 200, "{set}");
    assert_eq!(ask(&room, "PUT", "/v1/secrets/key", "a", &value).await.2, set, "it has one version");
    let (status, _, deleted) = ask(&room, "DELETE", "/v1/secrets/key", "b", "").await;
    assert_eq!(status, 200, "{deleted}");
    let (status, _, again) = ask(&room, "DELETE", "/v1/secrets/key", "b", "").await;
    assert_eq!((status, again), (200, deleted));
    assert_eq!(ask(&room, "DELETE", "/v1/secrets/key", "c", "").await.0, 404);

    let ann = json!({ "role": "viewer", "name": "ann" }).to_string();
    let (status, _, made) = ask(&room, "POST", "/v1/tokens", "d", &ann).await;
    assert_eq!(status, 200, "{made}");
    let (status, _, again) = ask(&room, "POST", "/v1/tokens", "d", &ann).await;
    assert_eq!((status, refused(&again).code), (409, Code::Conflict), "a token is shown once: {again}");
    let (status, _, revoked) = ask(&room, "DELETE", "/v1/tokens/ann", "e", "").await;
    assert_eq!(status, 200, "{revoked}");
    assert_eq!(ask(&room, "DELETE", "/v1/tokens/ann", "e", "").await.2, revoked);

    let login = json!({ "host": "r.test", "user": "mill", "password": "correct horse" }).to_string();
    let (status, _, set) = ask(&room, "POST", "/v1/registries", "f", &login).await;
    assert_eq!(status, 200, "{set}");
    assert_eq!(ask(&room, "POST", "/v1/registries", "f", &login).await.2, set);
    assert_eq!(ask(&room, "DELETE", "/v1/registries/r.test", "g", "").await.0, 200);
    assert_eq!(ask(&room, "DELETE", "/v1/registries/r.test", "g", "").await.0, 200);
    let state = room.act(|world| world.cluster.to_snapshot());
    assert!(
        !String::from_utf8_lossy(&state).contains("correct horse"),
        "no answer that is kept has a secret"
    );
}

#[tokio::test]
async fn a_repeated_roll_is_one_deploy_of_each_project() {
    let mut world = World::new();
    for secret in ["key", "cert"] {
        let set = Command::SetSecret { secret: secret.parse().unwrap(), sealed: vec![1], by: String::new() };
        world.apply(set).unwrap();
    }
    let room = Room::new(world).await;
    for name in ["shop", "blog"] {
        let source = "service \"web\" { image \"web:1\"; env { KEY \"${secret(key)}\"; }; }";
        let body = json!({ "source": source, "file": "mill.kdl", "default_project": name }).to_string();
        let (status, _, text) = ask(&room, "POST", "/v1/deploys", name, &body).await;
        assert_eq!(status, 200, "{text}");
        room.settle();
    }
    room.act(|world| {
        world.apply(Command::SetSecret { secret: "key".parse().unwrap(), sealed: vec![2], by: String::new() })
    })
    .unwrap();
    let roll = |key: &'static str| ask(&room, "POST", "/v1/secrets/key/roll", key, "{}");
    let ids = |(status, _, text): (u16, String, String)| {
        assert_eq!(status, 200, "{text}");
        let rolled: Rolled = serde_json::from_str(&text).unwrap();
        assert_eq!(rolled.refused, [], "a repetition isn't in its own way");
        rolled.deploys.iter().map(|deploy| deploy.id).collect::<Vec<_>>()
    };
    let first = ids(roll("a").await);
    assert_eq!(first.len(), 2);
    assert_eq!(ids(roll("a").await), first, "while they are under way");
    room.settle();
    assert_eq!(ids(roll("a").await), first, "when they have ended");
    assert_eq!(ids(roll("b").await), [], "another request finds nothing to do");
}

#[tokio::test]
async fn a_ca_that_was_rotated_is_not_rotated_again_by_the_same_request() {
    let room = shop().await;
    let ca = || room.act(|world| world.cluster.ca_certificate.clone());
    let before = ca();
    let (status, _, first) = ask(&room, "POST", "/v1/certs/rotate-ca", "a", "{}").await;
    assert_eq!(status, 200, "{first}");
    let rotated = ca();
    assert_ne!(rotated, before);
    let (status, head, again) = ask(&room, "POST", "/v1/certs/rotate-ca", "a", "{}").await;
    assert_eq!((status, again, ca()), (200, first, rotated));
    assert!(head.contains("idempotency-replayed: true"), "{head}");
    assert_eq!(
        ask(&room, "POST", "/v1/certs/rotate-ca", "b", "{}").await.0,
        409,
        "another one comes too soon"
    );
}

#[tokio::test]
async fn a_refused_write_is_not_remembered() {
    let room = shop().await;
    let rollback = "/v1/projects/shop/rollback";
    assert_eq!(ask(&room, "POST", rollback, "a", "{}").await.0, 409, "there is nothing to go back to");
    let (status, ..) = ask(&room, "POST", SCALE, "a", &json!({ "replicas": 2 }).to_string()).await;
    assert_eq!(status, 200, "the key is as new");
}
