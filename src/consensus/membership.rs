//! Who takes part, and how that may change.

use std::collections::BTreeSet;

use protobuf::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState};
use thiserror::Error;

/// Most voters: five survive two failures; more only make each commit wait for more disks.
pub const VOTERS_MAX: usize = 5;

/// The members of a cluster.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Who votes.
    pub voters: BTreeSet<u64>,
    /// Who gets the log but doesn't vote (yet).
    pub learners: BTreeSet<u64>,
    /// Who voted before; while a change is under way its majority counts too. Empty otherwise.
    pub outgoing: BTreeSet<u64>,
}

impl Membership {
    /// A new cluster's: one voter.
    pub fn sole(id: u64) -> Self {
        Self { voters: BTreeSet::from([id]), ..Self::default() }
    }

    /// Whether this node takes part at all.
    pub fn contains(&self, id: u64) -> bool {
        self.voters.contains(&id) || self.learners.contains(&id) || self.outgoing.contains(&id)
    }

    /// For the log on disk.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Writing a message of numbers to memory has no way to fail.
        self.to_proto().write_to_bytes().unwrap_or_default()
    }

    /// From the log on disk; nothing if the bytes aren't of consistent members.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::from_proto(&ConfState::parse_from_bytes(bytes).ok()?)
    }

    pub(crate) fn to_proto(&self) -> ConfState {
        let mut state = ConfState::default();
        state.set_voters(self.voters.iter().copied().collect());
        state.set_learners(self.learners.iter().copied().collect());
        state.set_voters_outgoing(self.outgoing.iter().copied().collect());
        state
    }

    /// Nothing if the members contradict each other, or use what Mill doesn't: raft-rs would panic.
    pub(crate) fn from_proto(state: &ConfState) -> Option<Self> {
        let members = Self {
            voters: state.get_voters().iter().copied().collect(),
            learners: state.get_learners().iter().copied().collect(),
            outgoing: state.get_voters_outgoing().iter().copied().collect(),
        };
        members.is_consistent(state).then_some(members)
    }

    fn is_consistent(&self, state: &ConfState) -> bool {
        let voting = self.voters.union(&self.outgoing);
        let nobody = self.voters.is_empty() && self.outgoing.is_empty() && self.learners.is_empty();
        (nobody || !self.voters.is_empty())
            && voting.chain(&self.learners).all(|id| *id != 0)
            && self.learners.is_disjoint(&self.voters)
            && self.learners.is_disjoint(&self.outgoing)
            && self.voters.len() == state.get_voters().len()
            && self.learners.len() == state.get_learners().len()
            && self.outgoing.len() == state.get_voters_outgoing().len()
            && state.get_learners_next().is_empty()
            && !state.get_auto_leave()
    }
}

/// A wish to change the members, taken in one step: a voter is replaced without a moment in which fewer failures
/// are survived.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Change {
    /// Nodes that shall get the log.
    pub add: BTreeSet<u64>,
    /// Learners that shall vote.
    pub promote: BTreeSet<u64>,
    /// Members that shall leave.
    pub remove: BTreeSet<u64>,
}

/// Why a change isn't made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeRefused {
    /// Only the leader can.
    #[error("this node isn't the leader")]
    NotLeader {
        /// Who is, if known.
        leader: Option<u64>,
    },
    /// One change at a time.
    #[error("another change of the members is under way")]
    Pending,
    /// Nothing was asked for.
    #[error("the change is empty")]
    Empty,
    /// It is a member already.
    #[error("node {id} is a member already")]
    Member {
        /// Who.
        id: u64,
    },
    /// It isn't a member.
    #[error("node {id} is no member")]
    Unknown {
        /// Who.
        id: u64,
    },
    /// Learner first, voter when caught up.
    #[error("node {id} is no learner")]
    NotLearner {
        /// Who.
        id: u64,
    },
    /// It doesn't have the log yet.
    #[error("node {id} lacks {entries} entries")]
    Behind {
        /// Who.
        id: u64,
        /// How many it lacks.
        entries: u64,
    },
    /// See [`VOTERS_MAX`].
    #[error("{voters} voters are more than {VOTERS_MAX}")]
    TooMany {
        /// How many there would be.
        voters: usize,
    },
    /// An even number survives no more failures than one less.
    #[error("{voters} voters are an even number")]
    Even {
        /// How many there would be.
        voters: usize,
    },
    /// The leader took it in but dropped it.
    #[error("the leader is busy")]
    Busy,
}

impl Change {
    /// The members after it.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self, members: &Membership) -> Result<Membership, ChangeRefused> {
        if !members.outgoing.is_empty() {
            return Err(ChangeRefused::Pending);
        }
        if self.add.is_empty() && self.promote.is_empty() && self.remove.is_empty() {
            return Err(ChangeRefused::Empty);
        }
        if let Some(&id) = self.add.iter().find(|id| members.contains(**id)) {
            return Err(ChangeRefused::Member { id });
        }
        if let Some(&id) = self.promote.iter().find(|id| !members.learners.contains(id)) {
            return Err(ChangeRefused::NotLearner { id });
        }
        let stays = |id: &&u64| !members.contains(**id) || self.promote.contains(id);
        if let Some(&id) = self.remove.iter().find(stays) {
            return Err(ChangeRefused::Unknown { id });
        }
        let mut after = members.clone();
        after.learners.extend(&self.add);
        after.learners.retain(|id| !self.promote.contains(id) && !self.remove.contains(id));
        after.voters.extend(&self.promote);
        after.voters.retain(|id| !self.remove.contains(id));
        let voters = after.voters.len();
        if voters > VOTERS_MAX {
            return Err(ChangeRefused::TooMany { voters });
        }
        if after.voters != members.voters && voters.is_multiple_of(2) {
            return Err(ChangeRefused::Even { voters });
        }
        Ok(after)
    }

    /// A change of one member is simple; several go through a joint configuration, which we leave ourselves
    /// (see the crate's documentation).
    pub(crate) fn to_proto(&self) -> ConfChangeV2 {
        let kinds = [
            (&self.add, ConfChangeType::AddLearnerNode),
            (&self.promote, ConfChangeType::AddNode),
            (&self.remove, ConfChangeType::RemoveNode),
        ];
        let mut changes = vec![];
        for (ids, kind) in kinds {
            for &id in ids {
                let mut single = ConfChangeSingle::default();
                single.set_change_type(kind);
                single.set_node_id(id);
                changes.push(single);
            }
        }
        let mut change = ConfChangeV2::default();
        if changes.len() > 1 {
            change.set_transition(ConfChangeTransition::Explicit);
        }
        change.set_changes(changes.into());
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    #[test]
    fn the_rules_of_membership_as_a_table() {
        let members = |voters: &[u64], learners: &[u64]| Membership {
            voters: set(voters),
            learners: set(learners),
            outgoing: set(&[]),
        };
        let change = |add: &[u64], promote: &[u64], remove: &[u64]| Change {
            add: set(add),
            promote: set(promote),
            remove: set(remove),
        };
        let table = [
            (members(&[1], &[]), change(&[2], &[], &[]), Ok(members(&[1], &[2]))),
            (members(&[1], &[]), change(&[], &[2], &[]), Err(ChangeRefused::NotLearner { id: 2 })),
            (members(&[1], &[2]), change(&[], &[2], &[]), Err(ChangeRefused::Even { voters: 2 })),
            (members(&[1], &[2, 3]), change(&[], &[2, 3], &[]), Ok(members(&[1, 2, 3], &[]))),
            (members(&[1, 2, 3], &[4]), change(&[], &[4], &[2]), Ok(members(&[1, 3, 4], &[]))),
            (members(&[1, 2, 3], &[]), change(&[], &[], &[2]), Err(ChangeRefused::Even { voters: 2 })),
            (members(&[1, 2, 3], &[]), change(&[], &[], &[1, 2]), Ok(members(&[3], &[]))),
            (members(&[1], &[]), change(&[], &[], &[1]), Err(ChangeRefused::Even { voters: 0 })),
            (
                members(&[1, 2, 3, 4, 5], &[6, 7]),
                change(&[], &[6, 7], &[]),
                Err(ChangeRefused::TooMany { voters: 7 }),
            ),
            (members(&[1], &[2]), change(&[2], &[], &[]), Err(ChangeRefused::Member { id: 2 })),
            (members(&[1], &[]), change(&[], &[], &[9]), Err(ChangeRefused::Unknown { id: 9 })),
            (members(&[1], &[2]), change(&[], &[2], &[2]), Err(ChangeRefused::Unknown { id: 2 })),
            (members(&[1], &[2]), change(&[], &[], &[2]), Ok(members(&[1], &[]))),
            (members(&[1], &[]), change(&[], &[], &[]), Err(ChangeRefused::Empty)),
        ];
        for (before, change, after) in table {
            assert_eq!(change.check(&before), after, "{before:?} {change:?}");
        }
        let joint = Membership { outgoing: set(&[1]), ..members(&[1, 2, 3], &[]) };
        assert_eq!(change(&[4], &[], &[]).check(&joint), Err(ChangeRefused::Pending));
    }

    #[test]
    fn members_read_back_and_contradicting_ones_are_refused() {
        let members = Membership { voters: set(&[1, 2]), learners: set(&[3]), outgoing: set(&[1]) };
        assert_eq!(Membership::from_bytes(&members.to_bytes()), Some(members.clone()));
        assert_eq!(Membership::from_bytes(&[]), Some(Membership::default()));
        for wrong in [
            Membership { learners: set(&[1]), ..members.clone() },
            Membership { voters: set(&[]), ..members.clone() },
            Membership { voters: set(&[0]), ..members },
        ] {
            assert_eq!(Membership::from_bytes(&wrong.to_bytes()), None, "{wrong:?}");
        }
        assert_eq!(Membership::from_bytes(b"\xff\xff"), None);
    }
}
