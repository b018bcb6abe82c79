//! The secondary role of a node: runs what the leader orders, says what came of it.
//!
//! - owns: the node's allocs (one actor each), its mapped ports, the statuses that the leader hasn't acknowledged,
//!   which images the leader wants here before allocs do
//! - told by: the leader's session (orders), its allocs (statuses), its own timer (leftovers, unused images)
//! - fails when: the directory of alloc records can't be read
//! - restarted by: the daemon's root; it begins all allocs from their records, and their containers never notice
//!
//! What it decides is [`mill_control::node::Node`]'s.

mod fetch;
mod session;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use mill_control::dispatch::{Ack, Inventory, News, Order, Refusal};
use mill_control::fetch::Fetched;
use mill_control::node::{Effect, Node};
use mill_drivers::bundle::Drivers;
use mill_drivers::clock::Clock as _;
use mill_drivers::datapath::Datapath as _;
use mill_drivers::records::Records as _;
use mill_drivers::sockets::{Sockets as _, Wanted};
use mill_model::limits::MAPPED_PORTS;
use mill_model::{AllocId, AllocStatus, Failure, Term};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::alloc::{self, Alloc, Home, Streams, Unread};
use crate::images::{self, Images, Pulls};
use crate::kit::{Actor, Address, Crash, Me, Message, Reply, Restart, Task, TaskPanicked, Timer};
use crate::outlet::Outlet;
use fetch::Errand;

/// The room.
pub struct Agent<D>(PhantomData<fn() -> D>);

/// What it is told.
#[derive(Debug)]
pub enum Msg {
    /// A leader opens its session.
    Open {
        /// Of the leader.
        term: Term,
        /// Where news go from now on.
        news: Outlet<News>,
        /// Told what is here.
        reply: Reply<Result<Inventory, Refusal>>,
    },
    /// The leader has given all orders that its state demands.
    CaughtUp {
        /// Of the leader.
        term: Term,
        /// Told whether that counts.
        reply: Reply<Result<(), Refusal>>,
    },
    /// The leader wants something.
    Order {
        /// What.
        order: Order,
        /// Told what came of it.
        reply: Reply<Ack>,
    },
    /// The leader has committed a batch.
    Acknowledged {
        /// Which.
        sequence: u64,
    },
    /// A batch had its time to be acknowledged.
    Unacknowledged {
        /// Which.
        sequence: u64,
    },
    /// All that is here, for whoever looks.
    List(Reply<Vec<AllocStatus>>),
    /// An alloc's actor has started.
    Woke {
        /// Which.
        alloc: AllocId,
        /// What its record says, if it has one.
        record: Option<AllocStatus>,
    },
    /// An alloc has changed.
    Reported(AllocStatus),
    /// Nothing will ever happen to an alloc any more.
    Over {
        /// Which.
        alloc: AllocId,
    },
    /// An image that the leader wants is here, or isn't.
    Fetched {
        /// For which errand.
        errand: u64,
        /// How it ended.
        result: Result<Result<(), Failure>, TaskPanicked>,
    },
    /// The pause after a fetch that failed is over.
    FetchAgain {
        /// Which errand.
        errand: u64,
    },
    /// Look for what nothing uses.
    Sweep,
    /// What was found.
    Swept(Result<sweep::Found, TaskPanicked>),
    /// A deed without an answer is done.
    Done(Result<(), TaskPanicked>),
}

impl Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::CaughtUp { .. } => "caught_up",
            Self::Order { .. } => "order",
            Self::Acknowledged { .. } => "acknowledged",
            Self::Unacknowledged { .. } => "unacknowledged",
            Self::List(_) => "list",
            Self::Woke { .. } => "woke",
            Self::Reported(_) => "reported",
            Self::Over { .. } => "over",
            Self::Fetched { .. } => "fetched",
            Self::FetchAgain { .. } => "fetch_again",
            Self::Sweep => "sweep",
            Self::Swept(_) => "swept",
            Self::Done(_) => "done",
        }
    }
}

/// What it starts with.
#[derive(Debug, Clone)]
pub struct Args<D> {
    /// What it and its allocs work with.
    pub home: Home<D>,
    /// Where pulls show how far they are.
    pub pulls: Pulls,
}

/// What it holds.
pub struct State<D> {
    home: Home<D>,
    node: Node,
    images: Address<images::Msg>,
    addresses: BTreeMap<AllocId, Address<alloc::Msg>>,
    pulls: Pulls,
    /// Images that the leader wants here, by errand.
    errands: BTreeMap<u64, Errand>,
    /// Where news go to.
    leader: Option<Outlet<News>>,
    patience: Option<Timer>,
    sweep_due: Option<Timer>,
    sweeping: Option<Task>,
    /// What belongs to nothing is being removed: each takes as long as the runtime takes.
    removing: Option<Task>,
    /// Sweeps in a row that couldn't see the containers.
    failed_looks: u32,
    deeds: Vec<Task>,
}

impl<D: Drivers> Actor for Agent<D> {
    type Msg = Msg;
    type Args = Args<D>;
    type State = State<D>;
    /// Reports of a thousand allocs at once, thrice.
    const MAILBOX_MAX: usize = 4096;

    async fn start(me: &Me<Self>, args: Args<D>) -> Result<State<D>, Crash> {
        // Nothing is wanted of it yet.
        args.pulls.tell_ahead(args.home.node.clone(), Fetched::new());
        let images = images::Args { drivers: args.home.drivers.clone(), pulls: args.pulls.clone() };
        let images = me.child::<Images<D>>("images", images, Restart::OnCrash)?;
        let mut state = State {
            node: Node::new(first_port(args.home.drivers.clock().now().0))
                .with_loopbacks(args.home.drivers.datapath().mode().is_kernel()),
            home: args.home,
            images,
            addresses: BTreeMap::new(),
            pulls: args.pulls,
            errands: BTreeMap::new(),
            leader: None,
            patience: None,
            sweep_due: None,
            sweeping: None,
            removing: None,
            failed_looks: 0,
            deeds: vec![],
        };
        state.restore(me).await?;
        state.sweep_later(me);
        Ok(state)
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut State<D>) -> Result<(), Crash> {
        match msg {
            Msg::Open { term, news, reply } => state.open(me, term, news, reply),
            Msg::CaughtUp { term, reply } => state.caught_up(me, term, reply)?,
            Msg::Order { order, reply } => state.order(me, order, reply).await?,
            Msg::Acknowledged { sequence } => state.acknowledged(me, sequence),
            Msg::Unacknowledged { sequence } => state.unacknowledged(me, sequence),
            Msg::List(reply) => reply.send(state.node.statuses().cloned().collect()),
            Msg::Woke { alloc, record } => state.woke(me, &alloc, record)?,
            Msg::Reported(status) => state.reported(me, status),
            Msg::Over { alloc } => state.over(me, &alloc),
            Msg::Fetched { errand, result } => state.fetched(me, errand, result?)?,
            Msg::FetchAgain { errand } => state.fetch_again(me, errand)?,
            Msg::Sweep => state.sweep(me),
            Msg::Swept(found) => state.swept(me, found?),
            Msg::Done(done) => done?,
        }
        Ok(())
    }

    fn observe(state: &State<D>) -> Value {
        json!({
            "term": state.node.term(),
            "allocs": state.node.statuses().count(),
            "running": state.node.statuses().filter(|status| status.phase.may_run()).count(),
            "ports_held": state.node.ports_held(),
            "fetches": state.errands.len(),
            "session": state.leader.is_some(),
        })
    }
}

/// Where the search for mapped ports starts: anywhere, but not where the last daemon's did.
fn first_port(now_ms: u64) -> u16 {
    let size = u64::try_from(MAPPED_PORTS.len()).unwrap_or(1);
    let offset = u16::try_from(now_ms % size).unwrap_or_default();
    MAPPED_PORTS.start().saturating_add(offset)
}

impl<D: Drivers> State<D> {
    /// Begins what was here before this daemon.
    async fn restore(&mut self, me: &Me<Agent<D>>) -> Result<(), Crash> {
        let listed = self.home.drivers.records().list().await?;
        let mut allocs: u32 = 0;
        for listed in listed {
            let alloc = listed.alloc;
            let record = match alloc::read_record(listed.kept) {
                Ok(record) => record,
                Err(Unread::Damaged(error)) => {
                    // The leader knows what it was, and orders it again.
                    warn!(%alloc, error, "an alloc's record can't be read and is left out");
                    continue;
                }
                Err(Unread::NotNow(crash)) => return Err(crash),
            };
            let (effect, ports) = self.node.restore(&record);
            if let Err(error) = ports {
                warn!(%alloc, %error, "mapped ports of an alloc can't be held");
            }
            self.carry_out(me, vec![effect])?;
            allocs = allocs.saturating_add(1);
        }
        info!(allocs, "allocs of an earlier daemon taken over");
        Ok(())
    }

    fn carry_out(
        &mut self,
        me: &Me<Agent<D>>,
        effects: impl IntoIterator<Item = Effect>,
    ) -> Result<(), Crash> {
        for effect in effects {
            match effect {
                Effect::Begin(begin) => {
                    let alloc = begin.assignment.alloc.clone();
                    let (home, images) = (self.home.clone(), self.images.clone());
                    let args = alloc::Args { home, begin, agent: me.address(), images };
                    let address = me.child::<Alloc<D>>(alloc.to_string(), args, Restart::Forever)?;
                    self.addresses.insert(alloc, address);
                }
                Effect::Stop { alloc } => self.tell(&alloc, alloc::Msg::Stop),
                Effect::Heard { alloc, heard } => self.tell(&alloc, alloc::Msg::Heard(heard)),
                Effect::Forget { alloc } => self.forget(me, alloc),
                Effect::Fetch { errand, image } => self.fetch(me, errand, image),
                Effect::FetchLater { errand, failures } => self.fetch_later(me, errand, failures),
                Effect::LetGo { errand } => drop(self.errands.remove(&errand)),
                Effect::Collect => self.sweep(me),
            }
        }
        Ok(())
    }

    /// Its status stays, its actor isn't needed.
    fn over(&mut self, me: &Me<Agent<D>>, alloc: &AllocId) {
        self.addresses.remove(alloc);
        me.drop_child(alloc.as_str());
    }

    fn forget(&mut self, me: &Me<Agent<D>>, alloc: AllocId) {
        self.over(me, &alloc);
        let _ = self.home.streams.tell(Streams::Forget { alloc: alloc.clone() });
        let records = self.home.drivers.records().clone();
        let remove = async move {
            if let Err(error) = records.remove(&alloc).await {
                warn!(%alloc, %error, "an alloc's record can't be removed; the next sweep tries again");
            }
        };
        self.deeds.retain(|task| !task.is_finished());
        self.deeds.push(me.task("forget", remove, Msg::Done));
    }

    /// Mapped ports that programs of this machine hold.
    async fn taken(&self) -> BTreeSet<u16> {
        let pool = Wanted::Range(*MAPPED_PORTS.start(), *MAPPED_PORTS.end());
        match self.home.drivers.sockets().taken(&pool).await {
            Ok(taken) => taken,
            Err(error) => {
                warn!(%error, "it isn't known which mapped ports other programs hold");
                BTreeSet::new()
            }
        }
    }
}
