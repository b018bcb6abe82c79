//! A machine: what outlives the daemon on it, the daemon, and what a test asks of both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use mill_actors::kit::{Ended, Introspect, Status, Tree};
use mill_actors::node::{self, Settings};
use mill_actors::plane;
use mill_actors::raft::Published;
use mill_api::Api;
use mill_api::client::ClientError;
use mill_api::daemon::InitRequest;
use mill_api::deploys::{Deploy, DeployRequest, DeployState};
use mill_drivers::bundle::{Fakes, Parts};
use mill_drivers::containers::{ContainerName, Containers as _};
use mill_drivers::disk::{Crash, FakeDisk};
use mill_drivers::home::Home;
use mill_drivers::logs::{FakeLogs, Logs as _};
use mill_drivers::process::{self, Other, ProcessError};
use mill_drivers::random::SeededRandom;
use mill_fsm::{Alloc, Cluster};
use mill_model::{Bytes, DeployId, Millicores, Phase, Resources, Tempo};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::programs::Programs;
use super::{Beat, until};

/// Two of a web server.
pub(super) const WEB: &str = r#"service "web" {
    image "registry.test/web:v1"
    replicas 2
    port 3000
    health path="/health"
}"#;

/// All that a node's tree touches here.
type Outside = Parts<Fakes, FakeDisk, SeededRandom, FakeLogs, Planes>;

/// The machine of one node: its containers, disk, images and output, which a dead daemon leaves as they are.
pub(super) struct Machine {
    pub(super) fakes: Fakes,
    pub(super) disk: FakeDisk,
    pub(super) logs: FakeLogs,
    pub(super) planes: Planes,
    /// The version of the program that is installed.
    pub(super) version: &'static str,
    name: &'static str,
    random: SeededRandom,
    directory: TempDir,
    daemon: Option<Daemon>,
    programs: Programs,
    _beat: Beat,
}

/// One life of the daemon.
struct Daemon {
    tree: Tree<node::Msg>,
    published: Published,
}

/// Planes that are "started" in this process. As processes do, they outlive the daemon.
#[derive(Clone)]
pub(super) struct Planes {
    config: plane::Config,
    logs: FakeLogs,
    running: Arc<Mutex<Option<Tree<plane::Msg>>>>,
    ended: Arc<Notify>,
}

impl Planes {
    /// Kills the plane that runs.
    pub(super) fn kill(&self) {
        drop(self.running.lock().unwrap().take());
        self.ended.notify_waiters();
    }
}

impl Other for Planes {
    async fn run(&self) -> Result<process::Ended, ProcessError> {
        let ended = self.ended.notified();
        let (config, logs) = (self.config.clone(), self.logs.clone());
        let running = Arc::clone(&self.running);
        // A task of its own: who starts a process and dies doesn't take it along.
        let started = tokio::spawn(async move {
            let plane = plane::start(config, logs, Arc::new(Tempo::default())).await.ok()?;
            *running.lock().unwrap() = Some(plane);
            Some(())
        });
        if let Ok(Some(())) = started.await {
            ended.await;
        }
        Ok(process::Ended::Fake)
    }

    async fn keep_small(&self) -> Result<(), ProcessError> {
        // It says nothing.
        Ok(())
    }
}

impl Machine {
    /// A machine on which no daemon has run.
    pub(super) fn new(name: &'static str, seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let logs = FakeLogs::default();
        let path = directory.path();
        let config = plane::Config { data: path.join("data/plane"), socket: path.join("plane.sock") };
        let planes = Planes { config, logs: logs.clone(), running: Arc::default(), ended: Arc::default() };
        let (fakes, programs) = (Fakes::default(), Programs::default());
        Self {
            _beat: Beat::start(fakes.clone(), programs.clone()),
            programs,
            fakes,
            disk: FakeDisk::new(seed),
            logs,
            planes,
            version: "0.1.0",
            name,
            random: SeededRandom::new(seed),
            directory,
            daemon: None,
        }
    }

    /// A machine whose daemon has made a cluster of it.
    pub(super) async fn with_cluster(name: &'static str, seed: u64) -> Self {
        let mut machine = Self::new(name, seed);
        machine.start().await;
        machine.api().init(&InitRequest::default()).await.unwrap();
        machine
    }

    /// Starts a daemon here, as production does.
    pub(super) async fn start(&mut self) {
        assert!(self.daemon.is_none(), "a daemon runs on {} already", self.name);
        let data = self.directory.path().join("data");
        let home = until("the last daemon has left its directory", async || {
            Home::open(&data).map_err(|error| error.to_string())
        });
        let published = Published::default();
        let args = node::Args::<Outside> {
            settings: Settings {
                name: self.name.parse().unwrap(),
                advertise: "127.0.0.1".parse().unwrap(),
                listen: "127.0.0.1:0".parse().unwrap(),
                socket: self.directory.path().join("mill.sock"),
                capacity: Resources { cpu: Millicores(4000), memory: Bytes(4 << 30) },
                version: self.version.to_owned(),
            },
            home: Arc::new(home.await),
            outside: Parts {
                drivers: self.fakes.clone(),
                disk: self.disk.clone(),
                random: self.random.clone(),
                logs: self.logs.clone(),
                plane: self.planes.clone(),
            },
            published: published.clone(),
            containerd: None,
            plane_socket: self.planes.config.socket.clone(),
            doctor: Arc::new(|| Box::pin(async { vec![] })),
        };
        let tree = node::start(args, Arc::new(Tempo::default())).await.unwrap();
        self.daemon = Some(Daemon { tree, published });
    }

    /// Whether a daemon here will know that it must not begin without its log.
    pub(super) fn is_marked_as_member(&self) -> bool {
        self.directory.path().join("data/member").exists()
    }

    /// Where its daemon keeps the log.
    pub(super) fn log_directory(&self) -> PathBuf {
        self.directory.path().join("data/raft")
    }

    /// The daemon is killed; the machine goes on.
    pub(super) async fn kill(&mut self) {
        let daemon = self.daemon.take().unwrap();
        let actors = daemon.tree.introspect();
        // What a thread still writes is of a dead process.
        self.disk.crash(Crash::Process);
        drop(daemon);
        until("the daemon is dead", async || match actors.tree().await.status {
            Status::Stopped => Ok(()),
            status => Err(format!("{status:?}")),
        })
        .await;
    }

    /// The machine is without power for a moment: nothing that ran on it is left, and of its disk what was synced.
    pub(super) async fn lose_power(&mut self) {
        self.disk.crash(Crash::Torn);
        self.kill().await;
        self.planes.kill();
        for name in self.fakes.containers.running() {
            self.fakes.containers.forget(&name);
        }
    }

    /// The daemon is told to stop, and does.
    pub(super) async fn stop(&mut self) {
        let daemon = self.daemon.take().unwrap();
        daemon.tree.stop(Tempo::default().shutdown_deadline).await.unwrap();
    }

    /// Starts the daemon if it doesn't run, as systemd does.
    pub(super) async fn revive(&mut self) {
        if let Some(daemon) = &self.daemon {
            if daemon.tree.introspect().tree().await.status != Status::Stopped {
                return;
            }
            self.gives_up().await;
        }
        self.start().await;
    }

    /// Waits until the daemon gives up, and says why it did.
    pub(super) async fn gives_up(&mut self) -> String {
        let daemon = self.daemon.take().unwrap();
        match daemon.tree.ended().await {
            Ended::GaveUp { error } => error,
            Ended::Stopped => panic!("it stopped in order"),
        }
    }

    pub(super) fn api(&self) -> Api {
        Api::local(self.directory.path().join("mill.sock"))
    }

    pub(super) fn actors(&self) -> Introspect {
        self.daemon.as_ref().unwrap().tree.introspect()
    }

    /// The state as this node has applied it.
    pub(super) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.daemon.as_ref().unwrap().published.cluster.borrow())
    }

    /// Begins a deploy of this config, or hears why not.
    pub(super) async fn try_begin(&self, config: &str) -> Result<Deploy, ClientError> {
        let request = DeployRequest {
            source: config.to_owned(),
            file: "mill.kdl".to_owned(),
            default_project: "shop".parse().unwrap(),
            images: BTreeMap::new(),
            replace: false,
        };
        self.api().deploy(&request).await
    }

    /// Begins a deploy of this config, as soon as the daemon takes it.
    pub(super) async fn begin(&self, config: &str) -> Deploy {
        until("the daemon takes the deploy", async || {
            self.try_begin(config).await.map_err(|error| format!("{error:?}"))
        })
        .await
    }

    /// Waits for the end of a deploy.
    pub(super) async fn end_of(&self, id: DeployId) -> Deploy {
        until("the deploy ends", async || match self.api().deploy_status(id).await {
            Ok(deploy) if deploy.state.is_over() => Ok(deploy),
            other => Err(format!("{other:?}")),
        })
        .await
    }

    /// Deploys this config, and sees that it succeeds and that what it wants runs.
    pub(super) async fn deploy(&self, config: &str) -> DeployId {
        let begun = self.begin(config).await;
        let ended = self.end_of(begun.id).await;
        assert_eq!(ended.state, DeployState::Succeeded, "{ended:#?}");
        self.settles().await;
        ended.id
    }

    /// Waits until what runs is exactly what is wanted, and healthy.
    pub(super) async fn settles(&self) {
        until("what runs is what is wanted", async || self.is_settled()).await;
        self.ran_nothing_twice();
    }

    /// Waits for the end of all deploys and until what runs is what is wanted; the daemon may have to be started for it.
    pub(super) async fn settles_after(&mut self, told: &[String]) {
        for _ in 0..3600 {
            self.revive().await;
            super::pass(super::secs(1)).await;
            let open = self.cluster().deploys.values().any(|deploy| deploy.outcome.is_none());
            if !open && self.is_settled().is_ok() {
                return self.ran_nothing_twice();
            }
        }
        panic!("what runs isn't what is wanted: {:?} after {told:#?}", self.is_settled());
    }

    /// The containers that the state wants, all of them healthy; or what else there is.
    fn is_settled(&self) -> Result<(), String> {
        let cluster = self.cluster();
        let wanted = |alloc: &&Arc<Alloc>| alloc.is_wanted() && alloc.status.phase == Phase::Healthy;
        let healthy: BTreeSet<ContainerName> = cluster
            .allocs
            .values()
            .filter(wanted)
            .map(|alloc| ContainerName { alloc: alloc.id.clone(), incarnation: alloc.status.incarnation })
            .collect();
        let services = cluster.projects.values().flat_map(|project| project.services.values());
        let replicas: u32 = services.map(|service| service.spec.replicas).sum();
        let live = cluster.allocs.values().filter(|alloc| alloc.is_live()).count();
        let running = self.fakes.containers.running();
        let count = usize::try_from(replicas).unwrap();
        match running == healthy && healthy.len() == count && live == count {
            true => Ok(()),
            false => Err(format!("{replicas} wanted, {live} live, healthy {healthy:?}, running {running:?}")),
        }
    }

    /// No incarnation was started twice, no alloc has two containers, and no port has two programs.
    pub(super) fn ran_nothing_twice(&self) {
        let started = self.fakes.containers.started();
        let names: BTreeSet<&ContainerName> = started.iter().map(|launch| &launch.name).collect();
        assert_eq!(names.len(), started.len(), "an incarnation was started twice");
        let running = self.fakes.containers.running();
        let allocs: BTreeSet<_> = running.iter().map(|name| &name.alloc).collect();
        assert_eq!(allocs.len(), running.len(), "two containers of one alloc: {running:?}");
        assert_eq!(self.programs.wrong(), Vec::<String>::new());
    }

    /// Has everything stopped, and waits until nothing of it takes any room but what is kept for whoever asks why.
    pub(super) async fn undeploy(&self) {
        let begun = self.api().undeploy(&"shop".parse().unwrap()).await.unwrap();
        self.end_of(begun.id).await;
        until("nothing is left", async || {
            let containers = self.fakes.containers.leftovers(&BTreeSet::new()).await;
            let pipes = self.logs.pipes().await;
            let (held, captured) = (self.logs.held(), self.logs.captured());
            let agent = self.actors().tree().await;
            let ports = agent.find("daemon/agent").map(|agent| agent.observed["ports_held"].clone());
            let left = format!("{containers:?} {pipes:?} {held:?} {captured:?} {ports:?}");
            match left == "Ok({}) Ok([]) [] [] Some(Number(0))" {
                true => Ok(()),
                false => Err(left),
            }
        })
        .await;
    }

    /// The tags of what runs, in order.
    pub(super) fn tags(&self) -> Vec<String> {
        let running = self.fakes.containers.running();
        let started = self.fakes.containers.started();
        let launches = started.iter().filter(|launch| running.contains(&launch.name));
        let mut tags: Vec<String> = launches.filter_map(|launch| launch.image.tag.clone()).collect();
        tags.sort();
        tags
    }
}
