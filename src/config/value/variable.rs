//! Names of environment variables.

use crate::code::Code;
use crate::finding::{Complained, Finding, Findings, quote};
use crate::kdl::Text;
use crate::read::check_nul;
use crate::span::Spanned;

/// What `execve` can carry: not empty, no `=`, no NUL.
pub(crate) fn read(text: &Text, out: &mut Findings) -> Result<Spanned<String>, Complained> {
    check_nul(text, out)?;
    if text.value.is_empty() || text.value.contains('=') {
        let message = format!("{} can't name a variable", quote(&text.value));
        let finding = Finding::new(Code::BadVariable, text.span, message);
        let hint = match text.value.split_once('=') {
            Some((name, value)) if !name.is_empty() && text.value.len() < 60 => {
                format!("write `{name} \"{value}\"`")
            }
            _ => "for example `env { LOG_LEVEL \"info\" }`".to_owned(),
        };
        return Err(out.error(finding.hint(hint)));
    }
    Ok(Spanned::new(text.value.clone(), text.span))
}
