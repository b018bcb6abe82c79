//! Devices of the node.

use super::path;
use crate::code::Code;
use crate::finding::{Finding, Findings, quote};
use crate::read::Read;
use crate::span::Spanned;

/// A path below `/dev`.
pub(crate) fn read(text: Spanned<String>, out: &mut Findings) -> Read<String> {
    let below = path::tidy(&text.value).starts_with("/dev/");
    let straight =
        text.value.starts_with("/dev/") && !text.value.split('/').any(|part| matches!(part, "." | ".."));
    if below && straight {
        return Ok(text);
    }
    let message = format!("{} is no device", quote(&text.value));
    Err(out.error(Finding::new(Code::BadDevice, text.span, message).hint("for example \"/dev/fuse\"")))
}
