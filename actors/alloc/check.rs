//! A health check, made where *this* alloc listens.
//!
//! # Why
//! With the kernel's mapping a program listens on the mapped port of the node's address, or, if it speaks IPv6 alone, on
//! that of another. Without it one may ignore `PORT` and bind what it always binds. So the mapped port is tried first, and if nothing listens there, the kernel's tables say where a process of this container does: on the
//! mapped port at another address, or on the declared one. What another replica or program has on the declared port
//! is never asked: its health isn't ours. It is named instead, if this alloc listens nowhere.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use mill_alloc::{Asked, Assignment, Check, CheckFailure, Clash};
use mill_drivers::bundle::Drivers;
use mill_drivers::containers::{ContainerName, Containers as _, Found, State};
use mill_drivers::probes::{ProbeFailure, Probes as _};
use mill_drivers::sockets::{Listener, Sockets as _, Wanted};
use mill_model::ports::{MappedPort, Protocol};
use mill_model::spec::Probe;
use mill_model::template::{Part, Template};
use mill_model::{Failure, NodeName, Opened};
use tokio::time::Instant;

use super::launch::facts;
use crate::secrets::Sealed;

/// All that a check needs to know.
#[derive(Debug, Clone)]
pub(super) struct Checker<D> {
    pub(super) drivers: D,
    pub(super) node: NodeName,
    /// Where mapped ports are reached.
    pub(super) address: IpAddr,
    pub(super) name: ContainerName,
    pub(super) ports: Vec<MappedPort>,
    /// Whether the kernel maps them: then nobody else can hold what it declares.
    pub(super) is_mapped: bool,
    pub(super) secrets: Sealed,
    /// Longest wait for a state that knows them.
    pub(super) patience: Duration,
}

/// A check over the network, its references filled in.
enum Question {
    Http { path: String },
    Tcp,
    Grpc,
}

impl<D: Drivers> Checker<D> {
    /// What a failed check saw is replicated and shown: secrets in it are covered.
    pub(super) async fn check(&self, check: Check, assignment: &Assignment) -> Result<(), CheckFailure> {
        let Err(failure) = self.asked(check, assignment).await else { return Ok(()) };
        let seen = match self.open(assignment).await {
            Ok(secrets) => secrets.cover(&failure.seen),
            Err(_) => "it failed; what it said may hold a secret that can't be opened now".to_owned(),
        };
        Err(CheckFailure { seen, ..failure })
    }

    async fn open(&self, assignment: &Assignment) -> Result<Opened, Failure> {
        self.secrets.open(self.drivers.seal(), &assignment.container.pins, self.patience).await
    }

    async fn asked(&self, check: Check, assignment: &Assignment) -> Result<(), CheckFailure> {
        let secrets = match names_secrets(&check.what) {
            true => self
                .open(assignment)
                .await
                .map_err(|failure| CheckFailure { seen: failure.to_string(), clash: None })?,
            false => Opened::default(),
        };
        let facts = facts(assignment, &self.node, &secrets);
        let (question, port) = match check.what {
            Asked::Probe(Probe::Exec { command }) => {
                let argv = facts.fill_all(&command).map_err(plain)?;
                return self.exec(&argv, check.timeout).await;
            }
            Asked::Probe(Probe::Http { path, port }) => {
                (Question::Http { path: facts.fill(&path).map_err(plain)? }, port)
            }
            Asked::Probe(Probe::Tcp { port }) | Asked::Port(port) => (Question::Tcp, port),
            Asked::Probe(Probe::Grpc { port }) => (Question::Grpc, port),
            Asked::Runs => return self.runs().await,
        };
        self.over_network(&question, port.get(), check.timeout).await
    }

    async fn runs(&self) -> Result<(), CheckFailure> {
        let found = self.drivers.containers().list(&self.name.alloc).await.map_err(plain)?;
        let runs = |found: &Found| found.name == self.name && matches!(found.state, State::Running { .. });
        match found.iter().any(runs) {
            true => Ok(()),
            false => Err(CheckFailure { seen: "it doesn't run".to_owned(), clash: None }),
        }
    }

    async fn exec(&self, argv: &[String], timeout: Duration) -> Result<(), CheckFailure> {
        let outcome = self.drivers.containers().exec(&self.name, argv, timeout).await.map_err(plain)?;
        if outcome.code == 0 {
            return Ok(());
        }
        let program = argv.first().map_or("", String::as_str);
        let last = outcome.output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no output");
        Err(CheckFailure {
            seen: format!("`{program}` exited with code {}: {last}", outcome.code),
            clash: None,
        })
    }

    async fn over_network(
        &self,
        question: &Question,
        declared: u16,
        timeout: Duration,
    ) -> Result<(), CheckFailure> {
        let deadline = Instant::now() + timeout;
        let mapped = self.mapped(declared);
        match self.ask(question, SocketAddr::new(self.address, mapped), timeout).await {
            Err(failure) if failure.is_refused() => {}
            result => return result.map_err(plain),
        }
        let ports = Wanted::Ports([mapped, declared].into());
        let listeners = self.drivers.sockets().listeners(&ports).await.map_err(plain)?;
        let left = || deadline.saturating_duration_since(Instant::now());
        let tcp =
            |port: u16| listeners.iter().filter(move |one| one.port == port && one.protocol == Protocol::Tcp);
        let mine = |one: &&Listener| one.is_of(&self.name);
        let own = [mapped, declared].into_iter().find_map(|port| tcp(port).find(mine));
        let Some(own) = own else {
            return Err(self.nowhere(declared, mapped, tcp(declared).find(|one| !mine(one))));
        };
        let [first, second] = self.reached_at(own);
        match self.ask(question, first, left()).await {
            Err(failure) if failure.is_refused() => self.ask(question, second, left()).await.map_err(plain),
            result => result.map_err(plain),
        }
    }

    fn mapped(&self, declared: u16) -> u16 {
        let port = self.ports.iter().find(|port| port.declared.number.get() == declared);
        port.map_or(declared, |port| port.mapped.get())
    }

    /// For each port, where this alloc is reached if not at the mapped one. Empty if nobody can say.
    pub(super) async fn locate(&self) -> Vec<Option<SocketAddr>> {
        let numbers = self.ports.iter().flat_map(|port| [port.mapped, port.declared.number]);
        let wanted = Wanted::Ports(numbers.map(NonZeroU16::get).collect());
        let Ok(listeners) = self.drivers.sockets().listeners(&wanted).await else { return vec![] };
        self.ports.iter().map(|port| self.seen(port, &listeners)).collect()
    }

    fn seen(&self, port: &MappedPort, listeners: &[Listener]) -> Option<SocketAddr> {
        let mine = |number: NonZeroU16| {
            let on = |one: &&Listener| one.port == number.get() && one.protocol == port.declared.protocol;
            let own = listeners.iter().filter(on).filter(|one| one.is_of(&self.name));
            own.min_by_key(|one| one.address.is_loopback())
        };
        let [at, _] = self.reached_at(mine(port.mapped).or_else(|| mine(port.declared.number))?);
        (at != SocketAddr::new(self.address, port.mapped.get())).then_some(at)
    }

    /// Where to try a listener: everywhere means on the node's address too, unless it is for IPv6 alone.
    fn reached_at(&self, listener: &Listener) -> [SocketAddr; 2] {
        let at = |address| SocketAddr::new(address, listener.port);
        match listener.address {
            IpAddr::V4(address) if address.is_unspecified() => [at(self.address); 2],
            IpAddr::V6(address) if address.is_unspecified() => {
                [at(self.address), at(Ipv6Addr::LOCALHOST.into())]
            }
            address => [at(address); 2],
        }
    }

    async fn ask(&self, question: &Question, at: SocketAddr, timeout: Duration) -> Result<(), ProbeFailure> {
        let probes = self.drivers.probes();
        match question {
            Question::Http { path } => probes.http(at, path, timeout).await,
            Question::Tcp => probes.tcp(at, timeout).await,
            Question::Grpc => probes.grpc(at, timeout).await,
        }
    }

    fn nowhere(&self, declared: u16, mapped: u16, other: Option<&Listener>) -> CheckFailure {
        if self.is_mapped {
            return CheckFailure { seen: format!("it doesn't listen on port {declared}"), clash: None };
        }
        let seen = format!("it listens neither on port {mapped} ($PORT) nor on port {declared}");
        let clash = other.map(|other| Clash { port: declared, holder: other.to_string() });
        CheckFailure { seen, clash: clash.filter(|_| declared != mapped) }
    }

    /// Who else holds a declared port, now that the program has ended.
    pub(super) async fn clash(&self) -> Option<Clash> {
        if self.is_mapped {
            return None;
        }
        let declared = self.ports.iter().map(|port| port.declared.number.get());
        let own: Vec<u16> = self.ports.iter().map(|port| port.mapped.get()).collect();
        let sought = declared.filter(|port| !own.contains(port)).collect();
        let listeners = self.drivers.sockets().listeners(&Wanted::Ports(sought)).await.ok()?;
        let speaks = |one: &&Listener| {
            self.ports
                .iter()
                .any(|port| port.declared.number.get() == one.port && port.declared.protocol == one.protocol)
        };
        let other = |one: &&Listener| !one.is_of(&self.name);
        let found = listeners.iter().filter(speaks).find(other)?;
        Some(Clash { port: found.port, holder: found.to_string() })
    }
}

/// Whether a check can't be made without opening a secret: most can.
fn names_secrets(asked: &Asked) -> bool {
    let names = |template: &Template| template.references().any(|part| matches!(part, Part::Secret(_)));
    match asked {
        Asked::Probe(Probe::Exec { command }) => command.iter().any(names),
        Asked::Probe(Probe::Http { path, .. }) => names(path),
        Asked::Probe(Probe::Tcp { .. } | Probe::Grpc { .. }) | Asked::Port(_) | Asked::Runs => false,
    }
}

/// A failure in words.
fn plain(error: impl std::error::Error) -> CheckFailure {
    CheckFailure { seen: words(&error), clash: None }
}

/// An error and its sources.
pub(crate) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
