//! What runc says when there is no program to run: the only way to know it for programs in volumes, and for programs
//! executed in a running container. Wordings of runc 1.0 to 1.2, and of crun where they agree.

use crate::containers::Missing;

/// The program and what is wrong with it, if that is what a failure's text says.
pub(super) fn missing_command(text: &str) -> Option<(String, Missing)> {
    let reason = if text.contains("executable file not found in") {
        Missing::NotFound
    } else if text.contains("exec: ") || text.contains("exec failed: ") {
        match () {
            () if text.contains("no such file or directory") => Missing::NotFound,
            () if text.contains("permission denied") => Missing::NotExecutable,
            () if text.contains("is a directory") => Missing::NotExecutable,
            () if text.contains("exec format error") => Missing::NotExecutable,
            () => return None,
        }
    } else {
        return None;
    };
    Some((quoted(text).unwrap_or_default(), reason))
}

/// The program in `exec: "PROGRAM": …`, or in `stat PROGRAM: …`.
fn quoted(text: &str) -> Option<String> {
    let (_, rest) = text.rsplit_once("exec: ")?;
    let rest = rest.trim_start_matches(['\\', '"']);
    let end = rest.find(['"', '\\', ':'])?;
    rest.get(..end).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runc_says_of_missing_programs_is_understood() {
        let create = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start \
                      container process: ";
        let table = [
            (
                r#"exec: "nope": executable file not found in $PATH: unknown"#,
                Some(("nope", Missing::NotFound)),
            ),
            (
                r#"exec: "/data/x": stat /data/x: no such file or directory: unknown"#,
                Some(("/data/x", Missing::NotFound)),
            ),
            (
                r#"exec: "/etc/passwd": permission denied: unknown"#,
                Some(("/etc/passwd", Missing::NotExecutable)),
            ),
            (r#"exec: "/etc": is a directory: unknown"#, Some(("/etc", Missing::NotExecutable))),
            (r#"error mounting "/x" to rootfs at "/y": mount: no such file or directory: unknown"#, None),
            ("can't get final child's PID from pipe: EOF: unknown", None),
        ];
        for (text, wanted) in table {
            let got = missing_command(&format!("{create}{text}"));
            assert_eq!(got, wanted.map(|(command, reason)| (command.to_owned(), reason)), "{text}");
        }
    }
}
