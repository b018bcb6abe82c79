//! The log and the state: recovered at the start, written bit by bit.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use mill_consensus::{Payload, Role};
use mill_control::node::Node;
use mill_control::pace::Pace;
use mill_control::replica::{Config, Effects, Replica, Snapshot};
use mill_drivers::disk::{Directory, Disk, FakeDirectory, LogFiles};
use mill_fsm::{Cluster, Command, DeployKind, Done, Entry, Rejected};
use mill_model::{NodeId, Term};
use mill_wal::{Batch, Op, Recovery, recover};

use super::agent::Agent;
use super::{Daemon, Due, Letter, Who};
use crate::world::log::note;
use crate::world::{Go, Halt, World, broken};

/// The machine.
pub(crate) const NODE: NodeId = NodeId(1);
pub(crate) const DIRECTORY: &str = "/var/lib/mill/raft";
const LOG: u64 = 0x6d69_6c6c;

/// Who proposes, and is to be told.
#[derive(Debug)]
pub(crate) enum Proposer {
    /// `mill init`, and a node that says what it is.
    Node,
    User,
    Leader,
    Session {
        serial: u64,
        sequence: Option<u64>,
    },
}

/// This node's replica.
pub(crate) struct Raft {
    replica: Replica,
    directory: FakeDirectory,
    batch: Option<(u64, VecDeque<Op>)>,
    pub(crate) cluster: Cluster,
    applied: u64,
    term: Term,
    leads: bool,
    pending: BTreeMap<u64, (u64, Proposer)>,
    answers: Vec<(Proposer, Result<Done, Rejected>)>,
    changed: bool,
    /// The leader's too.
    pub(super) pace: Pace,
}

impl World {
    /// Starts the daemon: recovers its log, takes its allocs over.
    pub(crate) fn boot(&mut self) -> Go {
        note!(self, "======== the daemon starts");
        let directory = match self.disk.open(Path::new(DIRECTORY)) {
            Ok(directory) => directory,
            Err(error) => return broken(format!("the log's directory can't be opened: {error}")),
        };
        let mut config = Config::new(NODE.0, self.dice.draw());
        config.log.segment_bytes = 64 << 10;
        config.snapshot_after_bytes = 48 << 10;
        let opened = match recover(&LogFiles(&directory), config.log) {
            // The first snapshot is published before it is on the disk, and nobody is told of it.
            Ok(Recovery::Empty) if self.truth.as_ref().is_some_and(|(index, _)| *index > 1) => {
                return broken("the log is gone");
            }
            Ok(Recovery::Empty) => Replica::bootstrap(&config, LOG, Cluster::default().to_snapshot()),
            Ok(Recovery::Log(recovered)) => Replica::open(&config, *recovered),
            Err(error) => return self.refused(&error),
        };
        let replica = match opened {
            Ok(replica) => replica,
            Err(error) => return broken(format!("the log can't be used: {error}")),
        };
        // What was read so is as good as if it were right.
        self.rot = None;
        let raft = Raft {
            replica,
            directory,
            batch: None,
            cluster: Cluster::default(),
            applied: 0,
            term: Term(0),
            leads: false,
            pending: BTreeMap::new(),
            answers: vec![],
            changed: false,
            pace: Pace::new(self.tempo.clock_leap),
        };
        let first_port = u16::try_from(20_000 + self.dice.below(10_000)).unwrap_or(20_000);
        self.daemon = Some(Daemon {
            raft,
            leader: None,
            talk: None,
            agent: Agent::new(Node::new(first_port)),
            pulls: BTreeMap::new(),
            mail: BTreeMap::new(),
        });
        let tick = self.tempo.raft_tick.as_millis();
        self.due_in(u64::try_from(tick).unwrap_or(1), Due::Tick);
        self.restore_allocs()?;
        self.raft_goes_on()
    }

    /// A log that can't be trusted is refused, by the name of the file; whoever made it good may start the daemon.
    fn refused(&mut self, error: &impl std::error::Error) -> Go {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        let Some(rot) = &self.rot else { return broken(format!("the log can't be recovered: {text}")) };
        if !text.contains(&rot.file) {
            return broken(format!("{} is damaged, and this is said: {text}", rot.file));
        }
        note!(self, "the log is refused: {text}");
        self.tally.refusals += 1;
        self.mend_log();
        self.at(1000, crate::world::Event::Boot);
        Ok(())
    }

    pub(super) fn raft_ticks(&mut self) -> Go {
        self.daemon()?.raft.replica.tick();
        let tick = self.tempo.raft_tick.as_millis();
        self.due_in(u64::try_from(tick).unwrap_or(1), Due::Tick);
        self.raft_goes_on()
    }

    /// Offers a command to the log.
    pub(crate) fn propose(&mut self, command: Command, by: Proposer) -> Go {
        self.spark()?;
        note!(self, "{by:?} proposes {}", brief(&command));
        let (wall, up) = (self.wall(), self.up());
        let raft = &mut self.daemon()?.raft;
        let now = raft.pace.now(wall, up, &raft.cluster).now;
        let entry = Entry { now, command }.encode();
        match raft.replica.propose(entry) {
            Ok(place) => {
                raft.pending.insert(place.index, (place.term, by));
            }
            // There is nobody else who could lead, and little is under way.
            Err(error) => return broken(format!("a proposal is refused: {error}")),
        }
        self.raft_goes_on()
    }

    /// The disk does one thing of a batch.
    pub(super) fn disk_works(&mut self) -> Go {
        self.spark()?;
        let pause = self.dice.below(3);
        let raft = &mut self.daemon()?.raft;
        let Some((number, ops)) = &mut raft.batch else { return Ok(()) };
        let number = *number;
        if let Some(op) = ops.pop_front()
            && raft.directory.perform(&op).is_err()
        {
            // Nothing is known about the disk any more: opening it anew is how the daemon starts.
            return Err(Halt::Died);
        }
        if ops.is_empty() {
            raft.batch = None;
            raft.replica.persisted(number);
            return self.raft_goes_on();
        }
        self.due_in(pause, Due::Disk);
        Ok(())
    }

    fn raft_goes_on(&mut self) -> Go {
        loop {
            let effects = self.daemon()?.raft.replica.effects();
            if !self.carry_out_of_raft(effects)? {
                break;
            }
        }
        let raft = &mut self.daemon()?.raft;
        let answers = std::mem::take(&mut raft.answers);
        if std::mem::take(&mut raft.changed) {
            self.publish()?;
        }
        for (by, result) in answers {
            self.answer(&by, result)?;
        }
        Ok(())
    }

    /// True when there was something.
    fn carry_out_of_raft(&mut self, effects: Effects) -> Go<bool> {
        let Effects { write, install, apply, snapshot_wanted, fault, role, .. } = effects;
        let busy =
            write.is_some() || install.is_some() || !apply.is_empty() || snapshot_wanted || role.is_some();
        if fault.is_some() {
            return broken("the log can't take an entry");
        }
        if let Some((role, term)) = role {
            let raft = &mut self.daemon()?.raft;
            raft.leads &= role == Role::Leader && raft.term.0 == term;
            raft.term = Term(term);
        }
        if let Some(Snapshot { index, data }) = install {
            let raft = &mut self.daemon()?.raft;
            match Cluster::from_snapshot(&data) {
                Ok(cluster) => raft.cluster = cluster,
                Err(halt) => return broken(format!("a snapshot can't be read: {halt}")),
            }
            raft.applied = index;
            raft.changed = true;
            raft.replica.applied(index);
            self.compare(index)?;
        }
        for committed in apply {
            self.apply(committed.index, committed.term, &committed.payload)?;
        }
        if let Some(Batch { number, ops }) = write {
            self.daemon()?.raft.batch = Some((number, ops.into()));
            let pause = self.dice.below(3);
            self.due_in(pause, Due::Disk);
        }
        if snapshot_wanted {
            let raft = &mut self.daemon()?.raft;
            raft.replica.snapshot_made(raft.applied, raft.cluster.to_snapshot());
        }
        Ok(busy)
    }

    fn apply(&mut self, index: u64, term: u64, payload: &Payload) -> Go {
        let raft = &mut self.daemon()?.raft;
        if let Payload::Command(entry) = payload {
            match raft.cluster.apply(entry) {
                Ok(Err(Rejected::Invariant(what))) => {
                    return broken(format!("a command would have broken an invariant: {what}"));
                }
                Ok(result) => {
                    raft.changed = true;
                    if let Some((_, by)) = raft.pending.remove(&index).filter(|(mine, _)| *mine == term) {
                        raft.answers.push((by, result));
                    }
                }
                Err(halt) => return broken(format!("an entry can't be applied: {halt}")),
            }
        }
        raft.applied = index;
        raft.replica.applied(index);
        let new_leader = !raft.leads && raft.term.0 == term && raft.replica.role() == Role::Leader;
        if new_leader {
            raft.leads = true;
            raft.changed = true;
        }
        self.compare(index)
    }

    /// What was published before a crash must be there after it, exactly.
    fn compare(&mut self, index: u64) -> Go {
        let Some((published, truth)) = &self.truth else { return Ok(()) };
        let Some(daemon) = &self.daemon else { return Ok(()) };
        let raft = &daemon.raft;
        if index == *published && raft.cluster != *truth {
            return broken(format!("the state at index {index} isn't what it was before the crash"));
        }
        Ok(())
    }

    fn publish(&mut self) -> Go {
        let raft = &mut self.daemon()?.raft;
        let (applied, leads, term) = (raft.applied, raft.leads, raft.term);
        let cluster = raft.cluster.clone();
        if let Some((before, _)) = &self.truth
            && leads
            && applied < *before
        {
            return broken(format!("the log ends at {applied}, and {before} was acknowledged"));
        }
        if self.truth.as_ref().is_none_or(|(before, _)| *before <= applied) {
            self.judge_state(&cluster)?;
            self.truth = Some((applied, cluster));
        }
        if !leads {
            return Ok(());
        }
        if self.daemon()?.leader.as_ref().is_none_or(|leader| leader.term != term) {
            return self.begin_reign(term);
        }
        let daemon = self.daemon()?;
        daemon.post_change(Who::Leader);
        if daemon.talk.is_some() {
            daemon.post_change(Who::Session);
        }
        Ok(())
    }

    fn answer(&mut self, by: &Proposer, result: Result<Done, Rejected>) -> Go {
        if let Err(rejected) = &result {
            note!(self, "{by:?} is refused: {rejected}");
            self.tally.secrets_kept += u64::from(matches!(rejected, Rejected::SecretUsed { .. }));
        }
        match by {
            Proposer::Node => {}
            Proposer::User => {
                self.tally.secrets += u64::from(matches!(result, Ok(Done::SecretVersion(_))));
                if let Ok(Done::Deploy(id)) = result {
                    let deploy = self.daemon()?.raft.cluster.deploys.get(&id);
                    let is_roll = deploy.is_some_and(|d| matches!(d.kind, DeployKind::Roll { .. }));
                    let Some(project) = deploy.map(|deploy| deploy.project.clone()) else {
                        return broken(format!("deploy {id} is acknowledged and isn't there"));
                    };
                    self.acked.insert(id, project);
                    self.tally.deploys += 1;
                    self.tally.rolls += u64::from(is_roll);
                }
            }
            Proposer::Leader => {
                self.daemon()?.post(Who::Leader, Letter::Decided { applied: result.is_ok() });
            }
            &Proposer::Session { serial, sequence } => {
                let daemon = self.daemon()?;
                if daemon.talk.as_ref().is_some_and(|talk| talk.serial == serial) {
                    daemon.post(Who::Session, Letter::Written { sequence, result });
                }
            }
        }
        Ok(())
    }
}

/// A command in a few words.
fn brief(command: &Command) -> String {
    match command {
        Command::Bootstrap { .. } => "bootstrap".to_owned(),
        Command::RegisterNode(_) => "register".to_owned(),
        Command::BeginDeploy { target, kind, replace, .. } => {
            let services = target.services.iter().map(|spec| {
                let image = spec.container.image.tag.clone().unwrap_or_default();
                format!("{}×{} {image} {:?}", spec.name, spec.replicas, spec.update.order)
            });
            let services: Vec<String> = services.collect();
            format!("{kind:?} of {} (replace: {replace}): {}", target.name, services.join(", "))
        }
        Command::PlaceAllocs(allocs) => {
            let allocs: Vec<String> = allocs.iter().map(|new| format!("{}#{}", new.id, new.index)).collect();
            format!("place {}", allocs.join(" "))
        }
        Command::ReportAllocs { statuses, .. } => {
            let statuses = statuses.iter().map(|status| {
                format!("{}.{} {} r{}", status.id, status.incarnation, status.phase, status.revision)
            });
            format!("report {}", statuses.collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}
