//! Which secrets a spec names.

use std::collections::BTreeSet;

use mill_model::spec::{HealthCheck, Probe};
use mill_model::template::{Part, Template};
use mill_model::{ContainerSpec, SecretName, ServiceSpec, TaskSpec};

/// The secrets that a service's containers are made with.
pub fn names_of_service(spec: &ServiceSpec) -> BTreeSet<SecretName> {
    names(&spec.container, spec.health.as_ref())
}

/// The secrets that a task's container is made with.
pub fn names_of_task(spec: &TaskSpec) -> BTreeSet<SecretName> {
    names(&spec.container, None)
}

/// The secrets in variables, arguments, files and the health check of a container. A text that can't name a secret
/// isn't one: the config was checked before.
pub fn names(container: &ContainerSpec, health: Option<&HealthCheck>) -> BTreeSet<SecretName> {
    let argv = |argv: &Option<Vec<Template>>| argv.iter().flatten().cloned().collect::<Vec<_>>();
    let mut templates: Vec<Template> = container.env.iter().map(|var| var.value.clone()).collect();
    templates.extend(argv(&container.entrypoint));
    templates.extend(argv(&container.command));
    match health.map(|health| &health.probe) {
        Some(Probe::Http { path, .. }) => templates.push(path.clone()),
        Some(Probe::Exec { command }) => templates.extend(command.iter().cloned()),
        Some(Probe::Tcp { .. } | Probe::Grpc { .. }) | None => {}
    }
    let in_texts = templates.iter().flat_map(Template::references).filter_map(|part| match part {
        Part::Secret(name) => Some(name),
        _ => None,
    });
    let files = container.secrets.iter().map(|file| &file.name);
    in_texts.chain(files).filter_map(|name| SecretName::new(name.as_str()).ok()).collect()
}
