//! Containers in memory, on tokio's clock: paused time drives them.

mod echo;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mill_model::{AllocId, Bytes, Failure, Timestamp};
use tokio::io::duplex;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::{
    Ask, Attach, Attached, ContainerError, ContainerName, Containers, ExecOutcome, Exit, Found, Hand, Launch,
    Missing, Running, Signal, StartError, State, Usage,
};
use crate::cgroups::Oom;
use crate::containerd::RuntimeError;
use crate::datapath::Mapping;

/// How a program behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// It ends by itself after this, with this code.
    pub ends: Option<(Duration, u8)>,
    /// After a signal that asks it to stop it ends within this, with code 0; `None`: it ignores the signal.
    pub obeys_after: Option<Duration>,
    /// What executing a program in it (a health check) comes to.
    pub exec: ExecOutcome,
    /// How long such a program runs.
    pub exec_takes: Duration,
    /// It is killed for memory when it ends.
    pub out_of_memory: bool,
    /// Thousandths of a core that it uses, all the time. Of its memory it uses half.
    pub cpu_millis: u32,
    /// Programs that can't be executed in it.
    pub lacks: Vec<String>,
}

impl Default for Script {
    /// Runs until it is told to stop, and obeys at once.
    fn default() -> Self {
        Self {
            ends: None,
            obeys_after: Some(Duration::ZERO),
            exec: ExecOutcome { code: 0, output: String::new() },
            exec_takes: Duration::ZERO,
            out_of_memory: false,
            cpu_millis: 0,
            lacks: vec![],
        }
    }
}

/// Bytes that a fake program's stream holds before somebody has to read.
const STREAM_BYTES: usize = 4096;

/// Containers of a node in a test. Clones share state; it outlives the Mill that uses it, as containerd does.
#[derive(Debug, Clone)]
pub struct FakeContainers {
    state: Arc<Mutex<Inner>>,
    /// Counts changes, so that waits look again.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    /// By image repository.
    scripts: BTreeMap<String, Script>,
    start_failures: Vec<StartError>,
    slow: Duration,
    broken: bool,
    containers: BTreeMap<ContainerName, Fake>,
    hidden: BTreeSet<ContainerName>,
    started: Vec<(Launch, Timestamp)>,
    attached: Vec<Attach>,
    asked: Vec<Ask>,
    let_go: usize,
    next_pid: u32,
    born: Instant,
}

#[derive(Debug)]
struct Fake {
    launch: Launch,
    script: Script,
    pid: u32,
    started_at: Timestamp,
    /// When and how it ends, as far as is decided yet.
    ends: Option<(Instant, u8)>,
}

impl Default for FakeContainers {
    fn default() -> Self {
        let inner = Inner {
            scripts: BTreeMap::new(),
            start_failures: vec![],
            slow: Duration::ZERO,
            broken: false,
            containers: BTreeMap::new(),
            hidden: BTreeSet::new(),
            started: vec![],
            attached: vec![],
            asked: vec![],
            let_go: 0,
            next_pid: 1000,
            born: Instant::now(),
        };
        Self { state: Arc::new(Mutex::new(inner)), changes: watch::Sender::new(0) }
    }
}

impl FakeContainers {
    /// How containers of this image repository (`library/web`) behave that are started from now on.
    pub fn script(&self, repository: &str, script: Script) {
        self.state().scripts.insert(repository.to_owned(), script);
    }

    /// The next start fails so; several are used up in order.
    pub fn fail_next_start(&self, error: StartError) {
        self.state().start_failures.push(error);
    }

    /// Each call takes this long.
    pub fn slow_down(&self, each: Duration) {
        self.state().slow = each;
    }

    /// The runtime is out of reach until [`Self::repair`]; what runs goes on.
    pub fn break_down(&self) {
        self.state().broken = true;
        self.changed();
    }

    /// The runtime is back.
    pub fn repair(&self) {
        self.state().broken = false;
        self.changed();
    }

    /// A container ends now with this code, 128 + n for signal n.
    pub fn end(&self, name: &ContainerName, code: u8) {
        if let Some(fake) = self.state().containers.get_mut(name) {
            fake.ends = Some((Instant::now(), code));
        }
        self.changed();
    }

    /// A container vanishes behind Mill's back.
    pub fn forget(&self, name: &ContainerName) {
        self.state().containers.remove(name);
        self.changed();
    }

    /// A lie: `list` doesn't show this container though it is there.
    pub fn hide(&self, name: &ContainerName) {
        self.state().hidden.insert(name.clone());
    }

    /// Names of those that run now.
    pub fn running(&self) -> BTreeSet<ContainerName> {
        let state = self.state();
        let running = state.containers.iter().filter(|(_, fake)| fake.ended(&state).is_none());
        running.map(|(name, _)| name.clone()).collect()
    }

    /// Every launch there ever was, in order.
    pub fn started(&self) -> Vec<Launch> {
        self.state().started.iter().map(|(launch, _)| launch.clone()).collect()
    }

    /// When each of them was, on [`FakeClock`](crate::clock::FakeClock)'s time if that began with this at 0.
    pub fn starts(&self) -> Vec<(ContainerName, Timestamp)> {
        self.state().started.iter().map(|(launch, at)| (launch.name.clone(), *at)).collect()
    }

    /// Every program that was executed with its streams in somebody's hands, in order.
    pub fn attached(&self) -> Vec<Attach> {
        self.state().attached.clone()
    }

    /// What was asked of those, in order, and how many of them were let go before their end.
    pub fn asked(&self) -> (Vec<Ask>, usize) {
        let state = self.state();
        (state.asked.clone(), state.let_go)
    }

    fn make(&self, launch: &Launch) -> Result<(), StartError> {
        let mut state = self.state();
        state.containers.remove(&launch.name);
        match state.start_failures.is_empty() {
            true => Ok(()),
            false => Err(state.start_failures.remove(0)),
        }
    }

    fn state(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    async fn ask(&self, asked: &'static str) -> Result<(), RuntimeError> {
        let slow = self.state().slow;
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        match self.state().broken {
            true => Err(RuntimeError::Deadline { asked, after: slow }),
            false => Ok(()),
        }
    }

    /// The container, unless it is gone or has ended.
    fn live<T>(&self, name: &ContainerName, act: impl FnOnce(&mut Fake) -> T) -> Result<T, ContainerError> {
        let mut state = self.state();
        let ended = state.containers.get(name).is_none_or(|fake| fake.ended(&state).is_some());
        match state.containers.get_mut(name) {
            Some(fake) if !ended => Ok(act(fake)),
            _ => Err(ContainerError::NotFound { name: name.clone() }),
        }
    }
}

impl Inner {
    fn timestamp(&self, at: Instant) -> Timestamp {
        Timestamp(0).after(at.saturating_duration_since(self.born))
    }
}

impl Fake {
    fn ended(&self, inner: &Inner) -> Option<Exit> {
        let (at, code) = self.ends.filter(|(at, _)| *at <= Instant::now())?;
        let oom = self.script.out_of_memory.then_some(Oom::Ceiling);
        Some(Exit::of_status(if oom.is_some() { 137 } else { code.into() }, oom, inner.timestamp(at)))
    }

    /// A signal asks it to end, or ends it.
    fn hear(&mut self, signal: Signal) {
        let ends = match (signal, self.script.obeys_after) {
            (Signal::KILL, _) => Some((Instant::now(), 137)),
            (_, Some(after)) => Some((Instant::now() + after, 0)),
            (_, None) => None,
        };
        let sooner = |new: &(Instant, u8)| self.ends.is_none_or(|(at, _)| new.0 < at);
        self.ends = ends.filter(sooner).or(self.ends);
    }
}

impl Containers for FakeContainers {
    async fn start_when(
        &self,
        launch: &Launch,
        may: impl Future<Output = Result<(), Failure>> + Send,
    ) -> Result<Running, StartError> {
        self.ask("start a task").await?;
        self.make(launch)?;
        may.await.map_err(StartError::CalledOff)?;
        let mut state = self.state();
        let script = state.scripts.get(&launch.image.repository).cloned().unwrap_or_default();
        let pid = state.next_pid;
        state.next_pid += 1;
        let now = Instant::now();
        let at = state.timestamp(now);
        state.started.push((launch.clone(), at));
        let fake = Fake {
            launch: launch.clone(),
            ends: script.ends.map(|(after, code)| (now + after, code)),
            script,
            pid,
            started_at: at,
        };
        state.containers.insert(launch.name.clone(), fake);
        drop(state);
        self.changed();
        Ok(Running { pid })
    }

    async fn list(&self, alloc: &AllocId) -> Result<Vec<Found>, ContainerError> {
        self.ask("list tasks").await?;
        let state = self.state();
        let theirs = state.containers.iter().filter(|(name, _)| name.alloc == *alloc);
        let seen = theirs.filter(|(name, _)| !state.hidden.contains(name));
        let found = seen.map(|(name, fake)| Found {
            name: name.clone(),
            labels: fake.launch.labels.clone(),
            state: match fake.ended(&state) {
                Some(exit) => State::Ended(exit),
                None => State::Running { pid: fake.pid, started_at: fake.started_at },
            },
        });
        Ok(found.collect())
    }

    async fn wait(&self, name: &ContainerName) -> Result<Exit, ContainerError> {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let ends = {
                let state = self.state();
                let Some(fake) = state.containers.get(name) else {
                    return Err(ContainerError::NotFound { name: name.clone() });
                };
                match fake.ended(&state) {
                    Some(exit) if !state.broken => return Ok(exit),
                    _ => fake.ends.map(|(at, _)| at).filter(|_| !state.broken),
                }
            };
            let timer = async {
                match ends {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = timer => {}
                // The sender lives as long as this fake does.
                _ = changes.changed() => {}
            }
        }
    }

    async fn signal(&self, name: &ContainerName, signal: Signal) -> Result<(), ContainerError> {
        self.ask("signal a task").await?;
        self.live(name, |fake| fake.hear(signal))?;
        self.changed();
        Ok(())
    }

    async fn stop_signal(&self, name: &ContainerName) -> Result<Signal, ContainerError> {
        self.ask("tell of a container").await?;
        let state = self.state();
        let fake = state.containers.get(name);
        let fake = fake.ok_or_else(|| ContainerError::NotFound { name: name.clone() })?;
        let named = fake.launch.stop_signal.as_deref().and_then(|text| text.parse().ok());
        Ok(named.unwrap_or(Signal::TERM))
    }

    async fn exec(
        &self,
        name: &ContainerName,
        argv: &[String],
        deadline: Duration,
    ) -> Result<ExecOutcome, ContainerError> {
        self.ask("execute a program").await?;
        let (outcome, takes) = self.live(name, |fake| (fake.script.exec.clone(), fake.script.exec_takes))?;
        tokio::time::sleep(takes.min(deadline)).await;
        match takes > deadline {
            true => Err(ContainerError::ExecDeadline {
                command: argv.first().cloned().unwrap_or_default(),
                after: deadline,
            }),
            false => self.live(name, |_| outcome),
        }
    }

    async fn attach(&self, name: &ContainerName, wanted: &Attach) -> Result<Attached, ContainerError> {
        self.ask("execute a program").await?;
        let script = self.live(name, |fake| fake.script.clone())?;
        let command = wanted.argv.first().cloned().unwrap_or_default();
        if script.lacks.contains(&command) {
            return Err(ContainerError::NoSuchCommand { command, reason: Missing::NotFound });
        }
        self.state().attached.push(wanted.clone());
        let ((input, read), (written, output), (said, errors)) =
            (duplex(STREAM_BYTES), duplex(STREAM_BYTES), duplex(STREAM_BYTES));
        let ((hand, asks), (ended, ends)) = (Hand::new(), oneshot::channel());
        tokio::spawn(self.clone().echo(script.exec, (read, written, said), asks, ended));
        Ok(Attached {
            input: Box::new(input),
            output: Box::new(output),
            errors: Box::new(errors),
            hand,
            ended: ends,
        })
    }

    async fn usage(&self) -> Result<BTreeMap<ContainerName, Usage>, ContainerError> {
        self.ask("tell what containers use").await?;
        let state = self.state();
        let now = state.timestamp(Instant::now());
        let alive = state.containers.iter().filter(|(_, fake)| fake.ended(&state).is_none());
        let used = alive.map(|(name, fake)| {
            let cpu_time = now.since(fake.started_at) * fake.script.cpu_millis / 1000;
            let memory = Bytes(fake.launch.resources.memory.0 / 2);
            (name.clone(), Usage { cpu_time, memory })
        });
        Ok(used.collect())
    }

    async fn remove(&self, name: &ContainerName) -> Result<(), ContainerError> {
        self.ask("delete a task").await?;
        self.state().containers.remove(name);
        self.changed();
        Ok(())
    }

    async fn mapped(&self) -> Result<BTreeMap<ContainerName, Mapping>, ContainerError> {
        self.ask("list containers").await?;
        let state = self.state();
        let mapped = state.containers.iter();
        Ok(mapped.filter_map(|(name, fake)| Some((name.clone(), fake.launch.mapping.clone()?))).collect())
    }

    async fn leftovers(
        &self,
        known: &BTreeSet<ContainerName>,
    ) -> Result<BTreeSet<ContainerName>, ContainerError> {
        self.ask("list containers").await?;
        let state = self.state();
        Ok(state.containers.keys().filter(|name| !known.contains(name)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::oci::tests::launch;

    #[tokio::test(start_paused = true)]
    async fn a_fake_ends_by_itself_by_signal_and_by_hand() {
        let containers = FakeContainers::default();
        let crashing = Script { ends: Some((Duration::from_secs(3), 7)), ..Script::default() };
        containers.script("web", crashing);
        let started = Instant::now();
        let web = launch("web-2222.1", "registry.test/web:v1");
        containers.start(&web).await.unwrap();
        assert_eq!(containers.running(), [web.name.clone()].into());
        let exit = containers.wait(&web.name).await.unwrap();
        assert_eq!((exit.code, started.elapsed()), (7, Duration::from_secs(3)));

        let stubborn = Script { obeys_after: None, ..Script::default() };
        containers.script("db", stubborn);
        let db = launch("db-2222.1", "registry.test/db:v1");
        containers.start(&db).await.unwrap();
        containers.signal(&db.name, Signal::TERM).await.unwrap();
        assert!(containers.running().contains(&db.name));
        containers.signal(&db.name, Signal::KILL).await.unwrap();
        assert_eq!(containers.wait(&db.name).await.unwrap().signal, Some(9));
        assert!(containers.signal(&db.name, Signal::KILL).await.unwrap_err().is_not_found());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_outlasts_a_breakdown_and_ends_when_the_container_vanishes() {
        let containers = FakeContainers::default();
        let web = launch("web-2222.1", "registry.test/web:v1");
        containers.start(&web).await.unwrap();
        containers.break_down();
        assert!(containers.list(&web.name.alloc).await.is_err());
        let (told, name) = (containers.clone(), web.name.clone());
        let waiting = tokio::spawn(async move { told.wait(&name).await });
        tokio::task::yield_now().await;
        containers.end(&web.name, 3);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        containers.repair();
        assert_eq!(waiting.await.unwrap().unwrap().code, 3);
        containers.forget(&web.name);
        assert!(containers.wait(&web.name).await.unwrap_err().is_not_found());
    }
}
