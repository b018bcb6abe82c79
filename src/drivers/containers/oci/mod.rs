//! What runc is told: a launch, its image's wishes and the node's facts made into an OCI runtime spec.
//!
//! Pure: what has to be looked up (the user, devices, the node's limits) is handed in. The promise is product.md
//! §2: no new privileges, Docker's usual capabilities less `NET_RAW`, its default seccomp profile, masked paths, the
//! node's network, namespaces of its own otherwise.
//!
//! A spec ends on disks. So it names `mill-init` as the program, and says nothing of the environment and the arguments:
//! those are in [`run`], which never leaves memory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mill_init::format::PROGRAM_PATH;
use mill_init::{Run, START};
use mill_model::limits;
use serde_json::{Value, json};
use thiserror::Error;

use super::rootfs::Identity;
use super::{Launch, Signal};
use crate::images::ImageConfig;

mod capabilities;
mod mounts;
mod seccomp;
mod syscalls;

/// Docker's, for images that set none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Processor time is counted in periods of this many microseconds: the kernel's and Docker's default.
const CPU_PERIOD_US: u64 = 100_000;

/// When the node itself is short of memory, containers go before the system's services (which are at 0). Raising
/// the score needs no privilege.
const OOM_SCORE: i32 = 100;

/// What of the node a spec depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Capabilities that the node can give, a mask by number.
    pub capabilities: u64,
    /// Most open files that a process may be allowed.
    pub open_files_max: u64,
    /// Whether the kernel can limit swap along with memory.
    pub limits_swap: bool,
    /// The cgroup that holds those of all containers: `/mill`.
    pub cgroup_parent: String,
    /// The node's own `/etc/resolv.conf`, if it has one.
    pub resolv_conf: Option<PathBuf>,
}

/// A device of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its path, here and in the container.
    pub path: String,
    /// Whether it is a block device, else a character device.
    pub block: bool,
    /// Its driver.
    pub major: u32,
    /// Which of its driver's.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// What was looked up for one launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Who the program runs as.
    pub identity: Identity,
    /// The devices that the launch names.
    pub devices: Vec<Device>,
    /// The file that it sees as `/etc/hosts`.
    pub hosts: PathBuf,
    /// `mill-init`.
    pub program: PathBuf,
    /// The folder in which that finds what it is to become.
    pub runs: PathBuf,
    /// Where the launch's files are, in their order.
    pub files: Vec<PathBuf>,
}

/// A runtime spec, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec(pub Value);

/// Why a launch can't be made into a spec.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// Neither the config nor the image says what to run.
    #[error("neither the config nor the image names a command")]
    NoCommand,
    /// An argument or a variable that no program can be given.
    #[error("an argument or a variable has a NUL in it")]
    Nul,
    /// No such capability in Linux.
    #[error("there is no capability `{name}`")]
    UnknownCapability {
        /// As the config names it.
        name: String,
    },
    /// No such signal in Linux.
    #[error("there is no signal `{name}`")]
    UnknownSignal {
        /// As the config or the image names it.
        name: String,
    },
}

/// The program and its arguments, merged as Docker does: an entrypoint of the config's forgets the image's command.
pub(super) fn arguments(launch: &Launch, image: &ImageConfig) -> Result<Vec<String>, SpecError> {
    let (entrypoint, inherited) = match &launch.entrypoint {
        Some(entrypoint) => (entrypoint.clone(), None),
        None => (image.entrypoint.clone().unwrap_or_default(), image.cmd.clone()),
    };
    let command = launch.command.clone().or(inherited).unwrap_or_default();
    let arguments: Vec<String> = entrypoint.into_iter().chain(command).collect();
    match arguments.first().is_none_or(String::is_empty) {
        true => Err(SpecError::NoCommand),
        false => Ok(arguments),
    }
}

/// The image's environment with the launch's over it, `PATH` in any case.
pub(super) fn environment(launch: &Launch, image: &ImageConfig) -> BTreeMap<String, String> {
    let mut merged = BTreeMap::from([
        ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
        ("HOSTNAME".to_owned(), launch.hostname.clone()),
    ]);
    let split = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    merged.extend(image.env.iter().flatten().map(split));
    merged.extend(launch.env.iter().cloned());
    merged
}

/// Where the program starts; always absolute.
pub(super) fn workdir(launch: &Launch, image: &ImageConfig) -> String {
    let wanted = launch.workdir.clone().or_else(|| image.working_dir.clone()).unwrap_or_default();
    match wanted.starts_with('/') {
        true => wanted,
        false => format!("/{wanted}"),
    }
}

/// Who the program should run as, as the config or else the image names it; empty: root.
pub(super) fn user(launch: &Launch, image: &ImageConfig) -> String {
    launch.user.clone().or_else(|| image.user.clone()).unwrap_or_default()
}

/// What asks the program to stop.
pub(super) fn stop_signal(launch: &Launch, image: &ImageConfig) -> Result<Signal, SpecError> {
    let wanted = launch.stop_signal.as_ref().or(image.stop_signal.as_ref()).filter(|name| !name.is_empty());
    let unknown = |name: &String| SpecError::UnknownSignal { name: name.clone() };
    wanted.map_or(Ok(Signal::TERM), |name| name.parse().map_err(|_| unknown(name)))
}

/// The spec of a container.
///
/// # Errors
/// What the launch asks for doesn't exist in Linux, or it asks for nothing to run.
pub fn spec(
    launch: &Launch,
    image: &ImageConfig,
    found: &Found,
    host: &HostFacts,
) -> Result<Spec, SpecError> {
    let capabilities = capabilities::granted(&launch.cap_add, &launch.cap_drop, host.capabilities)?;
    let of_init = capabilities::of_init(&capabilities, host.capabilities);
    let open_files = limits::OPEN_FILES_MAX.min(host.open_files_max);
    Ok(Spec(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": init_arguments(START),
            "env": [],
            // runc makes it, while the root can still be written.
            "cwd": workdir(launch, image),
            "capabilities": { "bounding": of_init, "effective": of_init, "permitted": of_init },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": open_files, "soft": open_files }],
            "noNewPrivileges": true,
            "oomScoreAdj": OOM_SCORE,
        },
        "root": { "path": "rootfs", "readonly": launch.read_only_root },
        "hostname": launch.hostname,
        "mounts": mounts::all(launch, found, host),
        "linux": {
            "cgroupsPath": format!("{}/{}", host.cgroup_parent, launch.name),
            // No network namespace: the node's is shared. No cgroup namespace: as Docker has it on cgroup v1.
            "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }],
            "resources": resources(launch, &found.devices, host),
            "devices": found.devices.iter().map(device_node).collect::<Vec<_>>(),
            "seccomp": seccomp::profile(&capabilities),
            "maskedPaths": mounts::MASKED,
            "readonlyPaths": mounts::READ_ONLY,
        },
    })))
}

/// How `mill-init` is called: by which file it finds what it is to become.
pub(super) fn init_arguments(id: &str) -> [&str; 2] {
    [PROGRAM_PATH, id]
}

/// What `mill-init` is to become.
///
/// # Errors
/// What the launch asks for doesn't exist in Linux, or it asks for nothing to run.
pub fn run(
    launch: &Launch,
    image: &ImageConfig,
    identity: &Identity,
    host: &HostFacts,
) -> Result<Run, SpecError> {
    let granted = capabilities::granted(&launch.cap_add, &launch.cap_drop, host.capabilities)?;
    let mut environment = environment(launch, image);
    environment.entry("HOME".to_owned()).or_insert_with(|| identity.home.clone());
    let run = Run {
        argv: arguments(launch, image)?.into_iter().map(String::into_bytes).collect(),
        env: environment.into_iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect(),
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups.clone(),
        capabilities: capabilities::mask(&granted),
        no_core: launch.confidential || !launch.files.is_empty(),
        leased: false,
        terminal: (0, 0),
    };
    match run.encode() {
        Ok(_) => Ok(run),
        Err(_) => Err(SpecError::Nul),
    }
}

fn resources(launch: &Launch, devices: &[Device], host: &HostFacts) -> Value {
    let rule = |kind: &str, major: u32, minor: Option<u32>, access: &str| {
        let mut rule = json!({ "allow": true, "type": kind, "major": major, "access": access });
        if let Some(minor) = minor {
            rule["minor"] = json!(minor);
        }
        rule
    };
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    // null, zero, full, random, urandom, tty, console, ptmx, and pseudo terminals.
    let usual = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];
    rules.extend(usual.map(|(major, minor)| rule("c", major, Some(minor), "rwm")));
    rules.push(rule("c", 136, None, "rwm"));
    rules.extend(devices.iter().map(|d| rule(kind(d), d.major, Some(d.minor), "rwm")));

    let memory = i64::try_from(launch.resources.memory.0).unwrap_or(i64::MAX);
    let mut ceiling = json!({ "limit": memory });
    if host.limits_swap {
        // Memory and swap together: swapping isn't more memory.
        ceiling["swap"] = json!(memory);
    }
    let quota = i64::from(launch.resources.cpu.0) * i64::try_from(CPU_PERIOD_US / 1000).unwrap_or(i64::MAX);
    json!({
        "devices": rules,
        "memory": ceiling,
        "cpu": { "shares": shares(launch.resources.cpu.0), "quota": quota, "period": CPU_PERIOD_US },
        "pids": { "limit": limits::PIDS_MAX },
    })
}

/// A container's share of a busy processor is what it reserved: 1024 for each core, as everywhere.
fn shares(millis: u32) -> u64 {
    (u64::from(millis) * 1024 / 1000).max(2)
}

fn kind(device: &Device) -> &'static str {
    if device.block { "b" } else { "c" }
}

fn device_node(device: &Device) -> Value {
    json!({
        "path": device.path,
        "type": kind(device),
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    })
}

#[cfg(test)]
pub(crate) mod tests;
