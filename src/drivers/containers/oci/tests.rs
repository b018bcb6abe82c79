//! Specs, whole and by rule.

use std::path::PathBuf;

use mill_model::{Bytes, Millicores, Resources};

use super::*;
use crate::containers::{Mount, PrivateFile};

/// The plainest launch there is.
pub(crate) fn launch(name: &str, image: &str) -> Launch {
    Launch {
        name: name.parse().unwrap(),
        image: image.parse().unwrap(),
        entrypoint: None,
        command: None,
        env: vec![],
        confidential: false,
        files: vec![],
        resources: Resources { cpu: Millicores(250), memory: Bytes(64 << 20) },
        user: None,
        workdir: None,
        read_only_root: false,
        cap_add: vec![],
        cap_drop: vec![],
        devices: vec![],
        mounts: vec![],
        stop_signal: None,
        labels: BTreeMap::new(),
        stdout: PathBuf::new(),
        stderr: PathBuf::new(),
        hostname: "web-2222".to_owned(),
        address: [10, 0, 0, 1].into(),
        resolv_conf: None,
        mapping: None,
    }
}

fn texts(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

fn host() -> HostFacts {
    HostFacts {
        capabilities: u64::MAX,
        open_files_max: 4096,
        limits_swap: true,
        cgroup_parent: "/mill".to_owned(),
        resolv_conf: Some("/etc/resolv.conf".into()),
    }
}

fn found() -> Found {
    let identity = Identity { uid: 70, gid: 71, groups: vec![101], home: "/var/lib/postgresql".to_owned() };
    Found {
        identity,
        devices: vec![],
        hosts: "/run/hosts/web-2222.1".into(),
        program: "/run/memory/init-1".into(),
        runs: "/run/memory/web-2222.1/run".into(),
        files: vec![],
    }
}

pub(in crate::containers) fn web() -> Launch {
    launch("web-2222.1", "registry.test/web:v1")
}

#[test]
fn entrypoint_and_command_merge_as_docker_does_it() {
    // The image's entrypoint and command, the launch's, and what runs.
    let none: Option<&str> = None;
    let table = [
        (Some("/e a"), Some("b"), none, none, Some("/e a b")),
        (Some("/e a"), Some("b"), none, Some("c d"), Some("/e a c d")),
        (Some("/e a"), Some("b"), Some("/x"), none, Some("/x")),
        (Some("/e a"), Some("b"), Some("/x"), Some("c"), Some("/x c")),
        (none, Some("b c"), none, none, Some("b c")),
        (Some("/e"), none, none, none, Some("/e")),
        (Some("/e"), Some("b"), none, Some(""), Some("/e")),
        (Some("/e"), Some("b"), Some(""), Some("c"), Some("c")),
        (Some("/e"), Some("b"), Some(""), none, None),
        (none, none, none, none, None),
    ];
    for (entrypoint, cmd, our_entrypoint, our_command, runs) in table {
        let image =
            ImageConfig { entrypoint: entrypoint.map(texts), cmd: cmd.map(texts), ..ImageConfig::default() };
        let launch =
            Launch { entrypoint: our_entrypoint.map(texts), command: our_command.map(texts), ..web() };
        assert_eq!(
            arguments(&launch, &image).ok(),
            runs.map(texts),
            "{entrypoint:?} {cmd:?} {our_entrypoint:?}"
        );
    }
}

#[test]
fn the_environment_is_the_images_under_ours_with_a_path_home_and_host_name() {
    let image = ImageConfig { env: Some(texts("A=1 B=2=3 PATH=/opt EMPTY=")), ..ImageConfig::default() };
    let launch = Launch { env: vec![("A".into(), "ours".into()), ("PORT".into(), "20001".into())], ..web() };
    let launch = Launch { command: Some(texts("sh")), ..launch };
    let run = run(&launch, &image, &found().identity, &host()).unwrap();
    let env: Vec<&str> = run.env.iter().map(|variable| str::from_utf8(variable).unwrap()).collect();
    let wanted = [
        "A=ours",
        "B=2=3",
        "EMPTY=",
        "HOME=/var/lib/postgresql",
        "HOSTNAME=web-2222",
        "PATH=/opt",
        "PORT=20001",
    ];
    assert_eq!(env, wanted);
    assert_eq!(environment(&web(), &ImageConfig::default())["PATH"], DEFAULT_PATH);
}

#[test]
fn workdir_user_and_stop_signal_are_ours_else_the_images_else_dockers_defaults() {
    let image = ImageConfig {
        user: Some("app".into()),
        working_dir: Some("srv".into()),
        stop_signal: Some("SIGQUIT".into()),
        ..ImageConfig::default()
    };
    let ours = Launch {
        user: Some("0:0".into()),
        workdir: Some("/tmp".into()),
        stop_signal: Some("INT".into()),
        ..web()
    };
    let bare = ImageConfig { stop_signal: Some(String::new()), ..ImageConfig::default() };
    let table = [
        (&web(), &image, ("app", "/srv", 3)),
        (&ours, &image, ("0:0", "/tmp", 2)),
        (&web(), &bare, ("", "/", 15)),
    ];
    for (launch, image, wanted) in table {
        let signal = stop_signal(launch, image).unwrap().number();
        assert_eq!((user(launch, image).as_str(), workdir(launch, image).as_str(), signal), wanted);
    }
    let odd = Launch { stop_signal: Some("SIGNOPE".into()), ..web() };
    assert_eq!(stop_signal(&odd, &image), Err(SpecError::UnknownSignal { name: "SIGNOPE".into() }));
}

#[test]
fn a_spec_shares_the_nodes_network_and_nothing_else_and_gains_no_privileges() {
    let launch = Launch { command: Some(texts("sh")), ..web() };
    let spec = spec(&launch, &ImageConfig::default(), &found(), &host()).unwrap().0;
    let namespaces: Vec<&Value> =
        spec["linux"]["namespaces"].as_array().unwrap().iter().map(|n| &n["type"]).collect();
    assert_eq!(namespaces, ["pid", "ipc", "uts", "mount"]);
    assert_eq!(spec["process"]["noNewPrivileges"], true);
    assert_eq!(spec["process"]["user"], json!({ "uid": 0, "gid": 0 }), "it becomes the image's by itself");
    assert_eq!(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(spec["linux"]["cgroupsPath"], "/mill/web-2222.1");
    let bounding = spec["process"]["capabilities"]["bounding"].as_array().unwrap();
    assert!(!bounding.contains(&json!("CAP_NET_RAW")) && !bounding.contains(&json!("CAP_SYS_ADMIN")));
    for kind in ["effective", "permitted"] {
        assert_eq!(spec["process"]["capabilities"][kind].as_array().unwrap(), bounding);
    }
    assert!(spec["process"]["capabilities"].get("ambient").is_none());
    let mounts = spec["mounts"].as_array().unwrap();
    for path in ["/sys", "/sys/fs/cgroup", "/etc/hosts", "/etc/resolv.conf"] {
        let mount = mounts.iter().find(|mount| mount["destination"] == path).unwrap();
        assert!(mount["options"].as_array().unwrap().contains(&json!("ro")), "{path} can be written");
    }
}

#[test]
fn what_the_config_says_of_a_program_is_in_no_spec() {
    let launch = Launch {
        command: Some(texts("serve --password hunter2")),
        env: vec![("PASSWORD".into(), "hunter2".into())],
        files: vec![PrivateFile {
            path: "/run/secrets/key".into(),
            bytes: b"hunter2".to_vec(),
            owner: None,
            mode: 0o400,
        }],
        ..web()
    };
    let image = ImageConfig { user: Some("70:71".into()), ..ImageConfig::default() };
    let found = Found { files: vec!["/run/memory/web-2222.1/files/0".into()], ..found() };
    let spec = spec(&launch, &image, &found, &host()).unwrap().0;
    assert!(!spec.to_string().contains("hunter2") && !spec.to_string().contains("PASSWORD"));
    assert_eq!(spec["process"]["args"], json!(["/dev/mill/init", "start"]));
    let mounts = spec["mounts"].as_array().unwrap();
    let last: Vec<(&str, &str)> = mounts[mounts.len() - 3..]
        .iter()
        .map(|mount| (mount["source"].as_str().unwrap(), mount["destination"].as_str().unwrap()))
        .collect();
    let wanted = [
        ("/run/memory/web-2222.1/files/0", "/run/secrets/key"),
        ("/run/memory/init-1", "/dev/mill/init"),
        ("/run/memory/web-2222.1/run", "/dev/mill/run"),
    ];
    assert_eq!(last, wanted);
    assert!(
        mounts[mounts.len() - 3..]
            .iter()
            .all(|mount| { mount["options"].as_array().unwrap().contains(&json!("ro")) })
    );

    let run = run(&launch, &image, &found.identity, &host()).unwrap();
    let wanted: Vec<Vec<u8>> =
        texts("serve --password hunter2").into_iter().map(String::into_bytes).collect();
    assert_eq!((run.argv.clone(), run.uid, run.gid, run.groups.clone()), (wanted, 70, 71, vec![101]));
    assert_eq!((run.capabilities, run.no_core, run.leased), (0xa804_05fb, true, false));
    assert!(!format!("{launch:?}").contains("hunter2") && !format!("{run:?}").contains("hunter2"));
    let broken = Launch { env: vec![("A".into(), "x\0y".into())], files: vec![], ..launch };
    assert_eq!(super::run(&broken, &image, &found.identity, &host()), Err(SpecError::Nul));
}

#[test]
fn the_first_process_may_become_what_the_image_wants_and_the_seccomp_profile_is_the_programs() {
    let launch = Launch { command: Some(texts("sh")), cap_drop: texts("ALL"), ..web() };
    let spec = spec(&launch, &ImageConfig::default(), &found(), &host()).unwrap().0;
    let becoming = json!(["CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID"]);
    assert_eq!(spec["process"]["capabilities"]["effective"], becoming);
    assert_eq!(run(&launch, &ImageConfig::default(), &found().identity, &host()).unwrap().capabilities, 0);
    assert_eq!(spec["linux"]["seccomp"], seccomp::profile(&std::collections::BTreeSet::new()));
}

#[test]
fn ceilings_are_the_launchs_resources() {
    let launch = Launch { command: Some(texts("sh")), ..web() };
    let spec_on = |host: &HostFacts| spec(&launch, &ImageConfig::default(), &found(), host).unwrap().0;
    let resources = &spec_on(&host())["linux"]["resources"];
    assert_eq!(resources["memory"], json!({ "limit": 64 << 20, "swap": 64 << 20 }));
    assert_eq!(resources["cpu"], json!({ "quota": 25_000, "period": 100_000, "shares": 256 }));
    assert_eq!(resources["pids"], json!({ "limit": limits::PIDS_MAX }));
    assert_eq!(spec_on(&host())["process"]["rlimits"][0]["hard"], 4096);
    let no_swap = HostFacts { limits_swap: false, open_files_max: u64::MAX, ..host() };
    assert_eq!(spec_on(&no_swap)["linux"]["resources"]["memory"], json!({ "limit": 64 << 20 }));
    assert_eq!(spec_on(&no_swap)["process"]["rlimits"][0]["soft"], limits::OPEN_FILES_MAX);
}

#[test]
fn volumes_are_mounted_outer_first_over_the_nodes_files() {
    let mount =
        |source: &str, path: &str, read_only| Mount { source: source.into(), path: path.into(), read_only };
    let launch = Launch {
        command: Some(texts("sh")),
        mounts: vec![
            mount("/b", "/data/inner", true),
            mount("/a", "/data", false),
            mount("/h", "/etc/hosts", true),
        ],
        resolv_conf: Some("/own/resolv.conf".into()),
        ..web()
    };
    let spec = spec(&launch, &ImageConfig::default(), &found(), &host()).unwrap().0;
    let binds: Vec<(&str, &str)> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|mount| {
            mount["type"] == "bind" && !mount["destination"].as_str().unwrap().starts_with("/dev")
        })
        .map(|mount| (mount["source"].as_str().unwrap(), mount["destination"].as_str().unwrap()))
        .collect();
    let wanted = [
        ("/own/resolv.conf", "/etc/resolv.conf"),
        ("/a", "/data"),
        ("/b", "/data/inner"),
        ("/h", "/etc/hosts"),
    ];
    assert_eq!(binds, wanted);
}

#[test]
fn devices_are_made_and_allowed() {
    let device =
        Device { path: "/dev/fuse".into(), block: false, major: 10, minor: 229, mode: 0o666, uid: 0, gid: 0 };
    let found = Found { devices: vec![device], ..found() };
    let launch = Launch { command: Some(texts("sh")), ..web() };
    let spec = spec(&launch, &ImageConfig::default(), &found, &host()).unwrap().0;
    assert_eq!(spec["linux"]["devices"][0]["path"], "/dev/fuse");
    let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(rules[0], json!({ "allow": false, "access": "rwm" }));
    let wanted = json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm" });
    assert!(rules.contains(&wanted));
}
