//! Tasks that somebody had run.

use mill_protos::v1 as pb;

use super::Wire;
use super::alloc::workload;
use super::read::{Malformed, hash, required, text, time};
use crate::spawn::Spawn;

impl Wire for Spawn {
    type Message = pb::Spawn;

    fn wire(&self) -> pb::Spawn {
        pb::Spawn {
            id: self.id.to_string(),
            workload: Some(self.workload.wire()),
            hash: self.hash.0.to_vec(),
            by: self.by.clone(),
            asked_at_ms: self.asked_at.0,
            called_off_at_ms: self.called_off_at.map(|at| at.0),
        }
    }
}

pub(super) fn read(message: pb::Spawn) -> Result<Spawn, Malformed> {
    Ok(Spawn {
        id: text(&message.id, "task id")?,
        workload: workload(&required(message.workload, "task workload")?)?,
        hash: hash(&message.hash)?,
        by: message.by,
        asked_at: time(message.asked_at_ms),
        called_off_at: message.called_off_at_ms.map(time),
    })
}
