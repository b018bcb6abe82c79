//! What a deploy would do.

use std::collections::BTreeMap;
use std::sync::Arc;

use mill_api::allocs::WorkloadKind;
use mill_api::plan::{Change, Placement, Plan, PlannedService, Refusal, Warning};
use mill_control::leader::{Forecast, forecast, in_order};
use mill_fsm::{Change as FsmChange, Cluster, DeployKind, Outcome, Project, Step};
use mill_model::spec::UpdateOrder;
use mill_model::{ProjectSpec, ServiceSpec, WorkloadName};

use super::{fields, node_name, node_refusals, projects};

/// What is said beforehand of a service or task that isn't in the state: an image that couldn't be asked for anew.
pub(in crate::http) type Notes = BTreeMap<WorkloadName, Warning>;

/// What a deploy of `target` would do now.
pub(in crate::http) fn plan(cluster: &Cluster, target: &Arc<ProjectSpec>, notes: &Notes) -> Plan {
    let steps = cluster.preview(target, DeployKind::Deploy);
    let forecasts = forecast(cluster, target, &steps);
    let project = cluster.projects.get(&target.name);
    let planner = Planner { cluster, target, project, notes };
    let mut names = in_order(target);
    names.extend(
        steps.iter().map(|step| step.name.clone()).filter(|name| !names.contains(name)).collect::<Vec<_>>(),
    );
    let planned = names.iter().filter_map(|name| {
        let step = steps.iter().find(|step| step.name == *name)?;
        Some(planner.service(step, forecasts.get(name)))
    });
    let last = cluster.waiting_deploys(&target.name).last().or(cluster.active_deploy(&target.name));
    Plan {
        project: target.name.clone(),
        current: project.and_then(projects::current).map(|past| past.deploy),
        behind: last.map(|deploy| deploy.id),
        services: planned.collect(),
        warnings: vec![],
    }
}

/// Whether a deploy of `target` would find everything as it asks for. Not while another is under way: what that one
/// leads to isn't known before its end.
pub(in crate::http) fn is_unchanged(cluster: &Cluster, target: &Arc<ProjectSpec>, kind: &DeployKind) -> bool {
    let Some(project) = cluster.projects.get(&target.name) else { return false };
    let open = |deploy: &Arc<mill_fsm::Deploy>| deploy.project == target.name && deploy.outcome.is_none();
    let tasks_stay = project.tasks.keys().all(|name| target.tasks.iter().any(|task| task.name == *name));
    let steps = cluster.preview(target, kind.clone());
    tasks_stay
        && !cluster.deploys.values().any(open)
        && steps.iter().all(|step| step.change == FsmChange::Nothing)
}

struct Planner<'a> {
    cluster: &'a Cluster,
    target: &'a ProjectSpec,
    project: Option<&'a Project>,
    notes: &'a Notes,
}

impl Planner<'_> {
    fn service(&self, step: &Step, forecast: Option<&Forecast>) -> PlannedService {
        let service = self.target.services.iter().find(|service| service.name == step.name);
        let task = self.target.tasks.iter().find(|task| task.name == step.name);
        let container = service.map(|spec| &spec.container).or(task.map(|spec| &spec.container));
        let warnings = self.notes.get(&step.name).cloned().into_iter();
        let warnings = warnings.chain(service.into_iter().flat_map(|service| self.warnings(step, service)));
        PlannedService {
            name: step.name.clone(),
            kind: if task.is_some() { WorkloadKind::Task } else { WorkloadKind::Service },
            change: self.change(step),
            image: container.map(|container| container.image.clone()),
            placements: forecast.map(|forecast| self.placements(forecast)).unwrap_or_default(),
            warnings: warnings.collect(),
            refusal: forecast.and_then(refusal),
        }
    }

    fn change(&self, step: &Step) -> Change {
        let replicas = |target: Option<mill_fsm::Target>| target.map_or(0, |target| target.replicas);
        match step.change {
            FsmChange::Create => Change::Create { replicas: replicas(step.to) },
            FsmChange::Replace => Change::Change { fields: self.fields(&step.name) },
            FsmChange::Settings => Change::Settings { fields: self.fields(&step.name) },
            FsmChange::Scale => Change::Scale { from: replicas(step.from), to: replicas(step.to) },
            FsmChange::Run => Change::Run { fields: self.fields(&step.name) },
            FsmChange::Remove => Change::Remove,
            FsmChange::Nothing => Change::Unchanged,
        }
    }

    fn fields(&self, name: &WorkloadName) -> Vec<mill_api::plan::FieldChange> {
        let Some(project) = self.project else { return vec![] };
        let service = self.target.services.iter().find(|service| service.name == *name);
        let task = self.target.tasks.iter().find(|task| task.name == *name);
        match (service.zip(project.services.get(name)), task.zip(project.tasks.get(name))) {
            (Some((to, from)), _) => fields::of_service(&from.spec, to),
            (_, Some((to, from))) => fields::of_task(&from.spec, to),
            (None, None) => vec![],
        }
    }

    fn placements(&self, forecast: &Forecast) -> Vec<Placement> {
        let placed = forecast.placed.iter();
        placed
            .map(|(node, replicas)| Placement { node: node_name(self.cluster, *node), replicas: *replicas })
            .collect()
    }

    fn warnings(&self, step: &Step, service: &ServiceSpec) -> Vec<Warning> {
        let running = step.from.map_or(0, |from| from.replicas);
        let replaced = step.change == FsmChange::Replace;
        let mut warnings = vec![];
        if replaced && service.update.order == UpdateOrder::StopFirst && running > 0 {
            let parallel = service.update.parallel;
            let all = running <= parallel;
            let message = match all {
                true => {
                    "the old replicas stop before the new ones start: nothing serves in between".to_owned()
                }
                false => format!("with stop-first up to {parallel} of its replicas are missing at a time"),
            };
            let hint = all.then(|| "`update order=\"start-first\"` leaves no gap".to_owned());
            warnings.push(Warning { message, hint });
        }
        if let Some(scaled) = self.scaled_by_hand(step, service) {
            let message =
                format!("`mill scale` had set {scaled} replicas; the file's {} wins", service.replicas);
            let hint = Some(format!("write `replicas {scaled}` into the file to keep them"));
            warnings.push(Warning { message, hint });
        }
        warnings
    }

    /// The number of replicas that a `mill scale` since the last config has set, if the file says another.
    fn scaled_by_hand(&self, step: &Step, service: &ServiceSpec) -> Option<u32> {
        let running = step.from?.replicas;
        let history = self.project?.history.iter().rev().filter(|past| past.outcome == Outcome::Succeeded);
        let mut scaled = false;
        for past in history {
            match &past.kind {
                DeployKind::Scale { service: of } if *of == step.name => scaled = true,
                DeployKind::Scale { .. } | DeployKind::Restart { .. } | DeployKind::Roll { .. } => {}
                DeployKind::Deploy | DeployKind::Rollback { .. } | DeployKind::Undeploy => break,
            }
        }
        (scaled && running != service.replicas).then_some(running)
    }
}

fn refusal(forecast: &Forecast) -> Option<Refusal> {
    let unplaceable = forecast.unplaceable.as_ref()?;
    let placed: u32 = forecast.placed.values().sum();
    Some(Refusal {
        reason: match placed {
            0 => "no node can take a replica as things stand".to_owned(),
            placed => format!("after {placed} no node can take another replica as things stand"),
        },
        nodes: node_refusals(unplaceable),
        hint: Some("a deploy would wait for room until its deadline; ask for less, or make room".to_owned()),
    })
}
