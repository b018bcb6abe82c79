//! One alloc's actor: gives its life what happened, does what it says, in its order.

use std::collections::BTreeMap;
use std::sync::Arc;

use mill_alloc::{Asked, CheckFailure, Clash, Effect, Exit, Found, FoundState, Input, Kind as Purpose, Life};
use mill_model::{AllocId, Digest, Failure, Incarnation, Phase};

use super::ops::{Key, Launching};
use super::{Due, Letter, Waiter, Who};
use crate::outside::{Kept, Kind, Name, Runtime, State};
use crate::world::log::note;
use crate::world::{Go, Halt, World, broken};

/// An alloc's actor.
pub(crate) struct Actor {
    pub(crate) life: Life,
    /// Whether the runtime was asked what it has of it; one without a record waits for what was heard.
    looked: bool,
    /// What it does, one of a kind at a time: the answer of an earlier one isn't read.
    pub(crate) tasks: BTreeMap<Key, u64>,
    /// A task's start that waits for the word.
    pub(super) launching: Option<Launching>,
    pub(crate) watched: Option<Incarnation>,
}

impl World {
    /// Begins an alloc's actor, from its record if there is one.
    pub(super) fn begin_actor(&mut self, alloc: &AllocId) -> Go {
        self.spark()?;
        let (now, tempo) = (self.wall(), Arc::clone(&self.tempo));
        let kept = self.records.get(alloc).cloned();
        let agent = &mut self.daemon()?.agent;
        let Some(begin) = agent.begun.get(alloc).cloned() else { return Ok(()) };
        let (life, is_recorded) = match kept.as_ref().and_then(Kept::read) {
            Some(Ok(record)) => (Life::restore(record, tempo, now), true),
            Some(Err(error)) => return broken(format!("a record can't be read: {error}")),
            None => {
                let life = Life::new(begin.assignment, begin.ports, begin.heard, tempo, now);
                let life = life.with_loopback(begin.loopback);
                (if kept.is_some() { life.with_unread_record() } else { life }, false)
            }
        };
        let record = is_recorded.then(|| life.status().clone());
        let actor =
            Actor { life, looked: is_recorded, tasks: BTreeMap::new(), launching: None, watched: None };
        agent.actors.insert(alloc.clone(), actor);
        if is_recorded {
            self.look_for(alloc)?;
        } else if kept.is_some() {
            self.lose_memory_of(alloc);
        }
        self.daemon()?.post(Who::Agent, Letter::Woke(alloc.clone(), record));
        Ok(())
    }

    /// A record is damaged: what runs of its alloc is replaced.
    pub(super) fn lose_memory_of(&mut self, alloc: &AllocId) {
        let truth = self.truth.as_ref().and_then(|(_, cluster)| cluster.allocs.get(alloc));
        let heard = truth.map(|alloc| alloc.status.incarnation).unwrap_or_default();
        let Runtime { containers, names, .. } = &mut self.runtime;
        // A number that nobody was told of, and of which nothing is left, may be given again.
        names.retain(|name| name.0 != *alloc || name.1 <= heard || containers.contains_key(name));
        let mine = containers.iter_mut().filter(|((of, _), _)| of == alloc);
        mine.for_each(|(_, container)| container.unrecorded = true);
    }

    fn look_for(&mut self, alloc: &AllocId) -> Go {
        let task = self.task(alloc, Key::Look)?;
        let pause = self.dice.between(1, 40);
        self.due_in(pause, Due::Looked { alloc: alloc.clone(), task });
        Ok(())
    }

    /// A new task of this kind, in place of an earlier one.
    pub(super) fn task(&mut self, alloc: &AllocId, key: Key) -> Go<u64> {
        let task = self.number();
        if let Some(actor) = self.daemon()?.agent.actors.get_mut(alloc) {
            actor.tasks.insert(key, task);
        }
        Ok(task)
    }

    /// Whether somebody still waits for this.
    pub(super) fn is_wanted(&self, alloc: &AllocId, key: Key, task: u64) -> bool {
        let actor = self.daemon.as_ref().and_then(|daemon| daemon.agent.actors.get(alloc));
        actor.is_some_and(|actor| actor.tasks.get(&key) == Some(&task))
    }

    pub(super) fn looked(&mut self, alloc: &AllocId, task: u64) -> Go {
        if !self.is_wanted(alloc, Key::Look, task) {
            return Ok(());
        }
        if self.runtime.is_away(self.now) {
            let pause = self.dice.between(50, 1000);
            self.due_in(pause, Due::Looked { alloc: alloc.clone(), task });
            let failure = Failure::Runtime { detail: "the runtime is away".to_owned() };
            self.daemon()?.post(
                Who::Alloc(alloc.clone()),
                Letter::Input { task: None, input: Input::Unseen { failure } },
            );
            return Ok(());
        }
        let mine = self.runtime.containers.iter().filter(|((of, _), _)| of == alloc);
        let found = mine.map(|((_, incarnation), container)| {
            let state = match container.state {
                State::Created => FoundState::Created,
                State::Running => FoundState::Running,
                State::Ended { exit, at } => FoundState::Ended { exit, at },
            };
            Found { incarnation: *incarnation, state }
        });
        let input = Input::Resume { found: found.collect() };
        self.daemon()?
            .post(Who::Alloc(alloc.clone()), Letter::Input { task: Some((Key::Look, task)), input });
        Ok(())
    }

    pub(super) fn alloc_reads(&mut self, alloc: &AllocId, letter: Letter) -> Go {
        let Letter::Input { task, input } = letter else { return Ok(()) };
        if let Some((key, task)) = task {
            if !self.is_wanted(alloc, key, task) {
                return Ok(());
            }
            if let Some(actor) = self.daemon()?.agent.actors.get_mut(alloc) {
                actor.tasks.remove(&key);
            }
        }
        self.learn(alloc, &input)?;
        let made = if let Input::Made { incarnation } = input { Some(incarnation) } else { None };
        let heard = matches!(input, Input::Heard(_));
        let mut next = Some(input);
        while let Some(input) = next.take() {
            note!(self, "{alloc} learns {input:?}");
            let now = self.wall();
            let Some(actor) = self.daemon()?.agent.actors.get_mut(alloc) else { return Ok(()) };
            let effects = actor.life.step(now, input);
            next = self.carry_out_of_life(alloc, effects)?;
        }
        if let Some(incarnation) = made {
            // Nobody gave the word.
            let unwanted = Failure::Runtime { detail: "it isn't wanted any more".to_owned() };
            self.launch(alloc, incarnation, Some(unwanted))?;
        }
        let actor = self.daemon()?.agent.actors.get_mut(alloc);
        if let Some(actor) = actor.filter(|actor| heard && !actor.looked) {
            actor.looked = true;
            self.look_for(alloc)?;
        }
        let daemon = self.daemon()?;
        if daemon.agent.actors.get(alloc).is_some_and(|actor| actor.life.is_over()) {
            daemon.post(Who::Agent, Letter::Over(alloc.clone()));
        }
        Ok(())
    }

    /// Mill knows of a container that it runs.
    fn learn(&mut self, alloc: &AllocId, input: &Input) -> Go {
        let Some(actor) = self.daemon()?.agent.actors.get(alloc) else { return Ok(()) };
        let current = actor.life.status().incarnation;
        // A container of a start that counts as failed is no container that Mill has. A task whose start has failed is
        // over, and stops.
        let phase = actor.life.status().phase;
        if matches!(phase, Phase::Pending | Phase::Pulling | Phase::Waiting | Phase::Stopping) {
            return Ok(());
        }
        let knows = match input {
            Input::Started { incarnation } => *incarnation == current,
            Input::Resume { found } => {
                found.iter().any(|found| found.incarnation == current && found.state == FoundState::Running)
            }
            _ => false,
        };
        if let Some(container) = self.runtime.containers.get_mut(&(alloc.clone(), current)).filter(|_| knows)
        {
            container.known |= container.is_running();
            if container.known && matches!(container.assignment.kind, Purpose::Task { .. }) {
                self.runtime.ran.insert(alloc.clone());
            }
        }
        Ok(())
    }

    fn carry_out_of_life(&mut self, alloc: &AllocId, effects: Vec<Effect>) -> Go<Option<Input>> {
        let (mut unkept, mut failed) = (None, None);
        for effect in effects {
            self.spark()?;
            match effect {
                Effect::Persist(record) => unkept = self.keep(alloc, &record)?,
                Effect::Start { incarnation } => match unkept.take() {
                    None => self.start(alloc, incarnation)?,
                    Some(failure) => failed = Some(Input::StartFailed { incarnation, failure }),
                },
                Effect::Launch { incarnation } => self.launch(alloc, incarnation, unkept.take())?,
                Effect::Pull { incarnation } => self.pull(alloc, incarnation)?,
                Effect::Watch { incarnation } => self.watch(alloc, incarnation)?,
                Effect::Signal { incarnation } => self.signal(alloc, incarnation, false)?,
                Effect::Kill { incarnation } => self.signal(alloc, incarnation, true)?,
                Effect::Remove { incarnation } => self.remove(alloc, incarnation)?,
                Effect::Clear => self.clear(alloc)?,
                Effect::Check { incarnation, check } => {
                    let task = self.task(alloc, Key::Check)?;
                    let runs = check.what == Asked::Runs;
                    let slow = self.wild && self.dice.percent(3);
                    let pause = if slow { 2000 } else { self.dice.between(1, 30) };
                    self.due_in(pause, Due::Checked { alloc: alloc.clone(), task, incarnation, runs });
                }
                Effect::Locate { incarnation } => {
                    let input = Input::Located { incarnation, seen: vec![] };
                    let letter = Letter::Input { task: None, input };
                    self.due_in(5, Due::Letter(Who::Alloc(alloc.clone()), letter));
                }
                Effect::SetTimer { timer, after } => {
                    let key = Key::Timer(timer.kind);
                    let task = self.task(alloc, key)?;
                    let letter = Letter::Input { task: Some((key, task)), input: Input::Fired(timer) };
                    let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                    self.due_in(after, Due::Letter(Who::Alloc(alloc.clone()), letter));
                }
                Effect::Report(status) if unkept.is_some() && status.phase.is_terminal() => {
                    failed = Some(Input::NotKept);
                }
                Effect::Report(status) => {
                    note!(
                        self,
                        "{alloc} is {} as .{} (r{})",
                        status.phase,
                        status.incarnation,
                        status.revision
                    );
                    self.daemon()?.post(Who::Agent, Letter::Told(status));
                }
            }
        }
        Ok(failed)
    }

    fn pull(&mut self, alloc: &AllocId, incarnation: Incarnation) -> Go {
        let task = self.task(alloc, Key::Pull)?;
        let daemon = self.daemon()?;
        let Some(actor) = daemon.agent.actors.get(alloc) else { return Ok(()) };
        let assignment = Arc::clone(actor.life.assignment());
        let Some(digest) = assignment.container.image.digest.clone() else {
            return broken("an image isn't pinned");
        };
        self.wait_for_image(digest, Waiter::Alloc { alloc: alloc.clone(), task, incarnation })
    }

    /// Each image is pulled once, however many wait for it.
    pub(super) fn wait_for_image(&mut self, digest: Digest, waiter: Waiter) -> Go {
        let daemon = self.daemon()?;
        let under_way = daemon.pulls.contains_key(&digest);
        daemon.pulls.entry(digest.clone()).or_default().push(waiter);
        if !under_way {
            let pause = match self.runtime.images.contains(&digest) {
                true => self.dice.between(1, 5),
                false => self.dice.between(10, 4000),
            };
            self.due_in(pause, Due::Pulled(digest));
        }
        Ok(())
    }

    pub(super) fn pulled(&mut self, digest: &Digest) -> Go {
        let kind = self.runtime.kinds.get(digest).copied();
        let detail = "by chance".to_owned();
        let failure = match kind {
            Some(Kind::NoImage) => Some(Failure::NoSuchImage { detail }),
            Some(Kind::PullFails) => Some(Failure::PullFailed { detail }),
            _ if self.runtime.images.contains(digest) => None,
            _ => self.call_fails().then_some(Failure::PullFailed { detail }),
        };
        if failure.is_none() {
            self.runtime.images.insert(digest.clone());
        }
        let daemon = self.daemon()?;
        for waiter in daemon.pulls.remove(digest).unwrap_or_default() {
            let (alloc, task, incarnation) = match waiter {
                Waiter::Alloc { alloc, task, incarnation } => (alloc, task, incarnation),
                Waiter::Agent { errand } => {
                    let result = failure.clone().map_or(Ok(()), Err);
                    daemon.post(Who::Agent, Letter::Came { errand, result });
                    continue;
                }
            };
            let input = match failure.clone() {
                None => Input::Pulled { incarnation },
                Some(failure) => Input::PullFailed { incarnation, failure },
            };
            if daemon.agent.actors.contains_key(&alloc) {
                daemon.post(Who::Alloc(alloc), Letter::Input { task: Some((Key::Pull, task)), input });
            }
        }
        Ok(())
    }

    fn watch(&mut self, alloc: &AllocId, incarnation: Incarnation) -> Go {
        self.task(alloc, Key::Watch)?;
        if let Some(actor) = self.daemon()?.agent.actors.get_mut(alloc) {
            actor.watched = Some(incarnation);
        }
        self.tell_watcher(&(alloc.clone(), incarnation));
        Ok(())
    }

    /// Tells who waits for a container's end, if it has ended.
    pub(crate) fn tell_watcher(&mut self, name: &Name) {
        let Some(daemon) = &self.daemon else { return };
        let Some(actor) = daemon.agent.actors.get(&name.0).filter(|actor| actor.watched == Some(name.1))
        else {
            return;
        };
        let Some(task) = actor.tasks.get(&Key::Watch).copied() else { return };
        let (exit, at) = match self.runtime.containers.get(name).map(|container| container.state) {
            Some(State::Running) => return,
            Some(State::Ended { exit, at }) => (exit, at),
            Some(State::Created) | None => (Exit::Vanished, self.wall()),
        };
        let input = Input::Ended { incarnation: name.1, exit, clash: None, at };
        let letter = Letter::Input { task: Some((Key::Watch, task)), input };
        let back = self.runtime.away_until.0.saturating_sub(self.now.0);
        let pause = back + self.dice.below(40);
        self.due_in(pause, Due::Letter(Who::Alloc(name.0.clone()), letter));
    }

    pub(super) fn checked(
        &mut self,
        alloc: &AllocId,
        task: u64,
        (incarnation, runs): (Incarnation, bool),
    ) -> Go {
        if !self.is_wanted(alloc, Key::Check, task) {
            return Ok(());
        }
        let away = self.runtime.is_away(self.now);
        let now = self.now;
        let container = self.runtime.containers.get_mut(&(alloc.clone(), incarnation));
        let container = container.filter(|container| container.is_running());
        let well = container.as_ref().is_some_and(|container| match runs {
            true => !away,
            false => container.program.is_well(now),
        });
        let mut clash = None;
        if let Some(container) = container.filter(|_| !runs) {
            container.failed_in_row = if well { 0 } else { container.failed_in_row.saturating_add(1) };
            container.clashed = container.kind == Kind::Clashes;
            clash = container.clashed.then(|| Clash { port: 80, holder: "nginx (pid 1)".to_owned() });
        }
        let result = if well { Ok(()) } else { Err(CheckFailure { seen: "refused".to_owned(), clash }) };
        let input = Input::Checked { incarnation, result };
        let letter = Letter::Input { task: Some((Key::Check, task)), input };
        self.daemon()?.post(Who::Alloc(alloc.clone()), letter);
        Ok(())
    }

    /// What an alloc that acts was assigned.
    pub(super) fn assigned(&mut self, alloc: &AllocId) -> Go<Arc<mill_alloc::Assignment>> {
        match self.daemon()?.agent.actors.get(alloc) {
            Some(actor) => Ok(Arc::clone(actor.life.assignment())),
            None => Err(Halt::Broken(format!("{alloc} has no actor and acts"))),
        }
    }
}
