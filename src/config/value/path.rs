//! Paths within a container.

use mill_model::limits;

use crate::code::Code;
use crate::finding::{Finding, Findings, quote};
use crate::read::Read;
use crate::span::Spanned;

/// A path that is absolute and stays where it says.
pub(crate) fn read(text: Spanned<String>, out: &mut Findings) -> Read<String> {
    let path = &text.value;
    let refuse = |message: String| Finding::new(Code::BadPath, text.span, message);
    if !path.starts_with('/') {
        let finding = refuse(format!("{} is no absolute path", quote(path)));
        let hint = format!("did you mean \"/{}\"?", path.trim_start_matches("./"));
        return Err(out.error(if path.len() < 60 { finding.hint(hint) } else { finding }));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(
            out.error(refuse(format!("{} goes up by `..`", quote(path))).hint("write where it leads to"))
        );
    }
    if path.len() > limits::PATH_BYTES_MAX {
        let reason = format!("the kernel takes paths of at most {} bytes", limits::PATH_BYTES_MAX);
        return Err(out.error(refuse(format!("a path of {} bytes", path.len())).because(reason)));
    }
    Ok(text)
}

/// A path to mount something at.
pub(crate) fn read_mount(text: Spanned<String>, out: &mut Findings) -> Read<String> {
    let path = read(text, out)?;
    if tidy(&path.value).is_empty() {
        let finding = Finding::new(Code::BadPath, path.span, "a mount at `/`");
        let finding = finding.because("it would hide everything in the image");
        return Err(out.error(finding.hint("mount it at a directory: \"/data\"")));
    }
    Ok(path)
}

/// The path without what makes no difference: `//`, `/./`, a `/` at the end. The root is empty.
pub(crate) fn tidy(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.fold(String::new(), |tidy, part| tidy + "/" + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_path_are_one() {
        for (path, same) in
            [("/", ""), ("//", ""), ("/a", "/a"), ("/a/", "/a"), ("/a//./b/", "/a/b"), ("/.a", "/.a")]
        {
            assert_eq!(tidy(path), same, "{path}");
        }
    }
}
