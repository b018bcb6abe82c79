//! A container's launch, made from what is assigned.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mill_alloc::Assignment;
use mill_alloc::env::{Facts, Told, Unfillable};
use mill_drivers::containers::{ContainerName, Launch, Mount, PrivateFile};
use mill_drivers::datapath::Mapping;
use mill_drivers::volumes::{Scratch, ScratchError};
use mill_model::ports::MappedPort;
use mill_model::spec::{SecretFile, VolumeKind};
use mill_model::{Failure, NodeName, Opened, Pin, Unusable};
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
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        let unusable = |secret: &Pin, why: &str| Self::SecretUnavailable {
            secret: Box::new(secret.clone()),
            detail: format!("{why}, and only a file can hold it"),
        };
        match &error {
            LaunchError::Unfillable(Unfillable::Secret(Unusable::NotText { pin })) => {
                unusable(pin, "it isn't text")
            }
            LaunchError::Unfillable(Unfillable::Secret(Unusable::Nul { pin })) => {
                unusable(pin, "it has a NUL in it")
            }
            _ => Self::Runtime { detail: words(&error) },
        }
    }
}

/// What this node knows of an alloc.
pub(super) fn facts<'a>(assignment: &'a Assignment, node: &'a NodeName, secrets: &'a Opened) -> Facts<'a> {
    Facts { alloc: &assignment.alloc, index: assignment.index, node, secrets }
}

/// A failed start without the secrets that it was tried with: what is said of it is replicated and shown.
pub(super) fn covered(failure: Failure, secrets: &Opened) -> Failure {
    match failure {
        Failure::NoSuchCommand { command } => Failure::NoSuchCommand { command: secrets.cover(&command) },
        Failure::Runtime { detail } => Failure::Runtime { detail: secrets.cover(&detail) },
        other => other,
    }
}

/// What a container has from outside of its image.
pub(super) struct Outside<'a> {
    pub(super) pipes: Pipes,
    pub(super) mounts: Vec<Mount>,
    /// Where its mapped ports are reached.
    pub(super) address: IpAddr,
    /// How the kernel maps them, if it does.
    pub(super) mapping: Option<Mapping>,
    /// What it is told and nobody else.
    pub(super) secrets: &'a Opened,
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

/// A launch that leaves nothing in memory of the secrets that were filled in, however its start ends.
pub(super) struct Filled(Launch);

impl std::ops::Deref for Filled {
    type Target = Launch;
    fn deref(&self) -> &Launch {
        &self.0
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

pub(super) fn launch(
    name: &ContainerName,
    assignment: &Assignment,
    node: &NodeName,
    ports: &[MappedPort],
    outside: Outside<'_>,
) -> Result<Filled, LaunchError> {
    let spec = &assignment.container;
    let told = if outside.mapping.is_some() { Told::Declared } else { Told::Mapped };
    let facts = facts(assignment, node, outside.secrets);
    let file = |file: &SecretFile| {
        let bytes = outside.secrets.bytes(&file.name).map_err(Unfillable::from)?.expose().clone();
        Ok::<_, LaunchError>(PrivateFile {
            path: file.path.clone(),
            bytes,
            owner: file.owner.clone(),
            mode: file.mode,
        })
    };
    let argv = |templates: &Option<Vec<_>>| templates.as_deref().map(|argv| facts.fill_all(argv)).transpose();
    Ok(Filled(Launch {
        name: name.clone(),
        image: spec.image.clone(),
        entrypoint: argv(&spec.entrypoint)?,
        command: argv(&spec.command)?,
        env: facts.env(&spec.env, ports, told)?,
        confidential: !outside.secrets.is_empty(),
        files: spec.secrets.iter().map(file).collect::<Result<_, _>>()?,
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
    }))
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
