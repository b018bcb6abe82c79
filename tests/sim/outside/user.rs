//! The user: deploys, scales, restarts, rolls back, cancels, replaces, undeploys, well and badly.

use std::sync::Arc;
use std::time::Duration;

use mill_alloc::Exit;
use mill_fsm::{Cluster, Command, DeployKind, Outcome};
use mill_model::ports::{Port, Protocol};
use mill_model::spec::{HealthCheck, Probe, Stop, Update, UpdateOrder, VolumeKind, VolumeMount};
use mill_model::{
    Bytes, ContainerSpec, DeployId, Digest, ImageRef, Millicores, ProjectName, ProjectSpec, Resources,
    ServiceSpec, TaskSpec, WorkloadName,
};

use super::Kind;
use super::keeper::has_secrets;
use super::spawner::has_tasks;
use crate::daemon::raft::Proposer;
use crate::dice::Dice;
use crate::world::{Event, Go, World};

/// Projects at most.
pub(crate) const PROJECTS: usize = 3;

/// What the user has in files.
#[derive(Debug)]
pub(crate) struct User {
    /// Thousandths of a core that the machine has.
    pub(crate) capacity: u32,
    projects: Vec<ProjectSpec>,
    images: u64,
    /// Bad images, in a hundred.
    bad: u64,
    /// Whether it has secrets.
    pub(super) secrets: bool,
    /// Whether it has tasks run.
    pub(super) tasks: bool,
}

impl User {
    pub(crate) fn new(seed: u64, dice: &mut Dice) -> Self {
        let capacity = if dice.percent(20) { 1500 } else { 64_000 };
        let named = |index: u64| {
            Some(ProjectSpec { name: name(format!("p{index}"))?, services: vec![], tasks: vec![] })
        };
        let projects = (0..dice.between(1, PROJECTS as u64)).filter_map(named).collect();
        Self {
            capacity,
            projects,
            images: 0,
            bad: dice.below(60),
            secrets: has_secrets(seed),
            tasks: has_tasks(seed),
        }
    }
}

pub(super) fn name<N: TryFrom<String>>(text: String) -> Option<N> {
    N::try_from(text).ok()
}

impl World {
    pub(crate) fn user_acts(&mut self) -> Go {
        if !self.wild {
            return Ok(());
        }
        let next = self.dice.below(self.weather.deed_every) + 1;
        self.at(next, Event::User);
        let Some((_, cluster)) = self.truth.clone() else { return Ok(()) };
        // It answers only where it leads.
        if self.daemon.as_ref().is_none_or(|daemon| daemon.leader.is_none()) || !cluster.is_bootstrapped() {
            return Ok(());
        }
        let turn = self.dice.index(self.user.projects.len());
        let Some(project) = self.user.projects.get(turn).map(|project| project.name.clone()) else {
            return Ok(());
        };
        // Nothing is rolled while a deploy is at work, so one who has secrets waits for most of them.
        let is_busy = || cluster.deploys.values().any(|deploy| deploy.outcome.is_none());
        if self.user.secrets && is_busy() && self.dice.percent(80) {
            return Ok(());
        }
        if self.user.secrets && self.dice.percent(60) {
            let command = self.keeps_secrets(&cluster, &project);
            return command.map_or(Ok(()), |command| self.propose(command, Proposer::User));
        }
        if self.user.tasks && self.dice.percent(50) {
            let command = self.has_something_run(&cluster, project);
            return command.map_or(Ok(()), |command| self.propose(command, Proposer::User));
        }
        let command = match self.dice.below(100) {
            0..55 => self.deploy(turn, &cluster),
            55..65 => self.scale(&cluster, &project),
            65..73 => self.restart(&cluster, &project),
            73..81 => rollback(&cluster, &project),
            81..93 => self.cancel(&cluster),
            _ => undeploy(&cluster, &project),
        };
        match command {
            Some(command) => self.propose(command, Proposer::User),
            None => Ok(()),
        }
    }

    fn deploy(&mut self, turn: usize, cluster: &Cluster) -> Option<Command> {
        let mut spec = self.user.projects.get(turn)?.clone();
        for index in 0..3 {
            self.change_service(&mut spec, index);
        }
        self.change_task(&mut spec);
        for service in &mut spec.services {
            let digest = service.container.image.digest.as_ref();
            let kind = digest.and_then(|digest| self.runtime.kinds.get(digest));
            // Without anything to ask for its health, whatever runs is healthy.
            if matches!(kind, Some(Kind::NeverReady | Kind::Clashes)) && service.container.ports.is_empty() {
                service.container.ports.extend(port());
                service.health = None;
            }
        }
        let dependable: Vec<WorkloadName> = spec.tasks.iter().map(|task| task.name.clone()).collect();
        let mut earlier = dependable;
        for service in &mut spec.services {
            service.depends_on.retain(|name| earlier.contains(name));
            if self.dice.percent(15)
                && let Some(on) = self.dice.pick(&earlier).filter(|on| !service.depends_on.contains(on))
            {
                service.depends_on.push(on.clone());
            }
            earlier.push(service.name.clone());
        }
        if self.user.secrets {
            self.use_secrets(cluster, &mut spec);
        }
        if let Some(kept) = self.user.projects.get_mut(turn) {
            *kept = spec.clone();
        }
        let replace = self.dice.percent(25);
        Some(begin(DeployKind::Deploy, spec, replace))
    }

    fn change_service(&mut self, spec: &mut ProjectSpec, index: u64) {
        let Some(service) = name::<WorkloadName>(format!("s{index}")) else { return };
        let there = spec.services.iter().position(|known| known.name == service);
        match there {
            None if self.dice.percent(45) => {
                if let Some(image) = self.image(false) {
                    let mut fresh = ServiceSpec::new(service, image);
                    self.settle(&mut fresh);
                    spec.services.push(fresh);
                    spec.services.sort_by(|a, b| a.name.cmp(&b.name));
                }
            }
            None => {}
            Some(at) if self.dice.percent(5) => {
                spec.services.remove(at);
            }
            Some(at) => {
                let image = if self.dice.percent(60) { self.image(false) } else { None };
                let Some(service) = spec.services.get_mut(at) else { return };
                if let Some(image) = image {
                    service.container.image = image;
                }
                if self.dice.percent(20) {
                    service.replicas = replicas(&mut self.dice);
                }
                if self.dice.percent(10) {
                    let mut changed = service.clone();
                    self.settle(&mut changed);
                    *service = changed;
                }
            }
        }
    }

    /// Draws all of a service but its image.
    fn settle(&mut self, service: &mut ServiceSpec) {
        let dice = &mut self.dice;
        service.replicas = replicas(dice);
        service.update = Update {
            parallel: u32::try_from(dice.between(1, 3)).unwrap_or(1),
            order: if dice.percent(40) { UpdateOrder::StopFirst } else { UpdateOrder::StartFirst },
            deadline: Duration::from_secs(dice.between(20, 300)),
        };
        let container = &mut service.container;
        container.stop = Stop {
            signal: None,
            grace: Duration::from_secs(dice.between(1, 10)),
            drain: Duration::from_secs(dice.below(5)),
        };
        container.resources = Resources { cpu: Millicores(100), memory: Bytes(64 << 20) };
        container.ports.clear();
        container.volumes.clear();
        service.health = None;
        if let Some(port) = port().filter(|_| dice.percent(70)) {
            let number = port.number;
            container.ports.push(port);
            service.health = dice.percent(60).then(|| HealthCheck {
                probe: Probe::Tcp { port: number },
                interval: Duration::from_secs(dice.between(1, 15)),
                timeout: Duration::from_secs(2),
                retries: u32::try_from(dice.between(1, 4)).unwrap_or(1),
                start_period: Duration::from_secs(dice.between(1, 40)),
            });
        }
        if dice.percent(25)
            && let Some(name) = name("tmp".to_owned())
        {
            let kind = VolumeKind::Ephemeral { size: None };
            container.volumes.push(VolumeMount { name, path: "/tmp".to_owned(), kind, read_only: false });
        }
    }

    fn change_task(&mut self, spec: &mut ProjectSpec) {
        let Some(task) = name::<WorkloadName>("t0".to_owned()) else { return };
        if spec.tasks.is_empty() && !self.dice.percent(30) {
            return;
        }
        if spec.tasks.is_empty() || self.dice.percent(30) {
            let Some(image) = self.image(true) else { return };
            let container = ContainerSpec {
                resources: Resources { cpu: Millicores(100), memory: Bytes(64 << 20) },
                ..ContainerSpec::new(image.clone())
            };
            let timeout = Duration::from_secs(self.dice.between(5, 60));
            spec.tasks = vec![TaskSpec { container, timeout, ..TaskSpec::new(task, image) }];
        }
    }

    /// A new image, and what is in it.
    pub(super) fn image(&mut self, task: bool) -> Option<ImageRef> {
        self.user.images += 1;
        let number = self.user.images;
        let bad = self.dice.percent(self.user.bad);
        let code = u8::try_from(self.dice.between(0, 3)).unwrap_or(1);
        let kind = match (task, bad, self.dice.below(8)) {
            (false, false, _) => Kind::Good,
            (true, false, _) => Kind::Runs,
            (true, true, 0..3) => Kind::Fails,
            (true, true, 3..5) => Kind::Hangs,
            (false, true, 0) => Kind::Crashes(Exit::Code(code)),
            (false, true, 1) => Kind::Crashes(Exit::OutOfMemory),
            (false, true, 2 | 3) => Kind::NeverReady,
            (false, true, 4) => Kind::Clashes,
            (_, true, 5) => Kind::NoImage,
            (_, true, 6) => Kind::PullFails,
            (_, true, 7) => Kind::NoCommand,
            (_, true, _) => Kind::StartFails,
        };
        let digest: Digest = format!("sha256:{number:064x}").parse().ok()?;
        self.runtime.kinds.insert(digest.clone(), kind);
        let image: ImageRef =
            format!("r.test/app:v{number}-{kind:?}").replace(['(', ')', ' '], "-").parse().ok()?;
        Some(image.pinned(digest))
    }

    fn scale(&mut self, cluster: &Cluster, project: &ProjectName) -> Option<Command> {
        let mut spec = cluster.projects.get(project)?.spec();
        let turn = self.dice.index(spec.services.len());
        let service = spec.services.get_mut(turn)?;
        service.replicas = replicas(&mut self.dice);
        Some(begin(DeployKind::Scale { service: service.name.clone() }, spec, false))
    }

    fn restart(&mut self, cluster: &Cluster, project: &ProjectName) -> Option<Command> {
        let spec = cluster.projects.get(project)?.spec();
        let service = self.dice.pick(&spec.services)?.name.clone();
        Some(begin(DeployKind::Restart { service }, spec, false))
    }

    fn cancel(&mut self, cluster: &Cluster) -> Option<Command> {
        let open: Vec<DeployId> = cluster
            .deploys
            .values()
            .filter(|deploy| deploy.outcome.is_none())
            .map(|deploy| deploy.id)
            .collect();
        let deploy = *self.dice.pick(&open)?;
        Some(Command::CancelDeploy { deploy, outcome: Outcome::Cancelled })
    }
}

fn rollback(cluster: &Cluster, project: &ProjectName) -> Option<Command> {
    let past = cluster.projects.get(project)?.rollback_target()?;
    Some(begin(DeployKind::Rollback { to: past.deploy }, past.target.as_ref().clone(), false))
}

fn undeploy(cluster: &Cluster, project: &ProjectName) -> Option<Command> {
    let name = cluster.projects.get(project)?.name.clone();
    Some(begin(DeployKind::Undeploy, ProjectSpec { name, services: vec![], tasks: vec![] }, false))
}

pub(super) fn begin(kind: DeployKind, target: ProjectSpec, replace: bool) -> Command {
    let (project, target) = (target.name.clone(), Arc::new(target));
    Command::BeginDeploy { project, kind, target, replace, by: "user".to_owned() }
}

fn port() -> Option<Port> {
    Some(Port { name: None, number: std::num::NonZeroU16::new(80)?, protocol: Protocol::Tcp })
}

fn replicas(dice: &mut Dice) -> u32 {
    match dice.below(10) {
        0 => 0,
        1..5 => 1,
        5..8 => 2,
        8 => 3,
        _ => 4,
    }
}
