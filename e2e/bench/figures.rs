//! Medians and spreads, and how they are printed.

use std::io::{self, Write as _};
use std::time::Duration;

use crate::harness::{Context as _, Failed};

/// Prints a line.
pub(super) fn say(line: &str) -> Result<(), Failed> {
    writeln!(io::stdout(), "{line}").or_fail("stdout")
}

/// Prints how long something took.
pub(super) fn report(what: &str, took: &[Duration]) -> Result<(), Failed> {
    say(&format!("{what}: {}", spread(took)?))
}

/// Prints how long something took beside a peer that was measured in the same rounds, and the ratio.
pub(super) fn beside(
    (what, took): (&str, &[Duration]),
    (peer, theirs): (&str, &[Duration]),
) -> Result<(), Failed> {
    let pairs = took.iter().zip(theirs);
    let ratios: Vec<f64> = pairs.map(|(ours, theirs)| ours.as_secs_f64() / theirs.as_secs_f64()).collect();
    let [low, middle, high] = percentiles(&ratios)?;
    report(what, took)?;
    say(&format!("    beside {peer}: {}; ratio {middle:.2} [{low:.2}, {high:.2}]", spread(theirs)?))
}

/// Prints a rate beside a peer's that was measured in the same rounds, and the ratio.
pub(super) fn rates_beside(
    (what, rates): (&str, &[f64]),
    (peer, theirs): (&str, &[f64]),
) -> Result<(), Failed> {
    let ratios: Vec<f64> = rates.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    let [low, middle, high] = percentiles(rates)?;
    let [_, floor, _] = percentiles(theirs)?;
    let [ratio_low, ratio, ratio_high] = percentiles(&ratios)?;
    say(&format!(
        "{what}: median {middle:.0} /s, p10 {low:.0}, p90 {high:.0}, {} times; beside {peer} {floor:.0} /s: ratio {ratio:.2} [{ratio_low:.2}, {ratio_high:.2}]",
        rates.len()
    ))
}

fn spread(took: &[Duration]) -> Result<String, Failed> {
    let seconds: Vec<f64> = took.iter().map(Duration::as_secs_f64).collect();
    let [low, middle, high] = percentiles(&seconds)?.map(Duration::from_secs_f64);
    Ok(format!("median {middle:.1?}, p10 {low:.1?}, p90 {high:.1?}, {} times", took.len()))
}

/// The value below which a tenth, half and nine tenths of `values` lie: the nearest one that was measured.
///
/// # Errors
/// There is none: nothing was measured.
fn percentiles(values: &[f64]) -> Result<[f64; 3], Failed> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1).or_fail("nothing was measured")?;
    Ok([10, 50, 90].map(|share| sorted.get((last * share + 50) / 100).copied().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        for (values, expected) in [
            (vec![3.0], [3.0, 3.0, 3.0]),
            (vec![2.0, 1.0, 3.0], [1.0, 2.0, 3.0]),
            ((0..=100).map(f64::from).collect(), [10.0, 50.0, 90.0]),
        ] {
            assert_eq!(percentiles(&values).unwrap(), expected, "{values:?}");
        }
        assert!(percentiles(&[]).is_err());
    }
}
