//! The real hands of a node, in one.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use mill_model::Tempo;

use crate::bundle::Drivers;
use crate::clock::SystemClock;
use crate::containers::{ContainerError, Runtime, RuntimeConfig};
use crate::datapath::KernelDatapath;
use crate::images::Store;
use crate::probes::NetProbes;
use crate::records::DiskRecords;
use crate::seal::ClusterSeal;
use crate::sockets::ProcSockets;
use crate::volumes::LoopScratch;

/// What a node works with in production.
#[derive(Debug, Clone)]
pub struct Machine {
    containers: Runtime,
    images: Store,
    scratch: LoopScratch,
    sockets: ProcSockets,
    probes: NetProbes,
    clock: SystemClock,
    records: DiskRecords,
    seal: ClusterSeal,
}

impl Machine {
    /// The machine with its data under `data`, its containers at `runtime`.
    ///
    /// # Errors
    /// The machine's cgroups can't be used, or nothing can be mounted.
    pub fn new(data: &Path, runtime: &RuntimeConfig, tempo: &Arc<Tempo>) -> Result<Self, ContainerError> {
        let containers = Runtime::new(runtime, Arc::clone(tempo))?;
        containers.prepare()?;
        Ok(Self {
            containers,
            images: Store::new(&runtime.socket, BTreeSet::new(), Arc::clone(tempo)),
            scratch: LoopScratch::new(data.join("scratch")),
            sockets: ProcSockets::with_containers(&runtime.cgroup_parent),
            probes: NetProbes,
            clock: SystemClock,
            records: DiskRecords::new(data.join("allocs")),
            seal: ClusterSeal::of_home(data),
        })
    }
}

impl Drivers for Machine {
    type Containers = Runtime;
    type Images = Store;
    type Scratch = LoopScratch;
    type Sockets = ProcSockets;
    type Probes = NetProbes;
    type Clock = SystemClock;
    type Records = DiskRecords;
    type Datapath = KernelDatapath;
    type Seal = ClusterSeal;

    fn containers(&self) -> &Runtime {
        &self.containers
    }

    fn images(&self) -> &Store {
        &self.images
    }

    fn scratch(&self) -> &LoopScratch {
        &self.scratch
    }

    fn sockets(&self) -> &ProcSockets {
        &self.sockets
    }

    fn probes(&self) -> &NetProbes {
        &self.probes
    }

    fn clock(&self) -> &SystemClock {
        &self.clock
    }

    fn records(&self) -> &DiskRecords {
        &self.records
    }

    fn datapath(&self) -> &KernelDatapath {
        self.containers.datapath()
    }

    fn seal(&self) -> &ClusterSeal {
        &self.seal
    }
}
