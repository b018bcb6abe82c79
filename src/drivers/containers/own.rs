//! A containerd of Mill's own, for `mill dev` and daemons that are told so.
//!
//! It runs in a session of its own and isn't stopped with Mill: kill -9 of the daemon leaves it, its shims and the
//! containers running, and the next daemon finds it by its pid file. (Under systemd with the default `KillMode`
//! it would be killed with the unit: there, use the system's containerd.)
//!
//! Needs `containerd` ≥ 1.6, `containerd-shim-runc-v2` and `runc` on `PATH`. The configuration is of version 2, which
//! 1.6 speaks and 2.x reads too; only 1.6.20 was tried.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mill_model::Tempo;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::containerd::{Containerd, RuntimeError};
use crate::mounts::resolved;
use crate::process;
use crate::systemd;

/// Programs that must be there, with what provides them on Debian.
const NEEDED: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "runc"];

/// The oldest containerd whose API Mill speaks.
const OLDEST: (u32, u32) = (1, 6);

/// A path of a Unix socket has at most 107 bytes (unix(7)); containerd's second socket has a longer name.
const SOCKET_BYTES_MAX: usize = 107 - ".ttrpc".len();

/// How the line of its settings begins that says where it keeps what it has.
const ROOT_SETTING: &str = "root = ";

/// Where an own containerd lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnConfig {
    /// Images and snapshots: `/var/lib/mill/containerd`. Survives a reboot.
    pub root: PathBuf,
    /// Socket, pid file, log and state of what runs: `/run/mill/containerd`. The path has to be short.
    pub state: PathBuf,
}

/// A containerd of Mill's own that answers.
#[derive(Debug)]
pub struct Own {
    socket: PathBuf,
    pid: u32,
    started: bool,
    process: AsyncFd<OwnedFd>,
}

/// No containerd of one's own can be had.
#[derive(Debug, Clone, Error)]
pub enum OwnError {
    /// A program isn't installed.
    #[error(
        "`{program}` isn't on PATH: install containerd (1.6 or newer) and runc, or name the socket of one that runs"
    )]
    NotInstalled {
        /// Its name.
        program: &'static str,
    },
    /// The installed one is too old, or isn't containerd.
    #[error("`containerd --version` says `{found}`: Mill needs 1.6 or newer")]
    TooOld {
        /// Its own words.
        found: String,
    },
    /// The path of its socket is longer than the kernel takes.
    #[error("{path} is too long for a socket")]
    PathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// One runs at the same place for another home.
    #[error("process {pid} is a containerd of another home: by {settings} its root isn't {root}")]
    Foreign {
        /// Its process.
        pid: u32,
        /// Its settings.
        settings: PathBuf,
        /// Where this home's is.
        root: PathBuf,
    },
    /// A file or process can't be made.
    #[error("can't {doing} {path}")]
    System {
        /// What failed.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// It ended, or doesn't answer.
    #[error("containerd was started and doesn't answer; its log is {log}")]
    Silent {
        /// Where it says why.
        log: PathBuf,
        /// The last attempt.
        source: RuntimeError,
    },
}

impl Own {
    /// Finds the one that runs, else starts it; returns when it answers.
    ///
    /// # Errors
    /// Something needed is missing or too old, or it doesn't come up. What was started has ended by then.
    pub async fn ensure(config: &OwnConfig, tempo: Arc<Tempo>) -> Result<Self, OwnError> {
        let socket = config.state.join("containerd.sock");
        if socket.as_os_str().len() > SOCKET_BYTES_MAX {
            return Err(OwnError::PathTooLong { path: socket });
        }
        let mut found = Self::find(config)?;
        if let Some(lost) = found.take_if(|own| has_lost_its_root(own.pid)) {
            tracing::warn!(pid = lost.pid, root = %config.root.display(), "containerd's files are gone: another takes its place");
            lost.end(tempo.runtime_deadline).await.map_err(system("stop", &socket))?;
        }
        let own = match found {
            Some(own) if !is_ours(config) => {
                let settings = config_file(config);
                return Err(OwnError::Foreign { pid: own.pid, settings, root: config.root.clone() });
            }
            Some(own) => own,
            None => Self::watched(&socket, start(config, &socket)?, true)?,
        };
        let Err(silent) = own.answers(config, Arc::clone(&tempo)).await else { return Ok(own) };
        if own.started
            && let Err(error) = own.end(tempo.runtime_deadline).await
        {
            tracing::warn!(pid = own.pid, %error, "a containerd that doesn't answer doesn't end");
        }
        Err(silent)
    }

    /// The one that runs, whether it answers or not.
    ///
    /// # Errors
    /// It can't be watched.
    pub fn find(config: &OwnConfig) -> Result<Option<Self>, OwnError> {
        let Some(pid) = running(config) else { return Ok(None) };
        let own = Self::watched(&config.state.join("containerd.sock"), pid, false);
        // Held now, and looked at again: its number can't become another's any more.
        match running(config) == Some(pid) {
            true => own.map(Some),
            false => Ok(None),
        }
    }

    fn watched(socket: &Path, pid: u32, started: bool) -> Result<Self, OwnError> {
        let lost = |errno: rustix::io::Errno| system("watch", socket)(errno.into());
        let raw =
            i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(rustix::io::Errno::SRCH).map_err(lost)?;
        let process = pidfd_open(raw, PidfdFlags::NONBLOCK).map_err(lost)?;
        // SAFETY: the descriptor is owned by the `AsyncFd` from here on, nobody else knows its number, and `OwnedFd`
        // answers the same one for ever.
        #[expect(unsafe_code, reason = "tokio can't see that a descriptor stays what it is")]
        let process = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) };
        let process = process.map_err(|error| system("watch", socket)(error.into()))?;
        Ok(Self { socket: socket.to_owned(), pid, started, process })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it had to be started, else it was found running.
    pub fn was_started(&self) -> bool {
        self.started
    }

    /// Waits until it has ended. Then [`Own::ensure`] starts it again; its containers run on meanwhile.
    ///
    /// # Errors
    /// The process can't be watched any more.
    pub async fn ended(&self) -> io::Result<()> {
        // A pidfd is readable from the process's end on (pidfd_open(2)).
        self.process.readable().await.map(|_| ())
    }

    /// Tells it to end, and waits. Containers run on.
    ///
    /// # Errors
    /// It can't be told, or be watched any more.
    pub async fn stop(&self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        self.ended().await
    }

    /// Has it end, also if it doesn't listen: kills it when it hasn't ended within `patience`, and waits as long again.
    ///
    /// # Errors
    /// As [`Own::stop`]; `TimedOut` if it doesn't end even so.
    pub async fn end(&self, patience: Duration) -> io::Result<()> {
        if let Ok(stopped) = tokio::time::timeout(patience, self.stop()).await {
            return stopped;
        }
        self.signal(Signal::KILL)?;
        tokio::time::timeout(patience, self.ended()).await?
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.process.get_ref(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    async fn answers(&self, config: &OwnConfig, tempo: Arc<Tempo>) -> Result<(), OwnError> {
        let client = Containerd::new(&self.socket, tempo.clone());
        let deadline = tokio::time::Instant::now() + tempo.runtime_deadline;
        let mut attempts = 0;
        loop {
            let Err(source) = client.version().await else { return Ok(()) };
            attempts += 1;
            let silent = || OwnError::Silent { log: log(config), source };
            tokio::select! {
                _ = self.ended() => return Err(silent()),
                () = tokio::time::sleep_until(deadline) => return Err(silent()),
                () = tokio::time::sleep(tempo.runtime_delay(attempts)) => {}
            }
        }
    }
}

fn system(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OwnError {
    move |source| OwnError::System { doing, path: path.to_owned(), source: Arc::new(source) }
}

/// Where one says what goes wrong; to be kept small ([`process::keep_small`]).
pub fn log(config: &OwnConfig) -> PathBuf {
    config.state.join("containerd.log")
}

fn config_file(config: &OwnConfig) -> PathBuf {
    config.state.join("config.toml")
}

fn pid_file(config: &OwnConfig) -> PathBuf {
    config.state.join("containerd.pid")
}

/// The process that the pid file names, if it is a containerd with our configuration: pids are reused.
fn running(config: &OwnConfig) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(pid_file(config)).ok()?.trim().parse().ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0);
    let is_containerd = words.next().is_some_and(|program| program.ends_with(b"containerd"));
    let ours = resolved(&config_file(config));
    let is_ours = |word: &[u8]| resolved(Path::new(OsStr::from_bytes(word))) == ours;
    (is_containerd && words.any(is_ours)).then_some(pid)
}

/// Whether someone has removed its root while it ran: it holds files that nobody else can see, and can store nothing.
fn has_lost_its_root(pid: u32) -> bool {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    // proc_pid_fd(5): the link of a removed file ends so
    open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|file| {
        file.iter().any(|part| part == "io.containerd.metadata.v1.bolt")
            && file.as_os_str().as_encoded_bytes().ends_with(b" (deleted)")
    })
}

/// Whether the one that runs keeps what it has where this home does.
fn is_ours(config: &OwnConfig) -> bool {
    let settings = std::fs::read_to_string(config_file(config)).unwrap_or_default();
    let root = settings.lines().find_map(|line| line.strip_prefix(ROOT_SETTING));
    let root = root.and_then(|quoted| serde_json::from_str::<PathBuf>(quoted).ok());
    root.is_some_and(|root| resolved(&root) == resolved(&config.root))
}

fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

fn start(config: &OwnConfig, socket: &Path) -> Result<u32, OwnError> {
    for program in NEEDED {
        installed(program).ok_or(OwnError::NotInstalled { program })?;
    }
    check_version()?;
    for directory in [&config.root, &config.state] {
        std::fs::create_dir_all(directory).map_err(system("create", directory))?;
    }
    let file = config_file(config);
    std::fs::write(&file, settings(config, socket)).map_err(system("write", &file))?;
    let log = log(config);
    let log_file = process::append_to(&log).map_err(system("open", &log))?;
    let mut command = Command::new("containerd");
    command.arg("--config").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file);
    // It speaks to service managers too, and isn't meant.
    for name in systemd::VARIABLES {
        command.env_remove(name);
    }
    // SAFETY: between fork and exec only `setsid` is called, which is async-signal-safe and allocates nothing.
    #[expect(unsafe_code, reason = "a session of its own needs a call between fork and exec")]
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(|_| ()).map_err(io::Error::from));
    }
    let mut child = command.spawn().map_err(system("start", Path::new("containerd")))?;
    let pid = child.id();
    // Reaps it, should it end while this process lives.
    std::thread::Builder::new()
        .name("mill-containerd".to_owned())
        .spawn(move || child.wait())
        .map_err(system("watch", socket))?;
    let file = pid_file(config);
    std::fs::write(&file, pid.to_string()).map_err(system("write", &file))?;
    Ok(pid)
}

/// The path of a program, as `PATH` finds it.
fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

fn check_version() -> Result<(), OwnError> {
    let output = Command::new("containerd").arg("--version").output();
    let output = output.map_err(system("run", Path::new("containerd")))?;
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match version(&found).is_some_and(|version| version >= OLDEST) {
        true => Ok(()),
        false => Err(OwnError::TooOld { found }),
    }
}

/// `containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+b1` → (1, 6)
fn version(text: &str) -> Option<(u32, u32)> {
    let word = text.split_whitespace().nth(2)?;
    let mut numbers = word.trim_start_matches('v').split(['.', '-', '~', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// containerd's configuration. Kubernetes' plugin (one in 1.x, three in 2.x) would open ports and look for networks.
fn settings(config: &OwnConfig, socket: &Path) -> String {
    format!(
        "version = 2\n{ROOT_SETTING}{}\nstate = {}\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \
         \"io.containerd.cri.v1.runtime\"]\n\n[grpc]\n  address = {}\n\n[debug]\n  level = \"warn\"\n",
        quoted(&config.root),
        quoted(&config.state.join("state")),
        quoted(socket),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_builds_print_them() {
        let table = [
            ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", Some((1, 6))),
            (
                "containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7193e4e490e9fbdc236c0e811ccaba3376",
                Some((2, 1)),
            ),
            ("containerd containerd.io 1.7.27 05044ec0a9a75232cad458027ca83437aae3f4da", Some((1, 7))),
            ("containerd", None),
            ("", None),
        ];
        for (text, wanted) in table {
            assert_eq!(version(text), wanted, "{text}");
        }
        assert!((1, 5) < OLDEST && (1, 10) > OLDEST && (2, 0) > OLDEST);
    }

    #[test]
    fn a_pid_file_that_names_another_process_is_no_containerd() {
        let dir = tempfile::tempdir().unwrap();
        let config = OwnConfig { root: dir.path().join("root"), state: dir.path().to_owned() };
        assert_eq!(running(&config), None);
        std::fs::write(pid_file(&config), std::process::id().to_string()).unwrap();
        assert_eq!(running(&config), None);
    }

    #[test]
    fn settings_with_another_root_are_another_homes() {
        let dir = tempfile::tempdir().unwrap();
        let ours = OwnConfig { root: "/data/containerd".into(), state: dir.path().to_owned() };
        let theirs = OwnConfig { root: "/data/containerd2".into(), ..ours.clone() };
        assert!(!is_ours(&ours), "there are none");
        std::fs::write(config_file(&ours), settings(&ours, Path::new("/s"))).unwrap();
        assert!(is_ours(&ours) && !is_ours(&theirs));
        let (link, linked) = (dir.path().join("link"), dir.path().join("containerd"));
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let by_link = OwnConfig { root: link.join("containerd"), state: link };
        assert!(!is_ours(&by_link));
        std::fs::write(config_file(&ours), settings(&by_link, Path::new("/s"))).unwrap();
        assert!(
            is_ours(&OwnConfig { root: linked, state: dir.path().to_owned() }),
            "before the link was resolved"
        );
    }

    #[tokio::test]
    async fn a_path_that_no_socket_can_have_is_refused() {
        let config = OwnConfig { root: "/nowhere".into(), state: format!("/{}", "x".repeat(100)).into() };
        let error = Own::ensure(&config, Arc::new(Tempo::default())).await.unwrap_err();
        assert!(matches!(error, OwnError::PathTooLong { .. }));
    }
}
