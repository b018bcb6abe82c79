//! All hands of a node in one parameter.

use mill_model::Timestamp;

use crate::clock::{Clock, FakeClock};
use crate::containers::{Containers, FakeContainers};
use crate::images::{FakeImages, Images};
use crate::probes::{FakeProbes, Probes};
use crate::records::{FakeRecords, Records};
use crate::sockets::{FakeSockets, Sockets};
use crate::volumes::{FakeScratch, Scratch};

/// Everything foreign that a node's actors touch: one set in production, one of fakes in tests.
pub trait Drivers: Clone + Send + Sync + 'static {
    /// Containers.
    type Containers: Containers;
    /// Images.
    type Images: Images;
    /// Ephemeral volumes.
    type Scratch: Scratch;
    /// Who listens where.
    type Sockets: Sockets;
    /// Health checks over the network.
    type Probes: Probes;
    /// Wall time.
    type Clock: Clock;
    /// What is kept of allocs.
    type Records: Records;

    /// Containers.
    fn containers(&self) -> &Self::Containers;
    /// Images.
    fn images(&self) -> &Self::Images;
    /// Ephemeral volumes.
    fn scratch(&self) -> &Self::Scratch;
    /// Who listens where.
    fn sockets(&self) -> &Self::Sockets;
    /// Health checks over the network.
    fn probes(&self) -> &Self::Probes;
    /// Wall time.
    fn clock(&self) -> &Self::Clock;
    /// What is kept of allocs.
    fn records(&self) -> &Self::Records;
}

/// The fakes of all of them. Clones share state, which outlives the actors that use it, as a machine does.
#[derive(Debug, Clone)]
pub struct Fakes {
    /// Containers.
    pub containers: FakeContainers,
    /// Images.
    pub images: FakeImages,
    /// Ephemeral volumes.
    pub scratch: FakeScratch,
    /// Who listens where.
    pub sockets: FakeSockets,
    /// Health checks over the network.
    pub probes: FakeProbes,
    /// Wall time.
    pub clock: FakeClock,
    /// What is kept of allocs.
    pub records: FakeRecords,
}

impl Default for Fakes {
    /// A machine that has nothing and fails at nothing, in the year 1970, which is where fake containers live.
    fn default() -> Self {
        Self {
            containers: FakeContainers::default(),
            images: FakeImages::default(),
            scratch: FakeScratch::default(),
            sockets: FakeSockets::default(),
            probes: FakeProbes::default(),
            clock: FakeClock::at(Timestamp(0)),
            records: FakeRecords::default(),
        }
    }
}

impl Drivers for Fakes {
    type Containers = FakeContainers;
    type Images = FakeImages;
    type Scratch = FakeScratch;
    type Sockets = FakeSockets;
    type Probes = FakeProbes;
    type Clock = FakeClock;
    type Records = FakeRecords;

    fn containers(&self) -> &FakeContainers {
        &self.containers
    }

    fn images(&self) -> &FakeImages {
        &self.images
    }

    fn scratch(&self) -> &FakeScratch {
        &self.scratch
    }

    fn sockets(&self) -> &FakeSockets {
        &self.sockets
    }

    fn probes(&self) -> &FakeProbes {
        &self.probes
    }

    fn clock(&self) -> &FakeClock {
        &self.clock
    }

    fn records(&self) -> &FakeRecords {
        &self.records
    }
}
