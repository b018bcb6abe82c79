//! What the user does with secrets: sets them, uses them in configs, rolls them out, deletes them.
//!
//! # Why only in a quarter of the stories
//! Seeds of [`crate::seeds`] tell their stories as long as the same is drawn in the same order. None of them is in this
//! quarter, so that they go on telling them.

use mill_fsm::{Cluster, Command, DeployKind};
use mill_model::spec::EnvVar;
use mill_model::template::{Part, Template};
use mill_model::{ProjectName, ProjectSpec, SecretId, SecretName};
use mill_secrets::Shelf;

use super::user::begin;
use crate::world::World;

/// Names of secrets: few, so that shared ones and a project's own meet.
const NAMES: [&str; 3] = ["k0", "k1", "k2"];

/// Whether this story has secrets.
pub(crate) const fn has_secrets(seed: u64) -> bool {
    seed % 4 == 2
}

fn shelf(cluster: &Cluster) -> Shelf {
    cluster.secrets().map(|(id, secret)| (id.clone(), secret.latest)).collect()
}

impl World {
    /// A secret that there is, or may be.
    fn some_secret(&mut self, project: &ProjectName) -> Option<SecretId> {
        let name = SecretName::new(*self.dice.pick(&NAMES)?).ok()?;
        Some(match self.dice.percent(50) {
            true => SecretId::shared(name),
            false => SecretId::of_project(project.clone(), name),
        })
    }

    /// Something about secrets instead of something else.
    pub(super) fn keeps_secrets(&mut self, cluster: &Cluster, project: &ProjectName) -> Option<Command> {
        let secret = self.some_secret(project)?;
        match self.dice.below(10) {
            0..3 => Some(self.set(secret)),
            3..9 => self.roll(cluster, project),
            _ => Some(Command::DeleteSecret { secret, by: "user".to_owned() }),
        }
    }

    fn set(&mut self, secret: SecretId) -> Command {
        let sealed = self.number().to_be_bytes().to_vec();
        Command::SetSecret { secret, sealed, by: "user".to_owned() }
    }

    /// Rolls a secret that has a newer version than what runs with it, in a project that no deploy is at work in; where
    /// there is none, one that `project` uses gets such a version.
    fn roll(&mut self, cluster: &Cluster, project: &ProjectName) -> Option<Command> {
        let shelf = shelf(cluster);
        let is_busy = |name: &ProjectName| {
            cluster.deploys.values().any(|deploy| deploy.project == *name && deploy.outcome.is_none())
        };
        let mut due = vec![];
        for spec in cluster.projects.values().filter(|project| !is_busy(&project.name)).map(|p| p.spec()) {
            for secret in spec.pins().map(|pin| pin.secret.clone()) {
                let mut rolled = spec.clone();
                if !mill_secrets::roll(&mut rolled, &secret, &shelf).is_empty() {
                    due.push((secret, rolled));
                }
            }
        }
        if let Some((secret, spec)) = self.dice.pick(&due).cloned() {
            return Some(begin(DeployKind::Roll { secret }, spec, false));
        }
        let spec = cluster.projects.get(project)?.spec();
        let used: Vec<SecretId> = spec.pins().map(|pin| pin.secret.clone()).collect();
        let secret = self.dice.pick(&used)?.clone();
        Some(self.set(secret))
    }

    /// A config's services and tasks use secrets, as far as there are some: others would be refused.
    pub(super) fn use_secrets(&mut self, cluster: &Cluster, spec: &mut ProjectSpec) {
        let shelf = shelf(cluster);
        let names: Vec<SecretName> = shelf.names_for(&spec.name).into_iter().collect();
        let services = spec.services.iter_mut().map(|service| &mut service.container);
        for container in services.chain(spec.tasks.iter_mut().map(|task| &mut task.container)) {
            container.env.retain(|var| names.iter().any(|name| name.as_str() == var.name));
            let wanted = self.dice.percent(70);
            if let Some(name) = self.dice.pick(&names).filter(|_| wanted) {
                let value = Template { parts: vec![Part::Secret(name.to_string())] };
                container.env = vec![EnvVar { name: name.to_string(), value }];
            }
        }
        // All that they name was found a moment ago.
        let _ = mill_secrets::pin_all(spec, &shelf);
    }
}
