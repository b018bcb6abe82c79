//! docs/operations.md: how a node is run, written by hand (`operations.md` beside this), and what every state, error,
//! warning, finding and event means, from where each is defined.

use std::fmt::Write as _;
use std::path::Path;

use mill_api::Code;
use mill_api::client::ClientError;
use mill_api::deploys::DeployState;
use mill_api::doctor::Check;
use mill_api::error::ApiError;
use mill_api::events::Kind;
use mill_api::nodes::NodeState;
use mill_api::services::ServiceState;
use mill_api::status::Alarm;
use mill_api::tasks::TaskState;
use mill_model::{Advice, FailureKind, Phase};

use crate::cli::exit::{self, Exit};
use crate::cli::golden;

const BY_HAND: &str = include_str!("operations.md");

type Line = (String, Advice);

fn states<T: Copy>(every: &[T], word: impl Fn(T) -> String, advice: impl Fn(T) -> Advice) -> Vec<Line> {
    every.iter().map(|one| (word(*one), advice(*one))).collect()
}

/// Title, what stands before the table, the words, and the table's heads.
struct Section {
    title: &'static str,
    about: &'static str,
    lines: Vec<Line>,
    heads: [&'static str; 3],
}

fn sections() -> Vec<Section> {
    let heads = ["state", "what it means", "what to do"];
    vec![
        Section {
            title: "Allocs",
            about: "A replica of a service or a task that has a place, as `mill allocs` and `mill inspect` show it.",
            lines: states(Phase::EVERY, |one| one.to_string(), Phase::advice),
            heads,
        },
        Section {
            title: "Why an alloc ended",
            about: "`mill why`, `mill allocs` and `last_end.failure.kind` in JSON.",
            lines: states(FailureKind::EVERY, |one| one.as_str().to_owned(), FailureKind::advice),
            heads: ["reason", "what it means", "what to do"],
        },
        Section {
            title: "Services",
            about: "`mill services` and `mill status`.",
            lines: states(ServiceState::EVERY, |one| one.as_str().to_owned(), ServiceState::advice),
            heads,
        },
        Section {
            title: "Tasks",
            about: "`mill ps`.",
            lines: states(TaskState::EVERY, |one| one.as_str().to_owned(), TaskState::advice),
            heads,
        },
        Section {
            title: "Deploys",
            about: "`mill history`, `mill inspect '#14'`.",
            lines: states(DeployState::EVERY, |one| one.as_str().to_owned(), DeployState::advice),
            heads,
        },
        Section {
            title: "Nodes",
            about: "`mill nodes`.",
            lines: states(NodeState::EVERY, |one| one.as_str().to_owned(), NodeState::advice),
            heads,
        },
        Section {
            title: "Warnings of `mill status`",
            about: "What each begins with; the rest of it is the detail.",
            lines: states(Alarm::EVERY, |one| one.as_str().to_owned(), Alarm::advice),
            heads: ["warning", "what it means", "what to do"],
        },
        Section {
            title: "Findings of `mill doctor`",
            about: "A finding that isn't `ok` says what was seen, why it matters and what to do about it: a finding's own \
                    fix is more exact than the general one here. `FAIL`: Mill can't work like this.",
            lines: states(Check::EVERY, |one| one.as_str().to_owned(), Check::advice),
            heads: ["check", "why it matters", "what to do"],
        },
        Section {
            title: "Events",
            about: "`mill events` and `kind` in JSON.",
            lines: states(Kind::EVERY, |one| format!("`{}`", one.as_str()), Kind::advice),
            heads: ["event", "what it means", "what to do"],
        },
    ]
}

fn write_section(text: &mut String, section: &Section) {
    let [word, means, todo] = section.heads;
    let _ = write!(
        text,
        "\n## {}\n\n{}\n\n| {word} | {means} | {todo} |\n|---|---|---|\n",
        section.title, section.about
    );
    for (word, advice) in &section.lines {
        let _ = writeln!(text, "| {word} | {} | {} |", cell(advice.means), cell(advice.todo));
    }
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn write_errors(text: &mut String) {
    text.push_str(
        "\n## Errors\n\nEvery refusal says what, why and what to do; `code` in JSON is the word below. What is wrong with a \
         config file has codes of its own: [config](config.md).\n\n| code | what it means | what to do | exit code |\n\
         |---|---|---|---|\n",
    );
    for code in Code::ALL {
        let exit = Exit::of(&ClientError::Refused(Box::new(ApiError::new(code, ""))));
        let word = serde_json::to_value(code).unwrap();
        let Advice { means, todo } = code.advice();
        let word = word.as_str().unwrap();
        let _ = writeln!(text, "| `{word}` | {} | {} | {} |", cell(means), cell(todo), exit.code());
    }
    text.push_str("\n## Exit codes\n\n```text\n");
    text.push_str(exit::HELP);
    text.push_str("\n```\n");
}

fn page() -> String {
    let note = "<!-- Written by a test from src/mill/cli/docs/operations.md and from where each word is defined: \
                UPDATE_GOLDEN=1 cargo test -p mill docs. -->\n";
    let (title, rest) = BY_HAND.split_once('\n').unwrap();
    let mut text = format!("{title}\n\n{note}{rest}");
    text.push_str("\n# What it says, and what to do\n");
    sections().iter().for_each(|section| write_section(&mut text, section));
    write_errors(&mut text);
    text
}

#[test]
fn the_operations_page_is_what_the_program_says() {
    golden::check_file(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md")), &page());
}

#[test]
fn every_word_is_explained_once_and_what_is_to_be_mended_says_how() {
    for section in sections() {
        let mut words: Vec<&str> = section.lines.iter().map(|(word, _)| word.as_str()).collect();
        words.sort_unstable();
        let count = words.len();
        words.dedup();
        assert_eq!(words.len(), count, "{}: a word stands for two things", section.title);
        for (word, advice) in &section.lines {
            assert!(advice.means.len() > 5, "{word}: {advice:?}");
            assert!(
                !advice.means.ends_with('.') && !advice.todo.ends_with('.'),
                "{word}: a cell has no full stop"
            );
        }
    }
    for check in Check::EVERY {
        assert!(!check.advice().todo.is_empty(), "{check:?} has no fix");
    }
    for alarm in Alarm::EVERY {
        assert!(!alarm.advice().todo.is_empty(), "{alarm:?} says not what to do");
    }
}
