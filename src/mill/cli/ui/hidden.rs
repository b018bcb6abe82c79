//! Asking for something that nobody shall see: without echo, and with the terminal as it was however that ends.
//!
//! The terminal is read byte by byte rather than by lines, so that Ctrl-C is a byte too: a signal would end the
//! process with the echo off.

use std::io::{self, Read};

use mill_model::Hidden;
use mill_model::limits::SECRET_BYTES_MAX;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::super::error::CliError;
use super::super::exit::Exit;
use super::Ui;

/// A line that a person types without seeing it.
pub(crate) fn ask(ui: &mut Ui<'_>, question: &str) -> Result<Hidden<Vec<u8>>, CliError> {
    write!(ui.talk, "{question}")?;
    ui.talk.flush()?;
    let typed = {
        let _quiet = Quiet::begin()?;
        line(&mut io::stdin().lock())
    };
    writeln!(ui.talk)?;
    match typed? {
        Some(line) => Ok(line),
        None => {
            Err(CliError::new(Exit::Interrupted, "interrupted").because("nothing was done").hint("try again"))
        }
    }
}

/// The terminal without echo, for as long as this lives.
struct Quiet(Termios);

impl Quiet {
    /// What was typed before the question was asked is no answer to it.
    fn begin() -> io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        let before = tcgetattr(stdin)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(stdin, OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Whoever has taken the terminal away needs no echo either.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}

const INTERRUPT: u8 = 0x03;
const QUIT: u8 = 0x1C;
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const ERASE_LINE: u8 = 0x15;
const DELETE: u8 = 0x7F;

/// Reads to the end of the line, with what a terminal does to one; `None`: interrupted.
fn line(from: &mut impl Read) -> io::Result<Option<Hidden<Vec<u8>>>> {
    let mut typed = Hidden::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    let mut byte = [0];
    loop {
        // One at a time: what is typed after the line's end belongs to whoever reads next.
        match from.read(&mut byte) {
            Ok(0) => return Ok(Some(typed)),
            Ok(_) => {}
            // The window was resized, say.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        match byte {
            [b'\n' | b'\r' | END] => return Ok(Some(typed)),
            [INTERRUPT | QUIT] => return Ok(None),
            [BACKSPACE | DELETE] => typed.with(erase),
            [ERASE_LINE] => typed.with(Vec::clear),
            [byte] => typed.with(|typed| {
                if typed.len() <= SECRET_BYTES_MAX {
                    typed.push(byte);
                }
            }),
        }
    }
}

/// Takes the last character away, all bytes of it.
fn erase(typed: &mut Vec<u8>) {
    while let Some(byte) = typed.pop() {
        if byte & 0xC0 != 0x80 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_was_typed_after_all() {
        for (typed, meant) in [
            (&b"hunter2\n"[..], Some(&b"hunter2"[..])),
            (b"hunter2\rmore", Some(b"hunter2")),
            (b"hunter", Some(b"hunter")),
            (b"x\x7F\x7Fhunter3\x082\n", Some(b"hunter2")),
            ("aé\x7Fb\n".as_bytes(), Some(b"ab")),
            (b"wrong\x15right\x04", Some(b"right")),
            (b"\n", Some(b"")),
            (b"hunt\x03er2\n", None),
            (b"hunt\x1Cer2\n", None),
        ] {
            let line = line(&mut &*typed).unwrap();
            assert_eq!(line.as_ref().map(|line| line.expose().as_slice()), meant, "{typed:?}");
        }
    }
}
