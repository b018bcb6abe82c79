//! The machine.

use std::collections::VecDeque;

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeV2, Entry as RaftEntry, EntryType, Message, MessageType};
use raft::{Config, Error, ProgressState, RawNode, Ready, SnapshotStatus, StateRole};
use thiserror::Error;

use crate::check::{self, Here, StepError};
use crate::log::{self, Log};
use crate::random::Random;
use crate::{
    Change, ChangeRefused, Committed, HardState, Mark, Membership, Outgoing, Payload, ReadReady, Restored,
    Role, Settings, Unusable, Work,
};

/// A node that lags this many entries behind what is committed doesn't campaign: raft-rs reads them all at once
/// to do so, and such a leader would keep everyone waiting anyway.
const CAMPAIGN_LAG_MAX: u64 = 4096;

/// A learner that lacks no more than this many entries is caught up: less than a follower may have on its way.
const CAUGHT_UP_WITHIN: u64 = 1000;

/// One node's part in Raft.
pub struct Machine {
    raw: RawNode<Log>,
    random: Random,
    election_ticks: usize,
    entry_bytes_max: usize,
    /// The election timeout in force, in ticks.
    timeout: usize,
    /// Members, each as of an index; the first is as of the last applied one or before.
    members: VecDeque<(u64, Membership)>,
}

/// A proposal on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposed {
    /// Where it will be committed, if at all.
    pub index: u64,
    /// The term in which. Committed at its index with another term: lost.
    pub term: u64,
}

/// Why a proposal was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// Only the leader takes proposals.
    #[error("this node isn't the leader")]
    NotLeader {
        /// Who is, if known.
        leader: Option<u64>,
    },
    /// Leadership is being handed over.
    #[error("leadership is being handed over")]
    HandingOver,
    /// [`Settings::uncommitted_bytes_max`] is reached.
    #[error("too much is waiting to be committed")]
    Overloaded,
    /// Longer than [`Settings::entry_bytes_max`].
    #[error("a proposal has at most {limit} bytes, this has {length}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// An entry without data means something else.
    #[error("a proposal can't be empty")]
    Empty,
}

/// Why an up-to-date read can't be had now. Try again in a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// There is no leader to ask.
    #[error("there is no leader")]
    NoLeader,
    /// The leader is so new that it doesn't know yet what is committed.
    #[error("the leader has committed nothing in its term yet")]
    TooEarly,
}

impl Machine {
    /// Goes on from what was found. All of it counts as persisted; entries after the mark are handed out again
    /// as they are (found to be) committed.
    ///
    /// # Errors
    /// It contradicts itself.
    pub fn new(settings: &Settings, restored: Restored) -> Result<Self, Unusable> {
        let members = restored.mark.as_ref().map(|mark| mark.members.clone()).unwrap_or_default();
        if Membership::from_proto(&members.to_proto()).is_none() {
            return Err(Unusable::Members);
        }
        let applied = restored.mark.as_ref().map_or(0, |mark| mark.index);
        let config = Config {
            id: settings.id,
            election_tick: settings.election_ticks,
            heartbeat_tick: settings.heartbeat_ticks,
            applied,
            max_size_per_msg: settings.message_bytes_max,
            max_inflight_msgs: settings.inflight_max,
            check_quorum: true,
            pre_vote: true,
            max_uncommitted_size: settings.uncommitted_bytes_max,
            max_committed_size_per_ready: settings.committed_bytes_max,
            ..Config::default()
        };
        let valid = settings.id != 0 && settings.election_ticks > 1 && config.validate().is_ok();
        let unusable = Unusable::Settings { reason: "id, ticks or bounds" };
        if !valid {
            return Err(unusable);
        }
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, Log::new(restored)?, &logger).map_err(|_| unusable)?;
        let mut machine = Self {
            raw,
            random: Random::new(settings.seed),
            election_ticks: settings.election_ticks,
            entry_bytes_max: settings.entry_bytes_max,
            timeout: 0,
            members: VecDeque::from([(applied, members)]),
        };
        machine.draw_timeout();
        Ok(machine)
    }

    /// Time goes on by a tick.
    pub fn tick(&mut self) {
        let raft = &self.raw.raft;
        if raft.state == StateRole::Leader {
            self.leave_joint();
        } else if raft.election_elapsed + 1 >= self.timeout && !self.may_campaign() {
            return;
        }
        self.with(|raw| raw.tick());
    }

    /// Asks for an election now. Nothing happens on a leader, a learner, or while the log is behind.
    pub fn campaign(&mut self) {
        if self.raw.raft.promotable() && self.may_campaign() {
            // It fails on nothing but a message's kind, which is right.
            let _never = self.with(RawNode::campaign);
        }
    }

    /// Takes a message from another node in.
    ///
    /// # Errors
    /// It was not taken in, and why.
    pub fn step(&mut self, bytes: &[u8]) -> Result<(), StepError> {
        let raft = &self.raw.raft;
        let last = raft.raft_log.last_index();
        let here = Here { id: raft.id, term: raft.term, last, entry_bytes_max: self.entry_bytes_max };
        let mut message = check::message(bytes, &here)?;
        let from = message.from;
        match message.get_msg_type() {
            MessageType::MsgTimeoutNow if !self.may_campaign() => return Ok(()),
            MessageType::MsgAppendResponse if message.reject && !self.fresh(&mut message) => return Ok(()),
            _ => {}
        }
        match self.with(|raw| raw.step(message)) {
            Err(Error::StepPeerNotFound) => Err(StepError::Stranger { from }),
            // What remains are words on proposals, which don't come this way.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Offers a command to the log.
    ///
    /// # Errors
    /// It was not taken; nothing will come of it.
    pub fn propose(&mut self, data: Bytes) -> Result<Proposed, ProposeError> {
        if data.is_empty() {
            return Err(ProposeError::Empty);
        }
        if data.len() > self.entry_bytes_max {
            return Err(ProposeError::TooLong { length: data.len(), limit: self.entry_bytes_max });
        }
        let Role::Leader = self.role() else { return Err(ProposeError::NotLeader { leader: self.leader() }) };
        if self.raw.raft.lead_transferee.is_some() {
            return Err(ProposeError::HandingOver);
        }
        let entry = RaftEntry { data, ..RaftEntry::default() };
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.raw.raft.id;
        message.set_entries(vec![entry].into());
        self.with(|raw| raw.raft.step(message)).map_err(|_| ProposeError::Overloaded)?;
        Ok(Proposed { index: self.raw.raft.raft_log.last_index(), term: self.raw.raft.term })
    }

    /// Asks up to which index state must be applied for a read to see all that was confirmed before. The answer
    /// comes as [`ReadReady`] with the same context, which must be unique; on a follower it may get lost.
    ///
    /// # Errors
    /// There will be no answer.
    pub fn read_index(&mut self, context: Vec<u8>) -> Result<(), ReadError> {
        let raft = &self.raw.raft;
        match self.role() {
            Role::Leader if !raft.commit_to_current_term() => return Err(ReadError::TooEarly),
            Role::Leader | Role::Follower { leader: Some(_) } => {}
            Role::Follower { leader: None } | Role::Candidate => return Err(ReadError::NoLeader),
        }
        self.with(|raw| raw.read_index(context));
        Ok(())
    }

    /// Changes the members, if the rules allow it.
    ///
    /// # Errors
    /// They don't, and why.
    pub fn change(&mut self, change: &Change) -> Result<(), ChangeRefused> {
        let Role::Leader = self.role() else {
            return Err(ChangeRefused::NotLeader { leader: self.leader() });
        };
        change.check(&self.members())?;
        if self.raw.raft.has_pending_conf() {
            return Err(ChangeRefused::Pending);
        }
        let last = self.raw.raft.raft_log.last_index();
        for &id in &change.promote {
            let matched = self.raw.raft.prs().get(id).map_or(0, |progress| progress.matched);
            let entries = last.saturating_sub(matched);
            if entries > CAUGHT_UP_WITHIN {
                return Err(ChangeRefused::Behind { id, entries });
            }
        }
        let proto = change.to_proto();
        self.with(|raw| raw.propose_conf_change(vec![], proto)).map_err(|_| ChangeRefused::Busy)
    }

    /// Hands leadership to another voter, if this node leads.
    pub fn transfer_leader(&mut self, to: u64) {
        if self.role() == Role::Leader {
            self.with(|raw| raw.transfer_leader(to));
        }
    }

    /// A message to that node could not be delivered.
    pub fn unreachable(&mut self, id: u64) {
        self.with(|raw| raw.report_unreachable(id));
    }

    /// A snapshot went to that node, or didn't.
    pub fn snapshot_sent(&mut self, id: u64, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.with(|raw| raw.report_snapshot(id, status));
    }

    /// What must be done now, if anything. Ask again until there is nothing.
    pub fn ready(&mut self) -> Option<Work> {
        if !self.raw.has_ready() {
            return None;
        }
        let mut ready = self.raw.ready();
        let mut work = Work {
            number: ready.number(),
            messages: ready.take_messages().iter().filter_map(outgoing).collect(),
            entries: ready.entries().iter().map(log::from_raft).collect(),
            hard_state: ready.hs().map(|state| HardState {
                term: state.term,
                vote: state.vote,
                commit: state.commit,
            }),
            must_sync: ready.must_sync(),
            messages_after_persist: ready.take_persisted_messages().iter().filter_map(outgoing).collect(),
            ..Work::default()
        };
        let reads = ready.take_read_states().into_iter();
        work.reads = reads.map(|read| ReadReady { context: read.request_ctx, index: read.index }).collect();
        let committed = ready.take_committed_entries();
        work.install = self.take_in(&ready);
        self.raw.advance_append_async(ready);
        work.committed = committed.iter().map(|entry| self.commit(entry)).collect();
        Some(work)
    }

    /// The work of this number, and all before it, is durable.
    pub fn persisted(&mut self, number: u64) {
        self.with(|raw| raw.on_persist_ready(number));
    }

    /// The state contains everything up to this index. Going back, or ahead of what was handed out, has no effect.
    pub fn applied(&mut self, index: u64) {
        let log = &self.raw.raft.raft_log;
        let index = index.min(log.committed).min(log.persisted);
        if index > log.applied {
            self.with(|raw| raw.advance_apply_to(index));
            let gone = self.members.partition_point(|(since, _)| *since <= index).saturating_sub(1);
            self.members.drain(..gone);
        }
    }

    /// What a snapshot of the state at `index` stands for; nothing for an index that isn't applied, or no longer
    /// in the log.
    pub fn mark_at(&self, index: u64) -> Option<Mark> {
        let log = &self.raw.raft.raft_log;
        if index == 0 || index > log.applied || index + 1 < log.first_index() {
            return None;
        }
        let term = log.term(index).ok()?;
        let (_, members) = self.members.iter().rev().find(|(since, _)| *since <= index)?;
        Some(Mark { index, term, members: members.clone() })
    }

    /// Whether, since the last call, a follower turned out to need a newer snapshot than there is: one that knows
    /// it as a member. Make one soon; raft-rs asks again.
    pub fn snapshot_wanted(&mut self) -> bool {
        self.raw.store().take_wanted()
    }

    /// A snapshot made here is durable: the log lets go of what it contains.
    pub fn compact(&mut self, mark: Mark) {
        if mark.index <= self.raw.raft.raft_log.applied
            && self.raw.store().mark().is_none_or(|known| known.index < mark.index)
        {
            self.raw.mut_store().compact(mark);
        }
    }

    /// This node's role.
    pub fn role(&self) -> Role {
        match self.raw.raft.state {
            StateRole::Follower => Role::Follower { leader: self.leader() },
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        }
    }

    /// The current term.
    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<u64> {
        Some(self.raw.raft.leader_id).filter(|id| *id != 0)
    }

    /// The members in force.
    pub fn members(&self) -> Membership {
        self.members.back().map(|(_, members)| members.clone()).unwrap_or_default()
    }

    /// Highest index known to be committed.
    pub fn commit_index(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    /// Highest index that the state is known to contain.
    pub fn applied_index(&self) -> u64 {
        self.raw.raft.raft_log.applied
    }

    /// Last index of the log.
    pub fn last_index(&self) -> u64 {
        self.raw.raft.raft_log.last_index()
    }

    /// How far each other member is known to have the log, on the leader.
    pub fn matched(&self) -> Vec<(u64, u64)> {
        let progress = self.raw.raft.prs().iter();
        let mut matched: Vec<(u64, u64)> = progress.map(|(&id, progress)| (id, progress.matched)).collect();
        matched.sort_unstable();
        matched
    }

    /// Calls raft-rs and takes the dice out of its hands again. Whatever restarts its election clock may have
    /// drawn a timeout: ours is drawn anew whenever that clock went back or the role or term changed, which
    /// depends on nothing but what went in, and is set after each call.
    fn with<T>(&mut self, call: impl FnOnce(&mut RawNode<Log>) -> T) -> T {
        let raft = &self.raw.raft;
        let before = (raft.state, raft.term, raft.election_elapsed);
        let result = call(&mut self.raw);
        let raft = &self.raw.raft;
        if (raft.state, raft.term) != (before.0, before.1) || raft.election_elapsed < before.2 {
            self.draw_timeout();
        }
        self.raw.raft.set_randomized_election_timeout(self.timeout);
        result
    }

    /// More than the minimum, so that the leader's lease has ended when the last tick before it is held back.
    fn draw_timeout(&mut self) {
        self.timeout = self.election_ticks + 1 + self.random.below(self.election_ticks - 1);
        self.raw.raft.set_randomized_election_timeout(self.timeout);
    }

    fn may_campaign(&self) -> bool {
        let log = &self.raw.raft.raft_log;
        let persisted = log.persisted == log.last_index() && log.unstable_snapshot().is_none();
        persisted && log.committed - log.applied <= CAMPAIGN_LAG_MAX
    }

    /// Whether a rejection is news. One that names an index which that follower has is late (or the follower lost
    /// its log, which can't be helped here); one that hints lower than that is raised.
    fn fresh(&self, message: &mut Message) -> bool {
        let Some(progress) = self.raw.raft.prs().get(message.from) else { return true };
        if self.raw.raft.state != StateRole::Leader || message.term != self.raw.raft.term {
            return true;
        }
        if progress.state == ProgressState::Probe && message.reject_hint < progress.matched {
            message.reject_hint = progress.matched;
            message.log_term = 0;
        }
        message.index > progress.matched
    }

    /// Puts what is new where raft-rs reads it from.
    fn take_in(&mut self, ready: &Ready) -> Option<Mark> {
        let snapshot = ready.snapshot();
        let mark = if snapshot.get_metadata().index > 0 { log::to_mark(snapshot) } else { None };
        if let Some(mark) = &mark {
            self.raw.mut_store().install(mark.clone());
            self.members = VecDeque::from([(mark.index, mark.members.clone())]);
        }
        self.raw.mut_store().append(ready.entries());
        mark
    }

    fn commit(&mut self, entry: &RaftEntry) -> Committed {
        let payload = match entry.get_entry_type() {
            EntryType::EntryNormal if entry.data.is_empty() => Payload::Nothing,
            EntryType::EntryNormal => Payload::Command(entry.data.clone()),
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                Payload::Members(self.change_members(entry))
            }
        };
        Committed { index: entry.index, term: entry.term, payload }
    }

    /// A change that raft-rs finds impossible changes nothing, on every node alike.
    fn change_members(&mut self, entry: &RaftEntry) -> Membership {
        let change = ConfChangeV2::parse_from_bytes(&entry.data).ok();
        let state = change.and_then(|change| self.with(|raw| raw.apply_conf_change(&change)).ok());
        if let Some(members) = state.as_ref().and_then(Membership::from_proto) {
            self.members.push_back((entry.index, members));
        }
        self.members()
    }

    /// A joint configuration is left by whoever leads, also by a leader that didn't enter it.
    fn leave_joint(&mut self) {
        if !self.members().outgoing.is_empty() && !self.raw.raft.has_pending_conf() {
            // If it is dropped, the next tick tries again.
            let _dropped = self.with(|raw| raw.propose_conf_change(vec![], ConfChangeV2::default()));
        }
    }

    /// Whether the election timeout in force is the one that our seed gave.
    #[cfg(test)]
    pub(crate) fn has_its_own_dice(&self) -> bool {
        self.raw.raft.randomized_election_timeout() == self.timeout
    }

    #[cfg(test)]
    pub(crate) fn raw(&mut self) -> &mut RawNode<Log> {
        &mut self.raw
    }
}

/// The index of the snapshot that a message announces, if it does: it is of no use without the state.
pub fn announces(bytes: &[u8]) -> Option<u64> {
    let message = Message::parse_from_bytes(bytes).ok()?;
    let announces = message.get_msg_type() == MessageType::MsgSnapshot;
    announces.then(|| message.get_snapshot().get_metadata().index)
}

/// Nothing if it can't be written, which for a message in memory doesn't happen.
fn outgoing(message: &Message) -> Option<Outgoing> {
    let announces = message.get_msg_type() == MessageType::MsgSnapshot;
    let snapshot = announces.then(|| message.get_snapshot().get_metadata().index);
    Some(Outgoing { to: message.to, message: message.write_to_bytes().ok()?.into(), snapshot })
}
