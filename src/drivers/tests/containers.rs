//! What product.md §2 promises of containers, seen from inside a real one.

#[expect(dead_code, reason = "each test binary uses its part of the host")]
mod host;

use std::collections::BTreeSet;
use std::time::Duration;

use host::{Build, Host, output_of, shell, until};
use mill_drivers::cgroups::Oom;
use mill_drivers::containers::own::{Own, OwnConfig, OwnError};
use mill_drivers::containers::{ContainerError, Containers as _, Launch, Missing, Mount, Signal, StartError};
use mill_model::{Bytes, ImageRef, Millicores, Resources, Tempo};

const PASSWD: &str = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\nextra:x:2000:app\n";

async fn image(host: &Host) -> ImageRef {
    host.image(&Build {
        name: "web",
        layers: &[
            &[("etc/passwd", PASSWD, 0o644), ("etc/group", GROUP, 0o644)],
            &[("bin/bad-script", "#!/bin/bash\n", 0o755), ("bin/plain", "text", 0o644)],
        ],
        config: &[
            "--config.env",
            "FROM_IMAGE=1",
            "--config.stopsignal",
            "SIGINT",
            "--config.workingdir",
            "/made/here",
        ],
        ..Build::default()
    })
    .await
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Whether there is no older hierarchy of control groups.
fn is_v2_alone() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

#[tokio::test]
async fn a_container_is_what_its_launch_and_its_image_say() {
    let host = Host::start().await;
    let image = image(&host).await;
    let script = "id -u; id -g; id -G; pwd; echo $FROM_IMAGE $PORT $HOME $HOSTNAME; cat /proc/sys/kernel/hostname; tail -n 1 /etc/hosts; \
                  grep -E '^(NoNewPrivs|Seccomp|CapEff|CapBnd):' /proc/self/status; echo $$";
    let launch = Launch {
        user: Some("app".into()),
        env: vec![("PORT".into(), "20001".into())],
        ..shell("web-2222.1", &image, script)
    };
    let (output, exit) = output_of(&host, launch).await;
    let wanted = "1000\n1001\n1001 2000\n/made/here\n1 20001 /home/app web-2222\nweb-2222\n10.9.8.7 web-2222\n\
                  CapEff:\t0000000000000000\nCapBnd:\t00000000a80405fb\nNoNewPrivs:\t1\nSeccomp:\t2\n1\n";
    // Docker's set is a80425fb; NET_RAW is 0x2000.
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!((sorted(&output), exit.code), (sorted(wanted), 0), "{output}");
}

#[tokio::test]
async fn the_root_is_read_only_when_asked_and_dangerous_calls_and_files_are_out_of_reach() {
    let host = Host::start().await;
    let image = image(&host).await;
    let script = "touch /x && echo root-written; touch /tmp-vol/x && echo volume-written; touch /ro/x && echo ro-written; \
                  echo 1 > /proc/sys/kernel/panic && echo sys-written; cat /proc/kcore | dd bs=1 count=1 2>/dev/null | wc -c; \
                  busybox mount -t tmpfs none /tmp-vol && echo mounted; busybox unshare -m true && echo unshared; \
                  mkdir /sys/fs/cgroup/memory/x && echo cgroup-written; busybox ls /sys/class/net | grep -c lo";
    let volume = host.dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let mount = |path: &str, read_only| Mount { source: volume.clone(), path: path.into(), read_only };
    let launch = Launch {
        read_only_root: true,
        mounts: vec![mount("/tmp-vol", false), mount("/ro", true)],
        ..shell("web-2222.1", &image, &format!("{{ {script}; }} 2>/dev/null"))
    };
    let (output, _) = output_of(&host, launch).await;
    assert_eq!(output, "volume-written\n0\n1\n");
    assert!(volume.join("x").exists());
}

#[tokio::test]
async fn signals_memory_and_exit_codes_are_told_apart() {
    let host = Host::start().await;
    let image = image(&host).await;
    let runtime = host.runtime();
    let (_, exit) = output_of(&host, shell("web-2222.1", &image, "exit 42")).await;
    assert_eq!((exit.code, exit.signal, exit.oom), (42, None, None));

    let told = host.dir.path().join("told");
    std::fs::create_dir(&told).unwrap();
    let mount = Mount { source: told.clone(), path: "/told".into(), read_only: false };
    let script = "trap 'exit 5' INT; : > /told/trap; while :; do sleep 0.02; done";
    let sleeper = Launch { mounts: vec![mount], ..shell("web-2222.2", &image, script) };
    runtime.start(&sleeper).await.unwrap();
    let signal = runtime.stop_signal(&sleeper.name).await.unwrap();
    assert_eq!(signal.to_string(), "SIGINT", "the image's");
    // A first process without a trap ignores the signal, and one that is in it already ends otherwise at a second.
    until("the trap is set", async || told.join("trap").exists()).await;
    runtime.signal(&sleeper.name, signal).await.unwrap();
    let exit = runtime.wait(&sleeper.name).await.unwrap();
    assert_eq!((exit.code, exit.signal), (5, None));
    assert!(runtime.signal(&sleeper.name, Signal::TERM).await.unwrap_err().is_not_found(), "it has ended");
    runtime.remove(&sleeper.name).await.unwrap();

    let killed = shell("web-2222.3", &image, "sleep 600");
    runtime.start(&killed).await.unwrap();
    runtime.signal(&killed.name, Signal::KILL).await.unwrap();
    let exit = runtime.wait(&killed.name).await.unwrap();
    assert_eq!((exit.code, exit.signal, exit.oom), (137, Some(9), None));
    runtime.remove(&killed.name).await.unwrap();

    let resources = Resources { cpu: Millicores(1000), memory: Bytes(16 << 20) };
    let hog = Launch { resources, ..shell("web-2222.4", &image, "exec dd if=/dev/zero of=/dev/null bs=64M") };
    runtime.start(&hog).await.unwrap();
    let exit = runtime.wait(&hog.name).await.unwrap();
    assert_eq!((exit.code, exit.signal, exit.oom), (137, Some(9), Some(Oom::Ceiling)));
    let list = runtime.list(&hog.name.alloc).await.unwrap();
    assert_eq!(list[0].state, mill_drivers::containers::State::Ended(exit), "also for who asks later");
    runtime.remove(&hog.name).await.unwrap();
}

#[tokio::test]
async fn ceilings_hold_and_usage_is_told() {
    let host = Host::start().await;
    let image = image(&host).await;
    let runtime = host.runtime();
    let resources = Resources { cpu: Millicores(200), memory: Bytes(32 << 20) };
    let busy = Launch { resources, ..shell("web-2222.1", &image, "while :; do :; done") };
    runtime.start(&busy).await.unwrap();
    let used = async || runtime.usage().await.unwrap()[&busy.name];
    let first = used().await;
    let begun = std::time::Instant::now();
    until("it has used some processor time", async || {
        used().await.cpu_time > first.cpu_time + Duration::from_millis(100)
    })
    .await;
    let used = used().await;
    let share = (used.cpu_time - first.cpu_time).as_secs_f64() / begun.elapsed().as_secs_f64();
    // A fifth of a core; one period of 100 ms may be counted in full.
    assert!(share < 0.6, "used {share} of a core");
    assert!(used.memory.0 > 0 && used.memory.0 < 32 << 20, "{used:?}");
    let group = host.cgroup_parent.trim_start_matches('/');
    let memory = (32 << 20).to_string();
    let limits: &[(&str, &str)] = match is_v2_alone() {
        // Swap is counted by itself there.
        true => &[
            ("memory.max", &memory),
            ("memory.swap.max", "0"),
            ("pids.max", "4096"),
            ("cpu.max", "20000 100000"),
        ],
        false => &[
            ("memory/memory.limit_in_bytes", &memory),
            ("memory/memory.memsw.limit_in_bytes", &memory),
            ("pids/pids.max", "4096"),
            ("cpu/cpu.cfs_quota_us", "20000"),
        ],
    };
    for (file, limit) in limits {
        let (controller, file) = file.split_once('/').unwrap_or((".", file));
        let path = format!("/sys/fs/cgroup/{controller}/{group}/web-2222.1/{file}");
        assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), *limit, "{path}");
    }
    runtime.remove(&busy.name).await.unwrap();
    assert!(runtime.usage().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_start_says_why_and_leaves_nothing() {
    let host = Host::start().await;
    let image = image(&host).await;
    let runtime = host.runtime();
    let before = host.traces();
    let plain = shell("web-2222.1", &image, "true");
    let run = |argv: &[&str]| Launch { command: Some(texts(argv)), ..plain.clone() };
    let volume = Mount { source: host.dir.path().to_owned(), path: "/volume".into(), read_only: true };
    let absent: ImageRef = image.pinned(format!("sha256:{}", "0".repeat(64)).parse().unwrap());
    let command = |error: &StartError| match error {
        StartError::NoSuchCommand { command, reason } => Some((command.clone(), reason.clone())),
        _ => None,
    };
    let bash = Missing::Interpreter { interpreter: "/bin/bash".into() };
    let commands = [
        (run(&["nope"]), "nope", Missing::NotFound),
        (run(&["/etc/nope"]), "/etc/nope", Missing::NotFound),
        (run(&["plain"]), "plain", Missing::NotExecutable),
        (run(&["/etc"]), "/etc", Missing::NotExecutable),
        (run(&["bad-script"]), "bad-script", bash),
        // By the first process's own word.
        (Launch { mounts: vec![volume.clone()], ..run(&["nope"]) }, "nope", Missing::NotFound),
        (
            Launch { mounts: vec![volume.clone()], ..run(&["/volume/nope"]) },
            "/volume/nope",
            Missing::NotFound,
        ),
        (
            Launch { mounts: vec![volume], ..run(&["/volume/config.toml"]) },
            "/volume/config.toml",
            Missing::NotExecutable,
        ),
    ];
    for (launch, program, reason) in commands {
        let error = runtime.start(&launch).await.unwrap_err();
        assert_eq!(command(&error), Some((program.to_owned(), reason)), "{error:?}");
        assert!(error.is_permanent());
    }
    let error = runtime.start(&Launch { user: Some("nobody".into()), ..plain.clone() }).await.unwrap_err();
    assert!(matches!(&error, StartError::NoSuchUser { user } if user == "nobody"), "{error:?}");
    let error = runtime.start(&Launch { image: absent, ..plain.clone() }).await.unwrap_err();
    assert!(matches!(error, StartError::NoImage { .. }), "{error:?}");
    let error = runtime.start(&Launch { devices: texts(&["/dev/nope"]), ..plain.clone() }).await.unwrap_err();
    assert!(matches!(error, StartError::NoSuchDevice { .. }), "{error:?}");
    let error = runtime.start(&Launch { cap_add: texts(&["NOPE"]), ..plain.clone() }).await.unwrap_err();
    assert!(matches!(error, StartError::Spec(_)), "{error:?}");
    let missing = Mount { source: "/no/such/source".into(), path: "/x".into(), read_only: true };
    let error = runtime.start(&Launch { mounts: vec![missing], ..plain.clone() }).await.unwrap_err();
    let failure = mill_model::Failure::from(&error);
    assert!(failure.to_string().contains("/no/such/source"), "{failure}");
    host.until_nothing_but(&before).await;
    assert_eq!(runtime.leftovers(&BTreeSet::new()).await.unwrap(), BTreeSet::new());
}

#[tokio::test]
async fn programs_are_executed_inside_with_their_output_bounded_and_killed_at_the_deadline() {
    let host = Host::start().await;
    let image = image(&host).await;
    let runtime = host.runtime();
    let service = Launch { user: Some("app".into()), ..shell("web-2222.1", &image, "sleep 600") };
    runtime.start(&service).await.unwrap();
    let exec = async |script: &str, deadline: Duration| {
        runtime.exec(&service.name, &texts(&["sh", "-c", script]), deadline).await
    };
    let long = Duration::from_secs(20);
    let outcome = exec("echo out; echo err >&2; id -u; exit 3", long).await.unwrap();
    assert_eq!(outcome.code, 3);
    assert!(["out", "err", "1000"].iter().all(|word| outcome.output.contains(word)), "{outcome:?}");
    let outcome = exec("dd if=/dev/zero bs=1000 count=300 2>/dev/null; echo the end", long).await.unwrap();
    assert!(outcome.output.len() <= 4096 && outcome.output.ends_with("the end\n"));

    let error = exec("sleep 60123 & sleep 60124", Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, ContainerError::ExecDeadline { .. }), "{error:?}");
    // A first process that reaps nobody leaves zombies: they have no command line.
    until("what the check started is dead", async || !runs("sleep 60123") && !runs("sleep 60124")).await;
    let error = runtime.exec(&service.name, &texts(&["nope"]), long).await.unwrap_err();
    assert!(
        matches!(&error, ContainerError::NoSuchCommand { command, .. } if command == "nope"),
        "{error:?}"
    );
    // A shell says the same of a program that it doesn't find, and that is the shell's own end.
    assert_eq!(exec("nope", long).await.unwrap().code, 127);
    assert_eq!(std::fs::read_dir(host.dir.path().join("run/exec")).unwrap().count(), 0);
    runtime.remove(&service.name).await.unwrap();
    assert!(exec("true", long).await.unwrap_err().is_not_found());
}

/// Whether any process has this in its command line.
fn runs(words: &str) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut lines = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.any(|line| line.replace('\0', " ").contains(words))
}

#[tokio::test]
async fn a_program_that_outlives_its_deadline_or_whoever_asked_leaves_nothing() {
    let host = Host::start().await;
    let image = image(&host).await;
    let runtime = host.runtime();
    let service = shell("web-2222.1", &image, "sleep 600");
    runtime.start(&service).await.unwrap();
    let sleeps = texts(&["sleep", "61234"]);
    let seen = || std::fs::read_dir(host.dir.path().join("run/exec")).unwrap().flatten().next();
    // The first is left while it runs, and tells how the others are called.
    let asked = tokio::spawn({
        let (runtime, name, sleeps) = (runtime.clone(), service.name.clone(), sleeps.clone());
        async move { runtime.exec(&name, &sleeps, Duration::from_secs(600)).await }
    });
    until("the program runs", async || runs("sleep 61234")).await;
    let fifo = seen().unwrap().file_name().into_string().unwrap();
    let prefix = fifo.strip_prefix("web-2222.1-").unwrap().strip_suffix('0').unwrap().to_owned();
    asked.abort();
    // Deadlines that come before it is made, while it is, while it is started, and while it runs.
    let deadlines = [0, 1, 2, 4, 7, 10, 15, 20, 30, 50, 100, 200];
    for millis in deadlines {
        let error = runtime.exec(&service.name, &sleeps, Duration::from_millis(millis)).await.unwrap_err();
        assert!(matches!(error, ContainerError::ExecDeadline { .. }), "{millis} ms: {error:?}");
    }
    until("nothing runs any more", async || !runs("sleep 61234") && seen().is_none()).await;
    for count in 0..=deadlines.len() {
        let id = format!("{prefix}{count}");
        let mut ctr = std::process::Command::new("ctr");
        ctr.arg("--address").arg(host.socket()).args(["--namespace", "mill", "tasks", "delete", "--exec-id"]);
        let output = ctr.args([&id, "web-2222.1"]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains("not found"), "{id} is remembered: {told}");
    }
    runtime.remove(&service.name).await.unwrap();
}

#[tokio::test]
async fn whatever_a_crash_leaves_is_found_by_name_and_removed() {
    let host = Host::start().await;
    let image = image(&host).await;
    let runtime = host.runtime();
    let before = host.traces();
    // A container that runs on, one whose shim was killed, and what is left when only parts were made.
    let running = shell("web-2222.1", &image, "sleep 600");
    let orphan = shell("web-2222.2", &image, "sleep 600");
    runtime.start(&running).await.unwrap();
    let known_shims = host.shims();
    runtime.start(&orphan).await.unwrap();
    let shim = host.shims().into_iter().find(|pid| !known_shims.contains(pid)).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(shim).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    for controller in if is_v2_alone() { ["."].as_slice() } else { &["memory", "unified"] } {
        std::fs::create_dir(format!("/sys/fs/cgroup/{controller}{}/web-3333.1", host.cgroup_parent)).unwrap();
    }
    std::fs::create_dir(host.dir.path().join("run/runc/mill/web-4444.7")).unwrap();
    let bundle = host.dir.path().join("state/io.containerd.runtime.v2.task/mill/web-5555.1");
    std::fs::create_dir(&bundle).unwrap();

    let restarted = host.runtime();
    let known = [running.name.clone()].into();
    let leftovers = restarted.leftovers(&known).await.unwrap();
    let names: Vec<String> = leftovers.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["web-2222.2", "web-3333.1", "web-4444.7", "web-5555.1"]);
    for name in &leftovers {
        restarted.remove(name).await.unwrap();
    }
    assert_eq!(restarted.leftovers(&known).await.unwrap(), BTreeSet::new());
    assert!(!bundle.exists());
    // The name can be used again, also over a container that runs.
    restarted.start(&shell("web-4444.7", &image, "sleep 600")).await.unwrap();
    restarted.start(&shell("web-4444.7", &image, "sleep 600")).await.unwrap();
    for name in restarted.leftovers(&BTreeSet::new()).await.unwrap() {
        restarted.remove(&name).await.unwrap();
    }
    host.until_nothing_but(&before).await;
}

#[tokio::test]
async fn an_own_containerd_is_started_once_found_again_and_leaves_containers_alone() {
    let mut host = Host::start().await;
    host.kill_containerd();
    let dir = host.dir.path();
    let config = OwnConfig { root: dir.join("root"), state: dir.join("own") };
    let tempo = std::sync::Arc::new(Tempo::default());
    let own = Own::ensure(&config, tempo.clone()).await.unwrap();
    assert!(own.was_started());
    let session = rustix::process::getsid(rustix::process::Pid::from_raw(own.pid().cast_signed())).unwrap();
    assert_eq!(session.as_raw_nonzero().get(), own.pid().cast_signed(), "a session of its own");

    let again = Own::ensure(&config, tempo.clone()).await.unwrap();
    assert_eq!((again.pid(), again.was_started()), (own.pid(), false));
    again.stop().await.unwrap();
    own.ended().await.unwrap();
    let third = Own::ensure(&config, tempo.clone()).await.unwrap();
    assert!(third.was_started() && third.pid() != own.pid());
    assert_eq!(third.socket(), own.socket());

    std::fs::remove_dir_all(&config.root).unwrap();
    let fourth = Own::ensure(&config, tempo).await.unwrap();
    assert!(fourth.was_started(), "one whose files are gone can store nothing");
    third.ended().await.unwrap();
    assert!(config.root.join("io.containerd.metadata.v1.bolt/meta.db").exists());
    fourth.stop().await.unwrap();
}

#[tokio::test]
async fn an_own_containerd_that_does_not_answer_is_not_left_running() {
    let dir = tempfile::Builder::new().prefix("mill-t").tempdir().unwrap();
    let config = OwnConfig { root: dir.path().join("root"), state: dir.path().join("own") };
    // No containerd answers as fast.
    let hasty = Tempo { runtime_deadline: Duration::from_millis(1), ..Tempo::default() };
    let error = Own::ensure(&config, std::sync::Arc::new(hasty)).await.unwrap_err();
    assert!(matches!(error, OwnError::Silent { .. }), "{error:?}");
    assert!(config.state.join("containerd.pid").exists(), "it was started");
    until("it has ended", async || Own::find(&config).unwrap().is_none()).await;
    let line = format!("--config {}", config.state.display());
    until("nothing of it runs", async || !runs(&line)).await;
}
