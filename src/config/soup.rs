//! Nonsense of three kinds: bytes, tokens, and examples with slips. None panics or hangs, and whatever is
//! accepted prints as itself.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "hostile input must be read in bounded time, so time is measured here"
)]

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use crate::examples::example;
use crate::{ClusterFacts, Look, Source, parse, parse_bytes, print};

/// What a file of a few kilobytes may take, unoptimised and on a busy machine. It takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything that can be done with a file.
pub(crate) fn digest(bytes: &[u8]) {
    let start = Instant::now();
    match parse_bytes("soup.kdl", bytes, Some("Soup of the day")) {
        Ok(parsed) => {
            let printed = print(&parsed.spec);
            let again = parse(&Source { file: "printed", text: &printed, default_project: None });
            assert_eq!(again.map(|again| again.spec).as_ref(), Ok(&parsed.spec), "{printed}");
            parsed.unserved();
            let facts = ClusterFacts {
                nodes: vec![
                    parsed.spec.services.first().map_or_else(Default::default, |s| s.container.resources),
                ],
                ..ClusterFacts::default()
            };
            parsed.against(&facts);
        }
        Err(complaints) => {
            assert!(!complaints.list.is_empty() && complaints.list.len() <= 300);
            let text = String::from_utf8_lossy(bytes);
            let drawn = complaints.render(&text, Look::default());
            assert!(!drawn.contains('\u{1b}'), "a terminal would act on {drawn:?}");
            let json = serde_json::to_string(&complaints).unwrap();
            assert_eq!(serde_json::from_str::<crate::Complaints>(&json).unwrap(), complaints);
            for complaint in &complaints.list {
                let place = complaint.place;
                assert!(place.start <= place.end && place.end <= text.len(), "{complaint:?}");
                assert!(
                    place.line >= 1 && place.column >= 1 && place.line <= place.end_line,
                    "{complaint:?}"
                );
            }
        }
    }
    assert!(start.elapsed() < PATIENCE, "took {:?}", start.elapsed());
}

/// Words of the grammar, signs of KDL, and some of what people write instead.
fn token() -> impl Strategy<Value = String> {
    let words: Vec<&str> =
        crate::reference::FILE.iter().flat_map(|top| top.fields).map(|field| field.name).collect();
    let examples: Vec<&str> =
        crate::reference::FILE.iter().flat_map(|top| top.fields).map(|field| field.example).collect();
    let signs = vec![
        "{",
        "}",
        "\n",
        ";",
        "=",
        "\"",
        "\"\"\"",
        "#",
        "#\"",
        "\"#",
        "/-",
        "//",
        "/*",
        "*/",
        "\\",
        "(",
        ")",
        "#true",
        "true",
        "${",
        "$$",
        "${secret(x)}",
        "${service.web.address}",
        "service \"web\" {",
        "task \"t\" {",
        "image \"x\"",
        "port 80",
        "path=\"/h\"",
        "health",
        "\u{feff}",
        "\u{202e}",
        "\0",
        "\r",
        "\t",
        "é",
        "日本",
        "-1",
        "0.5",
        "99999999999999999999",
        "1e99",
        "\"512M\"",
        "\"10s\"",
        "depends-on \"web\" \"t\"",
        "volume \"v\" path=\"/v\" size=\"1G\"",
        "env { A \"b\" }",
        "r\"x\"",
    ];
    prop_oneof![
        proptest::sample::select(words).prop_map(str::to_owned),
        proptest::sample::select(examples).prop_map(str::to_owned),
        proptest::sample::select(signs).prop_map(str::to_owned),
    ]
}

/// A change to a text.
#[derive(Debug, Clone)]
enum Slip {
    Remove(usize, usize),
    Insert(usize, String),
    Repeat(usize, usize),
    Swap(usize, usize),
}

fn slip() -> impl Strategy<Value = Slip> {
    let at = 0..5000_usize;
    prop_oneof![
        (at.clone(), 1..30_usize).prop_map(|(at, length)| Slip::Remove(at, length)),
        (at.clone(), token()).prop_map(|(at, token)| Slip::Insert(at, token)),
        (at.clone(), 1..200_usize).prop_map(|(at, length)| Slip::Repeat(at, length)),
        (at.clone(), at).prop_map(|(a, b)| Slip::Swap(a, b)),
    ]
}

fn slipped(text: &str, slips: &[Slip]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for slip in slips {
        let place = |at: usize| at % bytes.len().max(1);
        match slip {
            Slip::Remove(at, length) => {
                let (at, end) = (place(*at), (place(*at) + length).min(bytes.len()));
                bytes.drain(at..end);
            }
            Slip::Insert(at, token) => {
                let at = place(*at);
                bytes.splice(at..at, token.bytes());
            }
            Slip::Repeat(at, length) => {
                let (at, end) = (place(*at), (place(*at) + length).min(bytes.len()));
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            Slip::Swap(a, b) => {
                let (a, b) = (place(*a), place(*b));
                bytes.swap(a, b);
            }
        }
    }
    bytes
}

proptest! {
    #[test]
    fn bytes_are_digested(bytes in vec(any::<u8>(), 0..200)) {
        digest(&bytes);
    }

    #[test]
    fn text_is_digested(text in "\\PC{0,100}|[ -~\n]{0,200}") {
        digest(text.as_bytes());
    }

    #[test]
    fn tokens_are_digested(tokens in vec(token(), 0..40), glue in "[ \n]?") {
        digest(tokens.join(&glue).as_bytes());
    }

    #[test]
    fn examples_with_slips_are_digested(which in 0..5_usize, slips in vec(slip(), 1..6)) {
        let name = ["full.kdl", "hello.kdl", "migrate.kdl", "shop.kdl", "three-replicas.kdl"][which];
        digest(&slipped(&example(name), &slips));
    }
}

#[test]
fn examples_cut_at_every_byte_are_digested() {
    for name in ["hello.kdl", "shop.kdl", "migrate.kdl"] {
        let text = example(name);
        (0..=text.len()).for_each(|end| digest(&text.as_bytes()[..end]));
    }
}

/// What a file as large as is allowed may take, unoptimised and on a busy machine.
const LONG_PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_megabyte_of_any_one_thing_is_refused_or_read_in_bounded_time() {
    let service = |fields: &str| format!("service \"web\" {{\nimage \"x\"\nport 80\n{fields}\n}}");
    let fill = |piece: &str| piece.repeat(((1 << 20) - 2000) / piece.len());
    let numbered = |piece: &dyn Fn(usize) -> String, count: usize| (0..count).map(piece).collect::<String>();
    for (what, text) in [
        ("unknown nodes", fill("a\n")),
        ("services of one name", fill("service \"a\" {image \"x\"}\n")),
        (
            "services that wait for the next",
            numbered(&|n| format!("service \"a{n}\" {{image \"x\";depends-on \"a{}\"}}\n", n + 1), 18_000),
        ),
        (
            "services that wait for the first",
            numbered(&|n| format!("service \"a{n}\" {{image \"x\";depends-on \"a0\"}}\n"), 18_000),
        ),
        ("projects", fill("project \"a\"\n")),
        ("ports", service(&numbered(&|n| format!("port {}\n", n % 65_536), 90_000))),
        (
            "images after ports",
            service(&(fill("port 9\n").split_off(500_000) + &fill("image \"y\"\n").split_off(600_000))),
        ),
        ("unknown fields", service(&fill("quux 1\n"))),
        ("variables", service(&format!("env {{\n{}}}", numbered(&|n| format!("A{n} \"x\"\n"), 80_000)))),
        ("references", service(&format!("env {{ A \"{}\" }}", fill("${service.web.port}")))),
        ("bad references", service(&format!("env {{ A \"{}\" }}", fill("${x}")))),
        ("unclosed references", service(&format!("env {{ A \"{}\" }}", fill("${")))),
        ("dollars", service(&format!("env {{ A \"{}\" }}", fill("$")))),
        ("words of a command", service(&format!("health exec=\"{}\"", fill("a ")))),
        ("quotes of a command", service(&format!("health exec=\"{}\"", fill("'a'")))),
        ("escaped quotes of a command", service(&format!("health exec=\"{}\"", fill("\\\"a\\\"")))),
        ("arguments", service(&format!("command {}", fill("a ")))),
        ("routes", service(&fill("route \"a.b\"\n"))),
        ("volumes", service(&fill("volume \"v\" path=\"/v\" size=\"1G\"\n"))),
        ("dependencies", service(&format!("depends-on {}", fill("\"db\" ")))),
        ("capabilities", service(&format!("cap-add {}", fill("\"X\" ")))),
        ("properties", service(&format!("health {}", fill("path=\"/\" ")))),
        ("a long name", format!("service \"{}\" {{}}", fill("a"))),
        ("a long path", service(&format!("workdir \"/{}\"", fill("a/")))),
        ("a long host", service(&format!("route \"{}\"", fill("a.")))),
        ("a long schedule", format!("task \"a\" {{\nimage \"x\"\nschedule \"{}\"\n}}", fill("1 "))),
        (
            "a long list in a schedule",
            format!("task \"a\" {{\nimage \"x\"\nschedule \"{} * * * *\"\n}}", fill("1,")),
        ),
        ("a long number", service(&format!("cpu {}", fill("1")))),
        ("a long duration", service(&format!("stop grace=\"{}\"", fill("1s ")))),
        ("a long size", service(&format!("volume \"v\" path=\"/v\" size=\"{}\"", fill("1")))),
        ("a long signal", service(&format!("stop signal=\"{}\"", fill("SIG")))),
        ("a long image", format!("service \"a\" {{ image \"{}\" }}", fill("a/"))),
    ] {
        let start = Instant::now();
        if let Err(complaints) = parse_bytes("long.kdl", text.as_bytes(), Some("long")) {
            let drawn = complaints.render(&text, Look::default());
            assert!(drawn.len() < 200_000, "{what}: {} bytes of complaints", drawn.len());
        }
        assert!(start.elapsed() < LONG_PATIENCE, "{what} took {:?}", start.elapsed());
        println!("{what}: {:?}", start.elapsed());
    }
}
