use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use mill_drivers::bundle::Fakes;
use mill_drivers::containers::{Containers as _, Launch};
use mill_drivers::datapath::{Mapping, NodeNet};
use mill_model::ports::Loopback;
use mill_model::{Bytes, Millicores, Resources, Tempo};

use super::*;
use crate::kit::Tree;

fn name(text: &str) -> ContainerName {
    text.parse().unwrap()
}

fn launch(container: &str, mapping: Option<Mapping>) -> Launch {
    Launch {
        name: name(container),
        image: format!("r.example/web@sha256:{}", "a".repeat(64)).parse().unwrap(),
        entrypoint: None,
        command: None,
        env: vec![],
        confidential: false,
        files: vec![],
        resources: Resources { cpu: Millicores(100), memory: Bytes(1 << 20) },
        user: None,
        workdir: None,
        read_only_root: false,
        cap_add: vec![],
        cap_drop: vec![],
        devices: vec![],
        mounts: vec![],
        stop_signal: None,
        labels: [].into(),
        stdout: "/out".into(),
        stderr: "/err".into(),
        hostname: "web".to_owned(),
        address: [127, 0, 0, 1].into(),
        resolv_conf: None,
        mapping,
    }
}

fn mapping(number: u16) -> Mapping {
    Mapping { loopback: Loopback(NonZeroU16::new(number).unwrap()), ports: [].into() }
}

/// A kernel that can, a container that it maps, and one from before it could.
async fn world() -> (Fakes, Tree<Msg>) {
    let fakes = Fakes::default();
    fakes.datapath.be_able();
    fakes.datapath.settle(NodeNet { address: [10, 0, 0, 1].into(), own: vec![] });
    fakes.containers.start(&launch("web-2222.1", Some(mapping(1)))).await.unwrap();
    fakes.containers.start(&launch("old-2222.1", None)).await.unwrap();
    let args = Args { drivers: fakes.clone() };
    let tree = Tree::start::<Datapath<Fakes>>("datapath", args, Arc::new(Tempo::default())).await.unwrap();
    (fakes, tree)
}

/// Waits on paused time.
async fn until(what: &str, so: impl Fn() -> bool) {
    for _ in 0..100 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("not so: {what}");
}

fn maps(fakes: &Fakes, container: &str) -> bool {
    fakes.datapath.held().contains_key(&name(container))
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_put_back_and_what_was_never_mapped_stays_so() {
    let (fakes, _tree) = world().await;
    until("it is attached, and the container mapped", || {
        fakes.datapath.is_attached() && maps(&fakes, "web-2222.1")
    })
    .await;
    assert!(!maps(&fakes, "old-2222.1"));
    fakes.datapath.detach();
    fakes.datapath.forget(&name("web-2222.1"));
    until("both are there again", || fakes.datapath.is_attached() && maps(&fakes, "web-2222.1")).await;
    fakes.datapath.lie(true);
    fakes.datapath.lie(false);
    assert_eq!(fakes.datapath.held(), [(name("web-2222.1"), mapping(1))].into());
}

#[tokio::test(start_paused = true)]
async fn a_kernel_that_refuses_for_a_while_is_asked_again() {
    let (fakes, tree) = world().await;
    until("it maps", || maps(&fakes, "web-2222.1")).await;
    fakes.datapath.be_broken(true);
    fakes.datapath.forget(&name("web-2222.1"));
    tokio::time::sleep(Tempo::default().datapath_every * 2).await;
    let info = tree.introspect().tree().await;
    assert!(format!("{info:?}").contains("/fake can't be used"), "{info:?}");
    fakes.datapath.be_broken(false);
    until("it maps again", || maps(&fakes, "web-2222.1")).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_kernel_maps_is_told_also_while_containers_can_not_be_listed() {
    let (fakes, tree) = world().await;
    until("it maps", || maps(&fakes, "web-2222.1")).await;
    fakes.containers.break_down();
    tokio::time::sleep(Tempo::default().datapath_every * 2).await;
    let info = tree.introspect().tree().await;
    assert_eq!(info.observed["entries"], 1, "{info:?}");
}
