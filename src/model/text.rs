//! Texts for people: quantities, and what came from outside, within bounds.

/// A text of at most `chars_max` characters: a longer one loses its end, and says so by an ellipsis.
#[must_use]
pub fn cut(mut text: String, chars_max: usize) -> String {
    let is_too_long = text.chars().nth(chars_max).is_some();
    let end = text.char_indices().nth(chars_max.saturating_sub(1)).map(|(index, _)| index);
    if let Some(end) = end.filter(|_| is_too_long) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Bytes that go over a network: `48 MB`.
#[must_use]
pub fn transfer(bytes: u64) -> String {
    scaled(bytes, 1000, [" B", " kB", " MB", " GB", " TB"])
}

/// An amount in the largest unit that leaves a digit before the point, with a digit behind it while that matters.
#[must_use]
pub fn scaled(amount: u64, base: u64, units: [&str; 5]) -> String {
    let mut unit = 0;
    let mut size = 1;
    while unit + 1 < units.len() && amount / size >= base {
        size *= base;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or_default();
    let whole = amount / size;
    let tenth = u128::from(amount % size) * 10 / u128::from(size);
    match tenth == 0 || whole >= 100 {
        true => format!("{whole}{name}"),
        false => format!("{whole}.{tenth}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_too_long_is_cut_and_never_within_a_character() {
        for (text, whole) in [("", ""), ("äöü", "äöü"), ("äöüß", "äöüß"), ("äöüßa", "äöü…")]
        {
            assert_eq!(cut(text.to_owned(), 4), whole);
        }
    }
}
