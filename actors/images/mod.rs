//! The node's images: each pulled once however many ask, removed when nothing has used them for a while.
//!
//! - owns: pulls under way; when each image was last of use
//! - told by: allocs (pull), the agent (pull ahead of allocs; which are in use)
//! - fails when: a pull can't be supervised any more
//! - restarted by: the agent; whoever waits for a pull is told that it has no answer, and asks again

mod board;
mod pull;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use mill_drivers::bundle::Drivers;
use mill_drivers::containerd::chain;
use mill_drivers::images::{Collected, Images as _, PullError};
use mill_model::{Digest, Failure, ImageRef, Tempo};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::kit::{Actor, Address, AskError, Crash, Me, Message, Reply, Restart, Task, TaskPanicked};

pub use board::Pulls;

/// The room.
pub struct Images<D>(PhantomData<fn() -> D>);

/// What it is told.
#[derive(Debug)]
pub enum Msg {
    /// Get a pinned image.
    Pull {
        /// Which.
        image: ImageRef,
        /// Told when it is here, or why it can't be had.
        reply: Reply<Result<(), Failure>>,
    },
    /// A pull has ended.
    Pulled {
        /// Of which image, without its tag.
        image: ImageRef,
        /// How.
        result: Result<(), Failure>,
    },
    /// Remove what is in nobody's use, and hasn't been for `Tempo::images_kept`.
    Collect {
        /// What is in use.
        used: BTreeSet<Digest>,
    },
    /// What is here, so that what is new to this room has its time too.
    Listed {
        /// What is in use.
        used: BTreeSet<Digest>,
        /// What is here.
        here: Result<Result<Vec<Digest>, PullError>, TaskPanicked>,
    },
    /// A collection has ended.
    Collected(Result<Result<Collected, PullError>, TaskPanicked>),
}

impl Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Pull { .. } => "pull",
            Self::Pulled { .. } => "pulled",
            Self::Collect { .. } => "collect",
            Self::Listed { .. } => "listed",
            Self::Collected(_) => "collected",
        }
    }
}

/// What it starts with.
#[derive(Debug, Clone)]
pub struct Args<D> {
    /// The node's hands.
    pub drivers: D,
    /// Where pulls show how far they are.
    pub pulls: Pulls,
}

/// What it holds.
pub struct State<D> {
    drivers: D,
    pulls: Pulls,
    /// By image, without its tag. The same digest of two repositories is two: each is kept under its own name.
    waiting: BTreeMap<ImageRef, Vec<Reply<Result<(), Failure>>>>,
    last_used: BTreeMap<Digest, Instant>,
    collecting: Option<Task>,
    /// Asked for while images are being removed: one that is here now may be gone in a moment.
    put_off: Option<Vec<ImageRef>>,
    collected: Collected,
}

impl<D: Drivers> Actor for Images<D> {
    type Msg = Msg;
    type Args = Args<D>;
    type State = State<D>;

    async fn start(_me: &Me<Self>, args: Args<D>) -> Result<State<D>, Crash> {
        Ok(State {
            drivers: args.drivers,
            pulls: args.pulls,
            waiting: BTreeMap::new(),
            last_used: BTreeMap::new(),
            collecting: None,
            put_off: None,
            collected: Collected::default(),
        })
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut State<D>) -> Result<(), Crash> {
        match msg {
            Msg::Pull { image, reply } => state.pull(me, image, reply)?,
            Msg::Pulled { image, result } => state.pulled(me, &image, &result),
            Msg::Collect { used } => state.look(me, used),
            Msg::Listed { used, here } => state.collect(me, &used, here?),
            Msg::Collected(result) => state.collected(me, result?)?,
        }
        Ok(())
    }

    fn observe(state: &State<D>) -> Value {
        json!({
            "pulls": state.waiting.iter().map(|(image, waiting)| (image.to_string(), waiting.len())).collect::<BTreeMap<_, _>>(),
            "images": state.last_used.len(),
            "collected_images": state.collected.images,
            "collected_bytes": state.collected.bytes,
        })
    }
}

/// Gets an image from the room at `images`, however often that is between two lives: nothing is wrong with the image
/// then.
///
/// # Errors
/// Why it can't be had; also when it took longer than `Tempo::pull_deadline`.
pub async fn get(images: &Address<Msg>, image: &ImageRef, tempo: &Tempo) -> Result<(), Failure> {
    loop {
        let ask = |reply| Msg::Pull { image: image.clone(), reply };
        match images.ask(tempo.pull_deadline, ask).await {
            Ok(result) => return result,
            Err(error @ AskError::Deadline { .. }) => {
                return Err(Failure::PullFailed { detail: error.to_string() });
            }
            Err(error) => debug!(%error, "asking for the image again"),
        }
        tokio::time::sleep(tempo.actor_delay(2)).await;
    }
}

/// The name of the child that pulls an image. Paths of actors are cut at slashes.
fn child(image: &ImageRef) -> String {
    let hex = image.digest.as_ref().map_or("", Digest::hex);
    let repository = format!("{}/{}", image.registry, image.repository).replace('/', ".");
    format!("pull-{repository}-{}", hex.get(..12).unwrap_or(hex))
}

impl<D: Drivers> State<D> {
    fn pull(
        &mut self,
        me: &Me<Images<D>>,
        image: ImageRef,
        reply: Reply<Result<(), Failure>>,
    ) -> Result<(), Crash> {
        let Some(digest) = image.digest.clone() else {
            let detail = PullError::NotPinned { image: Box::new(image) }.to_string();
            reply.send(Err(Failure::PullFailed { detail }));
            return Ok(());
        };
        self.last_used.insert(digest, Instant::now());
        let waiting = self.waiting.entry(image.untagged()).or_default();
        waiting.retain(|reply| !reply.is_abandoned());
        waiting.push(reply);
        match &mut self.put_off {
            Some(put_off) => put_off.push(image),
            None => self.begin(me, image)?,
        }
        Ok(())
    }

    fn begin(&self, me: &Me<Images<D>>, image: ImageRef) -> Result<(), Crash> {
        let name = child(&image);
        if !me.has_child(&name) {
            let (drivers, pulls) = (self.drivers.clone(), self.pulls.clone());
            let args = pull::Args { drivers, image, pulls, images: me.address() };
            me.child::<pull::Pull<D>>(name, args, Restart::Forever)?;
        }
        Ok(())
    }

    fn pulled(&mut self, me: &Me<Images<D>>, image: &ImageRef, result: &Result<(), Failure>) {
        me.drop_child(&child(image));
        self.last_used.extend(image.digest.clone().map(|digest| (digest, Instant::now())));
        for reply in self.waiting.remove(image).unwrap_or_default() {
            reply.send(result.clone());
        }
    }

    fn look(&mut self, me: &Me<Images<D>>, used: BTreeSet<Digest>) {
        if self.collecting.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let images = self.drivers.images().clone();
        let list = async move { Ok(images.list().await?.into_iter().map(|stored| stored.digest).collect()) };
        self.collecting = Some(me.task("list", list, |here| Msg::Listed { used, here }));
    }

    fn collect(&mut self, me: &Me<Images<D>>, used: &BTreeSet<Digest>, here: Result<Vec<Digest>, PullError>) {
        let here = match here {
            Ok(here) => here,
            Err(error) => return warn!(error = chain(&error), "images can't be listed"),
        };
        let now = Instant::now();
        let kept_for = me.tempo().images_kept;
        for digest in &here {
            self.last_used.entry(digest.clone()).or_insert(now);
        }
        let awaited: BTreeSet<Digest> =
            self.waiting.keys().filter_map(|image| image.digest.clone()).collect();
        for (digest, last) in &mut self.last_used {
            if used.contains(digest) || awaited.contains(digest) {
                *last = now;
            }
        }
        let fresh = |last: &Instant| now.duration_since(*last) < kept_for;
        // One that isn't here was asked for and didn't come, or not whole: what there is of it goes too.
        if self.last_used.values().all(fresh) {
            return;
        }
        self.last_used.retain(|digest, last| here.contains(digest) || fresh(last));
        let keep: BTreeSet<Digest> =
            self.last_used.iter().filter(|(_, last)| fresh(last)).map(|(digest, _)| digest.clone()).collect();
        let images = self.drivers.images().clone();
        let remove = async move { images.remove_unused(&keep).await };
        self.put_off = Some(vec![]);
        self.collecting = Some(me.task("collect", remove, Msg::Collected));
    }

    fn collected(&mut self, me: &Me<Images<D>>, result: Result<Collected, PullError>) -> Result<(), Crash> {
        for image in self.put_off.take().unwrap_or_default() {
            self.begin(me, image)?;
        }
        match result {
            Ok(collected) => {
                info!(images = collected.images, bytes = collected.bytes, "removed unused images");
                self.collected.images = self.collected.images.saturating_add(collected.images);
                self.collected.bytes = self.collected.bytes.saturating_add(collected.bytes);
            }
            Err(error) => warn!(error = chain(&error), "unused images can't be removed"),
        }
        Ok(())
    }
}
