//! A whole machine under real systemd, for stories about units, packages and reboots.
//!
//! `systemd-nspawn` boots a Debian that `mmdebstrap` has put into a directory, once for all runs. It has the story's
//! network, so that it reaches the story's registry and the story its services; files, processes and cgroups are its
//! own. The cgroups are below the story's, where the runner sweeps them; the rest ends with the story's first process,
//! also when runner or nspawn are killed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cli::Ran;
use super::failed::expect;
use super::tool::Tool;
use super::{Context as _, Failed, Look, processes, space, until};

/// What changes when the Debian is built differently, so that one of an earlier version isn't used.
pub const VERSION: u32 = 1;

/// How long it may take from power to a prompt; two seconds on an idle machine.
const UP_WITHIN: Duration = Duration::from_secs(120);

/// What a machine has that Mill's package wants to find, beside systemd.
const PACKAGES: &str =
    "systemd,systemd-sysv,dbus,containerd,runc,iproute2,e2fsprogs,init-system-helpers,ca-certificates";

/// nspawn shows cgroups read-only to a machine that uses the older hierarchies, and the kernel's settings to all; here
/// containers are to have cgroups, and the network is the machine's own.
const WRITABLE: &str = "\
[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for h in /sys/fs/cgroup/* /sys/fs/cgroup /proc/sys; do mount -o remount,bind,rw $h; done'
";

/// Moves itself into a cgroup of the story's in each hierarchy, and becomes the machine: `$1` is the cgroup, `$2` the
/// root directory.
const BOOT: &str = r#"
for hierarchy in /sys/fs/cgroup/*/; do
    for cgroup in "$1" "$1/machine"; do
        mkdir -p "$hierarchy$cgroup" || exit
        if [ -e "$hierarchy$cgroup/cpuset.cpus" ]; then
            cat "${hierarchy}cpuset.cpus" > "$hierarchy$cgroup/cpuset.cpus"
            cat "${hierarchy}cpuset.mems" > "$hierarchy$cgroup/cpuset.mems"
        fi
    done
    echo $$ > "$hierarchy$1/machine/cgroup.procs" || exit
done
exec systemd-nspawn --directory="$2" --register=no --keep-unit --capability=all --console=read-only --resolv-conf=off \
    --timezone=off --link-journal=no --system-call-filter='@keyring @mount bpf' --boot
"#;

/// How nspawn ends when the machine wants to be started again (`--keep-unit`, systemd-nspawn(1)).
const REBOOTS: i32 = 133;

/// A running machine.
pub struct Booted {
    nspawn: Child,
    root: PathBuf,
    log: PathBuf,
    /// Its first process, in the story's numbers.
    first: i32,
}

/// Builds the Debian that machines are copies of, in `folder`.
///
/// # Errors
/// A tool is missing, or a package can't be fetched.
pub fn prepare(folder: &Path) -> Result<(), Failed> {
    // What it mounts goes with it, however it ends.
    Tool::new("unshare")
        .args(["--mount", "--", "mmdebstrap", "--variant=minbase", "--quiet"])
        .args([&format!("--include={PACKAGES}"), "bookworm"])
        .args([folder])
        .run()?;
    let put = |path: &str, text: &str| fs::write(folder.join(path), text).or_fail(path);
    put("etc/hostname", "box\n")?;
    put("etc/hosts", "127.0.0.1 localhost box\n")?;
    put("etc/machine-id", "")?;
    put("etc/systemd/system/writable.service", WRITABLE)?;
    // what its services say is seen from outside, also of one that doesn't come up
    fs::create_dir_all(folder.join("etc/systemd/journald.conf.d")).or_fail("the journal's settings")?;
    put(
        "etc/systemd/journald.conf.d/console.conf",
        "[Journal]\nForwardToConsole=yes\nTTYPath=/dev/console\n",
    )?;
    let wants = folder.join("etc/systemd/system/sysinit.target.wants");
    fs::create_dir_all(&wants).or_fail("a folder for units")?;
    symlink("../writable.service", wants.join("writable.service")).or_fail("a unit's link")
}

/// Switches the machine in `root` on.
fn power(root: &Path, log: &Path) -> Result<Child, Failed> {
    let log = fs::OpenOptions::new().create(true).append(true).open(log).or_fail("the machine's log")?;
    Command::new("sh")
        .args(["-c", BOOT, "boot", space::cgroup_parent()?.trim_matches('/')])
        .arg(root)
        .stdin(Stdio::null())
        .stdout(log.try_clone().or_fail("the machine's log")?)
        .stderr(log)
        .spawn()
        .or_fail("can't run systemd-nspawn (`cargo xtask install`)")
}

impl Booted {
    /// Boots a copy of the Debian at `base`; what it says goes to `machine.log` in `folder`.
    ///
    /// # Errors
    /// It doesn't come up.
    pub fn start(folder: &Path, base: &Path) -> Result<Self, Failed> {
        let root = folder.join("machine");
        Tool::new("cp").args(["--archive"]).args([base, &root]).run()?;
        let log = folder.join("machine.log");
        let nspawn = power(&root, &log)?;
        let mut machine = Self { nspawn, root, log, first: 0 };
        machine.up()?;
        Ok(machine)
    }

    /// Waits until it is up.
    fn up(&mut self) -> Result<(), Failed> {
        let nspawn = i32::try_from(self.nspawn.id()).or_fail("a process id")?;
        self.first = until("the machine boots", UP_WITHIN, || {
            // before it is nspawn it is a shell, and has other children
            let is_init = |args: &[String]| args.first().is_some_and(|program| program.ends_with("/systemd"));
            let mut living = processes::all().into_iter().filter(|process| is_init(&process.args));
            let children = processes::children(nspawn);
            let first = living.find(|process| children.contains(&process.pid));
            Ok(first.map_or_else(|| Look::No("no first process".to_owned()), |first| Look::Yes(first.pid)))
        })?;
        until("the machine is up", UP_WITHIN, || {
            let state = self.run(&["systemctl", "is-system-running"])?;
            Ok(Look::at(["running", "degraded"].contains(&state.out.trim()), state))
        })
    }

    /// A command inside, not started yet: nothing to read, no colours.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string(), "--all", "--", "env", "--ignore-environment"]);
        command.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "NO_COLOR=1"]);
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Runs a command inside to its end, whatever its code.
    ///
    /// # Errors
    /// It can't be started.
    pub fn run(&self, args: &[&str]) -> Result<Ran, Failed> {
        let begun = Instant::now();
        let output = self.command(args).output().or_fail("can't run nsenter (util-linux)")?;
        Ok(Ran {
            code: output.status.code().unwrap_or(255),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: begun.elapsed(),
        })
    }

    /// Runs a command inside that must succeed; answers what it printed, both outputs.
    ///
    /// # Errors
    /// It doesn't.
    pub fn ok(&self, args: &[&str]) -> Result<String, Failed> {
        let ran = self.run(args)?;
        match ran.code {
            0 => Ok(ran.all()),
            code => Err(Failed::because(format!("`{}` ended with {code}:\n{}", args.join(" "), ran.all()))),
        }
    }

    /// Runs `mill … --json` inside; answers its document.
    ///
    /// # Errors
    /// It fails, or what it prints is no JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value, Failed> {
        let ran = self.run(&[&["mill"], args, &["--json"]].concat())?;
        serde_json::from_str(&ran.out).or_fail(format_args!("`mill {}`: {}", args.join(" "), ran.all()))
    }

    /// A property of a unit.
    ///
    /// # Errors
    /// systemd doesn't answer.
    pub fn property(&self, unit: &str, name: &str) -> Result<String, Failed> {
        let shown = self.ok(&["systemctl", "show", "--value", "--property", name, unit])?;
        Ok(shown.trim().to_owned())
    }

    /// The main process of a unit that is active, in the machine's own numbers.
    ///
    /// # Errors
    /// It isn't active.
    pub fn main_pid(&self, unit: &str) -> Result<String, Failed> {
        let state = self.property(unit, "ActiveState")?;
        let pid = self.property(unit, "MainPID")?;
        match state == "active" && pid != "0" {
            true => Ok(pid),
            false => Err(Failed::because(format!("{unit} is {state}, its process {pid}"))),
        }
    }

    /// Writes a file inside.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, path: &str, text: &str) -> Result<(), Failed> {
        let path = self.root.join(path.trim_start_matches('/'));
        let folder = path.parent().or_fail("a path inside")?;
        fs::create_dir_all(folder).or_fail(folder.display())?;
        let mut file = fs::File::create(&path).or_fail(path.display())?;
        file.write_all(text.as_bytes()).or_fail(path.display())
    }

    /// Copies a file to `/root` inside; answers where it is there.
    ///
    /// # Errors
    /// The disk's.
    pub fn bring(&self, file: &Path) -> Result<String, Failed> {
        let name = file.file_name().and_then(|name| name.to_str()).or_fail("a file's name")?;
        fs::copy(file, self.root.join("root").join(name)).or_fail(file.display())?;
        Ok(format!("/root/{name}"))
    }

    /// Reboots it, and waits until it is up again.
    ///
    /// # Errors
    /// It doesn't come up.
    pub fn reboot(&mut self) -> Result<(), Failed> {
        // the connection may go before the answer comes
        self.run(&["systemctl", "--no-block", "reboot"])?;
        let ended = until("the machine goes down", UP_WITHIN, || {
            let ended = self.nspawn.try_wait().or_fail("waiting for the machine")?;
            Ok(ended.map_or_else(|| Look::No("it runs".to_owned()), Look::Yes))
        })?;
        if ended.code() != Some(REBOOTS) {
            return Err(Failed::because(format!("the machine was to reboot, and ended with {ended}")));
        }
        self.nspawn = power(&self.root, &self.log)?;
        self.up()
    }

    /// `kill -9` of nspawn, then of the first process, as if the power went; waits until nothing of the machine runs.
    ///
    /// # Errors
    /// Something goes on.
    pub fn cut_power(mut self) -> Result<(), Failed> {
        let inside = processes::below(self.first);
        expect(inside.len() > 2, "processes run on the machine", &inside)?;
        self.kill();
        until("nothing of the machine runs", UP_WITHIN, || {
            let living: Vec<_> =
                processes::all().into_iter().filter(|process| inside.contains(&process.pid)).collect();
            Ok(Look::at(living.is_empty(), living))
        })
    }
}

impl Booted {
    /// What nspawn leaves when it is killed is the machine's first process, and with that everything goes.
    fn kill(&mut self) {
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
        let _ = processes::kill_9(self.first);
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        self.kill();
    }
}
