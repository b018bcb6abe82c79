//! Finding the program in the image's `PATH`, and executing it.

use std::ffi::{CString, OsStr};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::format::{Failed, Kind, Run};
use crate::{c_path, c_text, system};

/// Where programs are if the environment doesn't say: Docker's.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Executes it: answers only why not.
pub(crate) fn execute(run: &Run) -> Failed {
    let texts =
        |list: &[Vec<u8>]| list.iter().map(|text| c_text(text)).collect::<Result<Vec<CString>, Failed>>();
    let prepared = find(run).and_then(|path| Ok((c_path(&path)?, texts(&run.argv)?, texts(&run.env)?)));
    let (path, argv, env) = match prepared {
        Ok(prepared) => prepared,
        Err(failed) => return failed,
    };
    let error = match system::as_any_program() {
        Ok(()) => system::execute(&path, &argv, &env),
        Err(error) => error,
    };
    refused(&name_of(run), &error)
}

/// The program's file, as runc finds it: a name with a `/` is a path, another one is looked for in `PATH`.
fn find(run: &Run) -> Result<PathBuf, Failed> {
    let name = run.argv.first().map_or(&b""[..], Vec::as_slice);
    if name.is_empty() {
        return Err(Failed { kind: Kind::NotFound, said: "there is no program to run".to_owned() });
    }
    let file = Path::new(OsStr::from_bytes(name));
    if name.contains(&b'/') {
        return Ok(file.to_owned());
    }
    let path = run.env.iter().find_map(|variable| variable.strip_prefix(b"PATH="));
    search(file, path.unwrap_or(DEFAULT_PATH)).ok_or_else(|| Failed {
        kind: Kind::NotFound,
        said: format!("`{}` can't be run: there is no such program in PATH", file.display()),
    })
}

/// The first file of that name that may be executed; if none may be, the first of that name, so that the kernel says
/// why.
fn search(name: &Path, path: &[u8]) -> Option<PathBuf> {
    let folders = path.split(|byte| *byte == b':');
    // An empty one is the current directory, as for shells.
    let files = folders.map(|folder| Path::new(OsStr::from_bytes(folder)).join(name));
    let mut other = None;
    for file in files {
        match std::fs::metadata(&file) {
            Ok(found)
                if found.is_file()
                    && found.permissions().mode() & 0o111 != 0
                    && system::may_execute(&file) =>
            {
                return Some(file);
            }
            Ok(_) => other = other.or(Some(file)),
            Err(_) => {}
        }
    }
    other
}

fn name_of(run: &Run) -> String {
    run.argv.first().map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default()
}

/// What the kernel's answer means.
fn refused(name: &str, error: &io::Error) -> Failed {
    let (kind, why) = match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            (Kind::NotFound, "there is no such file, or what it needs to run is missing".to_owned())
        }
        ErrorKind::PermissionDenied | ErrorKind::IsADirectory => {
            (Kind::NotExecutable, "it isn't executable".to_owned())
        }
        _ => (Kind::NotExecutable, error.to_string()),
    };
    Failed { kind, said: format!("`{name}` can't be run: {why}") }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn program(argv: &[&str], path: &str) -> Run {
        let texts = |list: &[&str]| list.iter().map(|text| text.as_bytes().to_vec()).collect();
        Run { argv: texts(argv), env: texts(&["A=1", &format!("PATH={path}")]), ..Run::default() }
    }

    #[test]
    fn a_program_is_found_where_a_shell_would_find_it() {
        let dir = std::env::temp_dir().join(format!("mill-init-{}", std::process::id()));
        let file = |name: &str, mode: u32| {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (plain, tool, other) = (file("a/tool", 0o644), file("b/tool", 0o755), file("a/other", 0o644));
        fs::create_dir_all(dir.join("a/folder")).unwrap();
        let path = format!("{0}/none:{0}/a:{0}/b", dir.display());
        let found = |name: &str| find(&program(&[name], &path));
        assert_eq!(found("tool"), Ok(tool), "what may not be executed is passed over");
        assert_eq!(found("other"), Ok(other), "and found if there is no other");
        assert_eq!(found("folder"), Ok(dir.join("a/folder")));
        assert_eq!(found(plain.to_str().unwrap()), Ok(plain));
        assert_eq!(found("./anything"), Ok("./anything".into()));
        let missing = found("nope").unwrap_err();
        assert_eq!(missing.kind, Kind::NotFound);
        assert!(missing.said.contains("`nope`"), "{}", missing.said);
        assert_eq!(find(&program(&[], &path)).unwrap_err().kind, Kind::NotFound);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn failures_have_the_exit_codes_of_a_shell() {
        let table = [(2, 127), (20, 127), (13, 126), (21, 126), (8, 126), (7, 126)];
        for (errno, code) in table {
            assert_eq!(refused("x", &io::Error::from_raw_os_error(errno)).kind.code(), code, "{errno}");
        }
    }
}
