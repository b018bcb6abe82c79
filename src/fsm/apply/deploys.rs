//! Deploys begin, wait, are cancelled and end.

use std::collections::BTreeSet;
use std::sync::Arc;

use mill_model::{DeployId, ProjectName, ProjectSpec, Workload, WorkloadName, limits};

use crate::cluster::Cluster;
use crate::command::{Applied, Done};
use crate::deploy::{Deploy, DeployKind, Outcome, StepState};
use crate::event::EventKind;
use crate::project::{Past, Project};
use crate::rejected::Rejected;

/// What a new deploy is to do.
pub(super) struct Asked {
    pub(super) project: ProjectName,
    pub(super) kind: DeployKind,
    pub(super) target: Arc<ProjectSpec>,
    pub(super) by: String,
}

impl Cluster {
    pub(super) fn begin_deploy(&mut self, asked: Asked, replace: bool) -> Applied {
        if asked.target.name != asked.project {
            return Err(Rejected::WrongProject);
        }
        if let Some(name) = self.changed_kind(&asked.target) {
            return Err(Rejected::KindChanged(name));
        }
        self.check_pins(&asked.target)?;
        let waiting: Vec<DeployId> = self.waiting_deploys(&asked.project).map(|deploy| deploy.id).collect();
        let active = self.active_deploy(&asked.project).map(|deploy| deploy.id);
        if let (true, Some(id)) = (asked.kind.is_relative(), active.or(waiting.first().copied())) {
            return Err(Rejected::DeployUnderWay(id));
        }
        if replace {
            for id in waiting.iter().chain(&active) {
                self.cancel_deploy(*id, Outcome::Replaced)?;
            }
        } else if waiting.len() >= limits::DEPLOYS_WAITING_MAX {
            return Err(Rejected::TooManyDeploys);
        }
        let id = self.next_deploy;
        self.next_deploy = id.next();
        let project = asked.project.clone();
        let deploy = Deploy::asked(id, asked.kind, asked.target, self.time);
        let deploy = Deploy { by: asked.by, ..deploy };
        self.record(changed(&deploy));
        self.deploys.insert(id, Arc::new(deploy));
        if active.is_none() {
            self.start_next(&project);
        }
        Ok(Done::Deploy(id))
    }

    /// A name that is a task's now and a running service's before: one step can't be both.
    fn changed_kind(&self, target: &ProjectSpec) -> Option<WorkloadName> {
        let services = &self.projects.get(&target.name)?.services;
        target.tasks.iter().map(|task| &task.name).find(|name| services.contains_key(*name)).cloned()
    }

    /// Starts the deploy of `project` that waits longest, if any waits.
    fn start_next(&mut self, project: &ProjectName) {
        let Some(deploy) = self.waiting_deploys(project).next().cloned() else { return };
        let mut deploy = deploy.as_ref().clone();
        let mut entry =
            self.projects.get(project).cloned().unwrap_or_else(|| Project::new(project.clone(), self.time));
        entry.changed_at = self.time;
        deploy.started_at = Some(self.time);
        deploy.before = entry.services.clone();
        deploy.steps = self.steps_of(&deploy, &entry);
        self.learn_runnables(&deploy);
        self.projects.insert(project.clone(), entry);
        self.record(changed(&deploy));
        for step in deploy.steps.values() {
            self.record(EventKind::StepChanged {
                deploy: deploy.id,
                workload: Workload { project: project.clone(), name: step.name.clone() },
                change: step.change,
                state: step.state,
                reason: None,
            });
        }
        self.deploys.insert(deploy.id, Arc::new(deploy));
    }

    pub(super) fn cancel_deploy(&mut self, id: DeployId, outcome: Outcome) -> Applied {
        let known = self.deploys.get(&id).ok_or(Rejected::NoSuchDeploy(id))?;
        if known.outcome.is_some() {
            return Err(Rejected::DeployEnded(id));
        }
        let mut deploy = known.as_ref().clone();
        if deploy.is_waiting() {
            deploy.outcome = Some(outcome);
            deploy.ended_at = Some(self.time);
            self.record(changed(&deploy));
        } else {
            deploy.cancelled = deploy.cancelled.or(Some(outcome));
        }
        self.deploys.insert(id, Arc::new(deploy));
        Ok(Done::Plain)
    }

    pub(super) fn end_deploy(&mut self, id: DeployId) -> Applied {
        let known = self.deploys.get(&id).ok_or(Rejected::NoSuchDeploy(id))?;
        if known.outcome.is_some() {
            return Err(Rejected::DeployEnded(id));
        }
        if !known.is_active() || !known.steps.values().all(|step| step.state.is_ended()) {
            return Err(Rejected::DeployUnfinished(id));
        }
        let mut deploy = known.as_ref().clone();
        let all_done = deploy.steps.values().all(|step| step.state == StepState::Done);
        let outcome = match (deploy.cancelled, all_done) {
            (_, true) => Outcome::Succeeded,
            (Some(cancelled), false) => cancelled,
            (None, false) => Outcome::Failed,
        };
        deploy.outcome = Some(outcome);
        deploy.ended_at = Some(self.time);
        self.remember(&deploy, outcome);
        self.record(changed(&deploy));
        let project = deploy.project.clone();
        self.deploys.insert(id, Arc::new(deploy));
        self.forget_old_deploys(&project);
        self.start_next(&project);
        self.sweep_runnables();
        self.prune_secrets();
        Ok(Done::Plain)
    }

    fn remember(&mut self, deploy: &Deploy, outcome: Outcome) {
        let time = self.time;
        let Some(project) = self.projects.get_mut(&deploy.project) else { return };
        project.changed_at = time;
        if outcome == Outcome::Succeeded {
            let kept = |name: &WorkloadName| deploy.target.tasks.iter().any(|task| task.name == *name);
            project.tasks = project.tasks.iter().filter(|(name, _)| kept(name)).map(clone_pair).collect();
        }
        project.history.push_back(Past {
            deploy: deploy.id,
            kind: deploy.kind.clone(),
            started_at: deploy.started_at.unwrap_or(deploy.created_at),
            outcome,
            target: Arc::clone(&deploy.target),
            ended_at: time,
            by: deploy.by.clone(),
        });
        while project.history.len() > limits::HISTORY_KEPT {
            project.history.pop_front();
        }
    }

    /// An ended deploy stays as long as its project's history names it; one that never began, until the
    /// history has grown past it.
    fn forget_old_deploys(&mut self, project: &ProjectName) {
        let Some(entry) = self.projects.get(project) else { return };
        let oldest = entry.history.front().map_or(DeployId(0), |past| past.deploy);
        let old =
            |deploy: &Deploy| deploy.project == *project && deploy.outcome.is_some() && deploy.id < oldest;
        let forgotten: Vec<DeployId> =
            self.deploys.values().filter(|deploy| old(deploy)).map(|deploy| deploy.id).collect();
        for id in forgotten {
            self.deploys.remove(&id);
        }
    }

    pub(super) fn forget_project(&mut self, name: &ProjectName) -> Applied {
        let project = self.projects.get(name).ok_or_else(|| Rejected::NoSuchProject(name.clone()))?;
        let allocs = self.by_workload.keys().any(|workload| workload.project == *name)
            || self.waiting_spawns().any(|spawn| spawn.workload.project == *name);
        let deploys = self.deploys.values().any(|deploy| deploy.project == *name && deploy.outcome.is_none());
        if !project.services.is_empty() || allocs || deploys {
            return Err(Rejected::ProjectInUse(name.clone()));
        }
        self.projects.remove(name);
        self.deploys =
            self.deploys.iter().filter(|(_, deploy)| deploy.project != *name).map(clone_pair).collect();
        self.sweep_runnables();
        self.prune_secrets();
        Ok(Done::Plain)
    }

    /// Drops the texts of versions that nothing names any more.
    pub(crate) fn sweep_runnables(&mut self) {
        let mut used: BTreeSet<_> = self.allocs.values().map(|alloc| alloc.version.hash).collect();
        used.extend(self.waiting_spawns().map(|spawn| spawn.hash));
        for project in self.projects.values() {
            used.extend(project.services.values().map(|service| service.version.hash));
            used.extend(project.tasks.values().map(|task| task.hash));
        }
        for deploy in self.deploys.values().filter(|deploy| deploy.is_active()) {
            used.extend(deploy.before.values().map(|service| service.version.hash));
            used.extend(deploy.steps.values().flat_map(|step| step.to).map(|target| target.version.hash));
        }
        self.runnables =
            self.runnables.iter().filter(|(hash, _)| used.contains(*hash)).map(clone_pair).collect();
    }
}

fn clone_pair<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}

fn changed(deploy: &Deploy) -> EventKind {
    EventKind::DeployChanged {
        deploy: deploy.id,
        project: deploy.project.clone(),
        kind: deploy.kind.clone(),
        started: deploy.started_at.is_some(),
        outcome: deploy.outcome,
        by: deploy.by.clone(),
    }
}
