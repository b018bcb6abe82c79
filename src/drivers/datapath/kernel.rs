//! The real [`Datapath`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::num::NonZeroU16;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use mill_model::limits::MAPPED_PORTS;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::sync::Mutex as Queue;

use super::layout::{EntryValue, MAPS, Net, Node, OWN_PORTS, PROGRAMS};
use super::pins::Pins;
use super::{Datapath, DatapathError, Entry, Mapping, Mended, Mode, NodeNet, loopback, maps, reserved};
use crate::cgroups::Cgroups;
use crate::containerd::chain;
use crate::containers::ContainerName;
use crate::host;

/// `mill.bpf.c`, compiled (`cargo xtask bpf`).
static OBJECT: &[u8] = aya::include_bytes_aligned!("mill.bpf.o");

/// Programs in the kernel for the containers of one Mill. Clones share what was chosen at the start.
#[derive(Debug, Clone)]
pub struct KernelDatapath {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// In the unified hierarchy, what holds the containers' cgroups; `None`: there is no such hierarchy.
    parent: Option<PathBuf>,
    pins: Pins,
    net: Net,
    /// Where the setting of reserved ports is kept as it was before.
    kept: PathBuf,
    mode: OnceLock<Mode>,
    node: Mutex<Option<NodeNet>>,
    /// Held while something is put right, or an entry changes.
    turn: Mutex<()>,
    /// Waited for before `turn` is: a hundred containers that start at once need no thread each to wait on.
    queue: Arc<Queue<()>>,
}

impl KernelDatapath {
    /// For the containers below the parent of these cgroups. `state` is a directory of this Mill's own for what doesn't
    /// survive a reboot.
    pub fn new(cgroups: &Cgroups, state: &Path) -> Self {
        let shared = Shared {
            parent: cgroups.unified_parent(),
            pins: Pins::of(cgroups.parent()),
            net: Net::of(cgroups.parent()),
            kept: state.join("reserved-ports"),
            mode: OnceLock::new(),
            node: Mutex::new(None),
            turn: Mutex::new(()),
            queue: Arc::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Finds out whether this kernel can, by doing it: loads and attaches, or finds attached. What is chosen holds for as
    /// long as this process lives; only the first call chooses.
    pub async fn choose(&self) -> Mode {
        // What is attached already says nothing of what this process may: entries are looked at.
        let may = |shared: &Shared| shared.attach().and_then(|_| maps::addresses(&shared.pins));
        let attached = self.off_thread(may).await.map(drop);
        let mode = match attached {
            Ok(()) => Mode::Kernel,
            Err(error) => Mode::Fallback { reason: chain(&error) },
        };
        self.shared.mode.get_or_init(|| mode).clone()
    }

    /// Finds out whether this kernel would, and leaves nothing behind.
    pub async fn probe() -> Mode {
        let probe = || {
            let object = EbpfLoader::new().load(OBJECT);
            let mut object = object.map_err(|source| DatapathError::Load { source: Arc::new(source) })?;
            PROGRAMS.iter().try_for_each(|name| loaded(&mut object, name).map(drop))
        };
        let probed = tokio::task::spawn_blocking(probe).await.unwrap_or(Err(DatapathError::Interrupted));
        match probed {
            Ok(()) => Mode::Kernel,
            Err(error) => Mode::Fallback { reason: chain(&error) },
        }
    }

    /// What is left of it on this machine, in words; `None`: nothing.
    pub(crate) fn left(&self) -> Option<String> {
        let shared = &self.shared;
        let addresses = loopback::all().ok().flatten().unwrap_or_default();
        let has_addresses = addresses.into_iter().any(|address| shared.net.has(address));
        let is_left = shared.pins.folder().exists() || shared.kept.exists() || has_addresses;
        is_left.then(|| shared.pins.folder().display().to_string())
    }

    /// Removes everything: programs, maps, addresses, the reservation of ports.
    ///
    /// # Errors
    /// The system refuses. What was removed is gone.
    pub(crate) fn clean(&self) -> Result<(), DatapathError> {
        let shared = &self.shared;
        let _turn = shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
        shared.pins.remove()?;
        for address in shared.own_addresses()? {
            loopback::remove(address).map_err(of_address(address))?;
        }
        reserved::restore(Path::new(reserved::SETTING), &shared.kept).map_err(system(reserved::SETTING))
    }

    /// The kernel verifies each program, which takes its time.
    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, DatapathError> + Send + 'static,
    ) -> Result<T, DatapathError> {
        let shared = Arc::clone(&self.shared);
        let next = Arc::clone(&shared.queue).lock_owned().await;
        let work = move || {
            let _next = next;
            let _turn = shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
            work(&shared)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(DatapathError::Interrupted))
    }
}

impl Datapath for KernelDatapath {
    fn mode(&self) -> Mode {
        let unknown = || Mode::Fallback { reason: "it wasn't tried".to_owned() };
        self.shared.mode.get().cloned().unwrap_or_else(unknown)
    }

    fn settle(&self, node: NodeNet) {
        *self.shared.node.lock().unwrap_or_else(PoisonError::into_inner) = Some(node);
    }

    async fn keep(&self) -> Result<Vec<Mended>, DatapathError> {
        self.off_thread(Shared::keep).await
    }

    async fn put(&self, name: &ContainerName, mapping: &Mapping) -> Result<(), DatapathError> {
        let (name, mapping) = (name.clone(), mapping.clone());
        self.off_thread(move |shared| shared.put(name, &mapping)).await
    }

    async fn remove(&self, name: &ContainerName) -> Result<(), DatapathError> {
        let name = name.clone();
        self.off_thread(move |shared| shared.remove(&name)).await
    }

    async fn entries(&self) -> Result<BTreeMap<ContainerName, Entry>, DatapathError> {
        self.off_thread(|shared| match maps::are_there(&shared.pins) {
            true => maps::list(&shared.pins, shared.net, |name| shared.cgroup_of(name)),
            false => Ok(BTreeMap::new()),
        })
        .await
    }
}

impl Shared {
    /// Attaches this version's programs and takes away others'; whether they weren't attached.
    fn attach(&self) -> Result<bool, DatapathError> {
        let (parent, id) = self.parent()?;
        self.pins.prepare()?;
        // Links die with the cgroup that they were made for: another of the same path is another generation.
        let generation = format!("{:08x}-{id:x}", crc32fast::hash(OBJECT));
        if let Some(whole) = self.pins.whole(&generation) {
            self.pins.keep_only(&whole)?;
            return Ok(false);
        }
        // Before Linux 5.11 the memory of maps counts against this.
        let unlimited = Rlimit { current: None, maximum: None };
        let _ = setrlimit(Resource::Memlock, unlimited);
        let mut object = self.load()?;
        let cgroup = File::open(parent).map_err(of_cgroup(parent))?;
        let folder = self.pins.begin(&generation)?;
        for name in PROGRAMS {
            let link = attached(&mut object, name, &cgroup)?;
            let pinned = link.pin(folder.join(name));
            pinned.map_err(|source| DatapathError::Pin { name, source: Arc::new(source) })?;
        }
        self.pins.keep_only(&folder)?;
        Ok(true)
    }

    fn load(&self) -> Result<Ebpf, DatapathError> {
        let mut loader = EbpfLoader::new();
        for name in MAPS {
            loader.map_pin_path(name, self.pins.map(name));
        }
        loader.load(OBJECT).map_err(|source| DatapathError::Load { source: Arc::new(source) })
    }

    /// What every entry rests on: programs that are attached, and know where the node is.
    fn ground(&self) -> Result<Vec<Mended>, DatapathError> {
        let mut mended = vec![];
        mended.extend(self.attach()?.then_some(Mended::Programs));
        let node = self.node()?;
        if self.net.has(node.v6) {
            mended.extend(add(node.v6)?.then_some(Mended::Address(node.v6)));
        }
        mended.extend(maps::write_node(&self.pins, &node.bytes())?.then_some(Mended::Node));
        Ok(mended)
    }

    fn keep(&self) -> Result<Vec<Mended>, DatapathError> {
        let mut mended = self.ground()?;
        let found = loopback::all().map_err(system(loopback::TABLE))?;
        let wanted = maps::addresses(&self.pins)?;
        for address in found.unwrap_or_default() {
            if self.net.has(address) && address != self.net.node() && !wanted.contains(&address) {
                loopback::remove(address).map_err(of_address(address))?;
                mended.push(Mended::Stray(address));
            }
        }
        let reserved = reserved::reserve(Path::new(reserved::SETTING), &self.kept);
        mended.extend(reserved.map_err(system(reserved::SETTING))?.then_some(Mended::Reserved));
        Ok(mended)
    }

    /// What programs know of the node. An address that others reach by way of some translator isn't this machine's:
    /// nothing can be bound there.
    fn node(&self) -> Result<Node, DatapathError> {
        let net = self.node.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let net = net.ok_or(DatapathError::NotSettled)?;
        let (_, parent) = self.parent()?;
        let is_local = |address: &IpAddr| UdpSocket::bind((*address, 0)).is_ok();
        let local = Some(net.address).filter(is_local);
        let has_v6 = loopback::all().map_err(system(loopback::TABLE))?.is_some();
        let v4 = match local.unwrap_or_else(host::default_address) {
            IpAddr::V4(v4) => v4,
            IpAddr::V6(_) => Ipv4Addr::LOCALHOST,
        };
        let v6 = match local {
            Some(IpAddr::V6(v6)) if !v6.is_loopback() => v6,
            _ if has_v6 => self.net.node(),
            _ => Ipv6Addr::UNSPECIFIED,
        };
        let mut own = [0; OWN_PORTS];
        own.iter_mut().zip(net.own.iter().copied().map(NonZeroU16::get)).for_each(|(to, from)| *to = from);
        let pool = (*MAPPED_PORTS.start(), *MAPPED_PORTS.end());
        Ok(Node { parent, v4, v6, net: self.net, pool, own })
    }

    fn put(&self, name: ContainerName, mapping: &Mapping) -> Result<(), DatapathError> {
        self.ground()?;
        let Some(cgroup) = self.cgroup_of(&name) else { return Err(DatapathError::NoCgroup { name }) };
        let (v4, mut v6) = self.net.private(mapping.loopback);
        match loopback::all().map_err(system(loopback::TABLE))? {
            Some(_) => drop(add(v6)?),
            None => v6 = Ipv6Addr::UNSPECIFIED,
        }
        maps::put(&self.pins, cgroup, &EntryValue { v4, v6, name }, &mapping.ports)
    }

    fn remove(&self, name: &ContainerName) -> Result<(), DatapathError> {
        if !maps::are_there(&self.pins) {
            return Ok(());
        }
        let gone = maps::remove(&self.pins, name)?;
        // The alloc's next run has the same, and may have begun.
        let left = maps::addresses(&self.pins)?;
        for address in gone.into_iter().map(|entry| entry.v6).filter(|address| self.net.has(*address)) {
            if !left.contains(&address) {
                loopback::remove(address).map_err(of_address(address))?;
            }
        }
        Ok(())
    }

    /// The cgroup of all containers, made if need be, and its id.
    fn parent(&self) -> Result<(&Path, u64), DatapathError> {
        let parent = self.parent.as_deref().ok_or(DatapathError::NoHierarchy)?;
        fs::create_dir_all(parent).map_err(of_cgroup(parent))?;
        let metadata = fs::metadata(parent).map_err(of_cgroup(parent))?;
        Ok((parent, metadata.ino()))
    }

    /// The id of a container's cgroup, which is its inode's number; `None`: it has none.
    fn cgroup_of(&self, name: &ContainerName) -> Option<u64> {
        let path = self.parent.as_ref()?.join(name.to_string());
        Some(fs::metadata(path).ok()?.ino())
    }

    fn own_addresses(&self) -> Result<Vec<Ipv6Addr>, DatapathError> {
        let found = loopback::all().map_err(system(loopback::TABLE))?.unwrap_or_default();
        Ok(found.into_iter().filter(|address| self.net.has(*address)).collect())
    }
}

/// Loads a program.
fn loaded<'a>(object: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Program, DatapathError> {
    let program = object.program_mut(name).ok_or(DatapathError::Missing { name })?;
    let loaded = match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::SockOps(program) => program.load(),
        _ => return Err(DatapathError::Missing { name }),
    };
    loaded.map_err(|source| DatapathError::Program { name, source: Arc::new(source) })?;
    Ok(program)
}

/// Loads a program and attaches it beside whatever is attached there.
fn attached(object: &mut Ebpf, name: &'static str, cgroup: &File) -> Result<FdLink, DatapathError> {
    let failed = |source: ProgramError| DatapathError::Program { name, source: Arc::new(source) };
    // A kernel that has no such links (before 5.7) leaves nothing that could be pinned.
    let too_old = |_| failed(ProgramError::NotAttached);
    // Of links the kernel takes no other mode: each stands beside what is there.
    let beside = CgroupAttachMode::Single;
    match loaded(object, name)? {
        Program::CgroupSockAddr(program) => {
            let id = program.attach(cgroup, beside).map_err(failed)?;
            FdLink::try_from(program.take_link(id).map_err(failed)?).map_err(too_old)
        }
        Program::SockOps(program) => {
            let id = program.attach(cgroup, beside).map_err(failed)?;
            FdLink::try_from(program.take_link(id).map_err(failed)?).map_err(too_old)
        }
        _ => Err(DatapathError::Missing { name }),
    }
}

fn add(address: Ipv6Addr) -> Result<bool, DatapathError> {
    loopback::add(address).map_err(of_address(address))
}

fn of_address(address: Ipv6Addr) -> impl FnOnce(std::io::Error) -> DatapathError {
    move |source| DatapathError::Address { address, source: Arc::new(source) }
}

fn of_cgroup(path: &Path) -> impl FnOnce(std::io::Error) -> DatapathError {
    move |source| DatapathError::Cgroup { path: path.to_owned(), source: Arc::new(source) }
}

fn system(path: &'static str) -> impl FnOnce(std::io::Error) -> DatapathError {
    move |source| DatapathError::System { path: path.into(), source: Arc::new(source) }
}
