//! `mill daemon` and `mill dev`: the composition root of a node.

mod containerd;
mod trouble;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;

use mill_actors::kit::{Ended, Tree};
use mill_actors::node::{self, backend};
use mill_actors::raft::Published;
use mill_api::client::ClientError;
use mill_api::daemon::InitRequest;
use mill_drivers::bundle::{Drivers as _, Parts};
use mill_drivers::clock::{Clock as _, SystemClock};
use mill_drivers::containers::RuntimeConfig;
use mill_drivers::datapath::{Datapath as _, KernelDatapath, Mode};
use mill_drivers::disk::RealDisk;
use mill_drivers::home::Home;
use mill_drivers::host;
use mill_drivers::logs::FileLogs;
use mill_drivers::machine::Machine;
use mill_drivers::memory;
use mill_drivers::process::{OtherProcess, Starter};
use mill_drivers::random::KernelRandom;
use mill_drivers::systemd::{Manager, News};
use mill_model::Tempo;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::node::{Log, StartsPlane};
use crate::cli::{self, CliError, Exit, NodeConfig};
use crate::faults;
use crate::unit;

/// How unwilling the kernel is to kill the daemon, and a plane and a containerd that it starts: as `mill.service` says.
const OOM_SCORE: i32 = -900;

/// The world as it is.
type Real = Parts<Machine, RealDisk, KernelRandom, FileLogs, Starter>;

/// Threads that may wait for a disk, or the kernel, at once. More than a disk has use for: the log of the cluster waits
/// for its disk among them, and must find one when every container of a node hangs on a volume that doesn't answer.
const DISK_THREADS: usize = 512;

/// Runs a node until it is told to stop.
pub(crate) fn run(config: &NodeConfig, dev: bool) -> Result<Exit, CliError> {
    start_logging(&config.log);
    memory::bound();
    // Secrets pass through this process.
    host::forbid_core_dumps();
    host::be_killed_last(OOM_SCORE);
    // The one provider that is compiled in; refused only if somebody was faster.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tempo = Tempo::default();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.max_blocking_threads(DISK_THREADS).thread_keep_alive(tempo.disk_thread_kept);
    let runtime = runtime.enable_all().build();
    let runtime = runtime.map_err(|error| failed("the runtime can't be started").source(&error))?;
    let lived = runtime.block_on(live(config, dev));
    // A write to a disk that hangs keeps its thread for ever; the process needn't wait for it.
    runtime.shutdown_timeout(tempo.shutdown_deadline);
    lived
}

async fn live(config: &NodeConfig, dev: bool) -> Result<Exit, CliError> {
    // First of all: what is started below isn't left behind by a signal's default.
    let mut signals = Signals::hook()?;
    trouble::root()?;
    let config = &config.resolved();
    let tempo = Arc::new(Tempo::default());
    let home = trouble::open(&config.data_dir, &tempo).await?;
    let fresh = home.identity().map_err(|error| trouble::home(&error, &config.data_dir))?.is_none();
    if !fresh {
        home.keys().map_err(|error| trouble::home(&error, &config.data_dir))?;
    }
    let was_member = home.was_member();
    let _machine = trouble::claim(config, &tempo).await?;
    trouble::plane(config)?;
    if !was_member {
        // A node that has containers looks after them, also while somebody else has its port.
        trouble::port(config.listen).await?;
    }
    let mut found = containerd::find(config, &tempo).await?;
    let containerd = found.started.take();
    let _claim = trouble::containerd(&found.socket, &tempo).await?;
    let args = arguments(config, Arc::new(home), found, &tempo)?;
    let published = args.published.clone();
    choose_mapping(args.outside.drivers.datapath()).await;
    let tree = node::start(args, Arc::clone(&tempo)).await.map_err(|error| {
        failed("the daemon can't be started").source(&error).hint("`mill doctor` looks for the cause")
    })?;
    let manager = Manager::found();
    let introspect = tree.introspect();
    let mut was_up = was_member;
    let life = async {
        match dev {
            true => become_cluster(&tree, &published, &tempo, fresh).await?,
            false => trouble::up(&tree.introspect(), &tempo).await.map_err(Trouble::Crashes)?,
        }
        was_up = true;
        manager.tell(&News::Ready);
        if dev {
            welcome(config);
        }
        lived(&tree, &manager, &published, &tempo).await
    };
    let ended = tokio::select! {
        () = signals.told() => Ok(()),
        () = faults::obey(&introspect, "daemon") => Ok(()),
        ended = life => ended,
    };
    if ended.is_ok() {
        // Product.md P2.
        tracing::info!("stopping; containers go on");
    }
    manager.tell(&News::Stopping);
    let stopped = tree.stop(tempo.shutdown_deadline).await;
    // A member may have containers, which lean on plane and containerd, also if it became one a moment ago. The disk isn't
    // asked again: one that fails would say that it never was.
    if !was_member && !published.cluster.borrow().is_bootstrapped() {
        trouble::end_plane(config);
        if let Some(containerd) = containerd {
            // It has nothing yet; that it stays is a pity and no more.
            let _ = tokio::time::timeout(tempo.runtime_deadline, containerd.stop()).await;
        }
    }
    match ended {
        Ok(()) => match stopped {
            Ok(()) => Ok(Exit::Ok),
            Err(error) => Err(failed("not everything stopped in time").source(&error)),
        },
        // What can't be stopped can't be looked into either; the reason is told all the same.
        Err(Trouble::Refused(error)) => Err(*error),
        Err(Trouble::Crashes(reason)) => Err(trouble::explain(reason, config, was_up)),
    }
}

/// Lives until the tree ends, and gives signs of life meanwhile.
async fn lived(
    tree: &Tree<node::Msg>,
    manager: &Manager,
    published: &Published,
    tempo: &Tempo,
) -> Result<(), Trouble> {
    let introspect = tree.introspect();
    tokio::select! {
        ended = tree.ended() => match ended {
            Ended::GaveUp { error } => Err(Trouble::Crashes(error)),
            Ended::Stopped => Ok(()),
        },
        () = unit::attend(manager, &introspect, &trouble::ROOMS, tempo, || status(published)) => Ok(()),
        never = memory::give_back(tempo.memory_given_back_every) => match never {},
    }
}

/// How a daemon is told to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn hook() -> Result<Self, CliError> {
        let hook = |kind| signal(kind).map_err(|error| failed("signals can't be received").source(&error));
        Ok(Self { terminate: hook(SignalKind::terminate())?, interrupt: hook(SignalKind::interrupt())? })
    }

    /// Waits for one.
    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Why a daemon can't go on.
enum Trouble {
    /// Somebody said no, with all that can be said.
    Refused(Box<CliError>),
    /// A room crashes again and again, for this reason.
    Crashes(String),
}

fn arguments(
    config: &NodeConfig,
    home: Arc<Home>,
    found: containerd::Found,
    tempo: &Arc<Tempo>,
) -> Result<node::Args<Real>, CliError> {
    let socket = found.socket.clone();
    let runtime = RuntimeConfig {
        socket: found.socket,
        cgroup_parent: config.cgroup_parent.clone(),
        state: state_dir(config).join("containers"),
    };
    let drivers = Machine::new(&config.data_dir, &runtime, tempo).map_err(|error| {
        failed("containers can't be run on this machine")
            .source(&error)
            .hint("`mill doctor` looks for the cause")
    })?;
    let capacity =
        host::capacity().map_err(|error| failed("this machine can't be looked at").source(&error))?;
    let settings = node::Settings {
        name: config.name.clone(),
        advertise: config.advertise.unwrap_or_else(host::default_address),
        listen: config.listen,
        socket: config.socket.clone(),
        capacity,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let now = Arc::new(|| SystemClock.now());
    let logs = FileLogs::new(config.data_dir.join("allocs"), now, tempo.log_poll);
    let node = cli::doctor::Node { containerd: Some(socket), ..cli::doctor::Node::of(config) };
    let datapath = drivers.datapath().clone();
    let doctor: backend::Doctor = Arc::new(move || {
        let node = cli::doctor::Node { mode: Some(datapath.mode()), ..node.clone() };
        Box::pin(async move { cli::doctor::findings(&node).await })
    });
    let plane = plane(config)?;
    Ok(node::Args {
        settings,
        home,
        outside: Parts { drivers, disk: RealDisk, random: KernelRandom, logs, plane },
        published: Published::default(),
        containerd: found.own,
        plane_socket: config.plane_socket.clone(),
        doctor,
    })
}

/// How ports are mapped, for as long as this daemon lives. What runs already stays as it was started.
async fn choose_mapping(datapath: &KernelDatapath) {
    match datapath.choose().await {
        Mode::Kernel => tracing::info!("ports are mapped by the kernel"),
        Mode::Fallback { reason } => {
            tracing::warn!(reason, "the kernel maps no ports: programs must listen on $PORT");
        }
    }
}

/// Who starts a plane if none is found: a unit of the service manager's, or this daemon, of this very program, which
/// says what goes wrong to a file.
fn plane(config: &NodeConfig) -> Result<Starter, CliError> {
    if config.plane == StartsPlane::Unit {
        return Ok(Starter::Unit);
    }
    let mut arguments: Vec<OsString> = vec!["plane".into(), "--data-dir".into()];
    arguments.push(config.data_dir.clone().into());
    arguments.extend(["--plane-socket".into(), config.plane_socket.clone().into()]);
    OtherProcess::myself(arguments, config.data_dir.join("plane.log"))
        .map(Starter::Here)
        .map_err(|error| failed("the plane can't be started").source(&error))
}

/// What doesn't survive a reboot lies beside the control socket.
fn state_dir(config: &NodeConfig) -> PathBuf {
    config.socket.parent().map_or_else(|| PathBuf::from("/run/mill"), std::path::Path::to_owned)
}

/// `mill dev` needs no `mill init`: the first start makes the cluster.
async fn become_cluster(
    tree: &Tree<node::Msg>,
    published: &Published,
    tempo: &Tempo,
    fresh: bool,
) -> Result<(), Trouble> {
    let introspect = tree.introspect();
    let crashing = trouble::crashing(&introspect, tempo);
    let begin = async {
        if !fresh {
            // Whoever leads has applied all that was committed before. However long that takes: a log that never
            // comes up is a room that crashes.
            let mut role = published.role.subscribe();
            let leads = role.wait_for(|role| role.is_leading).await.is_ok();
            if leads && published.cluster.borrow().is_bootstrapped() {
                return Ok(());
            }
        }
        let request = InitRequest::default();
        let deadline = tempo.write_deadline * 3;
        let answer = tree.root().ask(deadline, |reply| node::Msg::Init { request, reply }).await;
        match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(refused)) => {
                Err(Trouble::Refused(Box::new(ClientError::Refused(Box::new(refused)).into())))
            }
            // Who crashed over it says more than that it did.
            Err(error) => {
                let crash = trouble::last_crash(&introspect).await;
                Err(Trouble::Crashes(crash.unwrap_or_else(|| error.to_string())))
            }
        }
    };
    tokio::select! {
        begun = begin => begun,
        reason = crashing => Err(Trouble::Crashes(reason)),
    }
}

/// What the service manager shows of a node that is well.
fn status(published: &Published) -> String {
    let cluster = published.cluster.borrow();
    match cluster.is_bootstrapped() {
        false => "belongs to no cluster: waits for `mill init`".to_owned(),
        true => {
            let role = if published.role.borrow().is_leading { "leads" } else { "follows" };
            format!("{role}; projects: {}", cluster.projects.len())
        }
    }
}

/// Told to a person in front of a terminal; a log has it in the daemon's own words.
fn welcome(config: &NodeConfig) {
    if std::io::stderr().is_terminal() {
        cli::say(&format!(
            "mill dev runs here; Ctrl-C ends it, containers go on\n\
             next, in another terminal: MILL_SOCKET={} mill deploy -f hello.kdl",
            config.socket.display()
        ));
    }
}

pub(crate) fn start_logging(log: &Log) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let to_stderr = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Refused only if logging was started before.
    let _ = match log.json {
        true => to_stderr.json().try_init(),
        false => to_stderr.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}

pub(crate) fn failed(message: &str) -> CliError {
    CliError::new(Exit::Failed, message)
}
