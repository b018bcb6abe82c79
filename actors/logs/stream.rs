//! Captures one stream.
//!
//! - owns: the capture of one container's output
//! - told by: the readers' room, its own capture
//! - fails when: the pipe can't be opened or has another reader (an earlier life's last write, for a moment)
//! - restarted by: the readers' room, however often

use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mill_drivers::logs::{Capture, LogError, Logs, Moved, StreamName};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::kit::{self, Address, Crash, Me, Task, TaskPanicked};

/// The room.
pub(super) struct Reader<L>(PhantomData<fn() -> L>);

/// What it is told.
#[derive(Debug)]
pub(super) enum Msg {
    /// The container is gone: what is in the pipe is all that will come.
    Ended,
    /// The capture has ended.
    Captured(Result<Result<(), LogError>, TaskPanicked>),
}

impl kit::Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Captured(_) => "captured",
        }
    }
}

/// What it starts with.
#[derive(Clone)]
pub(super) struct Args<L> {
    pub(super) name: StreamName,
    pub(super) fifo: PathBuf,
    /// Whether the container is gone; also said by a message, for one that waits for output.
    pub(super) ended: Arc<AtomicBool>,
    pub(super) logs: L,
    pub(super) readers: Address<super::Msg>,
}

/// What was moved, in this life.
#[derive(Default)]
struct Counts {
    kept: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    fn add(&self, moved: Moved) {
        self.kept.fetch_add(moved.kept, Ordering::Relaxed);
        self.dropped.fetch_add(moved.dropped, Ordering::Relaxed);
    }
}

/// What it holds.
pub(super) struct State {
    name: StreamName,
    readers: Address<super::Msg>,
    counts: Arc<Counts>,
    /// Rung when the container is gone.
    end: Arc<Notify>,
    ended: Arc<AtomicBool>,
    _capturing: Option<Task>,
}

impl State {
    fn captured(&self, result: Result<Result<(), LogError>, TaskPanicked>) -> Result<(), Crash> {
        result??;
        // A room that is between two lives starts this one anew, and it is drained again.
        let _ = self.readers.tell(super::Msg::Drained(self.name.clone()));
        Ok(())
    }
}

/// Captures until the container is gone and nothing is left.
async fn capture<C: Capture>(mut capture: C, end: Arc<Notify>, counts: Arc<Counts>) -> Result<(), LogError> {
    loop {
        tokio::select! {
            biased;
            () = end.notified() => break,
            moved = capture.pump() => counts.add(moved?),
        }
    }
    counts.add(capture.drain().await?);
    Ok(())
}

impl<L: Logs> kit::Actor for Reader<L> {
    type Msg = Msg;
    type Args = Args<L>;
    type State = State;

    async fn start(me: &Me<Self>, args: Args<L>) -> Result<State, Crash> {
        let Args { name, fifo, ended, logs, readers } = args;
        let opened = logs.capture(&name, &fifo).await;
        let gone = |source: &io::Error| source.kind() == io::ErrorKind::NotFound;
        let mut state = State {
            name,
            readers,
            counts: Arc::default(),
            end: Arc::new(Notify::new()),
            ended,
            _capturing: None,
        };
        match opened {
            Ok(opened) => {
                if state.ended.load(Ordering::Acquire) {
                    state.end.notify_one();
                }
                let work = capture(opened, Arc::clone(&state.end), Arc::clone(&state.counts));
                state._capturing = Some(me.task("capture", work, Msg::Captured));
            }
            // The daemon has removed it because it was drained, and the tables don't say so yet.
            Err(LogError::Open { source, .. }) if gone(&source) && state.ended.load(Ordering::Acquire) => {
                state.captured(Ok(Ok(())))?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(state)
    }

    async fn handle(_me: &Me<Self>, msg: Msg, state: &mut State) -> Result<(), Crash> {
        match msg {
            Msg::Ended => state.end.notify_one(),
            Msg::Captured(result) => state.captured(result)?,
        }
        Ok(())
    }

    fn observe(state: &State) -> Value {
        json!({
            "kept_bytes": state.counts.kept.load(Ordering::Relaxed),
            "dropped_bytes": state.counts.dropped.load(Ordering::Relaxed),
            "ended": state.ended.load(Ordering::Acquire),
        })
    }
}
