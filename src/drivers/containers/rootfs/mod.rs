//! A look into a container's files before it starts: who is `postgres`, and is there a program to run?
//!
//! `mill-init` would say the latter too, but not which shell a script lacks, and only once all of a container is made.
//! Users it doesn't resolve by name.
//!
//! The image's files are hostile: names are resolved by `openat2(RESOLVE_IN_ROOT)`, so no link leads out of them.

use std::io;
use std::sync::Arc;

use containerd_client::types::Mount;

use super::error::Missing;
use super::{Launch, StartError};
use crate::images::ImageConfig;
use files::Files;

pub use users::Identity;

mod files;
mod program;
mod users;
mod view;

/// What to look for.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// `user`, `user:group`, by name or number; empty: root.
    pub(super) user: String,
    /// The program to run.
    pub(super) program: String,
    /// Where programs are.
    pub(super) path: String,
    /// Where a relative name starts.
    pub(super) workdir: String,
    /// Whether other files are mounted over the image's: then a program that isn't found may be in one of them.
    pub(super) has_mounts: bool,
    /// Owners of the launch's files, as `user`; `None`: the program's user.
    pub(super) owners: Vec<Option<String>>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Who the program runs as.
    pub(super) identity: Identity,
    /// The owners that were asked for, in their order.
    pub(super) owners: Vec<Identity>,
}

impl Question {
    pub(super) fn of(launch: &Launch, image: &ImageConfig) -> Result<Self, StartError> {
        let program = super::oci::arguments(launch, image)?.into_iter().next().unwrap_or_default();
        let path = super::oci::environment(launch, image).remove("PATH").unwrap_or_default();
        Ok(Self {
            user: super::oci::user(launch, image),
            program,
            path,
            workdir: super::oci::workdir(launch, image),
            has_mounts: !launch.mounts.is_empty(),
            owners: launch.files.iter().map(|file| file.owner.clone()).collect(),
        })
    }
}

/// Looks into the files of a snapshot that was prepared and isn't in use yet.
pub(super) async fn look(mounts: Vec<Mount>, question: Question) -> Result<Answer, StartError> {
    view::with(mounts, move |files| answer(files, &question)).await
}

fn answer(files: &Files, question: &Question) -> Result<Answer, StartError> {
    let identity = users::resolve(files, &question.user)?;
    let owner = |name: &Option<String>| match name {
        Some(name) => users::resolve(files, name),
        None => Ok(identity.clone()),
    };
    let owners = question.owners.iter().map(owner).collect::<Result<_, _>>()?;
    let found = Answer { identity, owners };
    match program::check(files, question) {
        Ok(()) => Ok(found),
        Err(Missing::NotFound) if question.has_mounts => Ok(found),
        Err(reason) => Err(StartError::NoSuchCommand { command: question.program.clone(), reason }),
    }
}

fn failed(doing: &'static str) -> impl FnOnce(rustix::io::Errno) -> StartError {
    move |errno| StartError::Rootfs { doing, source: Arc::new(io::Error::from(errno)) }
}

#[cfg(test)]
mod tests;
