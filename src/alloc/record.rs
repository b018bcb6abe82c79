//! What a node keeps on its disk about an alloc, so that a daemon that starts again resumes it.

use std::sync::Arc;

use mill_model::ports::Loopback;
use mill_model::{AllocStatus, Ended, Failure, Phase, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::assignment::Assignment;

/// The format that this version writes. Older ones must stay readable: an upgrade restarts no container.
pub const VERSION: u32 = 1;

/// One alloc on disk. Written whole with each change; the driver adds a checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What was ordered.
    pub assignment: Arc<Assignment>,
    /// What was last said about it: phase, incarnation, failures, ports, last end.
    pub status: AllocStatus,
    /// Its private loopback on this node; `None`: it was taken on where the kernel couldn't map ports, and lives so to
    /// its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loopback: Option<Loopback>,
    /// Why its container is to end, once that is decided.
    pub ending: Option<Ending>,
    /// Whether its container has had the stop signal: it must not have a second one, which some programs
    /// take for "at once".
    pub signalled: bool,
    /// Whether its current container may have run. Noted of a task before it does, since a task never runs twice.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub launched: bool,
    /// When its current container started, by wall time.
    pub started_at: Option<Timestamp>,
    /// When a task must have ended, by wall time: its timeout goes on while the daemon is away.
    pub deadline: Option<Timestamp>,
    /// The phase that it takes on for good once nothing of its containers is left.
    pub last_phase: Option<Phase>,
    /// Whether its end was only marked. What it left may still be there then. Never written.
    #[serde(skip)]
    pub marked: bool,
}

/// Why Mill ends a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Ending {
    /// The leader said so: for good.
    Ordered,
    /// A later run than this one was heard of, so that this one isn't believed: the next incarnation starts at once.
    Restart,
    /// It failed in a way that Mill saw, not the kernel: unhealthy, over its time, no port.
    Failed {
        /// How.
        failure: Failure,
    },
}

/// Why bytes are no record.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Written by a later version of Mill.
    #[error("the record has format {found}, this version of mill reads up to {VERSION}")]
    Version {
        /// Its format.
        found: u32,
    },
    /// Not what was written.
    #[error("the record can't be read")]
    Form {
        /// What the parser says.
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Serialize)]
struct Versioned<'a> {
    version: u32,
    #[serde(flatten)]
    record: &'a Record,
}

impl Record {
    /// What becomes of it when all that could be noted of the alloc's end is its phase.
    #[must_use]
    pub fn over(mut self, phase: Phase) -> Self {
        let failure = (phase == Phase::Failed).then(|| Failure::Runtime {
            detail: "how it ended couldn't be written down: the disk refused".to_owned(),
        });
        let status = &mut self.status;
        status.last_end =
            Some(Ended { incarnation: status.incarnation, failure, at: status.since, code: None });
        status.phase = phase;
        status.ailment = None;
        Self { ending: None, signalled: false, last_phase: Some(phase), marked: true, ..self }
    }

    /// The end to mark where the record can't be kept. A task's as soon as it is known: what tells of it otherwise is
    /// its container, which is removed next.
    pub fn end_to_mark(&self) -> Option<Phase> {
        let phase = self.status.phase;
        let end = phase.is_terminal().then_some(phase);
        end.or(self.last_phase.filter(|_| self.assignment.is_task()))
    }

    /// The record as bytes.
    ///
    /// # Errors
    /// None is known for these types; the serializer's own is passed on rather than hidden.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let versioned = Versioned { version: VERSION, record: self };
        serde_json::to_vec(&versioned).map_err(|source| RecordError::Form { source })
    }

    /// Reads what [`Record::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are from a later version, or aren't a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let form = |source| RecordError::Form { source };
        // The version first: a later format need not look like this one at all.
        let head: Head = serde_json::from_slice(bytes).map_err(form)?;
        if head.version > VERSION {
            return Err(RecordError::Version { found: head.version });
        }
        serde_json::from_slice(bytes).map_err(form)
    }
}
