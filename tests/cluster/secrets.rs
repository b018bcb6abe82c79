//! Secrets over a whole node: pinned by deploys, rolled, brought back, and there for whatever starts again.

use mill_api::Api;
use mill_api::deploys::{DeployState, ServiceOutcome};
use mill_drivers::containers::Launch;
use mill_fsm::Cluster;
use mill_model::{Hidden, Phase, ProjectName, SecretId};

use super::machine::Machine;
use super::{pass, secs, until};

const SHOP: &str = r#"service "web" {
    image "registry.test/web:v1"
    port 3000
    health path="/health"
    env { URL "postgres://app:${secret(key)}@db" }
    secret "cert" path="/run/cert"
}"#;

fn key() -> SecretId {
    "shop/key".parse().unwrap()
}

async fn set(api: &Api, secret: &str, value: &str) {
    let value = Hidden::new(value.as_bytes().to_vec());
    api.set_secret(&secret.parse().unwrap(), value).await.unwrap();
}

async fn machine() -> Machine {
    let machine = Machine::with_cluster("node-1", 1).await;
    set(&machine.api(), "shop/key", "hunter-one").await;
    set(&machine.api(), "cert", "hunter-cert").await;
    machine.deploy(SHOP).await;
    machine
}

fn last(machine: &Machine) -> Launch {
    machine.fakes.containers.started().pop().unwrap()
}

fn has(launch: &Launch, value: &str) -> bool {
    launch.env.contains(&("URL".to_owned(), format!("postgres://app:{value}@db")))
}

async fn ended(machine: &Machine, deploy: mill_model::DeployId) {
    let ended = machine.end_of(deploy).await;
    assert_eq!(ended.state, DeployState::Succeeded, "{ended:#?}");
    machine.settles().await;
}

#[tokio::test(start_paused = true)]
async fn what_starts_again_has_what_it_had_and_a_roll_and_a_rollback_bring_the_other() {
    let mut machine = machine().await;
    assert!(has(&last(&machine), "hunter-one"));
    assert_eq!(last(&machine).files[0].bytes, b"hunter-cert");

    // Set again, and the program and the daemon die: the version is that of the deploy.
    set(&machine.api(), "shop/key", "hunter-two").await;
    machine.kill().await;
    for name in machine.fakes.containers.running() {
        machine.fakes.containers.end(&name, 1);
    }
    machine.start().await;
    until("it runs again", async || match machine.fakes.containers.started().len() {
        2 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    machine.settles().await;
    assert!(has(&last(&machine), "hunter-one"), "{:?}", last(&machine));

    let rolled = machine.api().roll_secret(&key()).await.unwrap();
    ended(&machine, rolled.deploys[0].id).await;
    assert!(has(&last(&machine), "hunter-two"));

    let shop: ProjectName = "shop".parse().unwrap();
    let back = machine.api().rollback(&shop, None).await.unwrap();
    ended(&machine, back.id).await;
    assert!(has(&last(&machine), "hunter-one"));
    assert_eq!(machine.fakes.containers.running().len(), 1);

    let said = format!(
        "{:?} {:?} {:?}",
        machine.api().events(None).await.unwrap(),
        machine.api().inspect("web").await.unwrap(),
        machine.cluster(),
    );
    assert!(!said.contains("hunter"), "{said}");
    let state = Cluster::to_snapshot(&machine.cluster());
    assert!(!state.windows(6).any(|bytes| bytes == b"hunter"), "the state has it sealed");
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_can_not_be_opened_is_rolled_back_by_name() {
    let machine = machine().await;
    let before = machine.fakes.containers.running();
    set(&machine.api(), "shop/key", "hunter-two").await;
    machine.fakes.seal.damage("shop/key");
    let rolled = machine.api().roll_secret(&key()).await.unwrap();
    let ended = machine.end_of(rolled.deploys[0].id).await;
    assert_eq!(ended.state, DeployState::Failed);
    let ServiceOutcome::RolledBack { reason } = &ended.services[0].outcome else { panic!("{ended:#?}") };
    assert!(reason.contains("`shop/key v2` can't be used") && !reason.contains("hunter"), "{reason}");
    machine.settles().await;
    assert_eq!(machine.fakes.containers.running(), before, "the old version runs on");
}

#[tokio::test(start_paused = true)]
async fn a_node_without_its_key_keeps_what_runs_and_starts_the_rest_when_it_is_back() {
    let machine = machine().await;
    let running = machine.fakes.containers.running();
    machine.fakes.seal.lose_key(true);
    pass(secs(60)).await;
    assert_eq!(machine.fakes.containers.running(), running);
    machine.fakes.containers.end(running.first().unwrap(), 1);
    until("it waits", async || {
        let cluster = machine.cluster();
        let status = cluster.allocs.values().map(|alloc| alloc.status.clone()).next();
        let end = status.and_then(|status| (status.phase == Phase::Waiting).then_some(status.last_end)?);
        match end.and_then(|end| end.failure) {
            Some(failure) if failure.to_string().contains("cluster key") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    machine.fakes.seal.lose_key(false);
    machine.settles().await;
    assert!(has(&last(&machine), "hunter-one"));
}
