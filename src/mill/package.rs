//! What the Debian package says (`package/`, `Cargo.toml`) is what the program means.

use std::path::Path;

use super::cli::node::{
    CONFIG_FILE, DATA_DIR, Flavour, NodeArgs, PLANE_SOCKET, SOCKET, Sources, StartsPlane,
};
use super::cli::{self, Exit, Invocation};

const DAEMON: &str = include_str!("package/mill.service");
const PLANE: &str = include_str!("package/mill-plane.service");
const SETTINGS: &str = include_str!("package/node.kdl");
const MANIFEST: &str = include_str!("Cargo.toml");

/// The values of a unit's setting.
fn values<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(key, _)| *key == name).map(|(_, value)| value).collect()
}

/// What the command of a unit means.
fn invocation(unit: &str) -> Invocation {
    let [command] = values(unit, "ExecStart")[..] else { panic!("one command: {unit}") };
    let installed = MANIFEST.lines().find(|line| line.contains("target/release/mill\"")).unwrap();
    let folder = command.strip_prefix('/').and_then(|path| path.split_once("mill ")).unwrap().0;
    assert!(installed.contains(&format!("\"{folder}\"")), "{installed}");
    cli::read(command.split(' ').map(Into::into))
}

#[test]
fn the_units_run_what_the_command_line_knows() {
    let Invocation::Daemon(daemon) = invocation(DAEMON) else { panic!("no daemon") };
    assert_eq!(daemon.plane, StartsPlane::Unit, "else it would start a plane of its own beside the unit");
    assert!(matches!(invocation(PLANE), Invocation::Plane(_)));
}

#[test]
fn what_lies_in_run_outlives_the_units_that_made_it() {
    for unit in [DAEMON, PLANE] {
        let [directory] = values(unit, "RuntimeDirectory")[..] else { panic!("one directory: {unit}") };
        assert_eq!(values(unit, "RuntimeDirectoryPreserve"), ["yes"]);
        for socket in [SOCKET, PLANE_SOCKET] {
            assert_eq!(Path::new(socket).parent().unwrap(), Path::new("/run").join(directory));
        }
    }
}

#[test]
fn the_units_speak_the_protocol_and_never_give_up() {
    for unit in [DAEMON, PLANE] {
        assert_eq!(values(unit, "Type"), ["notify"]);
        assert_eq!(values(unit, "Restart"), ["always"]);
        assert_eq!(values(unit, "StartLimitIntervalSec"), ["0"]);
        assert_eq!(values(unit, "RestartPreventExitStatus"), [Exit::Usage.code().to_string()]);
        assert_eq!(values(unit, "LimitCORE"), ["0"], "a core has secrets in it");
        assert_eq!(values(unit, "WatchdogSec").len(), 1);
    }
}

#[test]
fn the_daemons_unit_takes_nothing_away_that_containers_need() {
    assert_eq!(values(DAEMON, "KillMode"), ["process"]);
    // A mount namespace of its own would hide its mounts; what is inherited would reach containers of its own containerd.
    for forbidden in [
        "NoNewPrivileges",
        "SystemCallFilter",
        "CapabilityBoundingSet",
        "RestrictNamespaces",
        "MemoryDenyWriteExecute",
        "PrivateTmp",
        "PrivateDevices",
        "PrivateMounts",
        "PrivateNetwork",
        "MountFlags",
        "ReadOnlyPaths",
        "ReadWritePaths",
        "InaccessiblePaths",
        "UMask",
        "MemoryMax",
    ] {
        assert!(values(DAEMON, forbidden).is_empty(), "{forbidden}");
    }
    assert!(!DAEMON.lines().any(|line| line.starts_with("Protect")));
}

#[test]
fn the_settings_that_come_along_are_the_defaults_and_can_each_be_used() {
    let listed = format!("conf-files = [\"{CONFIG_FILE}\"]");
    assert!(MANIFEST.contains(&listed), "{listed}");
    let resolve = |text: &str| {
        let sources =
            Sources { env: &|_| None, file: Some((text, Path::new(CONFIG_FILE))), hostname: "node-1" };
        NodeArgs::default().resolve(Flavour::Daemon, &sources).unwrap()
    };
    assert_eq!(resolve(SETTINGS), resolve(""));
    let uncommented: Vec<&str> = SETTINGS
        .lines()
        .filter_map(|line| line.strip_prefix("// "))
        .filter(|line| line.contains(" \""))
        .collect();
    assert_eq!(uncommented.len(), 6, "{uncommented:?}");
    let config = resolve(&uncommented.join("\n"));
    assert_eq!(config.data_dir, Path::new(DATA_DIR));
    assert_eq!(config.advertise, Some("10.0.0.1".parse().unwrap()));
}
