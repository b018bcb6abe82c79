//! Rules on single lines and lengths.

use super::Rule;
use super::tree::{File, Line, Tree};

/// Longest file that is read in one sitting.
const LINES_MAX: usize = 500;

/// The two places that wait by sleeping, so that no test does: each polls a state up to a deadline.
const WAITING: &[&str] = &["e2e/harness/until.rs", "tests/support/until.rs"];

/// Where test programs live: they are what users run, not tests.
const APPS: &str = "e2e/apps/";

/// Rooms that may speak to the kernel in ways the compiler can't check.
const UNSAFE_ROOMS: &[&str] = &["src/drivers/", "src/init/"];

/// Sources other than this very folder, which names what it forbids.
fn sources(tree: &Tree) -> impl Iterator<Item = File<'_>> {
    tree.sources().filter(|file| !file.path.starts_with("tests/tidy"))
}

/// One complaint for each line of `files` that is `wrong`.
fn lines<'a>(
    files: impl Iterator<Item = File<'a>>,
    what: &str,
    wrong: impl Fn(File<'a>, Line<'a>) -> bool,
) -> Vec<String> {
    let mut complaints = vec![];
    for file in files {
        complaints.extend(file.lines().filter(|line| wrong(file, *line)).map(|line| file.at(line, what)));
    }
    complaints
}

pub(super) const LENGTH: Rule = Rule {
    check: |tree| {
        let long = tree.sources().map(|file| (file.path, file.text.lines().count()));
        long.filter(|(_, count)| *count > LINES_MAX)
            .map(|(path, count)| {
                format!("{path}: {count} lines, at most {LINES_MAX} are read in one sitting")
            })
            .collect()
    },
    breaks: &[&[("src/fsm/lib.rs", LINES_501)]],
    keeps: &[("src/fsm/lib.rs", LINES_500)],
};

const LINES_500: &str = const { str_of_newlines(&[b'\n'; 500]) };
const LINES_501: &str = const { str_of_newlines(&[b'\n'; 501]) };

const fn str_of_newlines(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => "",
    }
}

pub(super) const ASYNC_TRAIT: Rule = Rule {
    check: |tree| {
        // a generated gRPC service can be implemented in no other way
        let in_sources = lines(sources(tree), "boxes every call", |_, line| {
            Line::names(&line.code().replace("tonic::async_trait", ""), "async_trait")
        });
        let manifests = tree.files().filter(|file| file.path.ends_with("Cargo.toml"));
        let in_manifests = lines(manifests, "boxes every call", |_, line| line.text.contains("async-trait"));
        [in_sources, in_manifests].concat()
    },
    breaks: &[
        &[("src/drivers/lib.rs", "#[async_trait]\ntrait X {}")],
        &[("Cargo.toml", "[workspace.dependencies]\nasync-trait = \"0.1\"")],
    ],
    keeps: &[
        ("src/drivers/lib.rs", "// not async_trait: native futures"),
        ("actors/rpc/mod.rs", "#[tonic::async_trait]\nimpl Node for Service {}"),
    ],
};

pub(super) const IGNORED: Rule = Rule {
    check: |tree| {
        lines(sources(tree), "a test that doesn't run proves nothing", |_, line| {
            line.text.trim_start().starts_with("#[ignore")
        })
    },
    breaks: &[
        &[("src/fsm/lib.rs", "    #[ignore]\n    fn x() {}")],
        &[("src/fsm/lib.rs", "#[ignore = \"slow\"]")],
    ],
    keeps: &[("src/fsm/lib.rs", "#[test]\nfn ignore() {}")],
};

/// Whether every test beside a file runs under paused time, where a sleep takes none and always ends the same way.
fn is_paused(tree: &Tree, file: File<'_>) -> bool {
    let beside = tree.sources().filter(|other| match file.stem() {
        // what a folder's tests share lies in its mod.rs
        "mod" => other.folder() == file.folder(),
        _ => other.path == file.path,
    });
    let lines = beside
        .flat_map(|file| file.text.lines().filter(|line| line.trim_start().starts_with("#[tokio::test")));
    let paused: Vec<bool> = lines.map(|line| line.contains("start_paused = true")).collect();
    !paused.is_empty() && !paused.contains(&false)
}

/// Lines of test code that sleep, other than in a function `until…`: the one that polls a state up to a deadline.
fn sleeping<'a>(tree: &'a Tree, file: File<'a>) -> impl Iterator<Item = Line<'a>> {
    let paused = is_paused(tree, file);
    let mut polls = false;
    file.lines().filter(move |line| {
        let code = line.code();
        if let Some((_, name)) = code.split_once("fn ") {
            polls = name.starts_with("until");
        }
        let sleeps = code.contains("thread::sleep") || (code.contains("time::sleep") && !paused);
        line.in_test && sleeps && !polls
    })
}

pub(super) const SLEEPS: Rule = Rule {
    check: |tree| {
        let files =
            sources(tree).filter(|file| !WAITING.contains(&file.path) && !file.path.starts_with(APPS));
        let found = files.flat_map(|file| sleeping(tree, file).map(move |line| (file, line)));
        found.map(|(file, line)| file.at(line, "a test waits for a state, not for time")).collect()
    },
    breaks: &[
        &[("src/fsm/lib.rs", "#[cfg(test)]\nmod tests {\n    std::thread::sleep(x);\n}")],
        &[("e2e/scenarios/hello.rs", "use std::thread::sleep;")],
        &[
            ("actors/kit/mod.rs", "#[cfg(test)]\nmod tests;"),
            ("actors/kit/tests.rs", "tokio::time::sleep(x).await;"),
        ],
        &[(
            "tests/cluster/x.rs",
            "#[tokio::test(start_paused = true)]\n#[tokio::test]\ntokio::time::sleep(x)",
        )],
        &[("tests/cluster/x.rs", "#[tokio::test(start_paused = true)]\nstd::thread::sleep(x)")],
        &[("tests/cluster/x.rs", "fn until() {}\nfn x() { std::thread::sleep(x) }")],
    ],
    keeps: &[
        ("src/fsm/lib.rs", "fn wait() { thread::sleep(x); }"),
        ("e2e/harness/until.rs", "thread::sleep(x);"),
        ("e2e/apps/works.rs", "thread::sleep(x);"),
        (
            "tests/cluster/x.rs",
            "#[tokio::test(start_paused = true)]\nasync fn x() { tokio::time::sleep(x).await }",
        ),
        ("tests/cluster/mod.rs", "async fn probe() { tokio::time::sleep(x).await }"),
        ("tests/y.rs", "async fn until(what: &str) {\n    tokio::time::sleep(x).await\n}"),
    ],
};

pub(super) const UNSAFE: Rule = Rule {
    check: |tree| {
        let files = sources(tree).filter(|file| !UNSAFE_ROOMS.iter().any(|room| file.path.starts_with(room)));
        lines(files, "belongs in src/drivers or src/init, with a proof", |_, line| {
            Line::names(line.code(), "unsafe") || Line::names(line.code(), "unsafe_code")
        })
    },
    breaks: &[
        &[("src/fsm/lib.rs", "unsafe { x() }")],
        &[("actors/lib.rs", "#[expect(unsafe_code, reason = \"fast\")]")],
    ],
    keeps: &[("src/fsm/lib.rs", "// nothing unsafe"), ("src/drivers/disk/mod.rs", "unsafe { x() }")],
};

pub(super) const LATER: Rule = Rule {
    check: |tree| {
        const ENDINGS: &[&str] = &[".rs", ".toml", ".proto", ".kdl", ".md", ".sh", "justfile", ".ci/run"];
        const MARKS: &[&str] = &["TODO", "FIXME", "XXX", "HACK", "for now", "For now"];
        let ours = tree.files().filter(|file| ENDINGS.iter().any(|ending| file.path.ends_with(ending)));
        lines(
            ours.filter(|file| !file.path.starts_with("tests/tidy")),
            "do it, or open an issue",
            |_, line| MARKS.iter().any(|mark| Line::names(line.text, mark)),
        )
    },
    breaks: &[
        &[("src/fsm/lib.rs", "// TODO: the rest")],
        &[("README.md", "It works with one node for now.")],
    ],
    keeps: &[("src/fsm/lib.rs", "// ask for nowhere, TODOS")],
};
