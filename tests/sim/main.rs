//! One machine's whole stack of deciders, played from a seed: a user deploys well and badly, programs crash, the disk
//! tears, the daemon dies at any step, and what Mill promises is checked all along.
//!
//! - `mill-sim --seeds N [--from S]` plays N seeds from S (0) on, after those that once found a bug.
//! - `mill-sim --seed S` plays one and prints its whole log.
//!
//! # What is real
//! The log (`mill-wal`, `mill-consensus`, `control::replica`) over the disk that tears, the state (`mill-fsm`), the
//! leader's decisions and its session, the node, the lives of allocs, their records as bytes. What is told here again
//! is what actors do between them, the runtime, the programs, and the user.

mod daemon;
mod dice;
mod outside;
mod seeds;
mod world;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use world::World;
use world::log::Log;
use world::tally::Tally;

/// What was asked for.
struct Asked {
    from: u64,
    seeds: u64,
    one: Option<u64>,
}

const USAGE: &str = "usage: mill-sim [--seeds N] [--from S] | --seed S";

fn asked() -> Option<Asked> {
    let mut asked = Asked { from: 0, seeds: 2000, one: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next()?.parse().ok()?;
        match word.as_str() {
            "--seeds" => asked.seeds = number,
            "--from" => asked.from = number,
            "--seed" => asked.one = Some(number),
            _ => return None,
        }
    }
    Some(asked)
}

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let Some(asked) = asked() else {
        let _ = writeln!(out, "{USAGE}");
        return ExitCode::FAILURE;
    };
    let failed = match asked.one {
        Some(seed) => one(&mut out, seed),
        None => many(&mut out, &asked),
    };
    // Whoever reads this may have gone away.
    match failed {
        Ok(0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn one(out: &mut impl std::io::Write, seed: u64) -> std::io::Result<u64> {
    let mut world = World::new(seed, Log::whole());
    let result = world.play();
    for line in world.log.lines() {
        writeln!(out, "{line}")?;
    }
    let failed = u64::from(result.is_err());
    if let Err(what) = result {
        writeln!(out, "seed {seed} failed: {what}")?;
    }
    writeln!(out, "{}", world.tally)?;
    writeln!(out, "{} passed, {failed} failed", 1 - failed)?;
    Ok(failed)
}

fn many(out: &mut impl std::io::Write, asked: &Asked) -> std::io::Result<u64> {
    let known = seeds::REGRESSIONS.iter().map(|(seed, _)| *seed);
    let seeds: Vec<u64> = known.chain(asked.from..asked.from.saturating_add(asked.seeds)).collect();
    let (failures, tally) = play_all(&seeds);
    for (seed, what) in &failures {
        tell(out, *seed, what)?;
    }
    writeln!(out, "{tally}")?;
    let failed = failures.len() as u64;
    writeln!(out, "{} passed, {failed} failed", seeds.len() as u64 - failed)?;
    Ok(failed)
}

/// Plays a failed seed again, for the end of its log.
fn tell(out: &mut impl std::io::Write, seed: u64, what: &String) -> std::io::Result<()> {
    let mut world = World::new(seed, Log::last());
    let again = world.play();
    writeln!(out, "seed {seed} failed: {what}")?;
    if again.as_ref().err() != Some(what) {
        writeln!(out, "  played again: {again:?}")?;
    }
    for line in world.log.lines() {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "  again, with all of its log: cargo xtask sim --seed {seed}")
}

/// Plays on all cores; the failures, by seed, and what was played.
fn play_all(seeds: &[u64]) -> (Vec<(u64, String)>, Tally) {
    let next = AtomicU64::new(0);
    let (tell, told) = mpsc::channel();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            let tell = tell.clone();
            scope.spawn(|| {
                let tell = tell;
                while let Some(seed) = take(seeds, &next) {
                    let mut world = World::new(seed, Log::off());
                    let result = world.play();
                    let _ = tell.send((seed, result, world.tally));
                }
            });
        }
    });
    drop(tell);
    let (mut failures, mut tally) = (vec![], Tally::default());
    for (seed, result, played) in told {
        tally += played;
        failures.extend(result.err().map(|what| (seed, what)));
    }
    failures.sort();
    failures.dedup();
    (failures, tally)
}

fn take(seeds: &[u64], next: &AtomicU64) -> Option<u64> {
    let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok()?;
    seeds.get(index).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(print: impl Fn(&mut Vec<u8>) -> std::io::Result<()>) -> String {
        let mut out = vec![];
        print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn story(seed: u64) -> String {
        printed(|out| one(out, seed).map(|_| ()))
    }

    /// Seeds in whose stories much happens.
    fn lively() -> impl Iterator<Item = u64> {
        (0..).filter(|seed| story(*seed).lines().count() > 300)
    }

    #[test]
    fn a_seed_tells_the_same_story_each_time_and_another_one_another() {
        let seeds: Vec<u64> = lively().take(3).collect();
        let stories: Vec<String> = seeds.iter().map(|seed| story(*seed)).collect();
        for (seed, first) in seeds.iter().zip(&stories) {
            assert!(first.ends_with("1 passed, 0 failed\n"), "{first}");
            assert!(*first == story(*seed), "seed {seed} told two stories");
        }
        assert!(stories[0] != stories[1] && stories[1] != stories[2]);
    }

    #[test]
    fn a_failure_names_its_seed_and_shows_the_end_of_its_log() {
        let seed = lively().next().unwrap();
        let told = printed(|out| tell(out, seed, &"made up".to_owned()));
        let begin = format!("seed {seed} failed: made up\n  played again: Ok(())\n");
        assert!(told.starts_with(&begin), "{told}");
        assert!(told.ends_with(&format!("cargo xtask sim --seed {seed}\n")), "{told}");
        let last = |text: &str, behind: usize| {
            let lines = text.lines().rev().skip(behind).take(80).map(|line| line.trim().to_owned());
            lines.collect::<Vec<_>>()
        };
        assert_eq!(last(&told, 1), last(&story(seed), 2));
    }

    #[test]
    fn what_was_played_is_counted_and_printed() {
        let asked = Asked { from: 0, seeds: 12, one: None };
        let told = printed(|out| many(out, &asked).map(|_| ()));
        let played = told.lines().find(|line| line.starts_with("played:")).unwrap_or_default();
        for what in ["deploys", "containers run", "crashes of the daemon", "power losses"] {
            let (before, _) = played.split_once(what).unwrap_or_default();
            let count: u64 = before.trim_end().rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            assert!(count > 0, "no {what}: {told}");
        }
    }
}
