//! A machine inside this one: a network with a neighbour, mounts and a cgroup of its own, and programs in containers'
//! cgroups on it that do with sockets what they are told. Needs root, iproute2 and util-linux.
//!
//! A test is run three times over, by itself: the first asks `unshare` for the second, which is the test proper, and that
//! one starts a third for each program.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't set up its machine fails"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mill_drivers::cgroups::Cgroups;
use mill_drivers::containers::ContainerName;
use mill_drivers::datapath::{Datapath as _, KernelDatapath, Mapping, Mode, NodeNet, Pair};
use mill_model::ports::{Loopback, Protocol};

mod sockets;

/// What this run of the test is.
const ROLE: &str = "MILL_TEST_ROLE";

/// What a program's answers begin with: the test harness talks on the same output.
const ANSWER: &str = "answer: ";

/// The node's address, and its neighbour's.
pub(crate) const HERE: &str = "10.77.0.1";
const THERE: &str = "10.77.0.2";

/// Runs `test`, which is the test called `name`, on a machine of its own.
pub(crate) fn on_a_machine(name: &str, test: impl AsyncFnOnce(Machine)) {
    match std::env::var(ROLE).as_deref() {
        Ok("program") => sockets::obey(),
        Ok(_) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async { test(Machine::new(name)).await });
        }
        Err(_) => {
            assert!(rustix::process::geteuid().is_root(), "this test makes a machine: it needs root");
            let mut inside = Command::new("unshare");
            inside.args(["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]);
            let parent = format!("/mill-t{}-{name}", std::process::id());
            let status = again(&mut inside, name).env(ROLE, &parent).status();
            sweep(&parent);
            assert!(status.expect("util-linux is installed").success(), "{name} failed inside");
        }
    }
}

/// This very test, run by `command`.
fn again<'a>(command: &'a mut Command, name: &str) -> &'a mut Command {
    let this = std::env::current_exe().unwrap();
    command.arg(this).args([name, "--exact", "--nocapture", "--test-threads=1"])
}

/// The cgroups of a machine that is gone.
fn sweep(parent: &str) {
    let cgroups = Cgroups::detect(parent).unwrap();
    for name in cgroups.names().unwrap() {
        while !cgroups.remove(&name).unwrap() {
            std::thread::yield_now();
        }
    }
    cgroups.remove_parent().unwrap();
}

/// See the module's header.
pub(crate) struct Machine {
    test: String,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) cgroups: Cgroups,
    neighbour: Child,
}

impl Machine {
    fn new(test: &str) -> Self {
        let cgroups = Cgroups::detect(&std::env::var(ROLE).unwrap()).unwrap();
        let mut neighbour = Command::new("unshare");
        neighbour.args(["--net", "sh", "-c", "ip link set lo up; echo ready; exec sleep 600"]);
        let mut neighbour = neighbour.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(neighbour.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
        let there = neighbour.id().to_string();
        // Where the machine has a BPF file system, what is pinned there would stay: Mill mounts its own.
        let _ = rustix::mount::unmount("/sys/fs/bpf", rustix::mount::UnmountFlags::DETACH);
        run("ip link set lo up");
        run(&format!("ip link add here type veth peer name there netns {there}"));
        run(&format!("ip addr add {HERE}/24 dev here"));
        run("ip link set here up");
        run(&format!("nsenter -t {there} -n ip addr add {THERE}/24 dev there"));
        run(&format!("nsenter -t {there} -n ip link set there up"));
        Self { test: test.to_owned(), dir: tempfile::tempdir().unwrap(), cgroups, neighbour }
    }

    /// A datapath that is up.
    pub(crate) async fn datapath(&self) -> KernelDatapath {
        let datapath = KernelDatapath::new(&self.cgroups, self.dir.path());
        assert_eq!(datapath.choose().await, Mode::Kernel, "this test needs BPF and cgroup v2");
        datapath.settle(net());
        datapath.keep().await.unwrap();
        datapath
    }

    /// A container's cgroup, its ports mapped: `80`, `53/udp`, and as many numbers as there are ports.
    pub(crate) async fn container(&self, datapath: &KernelDatapath, name: &str, ports: &[(&str, u16)]) {
        self.cgroup(name);
        let number = name.rsplit('.').next().unwrap().parse().unwrap();
        datapath.put(&container(name), &mapping(number, ports)).await.unwrap();
    }

    /// A container's cgroup and no more.
    pub(crate) fn cgroup(&self, name: &str) -> PathBuf {
        let path = self.cgroups.unified_parent().unwrap().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// A program in a container, or, in none of them, of the node's.
    pub(crate) fn program(&self, container: Option<&str>) -> Program {
        let cgroup = container.map(|name| self.cgroup(name));
        self.start(Command::new("env"), cgroup.as_deref())
    }

    /// A program on the machine next to this one.
    pub(crate) fn neighbour(&self) -> Program {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.neighbour.id().to_string(), "-n"]);
        self.start(command, None)
    }

    fn start(&self, mut command: Command, cgroup: Option<&Path>) -> Program {
        let command = again(&mut command, &self.test).env(ROLE, "program");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        if let Some(cgroup) = cgroup {
            std::fs::write(cgroup.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Program { child, input, output }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.neighbour.kill();
        let _ = self.neighbour.wait();
    }
}

/// A program that does as it is told.
pub(crate) struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Tells it; its answer.
    pub(crate) fn told(&mut self, order: &str) -> String {
        writeln!(self.input, "{order}").unwrap();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "it ended over `{order}`");
            if let Some((_, answer)) = line.split_once(ANSWER) {
                return answer.trim_end().to_owned();
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn net() -> NodeNet {
    NodeNet { address: HERE.parse().unwrap(), own: vec![4400.try_into().unwrap()] }
}

pub(crate) fn container(name: &str) -> ContainerName {
    name.parse().unwrap()
}

/// Ports as `80` or `53/udp`, each with what stands for it.
pub(crate) fn mapping(number: u16, ports: &[(&str, u16)]) -> Mapping {
    let pair = |(declared, mapped): &(&str, u16)| {
        let (declared, protocol) = match declared.split_once("/udp") {
            Some((declared, _)) => (declared, Protocol::Udp),
            None => (*declared, Protocol::Tcp),
        };
        Pair { protocol, declared: declared.parse().unwrap(), mapped: (*mapped).try_into().unwrap() }
    };
    Mapping { loopback: Loopback(number.try_into().unwrap()), ports: ports.iter().map(pair).collect() }
}

pub(crate) fn run(line: &str) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}
