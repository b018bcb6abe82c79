//! Reads one segment after the other and plays their records.

use crate::error::Damage;
use crate::frame::{self, Broken, Place};
use crate::payload::{self, Marking, Payload};
use crate::segment::{self, Header};
use crate::verdict::{self, Verdict};
use crate::{Entry, HardState};

/// What the records read so far add up to.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) state: Option<HardState>,
    pub(crate) marking: Option<Marking>,
    /// Contiguous, up to `last`.
    pub(crate) entries: Vec<Entry>,
    pub(crate) last: u64,
}

impl Replay {
    /// Starts at the oldest segment there is.
    pub(crate) fn start(header: &Header) -> Self {
        Self { last: header.first_index.saturating_sub(1), ..Self::default() }
    }

    /// What a node had written when it died, it finds again: the effect of one record.
    fn play(&mut self, payload: Payload) -> Result<(), Damage> {
        match payload {
            Payload::State(state) => self.state = Some(state),
            Payload::Mark(marking) if marking.resets => {
                self.entries.clear();
                self.last = marking.mark.index;
                self.marking = Some(marking);
            }
            Payload::Mark(marking) if marking.mark.index <= self.last => self.marking = Some(marking),
            Payload::Mark(_) => return Err(Damage::Nonsense),
            Payload::Entries(entries) => {
                let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
                if first.index > self.last.saturating_add(1) {
                    return Err(Damage::Order { last: self.last, found: first.index });
                }
                let kept = self.entries.partition_point(|entry| entry.index < first.index);
                self.entries.truncate(kept);
                self.last = last.index;
                self.entries.extend(entries);
            }
        }
        Ok(())
    }
}

/// The end of a segment that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// Where the next record goes.
    pub(crate) offset: u64,
    /// Checksum of the last record.
    pub(crate) checksum: u32,
    /// How far the segment is proven to be synced.
    pub(crate) synced: u64,
    /// Where the segment's opening records end; nothing when they aren't all there.
    pub(crate) opening_end: Option<u64>,
    /// Highest index that the segment ever held.
    pub(crate) highest: u64,
    /// Something that is no record follows.
    pub(crate) torn: bool,
}

/// Damage at an offset of the segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rot {
    pub(crate) offset: u64,
    pub(crate) damage: Damage,
}

/// What a following segment remembers of this one's end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remembered {
    pub(crate) offset: u64,
    pub(crate) checksum: u32,
}

/// Plays a segment's records. With `remembered` it must end exactly there; without, it is the last one.
pub(crate) fn segment(
    bytes: &[u8],
    header: &Header,
    remembered: Option<Remembered>,
    replay: &mut Replay,
) -> Result<End, Rot> {
    let mut end = End {
        offset: segment::LENGTH as u64,
        checksum: 0,
        synced: 0,
        opening_end: None,
        highest: header.first_index.saturating_sub(1),
        torn: false,
    };
    loop {
        let rot = |damage| Err(Rot { offset: end.offset, damage });
        if let Some(remembered) = remembered
            && end.offset >= remembered.offset
        {
            let same = end.offset == remembered.offset && end.checksum == remembered.checksum;
            return if same { Ok(end) } else { rot(Damage::Chain) };
        }
        let place = Place { log: header.log, segment: header.sequence, offset: end.offset };
        let frame = match frame::read(bytes, place) {
            Ok(frame) => frame,
            Err(broken) => match (remembered, verdict::judge(bytes, place, broken)) {
                (Some(remembered), Verdict::End) => {
                    return rot(Damage::CutShort { expected: remembered.offset });
                }
                (Some(_), _) => {
                    return rot(match broken {
                        Broken::Header => Damage::RecordHeader,
                        Broken::Content { .. } => Damage::RecordContent,
                    });
                }
                (None, Verdict::End) => return Ok(end),
                (None, Verdict::Torn) => return Ok(End { torn: true, ..end }),
                (None, Verdict::Rotten(damage)) => return rot(damage),
            },
        };
        let Some(content) = payload::read(frame.kind, &frame.payload) else { return rot(Damage::Nonsense) };
        let opens = end.opening_end.is_none() && frame.kind == payload::STATE;
        if let Err(damage) = replay.play(content) {
            return rot(damage);
        }
        end.offset += frame.length as u64;
        end.checksum = frame.checksum;
        end.synced = end.synced.max(frame.synced);
        end.highest = end.highest.max(replay.last);
        if opens {
            end.opening_end = Some(end.offset);
        }
    }
}
