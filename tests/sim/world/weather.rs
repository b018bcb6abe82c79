//! What goes wrong, and how often.

use std::path::Path;
use std::time::Duration;

use mill_drivers::disk::{Crash, Fault};
use mill_model::{Tempo, Timestamp};

use super::log::note;
use super::{Event, Go, Weather, World};
use crate::daemon::raft::DIRECTORY;
use crate::dice::Dice;
use crate::outside::Name;

/// A wrong bit.
#[derive(Debug)]
pub(crate) struct Rot {
    pub(crate) file: String,
    bit: usize,
}

/// The production's, with less patience for what has ended in some stories, so that forgetting is played too, and
/// with a slower clock for Raft, which alone on its node needs none.
pub(super) fn tempo(dice: &mut Dice) -> Tempo {
    let mut tempo = Tempo { raft_tick: Duration::from_secs(5), ..Tempo::default() };
    if dice.percent(50) {
        tempo.ended_kept = Duration::from_secs(dice.between(5, 120));
    }
    if dice.percent(30) {
        tempo.images_kept = Duration::from_secs(dice.between(5, 60));
    }
    tempo
}

impl Weather {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let fine = dice.percent(15);
        Self {
            wild_for: Duration::from_millis(dice.between(15_000, 250_000)),
            trouble_every: if fine { 1_000_000 } else { dice.between(1000, 60_000) },
            deed_every: dice.between(500, 60_000),
            calls_fail: if fine { 0 } else { dice.below(12) },
            records_fail: if fine || dice.percent(60) { 0 } else { dice.below(60) },
            log_rots: if fine || dice.percent(70) { 0 } else { 10 },
            leader_is_late: if fine || dice.percent(60) { 0 } else { 30 },
            records_rot: if fine || dice.percent(70) { 0 } else { 25 },
        }
    }
}

impl World {
    /// Whether a call of the runtime fails.
    pub(crate) fn call_fails(&mut self) -> bool {
        let chance = self.weather.calls_fail;
        self.runtime.is_away(self.now) || (self.wild && self.dice.percent(chance))
    }

    pub(super) fn trouble(&mut self) -> Go {
        if !self.wild {
            return Ok(());
        }
        let next = self.dice.below(self.weather.trouble_every) + 1;
        self.at(next, Event::Fault);
        match self.dice.below(120) {
            0..40 => self.fuse = Some(self.dice.below(60)),
            40..48 if self.daemon.is_some() => {
                let crash = *self.dice.pick(&[Crash::Torn, Crash::Forgetful]).unwrap_or(&Crash::Torn);
                return self.die(crash);
            }
            48..53 => {
                let op = self.disk.ops() + self.dice.below(8);
                let fault = *self.dice.pick(&[Fault::Broken, Fault::Full]).unwrap_or(&Fault::Full);
                note!(self, "the disk is going to fail: {fault:?}");
                self.tally.disk_faults += 1;
                self.disk.fail_at(op, fault);
            }
            53..60 => {
                let ms = self.dice.below(20_000);
                note!(self, "the runtime is away for {ms} ms");
                self.tally.runtime_absences += 1;
                self.runtime.away_until = Timestamp(self.now.0 + ms);
            }
            60..66 => self.vanish(),
            66..82 => self.actor_crashes(),
            82..94 => self.session_crashes(),
            94..99 => self.lose_space(),
            99..106 => self.damage_record(),
            106..112 => self.clock_jumps(),
            _ => {}
        }
        Ok(())
    }

    /// The wall clock jumps, by up to a day; the other clock doesn't.
    fn clock_jumps(&mut self) {
        const DAY_MS: u64 = 24 * 3600 * 1000;
        let longest = if self.dice.percent(50) { 60_000 } else { DAY_MS };
        let by = i64::try_from(self.dice.below(longest)).unwrap_or_default();
        let by = if self.dice.percent(50) { by } else { -by };
        note!(self, "the clock jumps by {by} ms");
        self.tally.clock_jumps += 1;
        self.skew += by;
    }

    /// While nobody looks, a record may be damaged, or a bit of the log flip.
    pub(super) fn may_rot(&mut self) {
        if self.wild && self.dice.percent(self.weather.records_rot) {
            self.damage_record();
        }
        if !self.wild || self.rot.is_some() || !self.dice.percent(self.weather.log_rots) {
            return;
        }
        let directory = Path::new(DIRECTORY);
        let files: Vec<(String, usize)> =
            self.disk.files(directory).into_iter().map(|(name, bytes)| (name, bytes.len())).collect();
        let Some((file, length)) = self.dice.pick(&files).cloned() else { return };
        let bit = self.dice.index(length.saturating_mul(8));
        note!(self, "bit {bit} of {file} flips");
        self.tally.rots += 1;
        self.disk.flip(directory, &file, bit);
        self.rot = Some(Rot { file, bit });
    }

    /// Somebody makes the log good again, from a copy.
    pub(crate) fn mend_log(&mut self) {
        if let Some(Rot { file, bit }) = self.rot.take() {
            self.disk.flip(Path::new(DIRECTORY), &file, bit);
        }
    }

    /// Somebody removes a container behind Mill's back.
    fn vanish(&mut self) {
        let names: Vec<Name> = self.runtime.containers.keys().cloned().collect();
        let Some(name) = self.dice.pick(&names).cloned() else { return };
        note!(self, "container {}.{} vanishes", name.0, name.1);
        self.tally.vanished += 1;
        self.forget_number(&name);
        self.remove_container(&name);
    }

    /// A number that only its container told of, since its record is damaged, may be given again.
    fn forget_number(&mut self, name: &Name) {
        let truth = self.truth.as_ref().and_then(|(_, cluster)| cluster.allocs.get(&name.0));
        let heard = truth.map(|alloc| alloc.status.incarnation).unwrap_or_default();
        let unrecorded = self.runtime.containers.get(name).is_some_and(|container| container.unrecorded);
        if unrecorded && name.1 > heard {
            self.runtime.names.remove(name);
        }
    }

    pub(super) fn calm(&mut self) {
        note!(self, "======== calm");
        self.wild = false;
        self.fuse = None;
        self.runtime.away_until = Timestamp::default();
        self.weather.records_fail = 0;
        self.find_space();
        self.records.values_mut().for_each(|kept| kept.damaged = false);
        for container in self.runtime.containers.values_mut() {
            container.program.ill = None;
        }
        self.at(1000, Event::Look);
    }
}
