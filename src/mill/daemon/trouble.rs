//! Why a daemon doesn't come up, or gave up, in the words of whoever has to mend it (product.md P10): what, where,
//! why, and what to do.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use mill_actors::kit::{ActorInfo, Introspect, Status};
use mill_drivers::cgroups::Cgroups;
use mill_drivers::containerd::claimed_at;
use mill_drivers::disk::{Disk as _, LogFiles, RealDisk};
use mill_drivers::home::{Home, HomeError};
use mill_drivers::host;
use mill_drivers::mounts::resolved;
use mill_drivers::process::{Lock, ProcessError};
use mill_drivers::sockets::{ProcSockets, Sockets as _, Wanted};
use mill_drivers::sweep;
use mill_model::{Bytes, Tempo};
use mill_wal::{Recovery, WalError, recover};
use tokio::time::Instant;

use super::failed;
use crate::cli::node::StartsPlane;
use crate::cli::{CliError, NodeConfig};

/// Rooms without which a daemon isn't one.
pub(super) const ROOMS: [&str; 3] = ["daemon", "daemon/raft", "daemon/http"];

/// Less than one segment of the log and a snapshot take: writes fail soon.
const DISK_FULL: Bytes = Bytes(1 << 20);

/// What to do when what a node needs to be itself is lost.
fn lost(data: &Path) -> String {
    let data = data.display();
    format!(
        "bring it back from a backup; a node that can do without begins anew after `mill clean --data --data-dir {data}`"
    )
}

/// A daemon is root's.
pub(super) fn root() -> Result<(), CliError> {
    match host::is_root() {
        true => Ok(()),
        false => Err(failed("a daemon needs root")
            .because("it makes containers, cgroups and mounts, and this user may not")
            .hint("try again with sudo")),
    }
}

/// The data directory can't be used.
pub(super) fn home(error: &HomeError, data: &Path) -> CliError {
    let hint = match error {
        HomeError::Locked { path } => return taken(&path.join("lock")).because(error.to_string()),
        HomeError::Exposed { path, .. } => {
            format!(
                "`chmod 600 {}` if you know that nobody has read it; else the node must begin anew",
                path.display()
            )
        }
        HomeError::Foreign { path, .. } => {
            format!(
                "`chown root: {}` if you know that nobody else has read it; else the node must begin anew",
                path.display()
            )
        }
        HomeError::Identity { .. } | HomeError::Missing { .. } => lost(data),
        HomeError::Io { source, what, .. } => match source.kind() {
            io::ErrorKind::NotFound if *what == "read" => lost(data),
            kind => hint_for(kind),
        },
    };
    failed("the data directory can't be used").source(error).hint(hint)
}

fn hint_for(kind: io::ErrorKind) -> String {
    let hint = match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room, or put the data elsewhere: `--data-dir DIR`"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount it writable, or put the data elsewhere: `--data-dir DIR`",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file is in the way: move it, or put the data elsewhere: `--data-dir DIR`"
        }
        io::ErrorKind::PermissionDenied => "whose is it? root must be able to write it; or `--data-dir DIR`",
        _ => "`mill doctor` looks for the cause; `--data-dir DIR` puts the data elsewhere",
    };
    hint.to_owned()
}

/// Another daemon has what this one needs: the lock at `path`; named if it can be seen.
fn taken(path: &Path) -> CliError {
    let error = failed("another daemon lives on this machine");
    let Ok(Some(owner)) = sweep::holder(path) else {
        return error.because(format!("somebody holds {}", path.display())).hint("`mill status` asks it");
    };
    let kill = owner.pid.map(|pid| format!("; `kill {pid}` ends it")).unwrap_or_default();
    error.because(format!("{owner} runs")).hint(format!("`mill status` asks it{kill}"))
}

/// Attempts for a moment to get what another may hold: see [`Tempo::lock_patience`].
async fn patiently<T, E>(
    tempo: &Tempo,
    attempt: impl Fn() -> Result<T, E>,
    is_taken: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let end = Instant::now() + tempo.lock_patience;
    loop {
        match attempt() {
            Err(error) if is_taken(&error) && Instant::now() < end => {
                tokio::time::sleep(tempo.lock_look).await;
            }
            result => return result,
        }
    }
}

/// Takes the data directory for this daemon.
pub(super) async fn open(data: &Path, tempo: &Tempo) -> Result<Home, CliError> {
    let is_taken = |error: &HomeError| matches!(error, HomeError::Locked { .. });
    patiently(tempo, || Home::open(data), is_taken).await.map_err(|error| home(&error, data))
}

/// Takes the containers of a cgroup for this daemon: two that took each other's for leftovers would kill them.
pub(super) async fn claim(config: &NodeConfig, tempo: &Tempo) -> Result<Lock, CliError> {
    let cgroups = |error| {
        failed("containers can't be run on this machine")
            .source(&error)
            .hint("`mill doctor` says what is missing")
    };
    let all = Cgroups::detect(&config.cgroup_parent).map_err(cgroups)?;
    let path = all.claimed_at().map_err(cgroups)?;
    let claim = patiently(tempo, || all.claim().map_err(Some)?.ok_or(None), Option::is_none).await;
    claim.map_err(|error| match error {
        Some(error) => cgroups(error),
        None => taken(&path)
            .because(format!("both would keep their containers in the cgroup {}", all.parent()))
            .hint(
                "end the other first; two on one machine need a `--cgroup-parent`, sockets, a port and a containerd \
                 each",
            ),
    })
}

/// Takes containerd for this daemon: two in it would remove each other's containers and images.
pub(super) async fn containerd(socket: &Path, tempo: &Tempo) -> Result<Lock, CliError> {
    let path = claimed_at(socket);
    let is_taken = |error: &ProcessError| matches!(error, ProcessError::Locked { .. });
    patiently(tempo, || Lock::take(&path), is_taken).await.map_err(|error| match error {
        ProcessError::Locked { .. } => taken(&path)
            .because(format!("both would keep their containers in the containerd at {}", socket.display()))
            .hint("end the other first, or give this one another: `--containerd own`"),
        error => failed("containerd can't be taken").source(&error).hint(
            "a lock is kept beside its socket: is that directory writable? `--containerd own` needs none of it",
        ),
    })
}

/// A plane that keeps the logs of another home: its containers run on, and would be taken for leftovers here.
pub(super) fn plane(config: &NodeConfig) -> Result<(), CliError> {
    let Some(owner) = sweep::listener(&config.plane_socket) else { return Ok(()) };
    let lock = config.data_dir.join("plane/lock");
    let ours = sweep::holder(&lock).map_err(|error| failed("the plane can't be found").source(&error))?;
    if ours.is_some_and(|ours| ours.pid.is_none() || ours.pid == owner.pid) {
        return Ok(());
    }
    let (socket, data) = (config.plane_socket.display(), config.data_dir.display());
    let kill = owner.pid.map(|pid| format!("`kill {pid}`")).unwrap_or_else(|| "ending it".to_owned());
    Err(failed("another home's containers are on this machine")
        .because(format!("{owner} answers at {socket}, and this daemon's data is in {data}"))
        .hint(format!(
            "start the daemon of its data directory and `mill undeploy` what runs; or {kill} and `mill clean` with that \
             `--data-dir`"
        )))
}

/// A plane of a home that never was a node's leans on nothing: ends it, unless it is a unit's.
pub(super) fn end_plane(config: &NodeConfig) {
    if config.plane == StartsPlane::Unit {
        return;
    }
    let planes = sweep::living().into_iter().filter(|owner| owner.what == "`mill plane`");
    let is_ours = |data: &PathBuf| resolved(data) == config.data_dir;
    planes.filter(|plane| plane.data.as_ref().is_some_and(is_ours)).for_each(|plane| sweep::end(&plane));
}

/// Whether the API can be listened for.
pub(super) async fn port(listen: SocketAddr) -> Result<(), CliError> {
    let Err(error) = TcpListener::bind(listen) else { return Ok(()) };
    let refused = failed("the API can't be listened for");
    Err(match error.kind() {
        io::ErrorKind::AddrInUse => {
            let found = ProcSockets::default().listeners(&Wanted::Ports([listen.port()].into())).await;
            let holder = found.ok().and_then(|found| found.first().map(ToString::to_string));
            let holder = holder.unwrap_or_else(|| "another program".to_owned());
            refused
                .because(format!("{holder} listens on {listen}"))
                .hint("stop it, or give the API another port: `--listen ADDRESS:PORT`")
        }
        io::ErrorKind::AddrNotAvailable => refused
            .because(format!("this machine has no address {}", listen.ip()))
            .hint("`ip address` lists those that it has; `--listen ADDRESS:PORT` takes one of them"),
        _ => refused
            .because(format!("failed to listen on {listen}"))
            .source(&error)
            .hint("`--listen ADDRESS:PORT`"),
    })
}

/// Returns once the daemon is up; with the reason when one of its rooms crashes again and again instead.
pub(super) async fn up(tree: &Introspect, tempo: &Tempo) -> Result<(), String> {
    loop {
        match state(&tree.tree().await) {
            Some(state) => return state,
            None => tokio::time::sleep(tempo.startup_look).await,
        }
    }
}

/// Never returns but with the reason why a room crashes again and again.
pub(super) async fn crashing(tree: &Introspect, tempo: &Tempo) -> String {
    loop {
        if let Some(Err(reason)) = state(&tree.tree().await) {
            return reason;
        }
        tokio::time::sleep(tempo.startup_look).await;
    }
}

/// Why a room crashed last, whether it runs again or not.
pub(super) async fn last_crash(tree: &Introspect) -> Option<String> {
    let tree = tree.tree().await;
    let rooms = ROOMS.iter().rev().filter_map(|path| tree.find(path));
    rooms.filter_map(|room| room.last_error.as_ref()).map(|error| error.text.clone()).next()
}

/// `None`: neither yet.
fn state(tree: &ActorInfo) -> Option<Result<(), String>> {
    let rooms: Vec<&ActorInfo> = ROOMS.iter().filter_map(|path| tree.find(path)).collect();
    // One crash may be chance, the next start tells; the innermost room has the reason.
    let crashed = rooms.iter().rev().find(|room| room.status != Status::Running && room.restarts > 0);
    if let Some(error) = crashed.and_then(|room| room.last_error.as_ref()) {
        return Some(Err(error.text.clone()));
    }
    let is_up = rooms.len() > 1 && rooms.iter().all(|room| room.status == Status::Running);
    is_up.then_some(Ok(()))
}

/// What a crashing daemon's reason comes from, and what to do. The daemon has ended: its directory is free.
pub(super) fn explain(reason: String, config: &NodeConfig, was_member: bool) -> CliError {
    let data = &config.data_dir;
    let error = failed("the daemon can't go on").because(reason);
    if let Some(mend) = log_trouble(data, was_member) {
        return error.because(format!("the log is in {}", data.join("raft").display())).hint(mend);
    }
    if let Err(reason) = host::writable(data) {
        return error.because(format!("{} can't be written", data.display())).hint(hint_for(reason.kind()));
    }
    match host::disk(data) {
        Some(disk) if disk.free < DISK_FULL => error
            .because(format!("the disk that holds {} is full", data.display()))
            .hint(hint_for(io::ErrorKind::StorageFull)),
        _ => error.hint("`mill doctor` looks for the cause; `mill daemon --log debug` says more"),
    }
}

/// What to do about a log that can't be trusted or written; `None`: it is as it should be.
fn log_trouble(data: &Path, was_member: bool) -> Option<String> {
    let directory = data.join("raft");
    if !directory.exists() {
        return was_member.then(|| lost(data));
    }
    let opened = match RealDisk.open(&directory) {
        Ok(opened) => opened,
        Err(error) => {
            let kind = std::error::Error::source(&error)
                .and_then(|source| source.downcast_ref::<io::Error>())
                .map_or(io::ErrorKind::Other, io::Error::kind);
            return Some(hint_for(kind));
        }
    };
    match recover(&LogFiles(&opened), mill_wal::Limits::default()) {
        Ok(Recovery::Empty) => was_member.then(|| lost(data)),
        Ok(Recovery::Log(_)) => None,
        Err(WalError::Read { .. }) => Some("does the disk work? `dmesg` may say more".to_owned()),
        Err(WalError::Version { .. }) => {
            Some("start the version of Mill that wrote it, or a later one".to_owned())
        }
        Err(_) => Some(lost(data)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(data: &Path) -> NodeConfig {
        use crate::cli::node::{Flavour, NodeArgs, Sources};
        let args = NodeArgs { data_dir: Some(data.display().to_string()), ..NodeArgs::default() };
        args.resolve(Flavour::Dev, &Sources { env: &|_| None, file: None, hostname: "n" }).unwrap()
    }

    #[test]
    fn every_trouble_with_the_data_directory_says_what_to_do() {
        let io = |what, kind: io::ErrorKind| HomeError::Io { what, path: "/d/x".into(), source: kind.into() };
        for (error, hint) in [
            (io("create", io::ErrorKind::PermissionDenied), "whose is it?"),
            (io("create", io::ErrorKind::ReadOnlyFilesystem), "mount it writable"),
            (io("create", io::ErrorKind::NotADirectory), "a file is in the way"),
            (io("write", io::ErrorKind::StorageFull), "make room"),
            (io("read", io::ErrorKind::NotFound), "from a backup"),
            (io("open", io::ErrorKind::Interrupted), "mill doctor"),
            (HomeError::Exposed { path: "/d/keys/k".into(), mode: 0o644 }, "chmod 600 /d/keys/k"),
            (HomeError::Foreign { path: "/d/keys/k".into(), owner: 1000 }, "chown root: /d/keys/k"),
            (HomeError::Missing { path: "/d/keys/k".into() }, "from a backup"),
        ] {
            let told = home(&error, Path::new("/d"));
            assert!(told.because[0].reason.contains("/d"), "{told:?}");
            assert!(told.hint.as_ref().unwrap().contains(hint), "{told:?}");
        }
        let locked = home(&HomeError::Locked { path: "/d".into() }, Path::new("/d"));
        assert_eq!(locked.message, "another daemon lives on this machine");
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_holds_that_is_about_to_be_gone_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (data, tempo) = (dir.path().join("data"), Tempo::default());
        let theirs = Home::open(&data).unwrap();
        let begun = Instant::now();
        let refused = open(&data, &tempo).await.unwrap_err();
        assert_eq!(refused.message, "another daemon lives on this machine");
        assert!(begun.elapsed() >= tempo.lock_patience);
        let going = async {
            tokio::time::advance(tempo.lock_patience / 2).await;
            drop(theirs);
        };
        let (ours, ()) = tokio::join!(open(&data, &tempo), going);
        ours.unwrap();
    }

    #[test]
    fn a_log_that_can_not_be_trusted_is_told_from_one_that_is_well() {
        let dir = tempfile::tempdir().unwrap();
        let (data, log) = (dir.path(), dir.path().join("raft"));
        let lost = lost(data);
        assert_eq!(log_trouble(data, false), None);
        assert_eq!(log_trouble(data, true).as_deref(), Some(&*lost));
        std::fs::create_dir(&log).unwrap();
        assert_eq!(log_trouble(data, false), None);
        assert_eq!(log_trouble(data, true).as_deref(), Some(&*lost), "it was emptied");
        std::fs::write(log.join("00000000000000000001.log"), "nonsense").unwrap();
        let told = explain("raft: it is damaged".to_owned(), &config(dir.path()), true);
        assert_eq!(told.because.len(), 2, "{told:?}");
        assert!(told.because[1].reason.contains("/raft") && told.hint.as_deref() == Some(&*lost), "{told:?}");
        std::fs::remove_dir_all(&log).unwrap();
        std::fs::write(&log, "a file").unwrap();
        assert!(log_trouble(data, true).unwrap().contains("a file is in the way"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_containerd_that_another_mill_uses_is_refused_by_whatever_name() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, link) = (dir.path().join("c.sock"), dir.path().join("link.sock"));
        std::fs::write(&socket, "").unwrap();
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        let tempo = Tempo::default();
        let claim = containerd(&socket, &tempo).await.unwrap();
        let told = containerd(&link, &tempo).await.unwrap_err();
        let (who, why) = (&told.because[0].reason, &told.because[1].reason);
        assert!(who.contains(&std::process::id().to_string()) && why.contains("link.sock"), "{told:?}");
        assert!(told.hint.unwrap().contains("--containerd own"));
        drop(claim);
        containerd(&link, &tempo).await.unwrap();
        let told = containerd(Path::new("/proc/no/c.sock"), &tempo).await.unwrap_err();
        assert!(told.hint.unwrap().contains("writable"));
    }

    #[tokio::test]
    async fn who_has_the_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let told = port(address).await.unwrap_err();
        let pid = std::process::id().to_string();
        assert!(
            told.because[0].reason.contains(&pid) && told.because[0].reason.contains("127.0.0.1:"),
            "{told:?}"
        );
        drop(taken);
        port(address).await.unwrap();
        let told = port("192.0.2.1:4400".parse().unwrap()).await.unwrap_err();
        assert!(told.because[0].reason.contains("no address 192.0.2.1"), "{told:?}");
    }
}
