//! A container's launch, made from what is assigned.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mill_alloc::Assignment;
use mill_alloc::env::{Facts, Told, Unfillable};
use mill_drivers::containers::{ContainerName, Launch, Mount};
use mill_drivers::datapath::Mapping;
use mill_drivers::volumes::{Scratch, ScratchError};
use mill_model::ports::MappedPort;
use mill_model::spec::{ContainerSpec, VolumeKind};
use mill_model::template::Part;
use mill_model::{Failure, NodeName};
use thiserror::Error;

use super::check::words;
use super::streams::Pipes;

/// Why there is nothing that could be started. A deploy refuses all of these before anything changes.
#[derive(Debug, Clone, Error)]
pub(super) enum LaunchError {
    #[error(transparent)]
    Unfillable(#[from] Unfillable),
    #[error("volume `{name}` can't be mounted: this version has no persistent volumes")]
    Volume { name: String },
    #[error("volume `{name}` can't be made")]
    Scratch { name: String, source: ScratchError },
    #[error("secret `{name}` can't be mounted: this version has no secrets")]
    Secret { name: String },
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        Self::Runtime { detail: words(&error) }
    }
}

/// What this node knows of an alloc.
pub(super) fn facts<'a>(assignment: &'a Assignment, node: &'a NodeName) -> Facts<'a> {
    Facts { alloc: &assignment.alloc, index: assignment.index, node }
}

/// What a container has from outside of its image.
pub(super) struct Outside {
    pub(super) pipes: Pipes,
    pub(super) mounts: Vec<Mount>,
    /// Where its mapped ports are reached.
    pub(super) address: IpAddr,
    /// How the kernel maps them, if it does.
    pub(super) mapping: Option<Mapping>,
}

/// Makes the directories that a container sees, or finds them as an earlier run of the alloc left them.
pub(super) async fn mounts(
    scratch: &impl Scratch,
    assignment: &Assignment,
) -> Result<Vec<Mount>, LaunchError> {
    let mut mounts = vec![];
    for volume in &assignment.container.volumes {
        let name = || volume.name.to_string();
        let VolumeKind::Ephemeral { size } = &volume.kind else {
            return Err(LaunchError::Volume { name: name() });
        };
        let made = scratch.make(&assignment.alloc, &volume.name, *size).await;
        let source = made.map_err(|source| LaunchError::Scratch { name: name(), source })?;
        mounts.push(Mount { source, path: volume.path.clone(), read_only: volume.read_only });
    }
    Ok(mounts)
}

pub(super) fn launch(
    name: &ContainerName,
    assignment: &Assignment,
    node: &NodeName,
    ports: &[MappedPort],
    outside: Outside,
) -> Result<Launch, LaunchError> {
    let spec = &assignment.container;
    let facts = facts(assignment, node);
    if let Some(secret) = spec.secrets.first() {
        return Err(LaunchError::Secret { name: secret.name.clone() });
    }
    let told = if outside.mapping.is_some() { Told::Declared } else { Told::Mapped };
    let argv = |templates: &Option<Vec<_>>| templates.as_deref().map(|argv| facts.fill_all(argv)).transpose();
    Ok(Launch {
        name: name.clone(),
        image: spec.image.clone(),
        entrypoint: argv(&spec.entrypoint)?,
        command: argv(&spec.command)?,
        env: facts.env(&spec.env, ports, told)?,
        confidential: is_confidential(spec),
        files: vec![],
        resources: spec.resources,
        user: spec.user.clone(),
        workdir: spec.workdir.clone(),
        read_only_root: spec.read_only_root,
        cap_add: spec.cap_add.clone(),
        cap_drop: spec.cap_drop.clone(),
        devices: spec.devices.clone(),
        mounts: outside.mounts,
        stop_signal: spec.stop.signal.clone(),
        labels: labels(assignment),
        stdout: outside.pipes.stdout,
        stderr: outside.pipes.stderr,
        hostname: assignment.alloc.to_string(),
        address: outside.address,
        resolv_conf: None,
        mapping: outside.mapping,
    })
}

/// Whether a secret is named in what the program is given.
fn is_confidential(spec: &ContainerSpec) -> bool {
    let lists = [&spec.entrypoint, &spec.command].into_iter().flatten().flatten();
    let mut templates = lists.chain(spec.env.iter().map(|variable| &variable.value));
    templates.any(|template| template.parts.iter().any(|part| matches!(part, Part::Secret(_))))
}

/// For people with `ctr`: Mill itself goes by the name.
fn labels(assignment: &Assignment) -> BTreeMap<String, String> {
    [
        ("mill.workload", assignment.workload.to_string()),
        ("mill.index", assignment.index.to_string()),
        ("mill.spec", assignment.hash.to_string()),
        ("mill.deploy", assignment.deploy.to_string()),
    ]
    .map(|(label, value)| (label.to_owned(), value))
    .into()
}
