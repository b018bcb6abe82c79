//! Writes that are done once, however often they are asked for (`Idempotency-Key`).
//!
//! # Why
//! - **In the state**, so that it holds across a restart of a daemon and a change of leaders, and in the entry that does
//!   the write: there is no moment at which one is known and the other isn't.
//! - **What was made is kept, and not the answer**: answers are made from the state, and some hold what nobody may keep.
//!   Where an answer can't be made any more, since what it shows is gone, its text is given along.
//! - **Neither the key nor a plain hash of the request.** The request's hash is made with the key, which nobody keeps:
//!   a secret that was sent can't be guessed from it.
//! - **Only what was done.** A refused write may be asked for again.

use mill_model::Timestamp;
use mill_model::limits::{ONCE_KEPT, ONCE_KEPT_FOR};

use crate::cluster::Cluster;
use crate::command::{Applied, Done};
use crate::rejected::Rejected;

/// A write that shall be done once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// SHA-256 of who asks and the key that they gave.
    pub key: [u8; 32],
    /// SHA-256 of the key and all that was asked.
    pub request: [u8; 32],
    /// The answer, where it can't be made later; at most [`mill_model::limits::ONCE_ANSWER_BYTES_MAX`].
    pub answer: Option<String>,
}

/// One that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoneOnce {
    /// It.
    pub once: Once,
    /// When, by the state's time.
    pub at: Timestamp,
    /// What it made.
    pub done: Done,
}

impl Cluster {
    /// What was done under the key, if that is remembered.
    ///
    /// # Errors
    /// It was something else.
    pub fn done_before(&self, once: &Once) -> Result<Option<&DoneOnce>, Rejected> {
        let of_key =
            |before: &&DoneOnce| before.once.key == once.key && self.time < before.at.after(ONCE_KEPT_FOR);
        match self.once.iter().rev().find(of_key) {
            Some(before) if before.once.request != once.request => Err(Rejected::KeyReused),
            before => Ok(before),
        }
    }

    /// What a repeated write is told; `None`: it is none.
    pub(crate) fn repeated(&self, once: Option<&Once>) -> Option<Applied> {
        self.done_before(once?).map(|before| Some(before?.done.clone())).transpose()
    }

    pub(crate) fn keep_once(&mut self, once: Once, done: Done) {
        self.once.push_back(DoneOnce { once, at: self.time, done });
        let is_over = |before: &DoneOnce| before.at.after(ONCE_KEPT_FOR) <= self.time;
        while self.once.len() > ONCE_KEPT || self.once.front().is_some_and(is_over) {
            self.once.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use mill_model::{RegistryHost, Role};

    use super::*;
    use crate::access::Author;
    use crate::command::{Command, Entry, NewToken};

    fn once(key: u8, request: u8) -> Once {
        Once { key: [key; 32], request: [request; 32], answer: None }
    }

    fn keyed(key: u32, once: Once, name: &str) -> Command {
        let author = Author { token: "ann".into(), from: "10.0.0.9".into(), what: "POST /v1/tokens".into() };
        let mut hash = [7; 32];
        hash[..4].copy_from_slice(&key.to_be_bytes());
        let name = name.parse().unwrap();
        let new = NewToken { name, role: Role::Viewer, hash, expires_at: None, by: "ann".into() };
        Command::Audited { author, once: Some(once), command: Box::new(Command::CreateToken(new)) }
    }

    fn apply(cluster: &mut Cluster, now: u64, command: &Command) -> Applied {
        let bytes = Entry { now: Timestamp(now), command: command.clone() }.encode();
        assert_eq!(Entry::decode(&bytes).unwrap().command, *command);
        let done = cluster.apply(&bytes).unwrap();
        cluster.check().unwrap();
        done
    }

    #[test]
    fn a_repeated_write_is_done_once_and_told_the_same_after_a_restart_too() {
        let mut cluster = crate::tests::bootstrapped();
        let first = apply(&mut cluster, 10, &keyed(1, once(1, 1), "ci"));
        let mut again = Cluster::from_snapshot(&cluster.to_snapshot()).unwrap();
        assert_eq!(again, cluster);
        assert_eq!(apply(&mut again, 11, &keyed(2, once(1, 1), "other")), first);
        assert_eq!((again.tokens.len(), again.audit.len()), (2, 1), "nothing was made or written down");
        assert_eq!(apply(&mut again, 12, &keyed(2, once(1, 2), "other")), Err(Rejected::KeyReused));
        assert!(apply(&mut again, 13, &keyed(2, once(2, 2), "other")).is_ok());
    }

    #[test]
    fn a_refused_write_may_be_asked_for_again() {
        let mut cluster = crate::tests::bootstrapped();
        let host: RegistryHost = "r.test".parse().unwrap();
        let author = Author { token: "ann".into(), from: "10.0.0.9".into(), what: "DELETE".into() };
        let forget = Command::DeleteRegistry { host };
        let forget = Command::Audited { author, once: Some(once(1, 1)), command: Box::new(forget) };
        assert!(matches!(apply(&mut cluster, 10, &forget), Err(Rejected::NoSuchRegistry(_))));
        assert!(apply(&mut cluster, 11, &keyed(1, once(1, 2), "ci")).is_ok(), "the key is as new");
    }

    #[test]
    fn what_is_remembered_is_bounded_in_number_and_in_time() {
        let mut cluster = crate::tests::bootstrapped();
        for number in 0..=ONCE_KEPT {
            let mut once = once(0, 0);
            once.key[..8].copy_from_slice(&(number as u64).to_be_bytes());
            cluster.keep_once(once, Done::Plain);
        }
        assert_eq!(cluster.once.len(), ONCE_KEPT);
        assert_eq!(cluster.done_before(&once(0, 0)), Ok(None), "the oldest made room");
        let day = u64::try_from(ONCE_KEPT_FOR.as_millis()).unwrap();
        let start = cluster.time.0;
        cluster.keep_once(once(9, 9), Done::Plain);
        cluster.time = Timestamp(start + day - 1);
        assert!(cluster.done_before(&once(9, 9)).unwrap().is_some());
        cluster.time = Timestamp(start + day);
        assert_eq!(cluster.done_before(&once(9, 9)), Ok(None));
        cluster.keep_once(once(8, 8), Done::Plain);
        assert_eq!(cluster.once.len(), 1);
    }
}
