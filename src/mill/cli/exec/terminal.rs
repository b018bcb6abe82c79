//! The terminal in front of which `mill exec` was typed.

use std::io::IsTerminal as _;

use mill_api::exec::TerminalSize;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Whether somebody sits in front of both the input and the output.
pub(super) fn is_one() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Its size, or the usual one.
pub(super) fn size() -> TerminalSize {
    let size = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin()));
    let size = size.ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or(super::USUAL, |size| TerminalSize { columns: size.ws_col, rows: size.ws_row })
}

/// A terminal that passes every key on as it is, put back as it was when this is dropped.
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    /// `None`: the input is no terminal.
    pub(super) fn enter() -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Drain, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing put back.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.before);
    }
}
