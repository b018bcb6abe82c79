//! One machine: a disk that outlives the process on it.

use std::collections::VecDeque;
use std::path::Path;

use mill_consensus::{Outgoing, Payload, Proposed};
use mill_control::replica::{Config, Effects, Replica, Snapshot};
use mill_drivers::disk::{Crash, Directory, Disk, DiskError, FakeDirectory, FakeDisk, LogFiles};
use mill_wal::{Batch, Limits, Op, Recovery, WalError};

const HERE: &str = "/var/lib/mill/raft";
const LOG: u64 = 0xabcd_ef01;

/// How a node comes into a cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Birth {
    Alone,
    Joining,
}

/// A command: its number, and bytes to give it a size.
pub(super) fn command(number: u64, size: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + size, 7);
    bytes
}

pub(super) struct Host {
    pub(super) disk: FakeDisk,
    pub(super) config: Config,
    birth: Birth,
    process: Option<Process>,
}

/// What dies with the process.
pub(super) struct Process {
    pub(super) replica: Replica,
    directory: FakeDirectory,
    batch: Option<(u64, VecDeque<Op>)>,
    pub(super) state: Vec<u64>,
    pub(super) applied: u64,
    /// What was proposed here and isn't decided yet.
    pending: Vec<(Proposed, u64)>,
    /// What its proposer was told: it is safe.
    pub(super) confirmed: Vec<u64>,
    pub(super) wire: Vec<(Outgoing, Option<Vec<u8>>)>,
}

fn encode(state: &[u64]) -> Vec<u8> {
    state.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn decode(bytes: &[u8]) -> Vec<u64> {
    let (numbers, rest) = bytes.as_chunks();
    assert!(rest.is_empty(), "a snapshot is whole");
    numbers.iter().map(|number| u64::from_le_bytes(*number)).collect()
}

impl Host {
    pub(super) fn new(id: u64, seed: u64, birth: Birth) -> Self {
        let mut config = Config::new(id, seed);
        config.log = Limits { segment_bytes: 1500 };
        config.snapshot_after_bytes = 2000;
        Self { disk: FakeDisk::new(seed), config, birth, process: None }
    }

    pub(super) fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    pub(super) fn state(&self) -> &[u64] {
        self.process.as_ref().map(|process| process.state.as_slice()).unwrap_or_default()
    }

    /// Starts the process: recovers what the disk has.
    pub(super) fn start(&mut self) -> Result<(), WalError<DiskError>> {
        self.process = None;
        self.config.consensus.seed += 1;
        let directory = self.disk.open(Path::new(HERE)).map_err(|source| WalError::Read { source })?;
        let replica = match mill_wal::recover(&LogFiles(&directory), self.config.log)? {
            Recovery::Log(recovered) => Replica::open(&self.config, *recovered).unwrap(),
            Recovery::Empty if self.birth == Birth::Alone => {
                Replica::bootstrap(&self.config, LOG, encode(&[])).unwrap()
            }
            Recovery::Empty => Replica::join(&self.config, LOG).unwrap(),
        };
        let mut process = Process {
            replica,
            directory,
            batch: None,
            state: vec![],
            applied: 0,
            pending: vec![],
            confirmed: vec![],
            wire: vec![],
        };
        process.go_on();
        self.process = Some(process);
        Ok(())
    }

    /// Ends the process, or the machine.
    pub(super) fn crash(&mut self, crash: Crash) {
        self.process = None;
        self.disk.crash(crash);
    }
}

impl Process {
    pub(super) fn propose(&mut self, number: u64, size: usize) -> bool {
        let proposed = self.replica.propose(command(number, size));
        if let Ok(proposed) = proposed {
            self.pending.push((proposed, number));
        }
        self.go_on();
        proposed.is_ok()
    }

    /// Lets the disk do one thing; false when it has nothing to do.
    pub(super) fn write(&mut self) -> Result<bool, DiskError> {
        let Some((number, ops)) = &mut self.batch else { return Ok(false) };
        let number = *number;
        if let Some(op) = ops.pop_front() {
            self.directory.perform(&op)?;
        }
        if ops.is_empty() {
            self.batch = None;
            self.replica.persisted(number);
            self.go_on();
        }
        Ok(true)
    }

    /// Does everything that needs no disk.
    pub(super) fn go_on(&mut self) {
        loop {
            let effects = self.replica.effects();
            if self.carry_out(effects) {
                return;
            }
        }
    }

    /// True when there was nothing.
    fn carry_out(&mut self, effects: Effects) -> bool {
        let Effects { send, write, install, apply, snapshot_wanted, fault, .. } = effects;
        assert_eq!(fault, None);
        let nothing =
            send.is_empty() && write.is_none() && install.is_none() && apply.is_empty() && !snapshot_wanted;
        for out in send {
            let state = out.snapshot.map(|index| self.snapshot_at(index));
            self.wire.push((out, state));
        }
        if let Some(Batch { number, ops }) = write {
            assert!(self.batch.is_none(), "one batch at a time");
            self.batch = Some((number, ops.into()));
        }
        if let Some(Snapshot { index, data }) = install {
            self.state = decode(&data);
            self.applied = index;
            self.replica.applied(index);
        }
        for entry in apply {
            assert_eq!(entry.index, self.applied + 1, "entries are handed out in order");
            self.applied = entry.index;
            if let Payload::Command(data) = entry.payload {
                self.state.push(u64::from_le_bytes(*data.first_chunk().unwrap()));
            }
            self.decide(entry.index, entry.term);
            self.replica.applied(entry.index);
        }
        if snapshot_wanted {
            self.replica.snapshot_made(self.applied, encode(&self.state));
        }
        nothing
    }

    fn decide(&mut self, index: u64, term: u64) {
        let confirmed = &mut self.confirmed;
        self.pending.retain(|(proposed, number)| {
            if *proposed == (Proposed { index, term }) {
                confirmed.push(*number);
            }
            proposed.index > index
        });
    }

    /// The stored snapshot of an index, as its sender reads it from the disk.
    fn snapshot_at(&self, index: u64) -> Vec<u8> {
        let Ok(Recovery::Log(log)) = mill_wal::recover(&LogFiles(&self.directory), Limits::default()) else {
            panic!("a running log can be read");
        };
        let snapshot = log.snapshot.unwrap();
        assert_eq!(snapshot.mark.index, index);
        snapshot.data
    }
}
