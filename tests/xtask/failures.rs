//! What a run printed about each thing that failed, so that it can be shown once more at the end: of a long run's
//! output the end is what is read, and what is kept.

/// Lines shown of one failure: those of both logs that a story ends with, and some.
const LINES: usize = 100;
/// Failures shown of one run. With more of them the first ones tell.
const SHOWN: usize = 8;

/// What a line says of the thing it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
}

/// The lines of each failure, from the one that names it to the next thing's.
pub(crate) fn failures_of(lines: &[String]) -> Vec<String> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    let mut within = false;
    for line in lines.iter().map(|line| line.trim_end()) {
        match verdict(line) {
            Some(Verdict::Passed) => within = false,
            // cargo-nextest names them again below its summary
            Some(Verdict::Failed) if blocks.iter().any(|block| block.first() == Some(&line)) => {
                within = false;
            }
            Some(Verdict::Failed) => {
                within = true;
                blocks.push(vec![line]);
            }
            None if within => blocks.last_mut().into_iter().for_each(|block| block.push(line)),
            None => {}
        }
    }
    blocks.into_iter().take(SHOWN).map(shown).collect()
}

/// The first line, and the last ones: what went wrong is said at the end.
fn shown(block: Vec<&str>) -> String {
    let left_out = block.len().saturating_sub(LINES);
    let mut lines = block.into_iter();
    let first = lines.next().map(str::to_owned);
    let gap = (left_out > 0).then(|| format!("  … {left_out} lines above"));
    first.into_iter().chain(gap).chain(lines.skip(left_out).map(str::to_owned)).collect::<Vec<_>>().join("\n")
}

fn verdict(line: &str) -> Option<Verdict> {
    let word = |passed: bool| Some(if passed { Verdict::Passed } else { Verdict::Failed });
    // our stories: "story NAME ... ok (1.2 s)"; cargo's harness: "test NAME ... ok"
    if let Some((_, ended)) = ["story ", "test "]
        .iter()
        .find_map(|kind| line.strip_prefix(kind))
        .and_then(|rest| rest.split_once(" ... "))
    {
        return word(!ended.starts_with("FAILED"));
    }
    // our simulation: "seed 17 failed: …"
    if line.strip_prefix("seed ").is_some_and(|rest| rest.contains(" failed: ")) {
        return word(false);
    }
    // cargo-nextest: "        PASS [   0.007s] (1/835) crate test"
    let (status, rest) = line.trim_start().split_once(" [")?;
    match status {
        _ if !rest.trim_start().starts_with(|first: char| first.is_ascii_digit()) => None,
        "PASS" | "SLOW" | "Summary" => word(true),
        "FAIL" | "TIMEOUT" | "ABORT" => word(false),
        signal if signal.starts_with("SIG") => word(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_failure_is_shown_with_the_lines_below_it() {
        let told = lines(
            "story a ... ok (0.1 s)\nstory b ... FAILED (2.0 s)\n  --- the end of mill.log\n  died\n\
             story c ... ok (0.1 s)\nelse\n2 passed, 1 failed",
        );
        assert_eq!(failures_of(&told), ["story b ... FAILED (2.0 s)\n  --- the end of mill.log\n  died"]);
        let told = lines(
            "        PASS [   0.007s] (1/3) x a\n        FAIL [   0.007s] (2/3) x b\n  stderr\n   it broke\n\
             \x20       PASS [   0.007s] (3/3) x c\n     Summary [ 1.0s] 3 tests run: 2 passed, 1 failed\n\
             \x20       FAIL [   0.007s] (2/3) x b\nerror: test run failed",
        );
        assert_eq!(failures_of(&told), ["        FAIL [   0.007s] (2/3) x b\n  stderr\n   it broke"]);
        let told = lines("seed 3 failed: two of one\n  line\ntest a ... ok\ntest b ... FAILED");
        assert_eq!(failures_of(&told), ["seed 3 failed: two of one\n  line", "test b ... FAILED"]);
    }

    #[test]
    fn a_long_failure_is_shown_from_its_end_and_of_many_the_first() {
        let long: String = (0..500).map(|line| format!("line {line}\n")).collect();
        let shown = failures_of(&lines(&format!("story a ... FAILED (1 s)\n{long}")));
        let first = shown.first().expect("one failure");
        assert!(first.starts_with("story a ... FAILED (1 s)\n  … 401 lines above\n"), "{first}");
        assert!(first.ends_with("line 499"), "{first}");
        let many: String = (0..50).map(|seed| format!("seed {seed} failed: so\n")).collect();
        assert_eq!(failures_of(&lines(&many)).len(), SHOWN);
    }
}
