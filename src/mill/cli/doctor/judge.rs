//! What to make of what was seen.

use std::path::Path;

use mill_api::doctor::{Check, Finding};
use mill_drivers::datapath::Mode;
use mill_drivers::host::Disk;
use mill_drivers::sockets::Listener;
use mill_model::Bytes;

use super::host::{Answers, Cgroups, Host};
use super::{units, upkeep};
use crate::cli::ui::memory;

/// Overlayfs with several lower layers and the cgroup v2 cpu controller came before it.
const KERNEL_MIN: (u64, u64) = (4, 18);
/// What Mill speaks (architecture §7).
const CONTAINERD_MIN: (u64, u64) = (1, 6);
/// The first with cgroup v2 that isn't experimental.
const RUNC_MIN: (u64, u64) = (1, 0);
/// Less than an image and its logs need.
const DISK_MIN: Bytes = Bytes(512 << 20);
/// Less than a handful of images needs.
const DISK_GOOD: Bytes = Bytes(5 << 30);
/// An unpacked image has tens of thousands of files.
const INODES_GOOD: u64 = 100_000;

/// One finding per check, each with its fix unless all is well.
pub(super) fn judge(host: &Host) -> Vec<Finding> {
    let mut findings = vec![
        root(host.is_root),
        kernel(&host.kernel),
        program(Check::Containerd, host.containerd.as_deref(), CONTAINERD_MIN),
        program(Check::Runc, host.runc.as_deref(), RUNC_MIN),
        cgroups(&host.cgroups),
        overlay(host.overlay),
        volumes(host.mkfs, host.loops),
        disk(host.disk.as_ref()),
    ];
    let is_used = host.open_files.is_some();
    findings.extend(host.socket.as_ref().map(|(path, answers)| socket(path, *answers, is_used)));
    findings.push(port(host.port.0, &host.port.1));
    findings.push(mapping(&host.mapping));
    findings.push(upkeep::pool(&host.pool));
    findings.extend(units::judge(host.units.as_ref()));
    findings.extend(host.open_files.map(upkeep::open_files));
    findings.push(upkeep::swap(host.swap));
    findings.push(upkeep::clock(host.clock));
    findings
}

fn root(is_root: bool) -> Finding {
    match is_root {
        true => Finding::ok(Check::Root, "yes"),
        false => Finding::warn(
            Check::Root,
            "not root: the daemon needs it, and not everything can be seen",
            "run it with sudo",
        ),
    }
}

fn kernel(release: &str) -> Finding {
    let (major, minor) = KERNEL_MIN;
    match version_in(release) {
        Some(version) if version >= KERNEL_MIN => Finding::ok(Check::Kernel, release),
        Some(_) => {
            Finding::fail(Check::Kernel, release, format!("upgrade to Linux {major}.{minor} or later"))
        }
        None => Finding::warn(
            Check::Kernel,
            format!("{release}: not a version"),
            format!("Linux {major}.{minor} or later is known to work"),
        ),
    }
}

fn program(check: Check, said: Option<&str>, min: (u64, u64)) -> Finding {
    let Some(said) = said else {
        return Finding::fail(check, "not found in PATH", check.advice().todo);
    };
    match said.split_whitespace().find_map(version_in) {
        Some(version) if version >= min => Finding::ok(check, said),
        Some(_) => Finding::fail(check, said, format!("upgrade to {}.{} or later", min.0, min.1)),
        None => Finding::warn(
            check,
            format!("{said}: no version in it"),
            format!("{}.{} or later is needed", min.0, min.1),
        ),
    }
}

/// Two numbers with a dot between, at the beginning: `v1.7.24`, `1.6.20~ds1`, `6.1.0-18-amd64`.
fn version_in(word: &str) -> Option<(u64, u64)> {
    let word = word.strip_prefix('v').unwrap_or(word);
    let (major, rest) = word.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn cgroups(cgroups: &Cgroups) -> Finding {
    let fix = Check::Cgroups.advice().todo;
    let controllers = |list: &[String]| {
        let missing: Vec<&str> = ["cpu", "memory", "pids"]
            .into_iter()
            .filter(|need| !list.iter().any(|have| have == need))
            .collect();
        missing.join(", ")
    };
    let (layout, all) = match (&cgroups.v2, cgroups.v1.is_empty()) {
        (None, true) => return Finding::fail(Check::Cgroups, "not mounted", fix),
        (Some(_), true) => ("v2", cgroups.v2_controllers.clone()),
        (Some(_), false) => ("hybrid", [cgroups.v1.clone(), cgroups.v2_controllers.clone()].concat()),
        (None, false) => ("v1", cgroups.v1.clone()),
    };
    match controllers(&all) {
        missing if missing.is_empty() => Finding::ok(Check::Cgroups, layout),
        missing => Finding::fail(
            Check::Cgroups,
            format!("{layout}, without {missing}: no ceilings for containers"),
            "boot without `cgroup_disable`, and with `cgroup_enable=memory` where the kernel asks for it",
        ),
    }
}

fn overlay(known: bool) -> Finding {
    match known {
        true => Finding::ok(Check::Overlayfs, "known to the kernel"),
        false => Finding::fail(
            Check::Overlayfs,
            "unknown to the kernel",
            "`modprobe overlay`, and /etc/modules to keep it",
        ),
    }
}

fn disk(disk: Option<&Disk>) -> Finding {
    let Some(disk) = disk else {
        return Finding::warn(
            Check::Disk,
            "it can't be measured",
            "does the data directory's parent exist, and may you read it?",
        );
    };
    let what = format!("{} of {} free at {}", memory(disk.free), memory(disk.size), disk.path.display());
    let fix = Check::Disk.advice().todo;
    match disk.free {
        free if free < DISK_MIN => Finding::fail(Check::Disk, what, fix),
        free if free < DISK_GOOD => Finding::warn(Check::Disk, what, fix),
        _ if disk.inodes_free > 0 && disk.inodes_free < INODES_GOOD => {
            Finding::warn(Check::Disk, format!("{what}, but only {} files more", disk.inodes_free), fix)
        }
        _ => Finding::ok(Check::Disk, what),
    }
}

/// What ephemeral volumes are made with (drivers::volumes).
fn volumes(mkfs: bool, loops: bool) -> Finding {
    match (mkfs, loops) {
        (true, true) => Finding::ok(Check::Volumes, "ephemeral ones can be made"),
        (false, _) => Finding::warn(
            Check::Volumes,
            "mkfs.ext4 not found: services with ephemeral volumes can't start",
            "`apt-get install e2fsprogs`",
        ),
        (true, false) => Finding::warn(
            Check::Volumes,
            "no loop devices: services with ephemeral volumes can't start",
            "`modprobe loop`, and /etc/modules to keep it",
        ),
    }
}

fn socket(path: &Path, answers: Answers, is_used: bool) -> Finding {
    let (check, path) = (Check::ContainerdSocket, path.display());
    match answers {
        Answers::Yes => Finding::ok(check, format!("{path} answers")),
        Answers::No if is_used => Finding::fail(
            check,
            format!("nobody answers at {path}: what runs goes on, nothing is started or stopped"),
            "`systemctl start containerd`, unless it is Mill's own, which is started again by itself",
        ),
        Answers::No => Finding::warn(
            check,
            format!("nobody answers at {path}"),
            "`systemctl start containerd`; `mill dev`, or a daemon with `--containerd own`, brings its own",
        ),
        Answers::Forbidden => {
            Finding::warn(check, format!("{path} is there, and is root's"), "run this with sudo to know more")
        }
    }
}

/// The API's port must be free, or Mill's.
fn port(port: u16, holder: &Result<Option<Listener>, String>) -> Finding {
    let check = Check::ApiPort;
    let is_mill = |holder: &Listener| holder.process.as_ref().is_some_and(|process| process.name == "mill");
    match holder {
        Ok(None) => Finding::ok(check, format!("{port} is free")),
        Ok(Some(holder)) if is_mill(holder) => Finding::ok(check, format!("{port} is held by mill")),
        Ok(Some(holder)) => Finding::fail(
            check,
            format!("{port} is held by {holder}"),
            "stop it, or give the API another port with `--listen`",
        ),
        Err(why) => Finding::warn(check, why.clone(), "is /proc mounted?"),
    }
}

/// Without the kernel's help Mill works, but not any image does.
fn mapping(mode: &Mode) -> Finding {
    let check = Check::MappedPorts;
    match mode {
        Mode::Kernel => Finding::ok(check, "by the kernel: programs bind what they always bind"),
        Mode::Fallback { reason } => Finding::warn(
            check,
            format!("not by the kernel ({reason}): programs must listen on $PORT"),
            check.advice().todo,
        ),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use mill_api::doctor::Level;

    use mill_drivers::sockets::Process;
    use mill_model::ports::Protocol;

    use super::*;

    fn held(port: u16, process: Option<(u32, &str)>) -> (u16, Result<Option<Listener>, String>) {
        let process = process.map(|(pid, name)| Process { pid, name: name.into(), container: None });
        let address = std::net::Ipv4Addr::UNSPECIFIED.into();
        (port, Ok(Some(Listener { port, protocol: Protocol::Tcp, address, process })))
    }

    fn well() -> Host {
        Host {
            is_root: true,
            kernel: "6.1.0-18-amd64".into(),
            containerd: Some(
                "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1".into(),
            ),
            runc: Some("runc version 1.1.5+ds1".into()),
            cgroups: Cgroups {
                v2: Some("/sys/fs/cgroup".into()),
                v1: vec![],
                v2_controllers: ["cpu", "memory", "pids"].map(str::to_owned).to_vec(),
            },
            overlay: true,
            disk: Some(Disk {
                path: "/var/lib/mill".into(),
                free: Bytes(50 << 30),
                size: Bytes(100 << 30),
                inodes_free: 1_000_000,
            }),
            mkfs: true,
            loops: true,
            socket: Some(("/run/containerd/containerd.sock".into(), Answers::Yes)),
            port: (4400, Ok(None)),
            mapping: Mode::Kernel,
            pool: Ok(vec![]),
            units: Some(units::tests::well()),
            open_files: Some(65_536),
            swap: upkeep::Swap::None,
            clock: Some(true),
        }
    }

    /// A machine where nothing is right.
    pub(in super::super) fn broken() -> Host {
        Host {
            is_root: false,
            kernel: "3.10.0-1160.el7.x86_64".into(),
            containerd: None,
            runc: Some("runc version 0.1".into()),
            cgroups: Cgroups { v2: None, v1: vec!["cpu".into(), "pids".into()], v2_controllers: vec![] },
            overlay: false,
            disk: Some(Disk {
                path: "/var".into(),
                free: Bytes(100 << 20),
                size: Bytes(20 << 30),
                inodes_free: 9,
            }),
            mkfs: false,
            loops: false,
            socket: Some(("/run/containerd/containerd.sock".into(), Answers::No)),
            port: held(4400, Some((77, "nginx"))),
            mapping: Mode::Fallback { reason: "no cgroup v2 hierarchy is mounted".into() },
            pool: Ok(held(20_080, Some((78, "nginx"))).1.unwrap().into_iter().collect()),
            units: Some(units::tests::broken()),
            open_files: Some(1024),
            swap: upkeep::Swap::Unlimited,
            clock: Some(false),
        }
    }

    fn levels(host: &Host) -> String {
        let letter = |finding: &Finding| match finding.level {
            Level::Ok => 'o',
            Level::Warn => 'w',
            Level::Fail => 'F',
        };
        judge(host).iter().map(letter).collect()
    }

    #[test]
    fn a_machine_that_is_well_passes_and_a_broken_one_fails_everywhere() {
        assert_eq!(levels(&well()), "ooooooooooo".to_owned() + "ooooooo");
        assert_eq!(levels(&broken()), "wFFFFFwFFFw".to_owned() + "wwwwwww");
        let before_a_daemon = Host { open_files: None, ..broken() };
        assert!(levels(&before_a_daemon).starts_with("wFFFFFwFwFw"), "a daemon may bring its own containerd");
        for finding in judge(&broken()) {
            assert!(finding.fix.is_some() && finding.why.is_some(), "{finding:?} has no fix");
        }
        let words: Vec<&str> = Check::EVERY.iter().map(|check| check.as_str()).collect();
        let elsewhere = ["settings", "daemon"];
        for word in &words {
            let found = judge(&well()).iter().any(|finding| finding.check == *word);
            assert_eq!(found, !elsewhere.contains(word), "{word}");
        }
    }

    #[test]
    fn each_check_sees_its_own_trouble() {
        type Change = fn(&mut Host);
        let cases: [(&str, Change); 15] = [
            ("woooooooooo", |host| host.is_root = false),
            ("owooooooooo", |host| host.kernel = "custom".into()),
            ("ooFoooooooo", |host| host.containerd = Some("containerd x v1.5.9 abc".into())),
            ("oowoooooooo", |host| host.containerd = Some("hello".into())),
            ("ooooFoooooo", |host| host.cgroups = Cgroups::default()),
            ("oooooowoooo", |host| host.mkfs = false),
            ("oooooowoooo", |host| host.loops = false),
            ("ooooooowooo", |host| host.disk = None),
            ("ooooooowooo", |host| host.disk.as_mut().unwrap().inodes_free = 5),
            ("oooooooowoo", |host| host.socket.as_mut().unwrap().1 = Answers::Forbidden),
            ("oooooooooo", |host| host.socket = None),
            ("ooooooooooo", |host| host.port = held(4400, Some((9, "mill")))),
            ("oooooooooFo", |host| host.port = held(4400, None)),
            ("ooooooooowo", |host| host.port = (4400, Err("can't read".into()))),
            ("oooooooooow", |host| host.mapping = broken().mapping),
        ];
        for (expected, change) in cases {
            let mut host = well();
            change(&mut host);
            assert_eq!(levels(&host), expected.to_owned() + "ooooooo", "{host:?}");
            let unmended =
                judge(&host).into_iter().find(|found| found.level != Level::Ok && found.fix.is_none());
            assert_eq!(unmended, None);
        }
        let later: [(&str, Change); 7] = [
            ("wwwwwww", |host| *host = Host { mapping: Mode::Kernel, ..broken() }),
            ("wooooooo", |host| host.pool = Err("can't read".into())),
            ("ooooo", |host| host.units = None),
            ("oooooo", |host| host.open_files = None),
            ("ooooowo", |host| host.swap = upkeep::Swap::Unlimited),
            ("ooooooo", |host| host.swap = upkeep::Swap::Limited),
            ("ooooooo", |host| host.clock = None),
        ];
        for (expected, change) in later {
            let mut host = well();
            change(&mut host);
            let found = levels(&host);
            assert_eq!(found.get(11..), expected.get(..found.len() - 11), "{host:?}");
        }
        let mut hybrid = well();
        hybrid.cgroups.v1 = ["cpu", "memory", "pids"].map(str::to_owned).to_vec();
        hybrid.cgroups.v2_controllers.clear();
        assert_eq!(levels(&hybrid), "o".repeat(18));
    }

    #[test]
    fn versions_are_read_as_programs_print_them() {
        for (word, version) in [
            ("v1.7.24", Some((1, 7))),
            ("1.6.20~ds1", Some((1, 6))),
            ("2.0.0-rc.1", Some((2, 0))),
            ("6.18", Some((6, 18))),
            ("github.com/containerd", None),
            ("version", None),
            ("v.1", None),
        ] {
            assert_eq!(version_in(word), version, "{word}");
        }
    }
}
