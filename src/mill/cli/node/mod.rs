//! How a daemon is to run: what was typed (`LowArgs` in ripgrep's words) and what it means (`NodeConfig`).
//!
//! Flags win over the environment, the environment over the file (`/etc/mill/node.kdl`), the file over defaults.

mod file;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use mill_drivers::mounts::{resolved, resolved_place};
use mill_model::NodeName;
use mill_model::limits::NAME_LENGTH_MAX;
use tracing_subscriber::EnvFilter;

use super::error::CliError;
use file::NodeFile;

/// The daemon's control socket: where the CLI of this machine's root finds it.
pub(crate) const SOCKET: &str = "/run/mill/mill.sock";
/// The plane's.
pub(crate) const PLANE_SOCKET: &str = "/run/mill/plane.sock";
/// Where a node keeps its data.
pub(crate) const DATA_DIR: &str = "/var/lib/mill";
/// Where `mill dev` does: a try must not touch a real node's state.
pub(crate) const DEV_DATA_DIR: &str = "/var/lib/mill-dev";
/// The daemon's settings.
pub(crate) const CONFIG_FILE: &str = "/etc/mill/node.kdl";
/// The cgroup of all containers.
pub(crate) const CGROUP_PARENT: &str = "/mill";
/// What Debian and most others start containerd with.
pub(crate) const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// Settings of a node, as typed. Each can also be set in the environment and, for `mill daemon`, in the file.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct NodeArgs {
    /// What to call this machine; its host name by default [env: MILL_NODE_NAME]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Where to keep state, logs and images [env: MILL_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,

    /// Control socket, root's only [env: MILL_SOCKET]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<String>,

    /// Control socket of the plane, root's only [env: MILL_PLANE_SOCKET]
    #[arg(long, value_name = "PATH")]
    pub(crate) plane_socket: Option<String>,

    /// Who starts the plane: `own`: the daemon, if it finds none; `unit`: systemd, as mill-plane.service [env:
    /// MILL_PLANE]
    #[arg(long, value_name = "own|unit")]
    pub(crate) plane: Option<String>,

    /// Where the API listens [env: MILL_LISTEN]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,

    /// Address at which other machines and published ports are reached [env: MILL_ADVERTISE]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) advertise: Option<String>,

    /// containerd's socket; `own`: Mill runs one of its own; `auto`: the system's if there is one, else its own
    /// [env: MILL_CONTAINERD]
    #[arg(long, value_name = "PATH|own|auto")]
    pub(crate) containerd: Option<String>,

    /// Cgroup of all containers, from a hierarchy's root: two Mills on one machine need two [env: MILL_CGROUP_PARENT]
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_parent: Option<String>,

    /// What to log: a level, or levels per module (`info,mill_actors=debug`) [env: MILL_LOG]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,

    /// How to log: `text` or `json` [env: MILL_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
}

/// How a daemon is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeConfig {
    /// What to call the machine.
    pub(crate) name: NodeName,
    /// Where state, logs and images are kept.
    pub(crate) data_dir: PathBuf,
    /// The control socket.
    pub(crate) socket: PathBuf,
    /// The plane's.
    pub(crate) plane_socket: PathBuf,
    /// Who starts the plane.
    pub(crate) plane: StartsPlane,
    /// Where the API listens.
    pub(crate) listen: SocketAddr,
    /// Where others reach the machine; `None`: `init` says so, or the address of the default route is taken.
    pub(crate) advertise: Option<IpAddr>,
    /// Which containerd.
    pub(crate) containerd: Containerd,
    /// The cgroup of all containers, from a hierarchy's root: `/mill`.
    pub(crate) cgroup_parent: String,
    /// What and how to log.
    pub(crate) log: Log,
}

/// Who starts the plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartsPlane {
    /// The daemon, if it finds none. The plane outlives it.
    Daemon,
    /// The service manager, as a unit of its own. A daemon that finds none waits for it.
    Unit,
}

/// Which containerd to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Containerd {
    /// The one at this socket.
    Socket(PathBuf),
    /// One of Mill's own, supervised, with its own root and socket below the data directory.
    Own,
    /// The one at this socket if it is there when the daemon starts, else one of its own.
    Auto(PathBuf),
}

/// What and how to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    /// A filter, as `tracing_subscriber::EnvFilter` reads it.
    pub(crate) filter: String,
    /// One JSON object a line instead of text.
    pub(crate) json: bool,
}

/// What differs between `mill daemon` and `mill dev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// A node of a cluster.
    Daemon,
    /// A cluster of one, to try things out.
    Dev,
    /// A plane, which shares a few settings with its daemon and isn't disturbed by the others.
    Plane,
}

/// Settings that are also a plane's.
const PLANES: [&str; 4] = ["data-dir", "plane-socket", "log", "log-format"];

/// Where settings come from besides flags.
pub(crate) struct Sources<'a> {
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    /// Text of the settings file and its name; `None`: there is none.
    pub(crate) file: Option<(&'a str, &'a Path)>,
    /// What the kernel says that the machine is called.
    pub(crate) hostname: &'a str,
}

/// A setting as text, and where it came from.
struct Setting {
    text: String,
    from: String,
}

/// Flags over environment over file.
struct Settings<'a> {
    flavour: Flavour,
    env: &'a dyn Fn(&str) -> Option<String>,
    file: NodeFile,
}

impl Settings<'_> {
    fn get(&self, flag: &str, typed: Option<&String>) -> Option<Setting> {
        let variable = match flag {
            "name" => "MILL_NODE_NAME".to_owned(),
            _ => format!("MILL_{}", flag.replace('-', "_").to_ascii_uppercase()),
        };
        let typed = typed.map(|text| Setting { text: text.clone(), from: format!("--{flag}") });
        let from_env = || {
            let text = (self.env)(&variable).filter(|text| !text.is_empty())?;
            Some(Setting { text, from: variable.clone() })
        };
        let from_file = || {
            let (text, place) = self.file.get(flag)?;
            Some(Setting { text: text.to_owned(), from: place })
        };
        let others = self.flavour != Flavour::Plane || PLANES.contains(&flag);
        typed.or_else(|| from_env().filter(|_| others)).or_else(|| from_file().filter(|_| others))
    }

    fn parse<T: FromStr<Err: std::error::Error>>(
        &self,
        flag: &str,
        typed: Option<&String>,
        hint: &str,
    ) -> Result<Option<T>, CliError> {
        let Some(setting) = self.get(flag, typed) else { return Ok(None) };
        setting.text.parse().map(Some).map_err(|wrong: T::Err| {
            CliError::usage(format!("{} can't be `{}`", setting.from, setting.text)).source(&wrong).hint(hint)
        })
    }

    fn path(&self, flag: &str, typed: Option<&String>, default: &str) -> Result<PathBuf, CliError> {
        let Some(setting) = self.get(flag, typed) else { return Ok(default.into()) };
        let path = PathBuf::from(&setting.text);
        match path.is_absolute() {
            true => Ok(path),
            false => Err(CliError::usage(format!("{} can't be `{}`", setting.from, setting.text))
                .because("a daemon's paths don't depend on where it was started")
                .hint("give the path from `/` on")),
        }
    }
}

impl NodeConfig {
    /// The same, its paths without symbolic links as far as they are there. The kernel, containerd and Mill's other
    /// process tell of files so: by any other name a daemon wouldn't know its own mounts and shims again.
    pub(crate) fn resolved(&self) -> Self {
        Self {
            data_dir: resolved(&self.data_dir),
            socket: resolved_place(&self.socket),
            plane_socket: resolved_place(&self.plane_socket),
            ..self.clone()
        }
    }
}

impl NodeArgs {
    /// What they mean.
    pub(crate) fn resolve(&self, flavour: Flavour, sources: &Sources<'_>) -> Result<NodeConfig, CliError> {
        let file = match sources.file {
            Some((text, path)) => NodeFile::parse(text, path)?,
            None => NodeFile::default(),
        };
        let settings = Settings { flavour, env: sources.env, file };
        let dev = flavour == Flavour::Dev;
        let listen_default = match dev {
            true => SocketAddr::from((Ipv4Addr::LOCALHOST, mill_api::client::DEFAULT_PORT)),
            false => SocketAddr::from((Ipv4Addr::UNSPECIFIED, mill_api::client::DEFAULT_PORT)),
        };
        let advertise =
            settings.parse("advertise", self.advertise.as_ref(), "an address such as 10.0.0.1")?;
        Ok(NodeConfig {
            name: self.node_name(&settings, sources.hostname)?,
            data_dir: settings.path(
                "data-dir",
                self.data_dir.as_ref(),
                if dev { DEV_DATA_DIR } else { DATA_DIR },
            )?,
            socket: settings.path("socket", self.socket.as_ref(), SOCKET)?,
            plane_socket: settings.path("plane-socket", self.plane_socket.as_ref(), PLANE_SOCKET)?,
            listen: settings
                .parse(
                    "listen",
                    self.listen.as_ref(),
                    "an address and a port, such as 0.0.0.0:4400 or [::]:4400",
                )?
                .unwrap_or(listen_default),
            advertise: advertise.or(dev.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST))),
            plane: self.starts_plane(&settings)?,
            containerd: self.which_containerd(&settings, dev)?,
            cgroup_parent: self.cgroup_parent(&settings)?,
            log: self.log(&settings)?,
        })
    }

    fn node_name(&self, settings: &Settings<'_>, hostname: &str) -> Result<NodeName, CliError> {
        let hint = "such as `node-1`";
        match settings.parse("name", self.name.as_ref(), hint)? {
            Some(name) => Ok(name),
            None => as_name(hostname).ok_or_else(|| {
                CliError::usage("this machine has no name")
                    .because(format!("its host name is `{hostname}`, and no letter or digit is in it"))
                    .hint("say what to call it: `--name node-1`")
            }),
        }
    }

    fn which_containerd(&self, settings: &Settings<'_>, dev: bool) -> Result<Containerd, CliError> {
        let default = if dev { "auto" } else { CONTAINERD_SOCKET };
        let which = settings.get("containerd", self.containerd.as_ref());
        match which.as_ref().map_or(default, |setting| &setting.text) {
            "own" => Ok(Containerd::Own),
            "auto" => Ok(Containerd::Auto(CONTAINERD_SOCKET.into())),
            _ => settings
                .path("containerd", self.containerd.as_ref(), CONTAINERD_SOCKET)
                .map(Containerd::Socket)
                .map_err(|error| error.hint("a socket's path from `/` on, `own` or `auto`")),
        }
    }

    /// A path below the root: the root itself holds what isn't Mill's.
    fn cgroup_parent(&self, settings: &Settings<'_>) -> Result<String, CliError> {
        let Some(setting) = settings.get("cgroup-parent", self.cgroup_parent.as_ref()) else {
            return Ok(CGROUP_PARENT.to_owned());
        };
        let named = |part: &str| !matches!(part, "" | "." | "..");
        match setting.text.strip_prefix('/').is_some_and(|path| path.split('/').all(named)) {
            true => Ok(setting.text),
            false => Err(CliError::usage(format!("{} can't be `{}`", setting.from, setting.text))
                .because("it is a path from the root of a cgroup hierarchy, and Mill's own")
                .hint("such as `/mill`")),
        }
    }

    fn starts_plane(&self, settings: &Settings<'_>) -> Result<StartsPlane, CliError> {
        let Some(who) = settings.get("plane", self.plane.as_ref()) else { return Ok(StartsPlane::Daemon) };
        match who.text.as_str() {
            "own" => Ok(StartsPlane::Daemon),
            "unit" => Ok(StartsPlane::Unit),
            other => Err(CliError::usage(format!("{} can't be `{other}`", who.from))
                .because("either the daemon starts a plane if it finds none, or systemd does")
                .hint("`own` or `unit`")),
        }
    }

    fn log(&self, settings: &Settings<'_>) -> Result<Log, CliError> {
        let filter = settings.parse::<EnvFilter>(
            "log",
            self.log.as_ref(),
            "a level such as `info` or `debug`, or levels per module: `info,mill_actors=debug`",
        )?;
        let filter = filter.map_or_else(|| "info".to_owned(), |filter| filter.to_string());
        let json = match settings.get("log-format", self.log_format.as_ref()) {
            None => false,
            Some(format) => match format.text.as_str() {
                "text" => false,
                "json" => true,
                other => {
                    return Err(CliError::usage(format!("{} can't be `{other}`", format.from))
                        .because("there are two ways to log")
                        .hint("`text` or `json`"));
                }
            },
        };
        Ok(Log { filter, json })
    }
}

/// A host name as a node's name: its first label, in lower case, without what a label can't have.
fn as_name(hostname: &str) -> Option<NodeName> {
    let label = hostname.split('.').next()?.to_ascii_lowercase();
    let fit = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let label: String = label.chars().map(fit).take(NAME_LENGTH_MAX).collect();
    NodeName::new(label.trim_matches('-')).ok()
}
