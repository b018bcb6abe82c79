//! Pulling into a real containerd, from a real registry and from one that misbehaves.

#[expect(dead_code, reason = "each test binary uses its part of the host")]
mod host;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use host::faulty::{Faults, Faulty, manifest_digest};
use host::slow::SlowLine;
use host::{Build, Host, output_of, shell, until};
use mill_drivers::containers::Containers as _;
use mill_drivers::images::{Images as _, Progress, PullError, Store};
use mill_model::{Digest, ImageRef, Tempo, limits};

/// Pauses short enough for tests that wait for real sockets.
fn hasty() -> Arc<Tempo> {
    let blink = Duration::from_millis(20);
    Arc::new(Tempo {
        blob_backoff: [blink; 3],
        pull_stalled_after: Duration::from_millis(500),
        ..Tempo::default()
    })
}

fn store(host: &Host) -> Store {
    Store::new(&host.socket(), BTreeSet::new(), hasty())
}

const LAYERED: Build<'static> = Build {
    name: "web",
    layers: &[&[("etc/low", "low\n", 0o644), ("etc/both", "low\n", 0o644)], &[("etc/both", "high\n", 0o644)]],
    config: &["--config.cmd", "cat", "--config.cmd", "/etc/low", "--config.cmd", "/etc/both"],
    zstd: false,
};

/// A layout of `LAYERED` for the faulty registry.
fn layout(host: &Host) -> PathBuf {
    let path = host.dir.path().join("faulty-layout");
    if !path.exists() {
        LAYERED.layout(&path);
    }
    path
}

/// Resolves and pulls.
async fn pull(store: &Store, image: &ImageRef) -> Result<ImageRef, PullError> {
    let pinned = image.pinned(store.resolve(image).await?);
    store.pull(&pinned, |_| {}).await?;
    Ok(pinned)
}

#[tokio::test]
async fn layers_of_gzip_and_of_zstd_are_unpacked_on_each_other() {
    // Refused if another test of this process was faster.
    drop(rustls::crypto::ring::default_provider().install_default());
    let host = Host::start().await;
    for (number, zstd) in [(1, true), (2, false)] {
        let name = if zstd { "zstd" } else { "gzip" };
        let pushed = host.push(&Build { name, zstd, ..LAYERED });
        let url = format!("http://{}/v2/{name}/manifests/v1", pushed.registry);
        let accept = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            reqwest::Client::builder().tls_certs_only([]).build().unwrap().get(url).header("accept", accept);
        let manifest = manifest.send().await.unwrap().text().await.unwrap();
        assert_eq!(manifest.matches("tar+zstd").count(), if zstd { 3 } else { 0 }, "{manifest}");
        let image = pull(&store(&host), &pushed).await.unwrap();
        let launch = mill_drivers::containers::Launch {
            command: None,
            ..shell(&format!("web-2222.{number}"), &image, "")
        };
        let (output, _) = output_of(&host, launch).await;
        assert_eq!(output, "low\nhigh\n", "{name}");
    }
}

#[tokio::test]
async fn callers_share_one_download_and_a_stored_image_needs_none() {
    let host = Host::start().await;
    let registry = Faulty::start(layout(&host), Faults { token: true, ..Faults::default() }).await;
    let store = store(&host);
    let image = registry.image();
    let pinned = image.pinned(store.resolve(&image).await.unwrap());
    let seen = Mutex::new(vec![]);
    let told = |progress: Progress| seen.lock().unwrap().push(progress);
    let (one, two) = tokio::join!(store.pull(&pinned, told), store.pull(&pinned, |_| {}));
    one.unwrap();
    two.unwrap();
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.first(), Some(&Progress::default()), "at once that it isn't here");
    let last = seen.last().unwrap();
    assert_eq!((last.layers.len(), last.unpacked()), (3, 3));
    assert!(last.bytes_total() > 0 && last.bytes_done() == last.bytes_total(), "{last:?}");

    let requests = registry.requests();
    let blobs: Vec<&String> = requests.iter().filter(|r| r.contains("/blobs/")).collect();
    let unique: BTreeSet<&String> = blobs.iter().copied().collect();
    assert_eq!((blobs.len(), unique.len()), (4, 4), "three layers and a config, once each: {requests:?}");
    assert_eq!(requests.iter().filter(|r| r.contains("/token?")).count(), 1, "{requests:?}");

    store.pull(&pinned, |news| panic!("it is here: {news:?}")).await.unwrap();
    Store::new(&host.socket(), BTreeSet::new(), hasty()).pull(&pinned, |_| {}).await.unwrap();
    assert_eq!(registry.requests(), Vec::<String>::new());
    assert_eq!(store.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped() {
    let host = Host::start().await;
    for no_ranges in [false, true] {
        let faults = Faults { cut_once: Some(30), no_ranges, ..Faults::default() };
        let registry = Faulty::start(layout(&host), faults).await;
        pull(&store(&host), &registry.image()).await.unwrap();
        let resumed = registry.requests().iter().filter(|r| r.ends_with("bytes=30-")).count();
        assert_eq!(resumed, 4, "each blob was cut once");
        store(&host).remove_unused(&BTreeSet::new()).await.unwrap();
    }
}

/// Text that can't be made much smaller: letters and digits as a generator rolls them.
fn noise(seed: u64, bytes: usize) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = seed;
    let mut roll = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(SIGNS[usize::from((state >> 58).to_le_bytes()[0])])
    };
    (0..bytes).map(|_| roll()).collect()
}

#[tokio::test]
async fn a_registry_that_vanishes_in_the_middle_and_comes_back_sends_no_byte_twice() {
    let host = Host::start().await;
    let (one, two) = (noise(1, 3 << 20), noise(2, 2 << 20));
    let layers: [&[(&str, &str, u32)]; 2] = [&[("one", &one, 0o644)], &[("two", &two, 0o644)]];
    let pushed = host.push(&Build { name: "large", layers: &layers, ..Build::default() });
    let mut line = SlowLine::start(host.registry.port, 2 << 20).await;
    let image: ImageRef = format!("127.0.0.1:{}/large:v1", line.port).parse().unwrap();
    let tempo = Tempo { blob_backoff: [Duration::from_millis(200); 3], ..Tempo::default() };
    let every = tempo.pull_shown_every;
    let store = Store::new(&host.socket(), BTreeSet::new(), Arc::new(tempo));
    let pinned = image.pinned(store.resolve(&image).await.unwrap());
    assert_eq!(pinned.digest, host.images().resolve(&pushed).await.ok());

    let (news, mut told) = tokio::sync::watch::channel((Progress::default(), 0));
    let begun = std::time::Instant::now();
    let pull = store.pull(&pinned, |now| {
        news.send_modify(|(last, count)| {
            assert!(now.layers.is_empty() || now.bytes_done() >= last.bytes_done(), "{last:?} then {now:?}");
            (*last, *count) = (now, *count + 1);
        });
    });
    let trouble = async {
        let half = |(now, _): &(Progress, u32)| now.bytes_done() > (3 << 20) / 2;
        let far = told.wait_for(half).await.unwrap().0.clone();
        assert!(far.bytes_done() < far.bytes_total(), "it is under way: {far:?}");
        line.cut();
        let stumbled = told.wait_for(|(now, _)| now.trouble.is_some()).await.unwrap().0.clone();
        let trouble = stumbled.trouble.unwrap();
        assert!(trouble.contains("can't be reached"), "{trouble}");
        line.mend().await;
    };
    let (pulled, ()) = tokio::join!(pull, trouble);
    pulled.unwrap();
    let (last, count) = told.borrow().clone();
    assert_eq!((&last.trouble, last.bytes_done()), (&None, last.bytes_total()));
    let most = begun.elapsed().as_millis() / every.as_millis() + 2;
    assert!(u128::from(count) <= most, "{count} words in {:?}", begun.elapsed());
    // What was on the line when it was cut is lost, and documents and headers come on top.
    let (total, sent) = (last.bytes_total(), line.sent());
    assert!(total > 4 << 20 && sent < total + total / 10, "{sent} bytes sent of an image of {total}");
    let (output, _) = output_of(&host, shell("web-2222.1", &pinned, "wc -c /one /two")).await;
    assert!(output.contains(&one.len().to_string()) && output.contains(&two.len().to_string()), "{output}");
}

#[tokio::test]
async fn a_line_that_breaks_every_few_megabytes_gets_a_large_layer_all_the_same() {
    let host = Host::start().await;
    let path = host.dir.path().join("large-layout");
    let one = noise(3, 12 << 20);
    Build { name: "large", layers: &[&[("one", &one, 0o644)]], ..Build::default() }.layout(&path);
    // More pieces than attempts that bring nothing.
    let cut_always = Some(usize::try_from(limits::BLOB_STEP_BYTES_MIN).unwrap() * 5 / 4);
    let registry = Faulty::start(path, Faults { cut_always, ..Faults::default() }).await;
    pull(&store(&host), &registry.image()).await.unwrap();
    let resumed = registry.requests().iter().filter(|request| request.contains("bytes=")).count();
    assert!(resumed > usize::try_from(limits::BLOB_ATTEMPTS_MAX).unwrap(), "{resumed} pieces");
}

#[tokio::test]
async fn what_a_dead_process_left_is_resumed_or_collected() {
    let host = Host::start().await;
    let registry = Faulty::start(layout(&host), Faults { cut_always: Some(30), ..Faults::default() }).await;
    let error = pull(&store(&host), &registry.image()).await.unwrap_err();
    assert!(matches!(error, PullError::BrokenOff { .. } | PullError::Truncated { .. }), "{error:?}");
    assert!(!error.is_permanent());
    registry.requests();
    registry.misbehave(Faults::default());
    let image = pull(&store(&host), &registry.image()).await.unwrap();
    let requests = registry.requests();
    assert!(requests.iter().any(|r| r.contains("bytes=")), "{requests:?}");
    let (output, _) = output_of(
        &host,
        mill_drivers::containers::Launch { command: None, ..shell("web-2222.1", &image, "") },
    )
    .await;
    assert_eq!(output, "low\nhigh\n");

    // Another half, which nobody wants any more.
    store(&host).remove_unused(&BTreeSet::new()).await.unwrap();
    registry.misbehave(Faults { cut_always: Some(30), ..Faults::default() });
    pull(&store(&host), &registry.image()).await.unwrap_err();
    store(&host).remove_unused(&BTreeSet::new()).await.unwrap();
    registry.misbehave(Faults::default());
    registry.requests();
    pull(&store(&host), &registry.image()).await.unwrap();
    assert!(!registry.requests().iter().any(|r| r.contains("bytes=")), "the half was collected");
}

type Judge = fn(&PullError) -> bool;

#[tokio::test]
async fn each_way_a_pull_can_fail_has_its_own_error() {
    let host = Host::start().await;
    let path = layout(&host);
    let foreign = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":1,"platform":{{"os":"linux","architecture":"s390x"}}}}]}}"#,
        manifest_digest(&path)
    );
    let registry = Faulty::start(path, Faults::default()).await;
    let status = |status| Faults { status: Some(status), ..Faults::default() };
    let table: Vec<(Faults, bool, Judge)> = vec![
        (status(404), true, |e| matches!(e, PullError::NoSuchImage { .. })),
        (status(403), true, |e| matches!(e, PullError::Unauthorized { status: 403, .. })),
        (status(401), true, |e| matches!(e, PullError::Unauthorized { status: 401, .. })),
        (status(500), false, |e| matches!(e, PullError::Registry { status: 500, .. })),
        (status(429), false, |e| matches!(e, PullError::Registry { status: 429, .. })),
        (Faults { corrupt: true, ..Faults::default() }, false, |e| {
            matches!(e, PullError::DigestMismatch { .. })
        }),
        (Faults { cut_always: Some(30), ..Faults::default() }, false, |e| {
            matches!(e, PullError::BrokenOff { .. })
        }),
        (Faults { stall: true, ..Faults::default() }, false, |e| matches!(e, PullError::Stalled { .. })),
        (Faults { index: Some(foreign), ..Faults::default() }, true, |e| {
            matches!(e, PullError::NoSuchImage { .. } | PullError::NoSuchPlatform { .. })
        }),
        (Faults { index: Some("{".to_owned()), ..Faults::default() }, true, |e| {
            matches!(e, PullError::NoSuchImage { .. } | PullError::Unusable { .. })
        }),
    ];
    for (faults, permanent, wanted) in table {
        registry.misbehave(faults.clone());
        let error = pull(&store(&host), &registry.image()).await.unwrap_err();
        assert!(wanted(&error), "{faults:?}: {error:?}");
        assert_eq!(error.is_permanent(), permanent, "{error}");
        store(&host).remove_unused(&BTreeSet::new()).await.unwrap();
    }
    let port = registry.port;
    drop(registry);
    let image: ImageRef = format!("127.0.0.1:{port}/web:v1").parse().unwrap();
    // The listener closes when its task is gone.
    until("nobody listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err())
        .await;
    let error = pull(&store(&host), &image).await.unwrap_err();
    assert!(matches!(error, PullError::Unreachable { .. }), "{error:?}");
    let failure = mill_model::Failure::from(&error);
    assert!(failure.to_string().contains("refused"), "{failure}");
}

#[tokio::test]
async fn unused_images_go_and_used_and_kept_ones_stay() {
    let host = Host::start().await;
    let kept = host.image(&Build { name: "kept", ..Build::default() }).await;
    let used =
        host.image(&Build { name: "used", layers: &[&[("etc/used", "x", 0o644)]], ..Build::default() }).await;
    let unused = host
        .image(&Build { name: "unused", layers: &[&[("etc/unused", "x", 0o644)]], ..Build::default() })
        .await;
    let runtime = host.runtime();
    let service = shell("web-2222.1", &used, "cat /etc/used; sleep 600");
    runtime.start(&service).await.unwrap();
    let store = store(&host);
    let keep: BTreeSet<Digest> = kept.digest.iter().cloned().collect();

    let collected = store.remove_unused(&keep).await.unwrap();
    assert_eq!(collected.images, 2);
    assert!(collected.snapshots >= 1 && collected.bytes > 0, "{collected:?}");
    let names: Vec<ImageRef> = store.list().await.unwrap().into_iter().map(|stored| stored.image).collect();
    assert_eq!(names.iter().map(|image| image.repository.as_str()).collect::<Vec<_>>(), ["kept"]);
    let alive = runtime
        .exec(&service.name, &["cat".to_owned(), "/etc/used".to_owned()], Duration::from_secs(10))
        .await;
    assert_eq!(alive.unwrap().output, "x", "its layers are under a running container");
    assert!(runtime.start(&shell("web-2222.2", &unused, "true")).await.is_err());
    let (output, _) = output_of(&host, shell("web-2222.3", &kept, "echo here")).await;
    assert_eq!(output, "here\n");

    runtime.remove(&service.name).await.unwrap();
    store.remove_unused(&BTreeSet::new()).await.unwrap();
    assert_eq!(store.remove_unused(&BTreeSet::new()).await.unwrap(), Default::default());
    host.until_nothing_but(&BTreeSet::new()).await;
    // And it can all be had again.
    store.pull(&unused, |_| {}).await.unwrap();
    let (output, _) = output_of(&host, shell("web-2222.4", &unused, "cat /etc/unused")).await;
    assert_eq!(output, "x");
}
