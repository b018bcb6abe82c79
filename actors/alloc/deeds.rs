//! Effects of a life, done: each as a task whose result comes back as an input.

use std::time::Duration;

use mill_alloc::{Check, CheckFailure, Effect, Exit, Input, Record};
use mill_drivers::bundle::Drivers;
use mill_drivers::clock::Clock as _;
use mill_drivers::containers::{ContainerName, Containers as _, Signal};
use mill_drivers::datapath::{Datapath as _, Mapping};
use mill_drivers::records::Records as _;
use mill_drivers::volumes::Scratch as _;
use mill_model::{Failure, Incarnation, Tempo};
use tracing::{debug, info, warn};

use super::check::{Checker, words};
use super::launch::{Outside, covered, launch, mounts};
use super::streams::{Pipes, Streams};
use super::{Alloc, Msg, State};
use crate::kit::{Crash, Me, Reply};
use crate::{agent, images};

impl<D: Drivers> State<D> {
    /// Does them in order. Answers the one that failed at once, if any did.
    pub(super) async fn carry_out(
        &mut self,
        me: &Me<Alloc<D>>,
        effects: Vec<Effect>,
    ) -> Result<Option<Input>, Crash> {
        let mut unkept = None;
        let mut failed = None;
        for effect in effects {
            match effect {
                Effect::Persist(record) => unkept = self.persist(&record).await.err(),
                Effect::Start { incarnation } => match unkept.take() {
                    None => self.start(me, incarnation),
                    // Without its record a container might be started twice.
                    Some(failure) => failed = Some(Input::StartFailed { incarnation, failure }),
                },
                Effect::Launch { .. } => {
                    if let Some(go) = self.go.take() {
                        go.send(unkept.take().map_or(Ok(()), Err));
                    }
                }
                Effect::Pull { incarnation } => self.pull(me, incarnation),
                Effect::Watch { incarnation } => self.watch(me, incarnation),
                Effect::Signal { incarnation } => self.signal(me, incarnation),
                Effect::Kill { incarnation } => self.kill(me, incarnation),
                Effect::Remove { incarnation } => self.remove(me, incarnation),
                Effect::Clear => self.clear(me),
                Effect::Check { incarnation, check } => self.check(me, incarnation, check),
                Effect::Locate { incarnation } => self.locate(me, incarnation),
                Effect::SetTimer { timer, after } => {
                    self.timers.insert(timer.kind, me.after(after, Msg::Fired(timer)));
                }
                // It could go to the next daemon's surprise: see `mill_alloc::life`.
                Effect::Report(status) if unkept.is_some() && status.phase.is_terminal() => {
                    failed = Some(Input::NotKept);
                }
                Effect::Report(status) => {
                    info!(
                        alloc = %status.id,
                        incarnation = %status.incarnation,
                        phase = %status.phase,
                        last_end = status.last_end.as_ref().and_then(|end| end.failure.as_ref()).map(tracing::field::display),
                        "alloc reported",
                    );
                    self.agent.tell(agent::Msg::Reported(status))?;
                }
            }
        }
        Ok(failed)
    }

    async fn persist(&self, record: &Record) -> Result<(), Failure> {
        let alloc = &record.status.id;
        let failure = |error: &dyn std::error::Error| {
            let error = words(error);
            warn!(%alloc, error, "the alloc's record can't be kept");
            Failure::Runtime { detail: format!("its record can't be kept: {error}") }
        };
        let bytes = record.encode().map_err(|error| failure(&error))?;
        let records = self.home.drivers.records();
        let Err(error) = records.write(alloc, bytes).await else { return Ok(()) };
        let failure = failure(&error);
        let Some(end) = record.end_to_mark() else { return Err(failure) };
        records.mark_over(alloc, end).await.map_err(|error| {
            let error = words(&error);
            warn!(%alloc, error, "the alloc's end can't be marked; it is told when it can");
            failure
        })
    }

    fn name(&self, incarnation: Incarnation) -> ContainerName {
        ContainerName { alloc: self.alloc().clone(), incarnation }
    }

    fn checker(&self, me: &Me<Alloc<D>>, incarnation: Incarnation) -> Checker<D> {
        let patience = me.tempo().ask_deadline;
        Checker {
            drivers: self.home.drivers.clone(),
            node: self.home.node.clone(),
            address: self.home.address,
            name: self.name(incarnation),
            ports: self.life.status().ports.clone(),
            is_mapped: self.mapping().is_some(),
            secrets: self.home.secrets.clone(),
            patience,
        }
    }

    /// How the kernel maps its ports: if it can, and could when the alloc came here.
    fn mapping(&self) -> Option<Mapping> {
        let loopback = self.life.loopback().filter(|_| self.home.drivers.datapath().mode().is_kernel());
        loopback.map(|loopback| Mapping::new(loopback, &self.life.status().ports))
    }

    fn pull(&mut self, me: &Me<Alloc<D>>, incarnation: Incarnation) {
        let (images, tempo) = (self.images.clone(), me.tempo().clone());
        let image = self.life.assignment().container.image.clone();
        let pull = async move {
            match images::get(&images, &image, &tempo).await {
                Ok(()) => Input::Pulled { incarnation },
                Err(failure) => Input::PullFailed { incarnation, failure },
            }
        };
        self.tasks.insert("pull", me.task("pull", pull, Msg::Came));
    }

    fn start(&mut self, me: &Me<Alloc<D>>, incarnation: Incarnation) {
        let name = self.name(incarnation);
        let (home, assignment) = (self.home.clone(), self.life.assignment().clone());
        let (ports, tempo) = (self.life.status().ports.clone(), me.tempo().clone());
        let mapping = self.mapping();
        let may = self.may(me, incarnation);
        let start = async move {
            let make = async {
                let pins = &assignment.container.pins;
                let secrets = home.secrets.open(home.drivers.seal(), pins, tempo.ask_deadline).await?;
                let mounts = mounts(home.drivers.scratch(), &assignment).await?;
                let pipes = open(&home.streams, &name, &tempo).await?;
                let outside = Outside { pipes, mounts, address: home.address, mapping, secrets: &secrets };
                let launch = launch(&name, &assignment, &home.node, &ports, outside)?;
                let started = home.drivers.containers().start_when(&launch, may).await;
                started.map_err(|error| covered(Failure::from(&error), &secrets))
            };
            match tokio::time::timeout(tempo.runtime_deadline, make).await {
                Ok(Ok(running)) => {
                    debug!(container = %name, pid = running.pid, "container runs");
                    Ok(())
                }
                Ok(Err(failure)) => Err(failure),
                Err(_) => {
                    let seconds = tempo.runtime_deadline.as_secs();
                    Err(Failure::Runtime { detail: format!("it wasn't started within {seconds} s") })
                }
            }
        };
        let came = move |result| match result {
            Ok(()) => Input::Started { incarnation },
            Err(failure) => Input::StartFailed { incarnation, failure },
        };
        let start = me.task("start", start, move |result| Msg::Came(result.map(came)));
        self.tasks.insert("start", start);
    }

    /// A service's container may run once it is made. A task's waits until it is written down that it may have run.
    fn may(
        &self,
        me: &Me<Alloc<D>>,
        incarnation: Incarnation,
    ) -> impl Future<Output = Result<(), Failure>> + Send + use<D> {
        let (here, is_task) = (me.address(), self.life.assignment().is_task());
        async move {
            if !is_task {
                return Ok(());
            }
            let (go, word) = Reply::channel();
            let unwanted = || Failure::Runtime { detail: "it isn't wanted any more".to_owned() };
            here.tell(Msg::Made { incarnation, go }).map_err(|_| unwanted())?;
            word.await.unwrap_or_else(|_| Err(unwanted()))
        }
    }

    fn watch(&mut self, me: &Me<Alloc<D>>, incarnation: Incarnation) {
        let (name, checker) = (self.name(incarnation), self.checker(me, incarnation));
        let (drivers, tempo) = (self.home.drivers.clone(), me.tempo().clone());
        let watch = async move {
            let mut attempts: u32 = 0;
            loop {
                match drivers.containers().wait(&name).await {
                    Ok(exit) => {
                        let clash = match exit.code {
                            0 => None,
                            _ => checker.clash().await,
                        };
                        return Input::Ended { incarnation, exit: super::exit_of(&exit), clash, at: exit.at };
                    }
                    Err(error) if error.is_not_found() => {
                        let at = drivers.clock().now();
                        return Input::Ended { incarnation, exit: Exit::Vanished, clash: None, at };
                    }
                    Err(error) => {
                        attempts = attempts.saturating_add(1);
                        debug!(container = %name, %error, "waiting for the container's end again");
                        tokio::time::sleep(tempo.runtime_delay(attempts)).await;
                    }
                }
            }
        };
        self.tasks.insert("watch", me.task("watch", watch, Msg::Came));
    }

    fn signal(&mut self, me: &Me<Alloc<D>>, incarnation: Incarnation) {
        let (name, containers, tempo) =
            (self.name(incarnation), self.home.drivers.containers().clone(), me.tempo().clone());
        let signal = async move {
            let mut attempts: u32 = 0;
            // Until it has been sent once: a runtime that is away for a second must not cost the program its
            // chance to end by itself. The grace goes on meanwhile.
            loop {
                let sent = async { containers.signal(&name, containers.stop_signal(&name).await?).await };
                match sent.await {
                    Ok(()) => return,
                    Err(error) if error.is_not_found() => return,
                    Err(error) => debug!(container = %name, %error, "sending the stop signal again"),
                }
                attempts = attempts.saturating_add(1);
                tokio::time::sleep(tempo.runtime_delay(attempts)).await;
            }
        };
        self.tasks.insert("signal", me.task("signal", signal, Msg::Done));
    }

    fn kill(&mut self, me: &Me<Alloc<D>>, incarnation: Incarnation) {
        let (name, containers) = (self.name(incarnation), self.home.drivers.containers().clone());
        let kill = async move {
            match containers.signal(&name, Signal::KILL).await {
                Err(error) if !error.is_not_found() => {
                    warn!(container = %name, %error, "failed to kill, another attempt follows");
                }
                _ => {}
            }
        };
        // In place of the stop signal, which must not come after it.
        self.tasks.insert("signal", me.task("signal", kill, Msg::Done));
    }

    fn remove(&mut self, me: &Me<Alloc<D>>, incarnation: Incarnation) {
        let (name, home) = (self.name(incarnation), self.home.clone());
        let deadline = removal_deadline(me.tempo());
        let remove = async move {
            match tokio::time::timeout(deadline, home.drivers.containers().remove(&name)).await {
                Ok(Ok(())) => {
                    // A plane that isn't reached now compares streams and containers when it is.
                    let _ = home.streams.tell(Streams::Ended { name });
                    return Input::Removed { incarnation };
                }
                Ok(Err(error)) => {
                    warn!(container = %name, %error, "failed to remove, another attempt follows");
                }
                Err(_) => {
                    warn!(container = %name, ?deadline, "removing takes too long, another attempt follows");
                }
            }
            Input::RemoveFailed { incarnation }
        };
        self.removals.retain(|_, task| !task.is_finished());
        self.removals.insert(incarnation, me.task("remove", remove, Msg::Came));
    }

    fn clear(&mut self, me: &Me<Alloc<D>>) {
        let (alloc, drivers, deadline) =
            (self.alloc().clone(), self.home.drivers.clone(), removal_deadline(me.tempo()));
        let clear = async move {
            match tokio::time::timeout(deadline, drivers.scratch().remove(&alloc)).await {
                Ok(Ok(())) => return Input::Cleared,
                Ok(Err(error)) => {
                    let error = words(&error);
                    warn!(%alloc, error, "ephemeral volumes can't be removed, another attempt follows");
                }
                Err(_) => {
                    warn!(%alloc, ?deadline, "removing volumes takes too long, another attempt follows");
                }
            }
            Input::ClearFailed
        };
        self.tasks.insert("clear", me.task("clear", clear, Msg::Came));
    }

    fn locate(&mut self, me: &Me<Alloc<D>>, incarnation: Incarnation) {
        let checker = self.checker(me, incarnation);
        let look = async move { Input::Located { incarnation, seen: checker.locate().await } };
        self.tasks.insert("locate", me.task("locate", look, Msg::Came));
    }

    fn check(&mut self, me: &Me<Alloc<D>>, incarnation: Incarnation, check: Check) {
        let (checker, assignment) = (self.checker(me, incarnation), self.life.assignment().clone());
        let limit = check.timeout.saturating_mul(2).saturating_add(me.tempo().check_margin);
        let ask = async move {
            let asked = tokio::time::timeout(limit, checker.check(check, &assignment)).await;
            let result = asked.unwrap_or_else(|_| {
                let seen = format!("no answer within {} s", limit.as_secs_f64());
                Err(CheckFailure { seen, clash: None })
            });
            Input::Checked { incarnation, result }
        };
        self.tasks.insert("check", me.task("check", ask, Msg::Came));
    }
}

/// A removal kills first and waits for that: twice what one call of the runtime may take.
fn removal_deadline(tempo: &Tempo) -> Duration {
    tempo.runtime_deadline.saturating_mul(2)
}

/// Has a container's pipes made and read.
async fn open(
    streams: &crate::outlet::Outlet<Streams>,
    name: &ContainerName,
    tempo: &Tempo,
) -> Result<Pipes, Failure> {
    let failure = |why: String| Failure::Runtime { detail: format!("its output can't be captured: {why}") };
    let mut attempts: u32 = 0;
    loop {
        let (reply, answer) = Reply::channel();
        if streams.tell(Streams::Open { name: name.clone(), reply }).is_ok() {
            match tokio::time::timeout(tempo.ask_deadline, answer).await {
                Ok(Ok(opened)) => return opened.map_err(failure),
                Ok(Err(_)) => {}
                Err(_) => return Err(failure("no answer".to_owned())),
            }
        }
        // That room is between two lives; it takes a moment, and nothing is wrong with the container.
        attempts = attempts.saturating_add(1);
        if attempts > mill_model::limits::ACTOR_CRASHES_MAX {
            return Err(failure("nobody is there to do it".to_owned()));
        }
        tokio::time::sleep(tempo.actor_delay(attempts)).await;
    }
}
