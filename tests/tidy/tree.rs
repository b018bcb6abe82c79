//! The files of the project, and a little of what they mean.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// Directories that hold nothing of ours.
const SKIPPED: &[&str] = &[".git", "target", "node_modules"];

/// Texts by path from the top, `/` between the parts.
pub(super) struct Tree {
    files: BTreeMap<String, String>,
    /// Paths of modules that are compiled for tests only; of folders with a `/` at the end.
    tests: Vec<String>,
}

/// One file.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) path: &'a str,
    pub(super) text: &'a str,
    /// Whether all of it is test code.
    pub(super) is_test: bool,
}

static REAL: LazyLock<Tree> = LazyLock::new(|| {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = BTreeMap::new();
    read_into(&mut files, top, top);
    assert!(files.contains_key("Cargo.toml"), "the top of the project is not at {}", top.display());
    Tree::new(files)
});

fn read_into(files: &mut BTreeMap<String, String>, top: &Path, folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name().into_string().unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            read_into(files, top, &path);
        } else if kind.is_file()
            // what isn't text has no rules here
            && let Ok(text) = fs::read_to_string(&path)
        {
            let relative = path.strip_prefix(top).unwrap().to_str().unwrap();
            files.insert(relative.to_owned(), text);
        }
    }
}

impl Tree {
    /// The project as it is on disk.
    pub(super) fn real() -> &'static Self {
        &REAL
    }

    /// A tree made by hand.
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self::new(files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect())
    }

    fn new(files: BTreeMap<String, String>) -> Self {
        let sources = files.iter().filter(|(path, _)| path.ends_with(".rs"));
        let tests = sources.flat_map(|(path, text)| test_modules(path, text)).collect();
        Self { files, tests }
    }

    /// Every file.
    pub(super) fn files(&self) -> impl Iterator<Item = File<'_>> {
        self.files.iter().map(|(path, text)| self.file(path, text))
    }

    fn file<'a>(&self, path: &'a str, text: &'a str) -> File<'a> {
        // the top's tests, and those that cargo finds in a crate's own folder of this name
        let in_tests = path.split('/').any(|part| part == "tests") && !path.starts_with("tests/xtask/");
        let declared =
            self.tests.iter().any(|test| path == test || (test.ends_with('/') && path.starts_with(test)));
        File { path, text, is_test: in_tests || declared || path.starts_with("e2e/") }
    }

    /// The file at a path.
    pub(super) fn at<'a>(&'a self, path: &'a str) -> Option<File<'a>> {
        self.files.get(path).map(|text| self.file(path, text))
    }

    /// The Rust sources.
    pub(super) fn sources(&self) -> impl Iterator<Item = File<'_>> {
        self.files().filter(|file| file.path.ends_with(".rs"))
    }

    /// The manifests of crates, the workspace's own excepted, and those of fuzz targets, which need a toolchain that
    /// the workspace doesn't.
    pub(super) fn manifests(&self) -> impl Iterator<Item = Manifest<'_>> {
        self.files()
            .filter(|file| file.path.ends_with("/Cargo.toml") && !file.path.ends_with("/fuzz/Cargo.toml"))
            .map(Manifest)
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }
}

impl<'a> File<'a> {
    /// The folder it is in.
    pub(super) fn folder(self) -> &'a str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Its name without folder and ending.
    pub(super) fn stem(self) -> &'a str {
        let name = self.path.rsplit('/').next().unwrap_or(self.path);
        name.split_once('.').map_or(name, |(stem, _)| stem)
    }

    /// The lines of its opening `//!` comment.
    pub(super) fn header(self) -> impl Iterator<Item = &'a str> {
        self.text.lines().map_while(|line| line.strip_prefix("//!"))
    }

    /// Lines with their numbers and whether they are test code: all after an inline test module's head.
    pub(super) fn lines(self) -> impl Iterator<Item = Line<'a>> {
        let mut in_test = self.is_test;
        let mut lines = self.text.lines().enumerate().peekable();
        std::iter::from_fn(move || {
            let (index, text) = lines.next()?;
            let next = lines.peek().map_or("", |(_, next)| next.trim());
            in_test |= text.trim() == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{');
            Some(Line { number: index + 1, text, in_test })
        })
    }

    /// A complaint about a line of it.
    pub(super) fn at(self, line: Line<'_>, what: &str) -> String {
        format!("{}:{}: {what}: {}", self.path, line.number, line.text.trim())
    }
}

/// Where the modules are that `path` declares for tests only, in files of their own.
fn test_modules(path: &str, text: &str) -> Vec<String> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let own = match name {
        "mod.rs" | "lib.rs" | "main.rs" | "all.rs" => folder.to_owned(),
        name => format!("{folder}/{}", name.trim_end_matches(".rs")),
    };
    let pairs = text.lines().map(str::trim).zip(text.lines().skip(1).map(str::trim));
    let declared = pairs.filter(|(attribute, _)| *attribute == "#[cfg(test)]").filter_map(|(_, line)| {
        line.strip_suffix(';').and_then(|line| line.split_once("mod ")).map(|(_, name)| name)
    });
    declared.flat_map(|name| [format!("{own}/{name}.rs"), format!("{own}/{name}/")]).collect()
}

/// One line of a file.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) number: usize,
    pub(super) text: &'a str,
    pub(super) in_test: bool,
}

impl<'a> Line<'a> {
    /// The line without its comment. A `//` within a string is none.
    pub(super) fn code(self) -> &'a str {
        let is_comment =
            |at: usize| self.text.get(..at).is_some_and(|head| head.matches('"').count() % 2 == 0);
        let start = self.text.match_indices("//").map(|(at, _)| at).find(|&at| is_comment(at));
        start.and_then(|at| self.text.get(..at)).unwrap_or(self.text)
    }

    /// Whether `words` stands in `text` with no letter, digit or `_` at its borders.
    pub(super) fn names(text: &str, words: &str) -> bool {
        let part_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        text.match_indices(words).any(|(at, _)| {
            let before = text.get(..at).and_then(|head| head.chars().next_back());
            let after = text.get(at + words.len()..).and_then(|tail| tail.chars().next());
            !part_of_word(before) && !part_of_word(after)
        })
    }
}

/// A `Cargo.toml`, as plain as ours are: one entry per line, no multi-line tables of dependencies.
#[derive(Clone, Copy)]
pub(super) struct Manifest<'a>(pub(super) File<'a>);

impl<'a> Manifest<'a> {
    /// Lines `key … = value` of sections for whose name `wanted` is true.
    fn entries(self, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut inside = false;
        self.0.text.lines().filter_map(move |line| {
            if let Some(section) = line.trim().strip_prefix('[') {
                inside = wanted(section.trim_end_matches(']').trim_matches('['));
                return None;
            }
            line.split_once('=').filter(|_| inside).map(|(key, value)| (key.trim(), value.trim()))
        })
    }

    pub(super) fn package(self) -> Option<&'a str> {
        self.entries(|section| section == "package")
            .find(|(key, _)| *key == "name")
            .map(|(_, name)| name.trim_matches('"'))
    }

    /// Names in `[dependencies]`, and in every other kind of it if `all` (dev, build, of a target).
    pub(super) fn dependencies(self, all: bool) -> impl Iterator<Item = &'a str> {
        let wanted = move |section: &str| match all {
            true => section.ends_with("dependencies") && !section.starts_with("workspace"),
            false => section == "dependencies" || section.ends_with(".dependencies"),
        };
        self.entries(wanted).map(|(key, _)| key.split('.').next().unwrap_or(key))
    }

    /// Whether a file is the root of one of its targets: named as such, or found by cargo itself.
    pub(super) fn is_root(self, file: File<'_>) -> bool {
        let targets = |section: &str| matches!(section, "lib" | "bin" | "test" | "bench" | "example");
        let own = self.0.folder();
        let inside = file.path.strip_prefix(own).and_then(|rest| rest.strip_prefix('/'));
        let Some(inside) = inside else { return false };
        let named = |(key, path): (&str, &str)| key == "path" && path.trim_matches('"') == inside;
        let found = matches!(file.folder().strip_prefix(own), Some("/tests" | "/benches" | "/examples"));
        inside == "build.rs" || found || self.entries(targets).any(named)
    }

    /// Whether it says `key = value` (or `key.… = value`) in `section`.
    pub(super) fn says(self, section: &str, key: &str, value: &str) -> bool {
        self.entries(|found| found == section).any(|entry| entry == (key, value))
    }
}
