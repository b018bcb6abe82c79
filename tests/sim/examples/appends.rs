//! Replicated writes a second on one voter with a real disk, beside a loop of bare writes and fdatasyncs.
//!
//! `cargo run --release -p mill-sim --example appends [DIRECTORY]`: below that directory, or the current one, it makes
//! one of its own and removes it again (a RAM disk would prove nothing).

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mill_control::replica::{Config, Replica};
use mill_drivers::disk::{Directory, Disk, RealDisk};

/// A command's bytes.
const PAYLOAD: usize = 256;
/// How long each measurement lasts: short, because a shared disk changes its mind by a factor of ten within seconds,
/// and both sides of a ratio must see the same disk.
const LASTS: Duration = Duration::from_millis(150);
/// Pairs of measurements of each kind, one right after the other; medians are printed.
const PAIRS: usize = 15;

fn main() -> Result<(), Box<dyn Error>> {
    let below = std::env::args()
        .skip(1)
        .find(|arg| !arg.starts_with("--"))
        .map_or_else(|| PathBuf::from("."), PathBuf::from);
    let place = below.join(format!("appends-{}", std::process::id()));
    std::fs::create_dir_all(&below)?;
    let result = measure_all(&place);
    std::fs::remove_dir_all(&place)?;
    result
}

fn measure_all(place: &Path) -> Result<(), Box<dyn Error>> {
    println!("{PAYLOAD} bytes each; medians of {PAIRS} pairs, quartiles of the ratio in brackets");
    for outstanding in [1, 16, 64, 256, 1024] {
        let (mut rates, mut bares, mut ratios) = (vec![], vec![], vec![]);
        for pair in 0..PAIRS {
            let floor = bare(&place.join(format!("bare-{outstanding}-{pair}")))?;
            let rate = replicated(&place.join(format!("replica-{outstanding}-{pair}")), outstanding)?;
            ratios.push(rate / floor);
            rates.push(rate);
            bares.push(floor);
        }
        let [low, middle, high] = quartiles(ratios);
        let ([_, rate, _], [_, floor, _]) = (quartiles(rates), quartiles(bares));
        println!(
            "{outstanding:>4} outstanding: {rate:>8.0} /s beside {floor:>6.0} bare fdatasyncs /s = {middle:.2} x [{low:.2}, {high:.2}]"
        );
    }
    Ok(())
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_unstable_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values.get(values.len() * quarter / 4).copied().unwrap_or_default())
}

/// The least that a durable write costs here.
fn bare(path: &Path) -> Result<f64, Box<dyn Error>> {
    let mut directory = RealDisk.open(path)?;
    directory.create("bare")?;
    directory.reserve("bare", 64 << 20)?;
    directory.sync("bare")?;
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < LASTS {
        directory.write("bare", count * PAYLOAD as u64 % (64 << 20), &[7; PAYLOAD])?;
        directory.sync("bare")?;
        count += 1;
    }
    Ok(rate(count, started))
}

/// One voter whose users keep `outstanding` proposals in flight.
fn replicated(path: &Path, outstanding: u64) -> Result<f64, Box<dyn Error>> {
    let mut directory = RealDisk.open(path)?;
    let mut replica = Replica::bootstrap(&Config::new(1, 1), 1, vec![])?;
    let (mut proposed, mut confirmed, mut applied) = (0, 0, 0);
    let mut started = Instant::now();
    while started.elapsed() < LASTS {
        if confirmed == 0 {
            // Making the log and becoming leader doesn't count.
            started = Instant::now();
        }
        while proposed - confirmed < outstanding && replica.propose(vec![7; PAYLOAD]).is_ok() {
            proposed += 1;
        }
        let effects = replica.effects();
        if let Some(batch) = effects.write {
            batch.ops.iter().try_for_each(|op| directory.perform(op))?;
            replica.persisted(batch.number);
        }
        for entry in effects.apply {
            applied = entry.index;
            confirmed += u64::from(matches!(entry.payload, mill_consensus::Payload::Command(_)));
        }
        replica.applied(applied);
        if effects.snapshot_wanted {
            replica.snapshot_made(applied, vec![0; 1 << 20]);
        }
    }
    Ok(rate(confirmed, started))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a second and a half")]
fn rate(count: u64, started: Instant) -> f64 {
    count as f64 / started.elapsed().as_secs_f64()
}
