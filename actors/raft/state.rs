//! What the log's actor holds and does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mill_consensus::{Committed, Payload, ProposeError as NotTaken, Role as RaftRole};
use mill_control::replica::{Config, Effects, Replica, Snapshot};
use mill_drivers::clock::Clock;
use mill_drivers::disk::{Disk, DiskError, LogFiles};
use mill_fsm::{Cluster, Command, Done, Entry, Halt};
use mill_model::{NodeId, Tempo, Term};
use mill_wal::{Batch, Recovery, WalError, recover};
use serde_json::json;
use tokio::task::JoinError;
use tracing::{error, info, warn};

use super::{Args, Msg, NotMade, NotWritten, ProposeError, Raft, Role, Written};
use crate::kit::{Crash, Me, Reply, Task, TaskPanicked, Timer};

/// Room that a snapshot leaves on the disk: the frames around it, its directory's entry, and the next segment's begin.
const SNAPSHOT_SPARE_BYTES: u64 = 1 << 20;

type Answer = Reply<Result<Done, ProposeError>>;

/// What the log's actor holds.
pub struct State<K: Disk, C> {
    args: Args<K, C>,
    replica: Replica,
    cluster: Cluster,
    applied: u64,
    halted: Option<Halt>,
    /// Proposals on their way, by index.
    pending: BTreeMap<u64, (u64, Answer)>,
    /// Answers that wait for the state to be published.
    answers: Vec<(Answer, Result<Done, ProposeError>)>,
    role: Role,
    /// Away while a batch is written.
    directory: Option<K::Directory>,
    writing: Option<Task>,
    snapshot: Option<Task>,
    /// Until a snapshot that found no room is tried again.
    again: Option<Timer>,
    ticking: Option<Timer>,
    changed: bool,
}

impl<K: Disk, C: Clock> State<K, C> {
    pub(super) async fn open(me: &Me<Raft<K, C>>, args: Args<K, C>) -> Result<Self, Crash> {
        let (disk, path) = (args.disk.clone(), args.directory.clone());
        let config = Config::new(args.node.0, args.seed);
        let limits = config.log;
        let read = tokio::task::spawn_blocking(move || {
            let directory = disk.open(&path).map_err(Crash::from_outside)?;
            let recovery = recover(&LogFiles(&directory), limits).map_err(unreadable)?;
            Ok::<_, Crash>((directory, recovery))
        });
        let (directory, recovery) = read.await??;
        let replica = match recovery {
            Recovery::Empty if args.had_state => return Err(Lost { directory: args.directory }.into()),
            Recovery::Empty => Replica::bootstrap(&config, args.log, Cluster::default().to_snapshot())?,
            Recovery::Log(recovered) => {
                if let Some(cut) = recovered.cut {
                    warn!(file = %cut.file, offset = cut.offset, bytes = cut.length, "a torn tail of the log was cut");
                }
                info!(entries = recovered.entries.len(), "log recovered");
                Replica::open(&config, *recovered)?
            }
        };
        args.published.halted.send_replace(None);
        let mut state = Self {
            args,
            replica,
            cluster: Cluster::default(),
            applied: 0,
            halted: None,
            pending: BTreeMap::new(),
            answers: vec![],
            role: Role::default(),
            directory: Some(directory),
            writing: None,
            snapshot: None,
            again: None,
            ticking: None,
            changed: true,
        };
        state.tick(me);
        state.go_on(me)?;
        Ok(state)
    }

    pub(super) fn tick(&mut self, me: &Me<Raft<K, C>>) {
        self.replica.tick();
        self.ticking = Some(me.after(me.tempo().raft_tick, Msg::Tick));
    }

    pub(super) fn propose(&mut self, command: Command, tempo: &Tempo, reply: Answer) {
        if self.halted.is_some() {
            return reply.send(Err(ProposeError::Halted));
        }
        let now = self.args.published.stamps.now(&self.args.clock, tempo, &self.cluster);
        let entry = Entry { now, command }.encode();
        match self.replica.propose(entry) {
            Ok(place) => {
                self.pending.insert(place.index, (place.term, reply));
            }
            Err(error) => reply.send(Err(not_taken(error))),
        }
    }

    pub(super) fn written(&mut self, written: Written) -> Result<(), Crash> {
        self.writing = None;
        let directory = written.result.map_err(|error| {
            let crash = error.into_crash();
            self.args.published.trouble.send_replace(Some(crash.to_string()));
            crash
        })?;
        self.args.published.trouble.send_if_modified(|trouble| trouble.take().is_some());
        let directory = directory.downcast::<K::Directory>();
        self.directory = directory.ok().map(|directory| *directory);
        self.replica.persisted(written.number);
        Ok(())
    }

    /// Has the state written down, if the disk has room for it.
    pub(super) fn make_snapshot(&mut self, me: &Me<Raft<K, C>>) {
        let (cluster, index) = (self.cluster.clone(), self.applied);
        let (disk, directory) = (self.args.disk.clone(), self.args.directory.clone());
        let write_down = move || {
            let data = cluster.to_snapshot();
            let (bytes, free) = (data.len() as u64, disk.free(&directory)?);
            match free >= bytes.saturating_add(SNAPSHOT_SPARE_BYTES) {
                true => Ok(data),
                false => Err(NotMade::NoRoom { bytes, free, directory }),
            }
        };
        let made = async move { tokio::task::spawn_blocking(write_down).await };
        let done = move |made| Msg::SnapshotMade { index, data: written_down(made) };
        self.snapshot = Some(me.task("snapshot", made, done));
    }

    pub(super) fn snapshot_made(
        &mut self,
        me: &Me<Raft<K, C>>,
        index: u64,
        data: Result<Vec<u8>, NotMade>,
    ) -> Result<(), Crash> {
        self.snapshot = None;
        match data {
            Ok(data) => self.replica.snapshot_made(index, data),
            Err(error @ (NotMade::NoRoom { .. } | NotMade::Disk(_))) => {
                warn!(error = %Crash::from(error), "the log can't be cut short, and grows");
                self.again = Some(me.after(me.tempo().snapshot_retry, Msg::Snapshot));
            }
            Err(error @ (NotMade::Task(_) | NotMade::Join(_))) => return Err(error.into()),
        }
        Ok(())
    }

    /// Does all that the replica wants done, until it wants no more; then publishes and answers.
    pub(super) fn go_on(&mut self, me: &Me<Raft<K, C>>) -> Result<(), Crash> {
        loop {
            let effects = self.replica.effects();
            if is_idle(&effects) {
                break;
            }
            self.carry_out(me, effects)?;
        }
        let index = &self.args.published.index;
        if self.changed && self.applied >= index.load(Ordering::Relaxed) {
            self.changed = false;
            index.store(self.applied, Ordering::Relaxed);
            self.args.published.cluster.send_replace(Arc::new(self.cluster.clone()));
        }
        self.args.published.role.send_if_modified(|role| std::mem::replace(role, self.role) != self.role);
        for (reply, answer) in self.answers.drain(..) {
            reply.send(answer);
        }
        Ok(())
    }

    fn carry_out(&mut self, me: &Me<Raft<K, C>>, effects: Effects) -> Result<(), Crash> {
        if let Some(fault) = effects.fault {
            return Err(fault.into());
        }
        if let Some((role, term)) = effects.role {
            self.role_changed(role, term);
        }
        if let Some(snapshot) = effects.install {
            self.install(&snapshot)?;
        }
        for committed in &effects.apply {
            self.apply(committed);
        }
        if let Some(batch) = effects.write {
            self.write(me, batch)?;
        }
        if effects.snapshot_wanted && self.halted.is_none() {
            self.make_snapshot(me);
        }
        Ok(())
    }

    fn role_changed(&mut self, role: RaftRole, term: u64) {
        let (leader, leads) = match role {
            RaftRole::Leader => (Some(self.args.node), true),
            RaftRole::Follower { leader } => (leader.map(NodeId), false),
            RaftRole::Candidate => (None, false),
        };
        let still = leads && self.role.is_leading && self.role.term.0 == term;
        self.role = Role { term: Term(term), leader, is_leading: still };
        if !leads {
            for (_, (_, reply)) in std::mem::take(&mut self.pending) {
                self.answers.push((reply, Err(ProposeError::Uncertain)));
            }
        }
        info!(term, ?role, "role changed");
    }

    fn install(&mut self, snapshot: &Snapshot) -> Result<(), Crash> {
        self.cluster = Cluster::from_snapshot(&snapshot.data)?;
        self.applied = snapshot.index;
        self.changed = true;
        self.replica.applied(snapshot.index);
        Ok(())
    }

    fn apply(&mut self, committed: &Committed) {
        if self.halted.is_some() {
            return;
        }
        if let Payload::Command(entry) = &committed.payload {
            match self.cluster.apply(entry) {
                Ok(result) => {
                    self.changed = true;
                    self.answer(committed, result.map_err(ProposeError::Rejected));
                }
                Err(halt) => return self.halt(halt),
            }
        }
        self.applied = committed.index;
        self.replica.applied(committed.index);
        // A leader knows what is committed once something of its own term is (the Raft paper, §8).
        self.role.is_leading |=
            self.role.leader == Some(self.args.node) && self.role.term.0 == committed.term;
    }

    fn answer(&mut self, committed: &Committed, result: Result<Done, ProposeError>) {
        let Some((term, reply)) = self.pending.remove(&committed.index) else { return };
        let mine = term == committed.term;
        self.answers.push((reply, if mine { result } else { Err(ProposeError::Uncertain) }));
    }

    fn halt(&mut self, halt: Halt) {
        error!(reason = %halt, "the log is no longer applied on this node");
        self.role.is_leading = false;
        for (_, (_, reply)) in std::mem::take(&mut self.pending) {
            self.answers.push((reply, Err(ProposeError::Halted)));
        }
        self.args.published.halted.send_replace(Some(halt.clone()));
        self.halted = Some(halt);
    }

    fn write(&mut self, me: &Me<Raft<K, C>>, batch: Batch) -> Result<(), Crash> {
        let Some(mut directory) = self.directory.take() else {
            return Err(Crash::because("a batch was handed out while another is written"));
        };
        let number = batch.number;
        let write = async move {
            let perform = move || {
                use mill_drivers::disk::Directory as _;
                batch.ops.iter().try_for_each(|op| directory.perform(op))?;
                Ok(directory)
            };
            tokio::task::spawn_blocking(perform).await
        };
        let done = move |result: Result<Result<Result<K::Directory, _>, JoinError>, _>| {
            let result = match result {
                Ok(Ok(Ok(directory))) => Ok(Box::new(directory) as Box<dyn std::any::Any + Send>),
                Ok(Ok(Err(error))) => Err(NotWritten::Disk(error)),
                Ok(Err(error)) => Err(NotWritten::Join(error)),
                Err(error) => Err(NotWritten::Task(error)),
            };
            Msg::Written(Written { number, result })
        };
        self.writing = Some(me.task("write", write, done));
        Ok(())
    }

    pub(super) fn observe(&self) -> serde_json::Value {
        json!({
            "term": self.role.term,
            "leads": self.role.is_leading,
            "last": self.replica.last_index(),
            "committed": self.replica.commit_index(),
            "applied": self.applied,
            "waiting": self.pending.len(),
            "halted": self.halted.as_ref().map(ToString::to_string),
        })
    }
}

/// A member's log is gone.
#[derive(Debug, thiserror::Error)]
#[error("{} holds no log, and this node was a member of its cluster: restore it, or start anew elsewhere", directory.display())]
struct Lost {
    directory: std::path::PathBuf,
}

/// A state that can't be written down is never taken for an empty one.
fn written_down(
    made: Result<Result<Result<Vec<u8>, NotMade>, JoinError>, TaskPanicked>,
) -> Result<Vec<u8>, NotMade> {
    made??
}

/// A disk that doesn't answer may do so later; a log that is damaged stays so.
fn unreadable(error: WalError<DiskError>) -> Crash {
    match error {
        WalError::Read { source } => Crash::from_outside(source),
        damaged => damaged.into(),
    }
}

fn is_idle(effects: &Effects) -> bool {
    effects.write.is_none()
        && effects.install.is_none()
        && effects.apply.is_empty()
        && effects.role.is_none()
        && effects.fault.is_none()
        && !effects.snapshot_wanted
}

fn not_taken(error: NotTaken) -> ProposeError {
    match error {
        NotTaken::NotLeader { leader } => ProposeError::NotLeader { leader: leader.map(NodeId) },
        NotTaken::HandingOver => ProposeError::NotLeader { leader: None },
        NotTaken::Overloaded => ProposeError::Overloaded,
        NotTaken::TooLong { length, limit } => ProposeError::TooLong { length, limit },
        // An entry always has its stamp.
        NotTaken::Empty => ProposeError::Uncertain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_state_that_can_not_be_written_down_is_not_an_empty_one() {
        let panicked =
            tokio::task::spawn_blocking(|| -> Result<Vec<u8>, NotMade> { panic!("on purpose") }).await;
        assert!(matches!(written_down(Ok(panicked)), Err(NotMade::Join(_))));
        assert_eq!(written_down(Ok(Ok(Ok(vec![7])))).unwrap(), [7]);
    }
}
