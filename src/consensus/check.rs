//! What a message must be before raft-rs sees it: there, most of these end the process.

use protobuf::{Message as _, ProtobufEnum as _};
use raft::eraftpb::{EntryType, Message, MessageType};
use thiserror::Error;

use crate::{Mark, log};

/// Why a message from another node was not taken in. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StepError {
    /// Not one of Raft's messages.
    #[error("the bytes are no raft message")]
    Garbage,
    /// A kind that no node sends to another.
    #[error("raft message of kind {kind} doesn't come from other nodes")]
    Local {
        /// raft-rs's number for it.
        kind: i32,
    },
    /// For another node, from nobody, or from this one.
    #[error("raft message from node {from} to node {to} isn't for this node")]
    Address {
        /// Its sender.
        from: u64,
        /// Its receiver.
        to: u64,
    },
    /// Its fields contradict each other.
    #[error("raft message from node {from} contradicts itself")]
    Nonsense {
        /// Its sender.
        from: u64,
    },
    /// The leader knows that this node persisted entries which it doesn't have: its disk lost what it had
    /// confirmed. It must leave and join anew.
    #[error("the leader counts on index {expected}, the log here ends at {last}")]
    LostLog {
        /// What the leader counts on.
        expected: u64,
        /// What there is.
        last: u64,
    },
    /// An answer from a node that isn't a member.
    #[error("node {from} is no member")]
    Stranger {
        /// Who.
        from: u64,
    },
}

/// What a check needs to know of the node.
pub(crate) struct Here {
    pub(crate) id: u64,
    pub(crate) term: u64,
    pub(crate) last: u64,
    pub(crate) entry_bytes_max: usize,
}

/// Reads and checks a message.
pub(crate) fn message(bytes: &[u8], here: &Here) -> Result<Message, StepError> {
    use MessageType as M;
    let message = Message::parse_from_bytes(bytes).map_err(|_| StepError::Garbage)?;
    let (from, to, kind) = (message.from, message.to, message.get_msg_type());
    if from == 0 || from == here.id || to != here.id {
        return Err(StepError::Address { from, to });
    }
    let sound = match kind {
        // Term 0 is what raft-rs finds behind its log's end, and takes for a match.
        M::MsgAppend => {
            message.term > 0
                && (message.index == 0) == (message.log_term == 0)
                && entries_follow(&message, here.entry_bytes_max)
        }
        M::MsgSnapshot => {
            let mark = log::to_mark(message.get_snapshot());
            let whole = |mark: Mark| mark.index > 0 && mark.term > 0 && !mark.members.voters.is_empty();
            message.term > 0 && mark.is_some_and(whole)
        }
        M::MsgAppendResponse => message.term > 0 && message.request_snapshot == 0,
        M::MsgHeartbeat | M::MsgHeartbeatResponse | M::MsgTimeoutNow => message.term > 0,
        M::MsgRequestVote | M::MsgRequestVoteResponse => message.term > 0,
        M::MsgRequestPreVote | M::MsgRequestPreVoteResponse => message.term > 0,
        M::MsgReadIndex => message.term == 0 && message.entries.len() == 1,
        M::MsgReadIndexResp => message.term > 0 && message.entries.len() == 1,
        // Proposals too: nobody would hear of a forwarded one's fate.
        M::MsgPropose | M::MsgTransferLeader | M::MsgHup | M::MsgBeat => return Err(local(kind)),
        M::MsgUnreachable | M::MsgSnapStatus | M::MsgCheckQuorum => return Err(local(kind)),
    };
    if !sound {
        return Err(StepError::Nonsense { from });
    }
    if kind == M::MsgAppendResponse
        && message.term == here.term
        && !message.reject
        && message.index > here.last
    {
        return Err(StepError::Nonsense { from });
    }
    if kind == M::MsgHeartbeat && message.term >= here.term && message.commit > here.last {
        return Err(StepError::LostLog { expected: message.commit, last: here.last });
    }
    Ok(message)
}

fn local(kind: MessageType) -> StepError {
    StepError::Local { kind: kind.value() }
}

/// Entries count up from the message's index, their terms don't fall, and each is of a kind and length that Mill
/// makes.
fn entries_follow(message: &Message, bytes_max: usize) -> bool {
    let (mut index, mut term) = (message.index, message.log_term);
    message.get_entries().iter().all(|entry| {
        let follows = index.checked_add(1) == Some(entry.index) && entry.term >= term;
        (index, term) = (entry.index, entry.term);
        let short = entry.data.len() <= bytes_max;
        follows && short && term <= message.term && entry.get_entry_type() != EntryType::EntryConfChange
    })
}
