//! A one-node Mill: its daemon in the background, restarted by the story as its unit would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::cli::Mill;
use super::json::Fields as _;
use super::processes::{self, Process};
use super::{Context as _, Failed, Look, until};

/// How long a node may take to lead itself: its election timeout, and a loaded machine.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A running node.
pub struct Node {
    child: Child,
    how: How,
}

/// How its daemon is run.
struct How {
    mill: Mill,
    command: &'static str,
    data: PathBuf,
    log: PathBuf,
    /// Whether it may use BPF.
    may_bpf: bool,
}

/// Runs its arguments where bpf(2) answers EPERM, by a filter for system calls (seccomp(2)) that lets all others pass: in
/// the kernel's own words, since perl is on every Debian and can say them.
const WITHOUT_BPF: &str = r#"
use POSIX qw(uname);
my ($arch, $bpf, $seccomp) = (uname())[4] eq "aarch64" ? (0xC00000B7, 280, 277) : (0xC000003E, 321, 317);
my @filter = ([0x20, 0, 0, 4], [0x15, 0, 3, $arch], [0x20, 0, 0, 0], [0x15, 0, 1, $bpf], [0x06, 0, 0, 0x00050001], [0x06, 0, 0, 0x7fff0000]);
my $filter = join "", map { pack "SCCL", @$_ } @filter;
my $program = pack "Sx6P", scalar @filter, $filter;
syscall($seccomp, 1, 0, $program) == 0 or die "seccomp: $!";
exec @ARGV or die "exec: $!";
"#;

impl Node {
    /// Starts one with its data in `folder` and waits until it takes writes.
    ///
    /// # Errors
    /// It doesn't.
    pub fn start(mill: &Mill, folder: &Path) -> Result<Self, Failed> {
        Self::start_with(mill, folder, true)
    }

    /// The same, where the kernel refuses it BPF.
    ///
    /// # Errors
    /// It doesn't.
    pub fn start_without_bpf(mill: &Mill, folder: &Path) -> Result<Self, Failed> {
        Self::start_with(mill, folder, false)
    }

    fn start_with(mill: &Mill, folder: &Path, may_bpf: bool) -> Result<Self, Failed> {
        let (data, log) = (folder.join("mill"), folder.join("mill.log"));
        let node = Self::spawn(How { mill: mill.clone(), command: "dev", data, log, may_bpf })?;
        node.ready()?;
        Ok(node)
    }

    /// Gives BPF to the daemons that are started from now on, or takes it from them.
    pub fn let_bpf(&mut self, may_bpf: bool) {
        self.how.may_bpf = may_bpf;
    }

    /// Starts the daemon of a node with its data in `data`, and waits until it answers: one that belongs to no cluster
    /// waits for `mill init`.
    ///
    /// # Errors
    /// It doesn't answer.
    pub fn start_idle(mill: &Mill, folder: &Path, data: &str) -> Result<Self, Failed> {
        let (data, log) = (folder.join(data), folder.join("mill.log"));
        let node = Self::spawn(How { mill: mill.clone(), command: "daemon", data, log, may_bpf: true })?;
        until("the daemon answers", READY_WITHIN, || {
            let answer = mill.run(&["status"])?;
            Ok(Look::at(answer.err.contains("belongs to no cluster"), answer))
        })?;
        Ok(node)
    }

    fn spawn(how: How) -> Result<Self, Failed> {
        Ok(Self { child: how.spawn()?, how })
    }

    /// Waits until it takes writes.
    ///
    /// # Errors
    /// It doesn't.
    pub fn ready(&self) -> Result<(), Failed> {
        until("the node takes writes", READY_WITHIN, || {
            let status = self.how.mill.json(&["status"])?;
            Ok(Look::at(status.pointer("/leader").is_some_and(Value::is_string), status))
        })
    }

    /// Process of the daemon.
    pub fn daemon(&self) -> u32 {
        self.child.id()
    }

    /// Whether that process runs.
    ///
    /// # Errors
    /// The kernel doesn't say.
    pub fn runs(&mut self) -> Result<bool, Failed> {
        Ok(self.child.try_wait().or_fail("looking at the daemon")?.is_none())
    }

    /// Process of the plane.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn plane(&self) -> Result<u32, Failed> {
        match processes::of(self.how.mill.binary(), "plane").as_slice() {
            [Process { pid, .. }] => u32::try_from(*pid).or_fail("a process id"),
            planes => Err(Failed::because(format!("expected one plane, found {planes:?}"))),
        }
    }

    /// `kill -9` of the daemon, and a new one in its place at once. Doesn't wait until that is ready.
    ///
    /// # Errors
    /// The new one can't be started.
    pub fn kill_daemon(&mut self) -> Result<(), Failed> {
        self.child.kill().or_fail("kill -9 of the daemon")?;
        self.child.wait().or_fail("waiting for the daemon")?;
        self.child = self.how.spawn()?;
        Ok(())
    }

    /// Asks the daemon to end, and waits for it. The plane goes on.
    ///
    /// # Errors
    /// It can't be asked, or ends with another code than 0.
    pub fn end(&mut self) -> Result<(), Failed> {
        processes::terminate(i32::try_from(self.daemon()).or_fail("a process id")?)?;
        let status = self.child.wait().or_fail("waiting for the daemon")?;
        match status.success() {
            true => Ok(()),
            false => Err(Failed::because(format!("the daemon was asked to end, and did with {status}"))),
        }
    }

    /// `kill -9` of the plane while no daemon starts another, and waits until it is gone.
    ///
    /// # Errors
    /// There is none, or it stays.
    pub fn end_plane(&self) -> Result<(), Failed> {
        self.kill_plane()?;
        until("the plane is gone", READY_WITHIN, || {
            let planes = processes::of(self.how.mill.binary(), "plane");
            Ok(Look::at(planes.is_empty(), planes))
        })
    }

    /// `kill -9` of the daemon, and none in its place.
    ///
    /// # Errors
    /// It isn't there.
    pub fn end_daemon(&mut self) -> Result<(), Failed> {
        self.child.kill().or_fail("kill -9 of the daemon")?;
        self.child.wait().map(drop).or_fail("waiting for the daemon")
    }

    /// Starts a daemon where none runs, and waits until it takes writes.
    ///
    /// # Errors
    /// It doesn't.
    pub fn start_again(&mut self) -> Result<(), Failed> {
        self.child = self.how.spawn()?;
        self.ready()
    }

    /// `kill -9` of the plane. The daemon starts another.
    ///
    /// # Errors
    /// There is none.
    pub fn kill_plane(&self) -> Result<(), Failed> {
        processes::kill_9(i32::try_from(self.plane()?).or_fail("a process id")?)
    }

    /// Where its data is.
    pub fn data(&self) -> &Path {
        &self.how.data
    }

    /// How often each actor of both trees was started again, added up.
    ///
    /// # Errors
    /// The node doesn't answer.
    pub fn actor_restarts(&self) -> Result<u64, Failed> {
        let actors = self.how.mill.json(&["actors"])?;
        Ok(restarts(actors.at("/daemon")?)? + actors.pointer("/plane").map_or(Ok(0), restarts)?)
    }
}

fn restarts(actor: &Value) -> Result<u64, Failed> {
    if actor.is_null() {
        return Ok(0);
    }
    let below: Result<Vec<u64>, Failed> = actor.list("/children")?.iter().map(restarts).collect();
    Ok(actor.number("/restarts")? + below?.iter().sum::<u64>())
}

impl How {
    fn spawn(&self) -> Result<Child, Failed> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.or_fail("the node's log")?;
        let data = self.data.to_str().or_fail("a path that is text")?;
        let command = self.mill.command(&[self.command, "--data-dir", data]);
        let mut command = if self.may_bpf { command } else { without_bpf(&command) };
        command
            .stdout(log.try_clone().or_fail("the node's log")?)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .or_fail(format_args!("can't run `mill {}`", self.command))
    }
}

/// The same command where bpf(2) is refused.
fn without_bpf(command: &Command) -> Command {
    let mut without = Command::new("perl");
    without.args(["-e", WITHOUT_BPF, "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => without.env(name, value),
            None => without.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        without.current_dir(folder);
    }
    without
}
