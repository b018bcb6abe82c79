//! A test host: a containerd and a registry of its own, on loopback and in a temporary directory, and what it takes to
//! leave nothing behind. Needs root, containerd, runc, docker-registry, umoci, skopeo and busybox-static.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't set up its host fails"
)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mill_drivers::cgroups::Cgroups;
use mill_drivers::containers::{Containers as _, Launch, Runtime, RuntimeConfig};
use mill_drivers::images::{Images as _, Store};
use mill_model::{Bytes, ImageRef, Millicores, Resources, Tempo};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) mod faulty;
pub(crate) mod slow;

/// How long a test waits for what takes a moment.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the file's header. Dropping it ends and removes everything.
pub(crate) struct Host {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) registry: Registry,
    containerd: Option<Child>,
    pub(crate) cgroup_parent: String,
}

/// A docker-registry.
pub(crate) struct Registry {
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Host {
    /// Starts both and waits until they answer.
    pub(crate) async fn start() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test runs real containers: it needs root, containerd, runc, docker-registry, umoci, skopeo, busybox-static"
        );
        let dir = tempfile::Builder::new().prefix("mill-t").tempdir().unwrap();
        let registry = Registry::start(dir.path());
        let name = dir.path().file_name().unwrap().to_string_lossy().into_owned();
        let mut host = Self { dir, registry, containerd: None, cgroup_parent: format!("/{name}") };
        host.start_containerd().await;
        host
    }

    pub(crate) async fn start_containerd(&mut self) {
        let dir = self.dir.path();
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = \"{0}/c.sock\"\n",
            dir.display()
        );
        std::fs::write(dir.join("config.toml"), config).unwrap();
        let log = std::fs::File::create(dir.join("containerd.log")).unwrap();
        let child = Command::new("containerd")
            .arg("--config")
            .arg(dir.join("config.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("containerd is installed");
        self.containerd = Some(child);
        let runtime = self.runtime();
        until("containerd answers", async || runtime.containerd().version().await.is_ok()).await;
    }

    /// Ends containerd, its containers stay.
    pub(crate) fn kill_containerd(&mut self) {
        if let Some(mut child) = self.containerd.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("c.sock")
    }

    pub(crate) fn runtime(&self) -> Runtime {
        let config = RuntimeConfig {
            socket: self.socket(),
            cgroup_parent: self.cgroup_parent.clone(),
            state: self.dir.path().join("run"),
        };
        let runtime = Runtime::new(&config, Arc::new(Tempo::default())).unwrap();
        runtime.prepare().unwrap();
        runtime
    }

    pub(crate) fn images(&self) -> Store {
        Store::new(&self.socket(), BTreeSet::new(), Arc::new(Tempo::default()))
    }

    /// Builds and pushes an image, pulls it, and names it by digest.
    pub(crate) async fn image(&self, image: &Build<'_>) -> ImageRef {
        let pushed = self.push(image);
        let images = self.images();
        let pinned = pushed.pinned(images.resolve(&pushed).await.unwrap());
        images.pull(&pinned, |_| {}).await.unwrap();
        pinned
    }

    /// Builds an image and pushes it.
    pub(crate) fn push(&self, image: &Build<'_>) -> ImageRef {
        let layout = self.dir.path().join(format!("layout-{}", image.name));
        image.layout(&layout);
        let target = format!("127.0.0.1:{}/{}:v1", self.registry.port, image.name);
        let mut copy = Command::new("skopeo");
        copy.args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]);
        if image.zstd {
            copy.args(["--dest-compress-format", "zstd", "--dest-decompress=false", "--format", "oci"]);
        }
        run(copy.arg(format!("oci:{}:v1", layout.display())).arg(format!("docker://{target}")));
        target.parse().unwrap()
    }

    /// Everything that could leak, as text, for a comparison of before and after.
    pub(crate) fn traces(&self) -> BTreeSet<String> {
        let mut traces = BTreeSet::new();
        let dir = self.dir.path().display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        // The memory file system is the host's own, and so is the program on it.
        let memory = format!("{dir}/run/memory");
        let ours = |line: &&str| line.contains(&dir) && line.split(' ').nth(4) != Some(&memory);
        traces.extend(mounts.lines().filter(ours).map(|line| format!("mount {line}")));
        let cgroups = Cgroups::detect(&self.cgroup_parent).unwrap().names().unwrap();
        traces.extend(cgroups.into_iter().map(|name| format!("cgroup {name}")));
        traces.extend(self.shims().into_iter().map(|pid| format!("shim {pid}")));
        for kind in [
            "run/exec",
            "run/memory",
            "run/runc/mill",
            "state/io.containerd.runtime.v2.task/mill",
            "root/io.containerd.snapshotter.v1.overlayfs/snapshots",
        ] {
            let Ok(entries) = std::fs::read_dir(self.dir.path().join(kind)) else { continue };
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            traces
                .extend(names.filter(|name| !name.starts_with("init-")).map(|name| format!("{kind} {name}")));
        }
        traces
    }

    /// Waits until what there is is what there was. A snapshot's directory goes with containerd's next collection,
    /// which mostly follows at once; Mill has one run each `Tempo::collect_every`.
    pub(crate) async fn until_nothing_but(&self, before: &BTreeSet<String>) {
        let images = self.images();
        let keep = images.list().await.unwrap().into_iter().map(|stored| stored.digest).collect();
        images.remove_unused(&keep).await.unwrap();
        let end = Instant::now() + PATIENCE;
        while self.traces() != *before {
            let more: Vec<String> = self.traces().difference(before).cloned().collect();
            assert!(Instant::now() < end, "still there after {PATIENCE:?}: {more:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Processes of this host's shims.
    pub(crate) fn shims(&self) -> Vec<i32> {
        let socket = self.socket().display().to_string();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let ours = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.starts_with("/usr/bin/containerd-shim") && line.contains(&socket)
        };
        pids.filter(ours).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut child) = self.containerd.take() {
            kill(child.id().cast_signed(), Signal::TERM);
            let _ = child.wait();
        }
        for pid in self.shims() {
            kill(pid, Signal::KILL);
        }
        let cgroups = Cgroups::detect(&self.cgroup_parent).unwrap();
        let end = Instant::now() + PATIENCE;
        for name in cgroups.names().unwrap_or_default() {
            while !cgroups.remove(&name).unwrap_or(true) && Instant::now() < end {
                std::thread::yield_now();
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let dir = self.dir.path().display().to_string();
        let points =
            mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| point.starts_with(&dir));
        for point in points.collect::<Vec<_>>().into_iter().rev() {
            let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
        }
        for controller in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(controller.path().join(self.cgroup_parent.trim_start_matches('/')));
        }
    }
}

fn kill(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

impl Registry {
    fn start(dir: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
             rootdirectory: {}/registry\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n",
            dir.display()
        );
        std::fs::write(dir.join("registry.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.join("registry.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let end = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "the registry doesn't listen on {port}");
            std::thread::yield_now();
        }
        Self { child, port }
    }
}

/// An image to build.
#[derive(Default)]
pub(crate) struct Build<'a> {
    pub(crate) name: &'a str,
    /// Files by layer, above busybox: path, text, mode.
    pub(crate) layers: &'a [&'a [(&'a str, &'a str, u32)]],
    /// `umoci config` arguments.
    pub(crate) config: &'a [&'a str],
    pub(crate) zstd: bool,
}

impl Build<'_> {
    pub(crate) fn layout(&self, layout: &Path) {
        let image = format!("{}:v1", layout.display());
        run(Command::new("umoci").args(["init", "--layout"]).arg(layout));
        run(Command::new("umoci").args(["new", "--image", &image]));
        let root = layout.with_extension("root");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
        for applet in
            ["sh", "sleep", "cat", "id", "kill", "env", "echo", "ls", "touch", "wc", "dd", "mkdir", "grep"]
        {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        insert(&image, &root);
        for (index, files) in self.layers.iter().enumerate() {
            let root = layout.with_extension(format!("root{index}"));
            for (path, text, mode) in *files {
                use std::os::unix::fs::PermissionsExt as _;
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, text).unwrap();
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode)).unwrap();
            }
            insert(&image, &root);
        }
        if !self.config.is_empty() {
            run(Command::new("umoci").args(["config", "--image", &image]).args(self.config));
        }
    }
}

/// Adds a directory's contents as a layer.
fn insert(image: &str, root: &Path) {
    run(Command::new("umoci").args(["insert", "--image", image]).arg(root).arg("/"));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A launch of a shell command.
pub(crate) fn shell(name: &str, image: &ImageRef, script: &str) -> Launch {
    Launch {
        name: name.parse().unwrap(),
        image: image.clone(),
        entrypoint: None,
        command: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
        env: vec![],
        confidential: false,
        files: vec![],
        resources: Resources { cpu: Millicores(1000), memory: Bytes(64 << 20) },
        user: None,
        workdir: None,
        read_only_root: false,
        cap_add: vec![],
        cap_drop: vec![],
        devices: vec![],
        mounts: vec![],
        stop_signal: None,
        labels: Default::default(),
        stdout: PathBuf::new(),
        stderr: PathBuf::new(),
        hostname: "web-2222".to_owned(),
        address: [10, 9, 8, 7].into(),
        resolv_conf: None,
        mapping: None,
    }
}

/// Runs a launch to its end with its output read, and removes it.
pub(crate) async fn output_of(host: &Host, launch: Launch) -> (String, mill_drivers::containers::Exit) {
    use std::io::Read as _;
    let fifo = host.dir.path().join(format!("{}.fifo", launch.name));
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let launch = Launch { stdout: fifo.clone(), stderr: fifo.clone(), ..launch };
    let runtime = host.runtime();
    runtime.start(&launch).await.unwrap();
    let exit = runtime.wait(&launch.name).await.unwrap();
    runtime.remove(&launch.name).await.unwrap();
    rustix::fs::fcntl_setfl(&reader, rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut text = Vec::new();
    // Ends with "would block": the other writers are gone, this one is ours.
    let _ = (&reader).read_to_end(&mut text);
    std::fs::remove_file(fifo).unwrap();
    (String::from_utf8(text).unwrap(), exit)
}

/// Polls until it is so, or fails loudly.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so().await {
        assert!(Instant::now() < end, "not so after {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
