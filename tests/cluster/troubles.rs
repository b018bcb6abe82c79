//! Troubles in any order and at any time, all from one seed; then they end, and what runs is what is wanted
//! (product.md P13).
//!
//! `SEED=7 SEEDS=1 cargo test --package mill-tests troubles` plays the seventh once more.

use mill_api::client::ClientError;
use mill_api::deploys::Deploy;
use mill_drivers::containers::{ContainerName, Script};
use mill_drivers::disk::Fault;
use mill_drivers::random::{Random as _, SeededRandom};
use mill_model::{DeployId, Workload};

use super::machine::{Machine, WEB};
use super::{ms, pass, secs};

/// What can happen to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Deploy,
    DeployMore,
    DeployBad,
    Scale,
    Restart,
    Rollback,
    Cancel,
    Undeploy,
    Kill,
    Stop,
    PowerLoss,
    RestartActor,
    ContainerEnds,
    ContainerVanishes,
    RuntimeAway,
    RuntimeSlow,
    RegistryFails,
    DiskFails,
    DiskFull,
    NoRoomForRecords,
    OutputFails,
    PlaneDies,
    ClockForward,
    ClockBack,
}

/// Deploys are what most of the others happen to.
const TROUBLES: [Trouble; 31] = {
    use Trouble::*;
    [
        Deploy,
        Deploy,
        Deploy,
        Deploy,
        Deploy,
        Deploy,
        Deploy,
        DeployMore,
        DeployBad,
        Scale,
        Restart,
        Rollback,
        Cancel,
        Undeploy,
        Kill,
        Stop,
        PowerLoss,
        RestartActor,
        RestartActor,
        ContainerEnds,
        ContainerVanishes,
        RuntimeAway,
        RuntimeSlow,
        RegistryFails,
        DiskFails,
        DiskFull,
        NoRoomForRecords,
        OutputFails,
        PlaneDies,
        ClockForward,
        ClockBack,
    ]
};

/// Beside the web server, which waits for the task.
const MORE: &str = r#"
service "db" { image "registry.test/db:v1" }
task "migrate" { image "registry.test/job:v1"; }
"#;

/// How many of them a seed brings.
const MANY: u64 = 30;

struct Story {
    machine: Machine,
    random: SeededRandom,
    versions: u64,
    /// For whoever has to find out.
    told: Vec<String>,
}

impl Story {
    fn below(&self, bound: u64) -> u64 {
        self.random.number().unwrap() % bound
    }

    fn one<T: Clone>(&self, of: &[T]) -> Option<T> {
        let index = self.below(u64::try_from(of.len()).unwrap().max(1));
        of.get(usize::try_from(index).unwrap()).cloned()
    }

    fn a_container(&self) -> Option<ContainerName> {
        let running: Vec<_> = self.machine.fakes.containers.running().into_iter().collect();
        self.one(&running)
    }

    /// A time within which about everything can be under way.
    fn moment(&self) -> std::time::Duration {
        let longest = self.one(&[20, 300, 3000, 20_000]).unwrap();
        ms(self.below(longest))
    }

    /// A user wants something. It may be refused.
    async fn ask(&mut self, what: Trouble) -> Result<Deploy, ClientError> {
        self.versions += 1;
        let (api, project) = (self.machine.api(), "shop".parse().unwrap());
        let web = Workload { project: "shop".parse().unwrap(), name: "web".parse().unwrap() };
        let replicas = u32::try_from(self.below(4)).unwrap();
        let config = WEB.replace("replicas 2", &format!("replicas {replicas}"));
        let more = WEB.replace("port 3000", "depends-on \"migrate\"; port 3000") + MORE;
        let version = |config: &str| config.replace("v1", &format!("v{}", self.versions));
        match what {
            Trouble::DeployMore => self.machine.try_begin(&version(&more)).await,
            Trouble::DeployBad => self.machine.try_begin(&version(&config.replace("web:v1", "bad:v1"))).await,
            Trouble::Scale => api.scale(&web, replicas).await,
            Trouble::Restart => api.restart(&web).await,
            Trouble::Rollback => api.rollback(&project, None).await,
            Trouble::Cancel => {
                let newest = self.machine.cluster().deploys.keys().next_back().copied();
                api.cancel(newest.unwrap_or(DeployId(1))).await
            }
            Trouble::Undeploy => api.undeploy(&project).await,
            _ => self.machine.try_begin(&version(&config)).await,
        }
    }

    async fn tell(&mut self, trouble: Trouble) {
        use Trouble::*;
        let fakes = self.machine.fakes.clone();
        self.told.push(format!("{trouble:?} at {} ms", mill_drivers::clock::Clock::now(&fakes.clock).0));
        match trouble {
            Deploy | DeployMore | DeployBad | Scale | Restart | Rollback | Cancel | Undeploy => {
                let refused = self.ask(trouble).await.err();
                self.told.extend(refused.map(|error| format!("refused: {error}")));
            }
            Kill => self.machine.kill().await,
            Stop => self.machine.stop().await,
            PowerLoss => self.machine.lose_power().await,
            RestartActor => {
                let tree = self.machine.actors().tree().await;
                let paths: Vec<String> = tree.flat().iter().map(|actor| actor.path.to_string()).collect();
                let path = self.one(&paths).unwrap();
                let _ = self.machine.actors().restart(&path).await;
                self.told.push(path);
            }
            ContainerEnds => {
                let code = u8::try_from(self.below(256)).unwrap();
                self.a_container().into_iter().for_each(|name| fakes.containers.end(&name, code));
            }
            ContainerVanishes => {
                self.a_container().into_iter().for_each(|name| fakes.containers.forget(&name));
            }
            RuntimeAway => fakes.containers.break_down(),
            RuntimeSlow => fakes.containers.slow_down(ms(self.below(4000))),
            RegistryFails => fakes.images.slow_down(ms(self.below(4000))),
            DiskFails => {
                let fault = self.one(&[Fault::Broken, Fault::Full]).unwrap();
                self.machine.disk.fail_at(self.machine.disk.ops() + self.below(40), fault);
            }
            DiskFull => self.machine.disk.set_capacity(0),
            NoRoomForRecords => fakes.records.be_full(true),
            OutputFails => self.machine.logs.fail(true),
            PlaneDies => self.machine.planes.kill(),
            ClockForward => fakes.clock.jump_forward(secs(self.below(100_000))),
            ClockBack => fakes.clock.jump_back(ms(self.below(20_000))),
        }
    }

    fn heal(&mut self) {
        let fakes = &self.machine.fakes;
        fakes.containers.repair();
        fakes.containers.slow_down(ms(0));
        fakes.images.slow_down(ms(0));
        fakes.records.be_full(false);
        self.machine.logs.fail(false);
        self.machine.disk.set_capacity(u64::MAX);
    }
}

/// Plays a seed: troubles that overlap, then an end of them.
async fn play(seed: u64) {
    let machine = Machine::with_cluster("node-1", seed).await;
    let ends = |after, code| Script { ends: Some((after, code)), ..Script::default() };
    machine.fakes.containers.script("job", ends(secs(1), 0));
    machine.fakes.containers.script("bad", ends(ms(100), 3));
    let mut story = Story { machine, random: SeededRandom::new(seed), versions: 1, told: vec![] };
    story.machine.deploy(WEB).await;
    for _ in 0..MANY {
        let trouble = story.one(&TROUBLES).unwrap();
        story.tell(trouble).await;
        pass(story.moment()).await;
        if story.below(3) == 0 {
            story.heal();
        }
        story.machine.revive().await;
    }
    story.heal();
    story.machine.settles_after(&story.told).await;
    let last = WEB.replace("v1", "last");
    story.machine.deploy(&last).await;
    assert_eq!(story.machine.tags(), ["last", "last"], "{:#?}", story.told);
    story.machine.undeploy().await;
}

#[tokio::test(start_paused = true)]
async fn whatever_happened_what_runs_in_the_end_is_what_is_wanted() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("SEED").unwrap_or_default();
    for seed in first..first + number("SEEDS").unwrap_or(8) {
        println!("seed {seed}");
        play(seed).await;
    }
}
