//! What a command says when it can't: what, why, and what to do (product.md P10).

use std::error::Error;
use std::fmt::Write as _;
use std::io;

use mill_api::client::ClientError;
use mill_config::{Complaints, Look};
use serde::Serialize;

use super::exit::Exit;
use super::ui::{Colour, Terminal, printable};

/// Why a command ended without success.
#[derive(Debug, Serialize)]
pub(crate) struct CliError {
    /// What failed, in a sentence.
    pub(crate) message: String,
    /// Why, from near to far; each with the log lines that show it.
    pub(crate) because: Vec<Because>,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// What is wrong with the config file.
    #[serde(flatten)]
    pub(crate) config: Option<Box<BadConfig>>,
    #[serde(skip)]
    pub(crate) exit: Exit,
    /// Whether it only says that a deploy was called off, which may be what was asked for.
    #[serde(skip)]
    pub(crate) cancelled: bool,
}

/// A config file and what is wrong with it.
#[derive(Debug, Serialize)]
pub(crate) struct BadConfig {
    #[serde(flatten)]
    pub(crate) complaints: Complaints,
    /// The file, to draw them in.
    #[serde(skip)]
    pub(crate) text: String,
}

/// A reason.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Because {
    /// In a sentence.
    pub(crate) reason: String,
    /// Log lines that show it, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) log_tail: Vec<String>,
}

impl CliError {
    /// An error that ends with `exit`.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { message: message.into(), because: vec![], hint: None, config: None, exit, cancelled: false }
    }

    /// Wrong use: nothing was tried.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Says why.
    #[must_use]
    pub(crate) fn because(mut self, reason: impl Into<String>) -> Self {
        self.because.push(Because { reason: reason.into(), log_tail: vec![] });
        self
    }

    /// Says what to do.
    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Says why, all the way down.
    #[must_use]
    pub(crate) fn source(mut self, source: &dyn Error) -> Self {
        let mut next = Some(source);
        while let Some(error) = next {
            let reason = error.to_string();
            if self.because.last().is_none_or(|last| last.reason != reason) {
                self.because.push(Because { reason, log_tail: vec![] });
            }
            next = error.source();
        }
        self
    }

    /// As people read it: complaints drawn, then `error:`, `because:` and `hint:`.
    pub(crate) fn render(&self, terminal: &Terminal) -> String {
        let mut text = String::new();
        if let Some(config) = &self.config {
            let _ = writeln!(text, "{}", config.complaints.render(&config.text, look(terminal)));
        }
        let _ = writeln!(text, "{} {}", terminal.paint(Colour::Red, "error:"), printable(&self.message));
        for because in &self.because {
            let _ = writeln!(
                text,
                "{} {}",
                terminal.paint(Colour::Yellow, "because:"),
                printable(&because.reason)
            );
            for line in &because.log_tail {
                let _ = writeln!(text, "    {} {}", terminal.paint(Colour::Grey, "|"), printable(line));
            }
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "{} {}", terminal.paint(Colour::Cyan, "hint:"), printable(hint));
        }
        text
    }

    /// For programs: one object on a line of its own.
    pub(crate) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Shown<'a> {
            exit_code: u8,
            #[serde(flatten)]
            error: &'a CliError,
        }
        let shown = Shown { exit_code: self.exit.code(), error: self };
        serde_json::json!({ "error": shown }).to_string()
    }

    /// Says what is wrong with a config file.
    #[must_use]
    pub(crate) fn complaints(self, complaints: Complaints, config: &str) -> Self {
        Self { config: Some(Box::new(BadConfig { complaints, text: config.to_owned() })), ..self }
    }

    /// Whether the reader of our output has gone: nobody is left to tell.
    pub(crate) fn is_silent(&self) -> bool {
        self.message.is_empty()
    }
}

/// How complaints are drawn on a terminal, or elsewhere.
pub(crate) fn look(terminal: &Terminal) -> Look {
    Look { color: terminal.colour, columns: terminal.width.unwrap_or(Look::default().columns) }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let exit = Exit::of(&error);
        let hint = error.hint();
        let mut cli = Self::new(exit, error.to_string());
        cli.hint = hint;
        match error {
            ClientError::Refused(refused) => {
                cli.because.extend(refused.reason.map(|reason| Because { reason, log_tail: vec![] }));
                match refused.complaints.is_empty() {
                    true => cli,
                    false => cli.complaints(Complaints { list: refused.complaints, omitted: 0 }, ""),
                }
            }
            other => match other.source() {
                Some(source) => cli.source(source),
                None => cli,
            },
        }
    }
}

impl From<io::Error> for CliError {
    /// The output can't be written. A pipe whose reader has gone (`mill logs | head`) is no error.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Ok, ""),
            _ => Self::new(Exit::Failed, "the output can't be written")
                .source(&error)
                .hint("is the disk full, or the terminal gone?"),
        }
    }
}

impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        Self::new(Exit::Failed, "the answer can't be written as JSON")
            .source(&error)
            .hint("this is a defect of Mill: please report it with the command")
    }
}

#[cfg(test)]
mod tests {
    use mill_api::{ApiError, Code};

    use super::*;

    fn refused() -> CliError {
        let error = ApiError::new(Code::Conflict, "shop is being deployed").because("#13 is at work");
        ClientError::Refused(Box::new(error.hint("wait for it, or `--replace` it"))).into()
    }

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let text = refused().render(&Terminal::plain());
        assert_eq!(
            text,
            "error: shop is being deployed\nbecause: #13 is at work\nhint: wait for it, or `--replace` it\n"
        );
        assert_eq!(
            refused().json(),
            r##"{"error":{"because":[{"reason":"#13 is at work"}],"exit_code":4,"hint":"wait for it, or `--replace` it","message":"shop is being deployed"}}"##
        );
    }

    #[test]
    fn what_a_container_wrote_can_not_paint_the_terminal() {
        let mut error = CliError::new(Exit::Failed, "it failed");
        error.because.push(Because { reason: "so".into(), log_tail: vec!["\x1b[2Jboom\u{7}\tx".into()] });
        assert_eq!(error.render(&Terminal::plain()), "error: it failed\nbecause: so\n    | boom\tx\n");
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        let error = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(error.is_silent());
        assert_eq!(error.exit, Exit::Ok);
        assert!(!refused().is_silent());
    }
}
