//! Images and containers on a real containerd.

#[expect(dead_code, reason = "each test binary uses its part of the host")]
mod host;

use host::{Build, Host, output_of, shell, until};
use std::collections::BTreeSet;

use containerd_client::services::v1 as api;
use containerd_client::tonic::Request;
use mill_drivers::containers::{ContainerName, Containers as _, Signal, State};
use mill_drivers::images::Images as _;

#[tokio::test]
async fn an_image_is_pulled_a_container_runs_and_nothing_is_left() {
    let host = Host::start().await;
    let image = host.image(&Build { name: "web", ..Build::default() }).await;
    let runtime = host.runtime();
    let before = host.traces();

    let (output, exit) =
        output_of(&host, shell("web-2222.1", &image, "echo out; echo err >&2; exit 3")).await;
    // Two pipes: which is read first is the shim's business.
    assert!(["out\nerr\n", "err\nout\n"].contains(&output.as_str()), "{output}");
    assert_eq!((exit.code, exit.signal, exit.oom), (3, None, None));

    let service = shell("web-2222.2", &image, "sleep 600");
    let running = runtime.start(&service).await.unwrap();
    let found = runtime.list(&service.name.alloc).await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(matches!(found[0].state, State::Running { pid, .. } if pid == running.pid));
    runtime.remove(&service.name).await.unwrap();
    host.until_nothing_but(&before).await;
    let _ = host.images().list().await.unwrap();
}

#[tokio::test]
async fn a_container_outlives_containerd_and_a_wait_spans_its_restart() {
    let mut host = Host::start().await;
    let image = host.image(&Build { name: "web", ..Build::default() }).await;
    let service = shell("web-2222.1", &image, "trap 'exit 7' TERM; while :; do sleep 0.05; done");
    let running = host.runtime().start(&service).await.unwrap();
    let waiting = tokio::spawn({
        let (runtime, name) = (host.runtime(), service.name.clone());
        async move { runtime.wait(&name).await }
    });
    host.kill_containerd();
    host.start_containerd().await;

    // Another client, as after a restart of Mill.
    let runtime = host.runtime();
    let found = runtime.list(&service.name.alloc).await.unwrap();
    assert!(matches!(found[0].state, State::Running { pid, .. } if pid == running.pid), "{found:?}");
    assert!(!waiting.is_finished());
    runtime.signal(&service.name, Signal::TERM).await.unwrap();
    let exit = waiting.await.unwrap().unwrap();
    assert_eq!((exit.code, exit.signal), (7, None));
    assert_eq!(runtime.wait(&service.name).await.unwrap(), exit, "an end can be asked for again");
    runtime.remove(&service.name).await.unwrap();
    assert!(runtime.wait(&service.name).await.unwrap_err().is_not_found());
    until("no shims are left", async || host.shims().is_empty()).await;
}

/// A record of that name and size, as if somebody had made it.
#[expect(clippy::unwrap_used, reason = "a test that can't set up its host fails")]
async fn record(host: &Host, name: &str, bytes: usize) {
    let channel = containerd_client::connect(host.socket()).await.unwrap();
    let spec = prost_types::Any { type_url: "test".to_owned(), value: vec![b' '; bytes] };
    let runtime = api::container::Runtime { name: "io.containerd.runc.v2".to_owned(), options: None };
    let container = api::Container {
        id: name.to_owned(),
        spec: Some(spec),
        runtime: Some(runtime),
        ..Default::default()
    };
    let mut request = Request::new(api::CreateContainerRequest { container: Some(container) });
    request.metadata_mut().insert("containerd-namespace", "mill".parse().unwrap());
    let client = api::containers_client::ContainersClient::new(channel);
    client.max_decoding_message_size(16 << 20).create(request).await.unwrap();
}

#[tokio::test]
async fn containers_are_listed_by_alloc_and_all_of_them_however_many_bytes_they_are() {
    let host = Host::start().await;
    let runtime = host.runtime();
    runtime.containerd().ensure_namespace().await.unwrap();
    // Together more than containerd sends in one answer.
    let names = ["web-2222.1", "web-2222.2", "web-3333.1", "my-web-2222.1"];
    for name in names {
        record(&host, name, 6 << 20).await;
    }
    let found = runtime.list(&"web-2222".parse().unwrap()).await.unwrap();
    let found: Vec<String> = found.into_iter().map(|found| found.name.to_string()).collect();
    assert_eq!(found, names[..2]);
    let all: BTreeSet<ContainerName> = names.iter().map(|name| name.parse().unwrap()).collect();
    assert_eq!(runtime.leftovers(&BTreeSet::new()).await.unwrap(), all);
    for name in &all {
        runtime.remove(name).await.unwrap();
    }
}
