//! The files of each hierarchy, as the kernel writes them.

use std::time::Duration;

use super::*;

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn line(point: &Path, kind: &str, options: &str) -> String {
    format!("30 23 0:26 / {} rw,relatime shared:4 - {kind} {kind} {options}\n", point.display())
}

fn among(table: &str, parent: &str) -> Result<Cgroups, CgroupError> {
    Cgroups::among(mounts::read(table.as_bytes()), parent)
}

#[test]
fn v2_usage_and_ends_for_memory_are_read_from_its_files() {
    let root = tempfile::tempdir().unwrap();
    let cgroups = among(&line(root.path(), "cgroup2", "rw"), "mill").unwrap();
    assert_eq!(cgroups.hierarchy(), Hierarchy::V2);
    let group = root.path().join("mill/web-7k2f.1");
    write(&group.join("cpu.stat"), "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n");
    write(&group.join("memory.current"), "10485760\n");
    write(&group.join("memory.stat"), "anon 1\ninactive_file 485760\nactive_file 7\n");
    write(&group.join("memory.events"), "low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\n");
    // A container's own groups within its group are counted with it, and one that is being removed has no files.
    std::fs::create_dir_all(group.join("inner")).unwrap();
    std::fs::create_dir_all(root.path().join("mill/web-7k2f.0")).unwrap();
    let wanted = Usage { cpu_time: Duration::from_millis(1500), memory: Bytes(10_000_000) };
    assert_eq!(Account::default().look(&cgroups).unwrap(), [("web-7k2f.1".to_owned(), wanted)].into());
    assert_eq!(cgroups.oom("web-7k2f.1").unwrap(), Some(Oom::Ceiling));
    for (oom, kills, wanted) in
        [(0, 0, None), (1, 0, None), (0, 1, Some(Oom::Node)), (1, 1, Some(Oom::Ceiling))]
    {
        write(&group.join("memory.events"), &format!("max 12\noom {oom}\noom_kill {kills}\n"));
        assert_eq!(cgroups.oom("web-7k2f.1").unwrap(), wanted);
    }
    assert_eq!(cgroups.names().unwrap(), ["web-7k2f.0".to_owned(), "web-7k2f.1".to_owned()].into());
}

#[test]
fn hybrid_usage_and_ends_for_memory_are_read_from_v1_files() {
    let root = tempfile::tempdir().unwrap();
    let point = |name: &str| root.path().join(name);
    let text: String = [
        line(&point("cpu,cpuacct"), "cgroup", "rw,cpu,cpuacct"),
        line(&point("memory"), "cgroup", "rw,memory"),
        line(&point("pids"), "cgroup", "rw,pids"),
        line(&point("unified"), "cgroup2", "rw"),
        "40 23 0:26 /docker/x /sys/elsewhere rw - cgroup cgroup rw,blkio\n".to_owned(),
    ]
    .concat();
    let cgroups = among(&text, "/mill").unwrap();
    assert_eq!(cgroups.hierarchy(), Hierarchy::Hybrid);
    assert!(!cgroups.controllers.contains_key("blkio"), "a part of a hierarchy isn't the hierarchy");
    write(&point("cpu,cpuacct/mill/a-2222.1/cpuacct.usage"), "2000000000\n");
    write(&point("memory/mill/a-2222.1/memory.usage_in_bytes"), "4096\n");
    write(&point("memory/mill/a-2222.1/memory.stat"), "cache 1\ninactive_file 1\ntotal_inactive_file 96\n");
    write(&point("memory/mill/a-2222.1/memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
    let wanted = Usage { cpu_time: Duration::from_secs(2), memory: Bytes(4000) };
    assert_eq!(Account::default().look(&cgroups).unwrap(), [("a-2222.1".to_owned(), wanted)].into());
    write(&point("memory/mill/a-2222.1/memory.limit_in_bytes"), "33554432\n");
    for (most, wanted) in [(8 << 20, Oom::Node), ((32 << 20) - 4096, Oom::Ceiling), (32 << 20, Oom::Ceiling)]
    {
        write(&point("memory/mill/a-2222.1/memory.max_usage_in_bytes"), &format!("{most}\n"));
        assert_eq!(cgroups.oom("a-2222.1").unwrap(), Some(wanted), "{most}");
    }
    assert!(!cgroups.limits_swap());
    write(&point("memory/memory.memsw.limit_in_bytes"), "9223372036854771712\n");
    assert!(cgroups.limits_swap());
}

#[test]
fn the_idle_cache_of_many_containers_is_read_in_turn_and_never_counted_above_what_is_used() {
    const CONTAINERS: usize = 300;
    let root = tempfile::tempdir().unwrap();
    let cgroups = among(&line(root.path(), "cgroup2", "rw"), "/mill").unwrap();
    let file = |number: usize, file: &str| root.path().join(format!("mill/web-{number}.1")).join(file);
    let idle = |number: usize, bytes: u64| {
        write(&file(number, "memory.stat"), &format!("file 9\ninactive_file {bytes}\n"));
    };
    for number in 0..CONTAINERS {
        write(&file(number, "cpu.stat"), "usage_usec 1\n");
        write(&file(number, "memory.current"), "1000\n");
        idle(number, 100);
    }
    let mut account = Account::default();
    let mut seen =
        || account.look(&cgroups).unwrap().into_values().map(|usage| usage.memory.0).collect::<Vec<_>>();
    assert_eq!(seen(), [900; CONTAINERS], "at the first look all are read");
    (0..CONTAINERS).for_each(|number| idle(number, 200));
    let read = seen().into_iter().filter(|memory| *memory == 800).count();
    assert!((1..CONTAINERS).contains(&read), "{read} were read");
    seen();
    assert_eq!(seen(), [800; CONTAINERS], "each has had its turn");
    write(&file(7, "memory.current"), "150\n");
    idle(7, 50);
    assert!(seen().contains(&100), "what can't be is read anew at once");
    std::fs::remove_dir_all(root.path().join("mill")).unwrap();
    assert_eq!(seen(), Vec::<u64>::new());
}

#[test]
fn a_file_without_its_key_is_named() {
    let root = tempfile::tempdir().unwrap();
    let cgroups = among(&line(root.path(), "cgroup2", "rw"), "mill").unwrap();
    write(&root.path().join("mill/x/memory.events"), "oom 1\n");
    let error = cgroups.oom("x").unwrap_err();
    assert!(matches!(&error, CgroupError::Malformed { path } if path.ends_with("mill/x/memory.events")));
}

#[test]
fn a_node_without_cgroups_is_told_so() {
    assert!(matches!(among("", "mill"), Err(CgroupError::NoneMounted)));
}

#[test]
fn what_a_gone_container_left_is_found_and_removed_from_every_hierarchy_of_this_node() {
    assert!(rustix::process::geteuid().is_root(), "this test makes cgroups: it needs root");
    let parent = format!("/mill-test-{}", std::process::id());
    let cgroups = Cgroups::detect(&parent).unwrap();
    for root in cgroups.roots() {
        std::fs::create_dir_all(below(root, &parent).join("web-2222.1/inner")).unwrap();
    }
    assert_eq!(cgroups.names().unwrap(), ["web-2222.1".to_owned()].into());
    // A process that outlived its container.
    let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let procs = cgroups.file("memory", "web-2222.1", "cgroup.procs").unwrap();
    std::fs::write(procs, sleeper.id().to_string()).unwrap();

    let first = cgroups.remove("web-2222.1").unwrap();
    let status = sleeper.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert!(first || cgroups.remove("web-2222.1").unwrap());
    assert_eq!(cgroups.names().unwrap(), BTreeSet::new());
    for root in cgroups.roots() {
        std::fs::remove_dir(below(root, &parent)).unwrap();
    }
    assert!(cgroups.remove("web-2222.1").unwrap(), "none there is as good");
}

/// Processes that sleep, all of one shell: a hundred forks of this process would each hold the locks of the tests
/// beside this one for a moment.
fn sleepers(count: usize) -> (std::process::Child, Vec<String>) {
    use std::io::{BufRead as _, BufReader};
    let script = format!("for i in $(seq {count}); do sleep 600 >/dev/null & echo $!; done; wait");
    let mut shell = std::process::Command::new("sh")
        .args(["-c", &script])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pids = BufReader::new(shell.stdout.take().unwrap()).lines().take(count);
    let pids = pids.collect::<Result<_, _>>().unwrap();
    (shell, pids)
}

#[test]
fn to_look_at_a_hundred_containers_costs_less_than_a_two_hundredth_of_a_core() {
    assert!(rustix::process::geteuid().is_root(), "this test makes cgroups: it needs root");
    const CONTAINERS: usize = 100;
    const LOOKS: u32 = 20;
    let parent = format!("/mill-cost-{}", std::process::id());
    let cgroups = Cgroups::detect(&parent).unwrap();
    for root in cgroups.roots() {
        std::fs::create_dir_all(below(root, &parent)).unwrap();
    }
    if cgroups.hierarchy() == Hierarchy::V2 {
        // runc does it for containers.
        for group in [cgroups.root("memory").unwrap(), &below(cgroups.root("memory").unwrap(), &parent)] {
            std::fs::write(group.join("cgroup.subtree_control"), "+cpu +memory").unwrap();
        }
    }
    let (mut shell, pids) = sleepers(CONTAINERS);
    for (number, pid) in pids.iter().enumerate() {
        let name = format!("web-{number}.1");
        for root in cgroups.roots() {
            std::fs::create_dir_all(below(root, &parent).join(&name)).unwrap();
        }
        for controller in ["memory", "cpuacct"] {
            let procs = cgroups.file(controller, &name, "cgroup.procs").unwrap();
            std::fs::write(procs, pid).unwrap();
        }
    }
    let spent = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let before = spent();
    let mut account = Account::default();
    for _ in 0..LOOKS {
        assert_eq!(account.look(&cgroups).unwrap().len(), CONTAINERS);
    }
    let after = spent();
    let nanos = (after.tv_sec - before.tv_sec) * 1_000_000_000 + (after.tv_nsec - before.tv_nsec);
    let each = Duration::from_nanos(u64::try_from(nanos).unwrap()) / LOOKS;
    for number in 0..CONTAINERS {
        while !cgroups.remove(&format!("web-{number}.1")).unwrap() {
            std::thread::yield_now();
        }
    }
    shell.wait().unwrap();
    for root in cgroups.roots() {
        std::fs::remove_dir(below(root, &parent)).unwrap();
    }
    println!("a look at {CONTAINERS} containers: {each:?}");
    let every = mill_model::Tempo::default().usage_every;
    assert!(each * 200 < every, "{each:?} of each {every:?}");
}

#[test]
fn the_containers_of_a_machine_have_one_owner_at_a_time() {
    assert!(rustix::process::geteuid().is_root(), "this test makes cgroups: it needs root");
    let parent = format!("/mill-test-claim-{}", std::process::id());
    let cgroups = Cgroups::detect(&parent).unwrap();
    let claim = cgroups.claim().unwrap();
    assert!(claim.is_some() && cgroups.has_parent());
    assert!(Cgroups::detect(&parent).unwrap().claim().unwrap().is_none());
    drop(claim);
    // A child that another test starts holds on to it until it is another program.
    while cgroups.claim().unwrap().is_none() {
        std::thread::yield_now();
    }
    cgroups.remove_parent().unwrap();
    assert!(!cgroups.has_parent());
}
