//! Exports of file servers.

use crate::code::Code;
use crate::finding::{Finding, Findings, quote};
use crate::read::Read;
use crate::span::Spanned;

/// `HOST:/EXPORT`; an IPv6 address stands in brackets.
pub(crate) fn read(text: Spanned<String>, out: &mut Findings) -> Read<String> {
    let (host, export) = text.value.split_once(":/").unwrap_or_default();
    let plain = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    let v6 = |part: &str| part.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'));
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_good = !host.is_empty() && bracketed.map_or_else(|| plain(host), v6);
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == ',';
    if host_good && !export.contains(odd) && !export.split('/').any(|part| part == "..") {
        return Ok(text);
    }
    let message = format!("{} is no export", quote(&text.value));
    Err(out.error(Finding::new(Code::BadExport, text.span, message).hint("for example \"10.0.0.9:/export\"")))
}
