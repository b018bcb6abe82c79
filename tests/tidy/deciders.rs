//! Rules on the sources of deciders: same state and same input, same answer, on every node and in every replay.

use super::Rule;
use super::tree::{File, Line, Tree};

/// Rooms that decide.
const ROOMS: &[&str] =
    &["config", "fsm", "scheduler", "alloc", "gossip", "secrets", "consensus", "wal", "control"];

/// What a decider can't name, and why.
const FOREIGN: &[(&str, &str)] = &[
    ("Instant", "a decider is told the time"),
    ("SystemTime", "a decider is told the time"),
    ("HashMap", "its order differs from process to process"),
    ("HashSet", "its order differs from process to process"),
    ("std::fs", "files belong to drivers"),
    ("std::thread", "a decider runs where it is called"),
    ("std::env", "a decider is told what it needs"),
    ("std::process", "processes belong to drivers"),
    ("TcpStream", "sockets belong to drivers"),
    ("TcpListener", "sockets belong to drivers"),
    ("UdpSocket", "sockets belong to drivers"),
    ("tokio", "a decider waits for nothing"),
    ("rand", "random numbers are handed in"),
];

/// What each decider's `.clippy.toml` adds to the root's. Clippy reads the nearest file only, so each repeats
/// the thresholds of the root.
const BANS: &str = include_str!("../../src/fsm/.clippy.toml");

fn room_of(file: File<'_>) -> Option<&str> {
    let room = file.path.strip_prefix("src/")?.split('/').next()?;
    ROOMS.contains(&room).then_some(room)
}

pub(super) const SOURCES: Rule = Rule {
    check: |tree| {
        let mut complaints = vec![];
        for file in tree.sources().filter(|file| room_of(*file).is_some()) {
            for line in file.lines().filter(|line| !line.in_test) {
                let found = FOREIGN.iter().find(|(name, _)| Line::names(line.code(), name));
                complaints.extend(found.map(|(_, why)| file.at(line, why)));
            }
        }
        complaints
    },
    breaks: &[
        &[("src/fsm/lib.rs", "use std::collections::HashMap;")],
        &[("src/control/leader/mod.rs", "let now = std::time::Instant::now();")],
        &[("src/wal/lib.rs", "//! The log.\nfn read() { std::fs::read(\"x\"); }")],
    ],
    keeps: &[
        (
            "src/fsm/lib.rs",
            "// no HashMap here\n#[cfg(test)]\nmod tests {\nuse std::collections::HashMap;\n}",
        ),
        ("src/alloc/lib.rs", "struct InstantAnswer;"),
        ("src/drivers/disk/mod.rs", "use std::fs;"),
    ],
};

fn clippy_complaints(tree: &Tree, rooms: &[&str], root: &str, bans: &str) -> Vec<String> {
    let mut complaints = vec![];
    for line in root.lines().filter(|line| !line.starts_with('#') && !bans.contains(line)) {
        complaints.push(format!("src/fsm/.clippy.toml: lacks the root's `{line}`"));
    }
    for path in rooms.iter().map(|room| format!("src/{room}/.clippy.toml")) {
        if tree.text(&path) != Some(bans) {
            complaints.push(format!("{path}: differs from src/fsm/.clippy.toml"));
        }
    }
    complaints
}

pub(super) const CLIPPY: Rule = Rule {
    check: |tree| {
        let present = |room: &&str| tree.sources().any(|file| room_of(file) == Some(room));
        let rooms: Vec<&str> = ROOMS.iter().copied().filter(present).collect();
        clippy_complaints(tree, &rooms, tree.text(".clippy.toml").unwrap_or_default(), BANS)
    },
    breaks: &[
        &[("src/fsm/lib.rs", ""), (".clippy.toml", "")],
        &[("src/fsm/lib.rs", ""), ("src/fsm/.clippy.toml", "too-many-lines-threshold = 700")],
        &[(".clippy.toml", "some-new-threshold = 1"), ("src/fsm/lib.rs", ""), ("src/fsm/.clippy.toml", BANS)],
    ],
    keeps: &[("src/fsm/lib.rs", ""), ("src/fsm/.clippy.toml", BANS), (".clippy.toml", "# a word")],
};
