//! Which streams there are, and who holds their pipes.

use std::collections::BTreeMap;

use mill_control::node::Outputs;
use mill_drivers::containers::ContainerName;
use mill_drivers::logs::{LogError, Logs, Stream, StreamName};
use mill_model::AllocId;
use mill_rpc::v1;
use tracing::warn;

use crate::alloc::Pipes;
use crate::plane::{LogStream, Tables, stream_name};

/// A stream that isn't drained.
struct Open<H> {
    _held: H,
    /// An earlier daemon's: this one doesn't know what that told the plane.
    found: bool,
    ended: bool,
    /// The first revision of the tables that said so.
    ended_in: Option<u64>,
}

/// All streams that aren't drained.
pub(super) struct Streams<L: Logs> {
    logs: L,
    open: BTreeMap<StreamName, Open<L::Held>>,
    /// Allocs whose logs are gone, by the revision that has the plane let go of them.
    forgotten: BTreeMap<AllocId, u64>,
}

impl<L: Logs> Streams<L> {
    /// Those whose pipes an earlier daemon left.
    pub(super) async fn found(logs: L) -> Result<Self, LogError> {
        let mut open = BTreeMap::new();
        for name in logs.pipes().await? {
            let _held = logs.hold(&name).await?;
            open.insert(name, Open { _held, found: true, ended: false, ended_in: None });
        }
        Ok(Self { logs, open, forgotten: BTreeMap::new() })
    }

    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    /// Makes and holds a container's pipes.
    pub(super) async fn open(&mut self, container: &ContainerName) -> Result<Pipes, LogError> {
        for name in both(container) {
            let _held = self.logs.hold(&name).await?;
            self.open.insert(name, Open { _held, found: false, ended: false, ended_in: None });
        }
        let fifo = |stream| self.logs.fifo(&of(container, stream));
        Ok(Pipes { stdout: fifo(Stream::Stdout), stderr: fifo(Stream::Stderr) })
    }

    pub(super) fn ended(&mut self, container: &ContainerName) {
        for name in both(container) {
            if let Some(open) = self.open.get_mut(&name) {
                open.ended = true;
            }
        }
    }

    /// Ends streams of containers that are gone, forgets allocs that are; says whether there was any.
    pub(super) async fn compare(&mut self, outputs: &Outputs, revision: u64) -> bool {
        let mut any = false;
        for (name, open) in &mut self.open {
            if !open.ended && !outputs.may_come(&name.alloc, name.incarnation) {
                open.ended = true;
                any = true;
            }
        }
        let with_logs = match self.logs.allocs().await {
            Ok(allocs) => allocs,
            Err(error) => {
                warn!(%error, "logs can't be listed, those of forgotten allocs stay");
                vec![]
            }
        };
        for alloc in with_logs.into_iter().filter(|alloc| !outputs.may_be_read(alloc)) {
            self.forget(alloc, revision).await;
            any = true;
        }
        any
    }

    /// The tables of this revision.
    pub(super) fn tables(&mut self, revision: u64) -> Tables {
        let streams = self.open.iter_mut().map(|(name, open)| {
            if open.ended {
                open.ended_in.get_or_insert(revision);
            }
            LogStream { name: name.clone(), fifo: self.logs.fifo(name), ended: open.ended }
        });
        Tables { revision, streams: streams.collect() }
    }

    /// The streams of ours that the plane has drained. What it says of an earlier run of the same name is no news:
    /// a start that failed is tried again under its name.
    pub(super) fn drained(&self, status: &v1::StatusResponse) -> Vec<StreamName> {
        let named = status.drained.iter().filter_map(|id| stream_name(id).ok());
        let ours = named.filter(|name| {
            self.open.get(name).is_some_and(|open| {
                open.found || open.ended_in.is_some_and(|revision| status.installed_revision >= revision)
            })
        });
        ours.collect()
    }

    /// Lets go of a drained stream's pipe and removes it.
    pub(super) async fn release(&mut self, name: &StreamName) {
        self.open.remove(name);
        if let Err(error) = self.logs.release(name).await {
            warn!(stream = %name, %error, "a drained pipe can't be removed");
        }
    }

    /// Removes an alloc's logs: at once, and again when the plane has let go of them by this revision, since it may
    /// write in between.
    pub(super) async fn forget(&mut self, alloc: AllocId, revision: u64) {
        self.open.retain(|name, _| name.alloc != alloc);
        self.remove(&alloc).await;
        self.forgotten.insert(alloc, revision);
    }

    /// The plane has installed this revision.
    pub(super) async fn installed(&mut self, installed: u64) {
        let due = self.forgotten.iter().filter(|(_, revision)| **revision <= installed);
        let due: Vec<AllocId> = due.map(|(alloc, _)| alloc.clone()).collect();
        for alloc in due {
            self.forgotten.remove(&alloc);
            let back = self.open.keys().any(|name| name.alloc == alloc);
            if !back {
                self.remove(&alloc).await;
            }
        }
    }

    async fn remove(&self, alloc: &AllocId) {
        if let Err(error) = self.logs.remove(alloc).await {
            warn!(%alloc, %error, "logs can't be removed");
        }
    }
}

fn of(container: &ContainerName, stream: Stream) -> StreamName {
    StreamName { alloc: container.alloc.clone(), incarnation: container.incarnation, stream }
}

fn both(container: &ContainerName) -> [StreamName; 2] {
    Stream::ALL.map(|stream| of(container, stream))
}
