//! Medians and spreads, and how they are printed.

use std::io::{self, Write as _};
use std::time::Duration;

use crate::harness::{Context as _, Failed};

/// Prints a line.
pub(super) fn say(line: &str) -> Result<(), Failed> {
    writeln!(io::stdout(), "{line}").or_fail("stdout")
}

/// A median and its spread: `34.1 MB [33.9, 34.6]`.
pub(super) fn figure(values: &[f64], unit: &str) -> Result<String, Failed> {
    let [low, middle, high] = percentiles(values)?.map(short);
    Ok(format!("{middle} {unit} [{low}, {high}]"))
}

/// As many digits as say something.
fn short(value: f64) -> String {
    let digits = match value {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
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
    let [low, middle, high] = percentiles(rates)?.map(short);
    let [_, floor, _] = percentiles(theirs)?.map(short);
    let [ratio_low, ratio, ratio_high] = percentiles(&ratios)?;
    say(&format!(
        "{what}: median {middle} /s, p10 {low}, p90 {high}, {} times; beside {peer} {floor} /s: ratio {ratio:.2} [{ratio_low:.2}, {ratio_high:.2}]",
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
    fn a_figure_has_a_median_and_its_spread_in_few_digits() {
        assert_eq!(figure(&[0.123, 34.56, 1234.5], "MB").unwrap(), "34.6 MB [0.12, 1234]");
        assert!(figure(&[], "MB").is_err());
    }

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
