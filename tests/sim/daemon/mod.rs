//! The daemon: its deciders, and what stands in for its actors. Each has a mailbox; letters to one are delivered in
//! their order, but whose turn it is, is drawn.
//!
//! What the actors do between the deciders is told here again, as shortly as it can be: the order in which a
//! record is written and a container started is part of what is tried.

pub(crate) mod agent;
pub(crate) mod alloc;
pub(crate) mod leader;
pub(crate) mod ops;
pub(crate) mod raft;
pub(crate) mod session;

use std::collections::{BTreeMap, VecDeque};

use mill_control::dispatch::{Ack, Inventory, News, Order, Refusal};
use mill_control::fetch::Fetched;
use mill_fsm::{Done, Rejected};
use mill_model::{AllocId, AllocStatus, Digest, Failure, Incarnation, Term};

use crate::outside::Name;
use crate::world::{Event, Go, World, broken};
use agent::Agent;
use leader::Leader;
use ops::Key;
use raft::Raft;
use session::Talk;

/// All that dies with the process.
pub(crate) struct Daemon {
    pub(crate) raft: Raft,
    pub(crate) leader: Option<Leader>,
    pub(crate) talk: Option<Talk>,
    pub(crate) agent: Agent,
    /// Pulls, and who waits for them.
    pub(crate) pulls: BTreeMap<Digest, Vec<Waiter>>,
    mail: BTreeMap<Who, VecDeque<Letter>>,
}

/// Who has asked for a pull.
#[derive(Debug, Clone)]
pub(crate) enum Waiter {
    /// An alloc that can't start without it.
    Alloc { alloc: AllocId, task: u64, incarnation: Incarnation },
    /// The agent, ahead of allocs.
    Agent { errand: u64 },
}

/// A mailbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Leader,
    Session,
    Agent,
    Alloc(AllocId),
}

/// What somebody is told.
#[derive(Debug)]
pub(crate) enum Letter {
    /// Leader, session: the state has changed.
    Changed,
    /// Leader: it is time to look again.
    Round,
    /// Leader: one of its proposals is decided.
    Decided { applied: bool },
    /// Session.
    Opened(Result<Inventory, Refusal>),
    /// Session: all orders of a round are answered.
    Answered(Vec<Ack>),
    /// Session.
    CaughtUp(Result<(), Refusal>),
    /// Session.
    Said(News),
    /// Leader: how images are that the node shall fetch.
    Fetched(Fetched),
    /// Session: what it proposed is decided.
    Written { sequence: Option<u64>, result: Result<Done, Rejected> },
    /// Agent: a session begins.
    Open { term: Term, serial: u64 },
    /// Agent.
    AllSaid { term: Term },
    /// Agent: the orders of one round that are left, and the answers so far.
    Orders { serial: u64, orders: VecDeque<Order>, acks: Vec<Ack> },
    /// Agent: a batch is committed.
    Acknowledged { sequence: u64 },
    /// Agent: a batch had its time.
    Unacknowledged { sequence: u64 },
    /// Agent: an alloc's actor has begun, with what its record says.
    Woke(AllocId, Option<AllocStatus>),
    /// Agent: an alloc says how it is.
    Told(AllocStatus),
    /// Agent: an alloc needs its actor no more.
    Over(AllocId),
    /// Agent: an image that the leader wants came, or didn't.
    Came { errand: u64, result: Result<(), Failure> },
    /// Agent: it is tried again.
    FetchAgain { errand: u64 },
    /// Agent: look for what belongs to nothing.
    Sweep,
    /// Agent: this is what there is.
    Swept { containers: Vec<Name>, records: Vec<AllocId>, scratch: Vec<AllocId> },
    /// An alloc: an input, of a task if it came from one.
    Input { task: Option<(Key, u64)>, input: mill_alloc::Input },
}

/// Something of the daemon's whose time comes.
#[derive(Debug)]
pub(crate) enum Due {
    /// The disk does its next bit.
    Disk,
    /// Raft's clock.
    Tick,
    /// A letter that was held back.
    Letter(Who, Letter),
    /// The leader's own clock; the generation of its timer.
    Round(u64),
    /// An image is here, or isn't.
    Pulled(Digest),
    /// The runtime says what it has of an alloc.
    Looked { alloc: AllocId, task: u64 },
    /// A check has had its answer; whether the runtime was asked, not the program.
    Checked { alloc: AllocId, task: u64, incarnation: Incarnation, runs: bool },
    /// The session is begun again.
    SessionAgain,
    /// An alloc's actor is begun again.
    ActorAgain(AllocId),
}

impl Daemon {
    pub(crate) fn has_mail(&self) -> bool {
        !self.mail.is_empty()
    }

    pub(crate) fn post(&mut self, to: Who, letter: Letter) {
        self.mail.entry(to).or_default().push_back(letter);
    }

    /// News of the state, unless the last is still unread.
    pub(crate) fn post_change(&mut self, to: Who) {
        let unread = self.mail.get(&to).is_some_and(|mail| mail.iter().any(|l| matches!(l, Letter::Changed)));
        if !unread {
            self.post(to, Letter::Changed);
        }
    }

    /// Nobody is there any more to read this.
    pub(crate) fn burn(&mut self, whose: &Who) {
        self.mail.remove(whose);
    }
}

impl World {
    /// The daemon; asked for only while it runs.
    pub(crate) fn daemon(&mut self) -> Go<&mut Daemon> {
        match &mut self.daemon {
            Some(daemon) => Ok(daemon),
            None => broken("the simulation asks a daemon that isn't there"),
        }
    }

    pub(crate) fn due_in(&mut self, ms: u64, due: Due) {
        let life = self.life;
        self.at(ms, Event::Due(life, due));
    }

    /// Somebody reads a letter.
    pub(crate) fn deliver(&mut self) -> Go {
        self.spark()?;
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        let turn = self.dice.index(daemon.mail.len());
        let Some(entry) = daemon.mail.iter_mut().nth(turn) else { return Ok(()) };
        let (who, letter) = (entry.0.clone(), entry.1.pop_front());
        if entry.1.is_empty() {
            daemon.mail.remove(&who);
        }
        let Some(letter) = letter else { return Ok(()) };
        match who {
            Who::Leader => self.leader_reads(letter),
            Who::Session => self.session_reads(letter),
            Who::Agent => self.agent_reads(letter),
            Who::Alloc(alloc) => self.alloc_reads(&alloc, letter),
        }
    }

    pub(crate) fn due(&mut self, due: Due) -> Go {
        match due {
            Due::Disk => self.disk_works(),
            Due::Tick => self.raft_ticks(),
            Due::Letter(who, letter) => {
                self.daemon()?.post(who, letter);
                Ok(())
            }
            Due::Round(generation) => self.leader_round(generation),
            Due::Pulled(digest) => self.pulled(&digest),
            Due::Looked { alloc, task } => self.looked(&alloc, task),
            Due::Checked { alloc, task, incarnation, runs } => {
                self.checked(&alloc, task, (incarnation, runs))
            }
            Due::SessionAgain => self.begin_session(),
            Due::ActorAgain(alloc) => self.begin_actor(&alloc),
        }
    }
}
