//! `mill plane`

use std::path::{Path, PathBuf};

use clap::Args;

use super::daemon;
use super::error::CliError;
use super::node::{self, Flavour, Log, NodeArgs};

/// Run the process that running containers lean on, as systemd or the daemon does
///
/// Reads the containers' logs, whether the daemon is up or not. Nobody needs to start it by hand. Settings come from
/// flags, then the environment, then the daemon's settings file.
#[derive(Debug, Args)]
pub(crate) struct PlaneArgs {
    /// The daemon's settings file; /etc/mill/node.kdl by default, if it is there [env: MILL_NODE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where to keep logs [env: MILL_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    /// Control socket, root's only [env: MILL_PLANE_SOCKET]
    #[arg(long, value_name = "PATH")]
    plane_socket: Option<String>,

    /// What to log [env: MILL_LOG]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,

    /// How to log: `text` or `json` [env: MILL_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// How a plane is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaneConfig {
    /// Where logs are kept.
    pub(crate) data_dir: PathBuf,
    /// Its control socket.
    pub(crate) socket: PathBuf,
    /// What and how to log.
    pub(crate) log: Log,
}

impl PlaneArgs {
    /// What they mean on this machine: the same as for the daemon.
    pub(crate) fn resolve(&self) -> Result<PlaneConfig, CliError> {
        let env = |name: &str| std::env::var(name).ok();
        // A daemon that starts a plane says where it lives: then no file has a say.
        let file = match (&self.data_dir, &self.plane_socket) {
            (Some(_), Some(_)) => None,
            _ => daemon::settings_file(self.config.as_ref(), &env)?,
        };
        self.resolve_with(&env, file.as_ref().map(|(text, path)| (text.as_str(), path.as_path())))
    }

    fn resolve_with(
        &self,
        env: &dyn Fn(&str) -> Option<String>,
        file: Option<(&str, &Path)>,
    ) -> Result<PlaneConfig, CliError> {
        let node = NodeArgs {
            // A plane has no name; this one is never seen.
            name: Some("plane".into()),
            data_dir: self.data_dir.clone(),
            plane_socket: self.plane_socket.clone(),
            log: self.log.clone(),
            log_format: self.log_format.clone(),
            ..NodeArgs::default()
        };
        let config = node.resolve(Flavour::Plane, &node::Sources { env, file, hostname: "plane" })?;
        let config = config.resolved();
        Ok(PlaneConfig { data_dir: config.data_dir, socket: config.plane_socket, log: config.log })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_planes_settings_are_the_daemons_and_no_others_disturb_it() {
        let env = |name: &str| match name {
            "MILL_DATA_DIR" => Some("/data".to_owned()),
            "MILL_LISTEN" => Some("nonsense that is the daemon's".to_owned()),
            _ => None,
        };
        let args = PlaneArgs {
            config: None,
            data_dir: None,
            plane_socket: Some("/p".into()),
            log: None,
            log_format: None,
        };
        let file = "listen \"nonsense too\"\nlog \"debug\"\ndata-dir \"/file\"\nplane-socket \"/file\"";
        let config = args.resolve_with(&env, Some((file, Path::new("/etc/mill/node.kdl")))).unwrap();
        assert_eq!((config.data_dir, config.socket), ("/data".into(), "/p".into()));
        assert_eq!(config.log.filter, "debug");
    }
}
