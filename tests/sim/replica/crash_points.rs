//! A scripted history on one node, ended at each single operation of its disk, in each way: what was confirmed is
//! there after the restart, nothing else is, and the history can go on.

use mill_drivers::disk::{Crash, Fault, Syncs};
use mill_wal::WalError;

use super::Random;
use super::host::{Birth, Host};

/// Commands in the script: enough for several segments and snapshots.
const COMMANDS: u64 = 90;

/// What befalls the disk.
#[derive(Debug, Clone, Copy)]
enum Blow {
    /// The operation is the last before the crash.
    Crash(Crash),
    /// The operation fails; the process drops the replica and recovers, and the machine may lose power then.
    Fail(Fault, Crash),
}

const BLOWS: [Blow; 9] = [
    Blow::Crash(Crash::Process),
    Blow::Crash(Crash::Forgetful),
    Blow::Crash(Crash::Torn),
    Blow::Fail(Fault::Broken, Crash::Process),
    Blow::Fail(Fault::Broken, Crash::Forgetful),
    Blow::Fail(Fault::Broken, Crash::Torn),
    Blow::Fail(Fault::Full, Crash::Process),
    Blow::Fail(Fault::Full, Crash::Torn),
    Blow::Fail(Fault::ReadOnly, Crash::Process),
];

/// A script, how far it is, and what its user was told.
struct Run {
    host: Host,
    next: u64,
    confirmed: Vec<u64>,
    /// The user saw this much of the state.
    seen: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut host = Host::new(1, seed, Birth::Alone);
        host.start().unwrap();
        Self { host, next: 0, confirmed: vec![], seen: 0 }
    }

    /// Goes on with the script until its end, an error of the disk, or the operation `until`.
    fn go_on(&mut self, until: u64) -> Result<(), mill_drivers::disk::DiskError> {
        let mut busy = false;
        loop {
            // Up to three proposals share a batch; some come while the disk is at work.
            while (!busy || self.next.is_multiple_of(4))
                && self.next < COMMANDS
                && self.host.disk.ops() < until
            {
                let size = usize::try_from(self.next * 37 % 190).unwrap();
                let number = self.next;
                let process = self.host.process().unwrap();
                if !process.propose(number, size) {
                    break;
                }
                self.next += 1;
                if number % 3 == 2 {
                    break;
                }
            }
            if self.host.disk.ops() >= until {
                return Ok(());
            }
            let process = self.host.process().unwrap();
            busy = process.write()?;
            self.confirmed.append(&mut process.confirmed);
            self.seen = self.seen.max(process.state.len());
            if !busy && self.next == COMMANDS {
                return Ok(());
            }
        }
    }

    /// Starts again and compares.
    fn restart(&mut self, context: &str) {
        if let Err(error) = self.host.start() {
            panic!("{context}: {error:?}");
        }
        let process = self.host.process().unwrap();
        while process.write().unwrap() {}
        let state = self.host.state().to_vec();
        for number in &self.confirmed {
            assert!(state.contains(number), "{context}: {number} was confirmed and is lost");
        }
        assert!(state.len() >= self.seen, "{context}: applied entries are gone");
        assert!(state.iter().all(|number| *number < self.next), "{context}: garbage");
        assert!(state.is_sorted(), "{context}: {state:?}");
    }

    /// To the script's end, and there the power goes: what was confirmed after the recovery, or found by it and
    /// seen, must be on the disk itself.
    fn finish(&mut self, context: &str) {
        self.seen = self.seen.max(self.host.state().len());
        self.go_on(u64::MAX).unwrap();
        self.host.crash(Crash::Forgetful);
        self.restart(context);
    }
}

fn ops_of_the_script() -> u64 {
    let mut run = Run::new(1);
    run.go_on(u64::MAX).unwrap();
    assert_eq!(run.confirmed, (0..COMMANDS).collect::<Vec<_>>());
    let files = run.host.disk.files(std::path::Path::new("/var/lib/mill/raft"));
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let is_later = |name: &str, suffix| name.ends_with(suffix) && !name.starts_with("00000000000000000001.");
    assert!(!names.contains(&"00000000000000000001.log"), "old segments were removed: {names:?}");
    assert!(names.iter().any(|name| is_later(name, ".snapshot")), "there were snapshots: {names:?}");
    run.host.disk.ops()
}

#[test]
fn no_crash_and_no_failure_at_any_operation_loses_what_was_confirmed() {
    let ops = ops_of_the_script();
    assert!(ops > 100, "{ops} operations");
    for op in 0..ops {
        for (number, blow) in BLOWS.into_iter().enumerate() {
            let context = format!("operation {op}, {blow:?}");
            let mut run = Run::new(op * 100 + number as u64);
            let crash = match blow {
                Blow::Crash(crash) => {
                    run.go_on(op + 1).unwrap();
                    crash
                }
                Blow::Fail(fault, crash) => {
                    run.host.disk.fail_at(op, fault);
                    assert!(run.go_on(u64::MAX).is_err(), "{context}");
                    crash
                }
            };
            run.host.crash(crash);
            run.restart(&context);
            run.finish(&context);
        }
    }
}

#[test]
fn crashes_that_repeat_while_the_log_is_being_repaired_lose_nothing_either() {
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut run = Run::new(seed);
        let context = format!("seed {seed}");
        for _ in 0..12 {
            let until = run.host.disk.ops() + 1 + random.below(25);
            run.go_on(until).unwrap();
            run.host.crash(random.pick(&[Crash::Process, Crash::Forgetful, Crash::Torn]));
            // Dies again in the middle of what recovery orders.
            for _ in 0..random.below(3) {
                run.host.start().unwrap();
                for _ in 0..random.below(5) {
                    run.host.process().unwrap().write().unwrap();
                }
                run.host.crash(random.pick(&[Crash::Process, Crash::Torn]));
            }
            run.restart(&context);
        }
        run.finish(&context);
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_where_it_was_once_there_is_space() {
    for capacity in (1000..12_000).step_by(150) {
        let context = format!("{capacity} bytes");
        let mut run = Run::new(capacity);
        run.host.disk.set_capacity(capacity);
        let Err(error) = run.go_on(u64::MAX) else { continue };
        assert!(error.is_full(), "{context}: {error:?}");
        run.host.crash(Crash::Process);
        run.host.disk.set_capacity(u64::MAX);
        run.restart(&context);
        run.finish(&context);
        assert_eq!(run.host.state().len(), usize::try_from(COMMANDS).unwrap() - lost(&run), "{context}");
    }
}

/// Proposals that were neither confirmed nor found: nobody was told that they are safe.
fn lost(run: &Run) -> usize {
    (0..COMMANDS).filter(|number| !run.host.state().contains(number)).count()
}

#[test]
fn a_disk_that_lies_about_syncs_may_lose_but_is_refused_or_gives_a_prefix() {
    let (mut refused, mut lost) = (0, 0);
    for seed in 0..1500 {
        let mut random = Random(seed);
        let mut run = Run::new(seed);
        run.go_on(random.below(150)).unwrap();
        run.host.disk.set_syncs(if seed % 2 == 0 { Syncs::Lying } else { Syncs::Deferred });
        run.go_on(run.host.disk.ops() + random.below(40)).unwrap();
        if seed % 3 == 0 {
            run.host.disk.set_syncs(Syncs::Honest);
            run.go_on(run.host.disk.ops() + random.below(40)).unwrap();
        }
        run.host.crash(if seed % 5 == 0 { Crash::Forgetful } else { Crash::Torn });
        match run.host.start() {
            Ok(()) => {
                let process = run.host.process().unwrap();
                while process.write().unwrap() {}
                let state = run.host.state();
                assert!(state.is_sorted() && state.iter().all(|number| *number < run.next), "seed {seed}");
                lost += usize::from(run.confirmed.iter().any(|number| !state.contains(number)));
            }
            Err(WalError::Read { source }) => panic!("seed {seed}: {source:?}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 50 && lost > 50, "both happen: {refused} refused, {lost} lost");
}

#[test]
fn a_flipped_bit_on_the_disk_of_a_stopped_node_keeps_it_from_starting() {
    let mut run = Run::new(1);
    run.go_on(u64::MAX).unwrap();
    run.host.crash(Crash::Process);
    let directory = std::path::Path::new("/var/lib/mill/raft");
    let files = run.host.disk.files(directory);
    for (file, bytes) in files {
        let written = bytes.iter().rposition(|&b| b != 0).unwrap_or(0) + 1;
        for bit in (0..written * 8).step_by(11) {
            run.host.disk.flip(directory, &file, bit);
            let result = run.host.start();
            assert!(matches!(result, Err(WalError::Damaged { .. })), "bit {bit} of {file}");
            run.host.disk.flip(directory, &file, bit);
        }
    }
    run.restart("mended");
}
