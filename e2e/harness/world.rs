//! All that a story has: a machine with a registry and a containerd, and mostly a node on it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::cli::{Mill, Ran};
use super::containerd::Containerd;
use super::json::Fields as _;
use super::leaks::Held;
use super::node::Node;
use super::registry::Registry;
use super::tool::Tool;
use super::{Context as _, Failed, Look, until};

/// Where the registry of every story listens: the usual port of a loopback that is the story's own.
const REGISTRY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);

/// How long a deploy that is over may take to show in the list of allocs, and a killed part to come back.
pub const SETTLES_WITHIN: Duration = Duration::from_secs(60);

/// The address of a node that has one.
pub const ADDRESS: &str = "10.77.0.1";

/// A story's machine before there is a Mill on it.
pub struct Machine {
    /// Files of the story.
    pub folder: PathBuf,
    /// What runs containers.
    pub containerd: Containerd,
    /// The command line.
    pub mill: Mill,
    /// Whether full counts are asked for (`prove-long`).
    pub long: bool,
    registry: Registry,
}

impl Machine {
    /// Starts registry and containerd. `images` is the registry's storage, filled; the story gets a copy. `mill` is the
    /// binary.
    ///
    /// # Errors
    /// Something doesn't come up.
    pub fn start(folder: &Path, images: &Path, mill: &Path, long: bool) -> Result<Self, Failed> {
        let storage = folder.join("registry");
        Tool::new("cp").args(["--archive"]).args([images, &storage]).run()?;
        let registry = Registry::start(folder, &storage, REGISTRY)?;
        let containerd = Containerd::start(folder)?;
        let mill = Mill::new(mill, folder);
        Ok(Self { folder: folder.to_owned(), containerd, mill, long, registry })
    }

    /// Where the local registry listens.
    pub const fn registry(&self) -> SocketAddr {
        self.registry.address()
    }

    /// The full name of an image of the local registry: `hello:v1`, `apps:1`, `nginx-light:debian`.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.address())
    }
}

/// A machine with a node on it.
pub struct World {
    /// What it stands on.
    pub machine: Machine,
    /// The command line.
    pub mill: Mill,
    /// The node.
    pub node: Node,
}

impl World {
    /// Starts a node on `machine`.
    ///
    /// # Errors
    /// It doesn't come up.
    pub fn start(machine: Machine) -> Result<Self, Failed> {
        let mill = machine.mill.clone();
        let node = Node::start(&mill, &machine.folder)?;
        Ok(Self { machine, mill, node })
    }

    /// Starts a node on `machine` that is reached at [`ADDRESS`].
    ///
    /// # Errors
    /// It doesn't come up.
    pub fn start_addressed(machine: Machine) -> Result<Self, Failed> {
        Tool::new("ip").args(["address", "add", &format!("{ADDRESS}/32"), "dev", "lo"]).run()?;
        let mill = machine.mill.clone();
        let node = Node::start(&mill.clone().with_env("MILL_ADVERTISE", ADDRESS), &machine.folder)?;
        Ok(Self { machine, mill, node })
    }

    /// Starts a node on `machine` that may not use BPF.
    ///
    /// # Errors
    /// It doesn't come up.
    pub fn start_unmapped(machine: Machine) -> Result<Self, Failed> {
        let mill = machine.mill.clone();
        let node = Node::start_without_bpf(&mill, &machine.folder)?;
        Ok(Self { machine, mill, node })
    }

    /// Writes a config file and answers its path. `IMAGE(name)` stands for an image of the local registry.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, file: &str, text: &str) -> Result<String, Failed> {
        let mut config = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("IMAGE(") {
            let (name, after) = after.split_once(')').or_fail("IMAGE( without )")?;
            config.push_str(before);
            config.push_str(&format!("\"{}\"", self.machine.image(name)));
            rest = after;
        }
        config.push_str(rest);
        let path = self.machine.folder.join(file);
        fs::write(&path, config).or_fail("a config file")?;
        path.to_str().map(str::to_owned).or_fail("a path that is text")
    }

    /// Deploys this config, whatever comes of it.
    ///
    /// # Errors
    /// `mill` can't be started.
    pub fn deploy(&self, config: &str) -> Result<Ran, Failed> {
        let file = self.write("mill.kdl", config)?;
        self.mill.run(&["deploy", "-f", &file])
    }

    /// Deploys this config, which must succeed.
    ///
    /// # Errors
    /// It doesn't: says what `mill` printed.
    pub fn deploy_ok(&self, config: &str) -> Result<Ran, Failed> {
        let file = self.write("mill.kdl", config)?;
        self.mill.ok(&["deploy", "-f", &file])
    }

    /// The living allocs of a service, oldest first.
    ///
    /// # Errors
    /// The node doesn't answer.
    pub fn allocs(&self, project: &str, service: &str) -> Result<Vec<Value>, Failed> {
        allocs(&self.mill, project, service)
    }

    /// Waits until a service has exactly `count` allocs, all healthy and of the wanted version; answers them.
    ///
    /// # Errors
    /// It doesn't come to that.
    pub fn settled(&self, project: &str, service: &str, count: usize) -> Result<Vec<Value>, Failed> {
        until(&format!("{count} healthy allocs of {project}/{service}"), SETTLES_WITHIN, || {
            let allocs = self.allocs(project, service)?;
            let right =
                |alloc: &Value| alloc.is("/phase", "healthy") && alloc.pointer("/old") == Some(&false.into());
            Ok(match allocs.len() == count && allocs.iter().all(right) {
                true => Look::Yes(allocs),
                false => Look::No(format!("{allocs:#?}")),
            })
        })
    }

    /// The texts of a service's or alloc's log lines, of all incarnations, in order.
    ///
    /// # Errors
    /// The node doesn't answer.
    pub fn log(&self, name: &str) -> Result<Vec<String>, Failed> {
        let lines = self.mill.json_lines(&["logs", name, "--all", "-n", "1000000"])?;
        lines.iter().map(|line| line.text("/text").map(str::to_owned)).collect()
    }

    /// The moment in a log line `… at MILLISECONDS` of a service that starts so; the last such line.
    ///
    /// # Errors
    /// There is none.
    pub fn moment(&self, service: &str, start: &str) -> Result<u64, Failed> {
        let lines = self.log(service)?;
        let found = lines.iter().rev().find(|line| line.starts_with(start));
        let moment = found.and_then(|line| line.rsplit(" at ").next()).and_then(|moment| moment.parse().ok());
        moment.or_fail(format_args!("no `{start} … at MOMENT` among {lines:#?}"))
    }

    /// What the node holds now.
    ///
    /// # Errors
    /// containerd doesn't answer.
    pub fn held(&self) -> Result<Held, Failed> {
        Held::now(self.node.data())
    }

    /// Waits until the node holds as much as `before`.
    ///
    /// # Errors
    /// It doesn't come to that: says what is left.
    pub fn holds_again(&self, before: &Held) -> Result<(), Failed> {
        Held::comes_back(before, self.node.data())
    }
}

/// The living allocs of a service.
///
/// # Errors
/// The node doesn't answer.
pub fn allocs(mill: &Mill, project: &str, service: &str) -> Result<Vec<Value>, Failed> {
    let all = mill.json(&["allocs"])?;
    let of_it = |alloc: &&Value| {
        alloc.is("/workload/project", project)
            && alloc.is("/workload/name", service)
            && !alloc.is("/phase", "stopped")
            && !alloc.is("/phase", "failed")
    };
    Ok(all.list("")?.iter().filter(of_it).cloned().collect())
}

/// Where an alloc's first port is reached.
///
/// # Errors
/// It has none yet.
pub fn endpoint(alloc: &Value) -> Result<SocketAddr, Failed> {
    let port = u16::try_from(alloc.number("/ports/0/mapped")?).or_fail("a port")?;
    let address = alloc.text("/address")?.parse().or_fail("an address")?;
    Ok(SocketAddr::new(address, port))
}
