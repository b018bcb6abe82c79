//! What the disk has of allocs, and whether it takes more.

use mill_alloc::{Record, RecordError};
use mill_model::{AllocId, Failure, Phase};

use crate::world::log::note;
use crate::world::{Event, Go, World, broken};

/// An alloc's record.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// How it ended, where that couldn't be written.
    over: Option<Phase>,
    /// Its checksum is wrong.
    pub(crate) damaged: bool,
}

/// Whether the disk takes anything.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    #[default]
    Plenty,
    /// Nothing can be written; names can be changed and removed.
    Full,
    /// Nothing can be changed.
    ReadOnly,
}

impl Kept {
    /// What it says; `None`: it is damaged, and the disk says so.
    pub(crate) fn read(&self) -> Option<Result<Record, RecordError>> {
        let record = |record: Record| match self.over {
            Some(phase) => record.over(phase),
            None => record,
        };
        (!self.damaged).then(|| Record::decode(&self.bytes).map(record))
    }
}

impl World {
    /// Writes a record: the old one is there or the new one, whenever the daemon dies. Why not, if it can't be.
    pub(crate) fn keep(&mut self, alloc: &AllocId, record: &Record) -> Go<Option<Failure>> {
        let chance = self.weather.records_fail;
        let fails = self.dice.below(1000) < chance;
        if self.space == Space::Plenty && !fails {
            let Ok(bytes) = record.encode() else { return broken("a record can't be encoded") };
            self.records.insert(alloc.clone(), Kept { bytes, over: None, damaged: false });
            self.spark()?;
            return Ok(None);
        }
        self.tally.records_refused += 1;
        let marks = self.space != Space::ReadOnly && (!fails || self.dice.percent(60));
        if let Some(end) = record.end_to_mark().filter(|_| marks) {
            note!(self, "the record of {alloc} can't be kept, its end is marked");
            if let Some(kept) = self.records.get_mut(alloc) {
                kept.over = Some(end);
            }
            self.spark()?;
            return Ok(None);
        }
        note!(self, "the record of {alloc} can't be kept");
        Ok(Some(Failure::Runtime { detail: "its record can't be kept".to_owned() }))
    }

    /// Power is lost. Of a task whose start was on its way, as far as the disk knows, nobody knows whether it has run:
    /// it is begun again.
    pub(crate) fn forget_unwritten_runs(&mut self) {
        let records = &self.records;
        self.runtime.ran.retain(|alloc| {
            let record = records.get(alloc).and_then(Kept::read).and_then(Result::ok);
            record.is_none_or(|record| record.status.phase != Phase::Starting)
        });
    }

    /// Removes a record, if the disk lets it.
    pub(crate) fn drop_record(&mut self, alloc: &AllocId) {
        if self.space == Space::ReadOnly {
            return;
        }
        self.records.remove(alloc);
        // An id that isn't listed any more may be drawn again.
        self.runtime.forget(alloc);
    }

    /// Somebody, or the disk, spoils a record. That is seen when it is read, unless it is written before.
    pub(crate) fn damage_record(&mut self) {
        let allocs: Vec<AllocId> = self.records.keys().cloned().collect();
        let Some(alloc) = self.dice.pick(&allocs).cloned() else { return };
        note!(self, "the record of {alloc} is damaged");
        self.tally.records_damaged += 1;
        if let Some(kept) = self.records.get_mut(&alloc) {
            kept.damaged = true;
        }
    }

    /// The disk takes nothing for a while.
    pub(crate) fn lose_space(&mut self) {
        self.space = if self.dice.percent(70) { Space::Full } else { Space::ReadOnly };
        note!(self, "the disk takes nothing: {:?}", self.space);
        self.tally.full_disks += 1;
        match self.space {
            Space::ReadOnly => self.disk.set_read_only(true),
            _ => self.disk.set_capacity(self.disk.used()),
        }
        let ms = if self.dice.percent(70) { self.dice.below(20_000) } else { self.dice.below(200_000) };
        self.at(ms, Event::Space);
    }

    pub(crate) fn find_space(&mut self) {
        if self.space != Space::Plenty {
            note!(self, "the disk takes what it gets");
        }
        self.space = Space::Plenty;
        self.disk.set_read_only(false);
        self.disk.set_capacity(u64::MAX);
    }
}
