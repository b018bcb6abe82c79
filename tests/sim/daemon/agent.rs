//! The node's agent: orders in, statuses out, one actor for each alloc.

use std::collections::{BTreeMap, BTreeSet};

use mill_alloc::Input;
use mill_control::dispatch::{News, Order};
use mill_control::node::{Begin, Effect, Node};
use mill_model::AllocId;

use super::alloc::Actor;
use super::{Due, Letter, Waiter, Who};
use crate::world::log::note;
use crate::world::{Event, Go, World, broken};

/// The agent.
pub(crate) struct Agent {
    pub(crate) node: Node,
    pub(crate) actors: BTreeMap<AllocId, Actor>,
    /// What each actor begins with, also the next time.
    pub(crate) begun: BTreeMap<AllocId, Begin>,
    /// The session that batches go to.
    session: Option<u64>,
}

impl Agent {
    pub(crate) const fn new(node: Node) -> Self {
        Self { node, actors: BTreeMap::new(), begun: BTreeMap::new(), session: None }
    }
}

impl World {
    /// Begins what was here before this daemon.
    pub(super) fn restore_allocs(&mut self) -> Go {
        for (alloc, kept) in self.records.clone() {
            let record = match kept.read() {
                Some(Ok(record)) => record,
                Some(Err(error)) => return broken(format!("a record can't be read: {error}")),
                None => {
                    note!(self, "the record of {alloc} is damaged and left out");
                    self.lose_memory_of(&alloc);
                    continue;
                }
            };
            let (effect, ports) = self.daemon()?.agent.node.restore(&record);
            if let Err(clashes) = ports {
                return broken(format!("ports of two records clash: {clashes}"));
            }
            self.carry_out_of_node(vec![effect])?;
        }
        self.sweep_later();
        Ok(())
    }

    fn sweep_later(&mut self) {
        let every = u64::try_from(self.tempo.collect_every.as_millis()).unwrap_or(60_000);
        self.due_in(every, Due::Letter(Who::Agent, Letter::Sweep));
    }

    pub(super) fn agent_reads(&mut self, letter: Letter) -> Go {
        let now = self.wall();
        let daemon = self.daemon()?;
        let node = &mut daemon.agent.node;
        match letter {
            Letter::Open { term, serial } => {
                let opened = node.open(term);
                if opened.is_ok() {
                    daemon.agent.session = Some(serial);
                }
                daemon.post(Who::Session, Letter::Opened(opened));
            }
            Letter::AllSaid { term } => match node.caught_up(term) {
                Ok(effect) => {
                    daemon.post(Who::Session, Letter::CaughtUp(Ok(())));
                    self.carry_out_of_node(vec![effect])?;
                }
                Err(refusal) => daemon.post(Who::Session, Letter::CaughtUp(Err(refusal))),
            },
            Letter::Orders { serial, mut orders, mut acks } => {
                let mut effects = vec![];
                if let Some(order) = orders.pop_front() {
                    let word = word(&order);
                    let (ack, follow) = node.order(order, &BTreeSet::new(), now);
                    effects = follow;
                    note!(self, "order {word}: {ack:?}");
                    acks.push(ack);
                }
                let daemon = self.daemon()?;
                if !orders.is_empty() {
                    daemon.post(Who::Agent, Letter::Orders { serial, orders, acks });
                } else if daemon.talk.as_ref().is_some_and(|talk| talk.serial == serial) {
                    daemon.post(Who::Session, Letter::Answered(acks));
                }
                self.carry_out_of_node(effects)?;
            }
            Letter::Acknowledged { sequence } => node.acknowledged(sequence),
            Letter::Unacknowledged { sequence } => node.batch_lost(sequence),
            Letter::Woke(alloc, record) => {
                let effects = node.woke(&alloc, record);
                self.carry_out_of_node(effects)?;
            }
            Letter::Told(status) => node.reported(status),
            Letter::Came { errand, result } => {
                let effect = node.fetched(errand, result);
                self.carry_out_of_node(effect)?;
            }
            Letter::FetchAgain { errand } => {
                let effect = node.fetch_again(errand);
                self.carry_out_of_node(effect)?;
            }
            Letter::Over(alloc) => {
                daemon.agent.actors.remove(&alloc);
                daemon.burn(&Who::Alloc(alloc));
                return Ok(());
            }
            Letter::Sweep => return self.sweep(),
            Letter::Swept { containers, records, scratch } => {
                return self.swept(&containers, records, scratch);
            }
            _ => return Ok(()),
        }
        self.send_images()?;
        self.send_batch()
    }

    /// What no session hears, the next one does.
    fn send_images(&mut self) -> Go {
        let daemon = self.daemon()?;
        let Some(images) = daemon.agent.node.fetch_news() else { return Ok(()) };
        if daemon.agent.session.is_some()
            && daemon.agent.session == daemon.talk.as_ref().map(|talk| talk.serial)
        {
            daemon.post(Who::Session, Letter::Said(News::Images(images)));
        }
        Ok(())
    }

    fn send_batch(&mut self) -> Go {
        let daemon = self.daemon()?;
        let Some(serial) = daemon.agent.session else { return Ok(()) };
        let Some(batch) = daemon.agent.node.batch() else { return Ok(()) };
        let sequence = batch.sequence;
        if daemon.talk.as_ref().is_some_and(|talk| talk.serial == serial) {
            daemon.post(Who::Session, Letter::Said(News::Statuses(batch)));
        }
        let patience = u64::try_from(self.tempo.ask_deadline.as_millis()).unwrap_or(5000);
        self.due_in(patience, Due::Letter(Who::Agent, Letter::Unacknowledged { sequence }));
        Ok(())
    }

    fn carry_out_of_node(&mut self, effects: impl IntoIterator<Item = Effect>) -> Go {
        for effect in effects {
            self.spark()?;
            let daemon = self.daemon()?;
            let mut tell = |alloc, input| {
                // One that is away asks for what it missed when it is back.
                if daemon.agent.actors.contains_key(&alloc) {
                    daemon.post(Who::Alloc(alloc), Letter::Input { task: None, input });
                }
            };
            match effect {
                Effect::Stop { alloc } => tell(alloc, Input::Stop),
                Effect::Heard { alloc, heard } => tell(alloc, Input::Heard(heard)),
                Effect::Begin(begin) => {
                    let alloc = begin.assignment.alloc.clone();
                    daemon.agent.begun.insert(alloc.clone(), begin);
                    self.begin_actor(&alloc)?;
                }
                Effect::Forget { alloc } => {
                    daemon.agent.actors.remove(&alloc);
                    daemon.agent.begun.remove(&alloc);
                    daemon.burn(&Who::Alloc(alloc.clone()));
                    note!(self, "{alloc} is forgotten");
                    self.spark()?;
                    self.drop_record(&alloc);
                }
                Effect::Fetch { errand, image } => {
                    note!(self, "the node fetches {image}");
                    let Some(digest) = image.digest else { return broken("an image isn't pinned") };
                    self.wait_for_image(digest, Waiter::Agent { errand })?;
                }
                Effect::FetchLater { errand, failures } => {
                    let pause = self.tempo.restart_delay(failures).as_millis();
                    let again = Due::Letter(Who::Agent, Letter::FetchAgain { errand });
                    self.due_in(u64::try_from(pause).unwrap_or(1000), again);
                }
                // What comes of it isn't heard.
                Effect::LetGo { .. } => {}
                Effect::Collect => return self.sweep(),
            }
        }
        Ok(())
    }

    /// Looks what there is; what of it is too much is decided a moment later.
    fn sweep(&mut self) -> Go {
        let away = self.runtime.is_away(self.now);
        let containers = if away { vec![] } else { self.runtime.containers.keys().cloned().collect() };
        let (records, scratch) =
            (self.records.keys().cloned().collect(), self.runtime.scratch.iter().cloned().collect());
        if let Some(used) = self.daemon()?.agent.node.images() {
            self.collect_images(&used)?;
        }
        let pause = self.dice.below(200);
        self.due_in(pause, Due::Letter(Who::Agent, Letter::Swept { containers, records, scratch }));
        self.sweep_later();
        Ok(())
    }

    fn collect_images(&mut self, used: &BTreeSet<mill_model::Digest>) -> Go {
        // Those that nobody waits for and nothing uses, now and then: how long they are kept is another room's.
        if self.wild && !self.dice.percent(20) {
            return Ok(());
        }
        let waited: BTreeSet<_> = self.daemon()?.pulls.keys().cloned().collect();
        let running: Vec<_> = self
            .runtime
            .running()
            .filter(|(_, container)| container.known)
            .filter_map(|(name, container)| {
                Some((name, container.assignment.container.image.digest.as_ref()?))
            })
            .collect();
        if let Some((name, _)) = running.iter().find(|(_, digest)| !used.contains(*digest)) {
            return broken(format!("the image of {}.{} counts as unused while it runs", name.0, name.1));
        }
        self.runtime.images.retain(|digest| used.contains(digest) || waited.contains(digest));
        Ok(())
    }

    fn swept(
        &mut self,
        containers: &[crate::outside::Name],
        records: Vec<AllocId>,
        scratch: Vec<AllocId>,
    ) -> Go {
        let node = &self.daemon()?.agent.node;
        let (containers, records) = (node.leftovers(containers), node.unknown(records));
        let scratch = node.unknown(scratch);
        for name in containers {
            self.spark()?;
            if !self.call_fails() {
                note!(self, "{}.{} belongs to nothing", name.0, name.1);
                self.judge_sweep_of(&name)?;
                self.judge_end_of(&name)?;
                self.remove_container(&name);
            }
        }
        for alloc in scratch {
            self.spark()?;
            self.runtime.scratch.remove(&alloc);
        }
        for alloc in records {
            self.spark()?;
            self.drop_record(&alloc);
        }
        Ok(())
    }

    /// An alloc's actor panics; its supervisor begins it again.
    pub(crate) fn actor_crashes(&mut self) {
        let Some(daemon) = &mut self.daemon else { return };
        let allocs: Vec<AllocId> = daemon.agent.actors.keys().cloned().collect();
        let Some(alloc) = self.dice.pick(&allocs).cloned() else { return };
        daemon.agent.actors.remove(&alloc);
        daemon.burn(&Who::Alloc(alloc.clone()));
        note!(self, "the actor of {alloc} crashes");
        self.tally.actor_crashes += 1;
        self.abandon(|event| event.alloc == alloc, true);
        let life = self.life;
        self.at(50, Event::Due(life, Due::ActorAgain(alloc)));
    }
}

const fn word(order: &Order) -> &'static str {
    match order {
        Order::Run { .. } => "Run",
        Order::Stop { .. } => "Stop",
        Order::Forget { .. } => "Forget",
        Order::Fetch { .. } => "Fetch",
    }
}
