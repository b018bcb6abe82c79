//! Mill as a package on a machine with systemd: installed, upgraded under load, hung, killed, rebooted, removed (product.md
//! P2, P3, §6).

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::tool::Tool;
use crate::harness::world::SETTLES_WITHIN;
use crate::harness::{Booted, Context as _, Failed, Look, Machine, http, processes, space, until};

pub(super) const SYSTEMD: Story = Story { name: "systemd", pace: Pace::Patient, tell: Tell::Booted(systemd) };

/// Both units of the package, in the order in which they start.
const UNITS: [&str; 2] = ["mill-plane.service", "mill.service"];

/// How long a unit that was killed or hangs may take to run again: the longer of the two watchdogs, and a loaded machine.
const BACK_WITHIN: Duration = Duration::from_secs(90);

/// Long enough to end a container while neither unit runs.
const LATE: &str = "[Service]\nRestartSec=10s\n";

/// A node on a machine, seen from outside.
struct Site<'a> {
    node: Booted,
    machine: &'a Machine,
}

fn systemd(machine: &Machine, node: Booted, deb: &Path) -> Result<(), Failed> {
    let mut site = Site { node, machine };
    installed(&site, deb)?;
    deployed(&site)?;
    let asking = Asking::start(site.endpoints()?);
    let newer = newer(deb, &machine.folder)?;
    upgraded(&site, &newer)?;
    hung(&site)?;
    both_dead(&site)?;
    asking.end()?;
    rebooted(&mut site)?;
    removed(&site, &newer)?;
    site.node.cut_power()?;
    let cgroup = space::cgroup_parent()?;
    until("no cgroup of the machine is left", SETTLES_WITHIN, || {
        space::sweep_cgroups(&cgroup);
        let left = space::cgroups(&cgroup);
        Ok(Look::at(left.is_empty(), left))
    })
}

/// The package brings units that systemd finds nothing wrong with, which are up and wait for `mill init`.
fn installed(site: &Site<'_>, deb: &Path) -> Result<(), Failed> {
    let package = site.node.bring(deb)?;
    site.node.ok(&["dpkg", "--install", &package])?;
    for unit in UNITS {
        site.node.main_pid(unit)?;
        expect(site.node.property(unit, "UnitFileState")? == "enabled", "it starts at boot", unit)?;
        let complaints = site.node.ok(&["systemd-analyze", "verify", unit])?;
        expect(complaints.is_empty(), "systemd has nothing to say about the unit", complaints)?;
    }
    until("the daemon says what it waits for", SETTLES_WITHIN, || {
        let status = site.node.property("mill.service", "StatusText")?;
        Ok(Look::at(status.contains("`mill init`"), status))
    })?;
    for shell in [
        "bash-completion/completions/mill",
        "zsh/vendor-completions/_mill",
        "fish/vendor_completions.d/mill.fish",
    ] {
        site.node.ok(&["grep", "--quiet", "MILL_COMPLETE", &format!("/usr/share/{shell}")])?;
    }
    for page in ["mill", "mill-secret-roll"] {
        site.node.ok(&["gzip", "--test", &format!("/usr/share/man/man1/{page}.1.gz")])?;
    }
    let made = site.node.json(&["init", "--name", "box"])?;
    expect(made.is("/node", "box"), "a cluster of one", &made)?;
    until("the daemon says that it leads", SETTLES_WITHIN, || {
        let status = site.node.property("mill.service", "StatusText")?;
        Ok(Look::at(status.contains("leads"), status))
    })
}

fn deployed(site: &Site<'_>) -> Result<(), Failed> {
    let image = site.machine.image("apps:1");
    let config = format!(
        r#"project "shop"
service "web" {{
    image "{image}"
    command "hello"
    port 3000
    replicas 2
    cpu 0.1
    memory "32M"
    env {{ VERSION "v1" }}
    health path="/health" interval="1s"
}}
service "chatter" {{
    image "{image}"
    command "chatter"
    cpu 0.1
    memory "32M"
    env {{ RATE "50" }}
}}
"#
    );
    site.node.write("/root/mill.kdl", &config)?;
    let said = site.node.ok(&["mill", "deploy", "--file", "/root/mill.kdl"])?;
    expect(said.contains("deployed shop"), "the deploy says that it is done", &said)?;
    site.settled()?;
    for pid in programs() {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).or_fail("a container's cgroups")?;
        let outside = cgroups.contains("/mill/") && !cgroups.contains(".service");
        expect(outside, "containers are in cgroups outside of all units", &cgroups)?;
        let score =
            fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).or_fail("a container's score")?;
        let score: i32 = score.trim().parse().or_fail("a score")?;
        expect(score >= 0, "the kernel takes containers before the daemon", score)?;
    }
    until("the pipes of six streams lie with systemd", SETTLES_WITHIN, || {
        let count = site.node.property("mill-plane.service", "NFileDescriptorStore")?;
        Ok(Look::at(count == "6", count))
    })
}

/// The same package with a higher version and other bytes.
fn newer(deb: &Path, folder: &Path) -> Result<PathBuf, Failed> {
    let (unpacked, built) = (folder.join("newer"), folder.join("mill-newer.deb"));
    Tool::new("dpkg-deb").args(["--raw-extract"]).args([deb, &unpacked]).run()?;
    let control = unpacked.join("DEBIAN/control");
    let text = fs::read_to_string(&control).or_fail("the package's control file")?;
    let version = text.lines().find(|line| line.starts_with("Version: ")).or_fail("a version")?;
    fs::write(&control, text.replace(version, "Version: 99.0.0-1")).or_fail("the package's control file")?;
    let binary = unpacked.join("usr/bin/mill");
    let mut bytes = fs::read(&binary).or_fail("the package's binary")?;
    // behind what the loader reads
    bytes.extend_from_slice(b"newer");
    fs::write(&binary, bytes).or_fail("the package's binary")?;
    Tool::new("dpkg-deb")
        .args(["--root-owner-group", "-Znone", "--build"])
        .args([&unpacked, &built])
        .run()?;
    fs::remove_dir_all(&unpacked).or_fail("the unpacked package")?;
    Ok(built)
}

/// In place: other processes of the new file, the same containers.
fn upgraded(site: &Site<'_>, newer: &Path) -> Result<(), Failed> {
    let (before, ran) = (site.pids()?, programs());
    expect(ran.len() == 3, "three programs run", &ran)?;
    let package = site.node.bring(newer)?;
    site.node.ok(&["dpkg", "--install", &package])?;
    let after = site.pids()?;
    expect(before.iter().zip(&after).all(|(old, new)| old != new), "other processes", (&before, &after))?;
    for pid in after {
        let runs = site.node.ok(&["readlink", &format!("/proc/{pid}/exe")])?;
        expect(runs.trim() == "/usr/bin/mill", "they run the new file", runs)?;
    }
    site.settled()?;
    expect(programs() == ran, "the same containers", (programs(), &ran))
}

/// Both hang: systemd hears no sign of life, and starts them again.
fn hung(site: &Site<'_>) -> Result<(), Failed> {
    let (before, ran) = (site.pids()?, programs());
    site.node.ok(&["systemctl", "kill", "--signal=STOP", UNITS[0], UNITS[1]])?;
    for (unit, pid) in UNITS.iter().zip(&before) {
        until("a unit that hangs is started again", BACK_WITHIN, || {
            let now = site.node.main_pid(unit)?;
            Ok(Look::at(now != *pid, now))
        })?;
        expect(site.node.property(unit, "NRestarts")? == "1", "once", unit)?;
    }
    site.settled()?;
    expect(programs() == ran, "the same containers", (programs(), &ran))
}

/// What a container says last while daemon and plane are both dead isn't lost.
fn both_dead(site: &Site<'_>) -> Result<(), Failed> {
    for unit in UNITS {
        site.node.write(&format!("/etc/systemd/system/{unit}.d/late.conf"), LATE)?;
    }
    site.node.ok(&["systemctl", "daemon-reload"])?;
    site.node.ok(&["systemctl", "kill", "--signal=KILL", UNITS[0], UNITS[1]])?;
    let dead = || -> Result<Look<()>, Failed> {
        let states = [site.node.property(UNITS[0], "SubState")?, site.node.property(UNITS[1], "SubState")?];
        Ok(Look::at(states.iter().all(|state| state == "auto-restart"), states))
    };
    until("both are dead", SETTLES_WITHIN, dead)?;
    let chatter = *program("chatter").first().or_fail("the chatter runs")?;
    processes::terminate(chatter)?;
    until("the chatter is gone", SETTLES_WITHIN, || {
        Ok(Look::at(!program("chatter").contains(&chatter), ""))
    })?;
    if let Look::No(states) = dead()? {
        return Err(Failed::because(format!("they came back too soon to tell: {states}")));
    }
    for unit in UNITS {
        site.node.ok(&["rm", "-r", &format!("/etc/systemd/system/{unit}.d")])?;
    }
    site.node.ok(&["systemctl", "daemon-reload"])?;
    until("both are back", BACK_WITHIN, || site.pids().map(Look::Yes))?;
    site.settled()?;
    whole_first_run(site)
}

/// Every line of the chatter's first run is there, the last one too.
fn whole_first_run(site: &Site<'_>) -> Result<(), Failed> {
    let ran = site.node.run(&["mill", "logs", "shop/chatter", "--all", "-n", "1000000", "--json"])?;
    let lines = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).or_fail(line));
    let lines = lines.collect::<Result<Vec<Value>, Failed>>()?;
    let first = lines.iter().filter(|line| line.pointer("/incarnation") == Some(&1.into()));
    let texts: Vec<&str> = first.filter_map(|line| line.pointer("/text")?.as_str()).collect();
    let last = texts.iter().find_map(|text| text.strip_prefix("wrote ")?.strip_suffix(" lines"));
    let count: u64 = last.and_then(|count| count.parse().ok()).or_fail(format_args!(
        "the last words are lost; the last of {} lines: {:?}",
        texts.len(),
        texts.last()
    ))?;
    let numbers: BTreeSet<u64> =
        texts.iter().filter_map(|text| text.strip_prefix("line ")?.parse().ok()).collect();
    let missing: Vec<u64> = (1..=count).filter(|number| !numbers.contains(number)).collect();
    expect(missing.is_empty() && count > 0, "no line is lost", (count, missing))
}

/// After a reboot everything is as it was deployed.
fn rebooted(site: &mut Site<'_>) -> Result<(), Failed> {
    site.node.reboot()?;
    until("both units are up", BACK_WITHIN, || site.pids().map(Look::Yes))?;
    until("the node has seen the reboot", BACK_WITHIN, || Ok(Look::at(programs().len() == 3, programs())))?;
    site.settled()?;
    for address in site.endpoints()? {
        let answer = http::get(address, "/version")?;
        expect(answer.body == "v1", "each replica answers after a reboot", &answer)?;
    }
    Ok(())
}

/// Without the package containers run on, and with it again they are found.
fn removed(site: &Site<'_>, newer: &Path) -> Result<(), Failed> {
    let ran = programs();
    let said = site.node.ok(&["dpkg", "--purge", "mill"])?;
    expect(said.contains("containers run on") && said.contains("/var/lib/mill stays"), "it says so", &said)?;
    let left =
        processes::all().into_iter().filter(|process| process.args.iter().any(|arg| arg == "/usr/bin/mill"));
    expect(left.count() == 0, "neither unit runs", processes::all())?;
    expect(programs() == ran, "the same containers", (programs(), &ran))?;
    let package = site.node.bring(newer)?;
    site.node.ok(&["dpkg", "--install", &package])?;
    site.pids()?;
    site.settled()?;
    expect(programs() == ran, "the same containers", (programs(), &ran))
}

impl Site<'_> {
    /// Main processes of the units, which must be active.
    fn pids(&self) -> Result<Vec<String>, Failed> {
        UNITS.iter().map(|unit| self.node.main_pid(unit)).collect()
    }

    /// Waits until all is as deployed; answers the allocs.
    fn settled(&self) -> Result<Vec<Value>, Failed> {
        until("three healthy allocs", SETTLES_WITHIN, || {
            let all = self.node.json(&["allocs"])?;
            let ended = |alloc: &&Value| !alloc.is("/phase", "stopped") && !alloc.is("/phase", "failed");
            let allocs: Vec<Value> = all.list("")?.iter().filter(ended).cloned().collect();
            let right = allocs.len() == 3 && allocs.iter().all(|alloc| alloc.is("/phase", "healthy"));
            Ok(if right { Look::Yes(allocs) } else { Look::No(format!("{allocs:#?}")) })
        })
    }

    /// Where the replicas of the service with a port are reached.
    fn endpoints(&self) -> Result<Vec<SocketAddr>, Failed> {
        let allocs = self.settled()?;
        let ports = allocs.iter().filter_map(|alloc| alloc.pointer("/ports/0/mapped")?.as_u64());
        let ports = ports.map(|port| u16::try_from(port).or_fail("a port")).collect::<Result<Vec<_>, _>>()?;
        expect(ports.len() == 2, "two replicas have a port", &allocs)?;
        Ok(ports.into_iter().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).collect())
    }
}

/// Processes of containers that run this program, in the story's numbers.
fn program(name: &str) -> BTreeSet<i32> {
    let is_it = |args: &[String]| matches!(args, [apps, program] if apps == "/apps" && program == name);
    processes::all().into_iter().filter(|process| is_it(&process.args)).map(|process| process.pid).collect()
}

/// Processes of all containers.
fn programs() -> BTreeSet<i32> {
    &program("hello") | &program("chatter")
}

/// Somebody who asks all the time, and notes what fails.
struct Asking {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    thread: thread::JoinHandle<Vec<String>>,
}

impl Asking {
    fn start(addresses: Vec<SocketAddr>) -> Self {
        let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (told, counted) = (Arc::clone(&stop), Arc::clone(&asked));
        let thread = thread::spawn(move || {
            let mut failed = vec![];
            while !told.load(Ordering::Relaxed) {
                for address in &addresses {
                    match http::get(*address, "/version") {
                        Ok(answer) if answer.status == 200 && answer.body == "v1" => {}
                        other => failed.push(format!("{other:?}")),
                    }
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                until::let_pass(Duration::from_millis(5));
            }
            failed
        });
        Self { stop, asked, thread }
    }

    /// Every request was answered.
    fn end(self) -> Result<(), Failed> {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.thread.join().map_err(|_| Failed::because("who asked has panicked"))?;
        let asked = self.asked.load(Ordering::Relaxed);
        expect(failed.is_empty() && asked > 500, "no request fails", (asked, failed))
    }
}
