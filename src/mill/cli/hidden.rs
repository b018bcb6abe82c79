//! What nobody else shall read: taken from a file, from stdin, from the environment, or typed without being shown.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::error::CliError;
use super::ui::{Ui, hidden};

/// Longest text that is taken: tokens and passwords have a few kilobytes at most.
const BYTES_MAX: u64 = 64 << 10;

/// Where a hidden text may come from, the first that is given.
pub(crate) struct Wanted<'a> {
    /// What it is: `token`.
    pub(crate) what: &'a str,
    /// A file; `-`: stdin.
    pub(crate) file: Option<&'a Path>,
    /// The option that names it.
    pub(crate) option: &'a str,
    /// A variable of the environment.
    pub(crate) variable: &'a str,
}

impl Wanted<'_> {
    /// Gets it. The end of its line isn't part of it.
    pub(crate) fn get(&self, ui: &mut Ui<'_>) -> Result<String, CliError> {
        let Self { what, option, variable, .. } = self;
        let text = match (self.file, std::env::var(variable).ok().filter(|text| !text.is_empty())) {
            (Some(path), _) if path == Path::new("-") => self.read(io::stdin(), "stdin")?,
            (Some(path), _) => {
                let name = path.display().to_string();
                self.read(File::open(path).map_err(|error| self.unreadable(&name, &error))?, &name)?
            }
            (None, Some(text)) => text,
            (None, None) if ui.asks.is_some() => typed(ui, what)?,
            (None, None) => {
                return Err(CliError::usage(format!("there is no {what}"))
                    .because("it would be asked for, and nobody can be asked here")
                    .hint(format!(
                        "`{option}` takes it from a file or from stdin, {variable} from the environment"
                    )));
            }
        };
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(CliError::usage(format!("the {what} is empty"))
                .because("nothing was given")
                .hint("try again")),
            text => Ok(text.to_owned()),
        }
    }

    fn read(&self, from: impl io::Read, name: &str) -> Result<String, CliError> {
        let mut text = String::new();
        let read = from.take(BYTES_MAX + 1).read_to_string(&mut text);
        let read = read.map_err(|error| self.unreadable(name, &error))?;
        match read as u64 > BYTES_MAX {
            true => Err(CliError::usage(format!("{name} holds no {}", self.what))
                .because(format!("it has more than {} KiB", BYTES_MAX >> 10))
                .hint("is it the right file?")),
            false => Ok(text),
        }
    }

    fn unreadable(&self, name: &str, error: &io::Error) -> CliError {
        CliError::usage(format!("the {} can't be read from {name}", self.what))
            .source(error)
            .hint("whose is it?")
    }
}

/// Asks for a line that isn't shown while it is typed.
fn typed(ui: &mut Ui<'_>, what: &str) -> Result<String, CliError> {
    let mut name = what.chars();
    let first = name.next().map(|first| first.to_ascii_uppercase());
    let question: String = first.into_iter().chain(name).collect();
    let line = hidden::ask(ui, &format!("{question}: "))?;
    String::from_utf8(line.expose().clone()).map_err(|_| {
        CliError::usage(format!("the {what} isn't text")).because("it isn't UTF-8").hint("type it again")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::canned::Screen;
    use crate::cli::exit::Exit;

    #[test]
    fn what_comes_from_a_file_is_bounded_and_has_no_line_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let wanted = Wanted {
            what: "token",
            file: Some(&path),
            option: "--token-file",
            variable: "MILL_NO_SUCH_VARIABLE",
        };
        let mut screen = Screen::default();
        let error = wanted.get(&mut screen.ui()).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        std::fs::write(&path, "secret\r\n").unwrap();
        assert_eq!(wanted.get(&mut screen.ui()).unwrap(), "secret");
        std::fs::write(&path, "\n").unwrap();
        assert!(wanted.get(&mut screen.ui()).unwrap_err().message.contains("empty"));
        std::fs::write(&path, "x".repeat(70_000)).unwrap();
        assert!(wanted.get(&mut screen.ui()).unwrap_err().because[0].reason.contains("64 KiB"));
        let error = Wanted { file: None, ..wanted }.get(&mut screen.ui()).unwrap_err();
        assert!(error.hint.unwrap().contains("--token-file"), "nobody can be asked");
    }
}
