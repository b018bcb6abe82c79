//! What a room says about itself: its behaviour, its messages, its crashes.

use std::any::Any;
use std::error::Error;
use std::fmt;

use super::me::Me;

/// A message says its name, for counts and for people.
pub trait Message: Send + 'static {
    /// The variant's name, `"exited"`: a fixed set, since counts are kept for each.
    fn name(&self) -> &'static str;
}

/// A room: behaviour without state of its own.
///
/// One message is handled at a time. A handler that awaits long blocks the room: hand long work to [`Me::task`].
pub trait Actor: Sized + Send + Sync + 'static {
    /// What it is told.
    type Msg: Message;
    /// What it starts with; cloned for every life.
    type Args: Clone + Send + Sync + 'static;
    /// What it holds during one life.
    type State: Send + 'static;

    /// Most messages that may wait: [`super::Address::offer`] and `ask` refuse beyond. A thousand small messages
    /// are well under a megabyte and under a second of work.
    const MAILBOX_MAX: usize = 1024;

    /// Begins a life. Messages sent meanwhile wait.
    fn start(me: &Me<Self>, args: Self::Args) -> impl Future<Output = Result<Self::State, Crash>> + Send;

    /// Handles one message. An error or a panic ends this life.
    fn handle(
        me: &Me<Self>,
        msg: Self::Msg,
        state: &mut Self::State,
    ) -> impl Future<Output = Result<(), Crash>> + Send;

    /// The last thing of a life that ends in order, after its children have ended. Not called after a crash, nor
    /// when the deadline of the stop has passed.
    fn stop(_me: &Me<Self>, _state: &mut Self::State) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// What `mill actors` shows of the state: small, no secrets.
    fn observe(state: &Self::State) -> serde_json::Value;
}

/// Why a life ended: any error, by `?`.
///
/// It is no [`Error`] itself: it couldn't be made of every other one then.
pub struct Crash {
    error: Box<dyn Error + Send + Sync>,
    from_outside: bool,
}

impl Crash {
    /// A crash for a reason that is no error of anyone's.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { error: reason.into().into(), from_outside: false }
    }

    /// A crash that is no fault of the actor's, and that another life of its parent wouldn't mend: a full disk. It is
    /// tried again for ever, after the pauses of any crash, and never given up.
    pub fn from_outside(error: impl Error + Send + Sync + 'static) -> Self {
        Self { error: error.into(), from_outside: true }
    }

    /// Whether it counts for nothing in the actor's budget.
    pub(super) fn is_from_outside(&self) -> bool {
        self.from_outside
    }

    /// A crash by a panic, with what it said.
    pub(super) fn panicked(payload: &(dyn Any + Send)) -> Self {
        Self::because(format!("panicked: {}", panic_text(payload)))
    }

    /// The error within.
    pub fn into_error(self) -> Box<dyn Error + Send + Sync> {
        self.error
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Crash {
    fn from(error: E) -> Self {
        Self { error: error.into(), from_outside: false }
    }
}

impl fmt::Display for Crash {
    /// The error and its sources, outermost first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        let mut source = self.error.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crash({self})")
    }
}

/// What a panic said, if it said it in words.
pub(super) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".to_owned())
}
