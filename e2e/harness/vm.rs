//! Another machine: Debian's own kernel, and control groups of version 2 alone.
//!
//! qemu emulates it, so that it can be had everywhere, which makes it slow: what takes a second here takes it five or
//! ten. Its files are this machine's, shown by virtiofs and never written; what it changes is in its memory, over them.
//! It has no network but its loopback. What emulates it and what shows the files die with this process.

use std::fs;
use std::io::{BufRead as _, BufReader, Write};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::tool::Tool;
use super::{Context as _, Failed, Look, clock, until};

/// The package that depends on the newest kernel of Debian stable.
const KERNEL: &str = "linux-image-cloud-amd64";
/// What it needs to have its root.
const MODULES: [&str; 3] = ["/virtio_pci.ko:", "/virtiofs.ko:", "/overlay.ko:"];
const VIRTIOFSD: &str = "/usr/lib/qemu/virtiofsd";
/// For it all: what it changes is in it too.
const MEMORY: &str = "6G";
/// A machine that hangs isn't waited for.
const WITHIN_SECONDS: &str = "3000";
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// Its first program: makes the root of this machine's files and memory, and goes on there.
const FIRST: &str = "#!/bin/busybox sh
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /host /memory /root
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for module in MODULES; do insmod /modules/$module || echo \"no $module\"; done
mount -t virtiofs -o ro host /host || echo 'no files'
mount -t tmpfs memory /memory; mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /root || echo 'no root'
for kept in proc sys dev; do mkdir -p /root/$kept; mount -o move /$kept /root/$kept; done
exec switch_root /root /bin/sh SECOND
";

/// What it is then: a machine as systemd makes one, without systemd.
const SECOND: &str =
    "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root OWN=1
mount -t tmpfs run /run; mkdir -p /dev/pts /dev/shm /lib/modules
mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup; mount -t bpf bpf /sys/fs/bpf
mount --bind KERNEL/lib/modules /lib/modules
modprobe -a loop veth
ip link set lo up
mkdir -p STORIES; mount -t tmpfs stories STORIES; cp -a LINKS/. STORIES/
COMMAND
sync; echo o > /proc/sysrq-trigger; sleep 60
";

/// A kernel and its modules, unpacked.
pub struct Kernel {
    root: PathBuf,
    release: String,
}

impl Kernel {
    /// Fetches Debian's into `folder`, unless it is there; this machine gets no package.
    ///
    /// # Errors
    /// It can't be fetched, or a tool is missing.
    pub fn fetch(folder: &Path) -> Result<Self, Failed> {
        let root = folder.join("root");
        if !folder.join("done").exists() {
            let _ = fs::remove_dir_all(folder);
            fs::create_dir_all(&root).or_fail("a folder for a kernel")?;
            let depends = Tool::new("apt-cache").args(["depends", "--important", KERNEL]).run()?;
            let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
            let package = package.or_fail(format_args!("what {KERNEL} depends on in {depends}"))?;
            let sandbox = ["-o", "APT::Sandbox::User=root", "--quiet=2"];
            Tool::new("apt-get").args(["download", package]).args(sandbox).within(folder).run()?;
            for archive in fs::read_dir(folder).or_fail("a fetched package")?.flatten() {
                if archive.path().extension().is_some_and(|extension| extension == "deb") {
                    Tool::new("dpkg-deb").args(["--extract"]).args([&archive.path(), &root]).run()?;
                    fs::remove_file(archive.path()).or_fail("a fetched package")?;
                }
            }
            let kernel = Self::unpacked(root.clone())?;
            Tool::new("depmod").args(["--basedir"]).args([&root]).args([&kernel.release]).run()?;
            fs::write(folder.join("done"), "").or_fail("a folder for a kernel")?;
        }
        Self::unpacked(root)
    }

    fn unpacked(root: PathBuf) -> Result<Self, Failed> {
        let mut releases = fs::read_dir(root.join("lib/modules")).or_fail("a kernel's modules")?.flatten();
        let release = releases.next().or_fail("a kernel's modules")?.file_name();
        Ok(Self { root, release: release.to_string_lossy().into_owned() })
    }

    fn image(&self) -> PathBuf {
        self.root.join(format!("boot/vmlinuz-{}", self.release))
    }

    /// Writes a machine's first files to `to`.
    fn first_files(&self, to: &Path, second: &Path) -> Result<(), Failed> {
        let files = to.with_extension("files");
        fs::create_dir_all(files.join("bin")).or_fail("first files")?;
        fs::create_dir_all(files.join("modules")).or_fail("first files")?;
        let busybox = Tool::new("sh").args(["-c", "command -v busybox"]).run()?;
        fs::copy(busybox.trim(), files.join("bin/busybox")).or_fail("busybox")?;
        let mut names = vec![];
        let modules = self.root.join("lib/modules").join(&self.release);
        for module in needed(&modules)? {
            let name = module.rsplit('/').next().or_fail("a module's name")?.to_owned();
            fs::copy(modules.join(&module), files.join("modules").join(&name)).or_fail(&module)?;
            names.push(name);
        }
        let second = second.to_str().or_fail("a path that is text")?;
        let first = FIRST.replace("MODULES", &names.join(" ")).replace("SECOND", second);
        fs::write(files.join("init"), first).or_fail("first files")?;
        fs::set_permissions(files.join("init"), fs::Permissions::from_mode(0o755)).or_fail("first files")?;
        let pack = "find . | busybox cpio -o -H newc > \"$0\" 2>/dev/null";
        Tool::new("sh").args(["-c", pack]).args([to]).within(&files).run().map(drop)
    }
}

/// Files of all that [`MODULES`] are and need, each behind what it needs itself (modules.dep(5)).
fn needed(modules: &Path) -> Result<Vec<String>, Failed> {
    let text = fs::read_to_string(modules.join("modules.dep")).or_fail("modules.dep")?;
    let mut needed: Vec<String> = vec![];
    for module in MODULES {
        let line = text.lines().find(|line| line.contains(module)).or_fail(module)?;
        let (module, needs) = line.split_once(':').or_fail(module)?;
        for file in needs.split_whitespace().rev().chain([module]) {
            if !needed.iter().any(|known| known == file) {
                needed.push(file.to_owned());
            }
        }
    }
    Ok(needed)
}

/// A process that dies with this one, and with its owner.
struct Bound(Child);

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bound(program: &str, how: impl FnOnce(&mut Command) -> &mut Command) -> Result<Bound, Failed> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]).stdin(Stdio::null());
    how(&mut command).spawn().map(Bound).or_fail(format_args!("can't run {program} (`cargo xtask install`)"))
}

/// What a machine is for.
pub struct Errand<'a> {
    /// Where it may put its files meanwhile.
    pub folder: &'a Path,
    /// An empty folder there, in memory, for what it runs; with links to `kept`.
    pub stories: &'a Path,
    /// What is linked to.
    pub kept: &'a [PathBuf],
    /// What it runs, as a shell reads it.
    pub command: &'a str,
}

/// Boots a machine, runs a command there, and passes on what that says; answers its lines once the machine is off.
///
/// # Errors
/// A tool is missing.
pub fn run(kernel: &Kernel, errand: &Errand<'_>, out: &mut impl Write) -> Result<Vec<String>, Failed> {
    let Errand { folder, stories, kept, command } = errand;
    let (files, second, links) = (folder.join("first"), folder.join("second.sh"), folder.join("links"));
    fs::create_dir_all(&links).or_fail("a machine's folder")?;
    for kept in *kept {
        let name = kept.file_name().or_fail("a name")?;
        symlink(kept, links.join(name)).or_fail("a link")?;
    }
    let text = |path: &Path| path.to_str().map(str::to_owned).or_fail("a path that is text");
    // What is known to hold none of the other words first: a path may.
    let script = SECOND.replace("OWN", clock::OWN);
    let script = script.replace("KERNEL", &text(&kernel.root)?).replace("LINKS", &text(&links)?);
    let script = script.replace("STORIES", &text(stories)?).replace("COMMAND", command);
    fs::write(&second, script).or_fail("a machine's script")?;
    kernel.first_files(&files, &second)?;

    let socket = folder.join("files.sock");
    let log = fs::File::create(folder.join("files.log")).or_fail("a log")?;
    let _shown = bound(VIRTIOFSD, |command| {
        let path = format!("--socket-path={}", socket.display());
        command.arg(path).args(["-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot"]).stderr(log)
    })?;
    until("files are shown", STARTS_WITHIN, || Ok(Look::at(socket.exists(), "no socket")))?;
    let memory = format!("memory-backend-memfd,id=memory,size={MEMORY},share=on");
    let mut machine = bound("timeout", |command| {
        command.args(["--kill-after=5", WITHIN_SECONDS, "setpriv", "--pdeathsig", "KILL"]);
        command.args(["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]);
        command.args(["-m", MEMORY, "-object", &memory, "-numa", "node,memdev=memory"]);
        command.args(["-nographic", "-no-reboot", "-net", "none"]);
        command.arg("-kernel").arg(kernel.image()).arg("-initrd").arg(&files);
        command.args(["-append", "console=ttyS0 quiet loglevel=1 panic=-1"]);
        command.args(["-chardev", &format!("socket,id=files,path={}", socket.display())]);
        command.args(["-device", "vhost-user-fs-pci,chardev=files,tag=host"]).stdout(Stdio::piped())
    })?;
    let said = BufReader::new(machine.0.stdout.take().or_fail("the machine's console")?);
    let mut lines = vec![];
    for line in said.split(b'\n') {
        let line = line.or_fail("the machine's console")?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let _ = writeln!(out, "{line}");
        lines.push(line);
    }
    Ok(lines)
}
