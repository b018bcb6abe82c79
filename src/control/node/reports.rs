//! Statuses on their way to the leader: each until it is acknowledged, many in one message, one message at a
//! time. While one is under way, changes gather: under load batches grow instead of queues.

use std::collections::BTreeMap;

use mill_model::limits::REPORTS_PER_BATCH_MAX;
use mill_model::{AllocId, AllocStatus};

use super::Node;
use crate::dispatch::Batch;

/// What the leader hasn't acknowledged.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// Allocs with news, and the revision of it that is under way.
    unacknowledged: BTreeMap<AllocId, Option<u64>>,
    /// The batch under way.
    under_way: Option<u64>,
    sequence: u64,
}

impl Reports {
    pub(super) fn changed(&mut self, alloc: &AllocId) {
        self.unacknowledged.entry(alloc.clone()).or_default();
    }

    pub(super) fn forget(&mut self, alloc: &AllocId) {
        self.unacknowledged.remove(alloc);
    }

    /// What was under way went to a leader that isn't any more.
    pub(super) fn lost(&mut self) {
        self.under_way = None;
        self.unacknowledged.values_mut().for_each(|sent| *sent = None);
    }
}

impl Node {
    /// An alloc's life says how it is. Late news of an earlier revision is dropped.
    pub fn reported(&mut self, status: AllocStatus) {
        let Some(entry) = self.allocs.get_mut(&status.id) else { return };
        if status.revision <= entry.status.revision {
            return;
        }
        if status.phase.is_terminal() {
            self.pool.release(&status.id);
        }
        self.reports.changed(&status.id);
        entry.status = status;
    }

    /// What to send to the leader now, if anything: nothing while an earlier batch is under way.
    pub fn batch(&mut self) -> Option<Batch> {
        let Reports { unacknowledged, under_way, sequence } = &mut self.reports;
        if under_way.is_some() || unacknowledged.is_empty() {
            return None;
        }
        *sequence = sequence.saturating_add(1);
        *under_way = Some(*sequence);
        let mut statuses = vec![];
        for (alloc, sent) in unacknowledged.iter_mut().take(REPORTS_PER_BATCH_MAX) {
            if let Some(entry) = self.allocs.get(alloc) {
                *sent = Some(entry.status.revision);
                statuses.push(entry.status.clone());
            }
        }
        Some(Batch { sequence: *sequence, statuses })
    }

    /// The leader has committed a batch. One that isn't under way any more says nothing.
    pub fn acknowledged(&mut self, sequence: u64) {
        if self.reports.under_way != Some(sequence) {
            return;
        }
        self.reports.under_way = None;
        let allocs = &self.allocs;
        self.reports.unacknowledged.retain(|alloc, sent| {
            let latest = allocs.get(alloc).map(|entry| entry.status.revision);
            let news = sent.take() != latest;
            news && latest.is_some()
        });
    }

    /// A batch couldn't be sent, or had no answer in time: what it held is sent again.
    pub fn batch_lost(&mut self, sequence: u64) {
        if self.reports.under_way == Some(sequence) {
            self.reports.lost();
        }
    }
}
