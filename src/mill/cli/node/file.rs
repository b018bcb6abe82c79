//! The daemon's settings file: KDL, one setting a line, called as the flags are.
//!
//! ```kdl
//! name "node-1"
//! listen "0.0.0.0:4400"
//! containerd "own"
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kdl::{KdlDocument, KdlNode, KdlValue};
use mill_api::names::closest;

use crate::cli::error::CliError;

/// What may be set.
const SETTINGS: [&str; 11] = [
    "name",
    "data-dir",
    "socket",
    "plane-socket",
    "plane",
    "listen",
    "advertise",
    "containerd",
    "cgroup-parent",
    "log",
    "log-format",
];

/// What a settings file says.
#[derive(Debug, Default)]
pub(super) struct NodeFile {
    path: PathBuf,
    settings: BTreeMap<String, (String, usize)>,
}

impl NodeFile {
    /// Reads a file's text.
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, CliError> {
        let document = KdlDocument::parse(text).map_err(|error| {
            let mut cli = CliError::usage(format!("{} isn't KDL", path.display()));
            for wrong in &error.diagnostics {
                let line = line_of(text, wrong.span.offset());
                let what = wrong.message.clone().unwrap_or_else(|| "it can't be read".to_owned());
                cli = cli.because(format!("line {line}: {what}"));
            }
            cli.hint("one setting a line, such as `listen \"0.0.0.0:4400\"`")
        })?;
        let mut file = Self { path: path.to_owned(), settings: BTreeMap::new() };
        for node in document.nodes() {
            let line = line_of(text, node.span().offset());
            let value = value(node).map_err(|why| file.wrong(line, node, why))?;
            let name = node.name().value().to_owned();
            if let Some((_, first)) = file.settings.insert(name, (value, line)) {
                return Err(file
                    .wrong(line, node, "it is set twice")
                    .hint(format!("the first is on line {first}")));
            }
        }
        Ok(file)
    }

    /// A setting and the place where it is.
    pub(super) fn get(&self, name: &str) -> Option<(&str, String)> {
        let (text, line) = self.settings.get(name)?;
        Some((text, format!("`{name}` in {}:{line}", self.path.display())))
    }

    fn wrong(&self, line: usize, node: &KdlNode, why: &str) -> CliError {
        let name = node.name().value();
        let near = closest(name, SETTINGS.iter().map(|&known| known.to_owned()));
        let hint = match near.first().filter(|near| *near != name) {
            Some(near) => format!("did you mean `{near}`?"),
            None if SETTINGS.contains(&name) => format!("`{name} \"…\"`, and nothing else on the line"),
            None => format!("there are: {}", SETTINGS.join(", ")),
        };
        CliError::usage(format!("{}:{line}: `{name}` can't be used", self.path.display()))
            .because(why)
            .hint(hint)
    }
}

fn value(node: &KdlNode) -> Result<String, &'static str> {
    if !SETTINGS.contains(&node.name().value()) {
        return Err("there is no such setting");
    }
    if node.children().is_some() {
        return Err("it has a block, and settings have none");
    }
    match node.entries() {
        [one] if one.name().is_none() => match one.value() {
            KdlValue::String(text) => Ok(text.clone()),
            _ => Err("its value is text, in quotes"),
        },
        _ => Err("it has one value"),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
