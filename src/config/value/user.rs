//! Users and groups of a container.

use crate::code::Code;
use crate::finding::{Complained, Finding, Findings, quote};
use crate::kdl::{Value, integer};
use crate::read::{Field, plain, single, wrong_type};

/// `user`, `user:group`, `1000`, `1000:1000`.
pub(crate) fn read(field: &Field<'_>, out: &mut Findings) -> Result<String, Complained> {
    let entry = single(field, out)?;
    let written = match &entry.value {
        Value::Number(number) => integer(number).map_or_else(|| number.clone(), |number| number.to_string()),
        Value::Text(_) => plain(field, entry, out)?.value.clone(),
        _ => return Err(wrong_type(field, entry, out)),
    };
    let (user, group) = match written.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (written.as_str(), None),
    };
    if is_account(user) && group.is_none_or(is_account) {
        return Ok(written);
    }
    let message = format!("{} is no user", quote(&written));
    Err(out.error(
        Finding::new(Code::BadUser, entry.span, message)
            .hint("for example \"app\", \"app:www\", \"1000:1000\""),
    ))
}

/// A name that `/etc/passwd` can hold, or a number that the kernel takes (the last means "leave as it is").
fn is_account(text: &str) -> bool {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse::<u32>().is_ok_and(|number| number < u32::MAX);
    }
    !text.starts_with('-')
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, ':' | '/' | ','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_name_or_a_number() {
        for good in ["app", "www-data", "0", "1000", "_x", "a.b", "DOMAIN\\x", "4294967294"] {
            assert!(is_account(good), "{good}");
        }
        for bad in ["", "-1", "a b", "a:b", "4294967295", "99999999999", "a\nb"] {
            assert!(!is_account(bad), "{bad}");
        }
    }
}
