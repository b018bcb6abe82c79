//! Numbers of KDL: `10`, `-1_000`, `0.5`, `1e3`, `0xff`, `0o17`, `0b101`.

/// Whether `text` is a number of KDL (2.0, "Number").
pub(super) fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = unsigned.strip_prefix(prefix) {
            return is_digits(digits, radix);
        }
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let decimal = |part: &str| is_digits(part, 10);
    decimal(whole) && fraction.is_none_or(decimal) && exponent.is_none_or(decimal)
}

/// Digits, and `_` anywhere but at the start.
fn is_digits(text: &str, radix: u32) -> bool {
    !text.is_empty() && !text.starts_with('_') && text.chars().all(|c| c == '_' || c.is_digit(radix))
}

/// The whole number that `text` writes; `None`: it has a fraction or an exponent, or is beyond 128 bits.
pub(crate) fn integer(text: &str) -> Option<i128> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    let (negative, unsigned) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let (digits, radix) = match unsigned.get(..2) {
        Some("0x") => (unsigned.get(2..)?, 16),
        Some("0o") => (unsigned.get(2..)?, 8),
        Some("0b") => (unsigned.get(2..)?, 2),
        _ => (unsigned, 10),
    };
    let value = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// The number that `text` writes, as near as 64 bits come.
pub(crate) fn float(text: &str) -> f64 {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    match integer(&plain) {
        #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 only the magnitude matters here")]
        Some(whole) => whole as f64,
        None => plain.parse().unwrap_or(f64::INFINITY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_from_what_only_looks_like_one() {
        for good in ["0", "-1", "+1_000", "1.5", "1_0.2_5", "1e3", "1.5E-3", "0xff_00", "-0b101", "0o17"] {
            assert!(is_number(good), "{good}");
        }
        for bad in [
            "", "-", "1.", ".5", "1._5", "0x", "0x_f", "0xg", "0b2", "1e", "10s", "512M", "1,", "1.2.3",
            "--1",
        ] {
            assert!(!is_number(bad), "{bad}");
        }
    }

    #[test]
    fn numbers_have_their_values() {
        for (text, value) in
            [("1_000", Some(1000)), ("-0x10", Some(-16)), ("+0b11", Some(3)), ("0o17", Some(15))]
        {
            assert_eq!(integer(text), value, "{text}");
        }
        assert_eq!(integer("1.0"), None);
        assert_eq!(integer(&"9".repeat(60)), None);
        assert!((float("1_0.2_5") - 10.25).abs() < 1e-9);
        assert!(float(&"9".repeat(999)).is_infinite());
        assert!((float("0x10") - 16.0).abs() < 1e-9);
    }
}
