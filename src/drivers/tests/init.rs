//! What `mill-init` does between a container's start and its program's, seen from inside and from outside.

#![expect(clippy::unwrap_used, reason = "a test that can't set up its host fails")]

#[expect(dead_code, reason = "each test binary uses its part of the host")]
mod host;

use std::collections::BTreeMap;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use host::{Build, Host, output_of, shell, until};
use mill_drivers::containers::{Ask, Attach, Attached, Containers as _, Launch, PrivateFile, Size};
use mill_model::ImageRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PASSWD: &str = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\nextra:x:2000:app\nmore:x:2001:app\n";

/// Stands for what nobody may find: not a word of any program's own.
const VALUE: &str = "x7Qm2-nobody-may-find-this-9Zk";

async fn image(host: &Host) -> ImageRef {
    let files: &[(&str, &str, u32)] = &[
        ("etc/passwd", PASSWD, 0o644),
        ("etc/group", GROUP, 0o644),
        ("etc/app/settings", "of the image\n", 0o644),
    ];
    host.image(&Build { name: "web", layers: &[files], ..Build::default() }).await
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The fields of `/proc/self/status` by name.
fn fields(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs
        .map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

#[tokio::test]
async fn a_program_is_what_runc_itself_would_have_made_of_it() {
    let host = Host::start().await;
    let image = image(&host).await;
    let plain = shell("web-2222.1", &image, "cat /proc/self/status /proc/self/oom_score_adj");
    let adding = texts(&["NET_ADMIN", "SYS_PTRACE"]);
    // User, added and dropped capabilities; ids, groups, permitted and bounding capabilities. As of a container that
    // runc starts by itself with the same user and capabilities.
    let (usual, none) = ("00000000a80405fb", "0000000000000000");
    let table = [
        (None, vec![], vec![], "0 0 0 0", "0 0 0 0", "", usual, usual),
        (Some("app"), vec![], vec![], "1000 1000 1000 1000", "1001 1001 1001 1001", "2000 2001", none, usual),
        (Some("4242:43"), vec![], vec![], "4242 4242 4242 4242", "43 43 43 43", "", none, usual),
        (None, adding.clone(), vec![], "0 0 0 0", "0 0 0 0", "", "00000000a80c15fb", "00000000a80c15fb"),
        (None, vec![], texts(&["ALL"]), "0 0 0 0", "0 0 0 0", "", none, none),
        (
            Some("app"),
            texts(&["NET_ADMIN"]),
            texts(&["ALL"]),
            "1000 1000 1000 1000",
            "1001 1001 1001 1001",
            "2000 2001",
            none,
            "0000000000001000",
        ),
    ];
    for (user, cap_add, cap_drop, uid, gid, groups, permitted, bounding) in table {
        let launch = Launch { user: user.map(str::to_owned), cap_add, cap_drop, ..plain.clone() };
        let (output, exit) = output_of(&host, launch).await;
        assert_eq!(exit.code, 0, "{output}");
        let seen = fields(&output);
        let wanted = [
            ("Uid", uid),
            ("Gid", gid),
            ("Groups", groups),
            ("CapInh", none),
            ("CapPrm", permitted),
            ("CapEff", permitted),
            ("CapBnd", bounding),
            ("CapAmb", none),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
            ("SigBlk", none),
            ("SigPnd", none),
        ];
        for (field, value) in wanted {
            assert_eq!(seen.get(field).map(String::as_str), Some(value), "{field} of {user:?}: {output}");
        }
        // Others may be ignored by whoever started containerd.
        let ignored = u64::from_str_radix(&seen["SigIgn"], 16).unwrap();
        assert_eq!(ignored & 1 << 12, 0, "a broken pipe ends it: {output}");
        assert!(output.lines().any(|line| line == "100"), "the score when memory runs out: {output}");
    }
}

#[tokio::test]
async fn the_first_process_is_the_program_and_nothing_of_ours_is_left_to_it() {
    let host = Host::start().await;
    let image = image(&host).await;
    let script = "busybox tr '\\0' ' ' < /proc/1/cmdline; echo; busybox ls -1 /proc/self/fd | busybox wc -l; env | busybox sort; \
                  busybox ls -la /dev/mill/run; cat /dev/mill/run/start; echo x > /dev/mill/init; echo > /dev/stdout";
    let launch =
        Launch { user: Some("app".into()), ..shell("web-2222.1", &image, &format!("{{ {script}; }} 2>&1")) };
    let (output, _) = output_of(&host, launch).await;
    assert!(output.starts_with("sh -c"), "{output}");
    // Three streams, and the folder that is read.
    assert!(output.lines().any(|line| line.trim() == "4"), "{output}");
    assert!(output.contains("HOME=/home/app\nHOSTNAME=web-2222\nPATH="), "{output}");
    for refused in [
        "can't open '/dev/mill/run': Permission denied",
        "can't open '/dev/mill/run/start': Permission denied",
    ] {
        assert!(output.contains(refused), "{output}");
    }
    assert!(
        output.contains("/dev/mill/init: Read-only file system")
            || output.contains("/dev/mill/init: Permission denied"),
        "{output}"
    );
    assert!(!output.contains("can't create /dev/stdout"), "it owns its streams: {output}");
}

#[tokio::test]
async fn what_a_program_is_given_is_in_no_file_and_on_no_command_line_of_the_runtime() {
    let host = Host::start().await;
    let image = image(&host).await;
    let runtime = host.runtime();
    let before = host.traces();
    let file = |path: &str, owner: Option<&str>, mode| PrivateFile {
        path: path.to_owned(),
        bytes: VALUE.as_bytes().to_vec(),
        owner: owner.map(str::to_owned),
        mode,
    };
    let launch = Launch {
        user: Some("app".into()),
        env: vec![("PASSWORD".into(), VALUE.into())],
        confidential: true,
        files: vec![
            file("/run/secrets/key", None, 0o400),
            file("/etc/app/settings", Some("0:2000"), 0o440),
            file("/etc/new/roots", Some("root"), 0o400),
        ],
        read_only_root: true,
        ..shell("web-2222.1", &image, "sleep 600")
    };
    runtime.start(&launch).await.unwrap();
    let script = "echo $PASSWORD; cat /run/secrets/key /etc/app/settings /etc/new/roots; busybox stat -c '%u:%g %a' /run/secrets/key \
                  /etc/app/settings /etc/new/roots; echo x > /run/secrets/key; busybox grep core /proc/self/limits";
    let argv = texts(&["sh", "-c", &format!("{{ {script}; : {VALUE}; }} 2>&1")]);
    let outcome = runtime.exec(&launch.name, &argv, Duration::from_secs(20)).await.unwrap();
    let output = outcome.output;
    assert_eq!(output.matches(VALUE).count(), 3, "the environment and two files: {output}");
    for line in
        ["1000:1001 400", "0:2000 440", "0:0 400", "Max core file size        1                    1 "]
    {
        assert!(output.contains(line), "{line}: {output}");
    }
    assert!(output.contains("/etc/new/roots': Permission denied"), "{output}");
    assert!(
        output.contains("/run/secrets/key: Permission denied") || output.contains("Read-only file system"),
        "{output}"
    );

    assert_eq!(
        found_in(&["root", "state", "run/runc", "run/exec", "run/hosts"].map(|at| host.dir.path().join(at))),
        [""; 0]
    );
    let lines: Vec<String> = command_lines().into_iter().filter(|line| line.contains(VALUE)).collect();
    assert_eq!(lines, [""; 0]);
    runtime.remove(&launch.name).await.unwrap();
    host.until_nothing_but(&before).await;
}

/// Files below these folders that hold the value. Those of running containers are theirs.
fn found_in(folders: &[std::path::PathBuf]) -> Vec<String> {
    let mut found = vec![];
    for folder in folders {
        look_into(folder, &mut found);
    }
    found
}

fn look_into(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() && entry.file_name() != "rootfs" {
            look_into(&path, found);
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            if bytes.windows(VALUE.len()).any(|window| window == VALUE.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
}

fn command_lines() -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.map(|line| line.replace('\0', " ")).collect()
}

fn runs(words: &str) -> bool {
    command_lines().iter().any(|line| line.contains(words))
}

async fn attach(host: &Host, name: &str, script: &str, terminal: Option<Size>) -> Attached {
    let attach = Attach { argv: texts(&["sh", "-c", script]), terminal };
    host.runtime().attach(&name.parse().unwrap(), &attach).await.unwrap()
}

async fn all(mut stream: mill_drivers::containers::Output) -> String {
    let mut bytes = vec![];
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn an_executed_program_has_its_streams_and_its_own_end() {
    let host = Host::start().await;
    let image = image(&host).await;
    let runtime = host.runtime();
    let service = Launch {
        user: Some("app".into()),
        env: vec![("A".into(), "1".into())],
        ..shell("web-2222.1", &image, "sleep 600")
    };
    runtime.start(&service).await.unwrap();

    let Attached { mut input, output, errors, hand, ended } =
        attach(&host, "web-2222.1", "id -u; echo $A; cat; echo done >&2; exit 7", None).await;
    let large = "x".repeat(300_000);
    let write = async move {
        input.write_all(large.as_bytes()).await.unwrap();
        drop(input);
        hand.ask(Ask::CloseInput).await;
        hand
    };
    let (_hand, output, errors) = tokio::join!(write, all(output), all(errors));
    assert_eq!((output.len(), errors.as_str()), (300_007, "done\n"));
    assert!(output.starts_with("1000\n1\nxxx"));
    assert_eq!(ended.await.unwrap().unwrap(), 7);

    let size = Size { columns: 91, rows: 17 };
    let Attached { mut input, mut output, hand, ended, .. } = attach(
        &host,
        "web-2222.1",
        "busybox stty size; read line; echo got $line; while test \"$(busybox stty size)\" != \"10 20\"; do sleep 0.02; done; echo $TERM; kill -TERM $$",
        Some(size),
    )
    .await;
    // Before it is changed: the program has looked.
    let mut before = [0; 7];
    output.read_exact(&mut before).await.unwrap();
    assert_eq!(&before, b"17 91\r\n");
    hand.ask(Ask::Resize(Size { columns: 20, rows: 10 })).await;
    input.write_all(b"typed\n").await.unwrap();
    let output = all(output).await;
    assert!(output.contains("got typed\r\nxterm"), "{output:?}");
    assert_eq!(ended.await.unwrap().unwrap(), 143);

    let Attached { mut output, hand, ended, .. } = attach(
        &host,
        "web-2222.1",
        "trap 'echo heard; exit 4' INT; echo ready; while :; do sleep 0.05; done",
        None,
    )
    .await;
    let mut ready = [0; 6];
    output.read_exact(&mut ready).await.unwrap();
    hand.ask(Ask::Signal("INT".parse().unwrap())).await;
    assert_eq!(all(output).await, "heard\n");
    assert_eq!(ended.await.unwrap().unwrap(), 4);
    runtime.remove(&service.name).await.unwrap();
}

#[tokio::test]
async fn a_program_whose_asker_leaves_ends_with_all_that_it_started() {
    let host = Host::start().await;
    let image = image(&host).await;
    let runtime = host.runtime();
    let service = shell("web-2222.1", &image, "sleep 600");
    runtime.start(&service).await.unwrap();
    for terminal in [None, Some(Size { columns: 80, rows: 24 })] {
        let script = "busybox setsid sleep 62345 & sleep 62346 & sleep 62347";
        let attached = attach(&host, "web-2222.1", script, terminal).await;
        let all_run = || ["sleep 62345", "sleep 62346", "sleep 62347"].iter().all(|words| runs(words));
        until("all of them run", async || all_run()).await;
        drop(attached);
        until("none of them runs", async || !runs("sleep 6234")).await;
    }
    until("nothing is laid down any more", async || {
        let runs = host.dir.path().join("run/memory/web-2222.1/run");
        std::fs::read_dir(runs).unwrap().count() == 1
    })
    .await;
    assert_eq!(std::fs::read_dir(host.dir.path().join("run/exec")).unwrap().count(), 0);
    runtime.remove(&service.name).await.unwrap();
}

#[tokio::test]
async fn a_program_is_ended_by_its_parent_when_the_lease_is_let_go() {
    let host = Host::start().await;
    let image = image(&host).await;
    let runtime = host.runtime();
    let service = shell("web-2222.1", &image, "sleep 600");
    runtime.start(&service).await.unwrap();
    let attached = attach(&host, "web-2222.1", "busybox setsid sleep 63345 & sleep 63346", None).await;
    until("both run", async || runs("sleep 63345") && runs("sleep 63346")).await;
    let is_lease = |path: &Path| path.extension().is_some_and(|extension| extension == "lease");
    let held = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .find(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| is_lease(&target)));
    let number = held.unwrap().file_name().to_str().unwrap().parse().unwrap();
    #[expect(
        unsafe_code,
        reason = "what the kernel does to a killed process is done to one descriptor of this one"
    )]
    // SAFETY: the descriptor is open, and this one is never closed: its owner closes what stands in its place.
    let lease = unsafe { OwnedFd::from_raw_fd(number) };
    let mut lease = std::mem::ManuallyDrop::new(lease);
    rustix::io::dup2(std::fs::File::open("/dev/null").unwrap(), &mut lease).unwrap();
    until("neither runs", async || !runs("sleep 6334")).await;
    assert_eq!(attached.ended.await.unwrap().unwrap(), 137);
    runtime.remove(&service.name).await.unwrap();
}

#[tokio::test]
async fn what_an_earlier_mill_executed_is_ended_and_forgotten() {
    let host = Host::start().await;
    let image = image(&host).await;
    let runtime = host.runtime();
    let service = shell("web-2222.1", &image, "sleep 600");
    runtime.start(&service).await.unwrap();
    let attached = attach(&host, "web-2222.1", "sleep 64345", None).await;
    let folder = host.dir.path().join("run/memory/web-2222.1/run");
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(&folder).unwrap().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    };
    let id = names().into_iter().find(|name| name.starts_with("exec-") && !name.contains('.')).unwrap();
    assert_eq!(host.runtime().list(&service.name.alloc).await.unwrap().len(), 1);
    assert!(!runs("sleep 64345"));
    assert_eq!(names(), ["start"]);
    let mut ctr = std::process::Command::new("ctr");
    ctr.arg("--address").arg(host.socket()).args(["--namespace", "mill", "tasks", "delete", "--exec-id"]);
    let output = ctr.args([&id, "web-2222.1"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("not found"), "{id} is remembered: {told}");
    drop(attached);
    runtime.remove(&service.name).await.unwrap();
}
