//! The leader's session: orders in, batches of statuses and news of images out.

use mill_control::dispatch::{Ack, Inventory, News, Order, Refusal};
use mill_drivers::bundle::Drivers;
use mill_drivers::clock::Clock as _;
use mill_model::{AllocId, AllocStatus, Term};
use tracing::{debug, info};

use super::{Agent, Msg, State};
use crate::alloc;
use crate::kit::{Crash, Me, Reply};
use crate::outlet::Outlet;

impl<D: Drivers> State<D> {
    pub(super) fn open(
        &mut self,
        me: &Me<Agent<D>>,
        term: Term,
        news: Outlet<News>,
        reply: Reply<Result<Inventory, Refusal>>,
    ) {
        let opened = self.node.open(term);
        match &opened {
            Ok(_) => {
                info!(%term, "a leader has opened its session");
                self.leader = Some(news);
            }
            Err(refusal) => info!(%refusal, "a session is refused"),
        }
        let accepted = opened.is_ok();
        reply.send(opened);
        if accepted {
            self.tell_of_images();
            self.send(me);
        }
    }

    pub(super) fn caught_up(
        &mut self,
        me: &Me<Agent<D>>,
        term: Term,
        reply: Reply<Result<(), Refusal>>,
    ) -> Result<(), Crash> {
        match self.node.caught_up(term) {
            Ok(effect) => {
                reply.send(Ok(()));
                self.carry_out(me, vec![effect])
            }
            Err(refusal) => {
                reply.send(Err(refusal));
                Ok(())
            }
        }
    }

    pub(super) async fn order(
        &mut self,
        me: &Me<Agent<D>>,
        order: Order,
        reply: Reply<Ack>,
    ) -> Result<(), Crash> {
        let has_ports =
            matches!(&order, Order::Run { assignment, .. } if !assignment.container.ports.is_empty());
        let taken = if has_ports { self.taken().await } else { Default::default() };
        let now = self.home.drivers.clock().now();
        let (ack, effects) = self.node.order(order, &taken, now);
        debug!(alloc = ack.alloc.as_ref().map(tracing::field::display), outcome = ?ack.outcome, "order taken");
        reply.send(ack);
        self.carry_out(me, effects)?;
        self.tell_of_images();
        // An order for what is over has its status sent again.
        self.send(me);
        Ok(())
    }

    pub(super) fn woke(
        &mut self,
        me: &Me<Agent<D>>,
        alloc: &AllocId,
        record: Option<AllocStatus>,
    ) -> Result<(), Crash> {
        let effects = self.node.woke(alloc, record);
        self.send(me);
        self.carry_out(me, effects)
    }

    pub(super) fn reported(&mut self, me: &Me<Agent<D>>, status: AllocStatus) {
        self.node.reported(status);
        self.send(me);
    }

    /// Sends a batch, if there is news, a leader, and no batch under way.
    fn send(&mut self, me: &Me<Agent<D>>) {
        let Some(leader) = &self.leader else { return };
        let Some(batch) = self.node.batch() else { return };
        let sequence = batch.sequence;
        if leader.tell(News::Statuses(batch)).is_err() {
            debug!(sequence, "the leader's session is away; the batch is sent again");
        }
        self.patience = Some(me.after(me.tempo().ask_deadline, Msg::Unacknowledged { sequence }));
    }

    pub(super) fn acknowledged(&mut self, me: &Me<Agent<D>>, sequence: u64) {
        self.node.acknowledged(sequence);
        self.send(me);
    }

    pub(super) fn unacknowledged(&mut self, me: &Me<Agent<D>>, sequence: u64) {
        self.node.batch_lost(sequence);
        self.send(me);
    }

    /// Tells an alloc's actor. One that is between two lives asks for what it missed when it is back.
    pub(super) fn tell(&self, alloc: &AllocId, msg: alloc::Msg) {
        if let Some(address) = self.addresses.get(alloc) {
            let _ = address.tell(msg);
        }
    }
}
