//! The state as somebody may see it.
//!
//! # Why
//! What a deployer of some projects may see isn't asked at each place that shows something: those are many, and one
//! forgotten is a leak. Whoever answers such a one is given a state in which there are no other projects. So no list,
//! no name, no guess at a misspelt name and no number of a deploy tells of others.
//!
//! Nodes stay, with what is reserved on them: a machine is everybody's.

use std::sync::Arc;

use imbl::OrdMap;
use mill_model::{ProjectName, Role};

use crate::cluster::Cluster;
use crate::event::EventKind;
use crate::index::OnNode;

impl Cluster {
    /// What `role` may see of it: all of it, or a copy without the projects that it isn't for.
    ///
    /// Tokens, the audit log and the registries' logins are only in an admin's. The copy is for showing: its derived sums
    /// are those of the whole, and nothing may be applied to it.
    pub fn seen_by(self: &Arc<Self>, role: &Role) -> Arc<Self> {
        if *role == Role::Admin {
            return Arc::clone(self);
        }
        let mut seen = self.as_ref().clone();
        seen.tokens.clear();
        seen.audit.clear();
        seen.once.clear();
        seen.registries.clear();
        if role.only().is_some() {
            seen.keep_projects(&|project| role.sees(project));
        }
        Arc::new(seen)
    }

    fn keep_projects(&mut self, sees: &dyn Fn(&ProjectName) -> bool) {
        self.oldest_event = Some(self.oldest_event());
        self.events.retain(|event| event.kind.project().is_none_or(sees));
        self.projects = kept(&self.projects, |name, _| sees(name));
        self.deploys = kept(&self.deploys, |_, deploy| sees(&deploy.project));
        self.allocs = kept(&self.allocs, |_, alloc| sees(&alloc.workload.project));
        self.spawns = kept(&self.spawns, |_, spawn| sees(&spawn.workload.project));
        self.ended = kept(&self.ended, |_, alloc| sees(&alloc.workload.project));
        self.by_workload = kept(&self.by_workload, |workload, _| sees(&workload.project));
        let mine = |on_node: &OnNode| {
            let mut mine = on_node.clone();
            mine.allocs = kept(&on_node.allocs, |_, alloc| sees(&alloc.workload.project));
            mine
        };
        self.by_node = self.by_node.iter().map(|(node, on_node)| (*node, mine(on_node))).collect();
        // A shared one may be used by every project; who does so shows only in projects.
        self.secrets = kept(&self.secrets, |id, _| id.scope.project().is_none_or(sees));
        self.sweep_runnables();
    }
}

fn kept<K: Ord + Clone, V: Clone>(map: &OrdMap<K, V>, keep: impl Fn(&K, &V) -> bool) -> OrdMap<K, V> {
    let kept = map.iter().filter(|(key, value)| keep(key, value));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl EventKind {
    /// The project that it happened in, if any.
    pub fn project(&self) -> Option<&ProjectName> {
        match self {
            Self::NodeRegistered { .. } => None,
            Self::DeployChanged { project, .. } => Some(project),
            Self::SecretSet { secret, .. } | Self::SecretDeleted { secret, .. } => secret.scope.project(),
            Self::StepChanged { workload, .. }
            | Self::TaskSpawned { workload, .. }
            | Self::TaskCalledOff { workload, .. }
            | Self::AllocPlaced { workload, .. }
            | Self::AllocStopping { workload, .. }
            | Self::AllocChanged { workload, .. } => Some(&workload.project),
        }
    }
}

#[cfg(test)]
mod tests {
    use mill_model::Projects;

    use super::*;
    use crate::tests::busy;

    #[test]
    fn a_deployer_of_one_project_finds_no_trace_of_another() {
        let cluster = Arc::new(busy());
        for (mine, other) in [("shop", "blog"), ("blog", "shop")] {
            let name: ProjectName = mine.parse().unwrap();
            let seen = cluster.seen_by(&Role::Deployer(Projects::Only([name.clone()].into())));
            let text = format!("{seen:?}");
            assert!(text.contains(mine) && !text.contains(other), "{text}");
            assert_eq!(seen.projects.get(&name), cluster.projects.get(&name));
            let of =
                |cluster: &Cluster| cluster.deploys.values().filter(|deploy| deploy.project == name).count();
            assert_eq!((of(&seen), seen.deploys.len()), (of(&cluster), of(&cluster)));
            // A stream that knows an event from before the first that it may see has missed nothing.
            assert!(seen.events_after(cluster.events.front().unwrap().id).is_some());
        }
    }

    #[test]
    fn only_an_admin_sees_who_may_do_what() {
        let cluster = Arc::new(busy());
        assert!(!cluster.tokens.is_empty());
        assert!(Arc::ptr_eq(&cluster, &cluster.seen_by(&Role::Admin)));
        for role in [Role::Viewer, Role::Deployer(Projects::All)] {
            let seen = cluster.seen_by(&role);
            assert!(seen.tokens.is_empty() && seen.audit.is_empty() && seen.registries.is_empty());
            assert_eq!((&seen.projects, &seen.events), (&cluster.projects, &cluster.events));
        }
    }
}
