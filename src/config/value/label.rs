//! Labels of nodes.

use crate::code::Code;
use crate::finding::{Complained, Finding, Findings, quote};
use crate::read::{Field, text};

/// Characters of a label or its value: room for `topology.example.com/zone`, short enough for tables.
const LABEL_LENGTH_MAX: usize = 128;

/// A label, or the value of one.
pub(crate) fn read(field: &Field<'_>, out: &mut Findings) -> Result<String, Complained> {
    let text = text(field, out)?;
    let sign = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if text.value.len() <= LABEL_LENGTH_MAX && text.value.chars().all(sign) {
        return Ok(text.value);
    }
    let message = format!("{} is no label", quote(&text.value));
    Err(out.error(Finding::new(Code::BadLabel, text.span, message).hint(field.example())))
}
