//! The reference in docs/cli.md, written from the same definitions that read the command line.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Command, CommandFactory as _};

use super::{Cli, golden};

/// Help texts are wrapped here, whatever the terminal of the test.
const COLUMNS: usize = 100;

fn reference() -> String {
    let mut cli = Cli::command().term_width(COLUMNS);
    cli.build();
    let mut text = String::from(
        "# The command line\n\n<!-- Written by a test from the program's own help: UPDATE_GOLDEN=1 cargo test -p mill. -->\n\n\
         Answers go to stdout, all else to stderr. `--json` makes answers JSON; an error is then an object with\n\
         `error.message`, `error.because`, `error.hint`, `error.exit_code` and, for a bad config file,\n\
         `error.complaints`. Streams (`logs`, `events -f`, a deploy's progress) are an object a line.\n\n",
    );
    write_command(&mut text, &mut cli, "mill", 2);
    text
}

fn write_command(text: &mut String, command: &mut Command, name: &str, depth: usize) {
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = writeln!(text, "{} {name}\n\n```text\n{}\n```\n", "#".repeat(depth), help.join("\n").trim_end());
    let visible: Vec<String> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for sub in visible {
        if let Some(sub_command) = command.find_subcommand_mut(&sub) {
            write_command(text, sub_command, &format!("{name} {sub}"), (depth + 1).min(4));
        }
    }
}

#[test]
fn the_reference_is_what_the_help_says() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md"));
    golden::check_file(path, &reference());
}

#[test]
fn every_command_says_what_it_does_and_so_does_every_argument() {
    fn check(command: &Command, name: &str) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!about.is_empty(), "{name} doesn't say what it does");
        assert!(!about.ends_with('.'), "{name}: a heading has no full stop");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{name}: {} doesn't say what it is", argument.get_id());
        }
        for sub in command.get_subcommands() {
            check(sub, &format!("{name} {}", sub.get_name()));
        }
    }
    Cli::command().debug_assert();
    check(&Cli::command(), "mill");
}

#[test]
fn all_commands_of_this_version_are_there() {
    let command = Cli::command();
    let mut names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    names.sort_unstable();
    assert_eq!(
        names.join(" "),
        "actors allocs clean completions daemon deploy dev doctor events history init inspect logs nodes plan plane \
         restart rollback scale services status undeploy why"
    );
}
