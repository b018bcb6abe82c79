//! Timers and tasks: what an actor sends off and hears of again as a message.
//!
//! Both end with the life that began them, and put their message into that life's own mailbox: nothing of an
//! earlier life reaches a later one. A dropped handle also takes back a message that already waits.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use thiserror::Error;
use tokio::task::AbortHandle;

use super::actor::{Crash, Message, panic_text};
use super::address::Mailbox;

/// The hold on an errand: dropped, it ends it.
struct Hold {
    cancelled: Arc<AtomicBool>,
    abort: AbortHandle,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Release);
        self.abort.abort();
    }
}

/// A message to oneself, later. Dropped, it never arrives, not even if it already waits in the mailbox.
#[must_use = "a timer that is dropped is cancelled"]
pub struct Timer {
    hold: Hold,
}

impl Timer {
    /// Takes it back; the same as dropping it.
    pub fn cancel(self) {}
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timer({})", if self.hold.abort.is_finished() { "fired" } else { "waits" })
    }
}

/// Work beside the mailbox. Dropped, it is aborted at its next await, and its result never arrives.
#[must_use = "a task that is dropped is aborted"]
pub struct Task {
    hold: Hold,
    name: &'static str,
}

impl Task {
    /// What it was called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it has ended; its result may still wait in the mailbox.
    pub fn is_finished(&self) -> bool {
        self.hold.abort.is_finished()
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({}, {})", self.name, if self.is_finished() { "ended" } else { "runs" })
    }
}

/// A task panicked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("task `{task}` panicked: {text}")]
pub struct TaskPanicked {
    /// Its name.
    pub task: &'static str,
    /// What the panic said.
    pub text: String,
}

pub(super) fn after<M: Message>(mailbox: &Mailbox<M>, delay: Duration, msg: M) -> Timer {
    let cancelled = Arc::new(AtomicBool::new(false));
    let (to, mark) = (mailbox.clone(), Arc::clone(&cancelled));
    let hold = send_off(mailbox, cancelled, async move {
        tokio::time::sleep(delay).await;
        // Refused only when the life is over, and its messages with it.
        let _ = to.put(msg, Some(mark), usize::MAX);
    });
    Timer { hold }
}

pub(super) fn task<M, F>(
    mailbox: &Mailbox<M>,
    name: &'static str,
    future: F,
    done: impl FnOnce(Result<F::Output, TaskPanicked>) -> M + Send + 'static,
) -> Task
where
    M: Message,
    F: Future + Send + 'static,
    F::Output: Send,
{
    let cancelled = Arc::new(AtomicBool::new(false));
    let (to, mark) = (mailbox.clone(), Arc::clone(&cancelled));
    // A future that is awaited by one that owns it is kept twice in that. In a box it isn't: the wait for a container's
    // end had grown to 14 KB so.
    let caught = Box::pin(AssertUnwindSafe(future).catch_unwind());
    let hold = send_off(mailbox, cancelled, async move {
        let result = caught.await;
        let result = result.map_err(|panic| TaskPanicked { task: name, text: panic_text(&*panic) });
        match std::panic::catch_unwind(AssertUnwindSafe(|| done(result))) {
            Ok(msg) => {
                let _ = to.put(msg, Some(mark), usize::MAX);
            }
            // The room would wait for ever for a message that can't be made.
            Err(panic) => to.life.fail(Crash::panicked(&*panic)),
        }
    });
    Task { hold, name }
}

fn send_off<M>(
    mailbox: &Mailbox<M>,
    cancelled: Arc<AtomicBool>,
    errand: impl Future<Output = ()> + Send + 'static,
) -> Hold {
    let over = mailbox.life.over.clone();
    let errand = Box::pin(errand);
    let bounded = async move {
        let _ = over.run_until_cancelled(errand).await;
    };
    Hold { cancelled, abort: mailbox.life.tasks.spawn(bounded).abort_handle() }
}
