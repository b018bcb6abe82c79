//! A terminal that is drawn on whole, line by line, and put back as it was.
//!
//! The sequences are those of ECMA-48 and of xterm's control sequences (alternate screen, autowrap), which every terminal
//! of today knows.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::Sort;

/// The alternate screen, without a cursor, on which lines end at its border.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// A terminal's size in cells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// What was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Sort(Sort),
    Up,
    Down,
    PageUp,
    PageDown,
    /// Something that means nothing here, or another size.
    Other,
}

/// A terminal on which lines are drawn; as it was before when this is dropped.
pub(super) struct Screen {
    /// `None`: nobody can type.
    before: Option<Termios>,
    keys: Option<mpsc::Receiver<Key>>,
    resizes: Option<Signal>,
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn enter() -> io::Result<Self> {
        let before = quiet();
        let keys = before.is_some().then(read_keys);
        let screen = Self { before, keys, resizes: signal(SignalKind::window_change()).ok() };
        write(ENTER)?;
        Ok(screen)
    }

    /// How large it is now, or was when terminals were glass.
    pub(super) fn size(&self) -> Size {
        let size = tcgetwinsize(stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        let (columns, rows) = size.map_or((80, 24), |size| (size.ws_col, size.ws_row));
        Size { columns: usize::from(columns), rows: usize::from(rows) }
    }

    /// Draws these lines in place of the last ones, in one piece, so that nothing flickers.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let mut text = String::from("\x1b[H");
        for (number, line) in lines.iter().enumerate() {
            if number > 0 {
                text.push_str("\r\n");
            }
            text.push_str(line);
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        write(&text)
    }

    /// The next key, or that there is another size to be drawn for; never, where nobody can type and nothing changes.
    pub(super) async fn key(&mut self) -> Key {
        let Self { keys, resizes, .. } = self;
        let typed = async {
            match keys {
                // Without a word: the terminal has gone.
                Some(keys) => keys.recv().await.unwrap_or(Key::Quit),
                None => std::future::pending().await,
            }
        };
        let resized = async {
            match resizes {
                Some(resizes) => match resizes.recv().await {
                    Some(()) => Key::Other,
                    None => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            key = typed => key,
            key = resized => key,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing put back.
        let _ = write(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Keys come one by one and aren't shown, Ctrl-C too: the answer is what was before. `None`: the input is no terminal.
fn quiet() -> Option<Termios> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let before = tcgetattr(stdin()).ok()?;
    let mut quiet = before.clone();
    quiet.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
    quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
    quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(stdin(), OptionalActions::Drain, &quiet).ok()?;
    Some(before)
}

/// Reads keys on a thread, since a read of a terminal can't be called off: it ends with the process.
fn read_keys() -> mpsc::Receiver<Key> {
    // More keys than anyone types between two draws; a slow draw makes the thread wait.
    let (typed, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = io::stdin().lock().read(&mut bytes) {
            let pressed = pressed(bytes.get(..count).unwrap_or_default());
            if pressed.into_iter().any(|key| typed.blocking_send(key).is_err()) {
                return;
            }
        }
    });
    keys
}

/// The keys that these bytes are. A sequence comes in one piece.
fn pressed(bytes: &[u8]) -> Vec<Key> {
    match bytes {
        b"\x1b" => vec![Key::Quit],
        b"\x1b[A" | b"\x1bOA" => vec![Key::Up],
        b"\x1b[B" | b"\x1bOB" => vec![Key::Down],
        b"\x1b[5~" => vec![Key::PageUp],
        b"\x1b[6~" => vec![Key::PageDown],
        [0x1b, ..] => vec![Key::Other],
        bytes => bytes.iter().map(|byte| plain(*byte)).collect(),
    }
}

const fn plain(byte: u8) -> Key {
    // Ctrl-C, Ctrl-D, Ctrl-\
    match byte {
        b'q' | b'Q' | 0x03 | 0x04 | 0x1c => Key::Quit,
        b'c' | b'C' | b'P' => Key::Sort(Sort::Cpu),
        b'm' | b'M' => Key::Sort(Sort::Memory),
        b'n' | b'N' => Key::Sort(Sort::Name),
        b'r' | b'R' => Key::Sort(Sort::Restarts),
        b'k' => Key::Up,
        b'j' => Key::Down,
        b'b' => Key::PageUp,
        b' ' => Key::PageDown,
        _ => Key::Other,
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Returns when somebody else wants this to end: the terminal must be put back first.
pub(super) async fn told_to_end() {
    let told = |kind| async move {
        match signal(kind) {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = told(SignalKind::interrupt()) => {}
        () = told(SignalKind::terminate()) => {}
        () = told(SignalKind::hangup()) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_terminals_send_them() {
        for (bytes, keys) in [
            (&b"q"[..], &[Key::Quit][..]),
            (b"\x03", &[Key::Quit]),
            (b"\x1b", &[Key::Quit]),
            (b"jjk", &[Key::Down, Key::Down, Key::Up]),
            (b"\x1b[A", &[Key::Up]),
            (b"\x1bOB", &[Key::Down]),
            (b"\x1b[6~", &[Key::PageDown]),
            (b"\x1b[1;5C", &[Key::Other]),
            (b"m", &[Key::Sort(Sort::Memory)]),
            (b"\x1a", &[Key::Other]),
        ] {
            assert_eq!(pressed(bytes), keys, "{bytes:?}");
        }
    }
}
