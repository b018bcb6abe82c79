//! What ran, how long, and how it ended.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::failures::failures_of;
use crate::shell::{Shell, Trouble, say};

/// One thing that was to pass.
#[derive(Debug)]
struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// All of them, in order.
#[derive(Debug, Default)]
pub(crate) struct Tally(Vec<Row>);

/// What a step came to: checks that passed and that failed, and what there is to say of those.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    passed: usize,
    failed: usize,
    failures: Vec<String>,
}

impl Outcome {
    /// One thing, which passed.
    pub(crate) fn passed() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// So many things, which all passed.
    pub(crate) fn all_of(passed: usize) -> Self {
        Self { passed, ..Self::default() }
    }

    fn trouble(trouble: &Trouble) -> Self {
        Self { passed: 0, failed: 1, failures: vec![trouble.to_string()] }
    }
}

type Counts = (usize, usize);

impl Tally {
    /// Runs a step and notes what came of it. A step that can't run is one that failed; the next one runs anyway,
    /// so that one look shows all that is wrong.
    pub(crate) fn step(&mut self, name: &'static str, run: impl FnOnce() -> Result<Outcome, Trouble>) {
        say(&format!("\n── {name}"));
        let begun = Instant::now();
        let outcome = run().unwrap_or_else(|trouble| {
            say(&trouble.to_string());
            Outcome::trouble(&trouble)
        });
        self.0.push(Row { name, outcome, took: begun.elapsed() });
    }

    /// Prints what failed once more, and the table; true if nothing failed.
    pub(crate) fn close(&self, begun: Instant) -> bool {
        for row in &self.0 {
            for failure in &row.outcome.failures {
                say(&format!("\n── failed: {}\n{failure}", row.name));
            }
        }
        say("\nwhat ran            took   passed   failed");
        for row in &self.0 {
            let took = format!("{:.1} s", row.took.as_secs_f64());
            let Outcome { passed, failed, .. } = row.outcome;
            let mark = if failed == 0 { "" } else { "   FAILED" };
            say(&format!("{:<14} {took:>9} {passed:>8} {failed:>8}{mark}", row.name));
        }
        let sum = |count: fn(&Outcome) -> usize| self.0.iter().map(|row| count(&row.outcome)).sum::<usize>();
        let failed = sum(|outcome| outcome.failed);
        say(&format!("{:<14} {:>7.1} s\n", "all", begun.elapsed().as_secs_f64()));
        say(&format!("{} passed, {failed} failed", sum(|outcome| outcome.passed)));
        failed == 0
    }
}

/// A command that passes or fails as a whole.
pub(crate) fn whole(shell: Shell) -> Result<Outcome, Trouble> {
    shell.run().map(|()| Outcome::passed())
}

/// A command that counts its tests by itself: cargo's own test harness, cargo-nextest, or our runners.
pub(crate) fn counted(shell: Shell) -> Result<Outcome, Trouble> {
    let program = shell.shown().to_owned();
    let (status, lines) = shell.watch()?;
    let (passed, failed) = lines.iter().filter_map(|line| counts_of(line)).fold((0, 0), add);
    match (status.success(), passed, failed) {
        // it didn't compile, or a test took the whole process down
        (false, _, 0) => Err(Trouble::Ended { program, status }),
        // a run without a test proves nothing
        (true, 0, 0) => Err(none(&program, status)),
        _ => Ok(Outcome { passed, failed, failures: failures_of(&lines) }),
    }
}

fn none(program: &str, status: ExitStatus) -> Trouble {
    Trouble::Unexpected {
        what: "at least one test",
        seen: format!("none by `{program}`, which ended with {status}"),
    }
}

fn add(sum: Counts, counts: Counts) -> Counts {
    (sum.0 + counts.0, sum.1 + counts.1)
}

/// The counts in a summary line; `None` for every other line.
fn counts_of(line: &str) -> Option<Counts> {
    let line = line.trim();
    let ours = line.strip_suffix(" failed").and_then(|rest| rest.split_once(" passed, "));
    if let Some((passed, failed)) = ours {
        return Some((passed.parse().ok()?, failed.parse().ok()?));
    }
    // "test result: ok. 12 passed; 0 failed; …" and "Summary [ 1.2s] 13 tests run: 12 passed, 1 failed, 0 skipped"
    let summary = line.strip_prefix("test result: ").or_else(|| {
        line.strip_prefix("Summary [").and_then(|rest| rest.split_once(" run: ")).map(|(_, counts)| counts)
    })?;
    let count = |what: &str| {
        let mut words = summary.split([' ', ';', ',', '(', ')']).filter(|word| !word.is_empty()).peekable();
        let mut found = 0;
        while let Some(word) = words.next() {
            if words.peek() == Some(&what) {
                found = word.parse().unwrap_or(0);
            }
        }
        found
    };
    // an ignored test is one that should run and doesn't
    let failed = count("failed") + count("timed") + count("ignored");
    Some((count("passed"), failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_counted_and_other_lines_are_not() {
        for (line, counts) in [
            (
                "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.1s",
                Some((12, 0)),
            ),
            ("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out", Some((1, 2))),
            ("test result: ok. 1 passed; 0 failed; 4 ignored; 0 measured; 0 filtered out", Some((1, 4))),
            ("     Summary [   1.234s] 13 tests run: 12 passed (1 slow), 1 failed, 0 skipped", Some((12, 1))),
            ("     Summary [   1.234s] 13 tests run: 12 passed, 1 timed out, 0 skipped", Some((12, 1))),
            ("13 passed, 2 failed", Some((13, 2))),
            ("test deploy::a_task_failed ... ok", None),
            ("2 failed", None),
            ("seeds: all passed, none failed", None),
        ] {
            assert_eq!(counts_of(line), counts, "{line}");
        }
    }

    #[test]
    fn a_run_fails_by_its_counts_by_its_code_and_by_running_nothing() {
        let shell = |script: &str| {
            counted(Shell::new("sh").args(["-c", script])).map(|outcome| (outcome.passed, outcome.failed))
        };
        assert_eq!(shell("echo 3 passed, 0 failed").unwrap(), (3, 0));
        assert_eq!(shell("echo 3 passed, 1 failed; exit 1").unwrap(), (3, 1));
        assert!(shell("echo 3 passed, 0 failed; exit 1").is_err());
        assert!(shell("true").is_err());
    }

    #[test]
    fn one_failure_fails_the_tally_and_the_rest_still_runs() {
        let mut tally = Tally::default();
        tally.step("good", || Ok(Outcome::passed()));
        assert!(tally.close(Instant::now()));
        tally.step("bad", || Err(Trouble::NotRoot));
        tally.step("good", || Ok(Outcome::passed()));
        assert!(!tally.close(Instant::now()));
        assert_eq!(tally.0.len(), 3);
    }
}
