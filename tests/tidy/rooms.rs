//! Rules on rooms: what each says of itself, and that nothing lies about unused.

use super::Rule;
use super::tree::{File, Line, Tree};

pub(super) const HEADERS: Rule = Rule {
    check: |tree| {
        // a room's own tests are about what the room says of itself
        let of_room = |file: &File<'_>| file.path.starts_with("src/") || file.path.starts_with("actors/");
        let files = tree.sources().filter(|file| !(file.is_test && of_room(file)));
        let bare = files.filter(|file| file.header().next().is_none());
        bare.map(|file| format!("{}: opens without `//!` and what it is for", file.path)).collect()
    },
    breaks: &[&[("src/fsm/lib.rs", "pub mod x;")], &[("tests/cluster/join.rs", "use super::*;")]],
    keeps: &[
        ("src/fsm/lib.rs", "//! The replicated cluster.\n#[cfg(test)]\nmod replay;"),
        ("src/fsm/replay.rs", "use super::*;"),
        ("src/fsm/x/mod.rs", "//! X.\n#[cfg(test)]\nmod tests;"),
        ("src/fsm/x/tests.rs", "use super::*;"),
    ],
};

/// What an actor's header answers.
const ANSWERS: &[&str] = &["owns:", "told by:", "fails when:", "restarted by:"];

fn is_actor(file: File<'_>) -> bool {
    file.path.starts_with("actors/")
        // the kit is what actors are made of, and none itself
        && !file.path.starts_with("actors/kit/")
        && file.lines().any(|line| {
            let code = line.code().trim_start();
            !line.in_test && code.starts_with("impl") && code.contains(" Actor for ")
        })
}

pub(super) const ACTORS: Rule = Rule {
    check: |tree| {
        let mut complaints = vec![];
        for file in tree.sources().filter(|file| is_actor(*file)) {
            let room = format!("{}/mod.rs", file.folder());
            let room = tree.at(&room);
            let said: Vec<&str> = file.header().chain(room.iter().flat_map(|file| file.header())).collect();
            let missing = ANSWERS.iter().filter(|answer| !said.iter().any(|line| line.contains(**answer)));
            complaints.extend(missing.map(|answer| format!("{}: its header lacks `{answer}`", file.path)));
        }
        complaints
    },
    breaks: &[
        &[("actors/alloc/mod.rs", "//! An alloc.\nimpl Actor for Alloc {}")],
        &[(
            "actors/alloc/mod.rs",
            "//! - owns: x\n//! - told by: x\n//! - fails when: x\n\nimpl<D: Drivers> Actor for Alloc<D> {}",
        )],
    ],
    keeps: &[
        (
            "actors/alloc/mod.rs",
            "//! - owns: x\n//! - told by: x\n//! - fails when: x\n//! - restarted by: x",
        ),
        ("actors/alloc/actor.rs", "//! Routes.\nimpl Actor for Alloc {}"),
        ("actors/kit/tests.rs", "impl Actor for Probe {}"),
    ],
};

pub(super) const FORGOTTEN: Rule = Rule {
    check: |tree| {
        let is_root = |file: File<'_>| tree.manifests().any(|manifest| manifest.is_root(file));
        let roots: Vec<File<'_>> = tree.sources().filter(|file| is_root(*file)).collect();
        let mut complaints = vec![];
        // Cargo finds a fuzz target by its place.
        let found_by_cargo = |file: &File<'_>| file.path.contains("/fuzz_targets/");
        for file in tree.sources().filter(|file| !is_root(*file) && !found_by_cargo(file)) {
            let (folder, name) = match file.stem() {
                "mod" => file.folder().rsplit_once('/').unwrap_or(("", file.folder())),
                stem => (file.folder(), stem),
            };
            let declared = format!("mod {name};");
            // FOLDER/mod.rs, FOLDER.rs, or a root in FOLDER declares FOLDER/NAME.rs and FOLDER/NAME/mod.rs
            let modules = [format!("{folder}/mod.rs"), format!("{folder}.rs")];
            let modules = modules.iter().filter_map(|path| tree.at(path));
            let mut parents = modules.chain(roots.iter().copied().filter(|root| root.folder() == folder));
            if !parents.any(|parent| parent.text.lines().any(|line| line.trim().ends_with(&declared))) {
                complaints.push(format!("{}: no `{declared}` makes it part of a crate", file.path));
            }
        }
        complaints
    },
    breaks: &[
        &[
            ("src/fsm/Cargo.toml", "[lib]\npath = \"lib.rs\""),
            ("src/fsm/lib.rs", ""),
            ("src/fsm/nodes.rs", ""),
        ],
        &[("e2e/scenarios/mod.rs", "mod hello;"), ("e2e/scenarios/crash.rs", "")],
        &[("src/fsm/Cargo.toml", ""), ("src/fsm/tests/disk.rs", ""), ("src/fsm/tests/host/mod.rs", "")],
    ],
    keeps: &[
        ("src/fsm/Cargo.toml", "[lib]\npath = \"lib.rs\""),
        ("src/fsm/lib.rs", "pub mod nodes;\nmod views;"),
        ("src/fsm/nodes.rs", ""),
        ("src/fsm/views/mod.rs", "mod zone;"),
        ("src/fsm/views/zone.rs", ""),
        ("src/fsm/tests/disk.rs", "mod host;"),
        ("src/fsm/tests/host/mod.rs", ""),
    ],
};

pub(super) const EXAMPLES: Rule = Rule {
    check: |tree| {
        let examples: Vec<_> =
            tree.files().filter(|file| file.path.starts_with("config-examples/")).collect();
        let readers = tree.sources().filter(|file| !file.path.starts_with("tests/tidy"));
        let mut tests = readers.flat_map(|file| file.lines().map(move |line| (file, line)));
        let read_whole = tests.any(|(file, line)| {
            line.in_test && line.code().contains("config-examples") && file.text.contains("read_dir")
        });
        match examples.is_empty() || read_whole {
            true => vec![],
            false => vec![format!("{} examples and no test that reads the folder", examples.len())],
        }
    },
    breaks: &[&[
        ("config-examples/hello.kdl", ""),
        ("src/config/lib.rs", "//! As in config-examples, read_dir"),
    ]],
    keeps: &[
        ("config-examples/hello.kdl", ""),
        ("src/config/lib.rs", "//! Text to specs.\n#[cfg(test)]\nmod examples;"),
        ("src/config/examples.rs", "let examples = \"../../config-examples\"; read_dir(examples)"),
    ],
};

pub(super) const STORIES: Rule = Rule {
    check: |tree| {
        let listed = tree.text("e2e/scenarios/mod.rs").unwrap_or_default();
        let stories = tree.sources().filter(|file| file.folder() == "e2e/scenarios" && file.stem() != "mod");
        let untold = stories.filter(|file| !listed.contains(&format!("{}::", file.stem())));
        untold.map(|file| format!("{}: no story of it stands in e2e/scenarios/mod.rs", file.path)).collect()
    },
    breaks: &[&[("e2e/scenarios/mod.rs", "mod crash;"), ("e2e/scenarios/crash.rs", "")]],
    keeps: &[("e2e/scenarios/mod.rs", "mod crash;\ncrash::LOOP"), ("e2e/scenarios/crash.rs", "")],
};

const PROMISES_FILE: &str = "tests/promises.txt";

/// What is wrong with `P4 path/of/file.rs name_of_test`.
fn promise_complaint(tree: &Tree, line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [promise, path, test] = words.as_slice() else {
        return Some("not `PROMISE FILE TEST`".to_owned());
    };
    let number = promise.strip_prefix('P').and_then(|number| number.parse::<u8>().ok());
    if !number.is_some_and(|number| (1..=13).contains(&number)) {
        return Some(format!("there is no promise `{promise}`"));
    }
    let Some(text) = tree.text(path) else { return Some(format!("there is no `{path}`")) };
    match Line::names(text, &format!("fn {test}")) {
        true => None,
        false => Some(format!("`{path}` has no test `{test}`")),
    }
}

pub(super) const PROMISES: Rule = Rule {
    check: |tree| {
        let Some(text) = tree.text(PROMISES_FILE) else { return vec![format!("{PROMISES_FILE} is gone")] };
        let kept = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        kept.filter_map(|(index, line)| {
            promise_complaint(tree, line).map(|what| format!("{PROMISES_FILE}:{}: {what}", index + 1))
        })
        .collect()
    },
    breaks: &[
        &[],
        &[
            (PROMISES_FILE, "P1 src/wal/lib.rs a_write_survives"),
            ("src/wal/lib.rs", "fn a_write_survives_too()"),
        ],
        &[(PROMISES_FILE, "P14 src/wal/lib.rs x"), ("src/wal/lib.rs", "fn x()")],
        &[(PROMISES_FILE, "P1 src/wal/gone.rs x")],
        &[(PROMISES_FILE, "P1: it is durable")],
    ],
    keeps: &[(PROMISES_FILE, "# promise file test\n\nP1 src/wal/lib.rs x"), ("src/wal/lib.rs", "fn x() {}")],
};
