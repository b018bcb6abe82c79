//! The programs in a machine's containers: each listens on the port that it was given, soon after it was started, and
//! for as long as it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mill_drivers::bundle::Fakes;
use mill_drivers::containers::ContainerName;
use mill_drivers::probes::Answer;
use tokio::time::Instant;

use super::ms;

/// How long a program takes until it listens.
const WAKING: Duration = ms(200);

/// Those of one machine. Clones share what went wrong.
#[derive(Clone, Default)]
pub(super) struct Programs {
    running: BTreeMap<ContainerName, Program>,
    wrong: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Program {
    /// When it listens.
    at: Instant,
    /// Where: as its environment says.
    port: Option<u16>,
    listens: bool,
}

impl Programs {
    /// Goes on with all of them.
    pub(super) fn go_on(&mut self, fakes: &Fakes) {
        let running = fakes.containers.running();
        self.running.retain(|name, program| {
            let runs = running.contains(name);
            if let Some(port) = program.port.filter(|_| !runs && program.listens) {
                fakes.sockets.close(port);
                fakes.probes.answer(([127, 0, 0, 1], port).into(), None);
            }
            runs
        });
        if running.len() > self.running.len() {
            for launch in fakes.containers.started().iter().filter(|launch| running.contains(&launch.name)) {
                let port = launch.env.iter().find(|(name, _)| name == "PORT");
                let port = port.and_then(|(_, port)| port.parse().ok());
                let program = Program { at: Instant::now() + WAKING, port, listens: false };
                self.running.entry(launch.name.clone()).or_insert(program);
            }
        }
        self.listen(fakes);
    }

    fn listen(&mut self, fakes: &Fakes) {
        let mut taken: BTreeSet<u16> = self
            .running
            .values()
            .filter(|program| program.listens)
            .filter_map(|program| program.port)
            .collect();
        for (name, program) in &mut self.running {
            let Some(port) = program.port.filter(|_| !program.listens && program.at <= Instant::now()) else {
                continue;
            };
            if !taken.insert(port) {
                self.wrong.lock().unwrap().push(format!("{name} was given port {port}, and so was another"));
            }
            program.listens = true;
            fakes.sockets.container_listens(name, port);
            fakes.probes.answer(([127, 0, 0, 1], port).into(), Some(Answer::Well));
        }
    }

    /// What should never have been.
    pub(super) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }
}
