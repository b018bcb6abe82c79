//! Calls of the runtime: each takes a while, may fail before or after its effect, and outlives its caller or doesn't.

use std::sync::Arc;

use mill_alloc::{Assignment, Exit, Input, TimerKind};
use mill_model::spec::VolumeKind;
use mill_model::{AllocId, Failure, Incarnation};

use super::{Due, Letter, Who};
use crate::outside::program::Program;
use crate::outside::{Container, Kind, Name, State};
use crate::world::log::note;
use crate::world::{Event, Go, World, broken};

/// What an actor does; one of a kind at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Look,
    Pull,
    Start,
    Watch,
    Signal,
    Clear,
    Check,
    Remove(Incarnation),
    Timer(TimerKind),
}

/// An effect on the runtime.
#[derive(Debug)]
pub(crate) enum Op {
    Create { name: Name, assignment: Arc<Assignment>, ports: Vec<u16> },
    Run { name: Name },
    Signal { name: Name },
    Kill { name: Name },
    Delete { name: Name },
    Clear { alloc: AllocId },
}

/// One that waits for its moment.
#[derive(Debug)]
pub(crate) struct OpEvent {
    pub(crate) life: u64,
    pub(crate) alloc: AllocId,
    pub(crate) key: Key,
    pub(crate) task: u64,
    pub(crate) op: Op,
}

/// What follows once a task's container may run.
#[derive(Debug)]
pub(super) struct Launching {
    task: (Key, u64),
    run_in: u64,
    answer: (u64, Input),
}

impl World {
    fn op_in(&mut self, ms: u64, (key, task): (Key, u64), alloc: &AllocId, op: Op) {
        let life = self.life;
        self.at(ms, Event::Op(OpEvent { life, alloc: alloc.clone(), key, task, op }));
    }

    fn input_in(&mut self, ms: u64, task: (Key, u64), alloc: &AllocId, input: Input) {
        let letter = Letter::Input { task: Some(task), input };
        self.due_in(ms, Due::Letter(Who::Alloc(alloc.clone()), letter));
    }

    pub(crate) fn op_due(&mut self, event: OpEvent) -> Go {
        let OpEvent { life, alloc, key, task, op } = event;
        if life != self.life || !self.is_wanted(&alloc, key, task) {
            return Ok(());
        }
        self.spark()?;
        self.op(op)
    }

    pub(crate) fn op(&mut self, op: Op) -> Go {
        match op {
            Op::Create { name, assignment, ports } => self.create(name, assignment, ports),
            Op::Run { name } => self.run(&name),
            Op::Signal { name } => {
                self.signalled(&name);
                Ok(())
            }
            Op::Kill { name } => {
                self.end_container(&name, Exit::Signal(9));
                Ok(())
            }
            Op::Delete { name } => {
                self.remove_container(&name);
                Ok(())
            }
            Op::Clear { alloc } => {
                self.runtime.scratch.remove(&alloc);
                Ok(())
            }
        }
    }

    pub(super) fn start(&mut self, alloc: &AllocId, incarnation: Incarnation) -> Go {
        let task = (Key::Start, self.task(alloc, Key::Start)?);
        let assignment = self.assigned(alloc)?;
        let actor = self.daemon()?.agent.actors.get(alloc);
        let ports =
            actor.map(|actor| actor.life.status().ports.iter().map(|port| port.mapped.get()).collect());
        let name: Name = (alloc.clone(), incarnation);
        let kind = self.runtime.kind(&assignment);
        let (create, run) = (self.dice.between(2, 60), self.dice.between(2, 60));
        let failure = match kind {
            Kind::NoCommand => Some(Failure::NoSuchCommand { command: "serve".to_owned() }),
            Kind::StartFails => Some(Failure::Runtime { detail: "always".to_owned() }),
            _ if self.call_fails() => Some(Failure::Runtime { detail: "by chance".to_owned() }),
            _ => None,
        };
        let hangs = failure.is_some() && self.wild && self.dice.percent(20);
        let answer_in = match hangs {
            true => u64::try_from(self.tempo.runtime_deadline.as_millis()).unwrap_or(30_000),
            false => create + run + self.dice.below(20),
        };
        // A call that fails may have had its effect all the same.
        let reached = if failure.is_none() { 2 } else { self.dice.below(3) };
        let runs = reached >= 2 && !matches!(kind, Kind::NoCommand | Kind::StartFails);
        let is_task = assignment.is_task();
        let is_made = reached >= 1 && !(failure.is_some() && self.runtime.is_away(self.now));
        if is_made {
            let ports = ports.unwrap_or_default();
            self.op_in(create, task, alloc, Op::Create { name: name.clone(), assignment, ports });
        }
        let input = match failure {
            None => Input::Started { incarnation },
            Some(failure) => Input::StartFailed { incarnation, failure },
        };
        match is_made && runs {
            true if is_task => {
                let answer = (answer_in - create, input);
                let launching = Some(Launching { task, run_in: run, answer });
                if let Some(actor) = self.daemon()?.agent.actors.get_mut(alloc) {
                    actor.launching = launching;
                }
                let letter = Letter::Input { task: None, input: Input::Made { incarnation } };
                self.due_in(create + 1, Due::Letter(Who::Alloc(alloc.clone()), letter));
                return Ok(());
            }
            true => self.op_in(create + run, task, alloc, Op::Run { name }),
            false => {}
        }
        self.input_in(answer_in, task, alloc, input);
        Ok(())
    }

    /// What was made runs, unless it couldn't be written down that it may have.
    pub(super) fn launch(
        &mut self,
        alloc: &AllocId,
        incarnation: Incarnation,
        unkept: Option<Failure>,
    ) -> Go {
        let actor = self.daemon()?.agent.actors.get_mut(alloc);
        let Some(Launching { task, run_in, answer }) = actor.and_then(|actor| actor.launching.take()) else {
            return Ok(());
        };
        if let Some(failure) = unkept {
            self.input_in(1, task, alloc, Input::StartFailed { incarnation, failure });
            return Ok(());
        }
        self.op_in(run_in, task, alloc, Op::Run { name: (alloc.clone(), incarnation) });
        self.input_in(answer.0, task, alloc, answer.1);
        Ok(())
    }

    fn create(&mut self, name: Name, assignment: Arc<Assignment>, ports: Vec<u16>) -> Go {
        if !self.runtime.names.insert(name.clone()) {
            return broken(format!("the name {}.{} is given a second time", name.0, name.1));
        }
        let has_scratch = assignment
            .container
            .volumes
            .iter()
            .any(|volume| matches!(volume.kind, VolumeKind::Ephemeral { .. }));
        if has_scratch {
            self.runtime.scratch.insert(name.0.clone());
        }
        note!(self, "container {}.{} is made", name.0, name.1);
        let container = Container {
            kind: self.runtime.kind(&assignment),
            assignment,
            ports,
            state: State::Created,
            started_at: self.now,
            started_by_wall: self.wall(),
            program: Program::default(),
            known: false,
            failed_in_row: 0,
            clashed: false,
            unrecorded: false,
            condemned: false,
        };
        self.runtime.containers.insert(name, container);
        Ok(())
    }

    fn run(&mut self, name: &Name) -> Go {
        let Some(container) = self.runtime.containers.get(name) else { return Ok(()) };
        if let Some(objection) = self.runtime.objection(name, container) {
            return broken(objection);
        }
        self.judge_start_of(name)?;
        let has_secrets = self.has_secrets(name);
        let (now, wall_now, wild) = (self.now, self.wall(), self.wild);
        let program = Program::draw(container.kind, now, wild, &mut self.dice);
        let ends = program.ends;
        if let Some(container) = self.runtime.containers.get_mut(name) {
            container.state = State::Running;
            container.started_at = now;
            container.started_by_wall = wall_now;
            container.program = program;
        }
        note!(self, "container {}.{} runs", name.0, name.1);
        self.tally.containers += 1;
        self.tally.pinned += u64::from(has_secrets);
        if let Some((at, exit)) = ends {
            self.at(at.0 - now.0, Event::Exit { name: name.clone(), exit, told: false });
        }
        Ok(())
    }

    fn has_secrets(&self, name: &Name) -> bool {
        let container = self.runtime.containers.get(name);
        container.is_some_and(|container| !container.assignment.container.pins.is_empty())
    }

    pub(super) fn signal(&mut self, alloc: &AllocId, incarnation: Incarnation, kill: bool) -> Go {
        let task = (Key::Signal, self.task(alloc, Key::Signal)?);
        let name: Name = (alloc.clone(), incarnation);
        self.judge_end_of(&name)?;
        if let Some(container) = self.runtime.containers.get_mut(&name) {
            container.condemned = true;
        }
        if !self.call_fails() {
            let op = if kill { Op::Kill { name } } else { Op::Signal { name } };
            let pause = self.dice.between(1, 30);
            self.op_in(pause, task, alloc, op);
        }
        Ok(())
    }

    fn signalled(&mut self, name: &Name) {
        let Some(container) = self.runtime.containers.get(name).filter(|container| container.is_running())
        else {
            return;
        };
        note!(self, "container {}.{} gets its stop signal", name.0, name.1);
        if let Some(after) = container.program.obeys_after {
            let exit = if self.dice.percent(50) { Exit::Code(0) } else { Exit::Signal(15) };
            self.at(after, Event::Exit { name: name.clone(), exit, told: true });
        }
    }

    pub(super) fn remove(&mut self, alloc: &AllocId, incarnation: Incarnation) -> Go {
        let key = Key::Remove(incarnation);
        let task = (key, self.task(alloc, key)?);
        let name: Name = (alloc.clone(), incarnation);
        self.judge_end_of(&name)?;
        let (kill, delete) = (self.dice.between(1, 30), self.dice.between(1, 60));
        let fails = self.call_fails();
        let reached = if fails { self.dice.below(3) } else { 2 };
        if reached >= 1 && !self.runtime.is_away(self.now) {
            self.op_in(kill, task, alloc, Op::Kill { name: name.clone() });
            if reached >= 2 {
                self.op_in(kill + delete, task, alloc, Op::Delete { name });
            }
        }
        let input = if fails { Input::RemoveFailed { incarnation } } else { Input::Removed { incarnation } };
        let answer = kill + delete + self.dice.below(10);
        self.input_in(answer, task, alloc, input);
        Ok(())
    }

    /// Nothing is left of a container, however far it was.
    pub(crate) fn remove_container(&mut self, name: &Name) {
        if self.runtime.containers.remove(name).is_some() {
            note!(self, "container {}.{} is gone", name.0, name.1);
            self.tell_watcher(name);
        }
    }

    pub(super) fn clear(&mut self, alloc: &AllocId) -> Go {
        let task = (Key::Clear, self.task(alloc, Key::Clear)?);
        let pause = self.dice.between(1, 50);
        let input = match self.call_fails() {
            true => Input::ClearFailed,
            false => {
                self.op_in(pause, task, alloc, Op::Clear { alloc: alloc.clone() });
                Input::Cleared
            }
        };
        self.input_in(pause, task, alloc, input);
        Ok(())
    }
}
