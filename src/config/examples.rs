//! The files in `config-examples/`: all are right, and together they show the whole grammar.

use std::path::Path;

use crate::reference::{FILE, Field, Served};
use crate::{Look, Parsed, Source, parse, print};

fn all() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config-examples");
    let mut files: Vec<(String, String)> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "kdl"))
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

pub(crate) fn example(name: &str) -> String {
    all().into_iter().find(|(file, _)| file == name).unwrap().1
}

fn read(file: &str, text: &str) -> Parsed {
    match parse(&Source { file, text, default_project: None }) {
        Ok(parsed) => parsed,
        Err(complaints) => panic!("{}", complaints.render(text, Look::default())),
    }
}

#[test]
fn every_example_is_right_and_prints_as_itself() {
    let files = all();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    for wanted in ["full.kdl", "hello.kdl", "migrate.kdl", "shop.kdl", "three-replicas.kdl"] {
        assert!(names.contains(&wanted), "{wanted} is missing");
    }
    for (file, text) in &files {
        let parsed = read(file, text);
        assert_eq!(parsed.warnings, [], "{file}");
        assert_eq!(read(file, &print(&parsed.spec)).spec, parsed.spec, "{file}");
    }
}

#[test]
fn the_small_examples_can_be_deployed() {
    for file in ["hello.kdl", "migrate.kdl", "three-replicas.kdl"] {
        let parsed = read(file, &example(file));
        assert_eq!(parsed.deployable(), Ok(&parsed.spec), "{file}");
    }
}

#[test]
fn the_full_example_has_every_field() {
    let text = example("full.kdl");
    let has = |field: &Field| {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        words.into_iter().any(|word| word == field.name)
    };
    let mut missing = vec![];
    let mut rest: Vec<&Field> = FILE.iter().collect();
    while let Some(field) = rest.pop() {
        if !has(field) {
            missing.push(field.name);
        }
        rest.extend(field.fields);
    }
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_others_are_refused_by_a_deploy() {
    for file in ["full.kdl", "shop.kdl"] {
        let refusal = read(file, &example(file)).deployable().unwrap_err().list;
        assert!(
            !refusal.is_empty() && refusal.iter().all(|complaint| complaint.code == crate::Code::NotServed)
        );
    }
}

#[test]
fn what_is_not_served_in_the_full_example_is_refused_field_by_field() {
    let text = example("full.kdl");
    let refused: Vec<String> =
        read("full.kdl", &text).unserved().into_iter().map(|complaint| complaint.message).collect();
    let reserved =
        FILE.iter().flat_map(|top| top.fields).flat_map(|field| [field].into_iter().chain(field.fields));
    for field in reserved.filter(|field| field.served == Served::Reserved) {
        assert!(
            refused.iter().any(|message| message.contains(&format!("`{}`", field.name))),
            "{}: {refused:#?}",
            field.name
        );
    }
    for what in [
        "a persistent volume",
        "a volume of a file server",
        "a route",
        "the address of a service",
        "a schedule",
        "`place`",
        "`replicas \"per-node\"`",
    ] {
        assert!(refused.iter().any(|message| message.starts_with(what)), "{what}: {refused:#?}");
    }
}
