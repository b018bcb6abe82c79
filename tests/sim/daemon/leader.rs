//! The leader: decides, proposes, decides again when all of it is answered.

use mill_control::fetch::Fetching;
use mill_control::leader::{Decision, Facts, decide};
use mill_fsm::Command;
use mill_model::node::NodeFacts;
use mill_model::{Bytes, Millicores, NodeName, Resources, Term};

use super::raft::{NODE, Proposer};
use super::{Due, Letter, Who};
use crate::world::log::note;
use crate::world::{Go, World, broken};

/// One reign.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) term: Term,
    /// Proposals without an answer, and whether any was applied.
    writing: usize,
    applied: bool,
    changed_meanwhile: bool,
    timer: u64,
    pub(crate) fetching: Fetching,
}

impl World {
    /// The log says that this node leads.
    pub(super) fn begin_reign(&mut self, term: Term) -> Go {
        let daemon = self.daemon()?;
        let known = daemon.raft.cluster.is_bootstrapped();
        daemon.leader = Some(Leader {
            term,
            writing: 0,
            applied: false,
            changed_meanwhile: false,
            timer: 0,
            fetching: Fetching::default(),
        });
        daemon.post_change(Who::Leader);
        let Some(node) = self.facts() else { return broken("the node has no name") };
        let command = match known {
            true => Command::RegisterNode(node),
            false => Command::Bootstrap {
                cluster_id: "sim".to_owned(),
                node,
                admin_token_hash: [1; 32],
                ca_certificate: String::new(),
            },
        };
        self.propose(command, Proposer::Node)?;
        if self.wild && self.dice.percent(self.weather.leader_is_late) {
            let ms = self.dice.below(200_000);
            note!(self, "no leader speaks to the node for {ms} ms");
            self.tally.leaderless += 1;
            self.due_in(ms, Due::SessionAgain);
            return Ok(());
        }
        self.begin_session()
    }

    fn facts(&self) -> Option<NodeFacts> {
        let capacity = Resources { cpu: Millicores(self.user.capacity), memory: Bytes(64 << 30) };
        Some(NodeFacts {
            id: NODE,
            name: NodeName::new("node-1").ok()?,
            advertise: std::net::Ipv4Addr::LOCALHOST.into(),
            capacity,
            version: "0".to_owned(),
        })
    }

    pub(super) fn leader_reads(&mut self, letter: Letter) -> Go {
        let Some(leader) = &mut self.daemon()?.leader else { return Ok(()) };
        match letter {
            Letter::Decided { applied } => {
                leader.applied |= applied;
                leader.writing = leader.writing.saturating_sub(1);
                if leader.writing > 0 {
                    return Ok(());
                }
                let again =
                    std::mem::take(&mut leader.changed_meanwhile) | std::mem::take(&mut leader.applied);
                if again { self.decide() } else { Ok(()) }
            }
            Letter::Fetched(images) => {
                leader.fetching.said.insert(NODE, images);
                self.decide()
            }
            _ => self.decide(),
        }
    }

    pub(super) fn leader_round(&mut self, generation: u64) -> Go {
        let daemon = self.daemon()?;
        if daemon.leader.as_ref().is_some_and(|leader| leader.timer == generation) {
            daemon.post(Who::Leader, Letter::Round);
        }
        Ok(())
    }

    fn decide(&mut self) -> Go {
        let (wall, up, timer) = (self.wall(), self.up(), self.number());
        let tempo = std::sync::Arc::clone(&self.tempo);
        let daemon = self.daemon()?;
        let cluster = daemon.raft.cluster.clone();
        let Some(leader) = &mut daemon.leader else { return Ok(()) };
        if leader.writing > 0 {
            leader.changed_meanwhile = true;
            return Ok(());
        }
        leader.timer = timer;
        let now = daemon.raft.pace.now(wall, up, &cluster).now;
        let fetching = leader.fetching.clone();
        let facts = Facts { cluster: &cluster, fetching: &fetching, now, tempo: &tempo };
        let dice = &mut self.dice;
        let Decision { commands, fetches, wake } = decide(&facts, &mut || dice.draw());
        let round = wake.map_or(tempo.leader_round, |wake| wake.since(now).min(tempo.leader_round));
        self.due_in(u64::try_from(round.as_millis()).unwrap_or(1000), Due::Round(timer));
        self.judge_decision(&cluster, &commands)?;
        let daemon = self.daemon()?;
        if let Some(leader) = &mut daemon.leader {
            leader.writing = commands.len();
            if leader.fetching.asked != fetches {
                leader.fetching.asked = fetches;
                daemon.post_change(Who::Session);
            }
        }
        for command in commands {
            self.propose(command, Proposer::Leader)?;
        }
        Ok(())
    }
}
