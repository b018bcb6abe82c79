//! Permission bits of a file within a container.

use crate::code::Code;
use crate::finding::{Finding, Findings, quote};
use crate::read::Read;
use crate::span::Spanned;

/// `"0440"`, `"640"`: octal, as chmod takes them; somebody can read the file.
pub(crate) fn read(text: &Spanned<String>, out: &mut Findings) -> Read<u32> {
    let digits = matches!(text.value.len(), 3 | 4) && text.value.bytes().all(|b| b.is_ascii_digit());
    let bits = u32::from_str_radix(&text.value, 8).ok().filter(|bits| digits && *bits <= 0o777);
    let refuse = |message: String| {
        Finding::new(Code::BadMode, text.span, message)
            .hint("for example \"0400\" for its owner, \"0440\" for its group too")
    };
    match bits {
        Some(bits) if bits & 0o444 != 0 => Ok(Spanned::new(bits, text.span)),
        Some(_) => Err(out.error(refuse(format!("with the mode {} nobody can read it", quote(&text.value))))),
        None => Err(out.error(refuse(format!("{} is no mode of a file", quote(&text.value))))),
    }
}
