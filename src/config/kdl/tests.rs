//! The reader beside the `kdl` crate, and against what overflows or stalls that one.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "hostile input must be read in bounded time, so time is measured here"
)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::tree::{Entry, Node, Value};
use super::{float, integer, is_plain_word, parse};
use crate::code::Code;
use crate::finding::{File, Findings};
use crate::span::Lines;

fn read(text: &str) -> (Vec<Node>, Vec<(Code, usize, String)>) {
    let mut out = Findings::default();
    let nodes = parse(text, &mut out);
    let lines = Lines::of(text);
    let complaints = out.errors(&File { name: "x.kdl", text, lines: &lines });
    let codes = complaints.map(|all| all.list).unwrap_or_default();
    (nodes, codes.into_iter().map(|c| (c.code, c.place.start, c.hint.unwrap_or_default())).collect())
}

fn codes(text: &str) -> Vec<Code> {
    read(text).1.into_iter().map(|(code, ..)| code).collect()
}

/// One form for both readers' trees.
fn ours(nodes: &[Node], out: &mut String) {
    for node in nodes {
        let _ = write!(out, "{:?}{}", node.name.value, if node.annotation.is_some() { "(t)" } else { "" });
        for Entry { key, value, annotation, .. } in &node.entries {
            let key = key.as_ref().map(|key| format!("{:?}=", key.value)).unwrap_or_default();
            let value = match value {
                Value::Text(text) => format!("{:?}", text.value),
                Value::Number(text) => match integer(text) {
                    Some(number) => format!("{number}"),
                    None => format!("{:?}", float(text)),
                },
                Value::Bool(value) => format!("#{value}"),
                Value::Null => "#null".to_owned(),
                Value::NotFinite => "#special".to_owned(),
                Value::Bad(_) => "#bad".to_owned(),
            };
            let _ = write!(out, " {}{key}{value}", if annotation.is_some() { "(t)" } else { "" });
        }
        if let Some(block) = &node.block {
            out.push_str(" {");
            ours(&block.nodes, out);
            out.push('}');
        }
        out.push(';');
    }
}

fn theirs(document: &kdl::KdlDocument, out: &mut String) {
    for node in document.nodes() {
        let _ = write!(out, "{:?}{}", node.name().value(), if node.ty().is_some() { "(t)" } else { "" });
        for entry in node.entries() {
            let key = entry.name().map(|key| format!("{:?}=", key.value())).unwrap_or_default();
            let value = match entry.value() {
                kdl::KdlValue::String(text) => format!("{text:?}"),
                kdl::KdlValue::Integer(number) => format!("{number}"),
                kdl::KdlValue::Float(number) if !number.is_finite() => "#special".to_owned(),
                kdl::KdlValue::Float(number) => format!("{number:?}"),
                kdl::KdlValue::Bool(value) => format!("#{value}"),
                kdl::KdlValue::Null => "#null".to_owned(),
            };
            let _ = write!(out, " {}{key}{value}", if entry.ty().is_some() { "(t)" } else { "" });
        }
        if let Some(children) = node.children() {
            out.push_str(" {");
            theirs(children, out);
            out.push('}');
        }
        out.push(';');
    }
}

fn both(text: &str) -> (String, Option<String>) {
    let (nodes, complaints) = read(text);
    let mut mine = String::new();
    ours(&nodes, &mut mine);
    if !complaints.is_empty() {
        mine = format!("refused: {complaints:?}");
    }
    let other = kdl::KdlDocument::parse_v2(text).ok().map(|document| {
        let mut other = String::new();
        theirs(&document, &mut other);
        other
    });
    (mine, other)
}

#[test]
fn good_documents_are_read_as_the_kdl_crate_reads_them() {
    for text in [
        "",
        "\u{FEFF}a",
        "a",
        "a;b; c",
        "a 1 2.5 -3e2 0xff 0b1_0 0o17 1_000",
        "a b=c \"d e\"=1 f = 2",
        "a #true #false #null #inf #-inf #nan",
        "a { b; c { d } }\ne",
        "a{b}",
        "a {}\n",
        "(t)a (u)1 b=(v)\"x\"",
        "/- a b\nc",
        "a /-b c /-d=e /-{ x } { y } /- { z }",
        "a /* x /* y */ z */ b // c\nd",
        "a \\\n  b \\ // c\n  c",
        "\"a b\" \"c\\n\\t\\\\\\\"\\u{e9}\\s\"",
        "a \"x \\\n   y\"",
        "a #\"x\\n\"y\"# ##\"a\"#b\"##",
        "a \"\"\"\n    x\n      y\n\n    z\\tw\n    \"\"\"",
        "a #\"\"\"\n  x\\n\n  \"y\n  \"\"\"#",
        "a \"\"\"\n  x \\\n     y\n  \"\"\"",
        "a \"\"\"\n\"\"\"",
        "a - + -x +y .z -.a ~ a/b".strip_suffix(" a/b").unwrap_or_default(),
        "a\r\nb\rc\u{85}d\u{2028}e",
        "日本 \"é\"=ü",
        "a\u{3000}b\tc",
        "/- kdl-version 2\na",
        "a;/-b {c;/-d}\ne",
    ] {
        let (mine, other) = both(text);
        assert_eq!(Some(mine), other, "{text:?}");
    }
}

#[test]
fn every_slip_of_syntax_has_its_complaint_at_its_place() {
    for (text, code, at) in [
        ("a \"x\nb", Code::UnclosedString, 2),
        ("a #\"x\nb", Code::UnclosedString, 2),
        ("a \"\"\"\nx", Code::UnclosedString, 2),
        ("a /* b /* */", Code::UnclosedComment, 2),
        ("a {\n b\n", Code::UnclosedBlock, 2),
        ("a\n}\nb", Code::StrayBrace, 2),
        ("a {} b", Code::AfterBlock, 5),
        ("a {} {}", Code::AfterBlock, 5),
        ("{ a }", Code::NoName, 0),
        ("1 2", Code::NoName, 0),
        ("a \"b\"c", Code::NoSpace, 5),
        ("a 1, 2", Code::BadNumber, 2),
        ("a \"b\", \"c\"", Code::NoSpace, 5),
        ("a=1", Code::EqualsSign, 1),
        ("a = 1", Code::EqualsSign, 2),
        ("a b=", Code::NoPropertyValue, 2),
        ("a b=\nc", Code::NoPropertyValue, 2),
        ("a \"\\q\"", Code::BadEscape, 3),
        ("a \"\\u{110000}\"", Code::BadEscape, 3),
        ("a 10s", Code::BadNumber, 2),
        ("a .5", Code::BadNumber, 2),
        ("a #yes", Code::BadKeyword, 2),
        ("# a comment (old)", Code::BadKeyword, 0),
        ("a true", Code::BareKeyword, 2),
        ("a r\"x\"", Code::OldRawString, 2),
        ("a r#\"x\"#", Code::OldRawString, 2),
        ("a \"\"\"x\n\"\"\"", Code::BadMultiline, 2),
        ("a \"\"\"\n x\n  \"\"\"", Code::BadMultiline, 2),
        ("a \"\"\"\n x\"\"\"", Code::BadMultiline, 2),
        ("a (b c", Code::BadAnnotation, 2),
        ("a /-", Code::DanglingSlashdash, 2),
        ("a { /- }", Code::DanglingSlashdash, 4),
        ("a \\ b", Code::BadContinuation, 2),
        ("a \0 b", Code::ForbiddenCharacter, 2),
        ("a \"\u{202e}\"", Code::ForbiddenCharacter, 3),
        ("a path=/x", Code::ForbiddenCharacter, 7),
        ("a [1,2]", Code::ForbiddenCharacter, 2),
    ] {
        let found = read(text).1;
        assert_eq!(
            found.iter().map(|(code, at, _)| (*code, *at)).collect::<Vec<_>>(),
            [(code, at)],
            "{text:?}"
        );
    }
}

#[test]
fn several_slips_are_told_at_once_and_what_is_good_between_them_is_read() {
    let (nodes, complaints) = read("a \"x\nb = 1\nc true\nd {\n  e 10s\n}\n}\nf 1");
    let found: Vec<Code> = complaints.into_iter().map(|(code, ..)| code).collect();
    assert_eq!(
        found,
        [Code::UnclosedString, Code::EqualsSign, Code::BareKeyword, Code::BadNumber, Code::StrayBrace]
    );
    let names: Vec<&str> = nodes.iter().map(|node| node.name.value.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "f"]);
}

#[test]
fn nesting_is_bounded_and_told_once() {
    assert_eq!(codes(&format!("{}x{}", "a {".repeat(16), "}".repeat(16))), []);
    assert_eq!(codes(&format!("{}x{}", "a {".repeat(17), "}".repeat(17))), [Code::TooDeep]);
    assert_eq!(codes(&"a {".repeat(100_000)), [Code::TooDeep]);
    assert_eq!(codes(&"a /-{".repeat(100_000)), [Code::TooDeep]);
    assert_eq!(codes(&"{".repeat(100_000)).last(), Some(&Code::TooDeep));
}

/// What a hundred kilobytes may take, unoptimised and on a busy machine. It takes some 20 ms; were the time square
/// in the length, or twice per level, it would be minutes.
const PATIENCE: Duration = Duration::from_secs(5);
const LONG: usize = 100_000;

#[test]
fn a_long_run_of_anything_is_read_in_bounded_time_and_stack() {
    for piece in [
        "}",
        "{",
        "a{",
        "a {\n",
        "a{}",
        "*",
        "/*",
        "/* ",
        "*/",
        "/-",
        "/- a\n",
        "a /-{b}\n",
        "a /-",
        "\"",
        "\"\"\"",
        "\"\"\"\n",
        "#",
        "#\"",
        "##\"",
        "r",
        "r#",
        "r\"",
        "\\",
        "\\\n",
        "(",
        "(a)",
        "a ",
        "a=",
        "a=1 ",
        "= ",
        ";",
        "\n",
        "\r",
        "é",
        "\0",
        "\u{202e}",
        "1",
        "1 ",
        "-",
        ".",
        "[",
        ",",
        "a \"\\u{",
        "a \"\"\"\n x\n  \"\"\"\n",
        "a \"b\"",
        "\u{FEFF}",
        "a #\"\"\"\n",
        "x y z=1 { }\n",
    ] {
        for prefix in ["", "a \"\"\"\n", "/*", "a #\"", "a {", "n\n/-x {\n"] {
            let text = format!("{prefix}{}", piece.repeat(LONG / piece.len()));
            let start = Instant::now();
            read(&text);
            assert!(start.elapsed() < PATIENCE, "{prefix:?} {piece:?} took {:?}", start.elapsed());
        }
    }
}

#[test]
fn commented_out_blocks_cost_no_more_per_level() {
    let nest =
        |open: &str| format!("{}x{}", format!("n\n{open} {{ ").repeat(16), " }\n".repeat(16)).repeat(300);
    for open in ["/-x", "a /-", "/-a /-b"] {
        let start = Instant::now();
        assert_eq!(codes(&nest(open)), [], "{open}");
        assert!(start.elapsed() < PATIENCE, "{open} took {:?}", start.elapsed());
    }
}

fn document() -> impl Strategy<Value = String> {
    let word = prop_oneof!["[a-z][a-z0-9-]{0,6}", Just("\"a b\"".to_owned()), Just("#\"r\\\"#".to_owned())];
    let value = prop_oneof![
        word.clone(),
        "-?[0-9]{1,9}(\\.[0-9]{1,4})?",
        Just("#true".to_owned()),
        Just("#null".to_owned()),
        "\"[a-z0-9 é/$]{0,8}\"",
        Just("\"\\u{e9}\\n\"".to_owned()),
        Just("\"\"\"\n  x\n   y\n  \"\"\"".to_owned()),
        Just("(t)1".to_owned()),
    ];
    let space =
        prop_oneof![Just(" "), Just("\t"), Just(" /* c */ "), Just(" \\\n "), Just(" /-z "), Just(" /-z=1 ")];
    let entry = (space, prop::option::of(word.clone()), value).prop_map(|(space, key, value)| {
        key.map_or(format!("{space}{value}"), |key| format!("{space}{key}={value}"))
    });
    let line =
        (word, prop::collection::vec(entry, 0..4)).prop_map(|(name, entries)| name + &entries.concat());
    let end = prop_oneof![Just("\n"), Just(";"), Just(" // c\n"), Just("\r\n"), Just("\n\n/- q { r }\n")];
    let leaf = (line.clone(), end.clone()).prop_map(|(line, end)| line + end);
    let node = leaf.prop_recursive(3, 24, 4, move |inner| {
        let children = prop::collection::vec(inner, 0..4);
        (line.clone(), children, end.clone())
            .prop_map(|(line, inner, end)| format!("{line} {{\n{}}}{end}", inner.concat()))
    });
    prop::collection::vec(node, 0..5).prop_map(|nodes| nodes.concat())
}

proptest! {
    #[test]
    fn generated_documents_are_read_as_the_kdl_crate_reads_them(text in document()) {
        let (mine, other) = both(&text);
        prop_assert_eq!(Some(mine), other, "{:?}", text);
    }

    #[test]
    fn whatever_the_kdl_crate_accepts_is_read_the_same(text in "([a-c]|[0-9]|[ \n\t;={}#\"\\\\./()-]|/-|//|\"\"\"|#true|\\\\n|\\\\\n){0,24}") {
        let (mine, other) = both(&text);
        if let Some(other) = other {
            prop_assert_eq!(mine, other, "{:?}", text);
        }
    }

    #[test]
    fn a_plain_word_is_read_as_itself(word in "\\PC{1,8}") {
        if is_plain_word(&word) {
            let (nodes, complaints) = read(&word);
            prop_assert_eq!(complaints, vec![]);
            prop_assert_eq!(&nodes[0].name.value, &word);
        }
    }
}
