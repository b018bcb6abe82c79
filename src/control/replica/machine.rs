//! The machine.

use super::{
    Batch, Bytes, Change, ChangeRefused, Config, Effects, EntryView, FIRST_INDEX, Fault, Gathered, Machine,
    Membership, MessageError, OpenError, ProposeError, Proposed, ReadError, Recovered, Replica, Restored,
    Role, Snapshot, Work, Writer, consensus, wal,
};

impl Replica {
    /// The first node of a new cluster, in an empty directory: it votes alone. `log` is any number that no other
    /// log has, `state` the state before any command.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub fn bootstrap(config: &Config, log: u64, state: Vec<u8>) -> Result<Self, OpenError> {
        let members = Membership::sole(config.consensus.id);
        let mark = consensus::Mark { index: FIRST_INDEX, term: 1, members };
        let hard_state = consensus::HardState { term: 1, vote: 0, commit: FIRST_INDEX };
        let first = wal::Snapshot { mark: to_wal_mark(&mark), data: state };
        let writer = Writer::create(log, config.log, Some(&first), to_wal_state(hard_state));
        let restored = Restored { hard_state, mark: Some(mark), entries: vec![] };
        Self::start(config, writer, restored, Some(first.data))
    }

    /// A node that will be taken in by a cluster, in an empty directory: it knows nobody and waits.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub fn join(config: &Config, log: u64) -> Result<Self, OpenError> {
        let writer = Writer::create(log, config.log, None, wal::HardState::default());
        Self::start(config, writer, Restored::default(), None)
    }

    /// Goes on from a recovered log. The first effects hand out its snapshot; the entries after it follow as they
    /// are found to be committed.
    ///
    /// # Errors
    /// The log contradicts itself or the settings.
    pub fn open(config: &Config, recovered: Recovered) -> Result<Self, OpenError> {
        let Recovered { state, snapshot, entries, writer, .. } = recovered;
        let mark = snapshot.as_ref().map(|snapshot| {
            let members = Membership::from_bytes(&snapshot.mark.members);
            let members = members.ok_or(OpenError::Members { index: snapshot.mark.index })?;
            Ok(consensus::Mark { index: snapshot.mark.index, term: snapshot.mark.term, members })
        });
        let entries = entries.into_iter().map(|entry| {
            let wal::Entry { index, term, kind, data } = entry;
            let known = consensus::Kind::from_number(kind).ok_or(OpenError::Kind { index, kind })?;
            Ok(consensus::Entry { index, term, kind: known, data: data.into() })
        });
        let wal::HardState { term, vote, commit } = state;
        let restored = Restored {
            hard_state: consensus::HardState { term, vote, commit },
            mark: mark.transpose()?,
            entries: entries.collect::<Result<_, OpenError>>()?,
        };
        Self::start(config, writer, restored, snapshot.map(|snapshot| snapshot.data))
    }

    fn start(
        config: &Config,
        writer: Writer,
        restored: Restored,
        data: Option<Vec<u8>>,
    ) -> Result<Self, OpenError> {
        let index = restored.mark.as_ref().map_or(0, |mark| mark.index);
        let machine =
            Machine::new(&config.consensus, restored).map_err(|source| OpenError::Unusable { source })?;
        let said = (machine.role(), machine.term());
        let mut replica = Self {
            machine,
            writer,
            id: config.consensus.id,
            gathered: Gathered::default(),
            out: None,
            incoming: None,
            effects: Effects::default(),
            said,
            asked: false,
            last_snapshot_bytes: data.as_ref().map_or(0, |data| data.len() as u64),
            snapshot_after_bytes: config.snapshot_after_bytes,
        };
        replica.effects.install = data.map(|data| Snapshot { index, data });
        // First of all the log's repairs: before they are done nothing counts as durable.
        replica.go_on();
        replica.lead_if_alone();
        Ok(replica)
    }

    /// Time goes on by a tick.
    pub fn tick(&mut self) {
        self.machine.tick();
        self.go_on();
    }

    /// Takes a message from another node in.
    ///
    /// # Errors
    /// It was refused; that changes nothing.
    pub fn message(&mut self, message: &[u8]) -> Result<(), MessageError> {
        if let Some(index) = consensus::announces(message) {
            return Err(MessageError::WithoutState { index });
        }
        self.step(message)
    }

    /// Takes a message in that announces a snapshot, with the state that its sender added.
    ///
    /// # Errors
    /// It was refused; that changes nothing.
    pub fn message_with_state(&mut self, message: &[u8], state: Vec<u8>) -> Result<(), MessageError> {
        self.incoming = consensus::announces(message).map(|index| (index, state));
        let result = self.step(message);
        self.incoming = None;
        result
    }

    fn step(&mut self, message: &[u8]) -> Result<(), MessageError> {
        self.machine.step(message).map_err(|source| MessageError::Refused { source })?;
        self.go_on();
        Ok(())
    }

    /// Offers a command to the log. It is confirmed when it comes back in [`Effects::apply`] with this index and
    /// term; another term at this index means that it is lost.
    ///
    /// # Errors
    /// It was not taken; nothing will come of it.
    pub fn propose(&mut self, command: impl Into<Bytes>) -> Result<Proposed, ProposeError> {
        let proposed = self.machine.propose(command.into())?;
        self.go_on();
        Ok(proposed)
    }

    /// Asks up to where the state must be applied for a read to be up to date; the answer comes in
    /// [`Effects::reads`] with the same context, which must be unique. On a follower it may get lost.
    ///
    /// # Errors
    /// There will be no answer.
    pub fn read_index(&mut self, context: Vec<u8>) -> Result<(), ReadError> {
        self.machine.read_index(context)?;
        self.go_on();
        Ok(())
    }

    /// Changes the members.
    ///
    /// # Errors
    /// The rules don't allow it.
    pub fn change(&mut self, change: &Change) -> Result<(), ChangeRefused> {
        self.machine.change(change)?;
        self.go_on();
        Ok(())
    }

    /// Hands leadership over, if this node has it.
    pub fn transfer_leader(&mut self, to: u64) {
        self.machine.transfer_leader(to);
        self.go_on();
    }

    /// A message to that node could not be delivered.
    pub fn unreachable(&mut self, id: u64) {
        self.machine.unreachable(id);
        self.go_on();
    }

    /// The state of an announced snapshot went to that node, or didn't.
    pub fn snapshot_sent(&mut self, id: u64, arrived: bool) {
        self.machine.snapshot_sent(id, arrived);
        self.go_on();
    }

    /// The batch of this number is done, without an error.
    pub fn persisted(&mut self, number: u64) {
        let Some((_, done)) = self.out.take_if(|(out, _)| *out == number) else { return };
        self.writer.done(number);
        self.complete(done);
        self.go_on();
    }

    /// The state contains everything up to this index.
    pub fn applied(&mut self, index: u64) {
        self.machine.applied(index);
        self.go_on();
    }

    /// Stores a snapshot of the state at `index`, which must be applied. One that is no newer than the last, or
    /// of an index that the log has no longer, is ignored.
    pub fn snapshot_made(&mut self, index: u64, data: Vec<u8>) {
        self.asked = false;
        let newer = self.writer.mark().is_none_or(|mark| mark.index < index);
        if newer && let Some(mark) = self.machine.mark_at(index) {
            self.last_snapshot_bytes = data.len() as u64;
            self.writer.snapshot(&wal::Snapshot { mark: to_wal_mark(&mark), data });
            self.gathered.compact = Some(mark);
        }
        self.go_on();
    }

    /// What must be done now; empty if nothing.
    pub fn effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// This node's role.
    pub fn role(&self) -> Role {
        self.machine.role()
    }

    /// The current term.
    pub fn term(&self) -> u64 {
        self.machine.term()
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<u64> {
        self.machine.leader()
    }

    /// The members in force. A node that isn't among them any more stops.
    pub fn members(&self) -> Membership {
        self.machine.members()
    }

    /// Highest index known to be committed.
    pub fn commit_index(&self) -> u64 {
        self.machine.commit_index()
    }

    /// Last index of the log, durable or not.
    pub fn last_index(&self) -> u64 {
        self.machine.last_index()
    }

    /// How far each member is known to have the log, on the leader.
    pub fn matched(&self) -> Vec<(u64, u64)> {
        self.machine.matched()
    }

    /// Nobody else could object.
    fn lead_if_alone(&mut self) {
        if self.machine.members() == Membership::sole(self.id) {
            self.machine.campaign();
            self.go_on();
        }
    }

    /// Does what the machine has work for, until it has none.
    fn go_on(&mut self) {
        loop {
            while let Some(work) = self.machine.ready() {
                if !self.take(work) {
                    return;
                }
            }
            if self.out.is_some() {
                break;
            }
            if let Some(batch) = self.writer.batch() {
                self.hand_out(batch);
                break;
            }
            // Nothing to write, and all before it is durable.
            if self.gathered.work.is_none() {
                break;
            }
            let done = std::mem::take(&mut self.gathered);
            self.complete(done);
        }
        let role = (self.machine.role(), self.machine.term());
        if role != self.said {
            self.said = role;
            self.effects.role = Some(role);
        }
        let enough =
            self.writer.bytes_since_mark() >= self.snapshot_after_bytes.max(self.last_snapshot_bytes);
        let newer = self.machine.applied_index() > self.writer.mark().map_or(0, |mark| mark.index);
        if (self.machine.snapshot_wanted() || enough) && newer && !self.asked {
            self.asked = true;
            self.effects.snapshot_wanted = true;
        }
    }

    fn hand_out(&mut self, batch: Batch) {
        self.out = Some((batch.number, std::mem::take(&mut self.gathered)));
        self.effects.write = Some(batch);
    }

    /// Takes work from the machine; false when that can't be done.
    fn take(&mut self, work: Work) -> bool {
        self.effects.send.extend(work.messages);
        if let Some(mark) = work.install {
            // The state came with the message that caused this.
            let data = self.incoming.take_if(|(index, _)| *index == mark.index).map(|(_, data)| data);
            // Never an empty one in its place.
            let Some(data) = data else {
                self.effects.fault = Some(Fault::NoState { index: mark.index });
                return false;
            };
            let snapshot = wal::Snapshot { mark: to_wal_mark(&mark), data };
            self.writer.install(&snapshot);
            self.last_snapshot_bytes = snapshot.data.len() as u64;
            self.gathered.install = Some(Snapshot { index: mark.index, data: snapshot.data });
            self.gathered.compact = None;
        }
        let views: Vec<EntryView<'_>> = work
            .entries
            .iter()
            .map(|entry| EntryView {
                index: entry.index,
                term: entry.term,
                kind: entry.kind.number(),
                data: &entry.data,
            })
            .collect();
        if let Err(long) = self.writer.append(&views) {
            self.effects.fault = Some(long.into());
            return false;
        }
        if let Some(state) = work.hard_state {
            self.writer.save(to_wal_state(state));
        }
        self.gathered.work = Some(work.number);
        self.gathered.messages.extend(work.messages_after_persist);
        self.effects.apply.extend(work.committed);
        self.effects.reads.extend(work.reads);
        true
    }

    /// What rested on a batch is true now.
    fn complete(&mut self, done: Gathered) {
        if let Some(work) = done.work {
            self.machine.persisted(work);
        }
        self.effects.send.extend(done.messages);
        if let Some(snapshot) = done.install {
            // What was to be applied before is in the snapshot.
            self.effects.apply.retain(|entry| entry.index > snapshot.index);
            self.effects.install = Some(snapshot);
        }
        if let Some(mark) = done.compact {
            self.machine.compact(mark);
        }
    }
}

fn to_wal_mark(mark: &consensus::Mark) -> wal::Mark {
    wal::Mark { index: mark.index, term: mark.term, members: mark.members.to_bytes() }
}

fn to_wal_state(state: consensus::HardState) -> wal::HardState {
    wal::HardState { term: state.term, vote: state.vote, commit: state.commit }
}
