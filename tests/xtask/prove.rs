//! Everything that must pass.

use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use crate::bpf;
use crate::deb;
use crate::house::{House, PROFILE};
use crate::install;
use crate::shell::{Shell, Trouble, say};
use crate::tally::{Outcome, Tally, counted, whole};

/// Seeds that the simulation plays.
const SEEDS: &str = "2000";
const SEEDS_LONG: &str = "20000";

/// Stories that lean on the kernel: told once more on that of Debian stable, with control groups of version 2 alone.
const ON_DEBIANS_KERNEL: [&str; 7] = [
    "deploy_hello",
    "exec",
    "secrets",
    "usage_and_ailments",
    "killed_parts",
    "memory_pressure",
    "time_jumps",
];

pub(crate) fn prove(house: &House) -> Result<ExitCode, Trouble> {
    all(house, false)
}

pub(crate) fn prove_long(house: &House) -> Result<ExitCode, Trouble> {
    all(house, true)
}

fn all(house: &House, long: bool) -> Result<ExitCode, Trouble> {
    install::must_be_root()?;
    let begun = Instant::now();
    let mut tally = Tally::default();
    tally.step("install", || install::all(house).map(|()| Outcome::passed()));
    tally.step("build", || {
        house.build()?;
        house.build_faulty().map(|()| Outcome::passed())
    });
    tally.step("package", || deb::of_stories(house, PROFILE).map(|_| Outcome::passed()));
    // Begun as early as can be: they take longest, and don't mind company.
    let patient = runner(house, "run", long)?.args(["--patient"]);
    let patient = thread::spawn(move || counted(patient));
    look(house, &mut tally);
    tally.step("tests", || tests(house));
    tally.step("doc tests", || {
        whole(cargo(house).args(["test", "--doc", "--workspace", "--locked", "--quiet"]))
    });
    if has_simulation(house) {
        let seeds = if long { SEEDS_LONG } else { SEEDS };
        tally.step("simulation", || counted(sim(house).args(["--seeds", seeds])));
    }
    tally.step("stories", || counted(runner(house, "run", long)?));
    tally.step("demo", || whole(demo(house)?));
    tally.step("patient stories", || {
        let died = |_| Trouble::Unexpected { what: "patient stories to end", seen: "a panic".to_owned() };
        patient.join().map_err(died)?
    });
    if long {
        tally.step("stories on Debian's kernel", || {
            install::for_machines()?;
            counted(runner(house, "run", false)?.args(["--vm"]).args(ON_DEBIANS_KERNEL))
        });
    }
    // Alone on the machine.
    tally.step("bench", || benches(house, long));
    Ok(code(tally.close(begun)))
}

pub(crate) fn check(house: &House) -> Result<ExitCode, Trouble> {
    let begun = Instant::now();
    let mut tally = Tally::default();
    tally.step("install", || install::all(house).map(|()| Outcome::passed()));
    look(house, &mut tally);
    tally
        .step("tidy", || counted(cargo(house).args(["test", "--package", "mill-tests", "--locked", "tidy"])));
    Ok(code(tally.close(begun)))
}

/// The tour, once more while it runs, and its end: with a network, a `/run` and a BPF file system of its own, so that it
/// neither finds nor leaves anything.
fn demo(house: &House) -> Result<Shell, Trouble> {
    let this = std::env::current_exe().map_err(|_| Trouble::Lost)?;
    let script = "(umount -l /sys/fs/bpf || true) 2> /dev/null; mount -t tmpfs tmpfs /run && ip link set lo up && \
                  \"$0\" demo && \"$0\" demo && \"$0\" demo stop";
    Ok(Shell::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script])
        .args([this])
        .env("MILL_DEMO_DIR", &house.target.join("demo-proved").to_string_lossy())
        .env("MILL_CGROUP_PARENT", "/mill-demo-proved")
        .env("CARGO_NET_OFFLINE", "true"))
}

/// What is seen without running anything of Mill.
fn look(house: &House, tally: &mut Tally) {
    tally.step("format", || whole(cargo(house).args(["fmt", "--all", "--check"])));
    tally.step("clippy", || {
        let all =
            ["clippy", "--workspace", "--all-targets", "--features", "mill/faults", "--locked", "--quiet"];
        whole(cargo(house).args(all).args(["--", "-D", "warnings"]))
    });
    tally.step("deny", || {
        let shell = install::deny(house).within(&house.top);
        whole(shell.args(["--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
    });
    tally.step("bpf", || bpf::check(house).map(Outcome::all_of));
    tally.step("docs", || {
        let docs = ["doc", "--workspace", "--no-deps", "--locked", "--quiet"];
        whole(cargo(house).args(docs).env("RUSTDOCFLAGS", "-D warnings"))
    });
}

/// Unit, golden, cluster and tidy tests: by cargo-nextest where there is one, which runs and bounds each by itself.
fn tests(house: &House) -> Result<Outcome, Trouble> {
    let nextest = Shell::new("cargo").args(["nextest", "--version"]).succeeds();
    let (program, rest): (&[&str], &[&str]) = match nextest {
        true => (&["nextest", "run"], &["--no-fail-fast", "--no-tests=fail"]),
        false => (&["test", "--bins", "--lib", "--tests"], &["--no-fail-fast"]),
    };
    counted(
        cargo(house).args(program).args(["--workspace", "--locked", "--features", "mill/faults"]).args(rest),
    )
}

pub(crate) fn stories(house: &House, names: &[&str]) -> Result<ExitCode, Trouble> {
    if names == ["list"] {
        cargo(house).args(["build", "--locked", "--quiet", "--package", "mill-e2e"]).run()?;
        Shell::new(house.runner()).args(names).run()?;
        return Ok(ExitCode::SUCCESS);
    }
    install::must_be_root()?;
    install::packages()?;
    house.build()?;
    house.build_faulty()?;
    // No other story wants the package, which takes its time.
    let named = |name: &&str| *name == "systemd" || *name == "all" || *name == "--patient";
    if names.iter().any(named) {
        deb::of_stories(house, PROFILE)?;
    }
    if names.contains(&"--vm") {
        install::for_machines()?;
    }
    let status = runner(house, "run", false)?.args(names).status()?;
    Ok(code(status.success()))
}

pub(crate) fn bench(house: &House) -> Result<ExitCode, Trouble> {
    install::must_be_root()?;
    install::packages()?;
    house.build()?;
    benches(house, true).map(|_| ExitCode::SUCCESS)
}

/// What the runner measures on machines of its own, then the examples that measure rooms of Mill. The short form has
/// only the one that shares its build with the simulation: the others' would take longer than all measurements.
fn benches(house: &House, long: bool) -> Result<Outcome, Trouble> {
    runner(house, "bench", long)?.run()?;
    let example = |package: &str, name: &str| {
        let cargo = cargo(house).args(["run", "--locked", "--quiet", "--profile", PROFILE, "--package"]);
        cargo.args([package, "--example", name, "--"]).args(long.then_some("--long"))
    };
    example("mill-sim", "placements").run()?;
    if long {
        let disk = house.target.join("bench");
        example("mill-sim", "appends").args([&disk]).run()?;
        example("mill-tests", "proposals").args([&disk]).run()?;
        example("mill-tests", "looks").run()?;
    }
    Ok(Outcome::passed())
}

pub(crate) fn simulation(house: &House, args: &[&str]) -> Result<ExitCode, Trouble> {
    install::packages()?;
    if !has_simulation(house) {
        say("tests/sim has no program yet");
        return Ok(ExitCode::FAILURE);
    }
    Ok(code(sim(house).args(args).status()?.success()))
}

/// The simulation is a program of its crate, so that it can be given seeds.
fn has_simulation(house: &House) -> bool {
    house.top.join("tests/sim/main.rs").exists()
}

fn sim(house: &House) -> Shell {
    cargo(house).args(["run", "--locked", "--quiet", "--profile", PROFILE, "--package", "mill-sim", "--"])
}

/// The runner of stories and benches, with where it finds everything.
fn runner(house: &House, what: &str, long: bool) -> Result<Shell, Trouble> {
    let shell = Shell::new(house.runner())
        .args([what, "--mill"])
        .args([house.mill()])
        .args(["--faulty"])
        .args([house.faulty()])
        .args(["--apps"])
        .args([house.apps()?])
        .args(["--folder"])
        .args([house.target.join("stories")])
        .args(["--deb"])
        .args([deb::path(house, PROFILE)])
        .args(long.then_some("--long"));
    Ok(shell)
}

fn cargo(house: &House) -> Shell {
    Shell::new("cargo").within(&house.top)
}

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
