//! The leader's session with the node.

use mill_control::dispatch::News;
use mill_control::fetch::Fetched;
use mill_control::leader::session::{Dispatch, Session};
use mill_model::Term;

use super::raft::{NODE, Proposer};
use super::{Due, Letter, Who};
use crate::world::log::note;
use crate::world::{Go, World};

/// One session.
pub(crate) struct Talk {
    /// Letters of earlier ones aren't read.
    pub(crate) serial: u64,
    term: Term,
    session: Option<Session>,
    ordering: bool,
    caught_up: bool,
}

impl World {
    pub(super) fn begin_session(&mut self) -> Go {
        let serial = self.number();
        let daemon = self.daemon()?;
        let Some(term) = daemon.leader.as_ref().map(|leader| leader.term) else { return Ok(()) };
        daemon.burn(&Who::Session);
        daemon.talk = Some(Talk { serial, term, session: None, ordering: false, caught_up: false });
        daemon.post(Who::Agent, Letter::Open { term, serial });
        Ok(())
    }

    pub(crate) fn session_crashes(&mut self) {
        let Some(daemon) = &mut self.daemon else { return };
        if daemon.talk.take().is_some() {
            daemon.burn(&Who::Session);
            note!(self, "the session crashes");
            self.tally.session_losses += 1;
            self.due_in(50, Due::SessionAgain);
        }
    }

    pub(super) fn session_reads(&mut self, letter: Letter) -> Go {
        let Some(talk) = &mut self.daemon()?.talk else { return Ok(()) };
        match letter {
            Letter::Opened(Ok(inventory)) => {
                talk.session = Some(Session::open(NODE, talk.term, &inventory));
                self.daemon()?.post(Who::Leader, Letter::Fetched(Fetched::new()));
                self.speak()
            }
            Letter::Opened(Err(_)) | Letter::CaughtUp(Err(_)) => {
                self.session_crashes();
                Ok(())
            }
            Letter::Changed => self.speak(),
            Letter::Answered(acks) => {
                talk.ordering = false;
                if let Some(session) = &mut talk.session {
                    acks.iter().for_each(|ack| session.acked(ack));
                }
                if !talk.caught_up {
                    let term = talk.term;
                    self.daemon()?.post(Who::Agent, Letter::AllSaid { term });
                    return Ok(());
                }
                self.speak()
            }
            Letter::CaughtUp(Ok(())) => {
                talk.caught_up = true;
                self.speak()
            }
            Letter::Said(News::Images(images)) => {
                self.daemon()?.post(Who::Leader, Letter::Fetched(images));
                Ok(())
            }
            Letter::Said(News::Statuses(batch)) => {
                let serial = talk.serial;
                let Some(session) = &mut talk.session else { return Ok(()) };
                let command = session.reported(&batch);
                self.propose(command, Proposer::Session { serial, sequence: Some(batch.sequence) })?;
                self.speak()
            }
            Letter::Written { sequence, result } => {
                if result.is_err() {
                    self.session_crashes();
                } else if let Some(sequence) = sequence {
                    self.daemon()?.post(Who::Agent, Letter::Acknowledged { sequence });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn speak(&mut self) -> Go {
        let daemon = self.daemon()?;
        let Some(talk) = &mut daemon.talk else { return Ok(()) };
        let Some(session) = talk.session.as_mut().filter(|_| !talk.ordering) else { return Ok(()) };
        let fetches = daemon.leader.as_ref().and_then(|leader| leader.fetching.asked.get(&NODE));
        let fetches = fetches.cloned().unwrap_or_default();
        let Dispatch { orders, command } = session.next(&daemon.raft.cluster, &fetches);
        let serial = talk.serial;
        if !orders.is_empty() || !talk.caught_up {
            talk.ordering = true;
            daemon.post(Who::Agent, Letter::Orders { serial, orders: orders.into(), acks: vec![] });
        }
        match command {
            Some(command) => self.propose(command, Proposer::Session { serial, sequence: None }),
            None => Ok(()),
        }
    }
}
