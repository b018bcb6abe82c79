//! What the user has run beside its services, and kills.

use std::sync::Arc;
use std::time::Duration;

use mill_fsm::{Cluster, Command};
use mill_model::{AllocId, Bytes, ContainerSpec, Millicores, ProjectName, Resources, TaskSpec, WorkloadName};

use super::user::name;
use crate::world::World;

/// Whether the user of this story has tasks run.
pub(crate) const fn has_tasks(seed: u64) -> bool {
    seed % 4 == 1
}

impl World {
    pub(super) fn has_something_run(&mut self, cluster: &Cluster, project: ProjectName) -> Option<Command> {
        match self.dice.below(10) {
            0..6 => self.spawns(project),
            6 => self.asks_again(cluster),
            _ => self.kills(cluster),
        }
    }

    fn spawns(&mut self, project: ProjectName) -> Option<Command> {
        // Of a name that a deploy's task has, or of its own.
        let task: WorkloadName = name(if self.dice.percent(30) { "t0" } else { "job" }.to_owned())?;
        let image = self.image(true)?;
        let cpu = if self.dice.percent(20) { 900 } else { 100 };
        let resources = Resources { cpu: Millicores(cpu), memory: Bytes(64 << 20) };
        let container = ContainerSpec { resources, ..ContainerSpec::new(image.clone()) };
        let timeout = Duration::from_secs(self.dice.between(3, 60));
        let spec = Arc::new(TaskSpec { container, timeout, ..TaskSpec::new(task.clone(), image) });
        let id = AllocId::derive(&task, self.dice.below(u64::from(u32::MAX)));
        Some(Command::SpawnTask { id, project, spec, by: "user".to_owned() })
    }

    /// The same once more, as if the first question had been lost.
    fn asks_again(&mut self, cluster: &Cluster) -> Option<Command> {
        let spawns: Vec<_> = cluster.spawns.values().cloned().collect();
        let spawn = self.dice.pick(&spawns)?;
        let spec = match cluster.runnables.get(&spawn.hash)? {
            mill_fsm::Runnable::Task(spec) => Arc::clone(spec),
            mill_fsm::Runnable::Service(_) => return None,
        };
        let (id, project) = (spawn.id.clone(), spawn.workload.project.clone());
        Some(Command::SpawnTask { id, project, spec, by: "user".to_owned() })
    }

    fn kills(&mut self, cluster: &Cluster) -> Option<Command> {
        let placed = cluster.allocs.values().filter(|alloc| alloc.is_task && alloc.is_wanted());
        let waiting = cluster.waiting_spawns().map(|spawn| spawn.id.clone());
        let open: Vec<AllocId> = placed.map(|alloc| alloc.id.clone()).chain(waiting).collect();
        Some(Command::KillTask(self.dice.pick(&open)?.clone()))
    }
}
