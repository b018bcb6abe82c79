//! The log against everything that can happen to bytes.

use std::collections::BTreeMap;
use std::convert::Infallible;

use crate::{
    Entry, EntryView, FileName, HardState, Limits, Mark, Op, Recovered, Recovery, Snapshot, Source, WalError,
    Writer, recover,
};

mod crashes;
mod cuts;
mod flips;
mod histories;
mod losses;

const LOG: u64 = 0x5eed_1234_abcd_0001;

/// Small, so that a short history has several segments.
const SMALL: Limits = Limits { segment_bytes: 700 };

/// All of a history in one segment, but not so much space set aside that reading zeros takes all the time.
const LARGE: Limits = Limits { segment_bytes: 12 << 10 };

/// A disk that does what it is told.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Files(BTreeMap<FileName, Vec<u8>>);

impl Source for Files {
    type Error = Infallible;

    fn list(&self) -> Result<Vec<FileName>, Infallible> {
        Ok(self.0.keys().copied().collect())
    }

    fn read(&self, file: FileName) -> Result<Vec<u8>, Infallible> {
        Ok(self.0.get(&file).cloned().unwrap_or_default())
    }
}

impl Files {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Create { file } => {
                self.0.insert(*file, vec![]);
            }
            Op::Reserve { file, length } => {
                let bytes = self.0.get_mut(file).unwrap();
                let length = usize::try_from(*length).unwrap();
                bytes.resize(bytes.len().max(length), 0);
            }
            Op::Write { file, offset, bytes } => {
                let content = self.0.get_mut(file).unwrap();
                let start = usize::try_from(*offset).unwrap();
                content.resize(content.len().max(start + bytes.len()), 0);
                content[start..start + bytes.len()].copy_from_slice(bytes);
            }
            Op::Truncate { file, length } => {
                self.0.get_mut(file).unwrap().truncate(usize::try_from(*length).unwrap());
            }
            Op::Rename { from, to } => {
                let bytes = self.0.remove(from).unwrap();
                self.0.insert(*to, bytes);
            }
            Op::Remove { file } => {
                self.0.remove(file);
            }
            Op::Sync { .. } | Op::SyncDirectory => {}
        }
    }

    fn last_segment(&self) -> FileName {
        *self.0.keys().rfind(|file| matches!(file, FileName::Segment(_))).unwrap()
    }

    fn open(&self) -> Result<Recovery, WalError<Infallible>> {
        recover(self, SMALL)
    }

    fn must_open(&self) -> Box<Recovered> {
        match self.open() {
            Ok(Recovery::Log(log)) => log,
            other => panic!("no log: {other:?}"),
        }
    }
}

/// What a log should hold.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Truth {
    state: HardState,
    snapshot: Option<Snapshot>,
    entries: Vec<Entry>,
}

impl Truth {
    fn of(log: &Recovered) -> Self {
        Self { state: log.state, snapshot: log.snapshot.clone(), entries: log.entries.clone() }
    }

    fn mark(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.mark.index)
    }

    fn last(&self) -> u64 {
        self.entries.last().map_or(self.mark(), |entry| entry.index)
    }
}

/// One thing added to a log.
#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Entry>),
    Save(HardState),
    Snapshot(Snapshot),
    Install(Snapshot),
}

impl Step {
    fn add(&self, writer: &mut Writer, truth: &mut Truth) {
        match self {
            Self::Append(entries) => {
                let views: Vec<EntryView<'_>> = entries.iter().map(Entry::view).collect();
                writer.append(&views).unwrap();
                truth.entries.retain(|entry| entry.index < entries[0].index);
                truth.entries.extend_from_slice(entries);
            }
            Self::Save(state) => {
                writer.save(*state);
                truth.state = *state;
            }
            Self::Snapshot(snapshot) => {
                writer.snapshot(snapshot);
                if snapshot.mark.index > truth.mark() {
                    truth.entries.retain(|entry| entry.index > snapshot.mark.index);
                    truth.snapshot = Some(snapshot.clone());
                }
            }
            Self::Install(snapshot) => {
                writer.install(snapshot);
                truth.entries.clear();
                truth.snapshot = Some(snapshot.clone());
            }
        }
        truth.state.commit = truth.state.commit.max(truth.mark());
    }
}

fn snapshot(index: u64, length: usize) -> Snapshot {
    Snapshot { mark: Mark { index, term: 1 + index / 10, members: vec![1, 2, 3] }, data: vec![0xaa; length] }
}

fn entries(from: u64, to: u64, term: u64, length: usize) -> Vec<Entry> {
    let data = |index: u64| (index..).map(|i| i.to_le_bytes()[0]).take(length).collect();
    (from..=to).map(|index| Entry { index, term, kind: 1, data: data(index) }).collect()
}

/// Entries in records of their own, so that they fill several segments.
fn append_singly(writer: &mut Writer, truth: &mut Truth, from: u64, to: u64) {
    for index in from..=to {
        Step::Append(entries(index, index, 1, 100)).add(writer, truth);
    }
}

fn state(term: u64, commit: u64) -> HardState {
    HardState { term, vote: 1, commit }
}

fn first_state() -> HardState {
    state(1, 1)
}

fn fresh(limits: Limits) -> (Writer, Truth) {
    let first = snapshot(1, 40);
    let truth = Truth { state: first_state(), snapshot: Some(first.clone()), entries: vec![] };
    (Writer::create(LOG, limits, Some(&first), first_state()), truth)
}

/// A history with all that a log goes through: entries of several lengths (also none), terms, votes, an
/// overwritten tail, a snapshot and one from a leader.
fn eventful() -> Vec<Vec<Step>> {
    use Step::{Append, Install, Save};
    vec![
        vec![Append(entries(2, 2, 1, 0))],
        vec![Append(entries(3, 6, 1, 50)), Save(state(1, 4))],
        vec![Save(state(2, 4))],
        vec![Append(entries(7, 9, 2, 200)), Append(entries(10, 10, 2, 3)), Save(state(2, 8))],
        vec![Append(entries(9, 11, 3, 90)), Save(state(3, 9))],
        vec![Step::Snapshot(snapshot(8, 300))],
        vec![Append(entries(12, 20, 3, 64))],
        vec![Append(entries(21, 21, 3, 1500)), Save(state(3, 20))],
        vec![Step::Snapshot(snapshot(20, 100)), Append(entries(22, 24, 3, 20))],
        vec![Install(snapshot(40, 120)), Save(state(4, 40)), Append(entries(41, 43, 4, 30))],
        vec![Append(entries(44, 46, 4, 100)), Save(state(4, 44))],
    ]
}

/// Runs a history to its end. The files and the truth after each batch, in the order of batches.
fn run(limits: Limits, history: &[Vec<Step>]) -> Vec<(Files, Truth)> {
    let (mut writer, mut truth) = fresh(limits);
    let mut files = Files::default();
    let mut after = vec![];
    perform(&mut writer, &mut files);
    after.push((files.clone(), truth.clone()));
    for steps in history {
        for step in steps {
            step.add(&mut writer, &mut truth);
        }
        perform(&mut writer, &mut files);
        after.push((files.clone(), truth.clone()));
    }
    after
}

fn perform(writer: &mut Writer, files: &mut Files) {
    if let Some(batch) = writer.batch() {
        batch.ops.iter().for_each(|op| files.apply(op));
        writer.done(batch.number);
    }
}
