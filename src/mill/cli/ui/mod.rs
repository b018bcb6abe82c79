//! Where a command writes: data to one place, talk to the other, each maybe a terminal.

pub(crate) mod hidden;
mod table;
mod units;

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};
use std::time::SystemTime;

use mill_model::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;

use super::error::CliError;
pub(crate) use table::{Align, Table};
pub(crate) use units::{age, ahead, cores, count, duration, image, memory, micros, percent_of, transfer};

/// What the far end of an output can do.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    /// Columns; `None`: it is no terminal, lines may be of any length.
    pub(crate) width: Option<usize>,
    /// Whether colours are wanted.
    pub(crate) colour: bool,
    /// What time it is, so that rendering needs no clock.
    pub(crate) now: Timestamp,
}

/// Colours, by what they are used for everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    /// Well.
    Green,
    /// Not well yet, or not any more.
    Yellow,
    /// Wrong.
    Red,
    /// Help, and work in progress.
    Cyan,
    /// Beside the point.
    Grey,
    /// Headings.
    Bold,
}

impl Terminal {
    /// No terminal, no colours, the first moment of time.
    #[cfg(test)]
    pub(crate) const fn plain() -> Self {
        Self { width: None, colour: false, now: Timestamp(0) }
    }

    /// `text` in a colour, if colours are wanted.
    pub(crate) fn paint<'a>(&self, colour: Colour, text: &'a str) -> Cow<'a, str> {
        if !self.colour || text.is_empty() {
            return Cow::Borrowed(text);
        }
        let code = match colour {
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Red => "1;31",
            Colour::Cyan => "36",
            Colour::Grey => "90",
            Colour::Bold => "1",
        };
        Cow::Owned(format!("\x1b[{code}m{text}\x1b[0m"))
    }
}

/// What the environment says about colours: <https://no-color.org>, and terminals that can't.
fn wants_colour(is_terminal: bool, env: &dyn Fn(&str) -> Option<String>) -> bool {
    let set = |name| env(name).is_some_and(|value| !value.is_empty());
    is_terminal && !set("NO_COLOR") && env("TERM").is_none_or(|term| term != "dumb")
}

/// Whether progress can be drawn in place.
fn can_draw(is_terminal: bool, env: &dyn Fn(&str) -> Option<String>) -> bool {
    is_terminal && env("TERM").is_none_or(|term| term != "dumb")
}

/// Where a command writes.
pub(crate) struct Ui<'a> {
    /// Answers: what a script reads.
    pub(crate) data: &'a mut dyn Write,
    /// Talk: progress, questions, warnings, errors.
    pub(crate) talk: &'a mut dyn Write,
    /// The far end of `data`.
    pub(crate) data_terminal: Terminal,
    /// The far end of `talk`.
    pub(crate) talk_terminal: Terminal,
    /// Whether progress may be drawn in place, on `talk`.
    pub(crate) live: bool,
    /// Whether a person can be asked.
    pub(crate) asks: Option<&'a mut dyn io::BufRead>,
    /// Whether answers are wanted as JSON.
    pub(crate) json: bool,
}

/// The process's own outputs and input.
pub(crate) struct Process {
    out: io::Stdout,
    err: io::Stderr,
    input: io::BufReader<io::Stdin>,
    json: bool,
}

impl Process {
    /// Takes them.
    pub(crate) fn new(json: bool) -> Self {
        Self { out: io::stdout(), err: io::stderr(), input: io::BufReader::new(io::stdin()), json }
    }

    /// Where a command writes.
    pub(crate) fn ui(&mut self) -> Ui<'_> {
        let env = |name: &str| std::env::var(name).ok();
        let (out_is, err_is) = (self.out.is_terminal(), self.err.is_terminal());
        let now = Timestamp::from(SystemTime::now());
        let terminal = |is: bool, width: Option<usize>| Terminal {
            width: width.filter(|_| is),
            colour: wants_colour(is, &env),
            now,
        };
        let asks = self.input.get_ref().is_terminal() && err_is;
        Ui {
            data_terminal: terminal(out_is, columns(rustix::stdio::stdout())),
            talk_terminal: terminal(err_is, columns(rustix::stdio::stderr())),
            data: &mut self.out,
            talk: &mut self.err,
            live: can_draw(err_is, &env) && !self.json,
            asks: if asks { Some(&mut self.input) } else { None },
            json: self.json,
        }
    }
}

impl Ui<'_> {
    /// The answer: `value` as JSON, or what `render` makes of it.
    pub(crate) fn answer<T: Serialize>(
        &mut self,
        value: &T,
        render: impl FnOnce(&T, &Terminal) -> String,
    ) -> Result<(), CliError> {
        match self.json {
            true => {
                serde_json::to_writer_pretty(&mut *self.data, value)?;
                writeln!(self.data)?;
            }
            false => write!(self.data, "{}", render(value, &self.data_terminal))?,
        }
        self.data.flush()?;
        Ok(())
    }

    /// One of many answers: a line of JSON, or of text.
    pub(crate) fn line<T: Serialize>(
        &mut self,
        value: &T,
        render: impl FnOnce(&T, &Terminal) -> String,
    ) -> Result<(), CliError> {
        match self.json {
            true => {
                serde_json::to_writer(&mut *self.data, value)?;
                writeln!(self.data)?;
            }
            false => writeln!(self.data, "{}", render(value, &self.data_terminal))?,
        }
        self.data.flush()?;
        Ok(())
    }

    /// Says something that isn't an answer.
    pub(crate) fn say(&mut self, text: &str) -> Result<(), CliError> {
        writeln!(self.talk, "{text}")?;
        Ok(())
    }

    /// Asks a question that needs a yes. `--yes` answers it where nobody can be asked.
    pub(crate) fn confirm(&mut self, question: &str, yes: bool) -> Result<(), CliError> {
        if yes {
            return Ok(());
        }
        let Some(input) = &mut self.asks else {
            return Err(CliError::usage("nothing was done")
                .because(format!("\"{question}\" needs an answer, and nobody can be asked here"))
                .hint("add `--yes` if you mean it"));
        };
        write!(self.talk, "{question} [y/N] ")?;
        self.talk.flush()?;
        let mut answer = String::new();
        input.read_line(&mut answer)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(CliError::new(super::exit::Exit::Refused, "not done")
                .because("the question was not answered with `y`")
                .hint("nothing was changed")),
        }
    }
}

/// Returns when whoever read our answers has gone (`mill logs -f | head`): a stream would only notice at its next line.
pub(crate) async fn reader_gone() {
    let (gone, told) = tokio::sync::oneshot::channel();
    // A thread, since it may have to wait for ever: the process's end ends it.
    let watch = move || {
        if hung_up(rustix::stdio::stdout()) {
            // The command may have ended meanwhile.
            let _ = gone.send(());
        }
    };
    let started = std::thread::Builder::new().name("reader".to_owned()).spawn(watch).is_ok();
    if !started || told.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until the far end of a pipe, socket or terminal is closed; `false` where that can't be known.
fn hung_up(output: rustix::fd::BorrowedFd<'_>) -> bool {
    loop {
        // Nothing is waited for but errors, which are always told (poll(2)).
        let mut watched = [PollFd::from_borrowed_fd(output, PollFlags::empty())];
        match poll(&mut watched, None) {
            Ok(_) => {
                let told = watched.first().map_or(PollFlags::empty(), PollFd::revents);
                return told.intersects(PollFlags::ERR | PollFlags::HUP);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

fn columns(of: rustix::fd::BorrowedFd<'_>) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(of).ok()?;
    Some(usize::from(size.ws_col)).filter(|&width| width > 0)
}

/// `text` without what a terminal would obey: control characters, save tabs, and the escape sequences that set
/// colours and move the cursor (ECMA-48 §5.4).
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() && c != '\t') {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\x1b' && rest.next_if_eq(&'[').is_some() {
            while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
        } else if !c.is_control() || c == '\t' {
            kept.push(c);
        }
    }
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        for (is_terminal, name, value, coloured, drawn) in [
            (true, "TERM", "xterm", true, true),
            (true, "NO_COLOR", "1", false, true),
            (true, "NO_COLOR", "", true, true),
            (true, "TERM", "dumb", false, false),
            (false, "TERM", "xterm", false, false),
        ] {
            let env = |asked: &str| (asked == name).then(|| value.to_owned());
            assert_eq!(wants_colour(is_terminal, &env), coloured, "{name}={value}");
            assert_eq!(can_draw(is_terminal, &env), drawn, "{name}={value}");
        }
    }

    #[test]
    fn a_reader_that_goes_is_noticed_without_writing() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let watching = std::thread::spawn(move || {
            use rustix::fd::AsFd as _;
            hung_up(writer.as_fd())
        });
        drop(reader);
        assert!(watching.join().unwrap());
    }

    #[test]
    fn what_is_printable_moves_no_cursor() {
        for (text, shown) in [
            ("plain\ttext é", "plain\ttext é"),
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b[2J\x07bell\r\n", "bell"),
            ("\x1b]0;title", "]0;title"),
            ("cut \x1b[", "cut "),
            ("\u{9b}31m", "31m"),
        ] {
            assert_eq!(printable(text), shown, "{text:?}");
        }
    }

    #[test]
    fn a_question_is_answered_by_yes_only() {
        for (typed, yes, done) in [
            ("y\n", false, true),
            ("YES\n", false, true),
            ("n\n", false, false),
            ("", false, false),
            ("", true, true),
        ] {
            let (mut data, mut talk, mut input) = (vec![], vec![], typed.as_bytes());
            let mut ui = Ui {
                data: &mut data,
                talk: &mut talk,
                data_terminal: Terminal::plain(),
                talk_terminal: Terminal::plain(),
                live: false,
                asks: Some(&mut input),
                json: false,
            };
            assert_eq!(ui.confirm("Remove it?", yes).is_ok(), done, "{typed:?}");
            ui.asks = None;
            assert_eq!(ui.confirm("Remove it?", yes).is_ok(), yes, "nobody to ask");
        }
    }
}
