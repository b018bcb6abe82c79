//! Keeps every service at its count while no deploy works on it: what ended for good is replaced, what is too
//! much is stopped.

use std::collections::BTreeMap;
use std::sync::Arc;

use mill_fsm::{Command, Deploy, StepState, StopReason, Target};
use mill_model::{AllocId, DeployId, ProjectName, Workload, WorkloadName};
use mill_scheduler::Verdict;

use super::placing::Placing;
use super::rollouts::{OnBehalf, Posed};
use super::{Decision, Facts};

pub(super) fn services(facts: &Facts<'_>, placing: &mut Placing<'_>, decision: &mut Decision) {
    let cluster = facts.cluster;
    let active = cluster.active_deploys();
    for project in cluster.projects.values() {
        let deploy = active.get(&project.name).copied();
        for (name, service) in &project.services {
            let workload = Workload { project: project.name.clone(), name: name.clone() };
            let target = Target { version: service.version, replicas: service.spec.replicas };
            if cluster.is_settled(&workload, target) || in_work(deploy, name) {
                continue;
            }
            let to = Some(target);
            let update = &service.spec.update;
            let posed = Posed { workload: &workload, cluster, to, keep: 0, update }.keeping_what_serves();
            if let Verdict::Going(actions) = posed.rollout().next_regardless() {
                let deploy = project.history.back().map_or(DeployId(0), |past| past.deploy);
                posed.carry_out(actions, OnBehalf { deploy, old: StopReason::Replaced }, placing, decision);
            }
        }
    }
    orphans(facts, &active, decision);
}

/// Whether its project's deploy moves this service now.
fn in_work(deploy: Option<&Arc<Deploy>>, name: &WorkloadName) -> bool {
    let step = deploy.and_then(|deploy| deploy.steps.get(name));
    step.is_some_and(|step| matches!(step.state, StepState::Rolling | StepState::RollingBack))
}

/// Stops replicas of services that nothing asks for.
fn orphans(facts: &Facts<'_>, active: &BTreeMap<&ProjectName, &Arc<Deploy>>, decision: &mut Decision) {
    let cluster = facts.cluster;
    let asked_for = |workload: &Workload| {
        let project = cluster.projects.get(&workload.project);
        project.is_some_and(|project| project.services.contains_key(&workload.name))
    };
    let lost = |workload: &&Workload| {
        !asked_for(workload) && !in_work(active.get(&workload.project).copied(), &workload.name)
    };
    let allocs: Vec<AllocId> = cluster
        .workloads_with_allocs()
        .filter(lost)
        .flat_map(|workload| cluster.allocs_of(workload))
        .filter(|alloc| alloc.is_wanted() && !alloc.is_task)
        .map(|alloc| alloc.id.clone())
        .collect();
    if !allocs.is_empty() {
        decision.commands.push(Command::StopAllocs { allocs, reason: StopReason::Removed });
    }
}
