//! Answers made up by a test, per address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;

use super::{ProbeFailure, Probes};

/// How a fake program answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is well.
    Well,
    /// It answers that it isn't.
    Ill,
    /// It accepts and says nothing: checks time out.
    Silent,
}

/// Programs that listen somewhere and answer as told. Where none was told of, nothing listens.
#[derive(Debug, Default, Clone)]
pub struct FakeProbes {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    answers: BTreeMap<SocketAddr, Answer>,
    asked: u64,
}

impl FakeProbes {
    /// From now on a program at `at` answers so; `None`: it's gone.
    pub fn answer(&self, at: SocketAddr, answer: Option<Answer>) {
        let answers = &mut self.lock().answers;
        match answer {
            Some(answer) => drop(answers.insert(at, answer)),
            None => drop(answers.remove(&at)),
        }
    }

    /// Checks so far.
    pub fn asked(&self) -> u64 {
        self.lock().asked
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self, at: SocketAddr) -> Result<Answer, ProbeFailure> {
        let mut state = self.lock();
        state.asked += 1;
        state.answers.get(&at).copied().ok_or(ProbeFailure::Refused { at })
    }

    async fn ask(&self, at: SocketAddr, timeout: Duration) -> Result<Answer, ProbeFailure> {
        let answer = self.connect(at)?;
        if answer == Answer::Silent {
            tokio::time::sleep(timeout).await;
            return Err(ProbeFailure::TimedOut { at, after: timeout });
        }
        Ok(answer)
    }
}

impl Probes for FakeProbes {
    async fn http(&self, at: SocketAddr, path: &str, timeout: Duration) -> Result<(), ProbeFailure> {
        match self.ask(at, timeout).await? {
            Answer::Well => Ok(()),
            _ => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Err(ProbeFailure::Status { at, path: path.to_owned(), status })
            }
        }
    }

    async fn tcp(&self, at: SocketAddr, _timeout: Duration) -> Result<(), ProbeFailure> {
        // What accepts and then says nothing, accepts.
        self.connect(at).map(drop)
    }

    async fn grpc(&self, at: SocketAddr, timeout: Duration) -> Result<(), ProbeFailure> {
        match self.ask(at, timeout).await? {
            Answer::Well => Ok(()),
            _ => Err(ProbeFailure::NotServing { at, status: "NOT_SERVING" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_answers_as_told_and_otherwise_nothing_listens() {
        let (probes, at, second) =
            (FakeProbes::default(), "127.0.0.1:20000".parse().unwrap(), Duration::from_secs(1));
        assert!(probes.tcp(at, second).await.unwrap_err().is_refused());
        for (answer, http, tcp) in
            [(Answer::Well, true, true), (Answer::Ill, false, true), (Answer::Silent, false, true)]
        {
            probes.answer(at, Some(answer));
            assert_eq!(probes.http(at, "/", second).await.is_ok(), http, "{answer:?}");
            assert_eq!(probes.grpc(at, second).await.is_ok(), http, "{answer:?}");
            assert_eq!(probes.tcp(at, second).await.is_ok(), tcp, "{answer:?}");
        }
        probes.answer(at, None);
        assert!(probes.http(at, "/", second).await.unwrap_err().is_refused());
    }
}
