//! `mill daemon`

use std::path::{Path, PathBuf};

use clap::Args;

use super::error::CliError;
use super::node::{self, CONFIG_FILE, Flavour, NodeArgs, NodeConfig};

/// Run a node's daemon in the foreground, as systemd does
///
/// Settings come from flags, then the environment, then the settings file. A node that belongs to no cluster yet
/// waits for `mill init`. SIGTERM ends the daemon; containers run on.
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// Settings file; /etc/mill/node.kdl by default, if it is there [env: MILL_NODE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    node: NodeArgs,
}

impl DaemonArgs {
    /// Settings as another command takes them.
    pub(crate) fn of(config: Option<PathBuf>, node: NodeArgs) -> Self {
        Self { config, node }
    }

    /// What they mean on this machine.
    pub(crate) fn resolve(&self) -> Result<NodeConfig, CliError> {
        let env = |name: &str| std::env::var(name).ok();
        let file = settings_file(self.config.as_ref(), &env)?;
        self.resolve_with(&env, file.as_ref().map(|(text, path)| (text.as_str(), path.as_path())))
    }

    /// What they mean with this environment and the text of this file.
    pub(crate) fn resolve_with(
        &self,
        env: &dyn Fn(&str) -> Option<String>,
        file: Option<(&str, &Path)>,
    ) -> Result<NodeConfig, CliError> {
        let hostname = mill_drivers::host::hostname();
        self.node.resolve(Flavour::Daemon, &node::Sources { env, file, hostname: &hostname })
    }
}

/// The settings file and where it is: the one that was asked for, or the usual one if it is there.
pub(super) fn settings_file(
    asked: Option<&PathBuf>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<(String, PathBuf)>, CliError> {
    let asked = asked.cloned().or_else(|| env("MILL_NODE_CONFIG").map(PathBuf::from));
    let path = asked.clone().unwrap_or_else(|| CONFIG_FILE.into());
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((text, path))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && asked.is_none() => Ok(None),
        Err(error) => Err(CliError::usage(format!("{} can't be read", path.display()))
            .source(&error)
            .hint("`--config FILE` names another file; without it /etc/mill/node.kdl may be missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settings_file_that_was_asked_for_must_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.kdl");
        let args = DaemonArgs { config: Some(path.clone()), node: NodeArgs::default() };
        let error = args.resolve().unwrap_err();
        assert!(error.message.contains("can't be read") && error.hint.is_some());
        std::fs::write(&path, "name \"from-the-file\"").unwrap();
        assert_eq!(args.resolve().unwrap().name.as_str(), "from-the-file");
    }
}
