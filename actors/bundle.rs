//! All hands of a node in one parameter.

use crate::clock::Clock;
use crate::containers::Containers;
use crate::images::Images;
use crate::probes::Probes;
use crate::records::Records;
use crate::sockets::Sockets;

/// Everything foreign that a node's actors touch: one set in production, one of fakes in tests.
pub trait Drivers: Clone + Send + Sync + 'static {
    /// Containers.
    type Containers: Containers;
    /// Images.
    type Images: Images;
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
    /// Who listens where.
    fn sockets(&self) -> &Self::Sockets;
    /// Health checks over the network.
    fn probes(&self) -> &Self::Probes;
    /// Wall time.
    fn clock(&self) -> &Self::Clock;
    /// What is kept of allocs.
    fn records(&self) -> &Self::Records;
}
