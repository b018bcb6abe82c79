//! Rules on manifests: the manifest is the border of a room.

use super::Rule;
use super::tree::Tree;

/// The arrow: a crate may name crates of earlier rows only, never one beside it. `mill-sim` runs the deciders over
/// the fakes of drivers, so it stands where it can name no actor.
const ROWS: &[&[&str]] = &[
    &["mill-protos", "mill-model"],
    &[
        "mill-config",
        "mill-fsm",
        "mill-scheduler",
        "mill-alloc",
        "mill-gossip",
        "mill-secrets",
        "mill-consensus",
        "mill-wal",
    ],
    &["mill-control"],
    &["mill-init"],
    &["mill-api", "mill-drivers", "mill-rpc"],
    &["mill-actors", "mill-sim"],
    &["mill"],
    &["mill-tests", "mill-e2e"],
];

/// Crates that stand outside: they name nothing of ours.
const OUTSIDE: &[&str] = &["xtask", "mill-e2e-apps"];

/// How many rows of [`ROWS`] decide.
const DECIDING_ROWS: usize = 3;

/// What deciders may link: data structures, formats and hashes. Whoever adds one has looked that it opens no
/// file or socket, asks no clock, and draws no random number that a decision could hang on.
const PURE: &[&str] = &[
    "bytes",
    "crc32fast",
    "humantime",
    "imbl",
    "kdl",
    "miette",
    "prost",
    "prost-types",
    "protobuf",
    "raft",
    "schemars",
    "serde",
    "serde_json",
    "sha2",
    "shlex",
    "slog",
    "strsim",
    "thiserror",
    "unicode-width",
    "zeroize",
];

fn row(package: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&package))
}

pub(super) const ARROW: Rule = Rule {
    check: |tree| {
        let mut complaints = vec![];
        for manifest in tree.manifests() {
            let Some(package) = manifest.package() else { continue };
            let ours =
                manifest.dependencies(true).filter(|name| *name == "mill" || name.starts_with("mill-"));
            for named in ours {
                let allowed = match (row(package), row(named)) {
                    (Some(own), Some(other)) => other < own,
                    _ => false,
                };
                if !allowed {
                    complaints.push(format!("{}: `{package}` may not name `{named}`", manifest.0.path));
                }
            }
        }
        complaints
    },
    breaks: &[
        &[(
            "src/fsm/Cargo.toml",
            "[package]\nname = \"mill-fsm\"\n[dependencies]\nmill-control.workspace = true",
        )],
        &[(
            "src/fsm/Cargo.toml",
            "[package]\nname = \"mill-fsm\"\n[dev-dependencies]\nmill-wal = { path = \"x\" }",
        )],
        &[("x/Cargo.toml", "[package]\nname = \"mill-new\"\n[dependencies]\nmill-model.workspace = true")],
    ],
    keeps: &[(
        "src/control/Cargo.toml",
        "[package]\nname = \"mill-control\"\n[dependencies]\nmill-fsm.workspace = true\nraft = \"1\"",
    )],
};

pub(super) const MEMBERS: Rule = Rule {
    check: |tree| {
        let root = tree.text("Cargo.toml").unwrap_or_default();
        let mut complaints = vec![];
        for manifest in tree.manifests() {
            let path = manifest.0.path;
            if !root.contains(&format!("\"{}\"", manifest.0.folder())) {
                complaints.push(format!("{path}: not a member of the workspace"));
            }
            if !manifest.says("lints", "workspace", "true") {
                complaints.push(format!("{path}: lacks the workspace's lints"));
            }
            let package = manifest.package().unwrap_or_default();
            if row(package).is_none() && !OUTSIDE.contains(&package) {
                complaints.push(format!("{path}: `{package}` has no place in the arrow"));
            }
        }
        complaints
    },
    breaks: &[
        &[
            ("Cargo.toml", ""),
            ("src/fsm/Cargo.toml", "[package]\nname = \"mill-fsm\"\n[lints]\nworkspace = true"),
        ],
        &[("Cargo.toml", "\"src/fsm\""), ("src/fsm/Cargo.toml", "[package]\nname = \"mill-fsm\"")],
        &[("Cargo.toml", "\"x\""), ("x/Cargo.toml", "[package]\nname = \"x\"\n[lints]\nworkspace = true")],
    ],
    keeps: &[
        ("Cargo.toml", "members = [\"src/fsm\"]"),
        ("src/fsm/Cargo.toml", "[package]\nname = \"mill-fsm\"\n[lints]\nworkspace = true"),
    ],
};

pub(super) const DECIDERS: Rule = Rule {
    check: |tree| {
        let mut complaints = vec![];
        for manifest in tree.manifests() {
            let decides = manifest.package().and_then(row).is_some_and(|row| row < DECIDING_ROWS);
            let foreign = manifest.dependencies(false).filter(|name| !name.starts_with("mill-"));
            for named in foreign.filter(|name| decides && !PURE.contains(name)) {
                complaints.push(format!(
                    "{}: a decider may not hold `{named}`; tests/tidy/arrow.rs lists what it may",
                    manifest.0.path
                ));
            }
        }
        complaints
    },
    breaks: &[
        &[("src/fsm/Cargo.toml", "[package]\nname = \"mill-fsm\"\n[dependencies]\ntokio.workspace = true")],
        &[(
            "src/wal/Cargo.toml",
            "[package]\nname = \"mill-wal\"\n[target.'cfg(unix)'.dependencies]\nrustix = \"1\"",
        )],
    ],
    keeps: &[
        (
            "src/fsm/Cargo.toml",
            "[package]\nname = \"mill-fsm\"\n[dependencies]\nimbl = \"7\"\n[dev-dependencies]\ntokio = \"1\"",
        ),
        ("actors/Cargo.toml", "[package]\nname = \"mill-actors\"\n[dependencies]\ntokio = \"1\""),
    ],
};

pub(super) const UNWIND: Rule = Rule {
    check: |tree: &Tree| {
        let files = tree.files().filter(|file| file.path.ends_with(".toml"));
        let aborting =
            files.flat_map(|file| file.lines().map(move |line| (file, line))).filter(|(_, line)| {
                let words: String = line.text.split_whitespace().collect();
                words.starts_with("panic=\"abort\"") || words.contains("panic=abort")
            });
        aborting.map(|(file, line)| file.at(line, "no supervisor would hear of a panic")).collect()
    },
    breaks: &[
        &[("Cargo.toml", "[profile.release]\npanic = \"abort\"")],
        &[(".cargo/config.toml", "[build]\nrustflags = [\"-C\", \"panic=abort\"]")],
    ],
    keeps: &[("Cargo.toml", "# panic must stay \"unwind\"\n[profile.release]\nstrip = true")],
};
