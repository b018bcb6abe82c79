//! One image on its way to this node.
//!
//! - owns: the attempts to get one image, and what is shown of them
//! - told by: its own attempts
//! - fails when: an attempt panics
//! - restarted by: images, for ever; it begins anew, and the driver goes on where the last attempt stopped

use std::marker::PhantomData;

use mill_drivers::bundle::Drivers;
use mill_drivers::images::{Images as _, Progress, PullError};
use mill_model::{Failure, ImageRef, limits};
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::warn;

use crate::kit::{Actor, Address, Crash, Me, Message, Task, TaskPanicked, Timer};

/// The room.
pub(super) struct Pull<D>(PhantomData<fn() -> D>);

/// What it is told.
#[derive(Debug)]
pub(super) enum Msg {
    /// An attempt has ended.
    Done(Result<Result<(), PullError>, TaskPanicked>),
    /// The pause before the next attempt is over.
    Again,
}

impl Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Again => "again",
        }
    }
}

/// What it starts with.
#[derive(Debug, Clone)]
pub(super) struct Args<D> {
    pub(super) drivers: D,
    pub(super) image: ImageRef,
    pub(super) pulls: super::Pulls,
    pub(super) images: Address<super::Msg>,
}

/// What it holds.
pub(super) struct State<D> {
    args: Args<D>,
    failed: u32,
    /// What the board shows; `None` until it is known that the image isn't here.
    progress: watch::Sender<Option<Progress>>,
    attempt: Option<Task>,
    pause: Option<Timer>,
}

impl<D: Drivers> Actor for Pull<D> {
    type Msg = Msg;
    type Args = Args<D>;
    type State = State<D>;

    async fn start(me: &Me<Self>, args: Args<D>) -> Result<State<D>, Crash> {
        let progress = args.pulls.begin(args.image.untagged());
        let mut state = State { args, failed: 0, progress, attempt: None, pause: None };
        state.attempt(me);
        Ok(state)
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut State<D>) -> Result<(), Crash> {
        match msg {
            Msg::Done(result) => state.done(me, result?)?,
            Msg::Again => state.attempt(me),
        }
        Ok(())
    }

    fn observe(state: &State<D>) -> Value {
        let progress = state.progress.borrow();
        let progress = progress.as_ref();
        json!({
            "image": state.args.image.to_string(),
            "failed_attempts": state.failed,
            "unpacked": progress.map(Progress::unpacked),
            "layers": progress.map(|progress| progress.layers.len()),
            "bytes_done": progress.map(Progress::bytes_done),
            "bytes_total": progress.map(Progress::bytes_total),
            "trouble": progress.and_then(|progress| progress.trouble.clone()),
        })
    }
}

impl<D: Drivers> State<D> {
    fn attempt(&mut self, me: &Me<Pull<D>>) {
        let (images, image) = (self.args.drivers.images().clone(), self.args.image.clone());
        let progress = self.progress.clone();
        let pull = async move {
            images.pull(&image, move |news| progress.send_modify(|shown| update(shown, news))).await
        };
        self.attempt = Some(me.task("attempt", pull, Msg::Done));
    }

    fn done(&mut self, me: &Me<Pull<D>>, result: Result<(), PullError>) -> Result<(), Crash> {
        let image = self.args.image.untagged();
        let result = match result {
            Ok(()) => Ok(()),
            Err(error) => {
                self.failed = self.failed.saturating_add(1);
                if !error.is_permanent() && self.failed < limits::PULL_ATTEMPTS_MAX {
                    let pause = me.tempo().pull_delay(self.failed);
                    warn!(image = %self.args.image, %error, ?pause, "pull failed, another attempt follows");
                    let shown = |progress: &mut Option<Progress>| {
                        progress.get_or_insert_default().trouble = Some(error.in_short());
                    };
                    self.progress.send_modify(shown);
                    self.pause = Some(me.after(pause, Msg::Again));
                    return Ok(());
                }
                Err(Failure::from(&error))
            }
        };
        // Its parent is gone only together with it.
        Ok(self.args.images.tell(super::Msg::Pulled { image, result })?)
    }
}

/// Takes over the news of an attempt. One that has only begun knows less than the last one knew.
fn update(shown: &mut Option<Progress>, news: Progress) {
    match shown {
        Some(known) if news.layers.is_empty() && news.trouble.is_none() && !known.layers.is_empty() => {}
        _ => *shown = Some(news),
    }
}
