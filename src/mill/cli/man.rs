//! `mill man`: the manual, from the same definitions that read the command line. For whoever builds packages.

mod examples;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::error::CliError;
use super::exit::{self, Exit};
use super::{Cli, PROGRAM};

/// Write the manual into a directory: a page for `mill` and one for each command
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Where to; made if it isn't there
    directory: PathBuf,
}

pub(crate) fn run(args: &ManArgs) -> Result<(), CliError> {
    let failed = |path: &Path, error: io::Error| {
        CliError::new(Exit::Failed, format!("{} can't be written", path.display()))
            .source(&error)
            .hint("is it writable, and is there room?")
    };
    fs::create_dir_all(&args.directory).map_err(|error| failed(&args.directory, error))?;
    for (name, page) in pages()? {
        let path = args.directory.join(format!("{name}.1"));
        fs::write(&path, page).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// Each page with its name, `mill-logs`.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut program = Cli::command();
    program.build();
    let mut pages = vec![];
    write_pages(&program, &[], &mut pages)?;
    Ok(pages)
}

fn write_pages(command: &Command, above: &[&str], pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let path: Vec<&str> = above.iter().copied().chain([command.get_name()]).collect();
    let below: Vec<&Command> = command.get_subcommands().filter(|sub| is_shown(sub)).collect();
    pages.push((path.join("-"), page(command, &path, &below)?));
    below.into_iter().try_for_each(|sub| write_pages(sub, &path, pages))
}

fn is_shown(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

fn page(command: &Command, path: &[&str], below: &[&Command]) -> io::Result<Vec<u8>> {
    let title = path.join("-").to_uppercase();
    // What stands behind a help text has sections of its own here.
    let command = command.clone().after_help("").after_long_help("");
    let source = format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(title).section("1").source(source).manual("Mill");
    let mut page = vec![];
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if !below.is_empty() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::new();
    let examples = examples::of(path);
    if !examples.is_empty() {
        rest.control("SH", ["EXAMPLES"]);
        for (line, does) in examples {
            rest.control("TP", []).text([bold(*line)]).text([roman(*does)]);
        }
    }
    rest.control("SH", ["EXIT STATUS"]);
    exit_status(&mut rest);
    rest.control("SH", ["SEE ALSO"]);
    rest.text([roman(see_also(path, below).join(", "))]);
    rest.to_writer(&mut page)?;
    Ok(page)
}

/// What `--help` says of exit codes, as a list and what stands behind it.
fn exit_status(page: &mut Roff) {
    for line in exit::HELP.lines().skip(1) {
        match line.strip_prefix("  ").and_then(|line| line.split_once("  ")) {
            Some((code, means)) => {
                page.control("TP", []).text([bold(code.trim())]).text([roman(means.trim())]);
            }
            None if line.is_empty() => {
                page.control("PP", []);
            }
            None => {
                page.text([roman(line)]);
            }
        }
    }
}

/// The pages above, beside each other, and below.
fn see_also(path: &[&str], below: &[&Command]) -> Vec<String> {
    let above = (1..path.len()).map(|length| path.get(..length).unwrap_or_default().join("-"));
    let below = below.iter().map(|sub| format!("{}-{}", path.join("-"), sub.get_name()));
    let mut pages: Vec<String> = above.chain(below).map(|page| format!("{page}(1)")).collect();
    pages.push("/usr/share/doc/mill".to_owned());
    pages
}

#[cfg(test)]
mod tests {
    use std::process::{Command as Process, Stdio};

    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options_examples_and_exit_codes() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.len() > 50, "{names:?}");
        for wanted in ["mill", "mill-logs", "mill-secret-roll", "mill-top"] {
            assert!(names.contains(&wanted), "{wanted}");
        }
        assert!(!names.contains(&"mill-man") && !names.iter().any(|name| name.ends_with("-help")));
        for (name, page) in &pages {
            let text = str::from_utf8(page).unwrap();
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "SEE ALSO"] {
                assert!(text.contains(section), "{name} has no {section}");
            }
            assert!(text.contains("EXAMPLES"), "{name} has no example");
        }
    }

    #[test]
    fn pages_are_what_troff_reads_without_a_complaint() {
        let directory = tempfile::tempdir().unwrap();
        run(&ManArgs { directory: directory.path().join("man1") }).unwrap();
        let page = directory.path().join("man1/mill-exec.1");
        let groff = Process::new("groff")
            .args(["-ww", "-man", "-Tascii", "-P-cbou"])
            .arg(&page)
            .stdin(Stdio::null())
            .output();
        let groff = groff.expect("groff formats manuals: apt-get install groff-base");
        let said = String::from_utf8_lossy(&groff.stderr);
        assert!(groff.status.success() && said.is_empty(), "{said}");
        let text = String::from_utf8_lossy(&groff.stdout);
        assert!(text.contains("mill exec web-7k2f -- sh"), "{text}");
        assert!(text.contains("126 and 127 as in a shell"), "{text}");
    }
}
