//! The state as bytes: what a snapshot file holds and a node that is far behind is sent.

use mill_protos::v1 as pb;
use prost::Message as _;

use crate::cluster::Cluster;
use crate::level::LEVEL;
use crate::rejected::Halt;
use crate::wire;

impl Cluster {
    /// The whole state.
    pub fn to_snapshot(&self) -> Vec<u8> {
        wire::to_snapshot(self).encode_to_vec()
    }

    /// The state that a snapshot holds.
    ///
    /// # Errors
    /// It is above this binary's level, or its bytes make no sense.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, Halt> {
        let message = pb::Snapshot::decode(bytes).map_err(Halt::Undecodable)?;
        match message.level > LEVEL {
            true => Err(Halt::Level { needs: message.level }),
            false => wire::from_snapshot(message).map_err(Halt::Malformed),
        }
    }
}
