//! Keeps every service at its count while no deploy works on it: what ended for good is replaced, what is too
//! much is stopped.

use mill_fsm::{Command, StepState, StopReason, Target};
use mill_model::{AllocId, DeployId, ProjectName, Workload, WorkloadName};
use mill_scheduler::Verdict;

use super::placing::Placing;
use super::rollouts::{OnBehalf, Posed};
use super::{Decision, Facts};

pub(super) fn services(facts: &Facts<'_>, placing: &mut Placing<'_>, decision: &mut Decision) {
    let cluster = facts.cluster;
    for project in cluster.projects.values() {
        for (name, service) in &project.services {
            if in_work(facts, &project.name, name) {
                continue;
            }
            let workload = Workload { project: project.name.clone(), name: name.clone() };
            let to = Some(Target { version: service.version, replicas: service.spec.replicas });
            let update = &service.spec.update;
            let posed = Posed { workload: &workload, cluster, to, keep: 0, update }.keeping_what_serves();
            if let Verdict::Going(actions) = posed.rollout().next_regardless() {
                let deploy = project.history.back().map_or(DeployId(0), |past| past.deploy);
                posed.carry_out(actions, OnBehalf { deploy, old: StopReason::Replaced }, placing, decision);
            }
        }
    }
    orphans(facts, decision);
}

/// Whether a deploy moves this service now.
fn in_work(facts: &Facts<'_>, project: &ProjectName, name: &WorkloadName) -> bool {
    let step = facts.cluster.active_deploy(project).and_then(|deploy| deploy.steps.get(name).cloned());
    step.is_some_and(|step| matches!(step.state, StepState::Rolling | StepState::RollingBack))
}

/// Stops replicas of services that nothing asks for.
fn orphans(facts: &Facts<'_>, decision: &mut Decision) {
    let cluster = facts.cluster;
    let asked_for = |workload: &Workload| {
        let project = cluster.projects.get(&workload.project);
        project.is_some_and(|project| project.services.contains_key(&workload.name))
    };
    let lost =
        |workload: &&Workload| !asked_for(workload) && !in_work(facts, &workload.project, &workload.name);
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
