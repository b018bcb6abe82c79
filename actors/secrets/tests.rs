//! What is opened is what was pinned; what can't be is named, and nothing waits for ever.

use mill_drivers::seal::FakeSeal;
use mill_fsm::{Command, Entry};
use mill_model::node::NodeFacts;
use mill_model::{Bytes, Hidden, Millicores, NodeId, Resources, Timestamp};

use super::*;

fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    let capacity = Resources { cpu: Millicores(1000), memory: Bytes(1 << 30) };
    let node = NodeFacts {
        id: NodeId(1),
        name: "node-1".parse().unwrap(),
        advertise: "127.0.0.1".parse().unwrap(),
        capacity,
        version: "0".to_owned(),
    };
    let (cluster_id, ca_certificate) = ("c".to_owned(), "pem".to_owned());
    apply(&mut cluster, Command::Bootstrap { cluster_id, node, admin_token_hash: [7; 32], ca_certificate });
    cluster
}

fn apply(cluster: &mut Cluster, command: Command) {
    cluster.apply(&Entry { now: Timestamp(1), command }.encode()).unwrap().unwrap();
}

fn set(cluster: &mut Cluster, seal: &FakeSeal, secret: &str, value: &str) {
    let sealed = seal.seal(secret, &Hidden::new(value.as_bytes().to_vec())).unwrap();
    apply(cluster, Command::SetSecret { secret: secret.parse().unwrap(), sealed, by: "ann".to_owned() });
}

fn pin(secret: &str, version: u32) -> Pin {
    Pin { secret: secret.parse().unwrap(), version }
}

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn the_pinned_version_is_opened_whatever_was_set_since() {
    let (seal, mut state) = (FakeSeal::default(), cluster());
    for (secret, value) in [("shop/key", "one"), ("shop/key", "two"), ("key", "shared")] {
        set(&mut state, &seal, secret, value);
    }
    let published = watch::Sender::new(Arc::new(state));
    let sealed = Sealed::of(published.subscribe());
    let opened = sealed.open(&seal, &[pin("shop/key", 1)], PATIENCE).await.unwrap();
    assert_eq!(opened.text("key"), Ok("one"));
    let opened = sealed.open(&seal, &[pin("key", 1)], PATIENCE).await.unwrap();
    assert_eq!(opened.text("key"), Ok("shared"));
    let before = seal.opened().len();
    assert!(sealed.open(&seal, &[], PATIENCE).await.unwrap().is_empty());
    assert_eq!(seal.opened().len(), before, "nothing is opened for those who use nothing");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_still_reads_its_log_waits_for_what_it_will_know() {
    let (seal, mut state) = (FakeSeal::default(), cluster());
    let published = watch::Sender::new(Arc::new(Cluster::default()));
    let sealed = Sealed::of(published.subscribe());
    let (seal_too, pins) = (seal.clone(), [pin("key", 1)]);
    let opening = tokio::spawn(async move { sealed.open(&seal_too, &pins, PATIENCE).await });
    tokio::time::sleep(PATIENCE / 2).await;
    set(&mut state, &seal, "key", "late");
    published.send_replace(Arc::new(state));
    assert_eq!(opening.await.unwrap().unwrap().text("key"), Ok("late"));
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_opened_is_a_failure_that_names_it() {
    let (seal, mut state) = (FakeSeal::default(), cluster());
    set(&mut state, &seal, "key", "hunter2");
    set(&mut state, &seal, "shop/key", "hunter2");
    let published = watch::Sender::new(Arc::new(state));
    let sealed = Sealed::of(published.subscribe());
    let said = async |pin: Pin| sealed.open(&seal, &[pin], PATIENCE).await.unwrap_err().to_string();
    assert_eq!(said(pin("key", 2)).await, "the secret `key v2` can't be used: this node doesn't know it");
    seal.damage("shop/key");
    let damaged = "the secret `shop/key v1` can't be used: the sealed value is damaged";
    assert_eq!(said(pin("shop/key", 1)).await, damaged);
    seal.lose_key(true);
    assert_eq!(said(pin("key", 1)).await, "the secret `key v1` can't be used: the cluster key is damaged");
    seal.lose_key(false);
    sealed.open(&seal, &[pin("key", 1)], PATIENCE).await.unwrap();
}
