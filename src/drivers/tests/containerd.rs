//! Images and containers on a real containerd.

#[expect(dead_code, reason = "each test binary uses its part of the host")]
mod host;

use host::{Build, Host, output_of, shell, until};
use mill_drivers::containers::{Containers as _, Signal, State};
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
    assert_eq!((exit.code, exit.signal, exit.oom), (3, None, false));

    let service = shell("web-2222.2", &image, "sleep 600");
    let running = runtime.start(&service).await.unwrap();
    let found = runtime.list().await.unwrap();
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
    let found = runtime.list().await.unwrap();
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
