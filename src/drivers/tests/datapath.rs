//! What product.md §4 promises of mapped ports, asked of a real kernel: each rule by a program in a container's cgroup, on
//! a machine with a network of its own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what can't be asked of the machine fails the test"
)]

mod inside;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::programs::links::PinnedLink;
use inside::{HERE, Machine, container, mapping, net, on_a_machine};
use mill_drivers::datapath::{Datapath as _, KernelDatapath, Mended, NodeNet};
use mill_drivers::sockets::{ProcSockets, Sockets as _, Wanted};

/// Where a port is reached on this machine, by the kernel's own tables.
async fn listens(port: u16) -> BTreeSet<IpAddr> {
    let found = ProcSockets::default().listeners(&Wanted::Ports([port].into())).await.unwrap();
    found.into_iter().map(|listener| listener.address).collect()
}

fn here() -> IpAddr {
    HERE.parse().unwrap()
}

/// Whether something answers, for a program of the node's.
fn answers(address: IpAddr, port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::new(address, port), Duration::from_secs(2)).is_ok()
}

/// The node's own address for sockets that speak IPv6 alone.
async fn node_v6(port: u16) -> Ipv6Addr {
    let of = listens(port).await.into_iter().find_map(|address| match address {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    });
    of.expect("an IPv6 listener")
}

fn entries_of(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The only Mill's folder of pins, and that of links in it.
fn pins() -> (PathBuf, PathBuf) {
    let folder = entries_of(Path::new("/sys/fs/bpf/mill")).remove(0);
    let links = entries_of(&folder).into_iter().find(|path| path.is_dir()).unwrap();
    (folder, links)
}

#[test]
fn a_declared_port_is_bound_on_the_nodes_address_and_its_program_does_not_know() {
    let name = "a_declared_port_is_bound_on_the_nodes_address_and_its_program_does_not_know";
    on_a_machine(name, async |machine: Machine| {
        let datapath = machine.datapath().await;
        let ports = [("80", 20_001), ("81", 20_002), ("82", 20_003), ("83", 20_004), ("84", 20_005)];
        machine.container(&datapath, "web-2222.1", &ports).await;
        machine.container(&datapath, "web-3333.2", &ports.map(|(port, mapped)| (port, mapped + 10))).await;
        let mut programs = [machine.program(Some("web-2222.1")), machine.program(Some("web-3333.2"))];
        for (index, program) in programs.iter_mut().enumerate() {
            let mapped = |port: u16| 20_001 + u16::try_from(index).unwrap() * 10 + (port - 80);
            for (port, kind, asked) in [
                (80, "tcp", "0.0.0.0:80"),
                (81, "mptcp", "0.0.0.0:81"),
                (82, "tcp", "[::]:82"),
                (83, "mptcp", "[::]:83"),
                (84, "tcp,only", "[::]:84"),
            ] {
                let shown = program.told(&format!("bind {port} {kind} {asked}"));
                assert_eq!(shown, asked, "what it asked for");
                let at = listens(mapped(port)).await;
                match kind {
                    "tcp,only" => {
                        let [IpAddr::V6(v6)] = Vec::from_iter(at)[..] else { panic!("not IPv6 alone") };
                        assert!(v6.to_string().starts_with("fd6d:696c:6c"), "{v6}");
                        assert!(answers(v6.into(), mapped(port)));
                    }
                    _ => {
                        assert_eq!(at, [here()].into(), "{asked}");
                        assert!(answers(here(), mapped(port)));
                    }
                }
                assert_eq!(listens(port).await, BTreeSet::new(), "nothing on the port itself");
            }
            let accepted = program.told("accept 80 one");
            assert_eq!(
                accepted,
                format!("{HERE}:80"),
                "an accepted socket knows its end by the declared port"
            );
        }
        let loopback = programs[0].told("close 80");
        assert_eq!(loopback, "closed");
        for asked in ["127.0.0.1:80", &format!("{HERE}:80")] {
            assert_eq!(programs[0].told(&format!("bind 80 tcp {asked}")), asked);
            assert_eq!(listens(20_001).await, [here()].into());
            assert!(machine.neighbour().told(&format!("connect x tcp {HERE}:20001")).ends_with(":20001"));
            assert_eq!(programs[0].told("accept 80 one"), asked, "as it was asked for");
            programs[0].told("close one");
            programs[0].told("close 80");
        }
        assert_eq!(programs[0].told("bind a tcp,shared 0.0.0.0:80"), "0.0.0.0:80");
        assert_eq!(programs[0].told("bind b tcp,shared 0.0.0.0:80"), "0.0.0.0:80");
        assert_eq!(programs[0].told("bind c tcp 0.0.0.0:80"), "AddrInUse");
    });
}

#[test]
fn an_undeclared_port_is_the_containers_own_whatever_its_number() {
    let name = "an_undeclared_port_is_the_containers_own_whatever_its_number";
    on_a_machine(name, async |machine: Machine| {
        let datapath = machine.datapath().await;
        machine.container(&datapath, "mq-2222.1", &[("5672", 20_001)]).await;
        machine.container(&datapath, "mq-3333.2", &[("5672", 20_002)]).await;
        let mut programs = [machine.program(Some("mq-2222.1")), machine.program(Some("mq-3333.2"))];
        for program in &mut programs {
            // RabbitMQ's lies in the pool.
            for (kind, asked) in [
                ("tcp", "0.0.0.0:25672"),
                ("tcp", "[::]:4369"),
                ("tcp,only", "[::]:4370"),
                ("tcp", "127.0.0.1:4371"),
                ("tcp", "[::1]:4372"),
                ("mptcp", "0.0.0.0:4373"),
                ("udp", "0.0.0.0:4374"),
            ] {
                let port = asked.rsplit(':').next().unwrap();
                assert_eq!(program.told(&format!("bind {port} {kind} {asked}")), asked);
            }
        }
        for port in [25_672, 4369, 4370, 4371, 4372, 4373, 4374] {
            let at = listens(port).await;
            assert_eq!(at.len(), 2, "each has its own: {port} on {at:?}");
            let is_private = |address: &IpAddr| match address {
                IpAddr::V4(v4) => v4.is_loopback(),
                IpAddr::V6(v6) => v6.to_string().starts_with("fd6d:696c:6c"),
            };
            assert!(at.iter().all(is_private), "{port} on {at:?}");
            assert!(!answers(here(), port), "{port} isn't the world's");
        }
        for program in &mut programs {
            for (own, shown) in [
                ("127.0.0.1:25672", "127.0.0.1:25672"),
                ("[::1]:4369", "[::1]:4369"),
                ("[::1]:4370", "[::1]:4370"),
                ("127.0.0.1:4371", "127.0.0.1:4371"),
                ("[::1]:4372", "[::1]:4372"),
                ("0.0.0.0:4373", "0.0.0.0:4373"),
            ] {
                assert_eq!(program.told(&format!("connect c tcp {own}")), shown, "{own}");
            }
            // Its own host name stands for the node's address.
            assert_eq!(program.told(&format!("connect c tcp {HERE}:25672")), format!("{HERE}:25672"));
            let accepted = program.told("accept 25672 one");
            assert_eq!(accepted, "127.0.0.1:25672");
        }
        drop(programs);
        let v6 = "[::1]:4372";
        let mut other = machine.program(Some("mq-3333.2"));
        assert_eq!(other.told(&format!("connect c tcp {v6}")), "ConnectionRefused", "nobody's any more");
    });
}

#[test]
fn localhost_is_the_container_and_nothing_of_the_nodes() {
    on_a_machine("localhost_is_the_container_and_nothing_of_the_nodes", async |machine: Machine| {
        let datapath = machine.datapath().await;
        machine.container(&datapath, "web-2222.1", &[("80", 20_001), ("81", 20_002), ("82", 20_003)]).await;
        machine.container(&datapath, "web-3333.2", &[("80", 20_004)]).await;
        let mut node = machine.program(None);
        node.told("bind x tcp 127.0.0.1:6000");
        node.told("bind y tcp 0.0.0.0:6001");
        let mut web = machine.program(Some("web-2222.1"));
        web.told("bind 80 tcp 0.0.0.0:80");
        web.told("bind 81 tcp [::]:81");
        web.told("bind 82 tcp,only [::]:82");
        for (asked, shown) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("127.0.0.5:80", "127.0.0.5:80"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("127.0.0.1:81", "127.0.0.1:81"),
            ("[::1]:81", "[::1]:81"),
            ("[::ffff:127.0.0.1]:81", "[::ffff:127.0.0.1]:81"),
            ("[::1]:82", "[::1]:82"),
        ] {
            assert_eq!(web.told(&format!("connect c tcp {asked}")), shown);
            // A multipath socket has parts, and what is known of them isn't known of it: localhost it is.
            let shown = web.told(&format!("connect c mptcp {asked}"));
            assert!(
                ["127.0.0.1:", "[::ffff:127.0.0.1]:", "[::1]:"].iter().any(|own| shown.starts_with(own)),
                "{shown}"
            );
        }
        // Servers trust localhost, and know it by where a connection comes from.
        for (of, server, asked) in
            [("v4", "80", "127.0.0.1:80"), ("both", "81", "[::1]:81"), ("v6", "82", "[::1]:82")]
        {
            web.told(&format!("close {server}"));
            let kind = if of == "v6" { "tcp,only" } else { "tcp" };
            let any = if of == "v4" { "0.0.0.0" } else { "[::]" };
            web.told(&format!("bind {server} {kind} {any}:{server}"));
            let mut client = machine.program(Some("web-2222.1"));
            assert_eq!(client.told(&format!("connect c tcp {asked}")), asked);
            web.told(&format!("accept {server} one"));
            let from = web.told("peer one");
            let local = ["127.0.0.1:", "[::ffff:127.0.0.1]:", "[::1]:"];
            assert!(local.iter().any(|start| from.starts_with(start)), "{of}: {from}");
        }
        for (asked, wanted) in [
            ("127.0.0.1:6000", "ConnectionRefused"),
            ("[::1]:6001", "ConnectionRefused"),
            ("127.64.0.1:6000", "ConnectionRefused"),
            ("169.254.169.254:80", "PermissionDenied"),
            ("[fd00:ec2::254]:80", "PermissionDenied"),
            ("[::ffff:169.254.169.254]:80", "PermissionDenied"),
        ] {
            assert_eq!(web.told(&format!("connect c tcp {asked}")), wanted, "{asked}");
        }
        // What the node offers to all, it offers to containers.
        assert_eq!(web.told(&format!("connect c tcp {HERE}:6001")), format!("{HERE}:6001"));
        let mut other = machine.program(Some("web-3333.2"));
        assert_eq!(other.told(&format!("connect c tcp {HERE}:20001")), format!("{HERE}:20001"));
        assert_eq!(other.told("connect c tcp 127.0.0.1:80"), "ConnectionRefused", "its own isn't up");
        let v6 = node_v6(20_003).await;
        assert_eq!(other.told(&format!("connect c tcp [{v6}]:20003")), format!("[{v6}]:20003"));
        let [a, b, c, d, ..] = v6.segments();
        let private = Ipv6Addr::new(a, b, c, d, 0, 0, 0x7f40, 1);
        assert_eq!(
            other.told(&format!("connect c tcp [{private}]:9999")),
            "PermissionDenied",
            "another's private address"
        );
    });
}

#[test]
fn what_is_not_a_programs_to_bind_is_refused() {
    on_a_machine("what_is_not_a_programs_to_bind_is_refused", async |machine: Machine| {
        let datapath = machine.datapath().await;
        machine.container(&datapath, "web-2222.1", &[("80", 20_001)]).await;
        machine.container(&datapath, "web-3333.2", &[("80", 20_002), ("81", 20_003)]).await;
        machine.cgroup("old-2222.1");
        inside::run("ip addr add 10.77.1.1/24 dev here");
        let mut web = machine.program(Some("web-2222.1"));
        let mut other = machine.program(Some("web-3333.2"));
        assert_eq!(other.told("bind x tcp,only [::]:81"), "[::]:81");
        let v6 = node_v6(20_003).await;
        for (asked, wanted) in [
            (format!("{HERE}:20002"), "PermissionDenied"),
            (format!("[::ffff:{HERE}]:20002"), "PermissionDenied"),
            (format!("[{v6}]:20002"), "PermissionDenied"),
            (format!("{HERE}:29999"), "PermissionDenied"),
            (format!("{HERE}:4400"), "PermissionDenied"),
            ("10.77.1.1:80".to_owned(), "PermissionDenied"),
            ("10.77.1.1:9000".to_owned(), "PermissionDenied"),
            (format!("{HERE}:20001"), "10.77.0.1:20001"),
        ] {
            assert_eq!(web.told(&format!("bind x tcp {asked}")), wanted, "{asked}");
        }
        // From before: it isn't mapped, and only kept from what is others'.
        let mut old = machine.program(Some("old-2222.1"));
        assert_eq!(old.told("bind a tcp 0.0.0.0:20005"), "0.0.0.0:20005");
        assert_eq!(listens(20_005).await, ["0.0.0.0".parse().unwrap()].into());
        assert!(machine.neighbour().told(&format!("connect x tcp {HERE}:20005")).ends_with(":20005"));
        assert_eq!(old.told("bind b tcp 0.0.0.0:20002"), "PermissionDenied");
        assert_eq!(old.told("bind b tcp 0.0.0.0:4400"), "PermissionDenied");
        assert_eq!(old.told("connect c tcp 127.0.0.1:20005"), "127.0.0.1:20005");
        assert_eq!(old.told("connect c tcp 169.254.169.254:80"), "PermissionDenied");
    });
}

#[test]
fn datagrams_find_their_way_there_and_back() {
    on_a_machine("datagrams_find_their_way_there_and_back", async |machine: Machine| {
        let datapath = machine.datapath().await;
        let ports = [("53/udp", 20_001), ("54/udp", 20_002), ("55/udp", 20_003)];
        machine.container(&datapath, "dns-2222.1", &ports).await;
        let mut dns = machine.program(Some("dns-2222.1"));
        assert_eq!(dns.told("bind 53 udp 0.0.0.0:53"), "0.0.0.0:53");
        assert_eq!(dns.told("bind 54 udp [::]:54"), "[::]:54");
        assert_eq!(dns.told("bind 55 udp,only [::]:55"), "[::]:55");
        let mut neighbour = machine.neighbour();
        neighbour.told("bind out udp 0.0.0.0:0");
        neighbour.told(&format!("send out {HERE}:20001"));
        let from = dns.told("receive 53");
        assert!(from.starts_with("10.77.0.2:"), "{from}");
        dns.told(&format!("send 53 {from}"));
        assert_eq!(neighbour.told("receive out"), format!("{HERE}:20001"));

        // Programs that check where an answer comes from.
        let mut client = machine.program(Some("dns-2222.1"));
        client.told("socket v4 udp 0.0.0.0:0");
        client.told("socket v6 udp,only [::]:0");
        for (socket, server, asked) in [("v4", "53", "127.0.0.1:53"), ("v6", "55", "[::1]:55")] {
            assert_eq!(client.told(&format!("send {socket} {asked}")), "sent");
            let from = dns.told(&format!("receive {server}"));
            dns.told(&format!("send {server} {from}"));
            assert_eq!(client.told(&format!("receive {socket}")), asked, "from {from}");
        }
        // To what is bound for both a datagram can only go from a socket that is connected.
        assert_eq!(client.told("connect c udp [::1]:54"), "[::1]:54");
        client.told("socket both udp [::]:0");
        assert_eq!(client.told("send both [::1]:54"), "PermissionDenied");
        assert_eq!(client.told("send v4 169.254.169.254:53"), "PermissionDenied");

        // A side port of its own.
        dns.told("bind side udp 0.0.0.0:8125");
        client.told("send v4 127.0.0.1:8125");
        let from = dns.told("receive side");
        dns.told(&format!("send side {from}"));
        assert_eq!(client.told("receive v4"), "127.0.0.1:8125");
        neighbour.told(&format!("send out {HERE}:8125"));
        assert_eq!(dns.told("bind many udp 239.1.2.3:5353"), "239.1.2.3:5353");
    });
}

#[test]
fn a_node_may_have_no_address_but_a_loopback_one() {
    on_a_machine("a_node_may_have_no_address_but_a_loopback_one", async |machine: Machine| {
        let datapath = machine.datapath().await;
        datapath.settle(NodeNet { address: [127, 0, 0, 1].into(), ..net() });
        assert_eq!(datapath.keep().await.unwrap(), [Mended::Node]);
        machine.container(&datapath, "web-2222.1", &[("80", 20_001), ("53/udp", 20_002)]).await;
        machine.container(&datapath, "web-3333.2", &[("80", 20_003)]).await;
        let mut web = machine.program(Some("web-2222.1"));
        let mut other = machine.program(Some("web-3333.2"));
        let mut node = machine.program(None);
        node.told("bind own tcp 127.0.0.1:6000");
        for program in [&mut web, &mut other] {
            assert_eq!(program.told("bind 80 tcp 0.0.0.0:80"), "0.0.0.0:80");
            assert_eq!(program.told("bind mq tcp 0.0.0.0:25672"), "0.0.0.0:25672");
            assert_eq!(program.told("connect c tcp 127.0.0.1:25672"), "127.0.0.1:25672");
            assert_eq!(program.told("connect c tcp 127.0.0.1:6000"), "ConnectionRefused");
        }
        assert_eq!(listens(20_001).await, ["127.0.0.1".parse().unwrap()].into());
        assert_eq!(web.told("connect c tcp 127.0.0.1:20003"), "127.0.0.1:20003", "another's mapped port");
        assert_eq!(web.told("connect c tcp 127.0.0.1:80"), "127.0.0.1:80");
        assert_eq!(node.told("connect c tcp 127.0.0.1:20001"), "127.0.0.1:20001");

        assert_eq!(web.told("bind 53 udp 0.0.0.0:53"), "0.0.0.0:53");
        let mut inside = machine.program(Some("web-2222.1"));
        for (client, at) in
            [(&mut node, "127.0.0.1:20002"), (&mut other, "127.0.0.1:20002"), (&mut inside, "127.0.0.1:53")]
        {
            client.told("socket u udp 0.0.0.0:0");
            assert_eq!(client.told(&format!("send u {at}")), "sent");
            let from = web.told("receive 53");
            web.told(&format!("send 53 {from}"));
            assert_eq!(client.told("receive u"), at);
        }
    });
}

#[test]
fn a_port_that_the_kernel_gave_is_not_reached_from_outside() {
    on_a_machine("a_port_that_the_kernel_gave_is_not_reached_from_outside", async |machine: Machine| {
        let datapath = machine.datapath().await;
        machine.container(&datapath, "web-2222.1", &[("80", 20_001)]).await;
        let mut web = machine.program(Some("web-2222.1"));
        let mut neighbour = machine.neighbour();
        assert_eq!(web.told("bind 80 tcp 0.0.0.0:80"), "0.0.0.0:80");
        assert_eq!(neighbour.told(&format!("connect c tcp {HERE}:20001")), format!("{HERE}:20001"));
        for kind in ["tcp", "mptcp"] {
            let bound = web.told(&format!("bind x {kind} 0.0.0.0:0"));
            web.told(&format!("socket y {kind} 0.0.0.0:0"));
            let unbound = web.told("listen y");
            for shown in [bound, unbound] {
                let port = shown.strip_prefix("0.0.0.0:").expect("as it was asked for");
                assert!(!(20_000..30_000).contains(&port.parse::<u16>().unwrap()), "the pool is reserved");
                let refused = neighbour.told(&format!("connect c tcp {HERE}:{port}"));
                assert_eq!(refused, "ConnectionRefused", "{kind}");
                let own = format!("127.0.0.1:{port}");
                assert_eq!(web.told(&format!("connect c tcp {own}")), own, "{kind}");
            }
            for own in ["127.0.0.1:", "[::1]:"] {
                let loopback = web.told(&format!("bind z {kind} {own}0"));
                assert!(loopback.starts_with(own), "{loopback}");
                assert_eq!(web.told(&format!("connect c tcp {loopback}")), loopback);
            }
        }
        // Clients bind so, and reach the world.
        neighbour.told("bind s tcp 0.0.0.0:7000");
        assert_eq!(web.told("connect c tcp 10.77.0.2:7000"), "10.77.0.2:7000");
    });
}

#[test]
fn a_daemon_that_comes_after_another_takes_over_and_mends() {
    on_a_machine("a_daemon_that_comes_after_another_takes_over_and_mends", async |machine: Machine| {
        let first = machine.datapath().await;
        machine.container(&first, "web-2222.1", &[("80", 20_001)]).await;
        let entries = first.entries().await.unwrap();
        drop(first);
        let mut web = machine.program(Some("web-2222.1"));
        assert_eq!(web.told("bind 80 tcp 0.0.0.0:80"), "0.0.0.0:80", "no daemon is needed");
        assert_eq!(listens(20_001).await, [here()].into());

        let second = KernelDatapath::new(&machine.cgroups, machine.dir.path());
        assert!(second.choose().await.is_kernel());
        second.settle(net());
        assert_eq!(second.keep().await.unwrap(), [], "nothing is missing");
        assert_eq!(second.entries().await.unwrap(), entries);
        let entry = &entries[&container("web-2222.1")];
        assert!(entry.is_current);
        assert_eq!(entry.mapping, mapping(1, &[("80", 20_001)]));

        // Somebody's `rm`: of links, of all, of addresses.
        let (folder, links) = pins();
        std::fs::remove_file(links.join("bind4")).unwrap();
        assert_eq!(second.keep().await.unwrap(), [Mended::Programs]);
        assert_eq!(web.told("bind again tcp 127.0.0.1:9000"), "127.0.0.1:9000");
        assert_ne!(listens(9000).await, ["127.0.0.1".parse().unwrap()].into());
        std::fs::remove_file(folder.join("v1_entries")).unwrap();
        let mended = second.keep().await.unwrap();
        assert_eq!(mended[0], Mended::Programs, "{mended:?}");
        assert!(second.entries().await.unwrap().is_empty());
        second.put(&container("web-2222.1"), &entry.mapping).await.unwrap();
        web.told("close 80");
        assert_eq!(web.told("bind 80 tcp 0.0.0.0:80"), "0.0.0.0:80");
        assert_eq!(listens(20_001).await, [here()].into(), "mapped again");

        // A cgroup that was removed and made again is another.
        drop(web);
        let cgroup = machine.cgroup("web-2222.1");
        while std::fs::remove_dir(&cgroup).is_err() {
            std::thread::yield_now();
        }
        machine.cgroup("web-2222.1");
        assert!(!second.entries().await.unwrap()[&container("web-2222.1")].is_current);
        second.put(&container("web-2222.1"), &entry.mapping).await.unwrap();
        assert!(second.entries().await.unwrap()[&container("web-2222.1")].is_current);
        second.remove(&container("web-2222.1")).await.unwrap();
        assert!(second.entries().await.unwrap().is_empty());
        let lo = std::fs::read_to_string("/proc/net/if_inet6").unwrap();
        let private = lo.lines().filter(|line| line.starts_with("fd6d696c6c")).count();
        assert_eq!(private, 1, "the node's alone is left: {lo}");
    });
}

#[test]
fn two_versions_attached_at_once_do_as_one() {
    on_a_machine("two_versions_attached_at_once_do_as_one", async |machine: Machine| {
        let datapath = machine.datapath().await;
        let ports = [("80", 20_001), ("81", 20_002), ("53/udp", 20_003)];
        machine.container(&datapath, "web-2222.1", &ports).await;
        // Links that somebody holds stay attached though their pins are gone; another version's have another name.
        let (folder, links) = pins();
        let held: Vec<PinnedLink> =
            entries_of(&links).iter().map(|link| PinnedLink::from_pin(link).unwrap()).collect();
        assert_eq!(held.len(), 13);
        std::fs::rename(&links, folder.join("another_0")).unwrap();
        assert_eq!(datapath.keep().await.unwrap(), [Mended::Programs]);
        assert!(!folder.join("another_0").exists());
        let mut web = machine.program(Some("web-2222.1"));
        for (port, kind, asked) in
            [(20_001, "tcp", "0.0.0.0:80"), (20_002, "tcp", "[::]:81"), (20_003, "udp", "0.0.0.0:53")]
        {
            assert_eq!(web.told(&format!("bind {port} {kind} {asked}")), asked);
            assert_eq!(listens(port).await, [here()].into());
        }
        assert_eq!(web.told("bind side tcp 0.0.0.0:9000"), "0.0.0.0:9000");
        for asked in ["127.0.0.1:80", "[::1]:81", "127.0.0.1:9000"] {
            assert_eq!(web.told(&format!("connect c tcp {asked}")), asked);
        }
        assert_eq!(web.told("accept 20001 one"), format!("{HERE}:80"));
        web.told("socket u udp 0.0.0.0:0");
        web.told("send u 127.0.0.1:53");
        let from = web.told("receive 20003");
        web.told(&format!("send 20003 {from}"));
        assert_eq!(web.told("receive u"), "127.0.0.1:53");
    });
}
