//! Tasks are asked for and killed.

use std::sync::Arc;

use mill_model::{AllocId, ProjectName, ProjectSpec, TaskSpec, Workload, limits};

use crate::alloc::StopReason;
use crate::check::Touched;
use crate::cluster::{Cluster, Runnable};
use crate::command::{Applied, Done};
use crate::event::EventKind;
use crate::rejected::Rejected;
use crate::spawn::Spawn;
use crate::wire::hash::task_hash;

/// What is to be run.
pub(super) struct Wanted {
    pub(super) project: ProjectName,
    pub(super) spec: Arc<TaskSpec>,
    pub(super) by: String,
}

impl Cluster {
    pub(super) fn spawn_task(&mut self, id: AllocId, wanted: Wanted, touched: &mut Touched) -> Applied {
        let Wanted { project, spec, by } = wanted;
        let workload = Workload { project, name: spec.name.clone() };
        let hash = task_hash(&spec);
        if let Some(known) = self.spawns.get(&id) {
            // Delivered again: it was done.
            let same = known.workload == workload && known.hash == hash;
            return if same { Ok(Done::Task(id)) } else { Err(Rejected::AllocExists(id)) };
        }
        if self.allocs.contains_key(&id) {
            return Err(Rejected::AllocExists(id));
        }
        if self.is_service(&workload) {
            return Err(Rejected::NotATask(workload));
        }
        let alone = ProjectSpec {
            name: workload.project.clone(),
            services: vec![],
            tasks: vec![spec.as_ref().clone()],
        };
        self.check_pins(&alone)?;
        self.check_room(&workload.project)?;
        touched.secrets = true;
        self.runnables.insert(hash, Runnable::Task(spec));
        self.record(EventKind::TaskSpawned { workload: workload.clone(), alloc: id.clone(), by: by.clone() });
        let spawn = Spawn { id: id.clone(), workload, hash, by, asked_at: self.time, called_off_at: None };
        self.spawns.insert(id.clone(), Arc::new(spawn));
        Ok(Done::Task(id))
    }

    /// Whether a service of this name runs or is on its way: its replicas and a task's runs would be taken for each
    /// other.
    fn is_service(&self, workload: &Workload) -> bool {
        let project = self.projects.get(&workload.project);
        let runs = project.is_some_and(|project| project.services.contains_key(&workload.name));
        let mut open = self.deploys.values().filter(|deploy| deploy.outcome.is_none());
        runs || open.any(|deploy| {
            let mine = deploy.project == workload.project;
            mine && deploy.target.services.iter().any(|service| service.name == workload.name)
        })
    }

    fn check_room(&self, project: &ProjectName) -> Result<(), Rejected> {
        let open = || self.spawns.values().filter(|spawn| self.is_open(spawn));
        if open().filter(|spawn| spawn.workload.project == *project).count() >= limits::TASKS_PER_PROJECT_MAX
        {
            return Err(Rejected::TooManyTasks { project: project.clone() });
        }
        match open().count() >= limits::TASKS_MAX {
            true => Err(Rejected::TasksFull),
            false => Ok(()),
        }
    }

    pub(super) fn kill_task(&mut self, id: &AllocId) -> Applied {
        if let Some(alloc) = self.allocs.get(id) {
            return match alloc.is_task {
                true => {
                    self.stop_allocs(std::slice::from_ref(id), StopReason::Killed)?;
                    Ok(Done::Task(id.clone()))
                }
                false => Err(Rejected::Replica(id.clone())),
            };
        }
        let spawn = self.spawns.get(id).ok_or_else(|| Rejected::NoSuchTask(id.clone()))?;
        if spawn.called_off_at.is_some() {
            return Ok(Done::Task(id.clone()));
        }
        let spawn = Spawn { called_off_at: Some(self.time), ..spawn.as_ref().clone() };
        self.record(EventKind::TaskCalledOff { workload: spawn.workload.clone(), alloc: id.clone() });
        self.spawns.insert(id.clone(), Arc::new(spawn));
        self.sweep_runnables();
        Ok(Done::Task(id.clone()))
    }
}
