//! Mapped ports by way of the real runtime: what is started with a mapping has it from its program's first moment on, and
//! nothing of it is left.

#![expect(clippy::unwrap_used, reason = "what can't be asked of the machine fails the test")]

#[expect(dead_code, reason = "each test binary uses its part of the host")]
mod host;
#[expect(dead_code, reason = "each test binary uses its part of the machine")]
mod inside;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use host::{Build, Host, shell, until};
use inside::{HERE, Machine, mapping, net, on_a_machine, run};
use mill_drivers::containers::{Containers as _, Launch, Runtime};
use mill_drivers::datapath::{Datapath as _, Mode};
use mill_drivers::sweep::{Kind, MachineSweep, Place, Sweep as _};
use mill_model::{ImageRef, Tempo};

async fn image(host: &Host) -> ImageRef {
    let page = &[("www/index.html", "hello\n", 0o644)][..];
    host.image(&Build { name: "web", layers: &[page], ..Build::default() }).await
}

/// A web server that knows nothing of Mill, on port 80, and says who it is.
fn web(name: &str, image: &ImageRef, number: u16) -> Launch {
    let script = format!("echo {name} > /www/index.html; exec busybox httpd -f -p 80 -h /www");
    let mapping = mapping(number, &[("80", 20_000 + number)]);
    Launch { mapping: Some(mapping), ..shell(name, image, &script) }
}

fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((HERE, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.lines().last()?.to_owned())
}

async fn up(host: &Host) -> Runtime {
    let runtime = host.runtime();
    assert_eq!(runtime.datapath().choose().await, Mode::Kernel, "this test needs BPF and cgroup v2");
    runtime.datapath().settle(net());
    runtime.datapath().keep().await.unwrap();
    runtime
}

fn place(host: &Host) -> Place {
    Place {
        data: host.dir.path().join("data"),
        socket: host.dir.path().join("mill/mill.sock"),
        plane_socket: host.dir.path().join("mill/plane.sock"),
        containerds: vec![host.socket()],
        cgroup_parent: host.cgroup_parent.clone(),
        with_data: false,
        own_containerd: false,
    }
}

#[test]
fn two_replicas_of_a_program_that_binds_port_80_are_reached_and_leave_nothing() {
    let name = "two_replicas_of_a_program_that_binds_port_80_are_reached_and_leave_nothing";
    on_a_machine(name, async |_machine: Machine| {
        run("ip link set lo up");
        let host = Host::start().await;
        let image = image(&host).await;
        let runtime = up(&host).await;
        let launches = [web("web-2222.1", &image, 1), web("web-3333.1", &image, 2)];
        for launch in &launches {
            runtime.start(launch).await.unwrap();
        }
        for (port, name) in [(20_001, "web-2222.1"), (20_002, "web-3333.1")] {
            until("it answers on its mapped port", async || get(port).as_deref() == Some(name)).await;
        }
        // From inside, on the port that it declares.
        let asked = ["busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:80/"].map(str::to_owned);
        for launch in &launches {
            let said = runtime.exec(&launch.name, &asked, Duration::from_secs(10)).await.unwrap();
            assert_eq!((said.code, said.output.trim()), (0, &*launch.name.to_string()), "{said:?}");
        }
        // A daemon that comes now finds how they were started, and the label is nobody else's business.
        let mapped = host.runtime().mapped().await.unwrap();
        assert_eq!(mapped.len(), 2);
        for launch in &launches {
            assert_eq!(mapped.get(&launch.name), launch.mapping.as_ref());
            let found = runtime.list(&launch.name.alloc).await.unwrap();
            assert!(found[0].labels.is_empty(), "{found:?}");
        }
        let entries: BTreeSet<_> = runtime.datapath().entries().await.unwrap().into_keys().collect();
        assert_eq!(entries, launches.iter().map(|launch| launch.name.clone()).collect());
        let left = runtime.leftovers(&BTreeSet::new()).await.unwrap();
        assert_eq!(left, entries);
        runtime.remove(&launches[0].name).await.unwrap();
        assert_eq!(runtime.datapath().entries().await.unwrap().len(), 1);
        assert_eq!(get(20_001), None);
        assert_eq!(get(20_002).as_deref(), Some("web-3333.1"), "the other one's is its own");
        runtime.remove(&launches[1].name).await.unwrap();
        assert!(runtime.leftovers(&BTreeSet::new()).await.unwrap().is_empty());
    });
}

#[test]
fn a_clean_takes_everything_away_and_gives_the_reserved_ports_back() {
    let name = "a_clean_takes_everything_away_and_gives_the_reserved_ports_back";
    on_a_machine(name, async |_machine: Machine| {
        const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
        let host = Host::start().await;
        std::fs::write(RESERVED, "8080,9148\n").unwrap();
        let state = host.dir.path().join("mill/containers");
        let cgroups = mill_drivers::cgroups::Cgroups::detect(&host.cgroup_parent).unwrap();
        let datapath = mill_drivers::datapath::KernelDatapath::new(&cgroups, &state);
        assert!(datapath.choose().await.is_kernel());
        datapath.settle(net());
        datapath.keep().await.unwrap();
        assert_eq!(std::fs::read_to_string(RESERVED).unwrap().trim(), "8080,9148,20000-29999");
        let mut sweep = MachineSweep::new(place(&host), Arc::new(Tempo::default()));
        assert_eq!(sweep.claim().await.unwrap(), []);
        let found = sweep.find().await.unwrap();
        let is_datapath = |left: &&mill_drivers::sweep::Left| left.kind == Kind::Datapath;
        assert_eq!(found.left.iter().filter(is_datapath).count(), 1, "{found:?}");
        for left in &found.left {
            sweep.remove(left).await.unwrap();
        }
        sweep.close().await.unwrap();
        assert_eq!(std::fs::read_to_string(RESERVED).unwrap().trim(), "8080,9148");
        assert!(!std::path::Path::new("/sys/fs/bpf/mill").exists());
        let lo = std::fs::read_to_string("/proc/net/if_inet6").unwrap();
        assert!(!lo.contains("fd6d696c6c"), "{lo}");
        let mut again = MachineSweep::new(place(&host), Arc::new(Tempo::default()));
        let found = again.find().await.unwrap();
        assert_eq!(found.left.iter().filter(is_datapath).count(), 0);
    });
}
