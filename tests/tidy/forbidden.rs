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
        let in_sources =
            lines(sources(tree), "boxes every call", |_, line| Line::names(line.code(), "async_trait"));
        let manifests = tree.files().filter(|file| file.path.ends_with("Cargo.toml"));
        let in_manifests = lines(manifests, "boxes every call", |_, line| line.text.contains("async-trait"));
        [in_sources, in_manifests].concat()
    },
    breaks: &[
        &[("src/drivers/lib.rs", "#[async_trait]\ntrait X {}")],
        &[("Cargo.toml", "[workspace.dependencies]\nasync-trait = \"0.1\"")],
    ],
    keeps: &[("src/drivers/lib.rs", "// not async_trait: native futures")],
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

pub(super) const SLEEPS: Rule = Rule {
    check: |tree| {
        let files =
            sources(tree).filter(|file| !WAITING.contains(&file.path) && !file.path.starts_with(APPS));
        lines(files, "a test waits for a state, not for time", |_, line| {
            let code = line.code();
            line.in_test && (code.contains("thread::sleep") || code.contains("time::sleep"))
        })
    },
    breaks: &[
        &[("src/fsm/lib.rs", "#[cfg(test)]\nmod tests {\n    std::thread::sleep(x);\n}")],
        &[("e2e/scenarios/hello.rs", "use std::thread::sleep;")],
        &[
            ("actors/kit/mod.rs", "#[cfg(test)]\nmod tests;"),
            ("actors/kit/tests.rs", "tokio::time::sleep(x).await;"),
        ],
    ],
    keeps: &[
        ("src/fsm/lib.rs", "fn wait() { thread::sleep(x); }"),
        ("e2e/harness/until.rs", "thread::sleep(x);"),
        ("e2e/apps/works.rs", "thread::sleep(x);"),
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
