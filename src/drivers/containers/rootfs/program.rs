//! Whether the image has the program to run, and what that needs in turn.

use rustix::io::Errno;

use super::files::{Files, is_file};
use super::{Missing, Question};

/// The kernel reads this much of a script to find its interpreter (linux/binfmts.h, `BINPRM_BUF_SIZE`).
const SCRIPT_HEAD_BYTES: u64 = 256;

/// Enough of a binary to hold its program headers and the name of its loader, as linkers place them.
const BINARY_HEAD_BYTES: u64 = 8 << 10;

/// Scripts run by scripts: the kernel follows five.
const INTERPRETERS_MAX: u32 = 5;

/// Finds the program as `mill-init` and the kernel will.
pub(super) fn check(files: &Files, question: &Question) -> Result<(), Missing> {
    let program = &question.program;
    if program.contains('/') {
        return runnable(files, &absolute(&question.workdir, program));
    }
    let mut found = Missing::NotFound;
    for directory in question.path.split(':') {
        let candidate = format!("{}/{program}", absolute(&question.workdir, directory));
        match executable(files, &candidate) {
            Ok(()) => return interpreters(files, &candidate),
            // As a shell does: one that may not be executed is passed over, and named if there is no other.
            Err(Missing::NotFound) => {}
            Err(other) => found = other,
        }
    }
    Err(found)
}

fn absolute(workdir: &str, path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{}/{path}", workdir.trim_end_matches('/')),
    }
}

fn runnable(files: &Files, path: &str) -> Result<(), Missing> {
    executable(files, path)?;
    interpreters(files, path)
}

/// Whether there is a file at this path that somebody may execute.
fn executable(files: &Files, path: &str) -> Result<(), Missing> {
    match files.stat(path) {
        Ok(stat) if is_file(&stat) && stat.st_mode & 0o111 != 0 => Ok(()),
        Ok(_) => Err(Missing::NotExecutable),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => Err(Missing::NotFound),
        // Whatever this is, who executes it will say it better.
        Err(_) => Ok(()),
    }
}

/// Whether what the program needs to run is there: a script's interpreter, a binary's loader.
fn interpreters(files: &Files, path: &str) -> Result<(), Missing> {
    let mut path = path.to_owned();
    for _ in 0..INTERPRETERS_MAX {
        let Ok(head) = files.head(&path, BINARY_HEAD_BYTES) else { return Ok(()) };
        let Some(interpreter) = script_interpreter(&head).or_else(|| loader(&head)) else { return Ok(()) };
        if executable(files, &interpreter).is_err() {
            return Err(Missing::Interpreter { interpreter });
        }
        path = interpreter;
    }
    Ok(())
}

/// `#!/bin/sh -e` → `/bin/sh`. A relative one starts at the current directory, which is rare enough to leave alone.
fn script_interpreter(head: &[u8]) -> Option<String> {
    let head = head.get(..head.len().min(usize::try_from(SCRIPT_HEAD_BYTES).ok()?))?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let words = std::str::from_utf8(line).ok()?;
    words.split_whitespace().next().filter(|word| word.starts_with('/')).map(str::to_owned)
}

/// The loader that a dynamically linked binary asks for: `PT_INTERP` of a little-endian 64-bit ELF file (elf(5)).
fn loader(head: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = number(head, 32, 8)?;
    let (entry_bytes, entries) = (number(head, 54, 2)?, number(head, 56, 2)?);
    for index in 0..entries {
        let entry = table.checked_add(index.checked_mul(entry_bytes)?)?;
        let entry = usize::try_from(entry).ok()?;
        if number(head, entry, 4)? == PT_INTERP {
            let offset = usize::try_from(number(head, entry.checked_add(8)?, 8)?).ok()?;
            let size = usize::try_from(number(head, entry.checked_add(32)?, 8)?).ok()?;
            let name = head.get(offset..offset.checked_add(size)?)?;
            let name = name.split(|byte| *byte == 0).next()?;
            return std::str::from_utf8(name).ok().map(str::to_owned);
        }
    }
    None
}

fn number(bytes: &[u8], offset: usize, size: usize) -> Option<u64> {
    let field = bytes.get(offset..offset.checked_add(size)?)?;
    Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}
