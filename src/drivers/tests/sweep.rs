//! What a dead Mill left on a real containerd is removed, and nothing beside it.

#![expect(clippy::unwrap_used, reason = "a test that can't set up its host fails")]

#[expect(dead_code, reason = "each test binary uses its part of the host")]
mod host;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use host::{Build, Host, shell, until};
use mill_drivers::cgroups::Cgroups;
use mill_drivers::containerd::claimed_at;
use mill_drivers::containers::Containers as _;
use mill_drivers::containers::own::{Own, OwnConfig};
use mill_drivers::home::Home;
use mill_drivers::sweep::{Found, Kind, Left, MachineSweep, Place, Sweep as _, SweepError};
use mill_drivers::volumes::{LoopScratch, Scratch as _};
use mill_model::names::VolumeName;
use mill_model::{AllocId, Bytes, Tempo};

fn place(host: &Host) -> Place {
    Place {
        data: host.dir.path().join("data"),
        // The host's runtime keeps its state in `run`, and the sweep looks beside the socket for `containers`.
        socket: host.dir.path().join("mill/mill.sock"),
        plane_socket: host.dir.path().join("mill/plane.sock"),
        containerds: vec![host.socket()],
        cgroup_parent: host.cgroup_parent.clone(),
        with_data: false,
        own_containerd: false,
    }
}

async fn sweep(place: &Place) -> (MachineSweep, Found) {
    let mut sweep = MachineSweep::new(place.clone(), Arc::new(Tempo::default()));
    let found = sweep.find().await.unwrap();
    (sweep, found)
}

fn ctr(socket: &Path, namespace: &str, args: &[&str]) -> String {
    let output =
        Command::new("ctr").arg("--address").arg(socket).args(["--namespace", namespace]).args(args).output();
    let output = output.unwrap();
    assert!(output.status.success(), "ctr {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn of(found: &[Left], kind: Kind) -> Vec<&str> {
    found.iter().filter(|left| left.kind == kind).map(|left| left.name.as_str()).collect()
}

/// Somebody else's image and running container, beside Mill's. Dropped, they are gone.
struct Stranger {
    socket: PathBuf,
    namespace: &'static str,
    image: String,
    cgroup: String,
}

impl Stranger {
    fn move_in(host: &Host, namespace: &'static str) -> Self {
        let image = format!("127.0.0.1:{}/web:v1", host.registry.port);
        let cgroup = format!("{}-{namespace}", host.cgroup_parent);
        let stranger = Self { socket: host.socket(), namespace, image, cgroup };
        ctr(&stranger.socket, namespace, &["images", "pull", "--plain-http", &stranger.image]);
        let (cgroup, state) = (format!("{}/theirs", stranger.cgroup), host.dir.path().join("theirs"));
        let options = ["run", "--detach", "--null-io", "--net-host", "--cgroup", &cgroup];
        let runc = ["--runc-root", state.to_str().unwrap()];
        let program = [&stranger.image, "theirs", "sleep", "600"];
        ctr(&stranger.socket, namespace, &[&options[..], &runc, &program].concat());
        stranger
    }

    /// Whether all of it is there.
    fn is_well(&self) -> bool {
        let images = ctr(&self.socket, self.namespace, &["images", "list", "--quiet"]);
        ctr(&self.socket, self.namespace, &["tasks", "list"]).contains("RUNNING")
            && images.contains(&self.image)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let ctr = |args: &[&str]| {
            let mut command = Command::new("ctr");
            command.arg("--address").arg(&self.socket).args(["--namespace", self.namespace]).args(args);
            command.output().is_ok_and(|output| output.status.success())
        };
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while !ctr(&["tasks", "delete", "--force", "theirs"]) && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        ctr(&["containers", "delete", "theirs"]);
        ctr(&["images", "delete", "--sync", &self.image]);
        for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let parent = controller.path().join(self.cgroup.trim_start_matches('/'));
            let _ = fs::remove_dir(parent.join("theirs"));
            let _ = fs::remove_dir(parent);
        }
    }
}

/// Two containers, an image, a scratch volume, pipes: all that a Mill leaves that was killed.
async fn live(host: &Host, place: &Place) -> PathBuf {
    let image = host.image(&Build { name: "web", ..Build::default() }).await;
    let runtime = host.runtime();
    for name in ["web-2222.1", "web-3333.7"] {
        runtime.start(&shell(name, &image, "sleep 600")).await.unwrap();
    }
    let (alloc, volume) = ("web-2222".parse::<AllocId>().unwrap(), VolumeName::new("tmp").unwrap());
    let scratch = LoopScratch::new(place.data.join("scratch"));
    let point = scratch.make(&alloc, &volume, Some(Bytes(4 << 20))).await.unwrap();
    let logs = place.data.join("allocs/web-2222/logs");
    fs::create_dir_all(&logs).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, logs.join("stdout.1.fifo"), mode).unwrap();
    fs::write(place.data.join("node.kdl"), "").unwrap();
    point
}

#[tokio::test]
async fn all_of_mills_goes_and_what_is_others_beside_it_stays() {
    let host = Host::start().await;
    let mut place = place(&host);
    let before = host.traces();
    assert_eq!(sweep(&place).await.1, Found::default(), "a containerd that never saw Mill");
    live(&host, &place).await;
    let stranger = Stranger::move_in(&host, "default");

    let (mut sweeper, found) = sweep(&place).await;
    assert_eq!(found.foreign, []);
    assert_eq!(of(&found.left, Kind::Container), ["web-2222.1", "web-3333.7"]);
    assert_eq!(of(&found.left, Kind::Image).len(), 1);
    assert_eq!(of(&found.left, Kind::Mount).len(), 1);
    // Killed after each step: another finds the rest, and never more than that.
    for index in 0..found.left.len() {
        sweeper
            .remove(&found.left[index])
            .await
            .unwrap_or_else(|error| panic!("{:?}: {error:?}", found.left[index]));
        sweeper.remove(&found.left[index]).await.unwrap();
        let (again, rest) = sweep(&place).await;
        let more: Vec<&Left> = rest.left.iter().filter(|left| !found.left.contains(left)).collect();
        assert!(more.is_empty() && rest.left.len() < found.left.len() - index, "{more:?} {rest:?}");
        sweeper = again;
    }
    assert_eq!(sweep(&place).await.1, Found::default());
    assert!(!ctr(&host.socket(), "default", &["namespaces", "list", "--quiet"]).contains("mill"));
    assert!(place.data.join("node.kdl").exists(), "the node itself stays");
    assert!(stranger.is_well());
    assert!(!Cgroups::detect(&host.cgroup_parent).unwrap().has_parent());

    place.with_data = true;
    let (mut sweeper, found) = sweep(&place).await;
    for left in &found.left {
        sweeper.remove(left).await.unwrap();
    }
    assert!(!place.data.exists());
    assert!(stranger.is_well());
    drop(stranger);
    // Directories of snapshots aside: which of them containerd has collected by now is its own business. What is in
    // memory lies in the host's `run`, where this sweep doesn't look.
    let is_swept = |trace: &&String| !trace.contains("snapshots") && !trace.starts_with("run/memory");
    let rest: Vec<String> = host.traces().difference(&before).filter(is_swept).cloned().collect();
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn a_stranger_in_mills_own_namespace_stays_and_is_told_of() {
    let host = Host::start().await;
    let place = place(&host);
    live(&host, &place).await;
    let stranger = Stranger::move_in(&host, "mill");
    let (mut sweeper, found) = sweep(&place).await;
    assert_eq!(of(&found.foreign, Kind::Container), ["theirs"]);
    assert_eq!(of(&found.foreign, Kind::Image), [stranger.image.as_str()]);
    assert!(of(&found.left, Kind::Namespace).is_empty());
    for left in &found.left {
        sweeper.remove(left).await.unwrap();
    }
    let (_, rest) = sweep(&place).await;
    assert_eq!((rest.left, rest.foreign.len()), (vec![], found.foreign.len()));
    assert!(stranger.is_well());
}

#[tokio::test]
async fn a_containerd_of_mills_own_is_looked_into_and_ends_when_asked_for() {
    let host = Host::start().await;
    let mut place = Place { containerds: vec![], ..place(&host) };
    let config =
        OwnConfig { root: place.data.join("containerd"), state: host.dir.path().join("mill/containerd") };
    let tempo = Arc::new(Tempo::default());
    let own = Own::ensure(&config, Arc::clone(&tempo)).await.unwrap();
    ctr(own.socket(), "default", &["namespaces", "create", "mill"]);
    let pid = own.pid();

    let (mut sweeper, found) = sweep(&place).await;
    assert_eq!(of(&found.left, Kind::Namespace), ["mill"]);
    assert!(of(&found.left, Kind::Process).is_empty());
    sweeper.close().await.unwrap();
    assert_eq!(
        Own::ensure(&config, Arc::clone(&tempo)).await.unwrap().pid(),
        pid,
        "it wasn't started to look"
    );

    own.stop().await.unwrap();
    let (mut sweeper, found) = sweep(&place).await;
    assert_eq!(
        of(&found.left, Kind::Namespace),
        ["mill"],
        "a containerd that doesn't run is started to look"
    );
    sweeper.close().await.unwrap();
    until("what was started to look has ended", async || {
        std::os::unix::net::UnixStream::connect(config.state.join("containerd.sock")).is_err()
    })
    .await;

    place.own_containerd = true;
    let (mut sweeper, found) = sweep(&place).await;
    assert_eq!(of(&found.left, Kind::Process).len(), 1);
    for left in &found.left {
        sweeper.remove(left).await.unwrap();
    }
    sweeper.close().await.unwrap();
    assert!(!config.root.exists() && !config.state.exists());
    assert_eq!(sweep(&place).await.1, Found::default());
}

/// The data directory is a link to where the disk is, as administrators do it.
#[tokio::test]
async fn a_home_below_links_is_swept_whole() {
    let host = Host::start().await;
    let mut place = place(&host);
    let dir = host.dir.path();
    fs::create_dir_all(dir.join("srv/mill")).unwrap();
    fs::create_dir_all(dir.join("var-run")).unwrap();
    std::os::unix::fs::symlink("srv/mill", &place.data).unwrap();
    std::os::unix::fs::symlink("var-run", dir.join("mill")).unwrap();
    let point = live(&host, &place).await;
    place.with_data = true;
    let (mut sweeper, found) = sweep(&place).await;
    let real = dir.join("srv/mill/scratch/web-2222/tmp");
    assert_eq!(of(&found.left, Kind::Mount), [real.to_str().unwrap()]);
    for left in &found.left {
        sweeper.remove(left).await.unwrap();
    }
    assert!(!point.exists() && !dir.join("srv/mill").exists());
    assert_eq!(sweep(&place).await.1.left, []);
}

#[tokio::test]
async fn who_sweeps_keeps_others_out_also_by_locks_that_were_not_there() {
    let host = Host::start().await;
    let place = Place { with_data: true, ..place(&host) };
    fs::create_dir_all(place.data.join("plane")).unwrap();
    let cgroups = Cgroups::detect(&host.cgroup_parent).unwrap();
    assert!(!cgroups.has_parent());
    let locks = ["lock", "plane/lock"].map(|name| place.data.join(name));

    let mut sweeper = MachineSweep::new(place.clone(), Arc::new(Tempo::default()));
    assert_eq!(sweeper.claim().await.unwrap(), []);
    for lock in &locks {
        assert!(mill_drivers::process::Lock::take(lock).is_err(), "{lock:?} is held");
    }
    assert!(Home::open(&place.data).is_err() && cgroups.claim().unwrap().is_none());
    let found = sweeper.find().await.unwrap();
    let data = ["plane", "lock", ""].map(|name| place.data.join(name));
    let data = data.map(|path| path.to_str().unwrap().trim_end_matches('/').to_owned());
    assert_eq!(found.left.iter().map(|left| &left.name).collect::<Vec<_>>(), data.iter().collect::<Vec<_>>());
    sweeper.close().await.unwrap();
    assert!(!locks[0].exists() && !locks[1].exists() && !cgroups.has_parent(), "to look leaves nothing");

    let home = Home::open(&place.data).unwrap();
    let mut sweeper = MachineSweep::new(place.clone(), Arc::new(Tempo::default()));
    assert_eq!(sweeper.claim().await.unwrap()[0].pid, Some(std::process::id()));
    sweeper.close().await.unwrap();
    assert!(home.path().join("lock").exists(), "what others hold stays");
}

#[tokio::test]
async fn a_containerd_that_another_homes_mill_uses_is_not_swept() {
    let host = Host::start().await;
    let place = place(&host);
    let lock = claimed_at(&host.socket());
    let theirs = mill_drivers::process::Lock::take(&lock).unwrap();
    let mut sweeper = MachineSweep::new(place.clone(), Arc::new(Tempo::default()));
    let owners = sweeper.claim().await.unwrap();
    assert_eq!(owners.iter().map(|owner| owner.pid).collect::<Vec<_>>(), [Some(std::process::id())]);
    sweeper.close().await.unwrap();
    drop(theirs);

    let mut sweeper = MachineSweep::new(place.clone(), Arc::new(Tempo::default()));
    assert_eq!(sweeper.claim().await.unwrap(), []);
    assert!(mill_drivers::process::Lock::take(&lock).is_err(), "nobody comes up meanwhile");
    let found = sweeper.find().await.unwrap();
    assert_eq!(of(&found.left, Kind::File), [lock.to_str().unwrap()]);
    for left in &found.left {
        sweeper.remove(left).await.unwrap();
    }
    sweeper.close().await.unwrap();

    let mut sweeper = MachineSweep::new(place, Arc::new(Tempo::default()));
    assert_eq!(sweeper.claim().await.unwrap(), []);
    assert_eq!(sweeper.find().await.unwrap(), Found::default());
    sweeper.close().await.unwrap();
    assert!(!lock.exists());
}

/// A process that stands still. Dropped, it has ended, also when the test fails: nobody else would end it.
struct Stopped {
    process: std::os::fd::OwnedFd,
}

impl Stopped {
    fn at(own: &Own) -> Self {
        let pid = rustix::process::Pid::from_raw(own.pid().cast_signed()).unwrap();
        let stopped =
            Self { process: rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap() };
        stopped.signal(rustix::process::Signal::STOP);
        stopped
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let _ = rustix::process::pidfd_send_signal(&self.process, signal);
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal(rustix::process::Signal::KILL);
    }
}

#[tokio::test]
async fn a_containerd_of_mills_own_that_does_not_answer_ends_before_its_files_go() {
    let host = Host::start().await;
    let mut place = Place { containerds: vec![], ..place(&host) };
    let config =
        OwnConfig { root: place.data.join("containerd"), state: host.dir.path().join("mill/containerd") };
    let own = Own::ensure(&config, Arc::new(Tempo::default())).await.unwrap();
    let stopped = Stopped::at(&own);
    until("none of its threads goes on", async || {
        let threads = fs::read_dir(format!("/proc/{}/task", own.pid())).unwrap().flatten();
        let mut states = threads.map(|thread| fs::read_to_string(thread.path().join("status")).unwrap());
        states.all(|status| status.contains("State:\tT"))
    })
    .await;

    let hasty = Arc::new(Tempo { runtime_deadline: Duration::from_millis(500), ..Tempo::default() });
    let mut sweeper = MachineSweep::new(place.clone(), Arc::clone(&hasty));
    let refused = sweeper.find().await;
    assert!(matches!(refused, Err(SweepError::Own { .. })), "it may hold containers: {refused:?}");
    sweeper.close().await.unwrap();

    place.own_containerd = true;
    let mut sweeper = MachineSweep::new(place, hasty);
    let found = sweeper.find().await.unwrap();
    let process = format!("{} containerd", own.pid());
    assert_eq!(of(&found.left, Kind::Process), [&process]);
    let at = |kind, name: &str| found.left.iter().position(|left| left.kind == kind && left.name == name);
    assert!(at(Kind::Process, &process) < at(Kind::Directory, config.root.to_str().unwrap()));
    for left in &found.left {
        sweeper.remove(left).await.unwrap();
    }
    own.ended().await.unwrap();
    drop(stopped);
    assert!(Own::find(&config).unwrap().is_none() && !config.root.exists() && !config.state.exists());
}
