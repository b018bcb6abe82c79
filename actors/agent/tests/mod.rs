//! A node's agent with all its allocs, over fakes and paused time.

mod fetches;
mod lives;
mod mapped;
mod orders;
mod restarts;
mod secrets;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mill_alloc::{Assignment, Heard, Kind};
use mill_control::dispatch::Outcome;
use mill_drivers::bundle::Fakes;
use mill_drivers::containers::{ContainerName, Script};
use mill_fsm::Cluster;
use mill_model::ports::{Port, Protocol};
use mill_model::spec::{ContainerSpec, HealthCheck, Probe, Stop};
use mill_model::{DeployId, Failure, Incarnation, Phase, Resources, SpecHash, Tempo, Timestamp, Workload};
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::alloc::Pipes;
use crate::kit::Tree;
use crate::secrets::Sealed;

const TERM: Term = Term(1);
const WEB: &str = "web-aaaa";

fn id(name: &str) -> AllocId {
    name.parse().unwrap()
}

fn container(incarnation: u32) -> ContainerName {
    ContainerName { alloc: id(WEB), incarnation: Incarnation(incarnation) }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn plain() -> Kind {
    Kind::Service { health: None }
}

fn checked(probe: Probe) -> Kind {
    let (interval, timeout) = (secs(10), secs(2));
    Kind::Service {
        health: Some(HealthCheck { probe, interval, timeout, retries: 3, start_period: secs(30) }),
    }
}

fn http() -> Kind {
    let port = 80.try_into().unwrap();
    checked(Probe::Http { path: mill_model::Template::text("/health"), port })
}

fn task() -> Kind {
    Kind::Task { timeout: secs(60) }
}

/// `web-aaaa`, declaring port 80, image `web`.
fn assignment(kind: Kind) -> Assignment {
    let port = Port { name: None, number: 80.try_into().unwrap(), protocol: Protocol::Tcp };
    let container = ContainerSpec {
        image: format!("r.example/web:v1@sha256:{}", "a".repeat(64)).parse().unwrap(),
        entrypoint: None,
        command: None,
        env: vec![],
        resources: Resources::default(),
        ports: vec![port],
        volumes: vec![],
        secrets: vec![],
        stop: Stop { signal: None, grace: secs(10), drain: secs(7) },
        user: None,
        workdir: None,
        read_only_root: false,
        cap_add: vec![],
        cap_drop: vec![],
        devices: vec![],
        pins: vec![],
    };
    Assignment {
        alloc: id(WEB),
        workload: Workload { project: "shop".parse().unwrap(), name: "web".parse().unwrap() },
        index: 0,
        kind,
        hash: SpecHash([1; 32]),
        container,
        deploy: DeployId(1),
        failures: 0,
    }
}

fn without_ports(kind: Kind) -> Assignment {
    let mut assignment = assignment(kind);
    assignment.container.ports.clear();
    assignment
}

/// A machine, the agent on it, and a leader that acknowledges what it hears.
struct World {
    fakes: Fakes,
    agent: Option<Tree<Msg>>,
    heard: Arc<Mutex<Vec<AllocStatus>>>,
    /// What it heard of images that it wants there.
    images: Arc<Mutex<Vec<Fetched>>>,
    streams: Arc<Mutex<Vec<String>>>,
    /// Each time that all was told: whether output of the first run may still come.
    compared: Arc<Mutex<Vec<bool>>>,
    /// What the node knows of the cluster: the secrets.
    cluster: watch::Sender<Arc<Cluster>>,
}

impl World {
    async fn new() -> Self {
        // Logs show what a failing test did: `RUST_LOG=debug cargo test …`.
        let fakes = Fakes::default();
        let (heard, images, streams, compared) = Default::default();
        let cluster = watch::Sender::default();
        let mut world = Self { fakes, agent: None, heard, images, streams, compared, cluster };
        world.start().await;
        world.open(TERM).await.unwrap();
        world
    }

    /// Starts an agent on this machine and waits until it answers.
    async fn start(&mut self) {
        let (noted, compared) = (Arc::clone(&self.streams), Arc::clone(&self.compared));
        let streams = Outlet::new(move |news| {
            let mut noted = noted.lock().unwrap();
            match news {
                Streams::Open { name, reply } => {
                    noted.push(format!("open {name}"));
                    reply.send(Ok(Pipes { stdout: "/fifo/out".into(), stderr: "/fifo/err".into() }));
                }
                Streams::Ended { name } => noted.push(format!("ended {name}")),
                Streams::Forget { alloc } => noted.push(format!("forget {alloc}")),
                Streams::All(outputs) => {
                    compared.lock().unwrap().push(outputs.may_come(&id(WEB), Incarnation(1)));
                }
            }
            Ok(())
        });
        let home = Home {
            drivers: self.fakes.clone(),
            node: "node-1".parse().unwrap(),
            address: "127.0.0.1".parse().unwrap(),
            streams,
            secrets: Sealed::of(self.cluster.subscribe()),
        };
        let args = Args { home, pulls: Pulls::default() };
        let tree = Tree::start::<Agent<Fakes>>("agent", args, Arc::new(Tempo::default())).await;
        self.agent = Some(tree.unwrap());
    }

    /// The daemon dies, and another one starts after `away`.
    async fn restart_daemon(&mut self, away: Duration) {
        let tree = self.agent.take().unwrap();
        let ended = tree.introspect();
        drop(tree);
        until("the daemon is dead", async || ended.tree().await.status == crate::kit::Status::Stopped).await;
        tokio::time::sleep(away).await;
        self.start().await;
        self.open(TERM).await.unwrap();
    }

    /// The alloc's actor crashes, as far as anyone can see.
    async fn restart_actor(&self) {
        let path = format!("agent/{WEB}");
        self.tree().introspect().restart(&path).await.unwrap();
    }

    fn tree(&self) -> &Tree<Msg> {
        self.agent.as_ref().unwrap()
    }

    async fn ask<R: Send + 'static>(&self, make: impl FnOnce(Reply<R>) -> Msg) -> R {
        self.tree().root().ask(secs(5), make).await.unwrap()
    }

    async fn open(&self, term: Term) -> Result<Inventory, Refusal> {
        let (heard, root) = (Arc::clone(&self.heard), self.tree().root());
        let images = Arc::clone(&self.images);
        let news = Outlet::new(move |news| match news {
            News::Statuses(batch) => {
                heard.lock().unwrap().extend(batch.statuses);
                root.tell(Msg::Acknowledged { sequence: batch.sequence })
            }
            News::Images(fetched) => {
                images.lock().unwrap().push(fetched);
                Ok(())
            }
        });
        self.ask(|reply| Msg::Open { term, news, reply }).await
    }

    async fn order(&self, order: Order) -> Outcome {
        self.ask(|reply| Msg::Order { order, reply }).await.outcome
    }

    async fn run(&self, assignment: Assignment) {
        let order = Order::Run { term: TERM, assignment: Arc::new(assignment), heard: Heard::default() };
        assert_eq!(self.order(order).await, Outcome::Accepted);
    }

    async fn stop(&self) -> Outcome {
        self.order(Order::Stop { term: TERM, alloc: id(WEB) }).await
    }

    async fn status(&self) -> AllocStatus {
        self.ask(Msg::List).await.into_iter().find(|status| status.id == id(WEB)).unwrap()
    }

    /// Waits until the alloc is in this phase, and answers its status.
    #[track_caller]
    fn reach(&self, phase: Phase) -> impl Future<Output = AllocStatus> {
        let place = std::panic::Location::caller();
        async move {
            until(&format!("it is {phase} ({place})"), async || self.status().await.phase == phase).await;
            self.status().await
        }
    }

    /// Waits until the leader has heard that this run of the alloc was in this phase, however shortly.
    #[track_caller]
    fn hear(&self, phase: Phase, incarnation: u32) -> impl Future<Output = AllocStatus> {
        let place = std::panic::Location::caller();
        async move {
            let heard = || {
                let heard = self.heard.lock().unwrap();
                let wanted =
                    |status: &&AllocStatus| (status.phase, status.incarnation.0) == (phase, incarnation);
                heard.iter().find(wanted).cloned()
            };
            until(&format!("{incarnation} was {phase} ({place})"), async || heard().is_some()).await;
            heard().unwrap()
        }
    }

    /// The mapped port.
    async fn mapped(&self) -> u16 {
        self.status().await.ports[0].mapped.get()
    }

    /// The program listens on `port` and answers so.
    fn listens(&self, incarnation: u32, port: u16, answer: Option<mill_drivers::probes::Answer>) {
        self.fakes.sockets.close(port);
        if answer.is_some() {
            self.fakes.sockets.container_listens(&container(incarnation), port);
        }
        self.fakes.probes.answer(([127, 0, 0, 1], port).into(), answer);
    }

    fn script(&self, script: Script) {
        self.fakes.containers.script("web", script);
    }

    fn started(&self) -> Vec<u32> {
        self.fakes.containers.started().iter().map(|launch| launch.name.incarnation.0).collect()
    }

    fn running(&self) -> Vec<u32> {
        self.fakes.containers.running().iter().map(|name| name.incarnation.0).collect()
    }

    /// Every phase that the leader heard of, with its incarnation and beginning in milliseconds.
    fn told(&self) -> Vec<(Phase, u32, u64)> {
        let heard = self.heard.lock().unwrap();
        heard.iter().map(|status| (status.phase, status.incarnation.0, status.since.0)).collect()
    }
}

/// Waits until it is so, and says so if it never is: two hours of paused time. Looks closely at first.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + secs(7200);
    let mut pause = Duration::from_millis(1);
    while !is_so().await {
        assert!(Instant::now() < deadline, "it never came that {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 21 / 20).min(Duration::from_millis(100));
    }
}

fn failure(status: &AllocStatus) -> Option<Failure> {
    status.last_end.as_ref().and_then(|end| end.failure.clone())
}

fn ends(after: Duration, code: u8) -> Script {
    Script { ends: Some((after, code)), ..Script::default() }
}

/// What tests ask of a machine.
trait Machine {
    fn clock_now(&self) -> Timestamp;
    async fn images_stored(&self) -> usize;
}

impl Machine for Fakes {
    fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn images_stored(&self) -> usize {
        use mill_drivers::images::Images as _;
        self.images.list().await.unwrap().len()
    }
}
