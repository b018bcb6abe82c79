//! Which containerd a node uses.

use std::path::PathBuf;
use std::sync::Arc;

use mill_drivers::containerd::chain;
use mill_drivers::containers::own::{Own, OwnConfig, OwnError};
use mill_model::Tempo;

use super::{failed, state_dir};
use crate::cli::node::Containerd;
use crate::cli::{CliError, NodeConfig};

/// Where containerd answers, and how to keep it alive if it is Mill's own.
pub(super) struct Found {
    pub(super) socket: PathBuf,
    pub(super) own: Option<OwnConfig>,
    /// It, if it was started just now.
    pub(super) started: Option<Own>,
}

/// Finds containerd, or starts one.
pub(super) async fn find(config: &NodeConfig, tempo: &Arc<Tempo>) -> Result<Found, CliError> {
    match &config.containerd {
        Containerd::Socket(socket) if socket.exists() => {
            Ok(Found { socket: socket.clone(), own: None, started: None })
        }
        Containerd::Socket(socket) => Err(failed("containerd can't be used")
            .because(format!("{} doesn't exist", socket.display()))
            .hint("`systemctl start containerd`, or `--containerd own`")),
        Containerd::Auto(socket) if socket.exists() => {
            Ok(Found { socket: socket.clone(), own: None, started: None })
        }
        Containerd::Own | Containerd::Auto(_) => own(config, tempo).await,
    }
}

async fn own(config: &NodeConfig, tempo: &Arc<Tempo>) -> Result<Found, CliError> {
    let own =
        OwnConfig { root: config.data_dir.join("containerd"), state: state_dir(config).join("containerd") };
    let running = Own::ensure(&own, Arc::clone(tempo)).await.map_err(|error| {
        let hint = match &error {
            OwnError::Foreign { pid, .. } => format!(
                "`mill clean --own-containerd --data-dir DIR` with its home's directory removes it with all it has; so \
                 does `kill {pid}` alone if it has nothing"
            ),
            _ => "`mill doctor` says what is missing; `apt-get install containerd runc` brings both".to_owned(),
        };
        failed("containerd can't be started").because(chain(&error)).hint(hint)
    })?;
    let socket = running.socket().to_owned();
    Ok(Found { socket, own: Some(own), started: running.was_started().then_some(running) })
}
