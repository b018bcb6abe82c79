//! `mill dev`

use clap::Args;

use super::error::CliError;
use super::node::{self, Flavour, NodeArgs, NodeConfig};

/// Try Mill out: daemon and a cluster of one, in the foreground
///
/// Keeps its state in /var/lib/mill-dev, listens on loopback only, and runs a containerd of its own if the system
/// has none. Ctrl-C ends it and leaves the containers running; `mill undeploy` before that removes them.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    #[command(flatten)]
    node: NodeArgs,
}

impl DevArgs {
    /// What they mean on this machine.
    pub(crate) fn resolve(&self) -> Result<NodeConfig, CliError> {
        let env = |name: &str| std::env::var(name).ok();
        let hostname = mill_drivers::host::hostname();
        self.node.resolve(Flavour::Dev, &node::Sources { env: &env, file: None, hostname: &hostname })
    }
}
