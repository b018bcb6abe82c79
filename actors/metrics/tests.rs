use std::time::Duration;

use mill_drivers::bundle::Fakes;
use mill_drivers::containers::{Launch, Script};
use mill_model::{Bytes, Resources, Tempo};

use super::*;
use crate::kit::Tree;

fn name(text: &str) -> ContainerName {
    text.parse().unwrap()
}

async fn start(fakes: &Fakes, container: &str, cpu_millis: u32) {
    fakes.containers.script("web", Script { cpu_millis, ..Script::default() });
    let launch = Launch {
        name: name(container),
        image: "r.example/web:v1".parse().unwrap(),
        entrypoint: None,
        command: None,
        env: vec![],
        confidential: false,
        files: vec![],
        resources: Resources { cpu: Millicores(1000), memory: Bytes(64 << 20) },
        user: None,
        workdir: None,
        read_only_root: false,
        cap_add: vec![],
        cap_drop: vec![],
        devices: vec![],
        mounts: vec![],
        stop_signal: None,
        labels: BTreeMap::new(),
        stdout: "".into(),
        stderr: "".into(),
        hostname: "web".to_owned(),
        address: [127, 0, 0, 1].into(),
        resolv_conf: None,
        mapping: None,
    };
    fakes.containers.start(&launch).await.unwrap();
}

/// Waits for the next look, and answers the processor time of each container in thousandths of a core.
async fn next(used: &mut watch::Receiver<Arc<Used>>) -> Vec<(String, u32)> {
    let changed = tokio::time::timeout(Duration::from_secs(60), used.changed()).await;
    changed.expect("another look").unwrap();
    let used = used.borrow_and_update();
    used.iter().map(|(name, usage)| (name.to_string(), usage.cpu.0)).collect()
}

#[tokio::test(start_paused = true)]
async fn processor_time_is_the_mean_since_the_last_look_and_who_is_gone_is_not_shown() {
    let fakes = Fakes::default();
    let tempo = Arc::new(Tempo::default());
    start(&fakes, "web-aaaa.1", 250).await;
    let sender = watch::Sender::new(Arc::default());
    let mut used = sender.subscribe();
    let args = Args { drivers: fakes.clone(), used: sender };
    let _tree = Tree::start::<Metrics<Fakes>>("metrics", args, Arc::clone(&tempo)).await.unwrap();

    let begun = Instant::now();
    assert_eq!(next(&mut used).await, [("web-aaaa.1".to_owned(), 250)]);
    assert_eq!(begun.elapsed(), tempo.usage_every, "two looks, and no more than one in each period");
    assert_eq!(used.borrow()[&name("web-aaaa.1")].memory, Bytes(32 << 20));

    // It is there for half of the period.
    tokio::time::sleep(tempo.usage_every / 2).await;
    start(&fakes, "web-bbbb.1", 1000).await;
    assert_eq!(next(&mut used).await, [("web-aaaa.1".to_owned(), 250), ("web-bbbb.1".to_owned(), 500)]);
    fakes.containers.forget(&name("web-aaaa.1"));
    assert_eq!(next(&mut used).await, [("web-bbbb.1".to_owned(), 1000)]);

    // What isn't known isn't shown, and two looks are needed again.
    fakes.containers.break_down();
    assert_eq!(next(&mut used).await, []);
    assert_eq!(next(&mut used).await, []);
    fakes.containers.repair();
    let repaired = Instant::now();
    assert_eq!(next(&mut used).await, [("web-bbbb.1".to_owned(), 1000)]);
    assert_eq!(repaired.elapsed(), tempo.usage_every * 2);
}
