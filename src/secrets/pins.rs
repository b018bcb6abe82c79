//! Pins: the versions that a spec's services and tasks run with.

use std::collections::BTreeSet;

use mill_model::{ContainerSpec, Pin, ProjectName, ProjectSpec, SecretId, SecretName, WorkloadName};
use thiserror::Error;

use crate::references::{names_of_service, names_of_task};
use crate::shelf::Shelf;

/// A name that means nothing to the project that uses it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
#[error("`{workload}` uses the secret `{name}`, and there is none")]
pub struct Unknown {
    /// The service or task that uses it.
    pub workload: WorkloadName,
    /// The name.
    pub name: SecretName,
}

/// Pins the newest version of each secret that the spec names, and nothing else.
///
/// # Errors
/// All names that mean nothing; the spec is then as it was.
pub fn pin_all(spec: &mut ProjectSpec, shelf: &Shelf) -> Result<(), Vec<Unknown>> {
    let mut unknown = vec![];
    let mut all = vec![];
    for (workload, names) in named(spec) {
        let mut pins = vec![];
        for name in names {
            match shelf.find(&spec.name, &name) {
                Some(pin) => pins.push(pin),
                None => unknown.push(Unknown { workload: workload.clone(), name }),
            }
        }
        pins.sort();
        all.push(pins);
    }
    if !unknown.is_empty() {
        return Err(unknown);
    }
    for (container, pins) in containers(spec).zip(all) {
        container.pins = pins;
    }
    Ok(())
}

/// Brings what runs with `secret`, or would with the next deploy, to its newest version. All other pins stay. Says
/// which services and tasks that changes.
pub fn roll(spec: &mut ProjectSpec, secret: &SecretId, shelf: &Shelf) -> BTreeSet<WorkloadName> {
    let project = spec.name.clone();
    let named = named(spec);
    let mut changed = BTreeSet::new();
    for (container, (workload, names)) in containers(spec).zip(named) {
        let pin = due(&project, &names, secret, shelf);
        let Some(pin) = pin.filter(|pin| !container.pins.contains(pin)) else { continue };
        container.pins.retain(|known| known.secret.name != pin.secret.name);
        container.pins.push(pin);
        container.pins.sort();
        changed.insert(workload);
    }
    changed
}

/// The pin that a workload's use of a name leads to, if that is this secret's.
fn due(project: &ProjectName, names: &BTreeSet<SecretName>, secret: &SecretId, shelf: &Shelf) -> Option<Pin> {
    let name = names.get(&secret.name)?;
    shelf.find(project, name).filter(|pin| pin.secret == *secret)
}

/// Services and tasks that use `secret` with the next deploy of their project.
pub fn users<'a>(spec: &'a ProjectSpec, secret: &SecretId, shelf: &Shelf) -> Vec<&'a WorkloadName> {
    let used = |names: &BTreeSet<SecretName>| due(&spec.name, names, secret, shelf).is_some();
    let services = spec.services.iter().map(|service| (&service.name, names_of_service(service)));
    let all = services.chain(spec.tasks.iter().map(|task| (&task.name, names_of_task(task))));
    all.filter(|(_, names)| used(names)).map(|(name, _)| name).collect()
}

/// Services, then tasks, with the secrets that they name.
fn named(spec: &ProjectSpec) -> Vec<(WorkloadName, BTreeSet<SecretName>)> {
    let services = spec.services.iter().map(|service| (service.name.clone(), names_of_service(service)));
    services.chain(spec.tasks.iter().map(|task| (task.name.clone(), names_of_task(task)))).collect()
}

/// In the same order.
fn containers(spec: &mut ProjectSpec) -> impl Iterator<Item = &mut ContainerSpec> {
    let services = spec.services.iter_mut().map(|service| &mut service.container);
    services.chain(spec.tasks.iter_mut().map(|task| &mut task.container))
}
