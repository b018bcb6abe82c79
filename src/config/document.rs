//! `docs/config.md`: the grammar for its readers, written from what the reader of config files knows itself.
//! `UPDATE_GOLDEN=1 cargo test -p mill-config document` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use mill_model::limits;

use crate::{Code, Source, parse, reference};

/// Each reference in a text, and what it stands for.
const REFERENCES: [(&str, &str); 9] = [
    ("${alloc.id}", "the name of the one instance that reads it, `web-7k2f`"),
    ("${alloc.index}", "its number among its replicas, from 0"),
    ("${node.name}", "the machine that it runs on"),
    ("${secret(db.password)}", "a secret"),
    ("${service.db.address}", "`HOST:PORT` of a service, at its first port"),
    ("${service.db.host}", "its host name"),
    ("${service.db.port}", "the number of its first port"),
    ("${service.db.port(admin)}", "the number of another one"),
    ("${service.accounts/auth.address}", "the same of a service in another project"),
];

fn example(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config-examples").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file that uses a reference.
fn using(reference: &str) -> String {
    let db = "service \"db\" {\n    image \"x\"\n    port 5432\n    port \"admin\" 8080\n}\n";
    format!("{db}service \"web\" {{\n    image \"x\"\n    env {{ VALUE {reference:?} }}\n}}\n")
}

fn is_served(text: &str) -> bool {
    let source = Source { file: "mill.kdl", text, default_project: Some("shop") };
    parse(&source).unwrap_or_else(|complaints| panic!("{text}\n{complaints}")).deployable().is_ok()
}

fn document() -> String {
    let mut text = String::from(
        "# The config file\n\n\
         <!-- Written by a test from what the reader of config files knows: UPDATE_GOLDEN=1 cargo test -p mill-config. -->\n\n\
         One file describes one project: what should run, and how. It is [KDL](https://kdl.dev) version 2, called \
         `mill.kdl` unless `-f` says otherwise; there are no templates, conditionals or loops. `mill plan` checks it and \
         says what a deploy would do. Unknown fields, duplicates, wrong types and missing fields are errors, all told at \
         once. [`config-examples/`](../config-examples) has more files like this one:\n\n",
    );
    let _ = write!(text, "```kdl\n{}```\n\n", example("hello.kdl"));
    let _ = write!(
        text,
        "## How values are written\n\n\
         | | |\n|---|---|\n\
         | text | `\"in quotes\"` |\n\
         | a whole number, a number of cores | `2`, `0.5` |\n\
         | yes and no | `#true`, `#false` |\n\
         | a duration | `\"500ms\"`, `\"10s\"`, `\"1m30s\"`, `\"2h\"` |\n\
         | a size | `\"512M\"`: `K` `M` `G` `T` count by 1024; `Ki` `Mi` `Gi` `Ti` mean the same |\n\
         | a comment | `// to the end of the line`, `/* anywhere */`; `/-` before a field takes it out |\n\n\
         A field of `health`, `volume` and the like is written as a property, `health path=\"/up\"`, or in a block, \
         `health {{ path \"/up\" }}`: both mean the same. A field that *isn't served yet* is checked like any other; a \
         deploy of a file that has it is refused, with the reason. A file has at most {} KiB, a project at most {} \
         services and tasks.\n\n",
        limits::CONFIG_BYTES_MAX >> 10,
        limits::WORKLOADS_PER_PROJECT_MAX,
    );
    text.push_str(&reference());
    text.push_str(
        "\n## References\n\nIn `env`, `command`, `entrypoint` and `health exec`. `$$` is a dollar; a dollar before anything \
         but `$` and `{` is itself.\n\n| written | stands for |\n|---|---|\n",
    );
    for (reference, meaning) in REFERENCES {
        let served = if is_served(&using(reference)) { "" } else { ". *Not served yet.*" };
        let _ = writeln!(text, "| `{reference}` | {meaning}{served} |");
    }
    text.push_str(
        "\n## What can be wrong\n\nThe code stands in brackets behind `error` or `warning`, and in `code` of \
         `mill plan --json`; it stays what it is in later versions.\n\n| code | why it is complained about |\n|---|---|\n",
    );
    for code in Code::ALL {
        let _ = writeln!(text, "| `{}` | {} |", code.as_str(), code.reason().replace('|', "\\|"));
    }
    text
}

#[test]
fn the_document_is_what_the_reader_knows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    let text = document();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(text.lines()).position(|(old, new)| old != new);
    let line = differs.unwrap_or_else(|| written.lines().count().min(text.lines().count())) + 1;
    assert!(
        written == text,
        "docs/config.md differs from line {line} on; `UPDATE_GOLDEN=1 cargo test -p mill-config document` writes it anew"
    );
}

#[test]
fn every_whole_example_in_the_document_parses_and_can_be_deployed() {
    let text = document();
    let blocks: Vec<&str> =
        text.split("```kdl\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        assert!(is_served(block), "{block}");
    }
    for value in ["500ms", "10s", "1m30s", "2h"] {
        let file = using("x").replace("port 5432", &format!("stop grace=\"{value}\""));
        assert!(is_served(&file), "{file}");
    }
    for (health, comment) in
        [("health path=\"/up\"", "// c"), ("health { path \"/up\"; }", "/* c */ /- cpu 1")]
    {
        assert!(
            is_served(&using("x").replace("port 5432", &format!("port 80\n{health}\n{comment}"))),
            "{health}"
        );
    }
}
