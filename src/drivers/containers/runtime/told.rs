//! What a container's first process says when there is no program to run: the only way to know it for programs in
//! volumes, for those that the image's user may not execute, and for programs executed in a running container.

use mill_init::{Failed, Kind};

use crate::containers::{Missing, StartError};

/// What a start comes to whose program can't be run.
pub(super) fn start_error(command: &str, failed: Failed) -> StartError {
    let command = command.to_owned();
    match failed.kind {
        Kind::NotFound => StartError::NoSuchCommand { command, reason: Missing::NotFound },
        Kind::NotExecutable => StartError::NoSuchCommand { command, reason: Missing::NotExecutable },
        Kind::Unprepared => StartError::Unprepared { said: failed.said },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_told_as_one_that_was_looked_for() {
        let failed = |kind| Failed { kind, said: "words".to_owned() };
        let table = [
            (Kind::NotFound, "`nope` can't be run: the image has no such file"),
            (Kind::NotExecutable, "`nope` can't be run: it isn't executable"),
            (Kind::Unprepared, "its first process failed: words"),
        ];
        for (kind, told) in table {
            assert_eq!(start_error("nope", failed(kind)).to_string(), told);
        }
        assert!(start_error("nope", failed(Kind::NotFound)).is_permanent());
        assert!(!start_error("nope", failed(Kind::Unprepared)).is_permanent());
    }
}
