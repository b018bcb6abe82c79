//! All that a node's actors touch, in one parameter: [`Drivers`] is what its allocs work with, [`Outside`] is that and
//! the rest of the world. Production and tests start the same tree over another one.

use mill_model::Timestamp;

use crate::clock::{Clock, FakeClock};
use crate::containers::{Containers, FakeContainers};
use crate::datapath::{Datapath, FakeDatapath};
use crate::disk::Disk;
use crate::images::{FakeImages, Images};
use crate::logs::Logs;
use crate::probes::{FakeProbes, Probes};
use crate::process::Other;
use crate::random::Random;
use crate::records::{FakeRecords, Records};
use crate::seal::{FakeSeal, Seal};
use crate::sockets::{FakeSockets, Sockets};
use crate::volumes::{FakeScratch, Scratch};

/// Everything outside a node's tree of actors.
pub trait Outside: Clone + Send + Sync + 'static {
    /// What its allocs work with.
    type Drivers: Drivers;
    /// Where its log is kept.
    type Disk: Disk;
    /// Where ids and keys are drawn from.
    type Random: Random + Clone;
    /// Containers' output.
    type Logs: Logs;
    /// The plane's process.
    type Plane: Other;

    /// What its allocs work with.
    fn drivers(&self) -> &Self::Drivers;
    /// Where its log is kept.
    fn disk(&self) -> &Self::Disk;
    /// Where ids and keys are drawn from.
    fn random(&self) -> &Self::Random;
    /// Containers' output.
    fn logs(&self) -> &Self::Logs;
    /// The plane's process.
    fn plane(&self) -> &Self::Plane;
}

/// An outside of these parts.
#[derive(Debug, Clone)]
pub struct Parts<D, K, R, L, P> {
    /// What allocs work with.
    pub drivers: D,
    /// Where the log is kept.
    pub disk: K,
    /// Where ids and keys are drawn from.
    pub random: R,
    /// Containers' output.
    pub logs: L,
    /// The plane's process.
    pub plane: P,
}

impl<D, K, R, L, P> Outside for Parts<D, K, R, L, P>
where
    D: Drivers,
    K: Disk,
    R: Random + Clone,
    L: Logs,
    P: Other,
{
    type Drivers = D;
    type Disk = K;
    type Random = R;
    type Logs = L;
    type Plane = P;

    fn drivers(&self) -> &D {
        &self.drivers
    }

    fn disk(&self) -> &K {
        &self.disk
    }

    fn random(&self) -> &R {
        &self.random
    }

    fn logs(&self) -> &L {
        &self.logs
    }

    fn plane(&self) -> &P {
        &self.plane
    }
}

/// Everything foreign that a node's allocs touch: one set in production, one of fakes in tests.
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
    /// What maps ports.
    type Datapath: Datapath;
    /// What seals and opens secrets.
    type Seal: Seal;

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
    /// What maps ports.
    fn datapath(&self) -> &Self::Datapath;
    /// What seals and opens secrets.
    fn seal(&self) -> &Self::Seal;
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
    /// What maps ports.
    pub datapath: FakeDatapath,
    /// What seals and opens secrets.
    pub seal: FakeSeal,
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
            datapath: FakeDatapath::default(),
            seal: FakeSeal::default(),
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
    type Datapath = FakeDatapath;
    type Seal = FakeSeal;

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

    fn datapath(&self) -> &FakeDatapath {
        &self.datapath
    }

    fn seal(&self) -> &FakeSeal {
        &self.seal
    }
}
