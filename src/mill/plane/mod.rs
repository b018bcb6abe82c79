//! `mill plane`: what running containers lean on, as a process of its own.

use std::sync::Arc;

use mill_actors::kit::Ended;
use mill_actors::plane;
use mill_drivers::clock::{Clock as _, SystemClock};
use mill_drivers::logs::FileLogs;
use mill_model::Tempo;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{CliError, Exit, PlaneConfig};
use crate::daemon::{failed, start_logging};

/// Runs a plane until it is told to stop.
pub(crate) fn run(config: &PlaneConfig) -> Result<Exit, CliError> {
    start_logging(&config.log);
    let runtime = plane::runtime().map_err(|error| failed("the runtime can't be started").source(&error))?;
    let lived = runtime.block_on(live(config));
    // A write to a disk that hangs keeps its thread for ever; the process needn't wait for it.
    runtime.shutdown_timeout(Tempo::default().shutdown_deadline);
    lived
}

async fn live(config: &PlaneConfig) -> Result<Exit, CliError> {
    let tempo = Arc::new(Tempo::default());
    let now = Arc::new(|| SystemClock.now());
    let logs = FileLogs::new(config.data_dir.join("allocs"), now, tempo.log_poll);
    let place = plane::Config { data: config.data_dir.join("plane"), socket: config.socket.clone() };
    let tree = plane::start(place, logs, Arc::clone(&tempo)).await.map_err(|error| {
        failed("the plane can't be started").source(&error).hint(
            "if one runs already, all is well: the daemon finds it, and nobody needs to start it by hand",
        )
    })?;
    let terminate = signal(SignalKind::terminate());
    let mut terminate = terminate.map_err(|error| failed("signals can't be received").source(&error))?;
    tokio::select! {
        _ = terminate.recv() => {}
        ended = tree.ended() => {
            if let Ended::GaveUp { error } = ended {
                return Err(failed("the plane gave up").because(error));
            }
        }
    }
    match tree.stop(tempo.shutdown_deadline).await {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => Err(failed("not everything stopped in time").source(&error)),
    }
}
