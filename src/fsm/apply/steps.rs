//! A deploy's steps: made when its turn comes, moved on by the leader.

use std::sync::Arc;

use imbl::OrdMap;
use mill_model::{DeployId, ProjectSpec, ServiceSpec, TaskSpec, Workload, WorkloadName};

use crate::alloc::Version;
use crate::cluster::{Cluster, Runnable};
use crate::command::{Applied, Done};
use crate::deploy::{Change, Deploy, DeployKind, Step, StepReason, StepState, Target};
use crate::event::EventKind;
use crate::project::{Project, Service, Task};
use crate::rejected::Rejected;
use crate::wire::hash::{service_hash, task_hash};

impl Cluster {
    /// What `deploy` has to do to `project`: one step for each service and task, old and new.
    pub(super) fn steps_of(&self, deploy: &Deploy, project: &Project) -> OrdMap<WorkloadName, Step> {
        let mut steps: OrdMap<WorkloadName, Step> = OrdMap::new();
        for spec in &deploy.target.services {
            steps.insert(spec.name.clone(), self.service_step(spec, project, &deploy.kind));
        }
        let gone = project.services.iter().filter(|(name, _)| !steps.contains_key(*name));
        let removals: Vec<Step> = gone.map(|(name, service)| self.removal(name, service)).collect();
        let changed: Vec<&ServiceSpec> = deploy
            .target
            .services
            .iter()
            .filter(|spec| steps.get(&spec.name).is_some_and(|step| starts_anew(step.change)))
            .collect();
        let tasks: Vec<Step> =
            deploy.target.tasks.iter().map(|spec| self.task_step(spec, project, deploy, &changed)).collect();
        for step in removals.into_iter().chain(tasks) {
            steps.insert(step.name.clone(), step);
        }
        steps
    }

    /// What a deploy of `target` would do now, without doing it.
    pub fn preview(&self, target: &Arc<ProjectSpec>, kind: DeployKind) -> Vec<Step> {
        let project = self.projects.get(&target.name).cloned();
        let project = project.unwrap_or_else(|| Project::new(target.name.clone(), self.time));
        let deploy = Deploy::asked(self.next_deploy, kind, Arc::clone(target), self.time);
        self.steps_of(&deploy, &project).values().cloned().collect()
    }

    fn step(&self, name: &WorkloadName, change: Change, from: Option<Target>, to: Option<Target>) -> Step {
        let state = match change {
            Change::Nothing => StepState::Done,
            _ => StepState::Waiting,
        };
        let is_task = change == Change::Run;
        Step {
            name: name.clone(),
            is_task,
            change,
            from,
            to,
            state,
            reason: None,
            since: self.time,
            started_at: None,
        }
    }

    fn service_step(&self, spec: &ServiceSpec, project: &Project, kind: &DeployKind) -> Step {
        let known = project.services.get(&spec.name);
        let again = u64::from(matches!(kind, DeployKind::Restart { service } if *service == spec.name));
        let restarts = known.map_or(0, |service| service.version.restarts) + again;
        let to = Target { version: Version { hash: service_hash(spec), restarts }, replicas: spec.replicas };
        let from = known.map(|service| Target { version: service.version, replicas: service.spec.replicas });
        let change = match known {
            None => Change::Create,
            Some(service) if service.version != to.version => Change::Replace,
            Some(service) if service.spec.replicas != to.replicas => Change::Scale,
            Some(service) if *service.spec != *spec => Change::Settings,
            Some(_) => Change::Nothing,
        };
        self.step(&spec.name, change, from, Some(to))
    }

    fn removal(&self, name: &WorkloadName, service: &Service) -> Step {
        let from = Target { version: service.version, replicas: service.spec.replicas };
        self.step(name, Change::Remove, Some(from), None)
    }

    /// A task that services wait for runs when it or one of them is new; never on a rollback (product.md §2).
    fn task_step(
        &self,
        spec: &TaskSpec,
        project: &Project,
        deploy: &Deploy,
        changed: &[&ServiceSpec],
    ) -> Step {
        let hash = task_hash(spec);
        let known = project.tasks.get(&spec.name).map(|task| task.hash);
        let waited_for = deploy.target.services.iter().any(|service| service.depends_on.contains(&spec.name));
        let dependent_changed = changed.iter().any(|service| service.depends_on.contains(&spec.name));
        let due = waited_for && (known != Some(hash) || dependent_changed);
        let to = Target { version: Version { hash, restarts: 0 }, replicas: 1 };
        let change = match deploy.kind == DeployKind::Deploy && due {
            true => Change::Run,
            false if known != Some(hash) => Change::Settings,
            false => Change::Nothing,
        };
        Step { is_task: true, ..self.step(&spec.name, change, None, Some(to)) }
    }

    /// Keeps the texts that a deploy's versions name.
    pub(super) fn learn_runnables(&mut self, deploy: &Deploy) {
        for spec in &deploy.target.services {
            self.runnables.insert(service_hash(spec), Runnable::Service(Arc::new(spec.clone())));
        }
        for spec in &deploy.target.tasks {
            self.runnables.insert(task_hash(spec), Runnable::Task(Arc::new(spec.clone())));
        }
    }

    pub(super) fn advance_step(
        &mut self,
        id: DeployId,
        name: &WorkloadName,
        state: StepState,
        reason: Option<StepReason>,
    ) -> Applied {
        let known = self.deploys.get(&id).ok_or(Rejected::NoSuchDeploy(id))?;
        if !known.is_active() {
            return Err(Rejected::DeployEnded(id));
        }
        let mut deploy = known.as_ref().clone();
        let time = self.time;
        let step = deploy.steps.get_mut(name).ok_or_else(|| Rejected::NoSuchWorkload(name.clone()))?;
        let undoing = step.state == StepState::Done;
        if !step.state.leads_to(state) || (undoing && deploy.cancelled.is_none()) {
            return Err(Rejected::StepBackwards { from: step.state, to: state });
        }
        step.started_at = step.started_at.or((state == StepState::Rolling).then_some(time));
        step.state = state;
        step.since = time;
        step.reason = reason.or(step.reason.take());
        let step = step.clone();
        self.record(EventKind::StepChanged {
            deploy: id,
            workload: Workload { project: deploy.project.clone(), name: name.clone() },
            change: step.change,
            state,
            reason: step.reason.clone(),
        });
        match state {
            StepState::Done => self.adopt(&deploy, &step),
            StepState::RollingBack if undoing => self.restore(&deploy, name),
            _ => {}
        }
        self.deploys.insert(id, Arc::new(deploy));
        Ok(Done::Plain)
    }

    /// What a step has brought about is from now on what shall run.
    fn adopt(&mut self, deploy: &Deploy, step: &Step) {
        let Some(project) = self.projects.get_mut(&deploy.project) else { return };
        let service = deploy.target.services.iter().find(|spec| spec.name == step.name);
        let task = deploy.target.tasks.iter().find(|spec| spec.name == step.name);
        match (service, task, step.to) {
            (Some(spec), _, Some(to)) => {
                let service = Service { spec: Arc::new(spec.clone()), version: to.version };
                project.services.insert(step.name.clone(), service);
            }
            (_, Some(spec), Some(to)) => {
                let task = Task { spec: Arc::new(spec.clone()), hash: to.version.hash };
                project.tasks.insert(step.name.clone(), task);
            }
            _ => {
                project.services.remove(&step.name);
            }
        }
    }

    fn restore(&mut self, deploy: &Deploy, name: &WorkloadName) {
        let Some(project) = self.projects.get_mut(&deploy.project) else { return };
        match deploy.before.get(name) {
            Some(service) => project.services.insert(name.clone(), service.clone()),
            None => project.services.remove(name),
        };
    }
}

/// Whether containers of a service are started from a new text.
const fn starts_anew(change: Change) -> bool {
    matches!(change, Change::Create | Change::Replace)
}
