//! Exit codes: one enum, documented in `--help` and docs/cli.md.

use std::process::ExitCode;

use mill_api::Code;
use mill_api::client::ClientError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok,
    /// It was tried and failed.
    Failed,
    /// The command line or a config file is wrong; nothing was tried.
    Usage,
    /// No daemon or cluster could be asked, or none answered.
    Unreachable,
    /// The cluster was asked and said no.
    Refused,
    /// Interrupted by the user; what was begun goes on.
    Interrupted,
    /// As a program ended that was run in a container.
    Program(u8),
}

/// What `--help` says.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done
  1    tried and failed: a deploy was rolled back, a check failed
  2    the command line or a config file is wrong; nothing was tried
  3    no daemon or cluster could be reached
  4    the cluster refused: token, conflict, no such thing
  130  interrupted; what was begun goes on

`mill exec`, `mill run` and `mill spawn --wait` end as their program did: 126 and 127 as in a shell,
128 + n for signal n. The latter two end with 124 when it ran out of time, 137 when it ran out of memory,
143 when it was killed, and with 125 whatever else fails, so that the program's codes are its own.";

impl Exit {
    /// The number that the process ends with.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Refused => 4,
            Self::Interrupted => 130,
            Self::Program(code) => code,
        }
    }

    /// How a call that has no answer ends its command.
    pub(crate) fn of(error: &ClientError) -> Self {
        match error {
            ClientError::Refused(refused) => match refused.code {
                Code::BadRequest | Code::BadMethod | Code::BadConfig | Code::TooLarge => Self::Usage,
                // The file may be right: it was tried, and a registry said no.
                Code::NoImage | Code::Crashed | Code::Unknown => Self::Failed,
                _ if error.is_unreachable() => Self::Unreachable,
                _ => Self::Refused,
            },
            ClientError::Untrusted { .. } | ClientError::Clock { .. } => Self::Refused,
            ClientError::NotTls { .. } => Self::Unreachable,
            _ if error.is_unreachable() => Self::Unreachable,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use mill_api::ApiError;

    use super::*;

    #[test]
    fn every_refusal_has_its_exit_code() {
        for (code, exit) in [
            (Code::BadRequest, Exit::Usage),
            (Code::BadConfig, Exit::Usage),
            (Code::NoImage, Exit::Failed),
            (Code::TooLarge, Exit::Usage),
            (Code::Unauthorized, Exit::Refused),
            (Code::Forbidden, Exit::Refused),
            (Code::NotFound, Exit::Refused),
            (Code::Ambiguous, Exit::Refused),
            (Code::Conflict, Exit::Refused),
            (Code::Unplaceable, Exit::Refused),
            (Code::NotYet, Exit::Refused),
            (Code::Overloaded, Exit::Unreachable),
            (Code::Unavailable, Exit::Unreachable),
            (Code::Deadline, Exit::Unreachable),
            (Code::Crashed, Exit::Failed),
        ] {
            let error = ClientError::Refused(Box::new(ApiError::new(code, "no")));
            assert_eq!(Exit::of(&error), exit, "{code:?}");
        }
    }

    #[test]
    fn the_help_names_every_code() {
        for exit in [Exit::Ok, Exit::Failed, Exit::Usage, Exit::Unreachable, Exit::Refused, Exit::Interrupted]
        {
            let number = format!("\n  {:<3}  ", exit.code());
            assert!(HELP.contains(&number), "{exit:?}");
        }
    }
}
