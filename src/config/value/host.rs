//! Host names and paths of routes.

use crate::code::Code;
use crate::finding::{Complained, Finding, Findings, quote};
use crate::span::Spanned;

/// A host as clients ask for it: lower case; the first label may be `*`.
pub(crate) fn read(text: &Spanned<String>, out: &mut Findings) -> Result<String, Complained> {
    let host = text.value.to_lowercase();
    if is_host(&host) {
        return Ok(host);
    }
    let finding = Finding::new(Code::BadHost, text.span, format!("{} is no host name", quote(&text.value)));
    let finding = match host.split_once("://") {
        Some((_, rest)) => finding
            .because("a route takes the host alone; Mill serves http and https by itself")
            .maybe_hint(just_host(rest)),
        None if host.contains('/') => finding.because("the path is a field of its own").maybe_hint(just_host(&host)),
        None if host.contains(':') => {
            finding.because("routes are served on ports 80 and 443").maybe_hint(just_host(&host))
        }
        None if !host.is_ascii() => finding.hint("write it as DNS carries it: `xn--…`"),
        None if host.contains('*') => {
            finding.because("`*` stands for the whole first label, and only there").hint("for example `*.example.com`")
        }
        None => finding
            .because("a host name has labels of letters, digits and `-`, at most 63 of them each, set apart by dots")
            .hint("for example `shop.example.com`"),
    };
    Err(out.error(finding))
}

fn just_host(rest: &str) -> Option<String> {
    let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
    let host = host.split(':').next().filter(|host| is_host(host))?;
    Some(match path {
        "" => format!("write `route \"{host}\"`"),
        path if path.len() < 60 => format!("write `route \"{host}\" path=\"/{path}\"`"),
        _ => format!("write `route \"{host}\" path=\"…\"`"),
    })
}

/// RFC 1123 §2.1, and `*` for the first label.
fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let named = host.strip_prefix("*.").unwrap_or(host);
    host.len() <= 253 && named.split('.').all(label)
}

/// A path prefix as specs write it: no `/` at its end, save the root's.
pub(crate) fn read_prefix(text: &Spanned<String>, out: &mut Findings) -> Result<String, Complained> {
    let path = text.value.as_str();
    let refuse = |message: String| Finding::new(Code::BadPath, text.span, message);
    if !path.starts_with('/') {
        let finding = refuse(format!("the path {} doesn't begin with `/`", quote(path)));
        let finding = finding.because("every path of a request begins with `/`");
        let hint = format!("did you mean \"/{path}\"?");
        return Err(out.error(if path.len() < 60 { finding.hint(hint) } else { finding }));
    }
    let part_good = |part: &str| !matches!(part, "." | "..");
    let good = |c: char| {
        c.is_ascii_graphic()
            && !matches!(c, '?' | '#' | '*' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}')
    };
    if !path.chars().all(good) || !path.split('/').all(part_good) || path.contains("//") {
        let finding = refuse(format!("{} is no path prefix", quote(path)));
        let finding = finding.because("a prefix is compared with the path of a request: no query, no pattern, no `..`, no `//`, and other characters as `%XX`");
        return Err(out.error(finding.hint("for example \"/api\", which serves /api and all below it")));
    }
    let trimmed = path.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_dns_names() {
        for good in
            ["localhost", "shop.example.com", "*.example.com", "xn--bcher-kva.example", "a-1.b", "10.0.0.1"]
        {
            assert!(is_host(good), "{good}");
        }
        let long = "a".repeat(64);
        for bad in
            ["", ".", "a.", "*", "a.*.b", "*a.b", "-a.b", "a_b.c", "a b", "a:80", &long, &"a.".repeat(127)]
        {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
