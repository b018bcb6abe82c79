//! What goes wrong, and how often.

use std::time::Duration;

use mill_drivers::disk::{Crash, Fault};
use mill_model::{Tempo, Timestamp};

use super::log::note;
use super::{Event, Go, Weather, World};
use crate::dice::Dice;
use crate::outside::Name;

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
            wild_for: Duration::from_millis(dice.between(20_000, 400_000)),
            trouble_every: if fine { 1_000_000 } else { dice.between(1000, 60_000) },
            deed_every: dice.between(500, 60_000),
            calls_fail: if fine { 0 } else { dice.below(12) },
            records_fail: if fine || dice.percent(60) { 0 } else { dice.below(60) },
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
        match self.dice.below(100) {
            0..40 => self.fuse = Some(self.dice.below(60)),
            40..48 if self.daemon.is_some() => {
                let crash = *self.dice.pick(&[Crash::Torn, Crash::Forgetful]).unwrap_or(&Crash::Torn);
                return self.die(crash);
            }
            48..53 => {
                let op = self.disk.ops() + self.dice.below(8);
                let fault = *self.dice.pick(&[Fault::Broken, Fault::Full]).unwrap_or(&Fault::Full);
                note!(self, "the disk is going to fail: {fault:?}");
                self.disk.fail_at(op, fault);
            }
            53..60 => {
                let ms = self.dice.below(20_000);
                note!(self, "the runtime is away for {ms} ms");
                self.runtime.away_until = Timestamp(self.now.0 + ms);
            }
            60..66 => self.vanish(),
            66..82 => self.actor_crashes(),
            82..94 => self.session_crashes(),
            _ => {}
        }
        Ok(())
    }

    /// Somebody removes a container behind Mill's back.
    fn vanish(&mut self) {
        let names: Vec<Name> = self.runtime.containers.keys().cloned().collect();
        let Some(name) = self.dice.pick(&names).cloned() else { return };
        note!(self, "container {}.{} vanishes", name.0, name.1);
        self.remove_container(&name);
    }

    pub(super) fn calm(&mut self) {
        note!(self, "======== calm");
        self.wild = false;
        self.fuse = None;
        self.runtime.away_until = Timestamp::default();
        self.weather.records_fail = 0;
        for container in self.runtime.containers.values_mut() {
            container.program.ill = None;
        }
        self.at(1000, Event::Look);
    }
}
