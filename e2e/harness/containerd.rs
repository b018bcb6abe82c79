//! A containerd at its usual address, which is the story's own since `/run` is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::tool::Tool;
use super::{Context as _, Failed, Look, until};

/// How long it may take to answer; with a container to find again it was seen to take a second.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Where Mill looks for containerd, and what it calls its namespace there.
pub const SOCKET: &str = "/run/containerd/containerd.sock";
const NAMESPACE: &str = "mill";

/// A running containerd.
pub struct Containerd {
    child: Child,
    config: PathBuf,
    log: PathBuf,
}

impl Containerd {
    /// Starts one with its root in `folder` and waits until it answers.
    ///
    /// # Errors
    /// It isn't installed, or doesn't come up.
    pub fn start(folder: &Path) -> Result<Self, Failed> {
        let root = folder.join("containerd");
        fs::create_dir_all(&root).or_fail("containerd's root")?;
        let config = folder.join("containerd.toml");
        let text = format!(
            "version = 2\nroot = \"{}\"\nstate = \"/run/containerd\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{SOCKET}\"\n",
            root.display()
        );
        fs::write(&config, text).or_fail("containerd's config")?;
        let log = folder.join("containerd.log");
        let containerd = Self { child: spawn(&config, &log)?, config, log };
        ready()?;
        Ok(containerd)
    }

    /// `kill -9`, and none in its place.
    ///
    /// # Errors
    /// It isn't there.
    pub fn kill(&mut self) -> Result<(), Failed> {
        self.child.kill().or_fail("kill -9 of containerd")?;
        self.child.wait().map(drop).or_fail("waiting for containerd")
    }

    /// Starts one where none runs, and waits until it answers.
    ///
    /// # Errors
    /// It doesn't come up.
    pub fn start_again(&mut self) -> Result<(), Failed> {
        self.child = spawn(&self.config, &self.log)?;
        ready()
    }

    /// `kill -9`, and a new one in its place at once, as its unit's `Restart=always` does. Doesn't wait until the
    /// new one answers.
    ///
    /// # Errors
    /// The new one can't be started.
    pub fn kill_and_restart(&mut self) -> Result<(), Failed> {
        self.kill()?;
        self.child = spawn(&self.config, &self.log)?;
        Ok(())
    }
}

fn spawn(config: &Path, log: &Path) -> Result<Child, Failed> {
    let log = fs::OpenOptions::new().create(true).append(true).open(log).or_fail("containerd's log")?;
    Command::new("containerd")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(log.try_clone().or_fail("containerd's log")?)
        .stderr(log)
        .spawn()
        .or_fail("can't run containerd (`cargo xtask install`)")
}

/// Waits until containerd answers.
///
/// # Errors
/// It doesn't.
pub fn ready() -> Result<(), Failed> {
    until("containerd answers", READY_WITHIN, || ctr(&["version"]).map(Look::Yes)).map(drop)
}

/// The process of one of Mill's containers.
///
/// # Errors
/// It doesn't run.
pub fn pid_of(container: &str) -> Result<i32, Failed> {
    let listed = ctr(&["tasks", "ls"])?;
    let mut rows = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let pid = rows.find_map(|row| (row.first() == Some(&container)).then(|| row.get(1)?.parse().ok())?);
    pid.or_fail(format_args!("no task `{container}` in {listed}"))
}

/// What `ctr` prints, asked about Mill's namespace.
///
/// # Errors
/// It ends with an error.
pub fn ctr(args: &[&str]) -> Result<String, Failed> {
    ctr_of(NAMESPACE, args)
}

/// What `ctr` prints, asked about somebody else's namespace.
///
/// # Errors
/// It ends with an error.
pub fn ctr_of(namespace: &str, args: &[&str]) -> Result<String, Failed> {
    Tool::new("ctr").args(["--address", SOCKET, "--namespace", namespace]).args(args).run()
}
