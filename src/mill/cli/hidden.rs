//! What nobody else shall read: taken from a file, from stdin, from the environment, or typed without being shown.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::error::CliError;
use super::exit::Exit;
use super::ui::Ui;

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
    write!(ui.talk, "{question}: ")?;
    ui.talk.flush()?;
    let line = {
        let _quiet = Quiet::begin()?;
        let mut line = Line::default();
        loop {
            let mut byte = [0];
            // One at a time: what is typed after the line's end belongs to whoever reads next.
            match io::stdin().lock().read(&mut byte) {
                Ok(0) => break Some(line),
                Ok(_) => match line.take(byte[0]) {
                    Typed::More => {}
                    Typed::End => break Some(line),
                    Typed::Interrupted => break None,
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    };
    writeln!(ui.talk)?;
    let Some(Line(bytes)) = line else { return Err(CliError::new(Exit::Interrupted, "nothing was done")) };
    String::from_utf8(bytes).map_err(|_| {
        CliError::usage(format!("the {what} isn't text")).because("it isn't UTF-8").hint("type it again")
    })
}

/// The terminal shows nothing and sends no signals as long as this lives: a Ctrl-C is read, so that the terminal is
/// put back before the program ends.
struct Quiet {
    before: Termios,
}

impl Quiet {
    fn begin() -> Result<Self, CliError> {
        let input = rustix::stdio::stdin();
        let before = tcgetattr(input).map_err(io::Error::from)?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(input, OptionalActions::Flush, &quiet).map_err(io::Error::from)?;
        Ok(Self { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Nobody is left to tell; a terminal that is gone needs nothing.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
    }
}

/// What was typed so far.
#[derive(Default)]
struct Line(Vec<u8>);

/// What a typed byte means.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    More,
    End,
    Interrupted,
}

impl Line {
    fn take(&mut self, byte: u8) -> Typed {
        match byte {
            b'\r' | b'\n' | 0x04 => return Typed::End,
            0x03 | 0x1c => return Typed::Interrupted,
            // Backspace takes a whole character.
            0x08 | 0x7f => while self.0.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            0x15 => self.0.clear(),
            byte if self.0.len() as u64 >= BYTES_MAX || byte < 0x20 => {}
            byte => self.0.push(byte),
        }
        Typed::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::canned::Screen;

    #[test]
    fn a_line_is_what_was_typed_less_what_was_taken_back() {
        for (typed, line, end) in [
            (&b"mill_t_x\r"[..], "mill_t_x", Typed::End),
            (b"ab\x7fc\n", "ac", Typed::End),
            ("é\x7fb\n".as_bytes(), "b", Typed::End),
            (b"wrong\x15right\x04", "right", Typed::End),
            (b"\x7f\x7fa\x1b[A\n", "a[A", Typed::End),
            (b"half\x03", "half", Typed::Interrupted),
        ] {
            let mut got = Line::default();
            let (last, before) = typed.split_last().unwrap();
            for byte in before {
                assert_eq!(got.take(*byte), Typed::More, "{typed:?}");
            }
            assert_eq!((got.take(*last), got.0.as_slice()), (end, line.as_bytes()), "{typed:?}");
        }
    }

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
