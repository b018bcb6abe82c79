//! The keeper: starts an actor's lives one after another, and says when there will be no further one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{Fuse, FusedFuture as _};
use mill_model::limits;
use ractor::ActorRuntime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::actor::{Actor, Crash};
use super::address::{Address, Mailbox, Slot};
use super::life::{End, Life, World};
use super::me::ChildError;
use super::node::{Node, Order};
use super::shell::{Birth, Shell, embody};
use super::stats::Status;

/// When an actor whose life has ended is started again, and what its crashes mean to its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// After every end, also one in order; too many ends crash the parent.
    Always,
    /// After a crash; too many crash the parent.
    OnCrash,
    /// After a crash, however many: for rooms whose crashes say nothing about their parent, such as an alloc's.
    Forever,
    /// Not at all: it is forgotten.
    Never,
}

/// Watches one actor over all its lives.
pub(super) struct Keeper<A: Actor> {
    slot: Arc<Slot<A::Msg>>,
    node: Arc<Node>,
    args: A::Args,
    restart: Restart,
    pub(super) parent: Option<Arc<Life>>,
    /// Fired when the parent's life, or the tree, is over.
    pub(super) orphaned: CancellationToken,
    world: Arc<World>,
    orders: mpsc::UnboundedReceiver<Order>,
    /// Told of the first start; if that fails, there is no second.
    pub(super) first: Option<oneshot::Sender<Result<(), Crash>>>,
    /// Crashes in a row: they make the pauses longer.
    crashes: u32,
    /// Those of them that were its own fault: they use up its budget.
    faults: u32,
    last_crash: Option<Instant>,
    told_to_stop: bool,
    asked_to_restart: Vec<oneshot::Sender<()>>,
}

/// Where an actor lives, over all its lives.
pub(super) struct Place<M> {
    pub(super) slot: Arc<Slot<M>>,
    pub(super) node: Arc<Node>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
}

/// A life and its end.
pub(super) struct Body {
    life: Arc<Life>,
    gone: Fuse<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

enum Next {
    Finish,
    Now,
    After(Duration),
}

/// The last part of a type's name, without its parameters.
pub(super) fn kind_of<A>() -> &'static str {
    let name = std::any::type_name::<A>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

/// Starts an actor under a life of another.
pub(super) fn start_child<A: Actor>(
    parent: &Arc<Life>,
    name: String,
    args: A::Args,
    restart: Restart,
) -> Result<Address<A::Msg>, ChildError> {
    let path = parent.node.path.join(&name);
    let mut family = parent.node.family();
    if family.closed || parent.is_closed() || parent.over.is_cancelled() {
        return Err(ChildError::Stopping { path });
    }
    if family.living.contains_key(&name) {
        return Err(ChildError::Duplicate { path });
    }
    let predecessor = family.leaving.iter().rev().find(|node| node.name == name).cloned();
    let slot = family.remembered::<Slot<A::Msg>>(&name);
    let slot = slot.unwrap_or_else(|| Arc::new(Slot::new(path.clone(), A::MAILBOX_MAX)));
    let weak = Arc::downgrade(&slot);
    family.remember(&name, weak);
    let (node, orders) = Node::new(path, name.clone(), kind_of::<A>());
    family.living.insert(name, Arc::clone(&node));
    let address = Address::of(Arc::clone(&slot));
    let place = Place { slot, node, orders };
    let mut keeper: Keeper<A> = Keeper::new(place, args, restart, Arc::clone(&parent.world));
    keeper.orphaned = parent.over.clone();
    keeper.parent = Some(Arc::clone(parent));
    // At once where that is possible, so that the child can be told things from now on.
    let body = predecessor.is_none().then(|| keeper.launch());
    drop(family);
    tokio::spawn(keeper.keep(body, predecessor));
    Ok(address)
}

impl<A: Actor> Keeper<A> {
    pub(super) fn new(place: Place<A::Msg>, args: A::Args, restart: Restart, world: Arc<World>) -> Self {
        let Place { slot, node, orders } = place;
        Self {
            slot,
            node,
            args,
            restart,
            parent: None,
            orphaned: CancellationToken::new(),
            world,
            orders,
            first: None,
            crashes: 0,
            faults: 0,
            last_crash: None,
            told_to_stop: false,
            asked_to_restart: Vec::new(),
        }
    }

    /// Keeps the actor until there will be no further life.
    pub(super) async fn keep(mut self, mut body: Option<Body>, predecessor: Option<Arc<Node>>) {
        if let Some(predecessor) = predecessor {
            predecessor.ended.cancelled().await;
        }
        let mut begun = body.is_some();
        loop {
            // A life that was begun is seen to its end; another isn't begun for who was told to stop.
            if body.is_none() && !self.may_start() {
                break;
            }
            if body.is_none() && begun {
                self.node.stats.restarted();
            }
            begun = true;
            let mut current = body.take().unwrap_or_else(|| self.launch());
            self.attend(&mut current).await;
            let end = self.clear_away(&current.life).await;
            match self.next(end) {
                Next::Finish => break,
                Next::Now => {}
                Next::After(delay) => self.pause(delay).await,
            }
        }
        self.finish();
    }

    /// Begins a life.
    pub(super) fn launch(&mut self) -> Body {
        let life = Arc::new(Life::new(Arc::clone(&self.node), Arc::clone(&self.world)));
        self.node.family().closed = false;
        self.node.stats.set_status(Status::Starting);
        self.node.set_current(Some(Arc::clone(&life)));
        let birth = Birth { slot: Arc::clone(&self.slot), life: Arc::clone(&life), args: self.args.clone() };
        let gone = match ActorRuntime::<Shell<A>>::spawn_instant(None, Shell::new(), birth) {
            Ok((actor, started)) => {
                let mailbox = Mailbox { actor, life: Arc::clone(&life) };
                embody(&mailbox);
                self.slot.set(Some(mailbox));
                let gone = async move {
                    if let Ok(Ok(ended)) = started.await {
                        let _ = ended.await;
                    }
                };
                gone.boxed().fuse()
            }
            Err(error) => {
                life.note(End::Crashed(error.into()));
                std::future::ready(()).boxed().fuse()
            }
        };
        for asked in self.asked_to_restart.drain(..) {
            let _ = asked.send(());
        }
        Body { life, gone }
    }

    /// Waits until a life has ended, and sees to it that it does when it must.
    async fn attend(&mut self, body: &mut Body) {
        let mut killed = false;
        loop {
            tokio::select! {
                biased;
                () = &mut body.gone => break,
                () = self.orphaned.cancelled(), if !killed => {
                    killed = true;
                    body.life.kill();
                }
                () = body.life.up.cancelled(), if self.first.is_some() => self.tell_first(Ok(())),
                () = body.life.leave.cancelled() => {
                    let deadline = Instant::now() + self.world.tempo.shutdown_deadline;
                    self.end_in_order(body, deadline).await;
                    break;
                }
                Some(order) = self.orders.recv() => match order {
                    Order::Stop { deadline } => {
                        self.told_to_stop = true;
                        self.end_in_order(body, deadline).await;
                        break;
                    }
                    Order::Restart(asked) => {
                        info!(actor = %self.node.path, "actor restarted by hand");
                        self.asked_to_restart.push(asked);
                        body.life.note(End::ByHand);
                        body.life.kill();
                    }
                },
            }
        }
        if body.life.up.is_cancelled() {
            self.tell_first(Ok(()));
        }
    }

    /// Ends a life, children first; what hasn't ended by the deadline is killed.
    async fn end_in_order(&self, body: &mut Body, deadline: Instant) {
        let children = {
            let mut family = self.node.family();
            family.closed = true;
            family.everyone()
        };
        self.node.stats.set_status(Status::Stopping);
        // A quarter of the time is the parent's own: a child that hangs mustn't cost it its last words.
        let now = Instant::now();
        let theirs = now + deadline.saturating_duration_since(now) * 3 / 4;
        for child in &children {
            child.order(Order::Stop { deadline: theirs });
        }
        let orderly = async {
            for child in &children {
                child.ended.cancelled().await;
            }
            body.life.end_in_order();
            (&mut body.gone).await;
        };
        let in_time = tokio::select! {
            biased;
            () = orderly => true,
            () = self.orphaned.cancelled() => false,
            () = tokio::time::sleep_until(deadline) => {
                warn!(actor = %self.node.path, "actor did not stop in time, killed");
                false
            }
        };
        if !in_time {
            body.life.kill();
            if !body.gone.is_terminated() {
                (&mut body.gone).await;
            }
        }
    }

    /// Waits until nothing of a life is left: children, tasks, timers.
    async fn clear_away(&self, life: &Life) -> Option<End> {
        life.close();
        self.slot.set(None);
        if self.node.stats.status() != Status::Stopping {
            self.node.stats.set_status(Status::Restarting);
        }
        life.over.cancel();
        life.tasks.close();
        let children = self.node.family().everyone();
        for child in children {
            child.ended.cancelled().await;
        }
        life.tasks.wait().await;
        self.node.stats.idle();
        self.node.set_current(None);
        life.take_end()
    }

    /// Whether another life may begin: hears orders that came while nobody listened.
    fn may_start(&mut self) -> bool {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Stop { .. } => self.told_to_stop = true,
                Order::Restart(asked) => self.asked_to_restart.push(asked),
            }
        }
        !self.told_to_stop && !self.orphaned.is_cancelled()
    }

    fn next(&mut self, end: Option<End>) -> Next {
        if self.told_to_stop || self.orphaned.is_cancelled() {
            return Next::Finish;
        }
        let crash = match end {
            Some(End::ByHand) => return Next::Now,
            Some(End::Stopped) if self.restart != Restart::Always => return Next::Finish,
            Some(End::Stopped) => Crash::because("it stopped, and mustn't"),
            Some(End::Crashed(crash)) => crash,
            None => Crash::because("it ended without a word"),
        };
        if let Some(first) = self.first.take() {
            let _ = first.send(Err(crash));
            return Next::Finish;
        }
        if self.restart == Restart::Never {
            warn!(actor = %self.node.path, error = %crash, "actor crashed, not restarted");
            return Next::Finish;
        }
        let forgiven_after = self.world.tempo.actor_forgiven_after;
        if self.last_crash.is_none_or(|last| last.elapsed() >= forgiven_after) {
            (self.crashes, self.faults) = (0, 0);
        }
        self.crashes = self.crashes.saturating_add(1);
        self.faults = self.faults.saturating_add(u32::from(!crash.is_from_outside()));
        self.last_crash = Some(Instant::now());
        if self.restart != Restart::Forever && self.faults > limits::ACTOR_CRASHES_MAX {
            self.give_up(&crash);
            return Next::Finish;
        }
        let delay = self.world.tempo.actor_delay(self.crashes);
        warn!(actor = %self.node.path, error = %crash, crashes = self.crashes, ?delay, "actor crashed, restarting");
        Next::After(delay)
    }

    fn give_up(&self, crash: &Crash) {
        error!(actor = %self.node.path, error = %crash, crashes = self.crashes, "actor keeps crashing, given up");
        let _ = self.node.gave_up.set(crash.to_string());
        if let Some(parent) = &self.parent {
            parent.fail(Crash::because(format!("child `{}` keeps crashing: {crash}", self.node.name)));
        }
    }

    /// Waits before the next life; cut short by any order, and by the parent's end.
    async fn pause(&mut self, delay: Duration) {
        tokio::select! {
            biased;
            () = self.orphaned.cancelled() => {}
            Some(order) = self.orders.recv() => match order {
                Order::Stop { .. } => self.told_to_stop = true,
                Order::Restart(asked) => self.asked_to_restart.push(asked),
            },
            () = tokio::time::sleep(delay) => {}
        }
    }

    fn tell_first(&mut self, up: Result<(), Crash>) {
        if let Some(first) = self.first.take() {
            let _ = first.send(up);
        }
    }

    fn finish(self) {
        self.node.stats.set_status(Status::Stopped);
        if let Some(parent) = &self.parent {
            let mut family = parent.node.family();
            let me = |node: &Arc<Node>| Arc::ptr_eq(node, &self.node);
            if family.living.get(&self.node.name).is_some_and(me) {
                family.living.remove(&self.node.name);
                // Ended by itself: a namesake is somebody else. Ended with its parent: it comes back.
                if !parent.over.is_cancelled() {
                    family.forget(&self.node.name);
                }
            }
            family.leaving.retain(|node| !me(node));
        }
        self.node.ended.cancel();
    }
}
