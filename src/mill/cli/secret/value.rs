//! Where a value comes from. It isn't repeated in any message.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use mill_model::limits::SECRET_BYTES_MAX;
use mill_model::{Hidden, SecretId};

use super::super::error::CliError;
use super::super::ui::{Ui, hidden};

/// A value as a command takes it.
type Value = Hidden<Vec<u8>>;

pub(super) fn from_stdin() -> Result<Value, CliError> {
    read(io::stdin().lock(), "stdin")
}

pub(super) fn from_file(path: &Path) -> Result<Value, CliError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| unreadable(&name, &error))?;
    read(file, &name)
}

pub(super) fn of_text(text: &str) -> Result<Value, CliError> {
    fit(Hidden::new(text.as_bytes().to_vec()), "the command line")
}

/// Asks a person, twice: what isn't seen is mistyped.
pub(super) fn asked_for(ui: &mut Ui<'_>, secret: &SecretId) -> Result<Value, CliError> {
    if ui.asks.is_none() {
        return Err(CliError::usage(format!("there is no value for {secret}"))
            .because("none was given, and nobody can be asked here")
            .hint("`-` reads it from stdin, `--file FILE` from a file"));
    }
    let first = hidden::ask(ui, &format!("Value of {secret}: "))?;
    let second = hidden::ask(ui, "Once more: ")?;
    match first == second {
        true => fit(first, "what was typed"),
        false => Err(CliError::usage("the two differ").because("nothing was set").hint("try again")),
    }
}

fn read(from: impl Read, name: &str) -> Result<Value, CliError> {
    // One more than fits, so that too much is seen; and room for all of it, so that no copy is left by growing.
    let most = SECRET_BYTES_MAX + 1;
    let mut bytes = Hidden::new(Vec::with_capacity(most + 1));
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    bytes.with(|bytes| from.take(limit).read_to_end(bytes)).map_err(|error| unreadable(name, &error))?;
    fit(bytes, name)
}

/// Refused here already: the cluster would say the same.
fn fit(value: Value, from: &str) -> Result<Value, CliError> {
    let refused = |why: String, hint: &str| {
        Err(CliError::usage(format!("{from} can't be a secret's value")).because(why).hint(hint))
    };
    match value.expose().len() {
        0 => refused("it is empty".to_owned(), "did the pipe or the file have anything in it?"),
        length if length > SECRET_BYTES_MAX => refused(
            format!("a secret has at most {} KiB", SECRET_BYTES_MAX >> 10),
            "a larger file belongs into an image or a volume",
        ),
        _ => Ok(value),
    }
}

fn unreadable(name: &str, error: &io::Error) -> CliError {
    CliError::usage(format!("{name} can't be read"))
        .source(error)
        .hint("is it the right file, and whose is it?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_it_is_within_its_bounds() {
        let read = |bytes: &[u8]| read(bytes, "stdin").map(|value| value.expose().clone());
        assert_eq!(read(b"hunter2\n").unwrap(), b"hunter2\n");
        assert_eq!(read(&[0, 0xFF]).unwrap(), [0, 0xFF]);
        assert_eq!(read(&vec![7; SECRET_BYTES_MAX]).unwrap().len(), SECRET_BYTES_MAX);
        for wrong in [vec![], vec![7; SECRET_BYTES_MAX + 1]] {
            let error = read(&wrong).unwrap_err();
            assert!(error.message.contains("stdin") && error.hint.is_some(), "{error:?}");
        }
        assert!(from_file(Path::new("/nowhere/at/all")).unwrap_err().message.contains("/nowhere/at/all"));
    }
}
