//! `mill plane`: what running containers lean on, as a process of its own.

use std::sync::Arc;

use mill_actors::kit::Ended;
use mill_actors::plane;
use mill_drivers::clock::{Clock as _, SystemClock};
use mill_drivers::logs::FileLogs;
use mill_drivers::memory;
use mill_drivers::systemd::{FdStore, Manager, News};
use mill_model::Tempo;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{CliError, Exit, PlaneConfig};
use crate::daemon::{failed, start_logging};
use crate::faults;
use crate::unit;

/// Rooms without which a plane isn't one. They never wait for a disk.
const ROOMS: [&str; 2] = ["plane", "plane/logs"];

/// Runs a plane until it is told to stop.
pub(crate) fn run(config: &PlaneConfig) -> Result<Exit, CliError> {
    start_logging(&config.log);
    memory::bound();
    let manager = Manager::found();
    // Before anything else has a descriptor.
    let store = FdStore::found(&manager);
    let tempo = Tempo::default();
    let runtime =
        plane::runtime(&tempo).map_err(|error| failed("the runtime can't be started").source(&error))?;
    let lived = runtime.block_on(live(config, &manager, store));
    // A write to a disk that hangs keeps its thread for ever; the process needn't wait for it.
    runtime.shutdown_timeout(tempo.shutdown_deadline);
    lived
}

async fn live(config: &PlaneConfig, manager: &Manager, store: FdStore) -> Result<Exit, CliError> {
    let tempo = Arc::new(Tempo::default());
    let now = Arc::new(|| SystemClock.now());
    let logs = FileLogs::new(config.data_dir.join("allocs"), now, tempo.log_poll).kept_in(store.clone());
    let place = plane::Config { data: config.data_dir.join("plane"), socket: config.socket.clone() };
    let tree = plane::start(place, logs, Arc::clone(&tempo)).await.map_err(|error| {
        failed("the plane can't be started").source(&error).hint(
            "if one runs already, all is well: the daemon finds it, and nobody needs to start it by hand",
        )
    })?;
    let terminate = signal(SignalKind::terminate());
    let mut terminate = terminate.map_err(|error| failed("signals can't be received").source(&error))?;
    manager.tell(&News::Ready);
    let introspect = tree.introspect();
    let status = || format!("pipes held beyond its end: {}", store.names().len());
    tokio::select! {
        _ = terminate.recv() => {}
        () = faults::obey(&introspect, "plane") => {}
        () = unit::attend(manager, &introspect, &ROOMS, &tempo, status) => {}
        never = memory::give_back(tempo.memory_given_back_every) => match never {},
        ended = tree.ended() => {
            if let Ended::GaveUp { error } = ended {
                return Err(failed("the plane gave up").because(error));
            }
        }
    }
    manager.tell(&News::Stopping);
    match tree.stop(tempo.shutdown_deadline).await {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => Err(failed("not everything stopped in time").source(&error)),
    }
}
