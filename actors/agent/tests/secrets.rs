//! A container gets the secrets that its deploy pinned, at its start, and nobody else hears of them.

use mill_drivers::containers::{ExecOutcome, Missing, StartError};
use mill_drivers::seal::Seal as _;
use mill_fsm::{Command, Entry};
use mill_model::node::NodeFacts;
use mill_model::spec::{EnvVar, SecretFile};
use mill_model::template::{Part, Template};
use mill_model::{Bytes, Hidden, Millicores, NodeId, Pin};

use super::*;

fn apply(world: &World, command: Command) {
    world.cluster.send_modify(|cluster| {
        let entry = Entry { now: Timestamp(1), command }.encode();
        Arc::make_mut(cluster).apply(&entry).unwrap().unwrap();
    });
}

fn begin_cluster(world: &World) {
    let node = NodeFacts {
        id: NodeId(1),
        name: "node-1".parse().unwrap(),
        advertise: "127.0.0.1".parse().unwrap(),
        capacity: Resources { cpu: Millicores(1000), memory: Bytes(1 << 30) },
        version: "0".to_owned(),
    };
    let (cluster_id, ca_certificate) = ("c".to_owned(), "pem".to_owned());
    apply(world, Command::Bootstrap { cluster_id, node, admin_token_hash: [7; 32], ca_certificate });
}

fn set(world: &World, secret: &str, value: &[u8]) {
    let sealed = world.fakes.seal.seal(secret, &Hidden::new(value.to_vec())).unwrap();
    apply(world, Command::SetSecret { secret: secret.parse().unwrap(), sealed, by: "ann".to_owned() });
}

fn names(secret: &str) -> Template {
    Template { parts: vec![Part::Secret(secret.to_owned())] }
}

/// `web` with a variable and a file, pinned to the first version of each.
fn with_secrets(kind: Kind) -> Assignment {
    let mut assignment = without_ports(kind);
    let container = &mut assignment.container;
    let url = [vec![Part::Text("app:".into())], names("key").parts, vec![Part::Text("@db".into())]].concat();
    container.env = vec![EnvVar { name: "URL".to_owned(), value: Template { parts: url } }];
    container.secrets =
        vec![SecretFile { name: "cert".to_owned(), path: "/run/cert".to_owned(), owner: None, mode: 0o400 }];
    let pin = |secret: &str| Pin { secret: secret.parse().unwrap(), version: 1 };
    container.pins = vec![pin("cert"), pin("shop/key")];
    assignment
}

async fn world() -> World {
    let world = World::new().await;
    begin_cluster(&world);
    set(&world, "cert", &[0xFF, 0, 1]);
    set(&world, "shop/key", b"hunter2");
    world
}

fn shown(world: &World) -> String {
    let said: Vec<String> = world.heard.lock().unwrap().iter().map(|status| format!("{status:?}")).collect();
    said.concat()
}

#[tokio::test(start_paused = true)]
async fn each_run_gets_the_version_that_was_pinned() {
    let world = world().await;
    world.run(with_secrets(plain())).await;
    world.reach(Phase::Healthy).await;
    set(&world, "shop/key", b"rotated");
    world.fakes.containers.end(&container(1), 1);
    until("it runs again", async || world.started() == [1, 2]).await;
    for launch in world.fakes.containers.started() {
        assert_eq!(launch.env, [("URL".to_owned(), "app:hunter2@db".to_owned())]);
        let file = &launch.files[0];
        assert_eq!((file.path.as_str(), file.bytes.as_slice()), ("/run/cert", &[0xFF, 0, 1][..]));
        assert!(launch.confidential);
        assert!(!format!("{launch:?}").contains("hunter2"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_can_not_be_opened_is_a_named_failure_and_starts_when_it_can() {
    let world = world().await;
    world.fakes.seal.lose_key(true);
    world.run(with_secrets(plain())).await;
    let waiting = world.reach(Phase::Waiting).await;
    let pin = Box::new(Pin { secret: "cert".parse().unwrap(), version: 1 });
    let detail = "the cluster key is damaged".to_owned();
    assert_eq!(failure(&waiting), Some(Failure::SecretUnavailable { secret: pin, detail }));
    assert_eq!(world.started(), [0; 0]);
    world.fakes.seal.lose_key(false);
    world.reach(Phase::Healthy).await;
}

#[tokio::test(start_paused = true)]
async fn bytes_that_no_variable_can_hold_are_a_named_failure() {
    let world = world().await;
    set(&world, "nul", b"a\0b");
    let mut assignment = with_secrets(plain());
    assignment.container.env[0].value = names("nul");
    assignment.container.pins.push(Pin { secret: "nul".parse().unwrap(), version: 1 });
    world.run(assignment).await;
    let waiting = world.reach(Phase::Waiting).await;
    let said = failure(&waiting).unwrap().to_string();
    assert_eq!(said, "the secret `nul v1` can't be used: it has a NUL in it, and only a file can hold it");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_a_failed_start_repeats_no_value() {
    let world = world().await;
    let command = "/bin/hunter2".to_owned();
    world.fakes.containers.fail_next_start(StartError::NoSuchCommand { command, reason: Missing::NotFound });
    let mut assignment = with_secrets(plain());
    assignment.container.entrypoint = Some(vec![names("key")]);
    world.run(assignment).await;
    until("it was told", async || shown(&world).contains("/bin/(secret)")).await;
    assert!(!shown(&world).contains("hunter2"), "{}", shown(&world));
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_check_saw_repeats_no_value() {
    let world = world().await;
    let output = "is it hunter2?\n".to_owned();
    world.script(Script { exec: ExecOutcome { code: 1, output }, ..Script::default() });
    world
        .run(with_secrets(checked(Probe::Exec { command: vec![Template::text("probe"), names("key")] })))
        .await;
    until("it was told", async || shown(&world).contains("is it (secret)?")).await;
    assert!(!shown(&world).contains("hunter2"), "{}", shown(&world));
}
